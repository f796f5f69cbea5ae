//! What can go wrong with adapters.

use std::path::PathBuf;

use thiserror::Error;

use crate::{Misfit, WeightsError, params::ParamsError};

/// Why adapters cannot be made, read, written or applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A configuration from which no adapters can be made; all that is wrong with it.
    #[error("adapters cannot be made: {}", .problems.join("; "))]
    Config {
        /// What is wrong, each with its key.
        problems: Vec<String>,
    },
    /// A pattern names no layer.
    #[error("no layer matches `{pattern}` of `targets`; layers are named like {}", .layers.join(", "))]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Some layers.
        layers: Vec<String>,
    },
    /// The network has not been built, so its layers are not known yet.
    #[error("the network has no layers that take adapters; build it before its adapters")]
    NoLayers,
    /// The file is one of another network, or damaged.
    #[error("{origin} does not fit the network: {}", crate::error::list(.problems))]
    Mismatch {
        /// Where the adapters come from.
        origin: String,
        /// What does not fit.
        problems: Vec<Misfit>,
    },
    /// The file holds no adapters, or a mixture of formats.
    #[error(
        "{origin} is no LoRA: its tensors must be named `.lora_down.weight` and `.lora_up.weight` \
         (kohya), or `.lora_A.weight` and `.lora_B.weight` (PEFT)"
    )]
    Format {
        /// The file.
        origin: String,
    },
    /// `adapter_config.json` is missing, damaged, or asks for what is not built here.
    #[error("{path:?}: {problem}")]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The file system refused.
    #[error("{path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tensors do not fit, or cannot be written.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
