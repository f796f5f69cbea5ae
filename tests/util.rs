//! Running programs and making media for the tests.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

#[expect(clippy::disallowed_methods, reason = "tests run the real binary and ffmpeg")]
fn program(name: &str) -> Command {
    Command::new(name)
}

/// What a finished command said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs `curate` with these arguments.
pub(crate) fn curate(args: &[&str]) -> Said {
    said(program(env!("CARGO_BIN_EXE_curate")).args(args).output().unwrap())
}

/// Starts `curate` and does not wait.
pub(crate) fn start(args: &[&str]) -> Child {
    let mut command = program(env!("CARGO_BIN_EXE_curate"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
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
    pub(crate) fn video(&self, name: &str, scenes: &[u32]) {
        let looks = ["smptehdbars", "testsrc2", "rgbtestsrc", "mandelbrot", "yuvtestsrc"];
        let mut args: Vec<String> = ["-v", "error", "-y"].map(str::to_owned).to_vec();
        for (index, seconds) in scenes.iter().enumerate() {
            let look = looks[index % looks.len()];
            let input = format!("{look}=size=320x180:rate=25");
            args.extend(
                ["-f", "lavfi", "-t", &seconds.to_string(), "-i", &input].map(str::to_owned),
            );
        }
        let inputs: String =
            (0..scenes.len()).map(|i| format!("[{i}]format=yuv420p[v{i}];")).collect();
        let joined: String = (0..scenes.len()).map(|i| format!("[v{i}]")).collect();
        let graph = format!("{inputs}{joined}concat=n={}:v=1[out]", scenes.len());
        args.extend(["-filter_complex", &graph, "-map", "[out]"].map(str::to_owned));
        args.extend(
            ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "2"].map(str::to_owned),
        );
        args.push(self.path("videos").join(name).to_str().unwrap().to_owned());
        let made = said(program("ffmpeg").args(&args).output().unwrap());
        assert_eq!(made.code, Some(0), "{}", made.err);
    }

    /// A recipe over `videos` into the table `out`.
    pub(crate) fn recipe(&self, name: &str, out: &str, run: &str) -> String {
        let text = format!(
            "[input]\npaths = [\"videos\"]\n[output]\npath = \"{out}\"\n[run]\n{run}\n[[stage]]\nkind = \"scenes\"\n"
        );
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// Everything the table says, without what differs between runs.
    pub(crate) fn canonical(&self, out: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = curate_store::Store::open(&self.path(out)).await.unwrap();
            store.canonical().await.unwrap()
        })
    }
}

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
