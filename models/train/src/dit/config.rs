//! A training run of the transformer, as its file says it.
//!
//! A stage of the paper (section 5; the released scripts where it is silent) is a set of defaults:
//! what the file does not say is taken from its stage. Where paper and released trainer differ, the
//! default is the paper's, or what later releases mended: captions are dropped now and then, masks are
//! drawn on the frames that are used.

use std::path::{Path, PathBuf};

use curate_models::{
    diffusion::{Objective, Prediction, TimestepDraw, Variance, Weighting},
    dit::{Config, LATENT_CHANNELS},
    generate::SamplingSpec,
    lora::LoraConfig,
};
use serde::{Deserialize, Serialize};

use super::{guidance::GuidanceConfig, network::ModelConfig};
use crate::{
    TrainError,
    data::{Cache, DataConfig},
    layers::{self, Staged, hold_out},
    optim::{ClipConfig, EmaConfig, OptimizerConfig, ScheduleConfig},
    run::{CadenceConfig, PrunePolicy, batches_problem},
};

/// What is trained, on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// All but motion modules, on images: makes PixArt know the latents of another VAE.
    AdaptVae,
    /// Motion modules alone, on videos and images.
    Motion,
    /// Everything, on videos and images.
    Full,
    /// Everything, carefully, on the best of the data.
    Hq,
    /// Low-rank adapters beside the frozen network.
    Lora,
}

impl Stage {
    /// What a file of this stage says unless it says otherwise, as TOML.
    pub(super) const fn defaults(self) -> &'static str {
        match self {
            Self::AdaptVae => "freeze = [\"*attn_temporal*\"]\ndata = { frames = 1 }",
            Self::Motion => "train = [\"*attn_temporal*\"]",
            Self::Full => "",
            Self::Hq => "optimizer = { learning_rate = 1e-5 }\nclip = { max_norm = 0.03 }",
            Self::Lora => {
                "train = []\nlora = {}\ntimesteps = { name = \"uniform\" }\n\
                 optimizer = { learning_rate = 1e-4 }\nschedule = { warmup_steps = 0 }\n\
                 clip = { initial_ratio = 1.0, spike_ratio = 0.0 }\n\
                 ema = { decay = 0.0 }\ncheckpoint = { steps = 100, minutes = 10.0 }"
            }
        }
    }
}

/// What holds for all stages.
const DEFAULTS: &str = r#"
seed = 0
accumulate = 1
dtype = "f32"
checkpointing = false
held_out = 0.01
text_dropout = 0.1
train = ["*"]
freeze = []
objective = {}
timesteps = { name = "logit-normal", mean = 0.0, deviation = 1.0 }
guidance = {}
model = {}
data = {}
optimizer = {}
schedule = { warmup_steps = 100 }
clip = {}
ema = {}
checkpoint = { steps = 500, minutes = 10.0 }
keep = {}
measure = {}
"#;

/// What a run computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// bfloat16, with weights, optimiser, norms and losses in single precision. For GPUs.
    Bf16,
}

/// What is measured and drawn on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureConfig {
    /// How often. By steps: what is drawn by the clock cannot be compared between runs.
    pub every: CadenceConfig,
    /// Batches of held-out clips whose loss is measured, always the same with the same noise.
    pub batches: u64,
    /// Prompts of which clips are made.
    pub prompts: Vec<String>,
    /// Prompts of which single pictures are made.
    pub images: Vec<String>,
    /// Seed of the first prompt's noise; the next has the next.
    pub seed: u64,
}

impl Default for MeasureConfig {
    fn default() -> Self {
        Self {
            every: CadenceConfig { steps: 2000, minutes: 0.0 },
            batches: 4,
            prompts: Vec::new(),
            images: Vec::new(),
            seed: 43,
        }
    }
}

