//! A training run of the VAE, as its file says it.
//!
//! A stage of the paper (section 5; the released configurations where it is silent) is a set of
//! defaults: what the file does not say is taken from its stage. Mistakes are reported all at once.
//!
//! Decided against one file of defaults per stage, to be copied: a run's file then says only what is
//! its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{critics::AdversarialConfig, losses::LossConfig, start::ModelConfig};
use crate::{
    TrainError,
    data::{Cache, DataConfig},
    layers::{self, Staged, hold_out},
    optim::{ClipConfig, EmaConfig, OptimizerConfig, ScheduleConfig},
    run::{CadenceConfig, PrunePolicy, batches_problem},
};

/// What is trained, and how a video is cut meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// All of MagViT, on chunks of 9 frames: 350 000 steps at batch 128 in the paper.
    Magvit,
    /// All of the Slice VAE, on an image and three slices: 200 000 steps at batch 96.
    Slice,
    /// The decoder of the Slice VAE alone, so that latents stay what they are: 100 000 steps.
    SliceDecoder,
}

impl Stage {
    /// What a file of this stage says unless it says otherwise, as TOML.
    const fn defaults(self) -> &'static str {
        match self {
            Self::Magvit => {
                "data = { size = 128, frames = 9, batch = 2 }\nloss = { l1 = 1.0, l2 = 0.1 }"
            }
            Self::Slice => "data = { size = 256, frames = 25 }\nloss = { l1 = 1.0, l2 = 0.0 }",
            Self::SliceDecoder => {
                "data = { size = 256, frames = 25 }\nloss = { l1 = 0.0, l2 = 1.0 }"
            }
        }
    }
}

/// What holds for all stages.
const DEFAULTS: &str = r#"
seed = 0
accumulate = 1
recompute = false
held_out = 0.02
held_out_batches = 8
data = { crop = "random", cache = "off", captions = {} }
loss = { lpips = 1.0, kl = 1e-6, outliers = 0.0, outlier_deviations = 3.0 }
optimizer = { learning_rate = 1e-4, beta1 = 0.5, beta2 = 0.9, eps = 1e-8, weight_decay = 0.0 }
schedule = { warmup_steps = 0 }
clip = { max_norm = 0.0 }
ema = { decay = 0.9999, ramp = true }
adversarial = {}
checkpoint = { steps = 1000, minutes = 10.0 }
keep = {}
samples = { steps = 5000 }
"#;

/// A training run of the VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeTrainConfig {
    /// The run's folder. A path in the file is seen from where the command runs.
    pub out: PathBuf,
    /// What is trained. It sets the defaults of `data`, `loss` and `model`'s chunks.
    pub stage: Stage,
    /// Steps in all. More can be asked for when the run is resumed.
    pub steps: u64,
    /// All random choices depend on it.
    pub seed: u64,
    /// Batches of a step: gradients are averaged over them, and memory is that of one.
    pub accumulate: u64,
    /// Whether slices are run again in backward instead of kept: less memory, more time.
    pub recompute: bool,
    /// Share of the clips that is never trained on, by their ids; 0: none.
    pub held_out: f64,
    /// Batches that the held-out loss and the scaling factor are measured on.
    pub held_out_batches: u64,
    /// The network and its first weights.
    pub model: ModelConfig,
    /// What is read.
    pub data: DataConfig,
    /// What counts how much.
    pub loss: LossConfig,
    /// The discriminators.
    pub adversarial: AdversarialConfig,
    /// Adam, for the generator and for the discriminators alike.
    pub optimizer: OptimizerConfig,
    /// The learning rate's course.
    pub schedule: ScheduleConfig,
    /// Bounds of gradients, for both; the released trainer has none.
    pub clip: ClipConfig,
    /// The average of the generator's weights, which is what is used afterwards.
    pub ema: EmaConfig,
    /// When checkpoints are written.
    pub checkpoint: CadenceConfig,
    /// Which checkpoints stay.
    pub keep: PrunePolicy,
    /// When reconstructions are drawn and the held-out loss is measured.
    pub samples: CadenceConfig,
}

/// Keys that a run may change when it is resumed. Of these only `steps` has a say in what is trained,
/// where the learning rate comes down towards them and `schedule.steps` does not hold it.
pub(super) const FREE: [&str; 10] = [
    "out",
    "steps",
    "recompute",
    "held_out_batches",
    "data.table",
    "data.memory",
    "data.workers",
    "checkpoint",
    "keep",
    "samples",
];

impl Staged for VaeTrainConfig {
    type Stage = Stage;

    const STAGES: &'static [(&'static str, Stage)] = &[
        ("magvit", Stage::Magvit),
        ("slice", Stage::Slice),
        ("slice-decoder", Stage::SliceDecoder),
    ];
    const DEFAULTS: &'static str = DEFAULTS;

    fn of_stage(stage: Stage) -> &'static str {
        stage.defaults()
    }

    fn wrong(&self) -> Vec<String> {
        self.problems()
    }
}

