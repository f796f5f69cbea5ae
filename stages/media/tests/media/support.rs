//! Making media, finding sample files, decoding whole files.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use curate_media::{
    Converter, DecodeOptions, Decoder, Filter, Picture, PixelFormat, Segment, Size, Stats, resize,
    sum_abs_diff,
};

pub(crate) use curate_testing::{ffmpeg, ffmpeg_frames, frame_sums, make};

/// The folder of sample files.
pub(crate) fn shared_media() -> Option<PathBuf> {
    curate_testing::shared("media")
}

/// Packed BGR pixels of the frames that `ffmpeg` makes of a file with these filters; `input` and
/// `output` are its options before the file and after it.
pub(crate) fn bgr_by_ffmpeg(
    input: &[&str],
    path: &Path,
    filters: &str,
    output: &[&str],
) -> Vec<u8> {
    let path = path.to_str().unwrap();
    let exact = "bilinear+accurate_rnd+full_chroma_int";
    let pixels = ["-sws_flags", exact, "-pix_fmt", "bgr24", "-f", "rawvideo", "-"];
    ffmpeg([input, &["-i", path, "-vf", filters], output, &pixels].concat())
}

/// Only the first frame.
pub(crate) const FIRST: &[&str] = &["-frames:v", "1"];

/// Mean difference, in levels, of a picture of the stored size by `ffmpeg`, shrunk, from a small one.
pub(crate) fn apart_when_small(small: &Picture, whole: Size, data: Vec<u8>) -> f64 {
    let Size { width, height } = whole;
    let whole = Picture { width, height, format: PixelFormat::Bgr8, data };
    apart(&small.data, &resize(&whole, small.size(), Filter::Area).unwrap().data)
}

/// Mean difference of two pictures in levels.
pub(crate) fn apart(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    sum_abs_diff(ours, theirs) as f64 / ours.len() as f64
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
