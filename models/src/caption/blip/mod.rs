//! BLIP (Li and others 2022, arXiv 2201.12086): captions of single pictures, on this machine.
//!
//! An image tower turns a picture into tokens ([`VisionConfig`]), and a decoder that attends to
//! them writes a caption word by word ([`TextConfig`], [`Search`]). Two captioners were published,
//! `base` and `large`; which one a folder holds, its `config.json` says. Files are read as Hugging
//! Face has them: tensors by their published names, from safetensors or PyTorch's own format.
//!
//! BLIP sees one picture and says one short sentence: of a clip it describes frames, and whoever
//! calls it joins what is said (`summary` does so with a language model).
//!
//! The network is checked against `transformers` with small random weights (`recipes/blip`): what
//! the tower sees, scores with and without a cache, and the tokens of every way of searching.
//!
//! Decided against ONNX Runtime, which runs the other image towers here: the decoder's cache and
//! the search would have to go in and out of a graph for each token. Decided against describing
//! frames in one batch: on a CPU towers take as long for it as for its pictures alone, and memory
//! grows.

mod config;
mod decoder;
mod error;
mod search;
#[cfg(test)]
mod tests;
mod vision;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use self::{
    decoder::{Decoder, HEAD, Joined},
    vision::Vision,
    words::Words,
};
use crate::{
    InputError, Weights,
    aesthetic::preprocess::{Fit, Preprocess, Recipe},
    hub::{Hub, Missing},
    params::{Init, Params, ParamsError, Role, Scope},
};

pub use self::{
    config::{BlipConfig, TextConfig, VisionConfig},
    error::{BlipError, ConfigProblem, SearchProblem, TokenizerProblem},
    search::Search,
};

/// Weight and bias.
type Pair = (Tensor, Tensor);

/// The files that a captioner is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlipFiles {
    /// `config.json`.
    pub config: PathBuf,
    /// `model.safetensors` or `pytorch_model.bin`.
    pub weights: PathBuf,
    /// `tokenizer.json` or `vocab.txt`.
    pub tokenizer: PathBuf,
}

/// The hub's model.
pub const BLIP: &str = "blip-base";

impl BlipFiles {
    /// Those that the hub has.
    ///
    /// # Errors
    /// [`Missing`] when they have not been pulled.
    pub fn of_hub(hub: &Hub) -> Result<Self, Missing> {
        Ok(Self {
            config: hub.path(BLIP, "config.json")?,
            weights: hub.path(BLIP, "pytorch_model.bin")?,
            tokenizer: hub.path(BLIP, "tokenizer.json")?,
        })
    }

    /// Finds them in a folder.
    ///
    /// # Errors
    /// [`BlipError::Absent`] when one is not there.
    pub fn find(folder: &Path) -> Result<Self, BlipError> {
        let find = |names: &[&str], what: &'static str| {
            let mut found =
                names.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
            found.next().ok_or_else(|| BlipError::Absent { folder: folder.to_owned(), what })
        };
        Ok(Self {
            config: find(&["config.json"], "`config.json`")?,
            weights: find(
                &["model.safetensors", "pytorch_model.bin"],
                "`model.safetensors` or `pytorch_model.bin`",
            )?,
            tokenizer: find(&["tokenizer.json", "vocab.txt"], "`tokenizer.json` or `vocab.txt`")?,
        })
    }
}

/// Where and how a captioner runs.
#[derive(Clone, Debug)]
pub struct BlipOptions {
    /// Where.
    pub device: Device,
    /// What weights are kept and computed in: `f32`, or `bf16` to halve the memory.
    pub dtype: DType,
    /// How captions are searched for; `None`: as the model's configuration says.
    pub search: Option<Search>,
    /// What captions begin with, such as `a picture of`.
    pub prompt: Option<String>,
}

impl Default for BlipOptions {
    fn default() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, search: None, prompt: None }
    }
}

/// A picture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Three bytes for each pixel, rows from the top without gaps.
    pub rgb: &'a [u8],
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// What is said about a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The caption, in lower case and with the prompt.
    pub text: String,
    /// Whether it did not come to its end within [`Search::max_length`].
    pub is_cut: bool,
}

/// A captioner of BLIP.
///
/// It computes on the threads of the rayon pool in which it is called.
#[derive(Debug)]
pub struct Blip {
    config: BlipConfig,
    vision: Vision,
    decoder: Decoder,
    words: Words,
    search: Search,
    /// The mark of the beginning, and the prompt.
    prompt: Vec<u32>,
    device: Device,
    dtype: DType,
    recipe: Recipe,
    /// For pictures of the size of the last one.
    preprocess: Option<((u32, u32), Preprocess)>,
}

