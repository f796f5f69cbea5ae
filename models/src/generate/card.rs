//! `model.json`: what a network was trained to do, which its tensors do not say.
//!
//! Wrong settings here give noise or grey pictures and no error, so the trainer writes them beside
//! the weights and nobody has to remember them. Unknown keys are refused: a setting that is passed
//! over is a setting that is wrong. Decided against notes in the checkpoint's header alone: they
//! cannot be read, or mended, with a text editor.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::GenerateError;
use crate::{
    diffusion::{BetaRange, Objective, Prediction, SamplerKind, Schedule, Variance},
    dit::Config,
    encoders::TEXT_TOKENS,
};

/// The newest form of the file that this code writes and reads.
pub const CARD_FORMAT: u32 = 1;
/// The most steps of a schedule, whose tables are held, and the most tokens of a text, each of which sees
/// all others: what is above is a slip.
const MOST_STEPS: usize = 1_000_000;
const MOST_TOKENS: usize = 1 << 13;

/// What a model is, beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// [`CARD_FORMAT`].
    pub format: u32,
    /// What the transformer's first output channels are.
    pub prediction: Prediction,
    /// What its other output channels are.
    pub variance: Variance,
    /// Noise of the steps it was trained with. Of no meaning to a flow but its number of steps.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// What made its text tokens.
    pub text: TextSpec,
    /// Frames of the longest clips it was trained on; 1: pictures.
    pub frames: usize,
    /// Width of what it was trained on, in pixels: the default size of a clip.
    pub width: usize,
    /// Height of what it was trained on, in pixels.
    pub height: usize,
    /// Frames per second of what it was trained on.
    pub fps: f64,
    /// How clips are made of it unless somebody says otherwise.
    #[serde(default)]
    pub sampling: SamplingSpec,
}

/// Linear betas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Steps.
    pub steps: usize,
    /// The first step's variance.
    pub beta_start: f64,
    /// The last step's variance.
    pub beta_end: f64,
}

impl Default for ScheduleSpec {
    /// The published one: 1000 steps from 1e-4 to 2e-2.
    fn default() -> Self {
        let BetaRange { steps, start, end } = BetaRange::default();
        Self { steps, beta_start: start, beta_end: end }
    }
}

/// What turns captions into tokens. They are always cleaned ([`crate::encoders::clean_caption`]), in
/// training as in generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// Which encoder.
    pub encoder: TextSource,
    /// Tokens per caption: longer ones are cut, shorter ones padded.
    pub tokens: usize,
    /// Layers of the encoder that are used, if not all. With 0 a word has the same vector at its place
    /// whatever stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
}

/// Where a text encoder's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextSource {
    /// A model of the hub, by id.
    Hub(String),
    /// A folder, as [`crate::encoders::TextFiles::find`] wants it; relative to the model's folder.
    /// "." is the published layout, with `text_encoder` and `tokenizer` in it.
    Folder(String),
}

impl TextSpec {
    /// The id in the hub of the encoder of the small presets.
    pub const MINILM: &str = "minilm-l6-v2";
    /// What presets take for texts of MiniLM. Captions of training sets for small models are a
    /// sentence or two.
    const MINILM_TOKENS: usize = 64;

    /// T5 as in the published folders.
    fn published() -> Self {
        Self { encoder: TextSource::Folder(".".to_owned()), tokens: TEXT_TOKENS, layers: None }
    }

    /// MiniLM, from the hub.
    #[must_use]
    pub fn minilm() -> Self {
        Self {
            encoder: TextSource::Hub(Self::MINILM.to_owned()),
            tokens: Self::MINILM_TOKENS,
            layers: None,
        }
    }
}

/// Defaults of sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingSpec {
    /// The sampler.
    pub sampler: SamplerKind,
    /// Its steps.
    pub steps: usize,
    /// How strongly a clip follows its text: see [`crate::diffusion::Guidance`].
    pub guidance: f64,
    /// How far a flow's steps are moved towards noise; 1 leaves them.
    #[serde(default = "one")]
    pub shift: f64,
    /// What the text is guided away from; "" is what text dropout trains.
    #[serde(default)]
    pub negative: String,
}

const fn one() -> f64 {
    1.0
}

impl Default for SamplingSpec {
    /// As the published scripts: DPM++, 25 steps, guidance 7.
    fn default() -> Self {
        Self {
            sampler: SamplerKind::DpmPlusPlus2m,
            steps: 25,
            guidance: 7.0,
            shift: 1.0,
            negative: String::new(),
        }
    }
}

impl SamplingSpec {
    /// What suits a prediction: [`SamplingSpec::default`], for flows Euler's method.
    #[must_use]
    pub fn suited(prediction: Prediction) -> Self {
        let sampler = match prediction {
            Prediction::Flow => SamplerKind::FlowEuler,
            Prediction::Epsilon | Prediction::Velocity => SamplerKind::DpmPlusPlus2m,
        };
        Self { sampler, ..Self::default() }
    }
}

