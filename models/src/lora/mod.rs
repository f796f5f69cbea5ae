//! Low-rank adapters (LoRA; Hu et al., arXiv 2106.09685): `y = W x + b + weight * alpha/r * up(down(x))`.
//!
//! A [`Lora`] has a `down` of `[r, I]` and an `up` of `[O, r]` for each of some linear layers, in
//! [`Params`] of its own: they train, are saved and restored, and have optimiser state apart from the
//! network, which is frozen. [`Params::adapt`] joins them to the network when that is built again.
//! Several may be joined, each with a weight. Or [`Lora::merge`] adds them to the network's own weights.
//!
//! `down` starts uniform within `1 / sqrt(I)`, as PEFT and the published trainers draw it, and `up` as
//! zero, so that a fresh adapter changes nothing.
//!
//! ```
//! # use curate_models::{dit::{Config, Transformer3d}, lora::{Lora, LoraConfig}, params::{Params, Role}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (device, config) = (candle_core::Device::Cpu, Config { layers: 2, ..Config::tiny() });
//! let mut params = Params::seeded(0, &device);
//! Transformer3d::new(&mut params, &config)?; // Its layers are known now.
//! let lora = Lora::fresh(&LoraConfig { rank: 4, ..LoraConfig::default() }, &params, 1)?;
//! params.set_role("*", Role::Frozen);
//! params.adapt(&lora, 1.0)?;
//! let network = Transformer3d::new(&mut params, &config)?;
//! assert_eq!(lora.params().trained().count(), 2 * lora.layers().count());
//! # Ok(()) }
//! ```
//!
//! Decided against taking an adapter out of merged weights by subtraction: what is added and subtracted
//! again is not what it was, least of all in half precision. The weights are kept instead. Decided
//! against leaving out what a file has for layers that the network lacks: a LoRA for another network
//! would then silently do nothing.

mod adapter;
mod config;
mod error;
mod file;
mod merge;
mod peft;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;

use self::adapter::{Dropout, DropoutSeed};
use crate::{
    Misfit,
    params::{Init, Params, ParamsError, Role, fits, stream},
};

pub(crate) use self::adapter::{Adapter, adapted};
pub use self::{
    config::LoraConfig,
    error::LoraError,
    file::{Format, LoraReport},
    merge::Merged,
};

/// What an adapter's tensors are called behind its layer's name.
const DOWN: &str = "lora_down.weight";
const UP: &str = "lora_up.weight";

/// Adapters of some layers of a network.
#[derive(Debug)]
pub struct Lora {
    origin: String,
    layers: BTreeMap<String, Layer>,
    /// Layers of the network that have no adapter.
    others: Vec<String>,
    params: Params,
    dropout: f64,
    seed: DropoutSeed,
}

/// The shape of one layer's adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layer {
    ins: usize,
    outs: usize,
    rank: usize,
    alpha: f64,
}

impl Layer {
    fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

impl Lora {
    /// New adapters for a network that has been built, drawn with `seed`, to be trained.
    ///
    /// # Errors
    /// When the configuration is not sound, or a pattern of `targets` matches no layer.
    pub fn fresh(config: &LoraConfig, network: &Params, seed: u64) -> Result<Self, LoraError> {
        config.check()?;
        let all: Vec<(&str, (usize, usize))> = network.layers().collect();
        if all.is_empty() {
            return Err(LoraError::NoLayers);
        }
        for pattern in &config.targets {
            if !all.iter().any(|(name, _)| fits(pattern, name)) {
                let some = all.iter().step_by(all.len().div_ceil(6));
                let layers = some.map(|(name, _)| format!("`{name}`")).collect();
                return Err(LoraError::Pattern { pattern: pattern.clone(), layers });
            }
        }
        let is_target = |name: &str| config.targets.iter().any(|pattern| fits(pattern, name));
        let targets = all.iter().filter(|(name, _)| is_target(name));
        let layers = targets.map(|(name, (ins, outs))| {
            let (rank, alpha) = (config.rank, config.alpha);
            ((*name).to_owned(), Layer { ins: *ins, outs: *outs, rank, alpha })
        });
        let params = Params::seeded(seed, network.device());
        let made = Self::new(format!("LoRA of seed {seed}"), layers.collect(), params, network)?;
        Ok(Self { dropout: config.dropout, ..made })
    }

