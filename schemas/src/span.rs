//! Half-open spans in integer presentation time.
//!
//! A clip's place in its source is `[start, end)` in ticks of the stream's own time base, never
//! in floating seconds: seconds are derived for people, ticks are what frames are matched by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Seconds per tick, as a fraction `num / den` (both positive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeBase {
    /// Numerator.
    pub num: i32,
    /// Denominator.
    pub den: i32,
}

impl TimeBase {
    /// A time base of `num / den` seconds per tick, or `None` unless both are positive.
    #[must_use]
    pub fn new(num: i32, den: i32) -> Option<Self> {
        (num > 0 && den > 0).then_some(Self { num, den })
    }

    /// `ticks` in seconds.
    #[must_use]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }

    /// The number of ticks nearest to `seconds`.
    #[must_use]
    pub fn ticks(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.den) / f64::from(self.num)).round() as i64
    }
}

impl fmt::Display for TimeBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// Converts `ticks` from one time base to another, rounding to nearest (halves away from zero).
///
/// The intermediate product is 128 bits wide, so no input can overflow it; a result outside
/// 64 bits saturates.
#[must_use]
pub fn rescale(ticks: i64, from: TimeBase, to: TimeBase) -> i64 {
    let num = i128::from(ticks) * i128::from(from.num) * i128::from(to.den);
    let den = i128::from(from.den) * i128::from(to.num);
    let half = den / 2;
    let rounded = if num >= 0 { (num + half) / den } else { (num - half) / den };
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// A half-open stretch `[start, end)` of a stream, in ticks of `time_base`.
///
/// A clip's end is the PTS of the frame after its last one (for the last frame of a stream: its
/// PTS plus its duration), so neighbouring clips touch and never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First tick inside.
    pub start: i64,
    /// First tick after.
    pub end: i64,
    /// Seconds per tick.
    pub time_base: TimeBase,
}

impl Span {
    /// Whether a frame with this PTS belongs to the span.
    #[must_use]
    pub fn contains(&self, pts: i64) -> bool {
        self.start <= pts && pts < self.end
    }

    /// Start in seconds.
    #[must_use]
    pub fn start_s(&self) -> f64 {
        self.time_base.seconds(self.start)
    }

    /// End in seconds.
    #[must_use]
    pub fn end_s(&self) -> f64 {
        self.time_base.seconds(self.end)
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.time_base.seconds(self.end - self.start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rescale_rounds_to_nearest() {
        let from = TimeBase { num: 1, den: 90_000 };
        let to = TimeBase { num: 1, den: 1000 };
        assert_eq!(rescale(90_000, from, to), 1000);
        assert_eq!(rescale(44, from, to), 0);
        assert_eq!(rescale(45, from, to), 1);
        assert_eq!(rescale(-45, from, to), -1);
    }

    proptest! {
        #[test]
        fn rescale_to_a_finer_multiple_and_back_is_exact(
            ticks in -(1_i64 << 40)..(1_i64 << 40), den in 1..100_000_i32, factor in 1..1000_i32,
        ) {
            let coarse = TimeBase { num: 1, den };
            let fine = TimeBase { num: 1, den: den * factor };
            prop_assert_eq!(rescale(rescale(ticks, coarse, fine), fine, coarse), ticks);
        }

        #[test]
        fn rescale_keeps_order(
            a in any::<i64>(), b in any::<i64>(),
            num in 1..i32::MAX, den in 1..i32::MAX, num2 in 1..i32::MAX, den2 in 1..i32::MAX,
        ) {
            let from = TimeBase { num, den };
            let to = TimeBase { num: num2, den: den2 };
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(rescale(low, from, to) <= rescale(high, from, to));
        }

        #[test]
        fn touching_spans_share_no_tick(a in -1000..1000_i64, b in 0..1000_i64, c in 0..1000_i64, t in -2000..3000_i64) {
            let time_base = TimeBase { num: 1, den: 25 };
            let first = Span { start: a, end: a + b, time_base };
            let second = Span { start: a + b, end: a + b + c, time_base };
            prop_assert!(!(first.contains(t) && second.contains(t)));
        }
    }
}
