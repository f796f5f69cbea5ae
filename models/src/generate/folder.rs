//! A model's folder: where its parts are, and how a trainer leaves them.
//!
//! Two layouts are read. That of this project, which [`ModelFolder::write`] writes:
//!
//! ```text
//! model.json                 what it was trained to do (`card.rs`)
//! transformer.safetensors    its configuration in the header
//! vae.safetensors            likewise
//! ```
//!
//! and that of the published pipelines: `transformer/`, `vae/`, `text_encoder/`, `tokenizer/`, each
//! with a `config.json` beside its weights. Parts may be mixed: a fine-tuned `transformer.safetensors`
//! in a published folder takes the place of the published one. Without a `model.json`, a folder with a
//! published part is taken for EasyAnimate V3; one without has lost its card.
//!
//! Decided against one file for everything: a VAE and a text encoder are shared by many transformers,
//! and links to their files cost nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};

use super::{GenerateError, ModelCard, TextSource};
use crate::{
    Weights,
    dit::{Config, Transformer3d},
    encoders::TextFiles,
    hub::Hub,
    params::{Params, Role},
    vae::{SliceVae, VaeConfig},
};

/// The card's file.
const CARD: &str = "model.json";
/// The key of a header under which a transformer's configuration is.
pub const TRANSFORMER_NOTE: &str = "transformer_config";
/// What published weights are called in the folder of their part.
const PUBLISHED: [&str; 3] =
    ["diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin"];

/// A model's folder, its card and configurations read, its weights not yet.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    root: PathBuf,
    card: ModelCard,
    transformer: (PathBuf, Config),
    vae: (PathBuf, VaeConfig),
}

impl ModelFolder {
    /// Finds the parts and reads what describes them.
    ///
    /// # Errors
    /// When a part is not there, is damaged, or asks for what is not built here.
    pub fn open(root: &Path) -> Result<Self, GenerateError> {
        if !root.is_dir() {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
            return Err(GenerateError::Io { path: root.to_owned(), source });
        }
        let path = find(root, "transformer")?;
        let config = transformer_config(&path)?;
        let transformer = (path, config);

        let path = find(root, "vae")?;
        let weights = Weights::open(&path)?;
        let config = match SliceVae::stored_config(&weights)? {
            Some(config) => config,
            None => {
                let beside = beside((&path, &weights), "VAE", SliceVae::CONFIG_NOTE)?;
                VaeConfig::from_json(&read(&beside)?)?
            }
        };
        let vae = (path, config);

        let card = root.join(CARD);
        let card = if card.is_file() {
            ModelCard::open(&card)?
        } else if [&transformer.0, &vae.0].iter().any(|path| path.parent() != Some(root)) {
            ModelCard::published(&transformer.1)
        } else {
            return Err(GenerateError::NoCard { folder: root.to_owned() });
        };
        Ok(Self { root: root.to_owned(), card, transformer, vae })
    }

    /// Writes a model: each file appears whole or not at all, the card last, so that a folder with
    /// a new card has everything. What else the folder holds stays.
    ///
    /// # Errors
    /// When the card cannot be right, or a file cannot be written.
    pub fn write(
        root: &Path,
        card: &ModelCard,
        (transformer_config, transformer): (&Config, &Params),
        (vae_config, vae): (&VaeConfig, &Params),
    ) -> Result<(), GenerateError> {
        let path = root.join(CARD);
        card.check(&path)?;
        fs::create_dir_all(root)
            .map_err(|source| GenerateError::Io { path: root.to_owned(), source })?;
        Self::write_transformer(
            &root.join("transformer.safetensors"),
            transformer_config,
            transformer,
        )?;
        SliceVae::save(vae_config, vae, &root.join("vae.safetensors"))?;
        let part = root.join(format!("{CARD}.part"));
        fs::write(&part, card.to_json())
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|source| GenerateError::Io { path, source })
    }

    /// Writes a transformer's checkpoint with its configuration in the header.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_transformer(
        path: &Path,
        config: &Config,
        params: &Params,
    ) -> Result<(), GenerateError> {
        Ok(params.save(path, &[(TRANSFORMER_NOTE, &config.to_json())])?)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the model was trained to do.
    #[must_use]
    pub const fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What the transformer is made of.
    #[must_use]
    pub const fn transformer_config(&self) -> &Config {
        &self.transformer.1
    }

    /// What the VAE is made of.
    #[must_use]
    pub const fn vae_config(&self) -> &VaeConfig {
        &self.vae.1
    }

    /// The transformer's checkpoint.
    #[must_use]
    pub fn transformer_path(&self) -> &Path {
        &self.transformer.0
    }

    /// The VAE's checkpoint.
    #[must_use]
    pub fn vae_path(&self) -> &Path {
        &self.vae.0
    }

    /// The text encoder's files; from the hub, if the card says so.
    ///
    /// # Errors
    /// When a file is not there.
    pub fn text_files(&self, hub: &Hub) -> Result<TextFiles, GenerateError> {
        text_files(&self.card.text.encoder, &self.root, hub)
    }

    /// The weights of CLIP's image tower, in `image_encoder` as published pipelines have it, if they are
    /// there and the transformer takes its tokens.
    #[must_use]
    pub fn image_encoder(&self) -> Option<PathBuf> {
        let folder = self.root.join("image_encoder");
        let names = ["model.safetensors", "pytorch_model.bin"];
        let mut files = names.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
        files.next().filter(|_| self.transformer.1.has_clip())
    }

    /// Reads the transformer, frozen, with its tensors.
    ///
    /// # Errors
    /// When the checkpoint is cut off or of another network; the message names tensors and file.
    pub fn transformer(
        &self,
        device: &Device,
        dtype: DType,
    ) -> Result<(Transformer3d, Params), GenerateError> {
        let mut params = frozen(&self.transformer.0, device, dtype)?;
        let network = Transformer3d::new(&mut params, &self.transformer.1)?;
        let layers = ["transformer_blocks.", "long_connect_fc.", "pos_embed."];
        all_used(&params, &self.transformer.0, "transformer", &layers)?;
        Ok((network, params))
    }

    /// Reads the VAE, frozen, with its tensors.
    ///
    /// # Errors
    /// Those of [`ModelFolder::transformer`].
    pub fn vae(&self, device: &Device, dtype: DType) -> Result<(SliceVae, Params), GenerateError> {
        let mut params = frozen(&self.vae.0, device, dtype)?;
        let network = params.build(|scope| SliceVae::new(&self.vae.1, scope))?;
        all_used(&params, &self.vae.0, "VAE", &["encoder.", "decoder."])?;
        Ok((network, params))
    }
}