impl Blip {
    /// Opens a captioner. Its weights are in memory as long as it lives: 1 GB of the base model,
    /// 1.9 GB of the large one, in `f32`.
    ///
    /// # Errors
    /// When a file cannot be read, is of another network, or does not fit the others; when
    /// [`BlipOptions::search`] asks for what the network cannot do.
    pub fn load(files: &BlipFiles, options: &BlipOptions) -> Result<Self, BlipError> {
        let path = &files.config;
        let text = fs::read_to_string(path)
            .map_err(|source| BlipError::Read { path: path.clone(), source })?;
        let config = BlipConfig::parse(&text)
            .map_err(|problem| BlipError::Config { path: path.clone(), problem })?;
        let words = Words::open(&files.tokenizer, config.text.vocab_size)?;
        let mut prompt = vec![config.text.bos_token_id];
        prompt.extend(words.tokens(options.prompt.as_deref().unwrap_or_default())?);
        let search = options.search.unwrap_or(config.search());
        let places = config.text.max_position_embeddings;
        search.check(prompt.len(), places, config.text.vocab_size)?;

        let weights = Weights::open(&files.weights).map_err(ParamsError::from)?;
        let joined = Joined {
            seen: config.vision.hidden_size,
            has_head: weights.shape(&format!("text_decoder.{HEAD}")).is_some(),
        };
        let mut params = Params::from_weights(weights, &options.device).with_dtype(options.dtype);
        params.set_role("*", Role::Frozen);
        let (vision, decoder) = params.build(|scope| {
            let vision = Vision::new(&mut scope.at("vision_model"), &config.vision)?;
            let decoder = Decoder::new(&mut scope.at("text_decoder"), &config.text, joined)?;
            Ok::<_, ParamsError>((vision, decoder))
        })?;
        Ok(Self {
            recipe: recipe(&config),
            config,
            vision,
            decoder,
            words,
            search,
            prompt,
            device: options.device.clone(),
            dtype: options.dtype,
            preprocess: None,
        })
    }

    /// Sizes of the network.
    #[must_use]
    pub const fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// How captions are searched for.
    #[must_use]
    pub const fn search(&self) -> Search {
        self.search
    }

    /// The caption of a picture: three bytes for each pixel, rows from the top without gaps.
    ///
    /// # Errors
    /// Those of [`Self::describe`].
    pub fn caption(&mut self, rgb: &[u8], width: u32, height: u32) -> Result<String, BlipError> {
        Ok(self.describe(&Frame { rgb, width, height })?.text)
    }

    /// What is said about each of several pictures, such as frames of a clip, in their order.
    ///
    /// # Errors
    /// Those of [`Self::describe`].
    pub fn captions(&mut self, frames: &[Frame<'_>]) -> Result<Vec<Description>, BlipError> {
        frames.iter().map(|frame| self.describe(frame)).collect()
    }

    /// What is said about a picture, and whether it was cut.
    ///
    /// # Errors
    /// When the bytes are not of such a picture, or candle fails.
    pub fn describe(&mut self, frame: &Frame<'_>) -> Result<Description, BlipError> {
        let picture = self.prepare(frame)?;
        let tokens = self.tokens(&self.vision.forward(&picture)?)?;
        let is_cut = tokens.last() != Some(&self.config.text.sep_token_id);
        Ok(Description { text: self.words.text(&tokens)?, is_cut })
    }

    /// A picture as the tower wants it: `[1, 3, side, side]`.
    fn prepare(&mut self, frame: &Frame<'_>) -> Result<Tensor, BlipError> {
        let Frame { rgb, width, height } = *frame;
        let wrong = InputError::Bytes { bytes: rgb.len(), width, height };
        if rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
            return Err(wrong.into());
        }
        let made = self.preprocess.take().filter(|(size, _)| *size == (width, height));
        let mut preprocess = match made {
            Some((_, preprocess)) => preprocess,
            None => Preprocess::new(&self.recipe, width as usize, height as usize).ok_or(wrong)?,
        };
        let mut planes = vec![0.0; preprocess.size()];
        preprocess.fill(rgb, &mut planes);
        self.preprocess = Some(((width, height), preprocess));
        let side = self.recipe.side;
        Ok(Tensor::from_vec(planes, (1, 3, side, side), &self.device)?.to_dtype(self.dtype)?)
    }

    /// The tokens of the caption of what the tower saw.
    fn tokens(&self, seen: &Tensor) -> Result<Vec<u32>, BlipError> {
        let mut cache = self.decoder.look(seen)?;
        let mut say = |texts: &[u32], tokens: &[u32]| {
            let each = tokens.len() / texts.len().max(1);
            let ids = Tensor::from_slice(tokens, (texts.len(), each), &self.device)?;
            cache.select(texts)?;
            let said = self.decoder.say(&ids, &mut cache)?;
            self.decoder.scores(&said.narrow(1, each - 1, 1)?)?.squeeze(1)?.to_vec2()
        };
        let end = self.config.text.sep_token_id;
        Ok(self.search.run(&self.prompt, end, &mut say)?)
    }
}

/// How pictures are prepared: brought to the tower's size whatever their shape, with the colours of
/// CLIP (`preprocessor_config.json` of both captioners).
const fn recipe(config: &BlipConfig) -> Recipe {
    Recipe { side: config.vision.image_size, fit: Fit::Stretch, ..Recipe::CLIP_224 }
}

fn dense(scope: &mut Scope<'_>, ins: usize, outs: usize) -> Result<Pair, ParamsError> {
    let init = Init::torch(ins);
    Ok((scope.get("weight", &[outs, ins], init)?, scope.get("bias", &[outs], init)?))
}

fn norm(scope: &mut Scope<'_>, width: usize) -> Result<Pair, ParamsError> {
    Ok((scope.get("weight", &[width], Init::Ones)?, scope.get("bias", &[width], Init::Zeros)?))
}
