//! The settings of detection passes, and how a detector is made of them.

use std::{collections::VecDeque, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Delta, Detector, Kind,
    adaptive::Adaptive,
    content::Content,
    given::{Fixed, Keyframe, Listed, Missing},
    likeness::{Feature, Likeness},
    threshold::{FadeTo, Threshold},
};

/// Weight of each component of a [`Delta`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub(in crate::scenes) fn score(&self, delta: &Delta) -> f64 {
        let sum = delta.hue * self.hue
            + delta.saturation * self.saturation
            + delta.value * self.value
            + delta.edges * self.edges;
        sum / (self.hue.abs() + self.saturation.abs() + self.value.abs() + self.edges.abs())
    }

    fn total(&self) -> f64 {
        self.hue.abs() + self.saturation.abs() + self.value.abs() + self.edges.abs()
    }
}

/// How a shortest scene is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlashFilter {
    /// Cuts that follow each other too quickly are merged into one at the end of the commotion.
    #[default]
    Merge,
    /// Cuts are ignored until the shortest scene has passed.
    Suppress,
}

/// One detection pass over the frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "lowercase",
    deny_unknown_fields,
    expecting = "a table such as { kind = \"content\" }"
)]
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
        /// Frames left out between two that are compared.
        #[serde(default, skip_serializing_if = "is_zero")]
        frame_skip: u64,
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
    /// A cut between a fade-out and the fade-in after it.
    Threshold {
        /// Mean level, 0 to 255, at which a picture counts as faded out.
        #[serde(default = "fade_threshold")]
        threshold: u8,
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
        /// Where the cut is: -1 at the fade-out, 0 in the middle, 1 at the fade-in.
        #[serde(default)]
        fade_bias: f64,
        /// Which side of the threshold is faded out.
        #[serde(default)]
        fade_to: FadeTo,
        /// Shortest fade in frames.
        #[serde(default)]
        min_out_frames: u64,
        /// Whether a source that ends faded out gets a last scene there.
        #[serde(default)]
        final_scene: bool,
    },
    /// A cut where the perceptual hash changes.
    Hash {
        /// The least share of bits that change, 0 to 1.
        #[serde(default = "hash_threshold")]
        threshold: f64,
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
        /// Bits of the hash along one side.
        #[serde(default = "hash_size")]
        size: u32,
        /// So many times as many frequencies are computed as are used.
        #[serde(default = "hash_lowpass")]
        lowpass: u32,
    },
    /// A cut where the brightness histogram changes.
    Histogram {
        /// The least change of a cut: 1 minus the correlation of the histograms.
        #[serde(default = "histogram_threshold")]
        threshold: f64,
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
        /// Levels of brightness that are told apart.
        #[serde(default = "histogram_bins")]
        bins: u32,
    },
    /// A cut where TransNet V2, a network, sees one (`curate models pull transnetv2`). About 17 ms of one
    /// core for each frame.
    TransnetV2 {
        /// Probability above which a frame is part of a transition.
        #[serde(default = "shot_threshold")]
        threshold: f64,
    },
    /// A cut every so many seconds, whatever is in the picture.
    Fixed {
        /// The distance in seconds.
        seconds: f64,
    },
    /// A cut at every key frame of the codec.
    Keyframe {
        /// Shortest scene in frames.
        #[serde(default = "min_scene_frames")]
        min_scene_frames: u64,
    },
    /// A cut where a scene of the source's cut list starts or ends. Of a source called `NAME.mp4`
    /// that is `NAME-Scenes.csv` or `NAME.csv` (as PySceneDetect writes them) or `NAME.edl`; the
    /// source's id may stand for the name. A list that has changed does not cut again what is in
    /// the table.
    List {
        /// The folder of the lists, relative to the recipe. Default: each video's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<PathBuf>,
        /// What becomes of a video without a list.
        #[serde(default)]
        missing: Missing,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
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
fn fade_threshold() -> u8 {
    12
}
fn hash_threshold() -> f64 {
    0.35
}
fn shot_threshold() -> f64 {
    0.5
}
fn hash_size() -> u32 {
    8
}
fn hash_lowpass() -> u32 {
    2
}
fn histogram_threshold() -> f64 {
    0.2
}
fn histogram_bins() -> u32 {
    128
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self::Content {
            threshold: content_threshold(),
            min_scene_frames: min_scene_frames(),
            weights: Weights::default(),
            filter: FlashFilter::default(),
            frame_skip: 0,
        }
    }
}

impl DetectorConfig {
    /// Weights of the score, for detectors that go by it.
    #[must_use]
    pub fn weights(&self) -> Option<&Weights> {
        match self {
            Self::Content { weights, .. } | Self::Adaptive { weights, .. } => Some(weights),
            _ => None,
        }
    }

    /// Frames left out between two whose difference it asks for.
    pub(in crate::scenes) fn frame_skip(&self) -> Option<u64> {
        match self {
            Self::Content { frame_skip, .. } => Some(*frame_skip),
            Self::Adaptive { .. } => Some(0),
            _ => None,
        }
    }

    /// Whether it looks at the picture itself.
    pub(in crate::scenes) fn wants_picture(&self) -> bool {
        matches!(self, Self::Threshold { .. } | Self::Hash { .. } | Self::Histogram { .. })
    }

