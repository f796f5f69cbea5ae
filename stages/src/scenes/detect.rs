//! Cut detectors after PySceneDetect 0.7.2's `ContentDetector` and `AdaptiveDetector`, and equal to
//! them on the same frames (`tests/scenes.rs` compares them side by side).
//!
//! Both score how much a frame differs from the one before it (mean absolute difference of hue,
//! saturation and value, in HSV as OpenCV computes it). `content` compares the score with a fixed
//! threshold; `adaptive` compares it with the scores around it, which forgives camera movement.
//! Scores are computed once per frame and shared by all detectors.
//!
//! Unlike the original, a detector also says which frames are *settled*: no later frame can still
//! make a cut there. That is what lets clips leave while the source is still being decoded.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How much a frame differs from the one before it: mean absolute differences, 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delta {
    /// Of the hue (OpenCV's 8-bit hue, 0 to 179; not circular, as in the original).
    pub hue: f64,
    /// Of the saturation.
    pub saturation: f64,
    /// Of the value (brightness).
    pub value: f64,
    /// Of the edge maps; 0 unless some detector weighs edges.
    pub edges: f64,
}

/// Weight of each component of a [`Delta`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Weight of the hue.
    pub hue: f64,
    /// Weight of the saturation.
    pub saturation: f64,
    /// Weight of the value.
    pub value: f64,
    /// Weight of the edges.
    pub edges: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { hue: 1.0, saturation: 1.0, value: 1.0, edges: 0.0 }
    }
}

impl Weights {
    /// The weighted mean, added up in the original's order so that it is equal to the last bit.
    fn score(&self, delta: &Delta) -> f64 {
        let sum = delta.hue * self.hue
            + delta.saturation * self.saturation
            + delta.value * self.value
            + delta.edges * self.edges;
        sum / (self.hue.abs() + self.saturation.abs() + self.value.abs() + self.edges.abs())
    }

    pub(crate) fn total(&self) -> f64 {
        self.hue.abs() + self.saturation.abs() + self.value.abs() + self.edges.abs()
    }
}

/// How a shortest scene is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashFilter {
    /// Cuts that follow each other too quickly are merged into one at the end of the commotion.
    #[default]
    Merge,
    /// Cuts are ignored until the shortest scene has passed.
    Suppress,
}

/// One detection pass over the frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DetectorConfig {
    /// A cut where the score reaches a fixed threshold.
    Content {
        /// The threshold.
        #[serde(default = "content_threshold")]
        threshold: f64,
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
        /// Weights of the score's components.
        #[serde(default)]
        weights: Weights,
        /// How the shortest scene is enforced.
        #[serde(default)]
        filter: FlashFilter,
    },
    /// A cut where the score stands out from its neighbours.
    Adaptive {
        /// How many times the mean of its neighbours a score must be.
        #[serde(default = "adaptive_threshold")]
        threshold: f64,
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
        /// Neighbours on each side.
        #[serde(default = "window")]
        window: usize,
        /// The least score of a cut.
        #[serde(default = "min_content")]
        min_content: f64,
        /// Weights of the score's components.
        #[serde(default)]
        weights: Weights,
    },
}

fn content_threshold() -> f64 {
    27.0
}
fn min_scene_frames() -> u64 {
    15
}
fn adaptive_threshold() -> f64 {
    3.0
}
fn window() -> usize {
    2
}
fn min_content() -> f64 {
    15.0
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self::Content {
            threshold: content_threshold(),
            min_scene_frames: min_scene_frames(),
            weights: Weights::default(),
            filter: FlashFilter::default(),
        }
    }
}

impl DetectorConfig {
    /// Weights of the pass.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        match self {
            Self::Content { weights, .. } | Self::Adaptive { weights, .. } => weights,
        }
    }

    /// Thresholds and weights, for checking.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let Weights { hue, saturation, value, edges } = *self.weights();
        let mut numbers = vec![hue, saturation, value, edges];
        match self {
            Self::Content { threshold, .. } => numbers.push(*threshold),
            Self::Adaptive { threshold, min_content, .. } => {
                numbers.extend([threshold, min_content]);
            }
        }
        numbers
    }

    /// A detector at the start of a stream.
    #[must_use]
    pub fn build(&self) -> Detector {
        match *self {
            Self::Content { threshold, min_scene_frames, weights, filter } => {
                Detector::Content(Content {
                    threshold,
                    weights,
                    filter,
                    min_frames: min_scene_frames,
                    last_above: None,
                    merge_from: None,
                    merging_allowed: false,
                })
            }
            Self::Adaptive { threshold, min_scene_frames, window, min_content, weights } => {
                Detector::Adaptive(Adaptive {
                    threshold,
                    min_frames: min_scene_frames,
                    window,
                    min_content,
                    weights,
                    scores: VecDeque::with_capacity(2 * window + 1),
                    last_cut: None,
                })
            }
        }
    }
}