/// What the network predicts, where the file says it. The rest is as the model `from` has it; from
/// scratch noise and variance, as published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// What the first half of the channels is, or all of them.
    pub prediction: Option<Prediction>,
    /// What the other channels are.
    pub variance: Option<Variance>,
    /// How samples are weighted; evenly, unless the file says otherwise.
    pub weighting: Option<Weighting>,
}

impl ObjectiveConfig {
    /// The objective: `base` but for what the file says.
    #[must_use]
    pub fn over(self, base: Objective) -> Objective {
        Objective {
            prediction: self.prediction.unwrap_or(base.prediction),
            variance: self.variance.unwrap_or(base.variance),
            weighting: self.weighting.unwrap_or(base.weighting),
        }
    }
}

/// A training run of the transformer, or of adapters beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitTrainConfig {
    /// The run's folder. A path in the file is seen from where the command runs.
    pub out: PathBuf,
    /// What is trained. It sets the defaults of much else.
    pub stage: Stage,
    /// Steps in all. More can be asked for when the run is resumed.
    pub steps: u64,
    /// All random choices depend on it.
    pub seed: u64,
    /// Batches of a step: gradients are averaged over them, and memory is that of one.
    pub accumulate: u64,
    /// What is computed in.
    pub dtype: Precision,
    /// Whether layers are run again in backward instead of kept: less memory, more time.
    pub checkpointing: bool,
    /// Share of the clips that is never trained on, by their ids; 0: none.
    pub held_out: f64,
    /// How often a caption is left empty, so that guidance has something to compare with: 0.1. The
    /// released V3 trainer leaves none out.
    pub text_dropout: f64,
    /// Names of tensors that are trained; `*` stands for anything.
    pub train: Vec<String>,
    /// Names of tensors that are not, though `train` names them.
    pub freeze: Vec<String>,
    /// The network and its first weights, the VAE, the text encoder.
    pub model: ModelConfig,
    /// Adapters that are trained in place of the network.
    pub lora: Option<LoraConfig>,
    /// What is read.
    pub data: DataConfig,
    /// What the network predicts.
    pub objective: ObjectiveConfig,
    /// Which times are drawn.
    pub timesteps: TimestepDraw,
    /// Known frames, for networks of 12 channels.
    pub guidance: GuidanceConfig,
    /// Adam.
    pub optimizer: OptimizerConfig,
    /// The learning rate's course.
    pub schedule: ScheduleConfig,
    /// Bounds of gradients.
    pub clip: ClipConfig,
    /// The average of what is trained, which is what is used afterwards.
    pub ema: EmaConfig,
    /// When checkpoints are written.
    pub checkpoint: CadenceConfig,
    /// Which checkpoints stay.
    pub keep: PrunePolicy,
    /// What is measured and drawn on the way.
    pub measure: MeasureConfig,
    /// How clips are made of the model unless somebody says otherwise: goes into its card.
    pub sampling: Option<SamplingSpec>,
}

/// Keys that a run may change when it is resumed. Of these only `steps` has a say in what is trained,
/// where the learning rate comes down towards them and `schedule.steps` does not hold it.
pub(super) const FREE: [&str; 9] = [
    "out",
    "steps",
    "data.table",
    "data.memory",
    "data.workers",
    "checkpoint",
    "keep",
    "measure",
    "sampling",
];

impl Staged for DitTrainConfig {
    type Stage = Stage;

    const STAGES: &'static [(&'static str, Stage)] = &[
        ("adapt-vae", Stage::AdaptVae),
        ("motion", Stage::Motion),
        ("full", Stage::Full),
        ("hq", Stage::Hq),
        ("lora", Stage::Lora),
    ];
    const DEFAULTS: &'static str = DEFAULTS;

    fn of_stage(stage: Stage) -> &'static str {
        stage.defaults()
    }

    fn wrong(&self) -> Vec<String> {
        self.problems()
    }
}

