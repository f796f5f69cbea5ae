//! The model that is asked for: opened, with its LoRA files, and what is noted of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use curate_models::{
    Weights,
    encoders::TextFiles,
    generate::{Blueprint, GenerateError, Generator, ModelFolder, Place},
    hub::Hub,
    lora::{Lora, LoraError, LoraReport},
};

use super::{
    args::{GenerateArgs, LoraAt},
    record::{LoraRecord, ModelRecord, Record, blake3, check_there},
    usage,
};
use crate::{UsageError, env, progress::say};

/// What begins the name of a preset.
const PRESET: &str = "preset:";
/// The seed of a preset's weights that nobody chose.
const SEED_WEIGHTS: u64 = 1;

/// Which model, and where it computes.
#[derive(Clone, Debug)]
pub(super) struct ModelChoice {
    path: String,
    seed_weights: u64,
    text_encoder: Option<PathBuf>,
    loras: Vec<LoraAt>,
    lora_at_run_time: bool,
    pub(super) device: String,
    pub(super) dtype: String,
}

impl ModelChoice {
    /// By the arguments, and where they say nothing by a record.
    pub(super) fn new(args: &GenerateArgs, record: Option<&Record>) -> anyhow::Result<Self> {
        let or_default = |asked: &Option<String>, noted: Option<&String>, usual: &str| {
            asked.clone().or_else(|| noted.cloned()).unwrap_or_else(|| usual.to_owned())
        };
        let device = or_default(&args.device, record.map(|record| &record.device), "cpu");
        let dtype = or_default(&args.dtype, record.map(|record| &record.dtype), "f32");
        if let Some(record) = record {
            let model = &record.model;
            if args.model.is_none() && !model.path.starts_with(PRESET) {
                check_there(Path::new(&model.path), "--model")?;
            }
            if let Some(folder) = &model.text_encoder {
                check_there(folder, "--text-encoder")?;
            }
            for lora in &model.loras {
                check_there(&lora.file, "--lora")?;
            }
            let loras = model
                .loras
                .iter()
                .map(|lora| LoraAt { file: lora.file.clone(), weight: lora.weight });
            return Ok(Self {
                path: args.model.as_deref().map_or_else(|| Ok(model.path.clone()), whole)?,
                seed_weights: model.seed_weights.unwrap_or(SEED_WEIGHTS),
                text_encoder: model.text_encoder.clone(),
                loras: loras.collect(),
                lora_at_run_time: model.lora_at_run_time,
                device,
                dtype,
            });
        }
        let path = whole(args.model.as_deref().unwrap_or_default())?;
        if args.seed_weights.is_some() && !path.starts_with(PRESET) {
            let words = format!(
                "--seed-weights is the seed of a preset's random weights, and {path} has weights of its \
                 own: leave it out"
            );
            return Err(UsageError(words).into());
        }
        let loras = args.lora.iter().map(|lora| {
            anyhow::Ok(LoraAt { file: absolute(&lora.file, "--lora")?, weight: lora.weight })
        });
        let text_encoder = args.text_encoder.as_deref();
        let text_encoder =
            text_encoder.map(|folder| absolute(folder, "--text-encoder")).transpose()?;
        Ok(Self {
            path,
            seed_weights: args.seed_weights.unwrap_or(SEED_WEIGHTS),
            text_encoder,
            loras: loras.collect::<anyhow::Result<_>>()?,
            lora_at_run_time: args.lora_at_run_time,
            device,
            dtype,
        })
    }

    /// Finds the model and reads what it is made of, but not its weights.
    pub(super) fn find(self) -> anyhow::Result<FoundModel> {
        let place = Place::parse(&self.device, &self.dtype).map_err(usage)?;
        let hub = Hub::open(env::models_dir()?)?;
        if let Some(LoraAt { file, .. }) = self.loras.iter().find(|lora| !lora.file.exists()) {
            return Err(UsageError(format!("--lora: there is no {}", file.display())).into());
        }
        let text = match &self.text_encoder {
            None => None,
            Some(folder) => Some(
                TextFiles::find(folder)
                    .map_err(|error| UsageError(format!("--text-encoder: {error}")))?,
            ),
        };
        let preset = self.path.strip_prefix(PRESET).map(str::to_owned);
        let (blueprint, origin) = match preset {
            Some(name) => (Blueprint::preset(&name).map_err(usage)?, Origin::Preset(name)),
            None => {
                let folder = ModelFolder::open(Path::new(&self.path)).map_err(usage)?;
                (Blueprint::of(&folder), Origin::Folder(Box::new(folder)))
            }
        };
        Ok(FoundModel { choice: self, blueprint, origin, hub, text, place })
    }
}

