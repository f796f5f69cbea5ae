//! `motion`: drops clips that stand still or move too much.
//!
//! The paper's filter (EasyAnimate, arXiv 2405.18991) measures optical flow between frames and keeps
//! clips with a suitable amount of it. Here the judged value, `motion`, is the mean speed of a pixel
//! in frame diagonals per second: the same for the same scene at any resolution and frame rate.
//! Beside it stand how much of it is the camera's and how much the subject's (`stats.rs`,
//! `affine.rs`), and what the camera does (`camera.rs`).
//!
//! How flow is found is a choice (`flow.rs` is the seam): `dis` compares small pairs of frames,
//! `farneback` reproduces the score of the released recipe, `mvs` reads the codec's vectors.
//! `preset = "easyanimate"` is the released rule: that score, kept between 3 and 8 pixels.
//! (The release excludes 3 and 8 themselves, which no measured score is.)
//!
//! A clip that cannot be measured (a single frame; for `mvs` most codecs) has null values, which
//! pass every threshold.

mod affine;
mod camera;
mod config;
mod dis;
mod farneback;
mod flow;
mod mvs;
mod raft;
mod stats;

use curate_models::{
    hub::Hub,
    raft::{RaftOptions, Variant},
};
use curate_pipeline::{
    BatchMap, BuildContext, BuildError, Check, ClipError, FrameNeed, Item, Map, Pairs, Problems,
    Shape, Stage, StageConfig, StageEntry, StageFault, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use serde_json::{Value as Json, json};

use crate::range::Range;

pub use config::{MethodName, MotionConfig, Prefilter, Preset, WeightsName};
pub use dis::Dis;
pub use flow::{FlowPair, FlowSource, Measured, Method, TakeFlow};
pub use stats::{Field, Motion, PairStats, Reducer};

/// Below this a clip stands still. Of the clips at hand, those in which nothing but grain and
/// compression moves measure up to 0.004, and the slowest that the released rule keeps 0.009.
const LEAST_MOTION: f64 = 0.008;

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "motion",
    summary: "drop clips that stand still or move too much",
    parse: |table, problems| Box::new(read_table::<MotionConfig>(table, problems)),
    schema: settings::<MotionConfig>,
    example: "[[stage]]\nkind = \"motion\"\n\
              method = \"auto\"          # \"dis\", \"raft-small\", \"farneback\" (the released score), \"mvs\"\n\
              # pairs = 4              # pairs of frames of each clip\n\
              # gap_s = 0.125          # seconds between the frames of a pair\n\
              # size = 256             # shorter side of the compared frames\n\
              keep = { min = 0.008 }   # frame diagonals per second; max = 1.0 drops what shakes\n\
              # preset = \"easyanimate\" # instead: the released score, kept from 3 to 8 pixels\n",
};

impl MotionConfig {
    /// The method that is meant.
    fn method(&self) -> MethodName {
        let preset = self.preset.map(|Preset::EasyAnimate| MethodName::Farneback);
        match self.method.or(preset).unwrap_or_default() {
            MethodName::Auto => MethodName::Dis,
            method => method,
        }
    }

    /// Kept values: the settings, or else the preset's, or else the default of the judged value.
    fn keep(&self) -> (Range, Range) {
        let (usual, usual_px) = match self.preset {
            None => (Range::at_least(LEAST_MOTION), Range::default()),
            Some(Preset::EasyAnimate) => {
                (Range::default(), Range { min: Some(3.0), max: Some(8.0) })
            }
        };
        (self.keep.unwrap_or(usual), self.keep_px.unwrap_or(usual_px))
    }

    fn pairs(&self) -> Pairs {
        Pairs { count: self.pairs, gap_s: self.gap_s, short_side: self.size }
    }

    /// The hub's id of the network's weights.
    fn weights(&self) -> Option<&'static str> {
        match (self.method(), self.weights) {
            (MethodName::RaftSmall, None | Some(WeightsName::Own)) => Some(raft::OWN_SMALL),
            (MethodName::RaftSmall, Some(WeightsName::Torchvision)) => Some(raft::PUBLISHED_SMALL),
            (MethodName::RaftLarge, _) => Some(raft::PUBLISHED_LARGE),
            _ => None,
        }
    }

    fn is_raft(&self) -> bool {
        matches!(self.method(), MethodName::RaftSmall | MethodName::RaftLarge)
    }
}

