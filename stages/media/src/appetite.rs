//! How much memory transcoding a clip takes, before it takes it.
//!
//! Encoders hold the pictures that they look ahead to, those that later ones refer to, and some of what
//! they computed of each. The numbers of pictures are those of the presets (x264 164, x265 3.5); what
//! one takes, and all of SVT-AV1 (1.4), is fitted to what was measured: `benches/encoder_memory.py`
//! compares. Where it is wrong, too many or too few clips are encoded at a time, and nothing else.

use ffmpeg_next::ffi;

use crate::{Encoding, VideoCodec, render::stored_size};

/// Pictures that a source's decoder holds: those that are referred to and those that wait for their
/// turn to be shown.
const DECODED: u64 = 7;
/// Bytes of one of their pixels: of 8 bits without subsampling, or of 10 bits with it.
const DECODED_PIXEL: u64 = 3;

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
    /// About how many bytes transcoding a clip takes, its decoder included.
    ///
    /// `size` is the width and height of the source's pictures in pixels, `frames` the clip's length.
    #[must_use]
    pub fn memory(&self, size: (u32, u32), frames: u32) -> u64 {
        let pixels = u64::from(size.0) * u64::from(size.1);
        let decoder = pixels.saturating_mul(DECODED_PIXEL * DECODED);
        let (fixed_mib, pictures) = self.held(u64::from(frames));
        let encoder = (fixed_mib << 20).saturating_add(self.picture_bytes(size) * pictures);
        encoder.saturating_add(decoder)
    }

    /// Bytes of a picture as it is encoded; none of a format that there is not.
    fn picture_bytes(&self, size: (u32, u32)) -> u64 {
        let Some(format) = self.format() else { return 0 };
        let stored = stored_size(size, self.short_side);
        let Ok((width, height)) = stored.ints() else { return 0 };
        // SAFETY: arithmetic on numbers; what cannot be gives an error, which is negative.
        let bytes = unsafe { ffi::av_image_get_buffer_size(format, width, height, 1) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// MiB whatever the size is, and pictures.
    fn held(&self, frames: u64) -> (u64, u64) {
        match self.codec {
            VideoCodec::H264 => {
                let (ahead, reordered, references) = x264(&self.preset);
                // It looks no further than to the next key frame.
                let ahead = ahead.min(u64::from(self.key_every));
                // Each with its half pixels between (2.5 pictures); references weighted too.
                let waiting = (ahead + reordered).min(frames);
                (4, (waiting + 2 * references.min(frames) + 2) * 5 / 2)
            }
            VideoCodec::H265 => {
                let (ahead, reordered, references) = x265(&self.preset);
                (34, ((ahead + reordered).min(frames) + references.min(frames) + 4) * 4)
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

#[cfg(test)]
mod tests {
    use super::*;

    const HD: (u32, u32) = (1920, 1080);

    #[test]
    fn it_grows_with_the_picture_the_length_and_the_effort() {
        let encoding = Encoding::default();
        let usual = encoding.memory(HD, 100);
        assert!((150 << 20..256 << 20).contains(&usual), "two fit into the default: {usual}");
        assert!(encoding.memory((3840, 2160), 100) > 3 * usual);
        assert!(encoding.memory(HD, 3) < usual && encoding.memory(HD, 50) == usual);
        let with = |change: fn(&mut Encoding)| {
            let mut encoding = Encoding::default();
            change(&mut encoding);
            encoding.memory(HD, 100)
        };
        assert!(with(|e| e.preset = "veryslow".to_owned()) > usual);
        assert!(with(|e| e.preset = "ultrafast".to_owned()) < usual);
        assert!(with(|e| e.pixel_format = "yuv420p10le".to_owned()) > usual);
        assert!(with(|e| e.key_every = 250) > usual);
        assert!(with(|e| e.short_side = Some(360)) < usual);
        assert!(with(|e| e.codec = VideoCodec::H265) > usual);
        let most = encoding.memory((u32::MAX, u32::MAX), u32::MAX);
        assert!(most > usual, "what no picture is does not overflow");
    }
}