impl ModelCard {
    /// The card of a transformer preset with fresh weights: MiniLM's tokens, and what the published
    /// models predict.
    #[must_use]
    pub fn preset(config: &Config) -> Self {
        let text = match config.caption_channels {
            // T5's are too many to hold beside a preset: they come with the published folder.
            4096 => TextSpec::published(),
            _ => TextSpec::minilm(),
        };
        Self { text, frames: 16, ..Self::published(config) }
    }

    /// The card that a published EasyAnimate V3 folder would have, had it one: pictures of the size
    /// that the transformer was made for, 144 frames of 24 a second.
    #[must_use]
    pub fn published(config: &Config) -> Self {
        let is_learned = config.out_channels > crate::dit::LATENT_CHANNELS;
        let side = config.sample_size * 8;
        Self {
            format: CARD_FORMAT,
            prediction: Prediction::Epsilon,
            variance: if is_learned { Variance::LearnedRange } else { Variance::Fixed },
            schedule: ScheduleSpec::default(),
            text: TextSpec::published(),
            frames: if config.motion.is_some() { 144 } else { 1 },
            width: side,
            height: side,
            fps: 24.0,
            sampling: SamplingSpec::default(),
        }
    }

    /// Reads a `model.json`.
    ///
    /// # Errors
    /// [`GenerateError::Io`], [`GenerateError::Card`] and [`GenerateError::CardValues`].
    pub fn open(path: &Path) -> Result<Self, GenerateError> {
        let text = fs::read_to_string(path)
            .map_err(|source| GenerateError::Io { path: path.to_owned(), source })?;
        let card: Self = serde_json::from_str(&text)
            .map_err(|source| GenerateError::Card { path: path.to_owned(), source })?;
        card.check(path)?;
        Ok(card)
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and names always become JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The noise schedule.
    #[must_use]
    pub fn noise(&self) -> Schedule {
        let ScheduleSpec { steps, beta_start, beta_end } = self.schedule;
        Schedule::linear(BetaRange { steps, start: beta_start, end: beta_end })
    }

    /// # Errors
    /// With everything that cannot be right; `path` names the file.
    pub(super) fn check(&self, path: &Path) -> Result<(), GenerateError> {
        match self.problems() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(GenerateError::CardValues { path: path.to_owned(), problems }),
        }
    }

    /// Everything that cannot be right, each with its key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                problems.push(problem);
            }
        };
        check(
            self.format == CARD_FORMAT,
            format!("`format` is {}; this version of curate reads {CARD_FORMAT}", self.format),
        );
        for (key, value) in [
            ("frames", self.frames),
            ("width", self.width),
            ("height", self.height),
            ("text.tokens", self.text.tokens),
            ("sampling.steps", self.sampling.steps),
        ] {
            check(value > 0, format!("`{key}` is 0"));
        }
        let tokens = self.text.tokens;
        check(
            tokens <= MOST_TOKENS,
            format!("`text.tokens` is {tokens}, and must be at most {MOST_TOKENS}"),
        );
        let (guidance, shift) = (self.sampling.guidance, self.sampling.shift);
        check(
            guidance.is_finite() && shift.is_finite(),
            format!("`sampling` has guidance {guidance} and shift {shift}, which must be numbers"),
        );
        // What films are written with.
        check(
            (0.001..=1000.0).contains(&self.fps),
            format!("`fps` is {}, and must lie between 0.001 and 1000", self.fps),
        );
        let ScheduleSpec { steps, beta_start, beta_end } = self.schedule;
        check(
            (2..=MOST_STEPS).contains(&steps),
            format!("`schedule.steps` is {steps}, and must lie between 2 and {MOST_STEPS}"),
        );
        let are_betas = 0.0 < beta_start && beta_start <= beta_end && beta_end < 1.0;
        check(
            are_betas,
            format!(
                "`schedule` goes from {beta_start} to {beta_end}, which must lie between 0 and 1"
            ),
        );
        let objective = Objective {
            prediction: self.prediction,
            variance: self.variance,
            ..Objective::default()
        };
        if let Err(error) = objective.check() {
            check(false, format!("`variance`: {error}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_model_has_are_refused() {
        let card = ModelCard::preset(&Config::tiny());
        let path = Path::new("model.json");
        card.check(path).unwrap();
        let schedule = |steps| ScheduleSpec { steps, ..ScheduleSpec::default() };
        let text = |tokens| TextSpec { tokens, ..TextSpec::minilm() };
        for (card, part) in [
            (
                ModelCard { schedule: schedule(1_000_000_000_000), ..card.clone() },
                "`schedule.steps`",
            ),
            (ModelCard { schedule: schedule(1), ..card.clone() }, "must lie between 2 and 1000000"),
            (
                ModelCard { text: text(1_000_000_000_000), ..card.clone() },
                "`text.tokens` is 1000000",
            ),
            (ModelCard { text: text(0), ..card.clone() }, "`text.tokens` is 0"),
            (ModelCard { fps: 0.0001, ..card.clone() }, "`fps` is 0.0001, and must lie"),
            (ModelCard { fps: f64::NAN, ..card }, "`fps` is NaN"),
        ] {
            let error = card.check(path).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