impl StageConfig for MotionConfig {
    fn shape(&self) -> Shape {
        if self.is_raft() { Shape::Batch } else { Shape::Map }
    }

    fn reads(&self) -> &'static [&'static str] {
        &["start_pts", "end_pts", "tb_num", "tb_den", "num_frames"]
    }

    fn writes(&self) -> &'static [&'static str] {
        &[
            "motion",
            "motion_px_mean",
            "motion_px_p95",
            "motion_camera",
            "motion_subject",
            "camera_motion",
            "motion_method",
        ]
    }

    fn frames(&self) -> FrameNeed {
        let mut need = match self.method() {
            MethodName::Farneback => {
                FrameNeed { chain: Some(farneback::CHAIN), ..FrameNeed::default() }
            }
            MethodName::Mvs => FrameNeed { vectors: Some(mvs::VECTORS), ..FrameNeed::default() },
            MethodName::Auto | MethodName::Dis | MethodName::RaftSmall | MethodName::RaftLarge => {
                FrameNeed { pairs: Some(self.pairs()), ..FrameNeed::default() }
            }
        };
        if self.prefilter == Some(Prefilter::Mvs) {
            need.vectors = Some(mvs::VECTORS);
        }
        need
    }

    fn models(&self) -> Vec<&'static str> {
        self.weights().map_or_else(Vec::new, |weights| vec!["onnxruntime", weights])
    }

    /// Only what has a say: another `size` does not change what `mvs` measures.
    fn measuring(&self) -> Json {
        let method = self.method();
        match method {
            MethodName::Farneback | MethodName::Mvs => json!({ "method": method }),
            MethodName::Auto | MethodName::Dis => {
                json!({
                    "method": method,
                    "pairs": self.pairs, "gap_s": self.gap_s, "size": self.size,
                })
            }
            MethodName::RaftSmall | MethodName::RaftLarge => {
                let own = self.method() == MethodName::RaftSmall
                    && self.weights != Some(WeightsName::Torchvision);
                let weights = if own { WeightsName::Own } else { WeightsName::Torchvision };
                json!({
                    "method": method, "weights": weights, "updates": self.updates,
                    "prefilter": self.prefilter,
                    "pairs": self.pairs, "gap_s": self.gap_s, "size": self.size,
                })
            }
        }
    }

    fn judging(&self) -> Json {
        let (keep, keep_px) = self.keep();
        json!({ "keep": keep, "keep_px": keep_px })
    }

    fn validate(&self, problems: &mut Problems) {
        if self.method() == MethodName::RaftLarge && self.weights == Some(WeightsName::Own) {
            problems
                .report("weights", "the project has no weights of its own for RAFT-large")
                .help = Some("remove the setting, or use \"raft-small\"".to_owned());
        }
        if self.preset.is_some() && self.method() != MethodName::Farneback {
            problems.report("preset", "is a rule about another method's pixels").help =
                Some("remove `method` or `preset`".to_owned());
        }
        if self.weights.is_some() && !self.is_raft() {
            problems.report("weights", "only RAFT has weights, and `method` is another").help =
                Some("remove the setting".to_owned());
        }
        if !(1..=64).contains(&self.updates) {
            problems.report("updates", "must be 1 to 64").help =
                Some("the default is 12".to_owned());
        }
        if self.prefilter.is_some() && !self.is_raft() {
            problems.report("prefilter", "only spares RAFT work, and `method` is another").help =
                Some("remove the setting".to_owned());
        }
        if !(1..=1000).contains(&self.pairs) {
            problems.report("pairs", "must be 1 to 1000").help =
                Some("the default is 4".to_owned());
        }
        if !(self.gap_s > 0.0 && self.gap_s <= 10.0) {
            problems.report("gap_s", "must be a positive number of seconds, at most 10").help =
                Some("the default is 0.125".to_owned());
        }
        if !(32..=4096).contains(&self.size) {
            problems.report("size", "must be 32 to 4096 pixels").help =
                Some("the default is 256".to_owned());
        }
        for (key, range) in [("keep", self.keep), ("keep_px", self.keep_px)] {
            if let Some(range) = range {
                range.validate(key, f64::INFINITY, problems);
            }
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = |value: Option<&f32>| value.map(|value| f64::from(*value));
        let (keep, keep_px) = self.keep();
        let reasons = ("too_still", "too_much_motion");
        let speed = keep.checks("motion", value(clip.get(c::MOTION)), reasons);
        speed
            .chain(keep_px.checks("motion_px_mean", value(clip.get(c::MOTION_PX_MEAN)), reasons))
            .collect()
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        let dis = || -> Result<Box<dyn Method>, BuildError> {
            let dis = Dis::new().map_err(|error| failed(error.to_string()))?;
            Ok(Box::new(flow::PairFlow::new(dis, self.pairs, self.gap_s)))
        };
        let mut method: Box<dyn Method> = match self.method() {
            MethodName::Farneback => Box::<farneback::Farneback>::default(),
            MethodName::Mvs => Box::<mvs::CodecVectors>::default(),
            MethodName::Auto | MethodName::Dis => dis()?,
            MethodName::RaftSmall | MethodName::RaftLarge => Box::new(self.raft(context)?),
        };
        if let Some(prefilter) = self.prefilter {
            let first: Box<dyn Method> = match prefilter {
                Prefilter::Mvs => Box::<mvs::CodecVectors>::default(),
                Prefilter::Dis => dis()?,
            };
            method = Box::new(flow::Prefiltered { first, then: method });
        }
        let runner = Runner(method);
        Ok(if self.is_raft() {
            Stage::Batch(Box::new(runner))
        } else {
            Stage::Map(Box::new(runner))
        })
    }
}