fn absolute(path: &Path, option: &str) -> anyhow::Result<PathBuf> {
    if path.as_os_str().is_empty() {
        let words = format!("{option} is empty: name a file or folder, or leave it out");
        return Err(UsageError(words).into());
    }
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

/// A model's name as records have it: it counts from wherever the command is given again.
fn whole(path: &str) -> anyhow::Result<String> {
    if path.starts_with(PRESET) {
        return Ok(path.to_owned());
    }
    if path.is_empty() {
        let words =
            "--model is empty: name a model's folder, or preset:tiny to try the command out";
        return Err(UsageError(words.to_owned()).into());
    }
    let whole = absolute(Path::new(path), "--model")?;
    let text = whole.to_str().ok_or_else(|| {
        UsageError(format!("--model: the name of {} is not UTF-8", whole.display()))
    })?;
    Ok(text.to_owned())
}

/// A model whose weights are not read yet.
pub(super) struct FoundModel {
    pub(super) choice: ModelChoice,
    pub(super) blueprint: Blueprint,
    origin: Origin,
    hub: Hub,
    text: Option<TextFiles>,
    place: Place,
}

enum Origin {
    Preset(String),
    Folder(Box<ModelFolder>),
}

/// The first tensor of these files that holds what is no finite number, and where it is.
pub(super) fn not_finite(files: &[PathBuf]) -> Option<String> {
    files.iter().find_map(|file| {
        let weights = Weights::open(file).ok()?;
        let is_bad = |name: &&str| {
            weights.f32(name).is_ok_and(|values| values.iter().any(|value| !value.is_finite()))
        };
        let name = weights.names().find(is_bad)?;
        Some(format!("`{name}` of {}", file.display()))
    })
}

impl FoundModel {
    /// The files whose weights make clips, for whoever looks for a fault in them.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = match &self.origin {
            Origin::Preset(_) => Vec::new(),
            Origin::Folder(folder) => {
                vec![folder.transformer_path().to_owned(), folder.vae_path().to_owned()]
            }
        };
        files.extend(self.choice.loras.iter().map(|lora| {
            // PEFT's are folders.
            let inside = lora.file.join("adapter_model.safetensors");
            if lora.file.is_dir() { inside } else { lora.file.clone() }
        }));
        files
    }

    /// Reads the weights.
    pub(super) fn open(&self) -> anyhow::Result<(Generator, ModelRecord)> {
        let Self { choice, hub, text, .. } = self;
        let (text, place) = (text.as_ref(), self.place.clone());
        let opened = match &self.origin {
            Origin::Preset(name) => Generator::preset(name, choice.seed_weights, text, hub, place),
            Origin::Folder(folder) => Generator::open(folder, text, hub, place),
        };
        let mut generator = opened.map_err(usage)?;
        let mut loras = Vec::new();
        for lora in &choice.loras {
            loras.push(choice.adapt(&mut generator, lora)?);
        }
        let hashes = generator.hashes();
        let is_drawn = matches!(self.origin, Origin::Preset(_));
        let record = ModelRecord {
            path: choice.path.clone(),
            seed_weights: is_drawn.then_some(choice.seed_weights),
            text_encoder: choice.text_encoder.clone(),
            transformer_sha256: hashes.transformer.clone(),
            vae_sha256: hashes.vae.clone(),
            text_sha256: hashes.text.clone(),
            image_sha256: hashes.image.clone(),
            config_sha256: hashes.config.clone(),
            loras,
            lora_at_run_time: choice.lora_at_run_time,
        };
        Ok((generator, record))
    }
}

impl ModelChoice {
    fn adapt(&self, generator: &mut Generator, at: &LoraAt) -> anyhow::Result<LoraRecord> {
        let shown = at.file.display();
        let fault = |error: LoraError| UsageError(format!("--lora {shown}: {error}"));
        let mut read: Option<LoraReport> = None;
        generator.adapt(|params| {
            let (lora, report) = Lora::open(&at.file, params).map_err(fault)?;
            read = Some(report);
            if self.lora_at_run_time {
                params.adapt(&lora, at.weight).map_err(fault)?;
            } else {
                // For good: the weights are not needed as they were.
                drop(lora.merge(params, at.weight).map_err(fault)?);
            }
            Ok::<_, AdaptError>(())
        })?;
        let report = read.context("no LoRA was read")?;
        if report.is_silent() {
            say(&format!("--lora {shown} changes nothing: its adapters are as training begins"));
        }
        let hash =
            |file: &Path| blake3(file).with_context(|| format!("cannot read {}", file.display()));
        Ok(LoraRecord {
            file: at.file.clone(),
            weight: at.weight,
            blake3: hash(&report.weights)?,
            config_blake3: report.config.as_deref().map(hash).transpose()?,
        })
    }
}

/// Why a LoRA file cannot be joined to a model.
#[derive(Debug)]
struct AdaptError(anyhow::Error);

impl From<UsageError> for AdaptError {
    fn from(error: UsageError) -> Self {
        Self(error.into())
    }
}

impl From<GenerateError> for AdaptError {
    fn from(error: GenerateError) -> Self {
        Self(usage(error))
    }
}

impl From<AdaptError> for anyhow::Error {
    fn from(AdaptError(error): AdaptError) -> Self {
        error
    }
}
