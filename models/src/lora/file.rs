//! Files of adapters: kohya's keys, as the published trainers write them, and PEFT's.
//!
//! Either is a safetensors file with two tensors for each layer. kohya's keys have the layer's name with
//! underscores for dots, which cannot be undone by itself, so the network's layers are turned the same
//! way and looked up.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use super::{
    DOWN, Layer, Lora, LoraError, UP,
    peft::{self, AdapterConfig},
};
use crate::{
    Misfit, Weights,
    params::{Params, save_tensors},
};

/// How a file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `lora_unet__transformer_blocks_0_attn1_to_q.lora_down.weight`, `.lora_up.weight` and `.alpha`,
    /// as EasyAnimate and kohya's sd-scripts write them. One file.
    Kohya,
    /// `base_model.model.transformer_blocks.0.attn1.to_q.lora_A.weight` and `.lora_B.weight`, with rank
    /// and alpha in `adapter_config.json`. A folder.
    Peft,
}

impl Format {
    /// What `down` and `up` are called.
    const fn parts(self) -> [&'static str; 2] {
        match self {
            Self::Kohya => [DOWN, UP],
            Self::Peft => ["lora_A.weight", "lora_B.weight"],
        }
    }

    fn stem(self, layer: &str) -> String {
        match self {
            Self::Kohya => format!("lora_unet__{}", layer.replace('.', "_")),
            Self::Peft => format!("{}{layer}", peft::PREFIX),
        }
    }
}

/// What a file was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraReport {
    /// How it names its tensors.
    pub format: Format,
    /// The file of tensors that was read; in a folder, whichever form of it is there.
    pub weights: PathBuf,
    /// PEFT's `adapter_config.json`, which has the strength of the adapters.
    pub config: Option<PathBuf>,
    /// How many layers it has adapters for.
    pub layers: usize,
    /// Layers whose adapter changes nothing, since its `up` is all zero: a warning if they are all, as
    /// in the file of a training that never began.
    pub silent: Vec<String>,
}

impl LoraReport {
    pub(super) fn new(
        format: Format,
        (weights, config): (PathBuf, Option<PathBuf>),
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Self, LoraError> {
        let mut silent = Vec::new();
        let mut layers = 0;
        for (name, tensor) in tensors {
            let Some(layer) = name.strip_suffix(UP).and_then(|name| name.strip_suffix('.')) else {
                continue;
            };
            layers += 1;
            let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            if values.iter().all(|value| *value == 0.0) {
                silent.push(layer.to_owned());
            }
        }
        Ok(Self { format, weights, config, layers, silent })
    }

    /// Whether it changes nothing at all.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent.len() == self.layers
    }
}

/// A file that has been read.
pub(super) struct Read {
    pub(super) origin: String,
    pub(super) format: Format,
    /// Tensors and configuration.
    pub(super) files: (PathBuf, Option<PathBuf>),
    pub(super) layers: BTreeMap<String, Layer>,
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) dropout: f64,
}

/// Keys of one layer.
#[derive(Default)]
struct Keys {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
    /// As the file names the layer.
    stem: String,
}

pub(super) fn read(path: &Path, network: &Params) -> Result<Read, LoraError> {
    let known: BTreeMap<&str, (usize, usize)> = network.layers().collect();
    if known.is_empty() {
        return Err(LoraError::NoLayers);
    }
    let file = if path.is_dir() { peft::weights_of(path) } else { path.to_owned() };
    let weights = Weights::open(&file)?;
    let (format, keys, mut problems) = sort(&weights, &known)?;

    let config = match format {
        Format::Peft => Some(AdapterConfig::beside(&file)?),
        Format::Kohya => None,
    };
    let (mut layers, mut tensors) = (BTreeMap::new(), BTreeMap::new());
    for (name, keys) in keys {
        let Some((down, up)) = pair(format, &keys, &mut problems) else { continue };
        let Some((ins, outs)) = known.get(name.as_str()).copied() else { continue };
        let rank = weights.shape(down).and_then(|shape| shape.first()).copied().unwrap_or_default();
        let rank = rank.max(1);
        let before = problems.len();
        for (key, wanted) in [(down, [rank, ins]), (up, [outs, rank])] {
            let found = weights.shape(key).unwrap_or_default();
            if found != wanted {
                let (name, found, wanted) = (key.to_owned(), found.to_vec(), wanted.to_vec());
                problems.push(Misfit::Shape { name, found, wanted });
            }
        }
        if problems.len() > before {
            continue;
        }
        let alpha = match (&config, &keys.alpha) {
            (_, Some(key)) => weights.f32(key)?.first().copied().map_or(rank as f64, f64::from),
            (Some(config), None) => config.alpha(&name, rank)?,
            // kohya's scripts read a file without it like this.
            (None, None) => rank as f64,
        };
        for (part, key) in [(DOWN, down), (UP, up)] {
            let shape = weights.shape(key).unwrap_or_default();
            let tensor = Tensor::from_vec(weights.f32(key)?, shape, network.device())?;
            tensors.insert(format!("{name}.{part}"), tensor);
        }
        layers.insert(name, Layer { ins, outs, rank, alpha });
    }
    let origin = weights.origin().to_owned();
    if !problems.is_empty() {
        return Err(LoraError::Mismatch { origin, problems });
    }
    let dropout = config.as_ref().map_or(0.0, |config| config.lora_dropout);
    let files = (file, config.map(|config| config.path));
    Ok(Read { origin, format, files, layers, tensors, dropout })
}