/// A detection pass under way. Frames are numbered from 0 in decode order.
#[derive(Clone, Debug)]
pub enum Detector {
    /// See [`DetectorConfig::Content`].
    Content(Content),
    /// See [`DetectorConfig::Adaptive`].
    Adaptive(Adaptive),
}

impl Detector {
    /// Takes the next frame's difference; gives the first frame of a new scene when one was found
    /// (not necessarily this frame).
    pub fn push(&mut self, frame: u64, delta: &Delta) -> Option<u64> {
        match self {
            Self::Content(content) => content.push(frame, delta),
            Self::Adaptive(adaptive) => adaptive.push(frame, delta),
        }
    }

    /// After `frame` was pushed: no frame before this one can become a cut any more.
    #[must_use]
    pub fn settled(&self, frame: u64) -> u64 {
        match self {
            Self::Content(content) => content.settled(frame),
            Self::Adaptive(adaptive) => (frame + 1).saturating_sub(adaptive.window as u64),
        }
    }
}

/// State of the `content` detector with its flash filter.
#[derive(Clone, Debug)]
pub struct Content {
    threshold: f64,
    weights: Weights,
    filter: FlashFilter,
    min_frames: u64,
    /// The last frame at or above the threshold; the first frame of all at the start.
    last_above: Option<u64>,
    /// The frame at which cuts began to follow each other too quickly.
    merge_from: Option<u64>,
    /// Merging begins only after a first cut.
    merging_allowed: bool,
}

impl Content {
    fn push(&mut self, frame: u64, delta: &Delta) -> Option<u64> {
        let above = self.weights.score(delta) >= self.threshold;
        if self.min_frames == 0 {
            return above.then_some(frame);
        }
        let last_above = *self.last_above.get_or_insert(frame);
        let long_enough = frame - last_above >= self.min_frames;
        match self.filter {
            FlashFilter::Suppress => {
                let cut = above && long_enough;
                if cut {
                    self.last_above = Some(frame);
                }
                cut.then_some(frame)
            }
            FlashFilter::Merge => self.merge(frame, above, long_enough),
        }
    }

    fn merge(&mut self, frame: u64, above: bool, long_enough: bool) -> Option<u64> {
        if above {
            self.last_above = Some(frame);
        }
        if self.merge_from.is_some() {
            if long_enough && !above && self.merged_long_enough() {
                self.merge_from = None;
                return self.last_above;
            }
            return None;
        }
        if !above {
            return None;
        }
        if long_enough {
            self.merging_allowed = true;
            return Some(frame);
        }
        if self.merging_allowed {
            self.merge_from = Some(frame);
        }
        None
    }

    /// Whether the merged stretch is itself as long as a scene, so that it ends with a cut.
    fn merged_long_enough(&self) -> bool {
        match (self.merge_from, self.last_above) {
            (Some(from), Some(last)) => last - from >= self.min_frames,
            _ => false,
        }
    }

    fn settled(&self, frame: u64) -> u64 {
        // While merging, a later frame may still put the cut at the last frame above the threshold
        // (if the stretch is long enough by now; otherwise the cut can only be at a later one).
        match self.last_above {
            Some(last) if self.merged_long_enough() => last,
            _ => frame + 1,
        }
    }
}

/// State of the `adaptive` detector.
#[derive(Clone, Debug)]
pub struct Adaptive {
    threshold: f64,
    min_frames: u64,
    window: usize,
    min_content: f64,
    weights: Weights,
    scores: VecDeque<f64>,
    /// The last cut; the first frame of all at the start.
    last_cut: Option<u64>,
}

impl Adaptive {
    /// Below this mean of the neighbours a ratio says nothing.
    const ZERO: f64 = 0.00001;
    /// The largest ratio, also that of a change amid stillness.
    const MAX_RATIO: f64 = 255.0;

    fn push(&mut self, frame: u64, delta: &Delta) -> Option<u64> {
        let last_cut = *self.last_cut.get_or_insert(frame);
        if self.scores.len() == 2 * self.window + 1 {
            self.scores.pop_front();
        }
        self.scores.push_back(self.weights.score(delta));
        if self.scores.len() < 2 * self.window + 1 {
            return None;
        }
        let target = frame - self.window as u64;
        let score = self.scores[self.window];
        let neighbours = self.scores.iter().enumerate().filter(|(i, _)| *i != self.window);
        let mean = neighbours.map(|(_, s)| s).sum::<f64>() / (2.0 * self.window as f64);
        let ratio = if mean.abs() >= Self::ZERO {
            (score / mean).min(Self::MAX_RATIO)
        } else if score >= self.min_content {
            Self::MAX_RATIO
        } else {
            0.0
        };
        let cut = ratio >= self.threshold
            && score >= self.min_content
            && target - last_cut >= self.min_frames;
        if cut {
            self.last_cut = Some(target);
        }
        cut.then_some(target)
    }
}

#[cfg(test)]
mod tests;