    /// Reads a LoRA of kohya's or PEFT's format, told apart by its tensors' names, for a network that
    /// has been built. `path` is a file, or a folder that PEFT wrote. It is frozen: [`Lora::set_role`]
    /// lets it be trained further.
    ///
    /// # Errors
    /// When it cannot be read, or has a tensor that fits no layer of the network.
    pub fn open(path: &Path, network: &Params) -> Result<(Self, LoraReport), LoraError> {
        let read = file::read(path, network)?;
        let file::Read { origin, format, files, layers, tensors, dropout } = read;
        let report = LoraReport::new(format, files, &tensors)?;
        let params = Params::from_tensors(&origin, tensors, network.device());
        let mut made = Self::new(origin, layers, params, network)?;
        made.dropout = dropout;
        made.set_role(Role::Frozen);
        Ok((made, report))
    }

    fn new(
        origin: String,
        layers: BTreeMap<String, Layer>,
        mut params: Params,
        network: &Params,
    ) -> Result<Self, LoraError> {
        params.build(|scope| {
            for (name, layer) in &layers {
                let scope = &mut scope.at(name);
                scope.get(DOWN, &[layer.rank, layer.ins], Init::torch(layer.ins))?;
                scope.get(UP, &[layer.outs, layer.rank], Init::Zeros)?;
            }
            Ok::<_, ParamsError>(())
        })?;
        let others =
            network.layers().map(|(name, _)| name).filter(|name| !layers.contains_key(*name));
        let others = others.map(str::to_owned).collect();
        Ok(Self { origin, layers, others, params, dropout: 0.0, seed: DropoutSeed::default() })
    }

    /// Its tensors, `LAYER.lora_down.weight` and `LAYER.lora_up.weight`: for the optimiser, and to save
    /// and restore while training goes on.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Its layers: name, rank and alpha, sorted by name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, usize, f64)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer.rank, layer.alpha))
    }

    /// Whether it is trained. Counts for networks that it is joined to from now on.
    pub fn set_role(&mut self, role: Role) {
        self.params.set_role("*", role);
    }

    /// The seed of dropout until the next call: another one for each step and micro-batch. `None`, as
    /// at first: nothing is dropped. Networks that it is joined to see it at once. Between forward and
    /// backward it must stay as it is, since checkpoints draw their masks again.
    pub fn set_dropout_seed(&self, seed: Option<u64>) {
        self.seed.set(seed);
    }

    /// What a network's layers add, by layer.
    ///
    /// # Errors
    /// [`LoraError::Mismatch`] when the network lacks a layer, or has one of another shape.
    pub(crate) fn adapters(
        &self,
        network: &Params,
        weight: f64,
    ) -> Result<Vec<(String, Adapter)>, LoraError> {
        self.check(network)?;
        let is_trained = |name: &str| self.params.trained().any(|(own, _)| own == name);
        let made = self.layers.iter().map(|(name, layer)| {
            let mut vars = Vec::new();
            let mut tensor = |part: &str| -> Result<Tensor, LoraError> {
                let name = format!("{name}.{part}");
                let var = self.params.get(&name).ok_or_else(|| self.lacks(&name))?;
                if !is_trained(&name) {
                    return Ok(var.as_detached_tensor());
                }
                vars.push(var.clone());
                Ok(var.as_tensor().clone())
            };
            let (down, up) = (tensor(DOWN)?, tensor(UP)?);
            let (rate, seed) = (self.dropout, self.seed.clone());
            let dropout = Dropout { rate, seed, stream: stream(name) };
            let factor = weight * layer.scale();
            Ok((name.clone(), Adapter { down, up, factor, dropout, vars }))
        });
        made.collect()
    }

    fn check(&self, network: &Params) -> Result<(), LoraError> {
        let known: BTreeMap<&str, (usize, usize)> = network.layers().collect();
        if known.is_empty() {
            return Err(LoraError::NoLayers);
        }
        let problem = |(name, layer): (&String, &Layer)| match known.get(name.as_str()) {
            None => Some(Misfit::Unknown(name.clone())),
            Some((ins, outs)) if (*ins, *outs) != (layer.ins, layer.outs) => Some(Misfit::Shape {
                name: name.clone(),
                found: vec![layer.outs, layer.ins],
                wanted: vec![*outs, *ins],
            }),
            Some(_) => None,
        };
        let problems: Vec<Misfit> = self.layers.iter().filter_map(problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(LoraError::Mismatch { origin: self.origin.clone(), problems })
    }

    fn lacks(&self, name: &str) -> LoraError {
        let problems = vec![Misfit::Missing(name.to_owned())];
        LoraError::Mismatch { origin: self.origin.clone(), problems }
    }
}
