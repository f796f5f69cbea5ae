//! What a run begins with: the transformer and its first weights, the VAE, the text encoder.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use curate_models::{
    Weights,
    diffusion::Objective,
    dit::{Config, Transformer3d, load},
    encoders::TextFiles,
    generate::{
        CARD_FORMAT, ModelCard, ModelFolder, SamplingSpec, TextSource, TextSpec, text_files,
        transformer_config,
    },
    hub::Hub,
    lora::Lora,
    params::{Params, Role},
    vae::{SliceVae, VaeConfig},
};
use serde::{Deserialize, Serialize};

use super::config::DitTrainConfig;
use crate::TrainError;

/// The network and what stands around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// What training begins with: a model's folder, as `curate train` or the authors write it, or a
    /// transformer's checkpoint. PixArt's does too; what it lacks starts as zero.
    pub from: Option<PathBuf>,
    /// What the network is made of, where `from` does not say: `xl2` (the paper's), `s`, `tiny`.
    pub preset: Option<String>,
    /// Blocks, in place of the preset's.
    pub layers: Option<usize>,
    /// Heads, in place of the preset's; those of motion modules too.
    pub heads: Option<usize>,
    /// Width of a head, in place of the preset's.
    pub head_width: Option<usize>,
    /// 12: frames can be given; 4: text alone.
    pub in_channels: Option<usize>,
    /// 8: the variance is learned; 4: it is not.
    pub out_channels: Option<usize>,
    /// Latent rows and columns that positions are counted in.
    pub sample_size: Option<usize>,
    /// The VAE's checkpoint; without one, that of the folder `from`.
    pub vae: Option<PathBuf>,
    /// The text encoder; without one, that of the folder `from`, or MiniLM.
    pub text: Option<TextSpec>,
    /// Frames a second of the clips that are used, for the model's card, where `data.fps` does not
    /// set them.
    pub fps: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            from: None,
            preset: None,
            layers: None,
            heads: None,
            head_width: None,
            in_channels: None,
            out_channels: None,
            sample_size: None,
            vae: None,
            text: None,
            fps: 24.0,
        }
    }
}

impl ModelConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(error)) = self.preset.as_deref().map(Config::preset) {
            problems.push(format!("`{key}.preset`: {error}"));
        }
        let is_folder = self.from.as_ref().is_some_and(|path| path.is_dir());
        if self.preset.is_none() && self.from.is_none() {
            let known = Config::PRESETS.join(", ");
            problems.push(format!("`{key}` names no network: give a `preset` ({known}) or `from`"));
        }
        if let Some(path) = self.from.as_ref().filter(|path| !path.exists()) {
            problems
                .push(format!("`{key}.from` is {}, and there is no such thing", path.display()));
        }
        if self.vae.is_none() && !is_folder {
            problems.push(format!(
                "`{key}.vae` names no VAE; `curate train vae` makes one, as vae.safetensors in its folder"
            ));
        }
        if let Some(path) = self.vae.as_ref().filter(|path| !path.is_file()) {
            problems.push(format!("`{key}.vae` is {}, and there is no such file", path.display()));
        }
        if !(self.fps.is_finite() && self.fps > 0.0) {
            problems.push(format!("`{key}.fps` is {}, not a number above 0", self.fps));
        }
        problems
    }

    /// The configuration of a preset with this file's own numbers.
    fn shaped(&self, mut config: Config) -> Config {
        if let Some(heads) = self.heads {
            config.heads = heads;
            if let Some(motion) = &mut config.motion {
                motion.heads = heads;
            }
        }
        config.layers = self.layers.unwrap_or(config.layers);
        config.head_width = self.head_width.unwrap_or(config.head_width);
        config.in_channels = self.in_channels.unwrap_or(config.in_channels);
        config.out_channels = self.out_channels.unwrap_or(config.out_channels);
        config.sample_size = self.sample_size.unwrap_or(config.sample_size);
        config
    }
}

