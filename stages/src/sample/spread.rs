//! A few samples, evenly spread over a stretch whose length is not known until it ends.
//!
//! Samples are taken in slots of equal length. When there are too many, every other slot is
//! dropped and slots become twice as long, so what is held is bounded however long the clip, and
//! what is left depends on the clip alone.

use std::collections::VecDeque;

/// Slack for times that are whole slots but for rounding.
const SLACK: f64 = 1e-6;

/// One sample.
#[derive(Clone, Debug)]
struct Sample<T> {
    slot: u64,
    /// Number of the last frame that it is made of.
    last: u64,
    value: T,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Spread<T> {
    most: usize,
    slot_s: f64,
    next_slot: u64,
    samples: VecDeque<Sample<T>>,
}

impl<T> Default for Spread<T> {
    fn default() -> Self {
        Self::new(1, 1.0)
    }
}

impl<T> Spread<T> {
    /// Between `most` and twice as many samples in the end (fewer of a short stretch), with slots
    /// of at least `slot_s` seconds.
    pub(super) fn new(most: usize, slot_s: f64) -> Self {
        Self { most: most.max(1), slot_s, next_slot: 0, samples: VecDeque::new() }
    }

    /// The slot that begins at `time` seconds or before and has no sample yet; it is taken now.
    pub(super) fn take_slot(&mut self, time: f64) -> Option<u64> {
        let slot = self.slot(time)?;
        self.next_slot = slot + 1;
        Some(slot)
    }

    /// As [`take_slot`](Self::take_slot), without taking it.
    pub(super) fn slot(&self, time: f64) -> Option<u64> {
        let slot = (time / self.slot_s + SLACK).floor().max(0.0) as u64;
        (slot >= self.next_slot).then_some(slot)
    }

    /// Keeps a sample for the slot that was taken last, made of frames up to `last`.
    ///
    /// Thinned out only at three times `most`, and down to twice as many in [`finish`](Self::finish):
    /// what comes after the clip's end, and is taken away there, must not decide what is thinned.
    pub(super) fn push(&mut self, slot: u64, last: u64, value: T) {
        self.samples.push_back(Sample { slot, last, value });
        if self.samples.len() > 3 * self.most {
            self.thin();
        }
    }

    fn thin(&mut self) {
        self.samples.retain(|sample| sample.slot % 2 == 0);
        for sample in &mut self.samples {
            sample.slot /= 2;
        }
        self.next_slot = self.next_slot.div_ceil(2);
        self.slot_s *= 2.0;
    }

    /// The samples made of frames before `end` only; at most twice `most`.
    pub(super) fn finish(mut self, end: u64) -> Vec<T> {
        self.samples.retain(|sample| sample.last < end);
        while self.samples.len() > 2 * self.most {
            self.thin();
        }
        self.samples.into_iter().map(|sample| sample.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Times of the samples of `frames` frames, of which the last `after` are beyond the end.
    fn sampled(frames: u64, fps: f64, most: usize, after: u64) -> Vec<f64> {
        let mut spread = Spread::new(most, 0.5);
        for frame in 0..frames + after {
            let time = frame as f64 / fps;
            if let Some(slot) = spread.take_slot(time) {
                spread.push(slot, frame, time);
            }
            assert!(spread.samples.len() <= 3 * most);
        }
        spread.finish(frames)
    }

    #[test]
    fn a_long_clip_has_as_many_samples_as_a_short_one() {
        assert_eq!(sampled(75, 25.0, 4, 0), [0.0, 0.52, 1.0, 1.52, 2.0, 2.52]);
        assert_eq!(sampled(250, 25.0, 4, 0).len(), 5);
        assert_eq!(sampled(250, 25.0, 4, 0)[1], 2.0);
        assert!((4..=8).contains(&sampled(100_000, 25.0, 4, 0).len()));
    }

    proptest! {
        #[test]
        fn what_comes_after_the_end_changes_nothing(
            frames in 1..2000_u64, after in 0..50_u64, most in 2..9_usize,
        ) {
            // Up to two seconds, when `most` slots are at least that long.
            prop_assume!(after as f64 / 25.0 < 0.5 * most as f64);
            let alone = sampled(frames, 25.0, most, 0);
            prop_assert_eq!(&alone, &sampled(frames, 25.0, most, after));
            prop_assert!(!alone.is_empty() && alone.len() <= 2 * most);
            let steps: Vec<f64> = alone.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert!(steps.iter().all(|step| (step - steps[0]).abs() < 0.05), "{:?}", alone);
        }
    }
}
