//! Frames per second as people say them, and as files want them.

use curate_schemas::TimeBase;

use crate::MediaError;

/// Frames per second, as a fraction: 24/1, 30000/1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames.
    pub num: u32,
    /// Seconds in which they are shown.
    pub den: u32,
}

impl FrameRate {
    /// The rate that a number stands for: whole ones, those of broadcasting (23.976, 29.97, 59.94 are
    /// so many thousands in 1001 seconds), and others to a thousandth. `None` outside 0.001 to 1000.
    #[must_use]
    pub fn of(fps: f64) -> Option<Self> {
        if !(0.001..=1000.0).contains(&fps) {
            return None;
        }
        let slowed = (fps * 1.001).round();
        // 23.98 and 23.976 mean the same; 24 does not.
        if fps.fract() != 0.0 && slowed >= 1.0 && (slowed * 1000.0 / 1001.0 - fps).abs() < 0.006 {
            return Some(Self { num: slowed as u32 * 1000, den: 1001 });
        }
        let (mut a, mut b) = ((fps * 1000.0).round() as u32, 1000);
        let (num, den) = (a, b);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Some(Self { num: num / a, den: den / a })
    }

    /// Frames per second.
    #[must_use]
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// How long a frame is shown: a tick for each.
    ///
    /// # Errors
    /// `encode` when one of its numbers is 0 or enormous.
    pub fn frame_time(self) -> Result<TimeBase, MediaError> {
        let int = |value: u32| i32::try_from(value).unwrap_or(0);
        TimeBase::new(int(self.den), int(self.num)).ok_or_else(|| MediaError::Encode {
            reason: format!("{}/{} frames per second cannot be", self.num, self.den),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_they_stand_for() {
        let of = |fps| FrameRate::of(fps).map(|rate| (rate.num, rate.den));
        assert_eq!(of(24.0), Some((24, 1)));
        assert_eq!(of(23.976), Some((24_000, 1001)));
        assert_eq!(of(29.97), Some((30_000, 1001)));
        assert_eq!(of(12.5), Some((25, 2)));
        assert_eq!(of(0.25), Some((1, 4)));
        for bad in [0.0, -1.0, f64::NAN, 2000.0] {
            assert_eq!(of(bad), None);
        }
    }
}
