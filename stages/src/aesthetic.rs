//! `aesthetic`: drops clips that people would not find pleasing to look at.
//!
//! The released recipe (EasyAnimate) scores four frames with LAION's head on CLIP, later with Aesthetic
//! Predictor V2.5 on SigLIP, and keeps a mean of 4 and more; so does this, with either. What the tower
//! makes of frames also says whether a clip stays with one thing: `consistency_min` compares the first
//! frame with every later one that is looked at, and is low where a cut was missed. The release compares
//! keyframes, which lie where an encoder wanted them; here the last frame is looked at besides the four,
//! so that no part of a clip is left out.
//!
//! Frames are taken where the release takes them: at the beginnings of equal parts.
//!
//! Decided against a `Batch`: a batch of pictures takes as long as they take alone on a CPU, and the
//! weights are mapped, so each worker's session is small.

use curate_models::{
    ModelError,
    aesthetic::{
        Predictor,
        head::{Head, consistency, unit},
        tower::Embedder,
    },
    hub::Hub,
};
use curate_pipeline::{
    BuildContext, BuildError, Check, ClipError, Frame, FrameNeed, Grid, Item, Map, Problems, Shape,
    Stage, StageConfig, StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    Range,
    sample::{grid_of, no_frames, rgb_at_most},
};

/// What the released recipe keeps.
const RELEASED_MEAN: f64 = 4.0;

/// Frames are picked from a grid of so many a second.
const PER_SECOND: f64 = 2.0;
/// 720p reaches the tower as it is; what is larger is brought to this first.
const MAX_SIDE: u32 = 1280;

/// A published predictor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Model {
    /// LAION's linear head (sac+logos+ava1) on CLIP ViT-L/14.
    #[default]
    #[serde(rename = "laion-v2")]
    LaionV2,
    /// Aesthetic Predictor V2.5 on SigLIP so400m: four times the work.
    #[serde(rename = "siglip-v2.5")]
    SiglipV25,
}

impl Model {
    const fn predictor(self) -> Predictor {
        match self {
            Self::LaionV2 => Predictor::LaionV2,
            Self::SiglipV25 => Predictor::SiglipV25,
        }
    }
}

/// Settings of the `aesthetic` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AestheticConfig {
    /// `"laion-v2"` or `"siglip-v2.5"`.
    pub model: Model,
    /// Frames of each clip that are scored: those that begin equal parts. The last frame is looked at
    /// besides, for `consistency`.
    pub frames: usize,
    /// Mean score of the frames.
    pub mean: Range,
    /// Score of the frame that scores least.
    pub min: Range,
    /// Least cosine of the first frame's embedding and any other's; the release has 0.8.
    pub consistency: Range,
}

impl Default for AestheticConfig {
    fn default() -> Self {
        Self {
            model: Model::default(),
            frames: 4,
            mean: Range::at_least(RELEASED_MEAN),
            min: Range::default(),
            consistency: Range::default(),
        }
    }
}

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "aesthetic",
    summary: "drop clips that are not pleasing to look at",
    parse: |table, problems| Box::new(read_table::<AestheticConfig>(table, problems)),
    schema: settings::<AestheticConfig>,
    example: "# [[stage]]\n# kind = \"aesthetic\"     # `curate models pull clip-vit-l14 laion-aesthetic-v2`\n\
              # mean = { min = 4.0 }     # as released\n\
              # model = \"siglip-v2.5\"  # four times the work\n\
              # consistency = { min = 0.8 }  # of the first frame and later ones: missed cuts\n",
};

impl StageConfig for AestheticConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn writes(&self) -> &'static [&'static str] {
        &["aesthetic_mean", "aesthetic_min", "aesthetic_model", "consistency_min", "embedding"]
    }

    fn frames(&self) -> FrameNeed {
        let grid = Grid { per_second: PER_SECOND, max_side: MAX_SIDE };
        FrameNeed { grid: Some(grid), ..FrameNeed::default() }
    }

    fn models(&self) -> Vec<&'static str> {
        let [tower, head] = self.model.predictor().models();
        vec!["onnxruntime", tower, head]
    }

    fn measuring(&self) -> Json {
        json!({ "model": self.model, "frames": self.frames })
    }

    fn judging(&self) -> Json {
        json!({ "mean": self.mean, "min": self.min, "consistency": self.consistency })
    }

    fn validate(&self, problems: &mut Problems) {
        if !(1..=100).contains(&self.frames) {
            problems.report("frames", "must be 1 to 100").help =
                Some("the default is 4".to_owned());
        }
        self.mean.validate("mean", 10.0, problems);
        self.min.validate("min", 10.0, problems);
        self.consistency.validate("consistency", 1.0, problems);
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = |column| clip.get(column).map(|value| f64::from(*value));
        let looks = ("not_pleasing", "too_pleasing");
        let mean = self.mean.checks("aesthetic_mean", value(c::AESTHETIC_MEAN), looks);
        let least = self.min.checks("aesthetic_min", value(c::AESTHETIC_MIN), looks);
        let changes = ("changes_content", "changes_too_little");
        let consistency =
            self.consistency.checks("consistency_min", value(c::CONSISTENCY_MIN), changes);
        mean.chain(least).chain(consistency).collect()
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        let hub = Hub::open(context.models).map_err(|error| failed(error.to_string()))?;
        // Clips are looked at side by side, so a network gets one thread.
        let (embedder, head) =
            self.model.predictor().load(&hub, 1).map_err(|error| failed(error.to_string()))?;
        Ok(Stage::Map(Box::new(Aesthetic {
            name: self.model.predictor().name(),
            frames: self.frames,
            embedder,
            head,
        })))
    }
}

