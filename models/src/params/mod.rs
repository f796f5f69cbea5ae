//! The tensors of a network that trains: by name, in sorted order, from a checkpoint or a seed.
//!
//! A network is written once, as functions that ask a [`Scope`] for tensors by the names of the
//! published checkpoint. The same functions read a checkpoint, draw fresh weights, or join a network
//! to tensors that are there already: what a [`Scope`] hands out depends on the [`Params`] behind it.
//! What was asked for and not found, or found and not asked for, is in the [`Report`].
//!
//! Tensors are candle's `Var`s. A network keeps handles on them, so a step of the optimiser or
//! [`Params::restore`] is seen by the network at once. A frozen tensor is handed out detached: the
//! backward pass then does not reach it. Freezing therefore comes before [`Params::build`]; building
//! a second time over the same tensors costs nothing.
//!
//! Decided against `candle_nn::VarMap`: it is a hash map, so its order changes from run to run, it
//! draws from a generator that cannot be seeded on CPU, and it says nothing of tensors that it does
//! not know. Decided against mapping checkpoints into memory: it needs `unsafe`, and a tensor is
//! read once.

mod adapt;
mod draw;
mod file;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor, Var};

use crate::{Misfit, Weights, WeightsError, lora::Adapter};

pub(crate) use self::draw::stream;
pub use self::{draw::Init, file::save_tensors, scope::Scope};

/// Why a network and its tensors do not come together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The checkpoint is not one of this network.
    #[error("{origin} does not fit the network: {}", crate::error::list(.problems))]
    Mismatch {
        /// Where the tensors come from.
        origin: String,
        /// What does not fit, in the order in which the network asks.
        problems: Vec<Misfit>,
    },
    /// A pattern names no tensor.
    #[error("no tensor matches `{pattern}`; the names begin with {}", .names.join(", "))]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the names begin with.
        names: Vec<String>,
    },
    /// The checkpoint cannot be written.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor's values are of a type that checkpoints of this project do not have.
    #[error("`{name}` holds {dtype:?}, which is not written to checkpoints")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// candle failed, usually for want of memory.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

/// What a tensor is to training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is trained.
    Trained,
    /// It could be trained and is kept as it is.
    Frozen,
    /// It is no weight: running statistics. Saved, never trained.
    Buffer,
}

#[derive(Debug)]
struct Entry {
    var: Var,
    role: Role,
}

/// Where tensors come from that are asked for the first time.
#[derive(Debug)]
enum Source {
    Nothing,
    Weights(Weights),
    Tensors(BTreeMap<String, Tensor>),
}

/// What became of a checkpoint's tensors. Names are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Read as they are.
    pub matched: Vec<String>,
    /// Drawn or computed by [`Init`], since the checkpoint has none.
    pub missing: Vec<String>,
    /// In the checkpoint, and not asked for.
    pub unexpected: Vec<String>,
    /// Made to fit before they were read; filled in by whoever did that.
    pub inflated: Vec<String>,
}

/// The tensors of a network.
#[derive(Debug)]
pub struct Params {
    origin: String,
    source: Source,
    /// Tensors that the source lacks are drawn with this seed; `None`: they are an error.
    seed: Option<u64>,
    dtype: DType,
    device: Device,
    entries: BTreeMap<String, Entry>,
    patterns: Vec<Freeze>,
    problems: Vec<Misfit>,
    report: Report,
    /// While [`Params::build_frozen`] runs.
    is_detaching: bool,
    /// Names that the network knows and has no use for.
    ignored: BTreeSet<String>,
    /// While [`Params::asked`] runs: what the network has asked for.
    asked: Option<BTreeMap<String, Vec<usize>>>,
    /// Inputs and outputs of linear layers that can have adapters, by name.
    layers: BTreeMap<String, (usize, usize)>,
    /// Of those layers.
    adapters: BTreeMap<String, Vec<Adapter>>,
}

