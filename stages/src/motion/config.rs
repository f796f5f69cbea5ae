//! The settings of the `motion` stage, as a recipe states them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Range;

/// How motion is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// What suits the machine: `dis`.
    #[default]
    Auto,
    /// Dense inverse search on small pairs of frames.
    Dis,
    /// The score of the released EasyAnimate recipe.
    Farneback,
    /// The codec's motion vectors.
    Mvs,
    /// RAFT, the small model.
    RaftSmall,
    /// RAFT, the large model.
    RaftLarge,
}

/// Whose weights a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightsName {
    /// This project's own, which are built in (`raft-small` only).
    Own,
    /// Those that torchvision publishes.
    Torchvision,
}

/// What looks at a clip before a costly method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prefilter {
    /// The codec's motion vectors.
    Mvs,
    /// Dense inverse search.
    Dis,
}

/// A named set of settings; single settings override it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The released EasyAnimate recipe: `farneback`, more than 3 and less than 8 pixels.
    EasyAnimate,
}

/// Settings of the `motion` stage.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MotionConfig {
    /// A named set of settings.
    pub preset: Option<Preset>,
    /// How motion is measured.
    pub method: Option<MethodName>,
    /// Whose weights RAFT has: the project's own for `raft-small`, else torchvision's.
    pub weights: Option<WeightsName>,
    /// How often RAFT updates its estimate.
    pub updates: u32,
    /// What rejects clear cases before RAFT looks at them.
    pub prefilter: Option<Prefilter>,
    /// Pairs of frames of each clip, spread evenly over it.
    pub pairs: usize,
    /// Seconds between the frames of a pair. Fast motion is measured over a third of it.
    pub gap_s: f64,
    /// Shorter side of the compared frames in pixels; smaller sources are not enlarged.
    pub size: u32,
    /// Kept `motion`, in frame diagonals per second.
    pub keep: Option<Range>,
    /// Kept `motion_px_mean`, in pixels.
    pub keep_px: Option<Range>,
}

impl Default for MotionConfig {
    fn default() -> Self {
        Self {
            preset: None,
            method: None,
            weights: None,
            // As torchvision does.
            updates: 12,
            prefilter: None,
            // Spread over ten seconds they meet a movement that lasts a few of them. Each costs two
            // flows of some ten milliseconds when the clip is slow, and one when it is fast.
            pairs: 4,
            // Slow motion (0.02 diagonals per second) is more than a pixel by then, and three
            // frames of 24, 25 and 30 per second are near it and a third of it is one.
            gap_s: 0.125,
            size: 256,
            keep: None,
            keep_px: None,
        }
    }
}