/// The running half.
struct Aesthetic {
    name: &'static str,
    frames: usize,
    embedder: Embedder,
    head: Head,
}

/// Which of so many grid frames are scored, and which is looked at besides.
fn picks(have: usize, count: usize) -> (Vec<usize>, Option<usize>) {
    let count = count.min(have);
    let scored: Vec<usize> = (0..count).map(|part| part * have / count).collect();
    let last = have.checked_sub(1).filter(|last| scored.last() != Some(last));
    (scored, last)
}

impl Aesthetic {
    fn embed(&mut self, frame: &Frame) -> Result<Vec<f32>, ClipError> {
        let picture = rgb_at_most(frame, MAX_SIDE)?;
        self.embedder
            .embed(&picture.data, picture.width, picture.height)
            .map_err(|error| model(&error))
    }
}

fn model(error: &ModelError) -> ClipError {
    ClipError { kind: "model", message: error.to_string() }
}

impl Map for Aesthetic {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let grid = grid_of(item, PER_SECOND);
        let (scored, last) = picks(grid.len(), self.frames);
        if scored.is_empty() {
            return Err(no_frames());
        }
        let mut embeddings = Vec::with_capacity(scored.len() + 1);
        for index in scored.iter().copied().chain(last) {
            embeddings.push(self.embed(grid[index])?);
        }
        let score = |embedding: &Vec<f32>| {
            self.head.score(embedding).filter(|score| score.is_finite()).ok_or_else(|| ClipError {
                kind: "model",
                message: format!("{} gave no score; `curate models verify`", self.name),
            })
        };
        let scored = &embeddings[..scored.len()];
        let scores = scored.iter().map(score).collect::<Result<Vec<f32>, _>>()?;
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / scores.len() as f64;
        let least = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let clip = &mut item.clip;
        clip.set(c::AESTHETIC_MEAN, mean as f32);
        clip.set(c::AESTHETIC_MIN, least);
        clip.set(c::AESTHETIC_MODEL, self.name.to_owned());
        if let Some(consistency) = consistency(&embeddings) {
            clip.set(c::CONSISTENCY_MIN, consistency);
        }
        let middle = direction(scored);
        if middle.len() == c::EMBEDDING_LEN as usize {
            clip.set(c::EMBEDDING, middle);
        }
        Ok(())
    }
}

/// The direction of the sum of vectors of length 1.
fn direction(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    unit(&sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_begin_equal_parts_and_the_last_comes_besides() {
        assert_eq!(picks(8, 4), (vec![0, 2, 4, 6], Some(7)));
        assert_eq!(picks(20, 4), (vec![0, 5, 10, 15], Some(19)));
        assert_eq!(picks(3, 4), (vec![0, 1, 2], None));
        assert_eq!(picks(1, 4), (vec![0], None));
        assert_eq!(picks(2, 1), (vec![0], Some(1)));
        assert_eq!(picks(0, 4), (vec![], None));
    }

    #[test]
    fn a_clip_of_one_frame_passes_the_consistency_check() {
        let config =
            AestheticConfig { consistency: Range::at_least(0.8), ..AestheticConfig::default() };
        let clip = |consistency: Option<f32>| {
            let mut clip = Clip::default();
            clip.set(c::AESTHETIC_MEAN, 4.5);
            if let Some(value) = consistency {
                clip.set(c::CONSISTENCY_MIN, value);
            }
            clip
        };
        let failed = |clip: &Clip| {
            let checks = config.checks(clip);
            checks.iter().find(|check| !check.passes()).map(|check| check.reason)
        };
        assert_eq!(failed(&clip(None)), None);
        assert_eq!(failed(&clip(Some(0.9))), None);
        assert_eq!(failed(&clip(Some(0.7))), Some("changes_content"));
        let mut dull = clip(Some(0.9));
        dull.set(c::AESTHETIC_MEAN, 3.9);
        assert_eq!(failed(&dull), Some("not_pleasing"));
    }

    #[test]
    fn the_middle_of_directions_has_length_one() {
        let middle = direction(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        assert!(middle.iter().all(|value| (value - 0.5_f32.sqrt()).abs() < 1e-6), "{middle:?}");
        assert!(direction(&[]).is_empty());
    }
}
