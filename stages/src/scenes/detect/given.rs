//! Cuts that no picture decides: at fixed distances, at the codec's key frames, and where a list
//! says (`cuts/` reads it).

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a video without a cut list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It fails, and the reason says where a list was looked for.
    #[default]
    Fail,
    /// It gets no cuts from a list.
    Ignore,
}

/// State of the `fixed` detector: a cut every so many seconds from the first frame on.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) seconds: f64,
    /// Time of the first frame, and how many cuts were made.
    pub(super) since: Option<(f64, u64)>,
}

impl Fixed {
    /// Times are sums of ticks in floating point; a frame that is this little early is on time.
    const EARLY_S: f64 = 1e-6;

    pub(super) fn push(&mut self, frame: u64, now: f64) -> Option<u64> {
        let (start, cuts) = *self.since.get_or_insert((now, 0));
        // Multiples from the start, so that a rate that does not divide the distance adds no drift.
        let passed = ((now - start + Self::EARLY_S) / self.seconds).floor().max(0.0) as u64;
        if passed <= cuts {
            return None;
        }
        self.since = Some((start, passed));
        Some(frame)
    }
}

/// State of the `keyframe` detector: a cut at every key frame of the codec.
#[derive(Clone, Debug)]
pub(super) struct Keyframe {
    pub(super) min_frames: u64,
    /// The last cut; the first frame of all at the start.
    pub(super) last_cut: Option<u64>,
}

impl Keyframe {
    pub(super) fn push(&mut self, frame: u64, is_key: bool) -> Option<u64> {
        let last_cut = *self.last_cut.get_or_insert(frame);
        let cut = is_key && frame > last_cut && frame - last_cut >= self.min_frames;
        if cut {
            self.last_cut = Some(frame);
        }
        cut.then_some(frame)
    }
}

/// State of the `list` detector: cuts at given times.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    /// In order, in seconds: the first frame that is not before such a time is a cut.
    pub(super) times_s: VecDeque<f64>,
}

impl Listed {
    pub(super) fn push(&mut self, frame: u64, now: f64) -> Option<u64> {
        let mut cut = None;
        while self.times_s.front().is_some_and(|time| *time <= now) {
            self.times_s.pop_front();
            cut = Some(frame);
        }
        cut
    }
}
