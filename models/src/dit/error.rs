//! What can go wrong with the transformer.

use std::path::PathBuf;

use thiserror::Error;

use crate::params::ParamsError;

/// Why a transformer could not be made or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransformerError {
    /// A `config.json` is no JSON, or lacks a key.
    #[error("{origin} is not the configuration of a transformer: {source}")]
    Json {
        /// Where it is from.
        origin: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A configuration that cannot be built; all that is wrong with it.
    #[error("{origin} asks for what this transformer does not do: {}", .problems.join("; "))]
    Config {
        /// Where it is from.
        origin: String,
        /// What is wrong, each with its key.
        problems: Vec<String>,
    },
    /// A preset that does not exist.
    #[error("there is no transformer `{name}`; there are {known}")]
    Preset {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// An input does not fit the network.
    #[error("`{input}` has shape {found:?}; it must be {wanted}")]
    Input {
        /// Which.
        input: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected, in words.
        wanted: String,
    },
    /// An input is missing that the network needs.
    #[error("`{input}` is missing: {why}")]
    Absent {
        /// Which.
        input: &'static str,
        /// Why it is needed.
        why: &'static str,
    },
    /// The tensors do not fit the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
