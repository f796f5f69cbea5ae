//! Making media, finding sample files, decoding whole files.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use curate_media::{Converter, DecodeOptions, Decoder, Filter, Segment, Size, Stats};

pub(crate) use curate_testing::{ffmpeg, ffmpeg_frames, frame_sums, make};

/// The folder of sample files.
pub(crate) fn shared_media() -> Option<PathBuf> {
    curate_testing::shared("media")
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
