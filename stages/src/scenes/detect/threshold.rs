//! PySceneDetect's `ThresholdDetector`: cuts between fade-outs and fade-ins.
//!
//! One rule is ours: a source may stay dark for hours, and nothing of it could leave memory while
//! its next cut is open. A dark stretch of [`LONGEST_FADE`] frames is therefore taken as over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Dark frames after which a fade is settled although no fade-in has come.
pub(super) const LONGEST_FADE: u64 = 1500;

/// Which side of the threshold counts as faded out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FadeTo {
    /// Below the threshold: fades to black.
    #[default]
    Black,
    /// At or above it: fades to white.
    White,
}

/// State of the `threshold` detector.
#[derive(Clone, Debug)]
pub(super) struct Threshold {
    pub(super) threshold: f64,
    pub(super) min_frames: u64,
    pub(super) bias: f64,
    pub(super) fade_to: FadeTo,
    pub(super) min_out: u64,
    pub(super) final_scene: bool,
    /// The last fade-in that made a cut; the first frame of all at the start.
    pub(super) last_cut: Option<u64>,
    /// The frame at which the picture faded out, while it is.
    pub(super) out_since: Option<u64>,
    /// Whether the dark stretch has been settled by its length.
    pub(super) is_over: bool,
}

impl Threshold {
    pub(super) fn push(&mut self, frame: u64, level: f64) -> Option<u64> {
        let is_out = match self.fade_to {
            FadeTo::Black => level < self.threshold,
            FadeTo::White => level >= self.threshold,
        };
        let last_cut = *self.last_cut.get_or_insert(frame);
        let Some(since) = self.out_since else {
            self.out_since = is_out.then_some(frame);
            return None;
        };
        let reached_end = !self.is_over && frame - since >= LONGEST_FADE;
        let cut = (!is_out || reached_end)
            && !self.is_over
            && frame - last_cut >= self.min_frames
            && frame - since >= self.min_out;
        self.is_over |= reached_end;
        if !is_out {
            (self.out_since, self.is_over) = (None, false);
        }
        cut.then(|| {
            self.last_cut = Some(frame);
            self.between(since, frame)
        })
    }

    /// Where the cut lies between the first dark frame and the first bright one.
    fn between(&self, out: u64, back: u64) -> u64 {
        out + ((back - out) as f64 * (1.0 + self.bias) / 2.0).round_ties_even() as u64
    }

    pub(super) fn settled(&self, frame: u64) -> u64 {
        match self.out_since {
            // A source that ends dark may still get a cut where it faded out.
            Some(since) if self.final_scene && !self.is_over => since,
            Some(since) if !self.is_over => self.between(since, frame + 1),
            _ => frame + 1,
        }
    }

    /// The cut of a source that ends while it is faded out; `frame` is its last one.
    pub(super) fn finish(&self, frame: u64) -> Option<u64> {
        let (since, last_cut) = (self.out_since?, self.last_cut?);
        let is_long = frame - last_cut >= self.min_frames && frame + 1 - since >= self.min_out;
        (self.final_scene && !self.is_over && is_long).then_some(since)
    }
}
