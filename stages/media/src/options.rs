//! What a decoder is asked and what it answers beside frames: plain data.

use crate::Access;

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