#[derive(Debug)]
struct Freeze {
    pattern: String,
    role: Role,
}

impl Params {
    fn new(origin: String, source: Source, seed: Option<u64>, device: &Device) -> Self {
        Self {
            origin,
            source,
            seed,
            dtype: DType::F32,
            device: device.clone(),
            entries: BTreeMap::new(),
            patterns: Vec::new(),
            problems: Vec::new(),
            report: Report::default(),
            is_detaching: false,
            ignored: BTreeSet::new(),
            asked: None,
            layers: BTreeMap::new(),
            adapters: BTreeMap::new(),
        }
    }

    /// Fresh tensors. Each has its own stream of random numbers, made of the seed and its name: the
    /// values do not depend on the device, nor on what else the network has.
    #[must_use]
    pub fn seeded(seed: u64, device: &Device) -> Self {
        Self::new(format!("seed {seed}"), Source::Nothing, Some(seed), device)
    }

    /// Tensors of a checkpoint.
    #[must_use]
    pub fn from_weights(weights: Weights, device: &Device) -> Self {
        Self::new(weights.origin().to_owned(), Source::Weights(weights), None, device)
    }

    /// Tensors that are in memory, such as a checkpoint that was made to fit; `origin` names them in
    /// messages.
    #[must_use]
    pub fn from_tensors(origin: &str, tensors: BTreeMap<String, Tensor>, device: &Device) -> Self {
        Self::new(origin.to_owned(), Source::Tensors(tensors), None, device)
    }

    /// Draws what the checkpoint lacks, instead of refusing it. [`Report::missing`] has the names.
    #[must_use]
    pub fn or_seeded(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Notes for the report which tensors were made to fit.
    #[must_use]
    pub fn with_inflated(mut self, names: &[String]) -> Self {
        self.report.inflated = names.to_vec();
        self
    }

    /// The type of numbers that tensors are kept in: `f32` unless said otherwise, as training wants
    /// it. For tensors that are asked for from now on.
    #[must_use]
    pub fn with_dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Shapes of the tensors that a network asks for, by name. None is read or drawn.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn asked<M, E: From<ParamsError>>(
        make: impl FnOnce(&mut Scope<'_>) -> Result<M, E>,
    ) -> Result<BTreeMap<String, Vec<usize>>, E> {
        let mut params = Self::new("nothing".to_owned(), Source::Nothing, None, &Device::Cpu);
        params.asked = Some(BTreeMap::new());
        make(&mut Scope::root(&mut params))?;
        Ok(params.asked.unwrap_or_default())
    }

    /// Runs what makes a network, and refuses checkpoints that do not fit it.
    ///
    /// # Errors
    /// Those of `make`, and [`ParamsError::Mismatch`] with every tensor that is missing or has
    /// another shape than the network wants.
    pub fn build<M, E: From<ParamsError>>(
        &mut self,
        make: impl FnOnce(&mut Scope<'_>) -> Result<M, E>,
    ) -> Result<M, E> {
        self.problems.clear();
        let made = make(&mut Scope::root(self))?;
        if self.problems.is_empty() {
            return Ok(made);
        }
        let problems = std::mem::take(&mut self.problems);
        Err(ParamsError::Mismatch { origin: self.origin.clone(), problems }.into())
    }

    /// [`Params::build`], with every tensor detached: a network that sees what is trained, and through
    /// which gradients flow to its input alone. For a discriminator while the generator is trained.
    ///
    /// # Errors
    /// Those of [`Params::build`].
    pub fn build_frozen<M, E: From<ParamsError>>(
        &mut self,
        make: impl FnOnce(&mut Scope<'_>) -> Result<M, E>,
    ) -> Result<M, E> {
        self.is_detaching = true;
        let made = self.build(make);
        self.is_detaching = false;
        made
    }

    /// What became of the checkpoint, once the network is built.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        let is_unexpected =
            |name: &&str| !self.entries.contains_key(*name) && !self.ignored.contains(*name);
        report.unexpected = match &self.source {
            Source::Nothing => Vec::new(),
            Source::Weights(weights) => {
                weights.names().filter(is_unexpected).map(str::to_owned).collect()
            }
            Source::Tensors(tensors) => {
                let names = tensors.keys().map(String::as_str);
                names.filter(is_unexpected).map(str::to_owned).collect()
            }
        };
        report.matched.sort_unstable();
        report.missing.sort_unstable();
        report
    }

    /// Sets the role of tensors by name, now and of those that are asked for later; the last pattern
    /// that fits counts. `*` in a pattern stands for anything: `encoder.*`, `*attn_temporal*`. Build
    /// the network again afterwards.
    pub fn set_role(&mut self, pattern: &str, role: Role) {
        for (name, entry) in &mut self.entries {
            if entry.role != Role::Buffer && fits(pattern, name) {
                entry.role = role;
            }
        }
        self.patterns.push(Freeze { pattern: pattern.to_owned(), role });
    }

    /// That every pattern given to [`Params::set_role`] names something.
    ///
    /// # Errors
    /// [`ParamsError::Pattern`] for the first that does not.
    pub fn check_patterns(&self) -> Result<(), ParamsError> {
        for Freeze { pattern, .. } in &self.patterns {
            if !self.entries.keys().any(|name| fits(pattern, name)) {
                let first = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
                let mut names: Vec<String> = self.entries.keys().map(first).collect();
                names.dedup();
                return Err(ParamsError::Pattern { pattern: pattern.clone(), names });
            }
        }
        Ok(())
    }

    /// Every tensor with its role, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var, Role)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.var, entry.role))
    }

    /// What is trained, sorted by name: the order of the optimiser's state.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.iter().filter(|(_, _, role)| *role == Role::Trained).map(|(name, var, _)| (name, var))
    }

    /// A tensor by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.entries.get(name).map(|entry| &entry.var)
    }