    /// The threshold of the network, if it is that.
    pub(in crate::scenes) const fn shot_threshold(&self) -> Option<f64> {
        match self {
            Self::TransnetV2 { threshold } => Some(*threshold),
            _ => None,
        }
    }

    /// Whether it may be shown key frames and the stretches that they make suspicious.
    pub(in crate::scenes) fn works_on_key_frames(&self) -> bool {
        match self {
            Self::Content { frame_skip, .. } => *frame_skip == 0,
            Self::Fixed { .. } | Self::Keyframe { .. } | Self::List { .. } => true,
            _ => false,
        }
    }

    /// What is wrong with the settings.
    pub(in crate::scenes) fn faults(&self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        let mut require = |is_met: bool, fault| {
            if !is_met {
                faults.push(fault);
            }
        };
        let fits = |value: f64| value.is_finite() && value >= 0.0;
        if let Some(weights) = self.weights() {
            let Weights { hue, saturation, value, edges } = *weights;
            let are_numbers = [hue, saturation, value, edges].into_iter().all(fits);
            require(are_numbers, "thresholds and weights must be numbers, 0 or more");
            require(
                !are_numbers || weights.total() > 0.0,
                "the weights of a pass must not all be 0",
            );
        }
        let number = "thresholds and weights must be numbers, 0 or more";
        match *self {
            Self::Content { threshold, frame_skip, .. } => {
                require(fits(threshold), number);
                require(frame_skip <= 100, "`frame_skip` must be at most 100");
            }
            Self::Adaptive { threshold, window, min_content, .. } => {
                require(fits(threshold) && fits(min_content), number);
                require(
                    (1..=1000).contains(&window),
                    "`window` must be at least 1, and at most 1000",
                );
            }
            Self::Threshold { fade_bias, .. } => {
                require((-1.0..=1.0).contains(&fade_bias), "`fade_bias` must be -1 to 1");
            }
            Self::Hash { threshold, size, lowpass, .. } => {
                require((0.0..=1.0).contains(&threshold), "`threshold` of a hash must be 0 to 1");
                // OpenCV transforms only an even number of samples.
                let is_even = (size.saturating_mul(lowpass)).is_multiple_of(2);
                let fits = (1..=64).contains(&size) && (1..=8).contains(&lowpass) && is_even;
                require(fits, "`size` must be 1 to 64, `lowpass` 1 to 8, and their product even");
            }
            Self::Histogram { threshold, bins, .. } => {
                require(
                    (0.0..=1.0).contains(&threshold),
                    "`threshold` of a histogram must be 0 to 1",
                );
                require((2..=256).contains(&bins), "`bins` must be 2 to 256");
            }
            Self::Fixed { seconds } => {
                require(fits(seconds) && seconds > 0.0, "`seconds` must be a number above 0");
            }
            Self::TransnetV2 { threshold } => {
                let is_one = (0.0..1.0).contains(&threshold);
                require(is_one, "`threshold` of transnetv2 must be 0 or more, and below 1");
            }
            Self::Keyframe { .. } | Self::List { .. } => {}
        }
        faults
    }

    /// A detector at the start of a stream. Those of `list` and `transnetv2` cut nowhere: the split
    /// reads the list of each source, and asks the network itself (`shots.rs`).
    #[must_use]
    pub fn build(&self) -> Detector {
        Detector(match *self {
            Self::Content { threshold, min_scene_frames, weights, filter, frame_skip } => {
                let content = Content {
                    threshold,
                    weights,
                    filter,
                    min_frames: min_scene_frames,
                    last_above: None,
                    merge_from: None,
                    merging_allowed: false,
                };
                Kind::Content(content, frame_skip)
            }
            Self::Adaptive { threshold, min_scene_frames, window, min_content, weights } => {
                Kind::Adaptive(Adaptive {
                    threshold,
                    min_frames: min_scene_frames,
                    window,
                    min_content,
                    weights,
                    scores: VecDeque::with_capacity(2 * window + 1),
                    last_cut: None,
                })
            }
            Self::Threshold {
                threshold,
                min_scene_frames,
                fade_bias,
                fade_to,
                min_out_frames,
                final_scene,
            } => Kind::Threshold(Threshold {
                threshold: f64::from(threshold),
                min_frames: min_scene_frames,
                bias: fade_bias,
                fade_to,
                min_out: min_out_frames,
                final_scene,
                last_cut: None,
                out_since: None,
                is_over: false,
            }),
            Self::Hash { threshold, min_scene_frames, size, lowpass } => Kind::Likeness(
                Likeness::new(Feature::Hash { size, lowpass }, threshold, min_scene_frames),
            ),
            Self::Histogram { threshold, min_scene_frames, bins } => Kind::Likeness(Likeness::new(
                Feature::Histogram { bins },
                threshold,
                min_scene_frames,
            )),
            Self::Fixed { seconds } => Kind::Fixed(Fixed { seconds, since: None }),
            Self::Keyframe { min_scene_frames } => {
                Kind::Keyframe(Keyframe { min_frames: min_scene_frames, last_cut: None })
            }
            Self::List { .. } | Self::TransnetV2 { .. } => Kind::Listed(Listed::default()),
        })
    }
}