impl VaeTrainConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`TrainError::Config`] with everything that is wrong, [`TrainError::Io`] when there is no such
    /// file.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let config: Self = layers::read(path)?;
        config.network().map_err(|error| error.in_file(path))?;
        Ok(config)
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
        problems.extend(self.loss.problems("loss"));
        problems.extend(self.adversarial.problems("adversarial", self.data.size));
        problems.extend(self.optimizer.problems("optimizer"));
        problems.extend(self.schedule.problems("schedule"));
        problems.extend(self.clip.problems("clip"));
        problems.extend(self.ema.problems("ema"));
        problems.extend(self.model.problems("model"));
        problems.extend(self.checkpoint.problems("checkpoint"));
        problems.extend(self.samples.problems("samples"));
        problems.extend(batches_problem(self.accumulate));
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                problems.push(problem);
            }
        };
        check(!self.out.as_os_str().is_empty(), "`out` is empty; name a folder for the run".into());
        check(self.steps > 0, "`steps` is 0".into());
        let share = self.held_out;
        let is_share = (0.0..=0.5).contains(&share);
        check(is_share, format!("`held_out` is {share}, not a share from 0 to 0.5"));
        check(
            self.held_out_batches > 0,
            "`held_out_batches` is 0, and the scaling factor is measured on them".into(),
        );
        check(
            self.data.cache == Cache::Off,
            "`data.cache` must be \"off\": the VAE is trained on frames, not on latents".into(),
        );
        check(
            self.data.caption_dropout == 0.0 && self.data.captions.is_empty(),
            "`data.captions` and `data.caption_dropout` have no use here: a VAE sees no captions"
                .into(),
        );
        let learns_from_frames = self.loss.lpips == 0.0 || self.data.size >= 16;
        check(learns_from_frames, "`loss.lpips` needs frames of 16 pixels".into());
        check(
            self.stage != Stage::SliceDecoder || self.model.has_weights(),
            "`stage = \"slice-decoder\"` keeps the encoder as it is, so it needs a trained one: name \
             it as `model.checkpoint`"
                .into(),
        );
        problems
    }

    /// What is trained on: the rows that `data.where` says, without those that are held out.
    #[must_use]
    pub fn training_data(&self) -> DataConfig {
        hold_out(&self.data, self.held_out).0
    }

    /// What is held out. `None`: nothing is.
    #[must_use]
    pub fn held_out_data(&self) -> Option<DataConfig> {
        hold_out(&self.data, self.held_out).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "out = 'run'\nsteps = 10\nmodel.preset = 'tiny'\ndata.table = 'set'\n";

    fn parse(stage: &str, more: &str) -> Result<VaeTrainConfig, Vec<String>> {
        VaeTrainConfig::parse(&format!("stage = '{stage}'\n{SMALL}{more}"))
    }

    #[test]
    fn stages_are_those_of_the_paper() {
        let magvit = parse("magvit", "").unwrap();
        assert_eq!((magvit.data.size, magvit.data.frames, magvit.data.batch), (128, 9, 2));
        assert_eq!((magvit.loss.l1, magvit.loss.l2, magvit.loss.lpips), (1.0, 0.1, 1.0));
        let slice = parse("slice", "").unwrap();
        assert_eq!((slice.data.size, slice.data.frames, slice.data.batch), (256, 25, 1));
        assert_eq!((slice.loss.l1, slice.loss.l2, slice.loss.kl), (1.0, 0.0, 1e-6));
        assert_eq!((slice.optimizer.beta1, slice.optimizer.beta2), (0.5, 0.9));
        assert_eq!((slice.optimizer.learning_rate, slice.ema.decay), (1e-4, 0.9999));
        assert_eq!((slice.adversarial.weight, slice.adversarial.start), (0.5, 25_000));
        let decoder = parse("slice-decoder", "model.checkpoint = 'vae.safetensors'").unwrap();
        assert_eq!((decoder.loss.l1, decoder.loss.l2), (0.0, 1.0));
        assert!(parse("slice-decoder", "").unwrap_err()[0].contains("`model.checkpoint`"));
        // What the file says counts, beside what it does not say.
        let own = parse("slice", "data.frames = 8\nloss.l2 = 0.5").unwrap();
        assert_eq!((own.data.frames, own.data.size, own.loss.l2), (8, 256, 0.5));
        assert_eq!(own.loss.l1, 1.0);
    }

    #[test]
    fn mistakes_are_told_together_and_by_key() {
        let wrong = "accumulate = 0\nheld_out = 2.0\n[optimizer]\nbeta1 = 1.0\n[loss]\nkl = -1.0\n\
                     [ema]\ndecay = 1.0";
        let problems = parse("slice", wrong).unwrap_err().join("\n");
        for key in ["`accumulate`", "`held_out`", "`optimizer.beta1`", "`loss.kl`", "`ema.decay`"] {
            assert!(problems.contains(key), "{key}: {problems}");
        }
        let unknown = parse("slice", "[loss]\nlpisp = 1.0").unwrap_err().join("\n");
        assert!(unknown.contains("loss") && unknown.contains("lpisp"), "{unknown}");
        let stage = VaeTrainConfig::parse(SMALL).unwrap_err().join("\n");
        assert!(stage.contains("`stage` must be one of \"magvit\", \"slice\""), "{stage}");
        let missing = VaeTrainConfig::parse("stage = 'slice'").unwrap_err().join("\n");
        assert!(missing.contains("out"), "{missing}");
        let small = parse("slice", "data.size = 16").unwrap_err().join("\n");
        assert!(small.contains("`adversarial.weight`") && small.contains("needs 32"), "{small}");
        let cached = parse("slice", "data.cache = 'auto'").unwrap_err().join("\n");
        assert!(cached.contains("`data.cache`"), "{cached}");
    }

    #[test]
    fn what_is_held_out_is_not_trained_on() {
        let config = parse("slice", "held_out = 0.25\ndata.where = 'a OR b'").unwrap();
        let held = config.held_out_data().unwrap();
        assert_eq!(config.training_data().filter, "(a OR b) AND clip_id >= '3fffffff'");
        assert_eq!(held.filter, "(a OR b) AND clip_id < '3fffffff'");
        let all = parse("slice", "held_out = 0.0").unwrap();
        assert!(all.held_out_data().is_none());
        assert_eq!(all.training_data().filter, "status = 'kept'");
    }
}
