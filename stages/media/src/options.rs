//! What a decoder is asked and what it answers beside frames: plain data.

use std::path::Path;

use crate::{Access, MediaError, SourceKind};

/// A stretch of a stream that can be decoded on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// PTS of the closed key frame it begins with; `None`: the beginning of the file.
    pub start: Option<i64>,
    /// PTS of the frame that the next segment begins with; `None`: the end of the file.
    pub end: Option<i64>,
}

/// What becomes of pictures whose two fields were taken at different times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interlaced {
    /// One whole picture is made of each pair of fields (FFmpeg's `bwdif`); what the stream does
    /// not call interlaced is left alone.
    #[default]
    Deinterlace,
    /// Decoding ends with an error.
    Refuse,
    /// Pictures stay combed.
    Keep,
}

/// How to decode.
#[derive(Clone, Debug, Default)]
pub struct DecodeOptions {
    /// Threads the codec may use; 0 lets FFmpeg take as many as there are processors.
    pub threads: usize,
    /// Which track, and when to give up.
    pub access: Access,
    /// What becomes of interlaced pictures.
    pub interlaced: Interlaced,
    /// Which part to decode; `None` is all of it.
    pub segment: Option<Segment>,
    /// Whether frames carry the codec's motion vectors.
    pub motion_vectors: bool,
    /// Bytes that decoding a still picture or an animated WebP may take (a run's memory by
    /// [`PICTURES_IN_MEMORY`]); `None`: what 2^28 pixels take.
    pub picture_bytes: Option<u64>,
}

/// Pictures of more pixels are refused: a file of some kilobytes can claim to be a picture of many
/// gigabytes. The largest cameras take 2^27.
const MOST_PIXELS: i64 = 1 << 28;
/// So many still pictures at their largest fit into a run's memory.
pub const PICTURES_IN_MEMORY: u64 = 8;
/// What a pixel takes while a picture is decoded: three samples, and as much for what the decoder keeps
/// beside them (progressive JPEG its coefficients, PNG and WebP a copy).
const PIXEL_BYTES: u64 = 6;

impl DecodeOptions {
    /// The same for a file of this kind: videos have no such limit.
    pub(crate) fn limits(&self, kind: SourceKind) -> Self {
        let picture_bytes = self.picture_bytes.filter(|_| kind == SourceKind::Image);
        Self { picture_bytes, ..self.clone() }
    }

    /// The most pixels that a still picture may have.
    pub(crate) fn most_pixels(&self) -> i64 {
        let most = self.picture_bytes.map(|bytes| (bytes / PIXEL_BYTES).cast_signed());
        most.map_or(MOST_PIXELS, |most| most.clamp(1, MOST_PIXELS))
    }

    /// The same as FFmpeg counts them: with rows of whole 64 pixels, of which there are 2^16 at most.
    pub(crate) fn most_pixels_aligned(&self) -> i64 {
        self.most_pixels() + (64 << 16)
    }

    /// Refuses a picture of so many bytes once decoded.
    pub(crate) fn check_picture(
        &self,
        path: &Path,
        size: (u32, u32),
        bytes: u64,
    ) -> Result<(), MediaError> {
        let pixels = i64::from(size.0) * i64::from(size.1);
        let is_fine = self.picture_bytes.is_none_or(|most| 2 * bytes <= most);
        if is_fine && pixels <= self.most_pixels() {
            return Ok(());
        }
        Err(self.too_large(path, format!("{}x{}", size.0, size.1), 2 * bytes))
    }

    /// The refusal of a picture of this size (`WIDTHxHEIGHT`), which takes so many bytes at least.
    pub(crate) fn too_large(&self, path: &Path, size: String, bytes: u64) -> MediaError {
        let pixels = size.split('x').filter_map(|side| side.parse::<i64>().ok()).product::<i64>();
        let most = self.picture_bytes.filter(|_| pixels <= MOST_PIXELS);
        let advice = match most {
            None => format!("pictures of more than {MOST_PIXELS} pixels are not read"),
            Some(most) => {
                let bytes = bytes.max(pixels.unsigned_abs() * PIXEL_BYTES);
                format!(
                    "it takes {} MiB to decode, and may take {}: write [run] memory = \"{}GiB\"",
                    bytes.div_ceil(1 << 20),
                    most >> 20,
                    (bytes * PICTURES_IN_MEMORY).div_ceil(1 << 30),
                )
            }
        };
        MediaError::TooLarge { path: path.to_owned(), size, advice }
    }
}

/// What decoding came to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames given out.
    pub frames: u64,
    /// Frames decoded only to reach the segment or to complete it, and not given out.
    pub skipped: u64,
    /// Packets the decoder refused, plus one if the demuxer stopped before the file's end or
    /// complained while reading. Not 0 means that the file is damaged and the frames are partial;
    /// how many there are may depend on the number of threads.
    pub errors: u64,
    /// What was wrong: the demuxer's reason, or else the decoder's first.
    pub first_error: Option<String>,
    /// Frames without a time, which were put behind the frame before: exact where the rate is constant.
    pub untimed: u64,
    /// Frames whose time was not after that of the frame before, and which were put one tick behind
    /// it. Not 0 means that times, and so the ends of clips, are not as they were recorded.
    pub squeezed: u64,
    /// Error lines from the decoder, concealed damage among them. For people: the number may
    /// depend on the number of threads.
    pub complaints: u64,
}
