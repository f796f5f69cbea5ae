//! How much memory an encoder takes, before it takes it.
//!
//! Encoders hold the pictures that they look ahead to, those that later ones refer to, and some of what
//! they computed of each. The numbers of pictures are those of the presets (x264 164, x265 3.5); what
//! one takes, and all of SVT-AV1 (1.4), is fitted to what was measured: `benches/encoder_memory.py`
//! compares. What is told for the wrong size only makes too many or too few encode at a time.

use ffmpeg_next::ffi;

use crate::{Encoding, VideoCodec, color::pixel_format};

/// Pictures that a source's decoder holds beside its encoder: those that are referred to, those that
/// wait for their turn to be shown, and the one in the filters.
const DECODED: u64 = 10;

/// Bytes of a frame's pixels.
fn picture_bytes(frame: &ffi::AVFrame) -> u64 {
    let Some(format) = pixel_format(frame.format) else { return 0 };
    // SAFETY: arithmetic on numbers; what cannot be gives an error, which is negative.
    let bytes = unsafe { ffi::av_image_get_buffer_size(format, frame.width, frame.height, 1) };
    u64::try_from(bytes).unwrap_or(0)
}

/// Pictures that x264 looks ahead to and reorders, and those it refers to.
fn x264(preset: &str) -> (u64, u64, u64) {
    match preset {
        "ultrafast" => (0, 0, 1),
        "superfast" => (0, 3, 1),
        "veryfast" => (10, 3, 1),
        "faster" => (20, 3, 2),
        "fast" => (30, 3, 2),
        "slow" => (50, 3, 5),
        "slower" => (60, 3, 8),
        "veryslow" => (60, 8, 16),
        "placebo" => (60, 16, 16),
        _ => (40, 3, 3),
    }
}

/// The same of x265.
fn x265(preset: &str) -> (u64, u64, u64) {
    match preset {
        "ultrafast" => (5, 3, 1),
        "superfast" => (10, 3, 1),
        "veryfast" | "faster" => (15, 4, 2),
        "fast" => (15, 4, 3),
        "slow" => (25, 4, 4),
        "slower" | "veryslow" => (40, 8, 5),
        "placebo" => (60, 8, 5),
        _ => (20, 4, 3),
    }
}

impl Encoding {
    /// Bytes that encoding pictures like `shown` takes about, out of pictures like `source`.
    pub(crate) fn memory(&self, shown: &ffi::AVFrame, source: &ffi::AVFrame) -> u64 {
        let (fixed_mib, pictures) = self.held();
        let encoder =
            (fixed_mib << 20).saturating_add(picture_bytes(shown).saturating_mul(pictures));
        encoder.saturating_add(DECODED.saturating_mul(picture_bytes(source)))
    }

    /// MiB whatever the size is, and pictures.
    fn held(&self) -> (u64, u64) {
        match self.codec {
            VideoCodec::H264 => {
                let (ahead, reordered, references) = x264(&self.preset);
                // It looks no further than to the next key frame.
                let ahead = ahead.min(u64::from(self.key_every));
                // Each with its half pixels between (2.5 pictures); references weighted too.
                (4, (ahead + reordered + 2 * references + 2) * 5 / 2)
            }
            VideoCodec::H265 => {
                let (ahead, reordered, references) = x265(&self.preset);
                (34, (ahead + reordered + references + 4) * 4)
            }
            VideoCodec::Av1 => match self.preset.parse() {
                Ok(0..=3) => (45, 360),
                Ok(4..=5) => (45, 230),
                Ok(6..=7) => (45, 140),
                _ => (45, 110),
            },
        }
    }
}
