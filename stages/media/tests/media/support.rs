//! Making media, finding sample files, decoding whole files.

use std::{
    collections::hash_map::DefaultHasher,
    ffi::OsStr,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use curate_media::{Converter, DecodeOptions, Decoder, Filter, Segment, Size, Stats};

/// The folder of sample files.
#[expect(clippy::disallowed_methods, reason = "tests read their own switch")]
pub(crate) fn shared_media() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/media");
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var("CURATE_REQUIRE_SHARED").is_ok_and(|value| value == "1");
    assert!(!is_required, "CURATE_REQUIRE_SHARED=1, and {} is absent", folder.display());
    println!("skipped: fixtures absent");
    None
}

/// Runs `ffmpeg` and gives its standard output, whether it succeeds or not.
#[expect(clippy::disallowed_methods, reason = "tests make their media with the ffmpeg program")]
pub(crate) fn ffmpeg<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error"]).args(arguments);
    command.output().expect("the ffmpeg program is needed for tests").stdout
}

/// Makes a file from a line of arguments.
pub(crate) fn make(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    ffmpeg(arguments.split_whitespace().map(OsStr::new).chain([path.as_os_str()]));
    assert!(path.exists(), "ffmpeg did not make {name}: {arguments}");
    path
}

/// One decoded frame, reduced to what can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pts: i64,
    pub(crate) hash: u64,
}

/// Decodes a file or a part of it, hashing every pixel.
pub(crate) fn decode_part(path: &Path, segment: Option<Segment>) -> (Vec<Seen>, Stats) {
    let options = DecodeOptions { threads: 2, segment, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(path, &options).unwrap();
    let mut converter = Converter::default();
    let mut seen = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        let size = Size::new(frame.width(), frame.height());
        let picture = frame.picture(&mut converter, size, Filter::Linear, false).unwrap();
        let mut hasher = DefaultHasher::new();
        picture.hash_into(&mut hasher);
        seen.push(Seen { pts: frame.pts, hash: hasher.finish() });
    }
    (seen, decoder.stats())
}

pub(crate) fn decode(path: &Path) -> Vec<Seen> {
    decode_part(path, None).0
}

trait HashInto {
    fn hash_into(&self, hasher: &mut DefaultHasher);
}

impl HashInto for curate_media::Picture {
    fn hash_into(&self, hasher: &mut DefaultHasher) {
        (self.width, self.height, &self.data).hash(hasher);
    }
}
