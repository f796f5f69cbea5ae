//! Running the real binary, and folders with videos, recipes and tables.

use std::{
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
};

use curate_testing::{make, program};
use tempfile::TempDir;

/// What a finished command said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The real binary.
pub(crate) const CURATE: &str = env!("CARGO_BIN_EXE_curate");

/// Runs `curate` with these arguments.
pub(crate) fn curate(args: &[&str]) -> Said {
    said(&program(CURATE).args(args).output().unwrap())
}

/// Runs `curate` in a folder.
pub(crate) fn curate_in(folder: &Path, args: &[&str]) -> Said {
    said(&program(CURATE).args(args).current_dir(folder).output().unwrap())
}

/// Starts `curate` and does not wait.
pub(crate) fn start(args: &[&str]) -> Child {
    program(CURATE).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A folder with videos and room for recipes and tables.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        std::fs::create_dir(folder.path("videos")).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A video with hard cuts between scenes of these many seconds, H.264 with B-frames, 25 fps.
    pub(crate) fn video(&self, name: &str, scenes: &[u32]) -> PathBuf {
        let codec = "-c:v libx264 -preset veryfast -g 50 -bf 2";
        make(&self.path("videos"), name, &scenes_of(scenes, codec))
    }

    /// A recipe over `videos` into the table `out`, with lines for `[run]`.
    pub(crate) fn recipe(&self, name: &str, out: &str, run: &str) -> String {
        self.recipe_over(name, "videos", out, run)
    }

    /// A recipe over a path into the table `out`, with lines for `[run]`.
    pub(crate) fn recipe_over(&self, name: &str, over: &str, out: &str, run: &str) -> String {
        let text = format!(
            "[input]\npaths = [\"{over}\"]\n[output]\npath = \"{out}\"\n[run]\n{run}\n\
             [[stage]]\nkind = \"scenes\"\n"
        );
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// The answer to a query as CSV.
    pub(crate) fn rows(&self, out: &str, sql: &str) -> String {
        let said = curate(&["query", &self.text(out), sql, "--format", "csv"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out
    }

    /// The spans of all clips, in ticks, in the order of their starts.
    pub(crate) fn spans(&self, out: &str) -> Vec<(i64, i64)> {
        let rows = self.rows(out, "select start_pts, end_pts from clips order by 1");
        let spans = rows.lines().skip(1).map(|line| line.split_once(',').unwrap());
        spans.map(|(start, end)| (start.parse().unwrap(), end.parse().unwrap())).collect()
    }

    /// Everything the table says, without what differs between runs.
    pub(crate) fn canonical(&self, out: &str) -> Vec<String> {
        wait(async {
            let store = curate_store::Store::open(&self.path(out)).await.unwrap();
            store.canonical().await.unwrap()
        })
    }

    /// Files of the table that nothing refers to.
    pub(crate) fn unreferenced(&self, out: &str) -> Vec<PathBuf> {
        wait(async {
            let store = curate_store::Store::open(&self.path(out)).await.unwrap();
            store.unreferenced_files().await.unwrap()
        })
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

/// The line of `ffmpeg` arguments for scenes of these many seconds, all different, 320x180.
pub(crate) fn scenes_of(scenes: &[u32], codec: &str) -> String {
    let looks = ["smptehdbars", "testsrc2", "rgbtestsrc", "mandelbrot", "yuvtestsrc"];
    let (mut inputs, mut formats, mut joined) = (String::new(), String::new(), String::new());
    for (index, seconds) in scenes.iter().enumerate() {
        let look = looks[index % looks.len()];
        inputs += &format!("-f lavfi -t {seconds} -i {look}=size=320x180:rate=25 ");
        formats += &format!("[{index}]format=yuv420p[v{index}];");
        joined += &format!("[v{index}]");
    }
    let n = scenes.len();
    format!("{inputs} -filter_complex {formats}{joined}concat=n={n}:v=1[out] -map [out] {codec}")
}
