//! What can go wrong with a media file, in words a table row can hold.
//!
//! One enum for the crate. `kind()` is the part that is stored and counted, so its words never
//! change; the message is for people. FFmpeg answers with numbers, and its log usually knows more
//! ("moov atom not found" against "Invalid data found"), so the reason is the log's line where
//! there is one. What a decoder skipped and survived is not an error here: it is in
//! [`Stats`](crate::Stats).

use std::{ffi::c_int, path::PathBuf, time::Duration};

use ffmpeg_next::ffi;

/// What to do about recordings that were put behind each other.
const JOINED: &str = "start anew: make one recording of it first (ffmpeg -i FILE -c copy NEW.mkv)";
/// What to do about times that are wrong, and that a copy would keep.
const WRONG: &str = "go back: have its pictures counted instead, if their rate is constant \
                     (ffmpeg -i FILE -vf setpts=N/FRAME_RATE/TB NEW.mp4)";

/// Why a media operation gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The file system refused the file; trying again may help.
    #[error("cannot read {path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// FFmpeg does not recognise the file, or its head is damaged beyond use.
    #[error("cannot open {path:?}: {reason}")]
    Open {
        /// The file.
        path: PathBuf,
        /// FFmpeg's reason.
        reason: String,
    },
    /// The file holds no video stream (cover art does not count).
    #[error("{path:?} has no video stream")]
    NoVideo {
        /// The file.
        path: PathBuf,
    },
    /// The file has fewer video tracks than the one that was asked for.
    #[error("{path:?} has no video track {track}: it has {tracks}, counted from 0")]
    NoTrack {
        /// The file.
        path: PathBuf,
        /// The number that was asked for.
        track: u32,
        /// How many there are.
        tracks: usize,
    },
    /// The stream holds interlaced pictures, and those are not wanted.
    #[error("the video is interlaced: read it with interlaced = \"deinterlace\" or leave it out")]
    Interlaced,
    /// This FFmpeg has no decoder for the stream.
    #[error("no decoder for codec {codec}")]
    UnsupportedCodec {
        /// FFmpeg's codec name, or the stream's four-character code.
        codec: String,
    },
    /// The stream's samples are no YUV or RGB that is converted here.
    #[error("colours of the matrix {matrix} are not converted: write it as bt709 first")]
    UnsupportedColors {
        /// FFmpeg's name of the matrix.
        matrix: String,
    },
    /// A picture takes more memory than it may.
    #[error("{path:?} has pictures of {size}: {advice}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width and height in pixels, with an `x` between them.
        size: String,
        /// What is allowed, and what to do.
        advice: String,
    },
    /// The same times come twice, so that a span says nothing of what is in it.
    #[error("after {after_s:.3} s the times of the file {}", if *.is_joined { JOINED } else { WRONG })]
    Times {
        /// The time before, in seconds.
        after_s: f64,
        /// Whether it is of a container whose recordings may be put behind each other, as transport
        /// streams may. In others the times are wrong, and remuxing keeps them.
        is_joined: bool,
    },
    /// The decoder could not be started, or a position could not be reached.
    #[error("decoding failed while {during}: {reason}")]
    Decode {
        /// What was being done.
        during: &'static str,
        /// FFmpeg's reason.
        reason: String,
    },
    /// No progress for as long as [`Access::deadline`](crate::Access::deadline) allows.
    #[error("no progress for {} s", .after.as_secs_f64())]
    Timeout {
        /// The deadline that passed.
        after: Duration,
    },
    /// The caller raised [`Access::cancel`](crate::Access::cancel).
    #[error("cancelled")]
    Cancelled,
    /// The packets of a span cannot be written as a clip.
    #[error("cannot write the clip: {reason}")]
    Mux {
        /// Which rule the packets break, or what the muxer said.
        reason: String,
    },
    /// A frame could not be turned into a picture, or a picture into bytes.
    #[error("picture conversion failed while {during}: {reason}")]
    Convert {
        /// What was being done.
        during: &'static str,
        /// The library's reason.
        reason: String,
    },
    /// A clip could not be encoded.
    #[error("cannot encode the clip: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
    /// FFmpeg's filters could not be set up, or failed.
    #[error("filtering failed while {during}: {reason}")]
    Filter {
        /// What was being done.
        during: &'static str,
        /// FFmpeg's reason.
        reason: String,
    },
    /// A native allocation failed.
    #[error("out of memory in {during}")]
    Memory {
        /// What was being allocated.
        during: &'static str,
    },
}

impl MediaError {
    /// The stable word stored with a failed source or clip.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Open { .. } => "open",
            Self::NoVideo { .. } => "no_video",
            Self::NoTrack { .. } => "no_track",
            Self::Interlaced => "interlaced",
            Self::UnsupportedCodec { .. } => "unsupported_codec",
            Self::UnsupportedColors { .. } => "unsupported_colors",
            Self::TooLarge { .. } => "too_large",
            Self::Times { .. } => "times",
            Self::Decode { .. } => "decode",
            Self::Timeout { .. } => "timeout",
            Self::Cancelled => "cancelled",
            Self::Mux { .. } => "mux",
            Self::Convert { .. } => "convert",
            Self::Encode { .. } => "encode",
            Self::Filter { .. } => "filter",
            Self::Memory { .. } => "memory",
        }
    }

    /// Whether the same call may succeed later with the same file.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Timeout { .. } | Self::Cancelled | Self::Memory { .. }
        )
    }

    pub(crate) fn mux(reason: impl Into<String>) -> Self {
        Self::Mux { reason: reason.into() }
    }

    pub(crate) fn convert(during: &'static str) -> impl Fn(opencv::Error) -> Self {
        move |error| Self::Convert { during, reason: error.message }
    }
}

/// FFmpeg's words for one of its error numbers.
pub(crate) fn describe(code: c_int) -> String {
    let mut text = [0_u8; ffi::AV_ERROR_MAX_STRING_SIZE];
    // SAFETY: the buffer is as long as stated, and av_strerror always ends it with a zero.
    unsafe { ffi::av_strerror(code, text.as_mut_ptr().cast(), text.len()) };
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).into_owned()
}