/// That a network uses all tensors of its checkpoint whose names begin as its layers' do. Others may be
/// there: those of training, such as a discriminator's.
fn all_used(
    params: &Params,
    checkpoint: &Path,
    part: &'static str,
    layers: &[&str],
) -> Result<(), GenerateError> {
    let report = params.report();
    let is_layer = |name: &&String| layers.iter().any(|layer| name.starts_with(layer));
    let unused: Vec<&String> = report.unexpected.iter().filter(is_layer).collect();
    if unused.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = unused.iter().take(3).map(|name| format!("`{name}`")).collect();
    let (path, names) = (checkpoint.to_owned(), names.join(", "));
    Err(GenerateError::Unused { path, part, count: unused.len(), names })
}

/// A text encoder's files.
///
/// # Errors
/// When one is not there; that of the hub names the command that brings it.
pub fn text_files(source: &TextSource, root: &Path, hub: &Hub) -> Result<TextFiles, GenerateError> {
    match source {
        TextSource::Folder(folder) => Ok(TextFiles::find(&root.join(folder))?),
        TextSource::Hub(id) => Ok(TextFiles {
            config: hub.path(id, "config.json")?,
            weights: hub.path(id, "model.safetensors")?,
            tokenizer: hub.path(id, "tokenizer.json")?,
        }),
    }
}

/// What a transformer's checkpoint says it is made of: in its header, or in a `config.json` beside it.
///
/// # Errors
/// When neither is there, or asks for what is not built here.
pub fn transformer_config(checkpoint: &Path) -> Result<Config, GenerateError> {
    let weights = Weights::open(checkpoint)?;
    Ok(match weights.note(TRANSFORMER_NOTE) {
        Some(text) => Config::from_json(&checkpoint.display().to_string(), text)?,
        None => Config::open(&beside((checkpoint, &weights), "transformer", TRANSFORMER_NOTE)?)?,
    })
}

/// The `config.json` beside a checkpoint whose header has no configuration.
fn beside(
    (checkpoint, weights): (&Path, &Weights),
    part: &'static str,
    note: &'static str,
) -> Result<PathBuf, GenerateError> {
    let config = checkpoint.with_file_name("config.json");
    if config.is_file() {
        return Ok(config);
    }
    let tensors = weights.names().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let (path, tensors) = (checkpoint.to_owned(), tensors.join(", "));
    Err(GenerateError::NotPart { path, part, tensors, note })
}

fn frozen(path: &Path, device: &Device, dtype: DType) -> Result<Params, GenerateError> {
    let mut params = Params::from_weights(Weights::open(path)?, device).with_dtype(dtype);
    params.set_role("*", Role::Frozen);
    Ok(params)
}

/// The weights of a part: `PART.safetensors`, or what lies in the published folder `PART`.
fn find(root: &Path, part: &'static str) -> Result<PathBuf, GenerateError> {
    let own = root.join(format!("{part}.safetensors"));
    let published = PUBLISHED.map(|name| root.join(part).join(name));
    let mut places = [&own].into_iter().chain(&published);
    places.find(|path| path.is_file()).cloned().ok_or_else(|| GenerateError::Part {
        folder: root.to_owned(),
        part,
        wanted: format!("neither `{part}.safetensors` nor `{part}/{}`", PUBLISHED[0]),
    })
}