impl MotionConfig {
    fn raft(
        &self,
        context: &BuildContext<'_>,
    ) -> Result<flow::PairFlow<raft::RaftFlow>, BuildError> {
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        let variant = match self.method() {
            MethodName::RaftLarge => Variant::Large,
            _ => Variant::Small,
        };
        let hub = Hub::open(context.models).map_err(|error| failed(error.to_string()))?;
        let options = RaftOptions { updates: self.updates, threads: context.run.cpus };
        let weights = self.weights().unwrap_or(raft::OWN_SMALL);
        let source = raft::RaftFlow::load(&hub, weights, variant, options)
            .map_err(|error| failed(error.to_string()))?;
        Ok(flow::PairFlow::new(source, self.pairs, self.gap_s))
    }
}

/// Runs a method and writes the columns.
struct Runner(Box<dyn Method>);

impl Map for Runner {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let measured = self.map_batch(&mut [item]);
        let measured = measured
            .map_err(|fault| ClipError { kind: "fault", message: fault.to_string() })?
            .pop();
        measured.unwrap_or(Ok(()))
    }
}

impl BatchMap for Runner {
    fn max_batch(&self) -> usize {
        self.0.max_batch()
    }

    fn map_batch(
        &mut self,
        items: &mut [&mut Item],
    ) -> Result<Vec<Result<(), ClipError>>, StageFault> {
        let measured = self.0.measure(&items.iter().map(|item| &**item).collect::<Vec<_>>())?;
        let written = items.iter_mut().zip(measured).map(|(item, motion)| {
            motion.map(|motion| write(&mut item.clip, motion.as_ref(), self.0.name()))
        });
        Ok(written.collect())
    }
}

fn write(clip: &mut Clip, motion: Option<&Motion>, name: &str) {
    let Some(motion) = motion else {
        clip.set(c::MOTION_METHOD, name.to_owned());
        return;
    };
    clip.set(c::MOTION, motion.speed as f32);
    clip.set(c::MOTION_PX_MEAN, motion.px_mean as f32);
    clip.set(c::MOTION_PX_P95, motion.px_p95 as f32);
    clip.set(c::MOTION_CAMERA, motion.camera as f32);
    clip.set(c::MOTION_SUBJECT, motion.subject as f32);
    clip.set(c::CAMERA_MOTION, motion.camera_motion.to_owned());
    clip.set(c::MOTION_METHOD, motion.method.to_owned());
}

#[cfg(test)]
mod tests;