impl DitTrainConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`TrainError::Config`] with everything that is wrong, [`TrainError::Io`] when there is no such
    /// file.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        layers::read(path)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        layers::parse(text)
    }

    /// Everything that is wrong, each with its key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.data.problems();
        problems.extend(self.model.problems("model"));
        problems.extend(self.guidance.problems("guidance"));
        problems.extend(self.optimizer.problems("optimizer"));
        problems.extend(self.schedule.problems("schedule"));
        problems.extend(self.clip.problems("clip"));
        problems.extend(self.ema.problems("ema"));
        problems.extend(self.timesteps.problems("timesteps"));
        problems.extend(self.checkpoint.problems("checkpoint"));
        problems.extend(self.measure.every.problems("measure.every"));
        problems.extend(batches_problem(self.accumulate));
        // What is trained further has its say first.
        let is_fresh = self.model.from.is_none();
        let objective = self.objective.over(Objective::default());
        if let Some(Err(error)) = is_fresh.then(|| objective.check()) {
            problems.push(format!("`objective`: {error}"));
        }
        if let Some(Err(error)) = self.lora.as_ref().map(LoraConfig::check) {
            problems.push(format!("`lora`: {error}"));
        }
        let mut check = |is_right: bool, problem: &str| {
            if !is_right {
                problems.push(problem.to_owned());
            }
        };
        check(!self.out.as_os_str().is_empty(), "`out` is empty; name a folder for the run");
        check(self.steps > 0, "`steps` is 0");
        check((0.0..=0.5).contains(&self.held_out), "`held_out` is no share from 0 to 0.5");
        check((0.0..=1.0).contains(&self.text_dropout), "`text_dropout` is no share from 0 to 1");
        check(
            self.data.caption_dropout == 0.0,
            "`data.caption_dropout` has no use here; `text_dropout` works with cached embeddings too",
        );
        check(
            self.lora.is_some() == (self.stage == Stage::Lora),
            "`lora` belongs to `stage = \"lora\"`, and only to it",
        );
        check(
            self.lora.is_none() || self.train.is_empty(),
            "`train` names tensors of the network, which `stage = \"lora\"` leaves as they are",
        );
        check(
            self.lora.is_none() || self.model.from.is_some(),
            "`lora` adapts a trained network: name it as `model.from`",
        );
        check(
            self.lora.is_some() || !self.train.is_empty(),
            "`train` is empty; `[\"*\"]` is everything",
        );
        check(
            self.lora.is_none() || !self.model.is_reshaped(),
            "`model.preset`, `layers`, `heads`, `head_width`, `in_channels`, `out_channels` and \
             `sample_size` are of no use with `stage = \"lora\"`: the network is that of `model.from`",
        );
        check(
            self.model.image.is_none() || self.data.cache == Cache::Off,
            "`model.image` needs frames to look at: set `data.cache = \"off\"`",
        );
        check(
            self.data.cache != Cache::Require || !self.data.random_ratio_crop,
            "`data.random_ratio_crop` crops anew for each epoch, and `data.cache = \"require\"` wants \
             latents that were made before: leave one out",
        );
        check(
            self.guidance.known.is_none_or(|known| known == 0.0) || self.data.cache == Cache::Off,
            "`guidance.known` needs frames: set `data.cache = \"off\"`, or leave it out to train on \
             text alone",
        );
        problems
    }

    /// What is trained on, and what is held out.
    #[must_use]
    pub fn shares(&self) -> (DataConfig, Option<DataConfig>) {
        hold_out(&self.data, self.held_out)
    }

    /// That the objective fits what comes out of the network.
    pub(super) fn fits(objective: &Objective, network: &Config) -> Result<(), TrainError> {
        let wanted = match objective.variance {
            Variance::LearnedRange => 2 * LATENT_CHANNELS,
            Variance::Fixed => LATENT_CHANNELS,
        };
        // What is not looked at may be there: a published checkpoint has it.
        if network.out_channels >= wanted {
            return Ok(());
        }
        Err(TrainError::of_file(vec![format!(
            "`objective.variance` is \"learned-range\", which takes {wanted} output channels; the network \
                 has {}: set it to \"fixed\"",
            network.out_channels
        )]))
    }
}