/// Where everything is, before anything is loaded.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What the transformer is made of.
    pub transformer: Config,
    /// Its checkpoint.
    pub(super) checkpoint: Option<PathBuf>,
    /// What the VAE is made of.
    pub vae: VaeConfig,
    /// The VAE's checkpoint.
    pub vae_path: PathBuf,
    /// The text encoder's files.
    pub text_files: TextFiles,
    /// What the finished model's card says.
    pub card: ModelCard,
    /// What the network predicts.
    pub(super) objective: Objective,
}

impl Parts {
    /// Finds them.
    ///
    /// # Errors
    /// When one is not there, or they do not fit each other.
    pub fn find(config: &DitTrainConfig, hub: &Hub) -> Result<Self, TrainError> {
        let model = &config.model;
        let folder = match &model.from {
            Some(path) if path.is_dir() => Some(ModelFolder::open(path)?),
            _ => None,
        };
        let base = match (&folder, &model.from, &model.preset) {
            (_, _, Some(preset)) => Config::preset(preset)?,
            (Some(folder), _, None) => folder.transformer_config().clone(),
            (None, Some(path), None) => transformer_config(path)?,
            (None, None, None) => return Err(nothing_named()),
        };
        let transformer = model.shaped(base);
        transformer.check()?;
        let objective = objective(config, folder.as_ref().map(ModelFolder::card))?;
        DitTrainConfig::fits(&objective, &transformer)?;
        let checkpoint = match &folder {
            Some(folder) => Some(folder.transformer_path().to_owned()),
            None => model.from.clone(),
        };
        let vae_path = match (&model.vae, &folder) {
            (Some(path), _) => path.clone(),
            (None, Some(folder)) => folder.vae_path().to_owned(),
            (None, None) => return Err(nothing_named()),
        };
        let vae = vae_config(&vae_path)?;

        let root = folder.as_ref().map_or(Path::new("."), |folder| folder.root());
        let mut text = match (&model.text, &folder) {
            (Some(text), _) => text.clone(),
            (None, Some(folder)) => folder.card().text.clone(),
            (None, None) => TextSpec::minilm(),
        };
        let files = text_files(&text.encoder, root, hub)?;
        if let TextSource::Folder(path) = &mut text.encoder {
            // The finished model lies in another folder.
            let absolute = std::path::absolute(root.join(&*path));
            let absolute = absolute.map_err(TrainError::io("find", root))?;
            *path = absolute.display().to_string();
        }
        let unfit = config.data.lengths().into_iter().find_map(|frames| vae.latents(frames).err());
        if let Some(error) = unfit {
            return Err(wrong(format!("`data.frames`: {error}")));
        }
        let suited = SamplingSpec::suited(objective.prediction);
        let card = ModelCard {
            format: CARD_FORMAT,
            prediction: objective.prediction,
            variance: objective.variance,
            schedule: folder.as_ref().map(|folder| folder.card().schedule).unwrap_or_default(),
            text,
            frames: config.data.frames,
            width: config.data.size,
            height: config.data.size,
            fps: config.data.fps.unwrap_or(config.model.fps / config.data.stride as f64),
            sampling: config.sampling.clone().unwrap_or(suited),
        };
        Ok(Self { transformer, checkpoint, vae, vae_path, text_files: files, card, objective })
    }