    /// How many numbers all tensors hold.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.values().map(|entry| entry.var.elem_count()).sum()
    }

    /// Where tensors live.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Sets every tensor to that of the same name in a checkpoint; networks see it at once.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape; then some may have been set already.
    pub fn restore(&self, weights: &Weights) -> Result<(), ParamsError> {
        let wrong = |name: &String, entry: &Entry| match weights.shape(name) {
            None => Some(Misfit::Missing(name.clone())),
            Some(found) => misfit(name, found, entry.var.dims()),
        };
        let problems: Vec<Misfit> =
            self.entries.iter().filter_map(|(name, entry)| wrong(name, entry)).collect();
        if !problems.is_empty() {
            return Err(ParamsError::Mismatch { origin: weights.origin().to_owned(), problems });
        }
        for (name, entry) in &self.entries {
            let failed = |source| ParamsError::Tensor { name: name.clone(), source };
            let tensor = read(weights, name, entry.var.dims(), entry.var.device())?;
            let tensor = tensor.to_dtype(entry.var.dtype()).map_err(failed)?;
            entry.var.set(&tensor).map_err(failed)?;
        }
        Ok(())
    }
}

/// What is wrong with a tensor of this shape, if anything.
fn misfit(name: &str, found: &[usize], wanted: &[usize]) -> Option<Misfit> {
    let shape =
        || Misfit::Shape { name: name.to_owned(), found: found.to_vec(), wanted: wanted.to_vec() };
    (found != wanted).then(shape)
}

/// A checkpoint's tensor, in `f32`.
fn read(
    weights: &Weights,
    name: &str,
    shape: &[usize],
    device: &Device,
) -> Result<Tensor, ParamsError> {
    let failed = |source| ParamsError::Tensor { name: name.to_owned(), source };
    Tensor::from_vec(weights.f32(name)?, shape, device).map_err(failed)
}

/// Whether a name fits a pattern in which `*` stands for anything.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    // There always is a first part.
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