/// Both tensors' keys; a missing one is noted.
fn pair<'a>(
    format: Format,
    keys: &'a Keys,
    problems: &mut Vec<Misfit>,
) -> Option<(&'a str, &'a str)> {
    let [down, up] = format.parts();
    for (key, part) in [(&keys.down, down), (&keys.up, up)] {
        if key.is_none() {
            problems.push(Misfit::Missing(format!("{}.{part}", keys.stem)));
        }
    }
    Some((keys.down.as_deref()?, keys.up.as_deref()?))
}

type Sorted = (Format, BTreeMap<String, Keys>, Vec<Misfit>);

/// A file's keys by layer of the network, and those that are of none.
fn sort(weights: &Weights, known: &BTreeMap<&str, (usize, usize)>) -> Result<Sorted, LoraError> {
    let mut stems = BTreeMap::new();
    for name in known.keys() {
        stems.insert((*name).to_owned(), *name);
        stems.insert(name.replace('.', "_"), *name);
    }
    let layer = |stem: &str| {
        // `transformer.` is what diffusers puts first.
        let prefixes = ["", peft::PREFIX, "transformer.", "lora_unet__", "lora_unet_"];
        let mut bare = prefixes.iter().filter_map(|prefix| stem.strip_prefix(prefix));
        bare.find_map(|bare| stems.get(bare).copied())
    };
    let mut formats = Vec::new();
    let (mut sorted, mut problems) = (BTreeMap::<String, Keys>::new(), Vec::new());
    for key in weights.names() {
        let unknown = || Misfit::Unknown(key.to_owned());
        let split = |part: &str| key.strip_suffix(part).and_then(|stem| stem.strip_suffix('.'));
        let of = |format: Format| {
            let [down, up] = format.parts();
            let down = split(down).map(|stem| (stem, Part::Down));
            down.or_else(|| split(up).map(|stem| (stem, Part::Up)))
        };
        let (stem, part) = if let Some(found) = of(Format::Kohya) {
            formats.push(Format::Kohya);
            found
        } else if let Some(found) = of(Format::Peft) {
            formats.push(Format::Peft);
            found
        } else if let Some(stem) = split("alpha") {
            (stem, Part::Alpha)
        } else {
            problems.push(unknown());
            continue;
        };
        let Some(layer) = layer(stem) else {
            problems.push(unknown());
            continue;
        };
        let keys = sorted.entry(layer.to_owned()).or_default();
        keys.stem = stem.to_owned();
        let place = match part {
            Part::Down => &mut keys.down,
            Part::Up => &mut keys.up,
            Part::Alpha => &mut keys.alpha,
        };
        // Two keys of one meaning: which counts cannot be known.
        if place.replace(key.to_owned()).is_some() {
            problems.push(unknown());
        }
    }
    formats.dedup();
    match formats[..] {
        [format] => Ok((format, sorted, problems)),
        _ => Err(LoraError::Format { origin: weights.origin().to_owned() }),
    }
}

#[derive(Clone, Copy)]
enum Part {
    Down,
    Up,
    Alpha,
}

impl Lora {
    /// Writes the adapters for other programs: `path` is a `.safetensors` file for [`Format::Kohya`], and
    /// a folder, which is made, for [`Format::Peft`]. `dtype` is the type of numbers in the file.
    /// Files appear whole or not at all.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, path: &Path, format: Format, dtype: DType) -> Result<(), LoraError> {
        let mut tensors = BTreeMap::new();
        for (name, layer) in &self.layers {
            let stem = format.stem(name);
            for (part, key) in [DOWN, UP].into_iter().zip(format.parts()) {
                let name = format!("{name}.{part}");
                let var = self.params.get(&name).ok_or_else(|| self.lacks(&name))?;
                tensors.insert(format!("{stem}.{key}"), var.as_detached_tensor().to_dtype(dtype)?);
            }
            if format == Format::Kohya {
                let alpha = Tensor::new(layer.alpha as f32, &Device::Cpu)?;
                tensors.insert(format!("{stem}.alpha"), alpha.to_dtype(dtype)?);
            }
        }
        let file = match format {
            Format::Kohya => path.to_owned(),
            Format::Peft => {
                let io = |source| LoraError::Io { path: path.to_owned(), source };
                std::fs::create_dir_all(path).map_err(io)?;
                let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
                AdapterConfig::of(&self.layers, &others, self.dropout).write(path)?;
                PathBuf::from(path).join(peft::WEIGHTS)
            }
        };
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        Ok(save_tensors(&file, tensors, &[("format", "pt")])?)
    }
}