fn read(path: &Path) -> Result<String, GenerateError> {
    fs::read_to_string(path).map_err(|source| GenerateError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Prediction, SamplerKind, Variance};

    fn written(root: &Path) -> ModelCard {
        let config = Config { layers: 2, ..Config::tiny() };
        let mut transformer = Params::seeded(1, &Device::Cpu);
        Transformer3d::new(&mut transformer, &config).unwrap();
        let vae_config = VaeConfig::preset("tiny").unwrap();
        let mut vae = Params::seeded(2, &Device::Cpu);
        vae.build(|scope| SliceVae::new(&vae_config, scope)).unwrap();
        let mut card = ModelCard::preset(&config);
        (card.prediction, card.variance) = (Prediction::Flow, Variance::Fixed);
        card.sampling.sampler = SamplerKind::FlowEuler;
        ModelFolder::write(root, &card, (&config, &transformer), (&vae_config, &vae)).unwrap();
        card
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let card = written(folder.path());
        let found = ModelFolder::open(folder.path()).unwrap();
        assert_eq!(*found.card(), card);
        assert_eq!(found.transformer_config().layers, 2);
        let (_, params) = found.transformer(&Device::Cpu, DType::F32).unwrap();
        assert_eq!(params.trained().count(), 0);
        found.vae(&Device::Cpu, DType::F32).unwrap();
    }

    #[test]
    fn weights_of_another_network_are_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let mut found = ModelFolder::open(folder.path()).unwrap();
        found.transformer.1.motion = None;
        let error = found.transformer(&Device::Cpu, DType::F32).unwrap_err().to_string();
        assert!(error.contains("`transformer_blocks.0."), "{error}");
        found.vae.1.layers = 1;
        let error = found.vae(&Device::Cpu, DType::F32).unwrap_err().to_string();
        assert!(error.contains("VAE") && error.contains("`decoder."), "{error}");
    }

    #[test]
    fn published_layouts_are_read_without_a_card() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let found = ModelFolder::open(folder.path()).unwrap();
        for (part, config) in [
            ("transformer", found.transformer_config().to_json()),
            ("vae", found.vae_config().to_json()),
        ] {
            let to = folder.path().join(part);
            fs::create_dir(&to).unwrap();
            let from = folder.path().join(format!("{part}.safetensors"));
            // A published file has no notes; its configuration lies beside it.
            let weights = Weights::open(&from).unwrap();
            let mut params = Params::from_weights(weights, &Device::Cpu);
            if part == "vae" {
                params.build(|scope| SliceVae::new(found.vae_config(), scope)).unwrap();
            } else {
                Transformer3d::new(&mut params, found.transformer_config()).unwrap();
            }
            params.save(&to.join(PUBLISHED[0]), &[]).unwrap();
            fs::write(to.join("config.json"), config).unwrap();
            fs::remove_file(from).unwrap();
        }
        fs::remove_file(folder.path().join(CARD)).unwrap();
        let published = ModelFolder::open(folder.path()).unwrap();
        assert_eq!(published.card().prediction, Prediction::Epsilon);
        assert_eq!(published.card().frames, 144);
        assert_eq!(published.transformer_config(), found.transformer_config());
        assert_eq!(published.vae_config(), found.vae_config());
    }

    #[test]
    fn faults_name_the_file_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let card = written(folder.path());
        let path = folder.path().join(CARD);
        let failed = |text: &str| {
            fs::write(&path, text).unwrap();
            ModelFolder::open(folder.path()).unwrap_err().to_string()
        };
        fs::remove_file(&path).unwrap();
        let text = ModelFolder::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains("no `model.json`") && text.contains("curate train"), "{text}");
        let text = failed(&card.to_json().replace("\"fps\"", "\"speed\""));
        assert!(text.contains("model.json") && text.contains("`speed`"), "{text}");
        let text = failed(&card.to_json().replace("\"frames\": 16", "\"frames\": 0"));
        assert!(text.contains("model.json") && text.contains("`frames` is 0"), "{text}");
        let text = failed(&card.to_json().replace("\"fixed\"", "\"learned-range\""));
        assert!(text.contains("`variance`") && text.contains("`flow`"), "{text}");
        fs::write(&path, card.to_json()).unwrap();

        let weights = folder.path().join("transformer.safetensors");
        let bytes = fs::read(&weights).unwrap();
        fs::write(&weights, &bytes[..bytes.len() - 5]).unwrap();
        let text = ModelFolder::open(folder.path()).unwrap_err().to_string();
        assert!(
            text.contains("cut off in tensor `") && text.contains("transformer.safe"),
            "{text}"
        );
        fs::remove_file(&weights).unwrap();
        let error = ModelFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("no transformer"), "{error}");
    }
}