    /// The transformer with its first weights, and notes on where they come from.
    pub(super) fn transformer(
        &self,
        config: &DitTrainConfig,
        device: &Device,
    ) -> Result<Trainee, TrainError> {
        let mut notes = Vec::new();
        let mut params = match &self.checkpoint {
            None => {
                let mut params = Params::seeded(config.seed, device);
                Transformer3d::new(&mut params, &self.transformer)?;
                params
            }
            Some(path) => {
                let weights = Weights::open(path)?;
                let (_, params, report) =
                    load(weights, &self.transformer, Some(config.seed), device)?;
                notes.push(format!(
                    "{}: {} tensors as they are, {} made to fit, {} new, {} of no use",
                    path.display(),
                    report.matched.len(),
                    report.inflated.len(),
                    report.missing.len(),
                    report.unexpected.len()
                ));
                params
            }
        };
        params.set_role("*", Role::Frozen);
        let mut lora = None;
        if let Some(shape) = &config.lora {
            let adapters = Lora::fresh(shape, &params, config.seed)?;
            params.adapt(&adapters, 1.0)?;
            notes.push(format!("adapters for {} layers", adapters.layers().count()));
            lora = Some(adapters);
        }
        // What is only looked at keeps no graph: previews are made with it.
        let frozen = Transformer3d::frozen(&mut params, &self.transformer)?;
        for pattern in &config.train {
            params.set_role(pattern, Role::Trained);
        }
        for pattern in &config.freeze {
            params.set_role(pattern, Role::Frozen);
        }
        params.check_patterns()?;
        let network = Transformer3d::new(&mut params, &self.transformer)?;
        let trainee = Trainee { network, frozen: Some(frozen), params, lora, notes };
        if trainee.trained().trained().next().is_none() {
            let pattern = config.train.join(", ");
            return Err(TrainError::NothingTrained { key: "train", pattern });
        }
        Ok(trainee)
    }

    /// The VAE, frozen, with its tensors.
    pub(super) fn vae(&self, device: &Device) -> Result<(SliceVae, Params), TrainError> {
        let weights = Weights::open(&self.vae_path)?;
        let mut params = Params::from_weights(weights, device).with_dtype(DType::F32);
        params.set_role("*", Role::Frozen);
        let network = params.build(|scope| SliceVae::new(&self.vae, scope))?;
        Ok((network, params))
    }
}

fn nothing_named() -> TrainError {
    wrong("`model` names no network or no VAE".into())
}

fn wrong(problem: String) -> TrainError {
    TrainError::Config { path: "the configuration".into(), problems: vec![problem] }
}

/// What is predicted: as the file says, else as the model that is trained further does. Adapters for
/// something else would teach a network what it cannot say.
fn objective(config: &DitTrainConfig, card: Option<&ModelCard>) -> Result<Objective, TrainError> {
    let base = card.map_or_else(Objective::default, |card| Objective {
        prediction: card.prediction,
        variance: card.variance,
        ..Objective::default()
    });
    let objective = config.objective.over(base);
    if card.is_some() && config.lora.is_some() && objective.prediction != base.prediction {
        let (asked, known) = (objective.prediction.name(), base.prediction.name());
        return Err(wrong(format!(
            "`objective.prediction` is \"{asked}\", and `model.from` predicts \"{known}\": leave it \
             out"
        )));
    }
    match objective.check() {
        Ok(()) => Ok(objective),
        Err(error) => Err(wrong(format!("`objective`: {error}"))),
    }
}

fn vae_config(path: &Path) -> Result<VaeConfig, TrainError> {
    if let Some(config) = SliceVae::stored_config(&Weights::open(path)?)? {
        return Ok(config);
    }
    let beside = path.with_file_name("config.json");
    let text = std::fs::read_to_string(&beside).map_err(TrainError::io("read", beside))?;
    Ok(VaeConfig::from_json(&text)?)
}

/// The network in training.
#[derive(Debug)]
pub(super) struct Trainee {
    pub(super) network: Transformer3d,
    /// The same tensors without a graph, for previews; they take it.
    pub(super) frozen: Option<Transformer3d>,
    pub(super) params: Params,
    pub(super) lora: Option<Lora>,
    pub(super) notes: Vec<String>,
}

impl Trainee {
    /// What is trained: the network's own tensors, or its adapters'.
    pub(super) fn trained(&self) -> &Params {
        self.lora.as_ref().map_or(&self.params, Lora::params)
    }
}
