//! The shape of a stream's pixels. DVDs, DV and broadcast store pictures with pixels that are not
//! square; shown as stored, people in them are too thin or too wide.
//!
//! As players do it, the height is kept and the width is stretched or squeezed. The container's
//! word goes before the codec's.

use ffmpeg_next::ffi;

/// Width of a pixel divided by its height, as a fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelAspect {
    /// Numerator.
    pub num: u32,
    /// Denominator.
    pub den: u32,
}

/// Pixels longer than this in either direction are a damaged header's.
const LONGEST: u64 = 8;

impl PixelAspect {
    /// Square pixels.
    pub const SQUARE: Self = Self { num: 1, den: 1 };

    fn new(ratio: ffi::AVRational) -> Option<Self> {
        let (num, den) = (u32::try_from(ratio.num).ok()?, u32::try_from(ratio.den).ok()?);
        let (long, short) = (u64::from(num.max(den)), u64::from(num.min(den)));
        (short > 0 && long <= short * LONGEST).then_some(Self { num, den })
    }

    pub(crate) fn of(stream: &ffi::AVStream, parameters: &ffi::AVCodecParameters) -> Self {
        Self::new(stream.sample_aspect_ratio)
            .or_else(|| Self::new(parameters.sample_aspect_ratio))
            .unwrap_or(Self::SQUARE)
    }

    /// The width at which a stored picture of `width` pixels is shown.
    #[must_use]
    pub fn shown(self, width: u32) -> u32 {
        let (num, den) = (u64::from(self.num), u64::from(self.den));
        let shown = (u64::from(width) * num + den / 2) / den;
        u32::try_from(shown).unwrap_or(u32::MAX).max(u32::from(width > 0))
    }

    /// How much wider things are shown than they are stored.
    pub(crate) fn factor(self) -> f32 {
        self.num as f32 / self.den as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pal_and_ntsc_are_shown_as_players_show_them() {
        let shown = |num, den, width| {
            PixelAspect::new(ffi::AVRational { num, den }).map(|aspect| aspect.shown(width))
        };
        assert_eq!(shown(64, 45, 720), Some(1024));
        assert_eq!(shown(8, 9, 720), Some(640));
        assert_eq!(shown(1, 1, 641), Some(641));
        assert_eq!(shown(0, 1, 720), None);
        assert_eq!(shown(-1, 1, 720), None);
        assert_eq!(shown(1, 5000, 720), None);
    }
}
