//! What the tests of several crates share: fixtures that announce their absence, media made with
//! the `ffmpeg` program, and the Python packages that `make test` installs.
//!
//! A test that needs what is not there returns early, and says so on the real stderr: the lines
//! are not swallowed as a passing test's output is, so `make test` can count them. With
//! `CURATE_REQUIRE_SHARED=1` absence is a failure instead.
#![warn(missing_docs)]

pub mod chat;

use std::{
    env,
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The repository's folder: the one with the lock file, at or above the folder that tests run in.
/// Not the folder this crate was compiled in, since several clones may share what was compiled.
///
/// # Panics
/// When a test is run outside the repository.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = env::current_dir().expect("a current folder");
        let found = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
        found.expect("tests run inside the repository").to_owned()
    })
}

/// A program to run.
#[expect(clippy::disallowed_methods, reason = "tests run ffmpeg, Python and the real binary")]
#[must_use]
pub fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

#[expect(clippy::disallowed_methods, reason = "tests read their own switches")]
fn switch(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// How often a repeated test repeats, unless the environment says otherwise.
#[must_use]
pub fn rounds(name: &str, usual: u64) -> u64 {
    switch(name).and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Says that a test is skipped, or fails it where nothing may be.
///
/// # Panics
/// With `CURATE_REQUIRE_SHARED=1`.
pub fn skip(what: &str, why: &str) {
    let is_required = switch("CURATE_REQUIRE_SHARED").is_some_and(|value| value == "1");
    assert!(!is_required, "CURATE_REQUIRE_SHARED=1, and {what} absent: {why}");
    // Not `eprintln!`, whose output the test harness keeps to itself when a test passes.
    writeln!(std::io::stderr(), "skipped: {what} absent: {why}").unwrap_or_default();
}

/// A folder of `../shared`, such as `media`; `None` (and a word about it) when it is not there.
#[must_use]
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = root().join("../shared").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    skip("fixtures", &format!("there is no {}", folder.display()));
    None
}

/// The folder of the demo's clips; `None` (and a word about it) when they have not been fetched.
#[must_use]
pub fn samples() -> Option<PathBuf> {
    let folder = switch("CURATE_SAMPLES").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        skip("demo clips", "`make test` fetches them and sets CURATE_SAMPLES");
    }
    folder
}

/// The folder of fetched models; `None` (and a word about it) when there is none.
#[must_use]
pub fn models() -> Option<PathBuf> {
    let folder = switch("CURATE_MODELS").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        skip("models", "`make test` fetches them and sets CURATE_MODELS");
    }
    folder
}

/// Python with the packages of `tests/python/requirements.txt`; `None` (and a word about it) when
/// they have not been installed.
#[must_use]
pub fn python(script: &str) -> Option<Command> {
    let Some(packages) = switch("CURATE_PYTHON_PACKAGES").filter(|path| Path::new(path).is_dir())
    else {
        skip("Python packages", "`make test` installs them and sets CURATE_PYTHON_PACKAGES");
        return None;
    };
    let mut command = program("python3");
    command.env("PYTHONPATH", packages).arg(root().join("tests/python").join(script));
    Some(command)
}

/// Runs `ffmpeg` and gives its standard output, whether it succeeds or not.
///
/// # Panics
/// When there is no `ffmpeg`.
pub fn ffmpeg<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut command = program("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error"]).args(arguments);
    command.output().expect("the ffmpeg program is needed for tests").stdout
}

/// Makes a media file from a line of `ffmpeg` arguments.
///
/// # Panics
/// When the file was not made.
pub fn make(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    ffmpeg(arguments.split_whitespace().map(OsStr::new).chain([path.as_os_str()]));
    assert!(path.exists(), "ffmpeg did not make {name}: {arguments}");
    path
}

/// Frames that `ffmpeg -f null` decodes of one stream.
#[must_use]
pub fn ffmpeg_frames(path: &Path, stream: usize) -> u64 {
    let map = format!("0:{stream}");
    let arguments = ["-map", &map, "-progress", "pipe:1", "-f", "null", "-"].map(OsStr::new);
    let out = ffmpeg([OsStr::new("-i"), path.as_os_str()].into_iter().chain(arguments));
    let text = String::from_utf8_lossy(&out);
    let mut counts =
        text.lines().filter_map(|line| line.strip_prefix("frame=")?.trim().parse().ok());
    counts.next_back().unwrap_or(0)
}

/// MD5 of every frame of one stream by the `ffmpeg` program, with its time in ticks of the stream,
/// as stored (not turned).
///
/// # Panics
/// When `ffmpeg` answers with something else.
#[must_use]
pub fn frame_sums(path: &Path, stream: usize) -> Vec<(i64, String)> {
    let map = format!("0:{stream}");
    let before = ["-copyts", "-noautorotate", "-i"].map(OsStr::new);
    let after =
        ["-map", &map, "-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "framemd5", "-"];
    let arguments = before.into_iter().chain([path.as_os_str()]).chain(after.map(OsStr::new));
    String::from_utf8_lossy(&ffmpeg(arguments))
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().expect("a time"), fields[5].to_owned())
        })
        .collect()
}
