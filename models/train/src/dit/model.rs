//! What a run begins with: the transformer and its first weights, the VAE, the text encoder.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use curate_models::{
    Weights,
    diffusion::Objective,
    dit::{CLIP_CHANNELS, Config, Transformer3d, load},
    encoders::{ClipVision, ClipVisionConfig, TextFiles},
    generate::{
        CARD_FORMAT, ModelCard, ModelFolder, SamplingSpec, Settings, TextSource, TextSpec,
        text_files, transformer_config,
    },
    hub::Hub,
    lora::Lora,
    params::{Params, Role, fits},
    vae::{SliceVae, VaeConfig},
};

use super::{config::DitTrainConfig, guidance::GuidanceConfig};
use crate::{TrainError, data::Cache};

/// Frames a second of films, as published.
const FPS: f64 = 24.0;

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
    /// The folder of CLIP's image tower.
    pub(super) image: Option<PathBuf>,
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

        // A path in the run's file is seen from where the command runs, one in a card from its folder.
        let (mut text, root) = match (&model.text, &folder) {
            (Some(text), _) => (text.clone(), Path::new(".")),
            (None, Some(folder)) => (folder.card().text.clone(), folder.root()),
            (None, None) => (TextSpec::minilm(), Path::new(".")),
        };
        let files = text_files(&text.encoder, root, hub)?;
        if let TextSource::Folder(path) = &mut text.encoder {
            // The finished model lies in another folder.
            let absolute = std::path::absolute(root.join(&*path));
            let absolute = absolute.map_err(TrainError::io("find", root))?;
            *path = absolute.display().to_string();
        }
        let own = folder.as_ref().filter(|folder| folder.image_encoder().is_some());
        let image = model.image.clone().or(own.map(|folder| folder.root().to_owned()));
        if model.image.is_some() && !transformer.has_clip() {
            return Err(wrong(format!(
                "`model.image` is for networks that are shown images; this one has `model.in_channels` = {}",
                transformer.in_channels
            )));
        }
        if let Some(folder) = &image {
            let width = ClipVisionConfig::find(folder)?.projection_dim;
            if width != CLIP_CHANNELS {
                return Err(wrong(format!(
                    "`model.image`: the embeddings of {} have {width} numbers, and the transformer takes \
                     {CLIP_CHANNELS}: it wants CLIP ViT-L/14",
                    folder.display()
                )));
            }
        }
        let unfit = config.data.lengths().into_iter().find_map(|frames| vae.latents(frames).err());
        if let Some(error) = unfit {
            return Err(wrong(format!("`data.frames`: {error}")));
        }
        // Saying that nothing is known is no mistake.
        let known = config.guidance.known.filter(|known| *known > 0.0);
        let guidance = GuidanceConfig { known, ..config.guidance };
        if guidance != GuidanceConfig::default() && !transformer.has_clip() {
            return Err(wrong(format!(
                "`guidance` is for networks that are given frames; this one has `model.in_channels` = {}",
                transformer.in_channels
            )));
        }
        let base = folder.as_ref().map(ModelFolder::card);
        let same = base.filter(|base| base.prediction == objective.prediction);
        let suited = || SamplingSpec::suited(objective.prediction);
        let sampling = config.sampling.clone().or(same.map(|base| base.sampling.clone()));
        let fps = match (config.data.fps, config.model.fps, base) {
            (Some(fps), ..) => fps,
            (None, None, Some(base)) => base.fps,
            (None, fps, _) => fps.unwrap_or(FPS) / config.data.stride as f64,
        };
        let card = ModelCard {
            format: CARD_FORMAT,
            prediction: objective.prediction,
            variance: objective.variance,
            schedule: base.map(|base| base.schedule).unwrap_or_default(),
            text,
            frames: config.data.frames,
            width: config.data.size,
            height: config.data.size,
            fps,
            sampling: sampling.unwrap_or_else(suited),
        };
        // Now, and not behind the last step.
        let problems = card.problems();
        if !problems.is_empty() {
            return Err(TrainError::of_file(problems));
        }
        if let Err(error) = Settings::of(&card).sampler(&card).build(&card.noise()) {
            return Err(wrong(format!("`sampling`: {error}")));
        }
        let text_files = files;
        Ok(Self { transformer, checkpoint, vae, vae_path, text_files, image, card, objective })
    }

    /// What of a file has less effect than one might think.
    #[must_use]
    pub fn notes(&self, config: &DitTrainConfig) -> Vec<String> {
        let mut notes = Vec::new();
        let (known, cache) = (config.guidance.known, config.data.cache);
        if self.transformer.has_clip() && known.is_none() && cache != Cache::Off {
            notes.push(
                "no clip is given known frames, as latents may come from the cache: for images as guidance \
                 set `data.cache = \"off\"`, or `model.in_channels = 4` for a smaller network"
                    .to_owned(),
            );
        }
        if self.image.is_some() && cache != Cache::Off {
            notes.push(
                "no image is shown to the network, as latents may come from the cache: set \
                 `data.cache = \"off\"` for that"
                    .to_owned(),
            );
        }
        if self.transformer.has_clip() && self.image.is_none() {
            notes.push(
                "there is no image tower (`model.image`): the layers for its tokens stay as they are"
                    .to_owned(),
            );
        }
        notes
    }

    /// CLIP's image tower, if there is one and the run has frames to show it. With a cache, whether a clip
    /// comes as frames is chance, which must not decide what is learnt.
    pub(super) fn image_tower(
        &self,
        config: &DitTrainConfig,
        device: &Device,
    ) -> Result<Option<ClipVision>, TrainError> {
        let folder = self.image.as_ref().filter(|_| config.data.cache == Cache::Off);
        let open = |folder: &PathBuf| ClipVision::open(folder, device, DType::F32);
        Ok(folder.map(open).transpose()?)
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
                // Adapters change what is there; a network that is trained may get new parts.
                let seed = config.lora.is_none().then_some(config.seed);
                let (_, params, report) = load(weights, &self.transformer, seed, device)?;
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
        let trained = config.train.iter().map(|pattern| ("train", pattern, Role::Trained));
        let frozen_ones = config.freeze.iter().map(|pattern| ("freeze", pattern, Role::Frozen));
        for (key, pattern, role) in trained.chain(frozen_ones) {
            // A stage's own pattern may fit nothing: PixArt has no motion modules to be frozen.
            let is_own = config.stage.defaults().contains(&format!("\"{pattern}\""));
            if !is_own && !params.iter().any(|(name, _, _)| fits(pattern, name)) {
                return Err(wrong(format!(
                    "`{key}` has the pattern `{pattern}`, which fits no tensor of the network"
                )));
            }
            params.set_role(pattern, role);
        }
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
    TrainError::of_file(vec![problem])
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
    if !beside.is_file() {
        return Err(wrong(format!(
            "`model.vae` is {}, which is no VAE as `curate train vae` writes it, and no config.json beside \
             it says what it is made of",
            path.display()
        )));
    }
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
