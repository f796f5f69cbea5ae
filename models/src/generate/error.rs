//! What can go wrong between a prompt and a clip.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    WeightsError, diffusion::DiffusionError, dit::TransformerError, encoders::EncoderError,
    hub::Missing, params::ParamsError, vae::VaeError,
};

/// Why a model folder cannot be read or written, or a clip not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A file or folder cannot be read or written.
    #[error("{path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A `model.json` is no JSON, lacks a key or has one that is unknown.
    #[error("{path:?} is not the card of a model: {source}")]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Values of a `model.json` that cannot be right; all of them.
    #[error("{path:?}: {}", .problems.join("; "))]
    CardValues {
        /// The file.
        path: PathBuf,
        /// What is wrong, each with its key.
        problems: Vec<String>,
    },
    /// A model folder lacks a part.
    #[error("{folder:?} has no {part}: {wanted}")]
    Part {
        /// The folder.
        folder: PathBuf,
        /// The part.
        part: &'static str,
        /// The places that were looked at.
        wanted: String,
    },
    /// A folder as `curate train` writes it has lost its card.
    #[error(
        "{folder:?} has no `model.json`, which says what its transformer predicts and which text \
         encoder it listens to: copy it from the folder that `curate train` wrote, `model` in that of \
         the run"
    )]
    NoCard {
        /// The folder.
        folder: PathBuf,
    },
    /// The parts of a model do not belong together.
    #[error("the parts of the model do not fit: {problem}")]
    Unfit {
        /// What does not fit what.
        problem: String,
    },
    /// A request that the model cannot fulfil; all that is wrong with it.
    #[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Request {
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// A checkpoint is not of the part that it is named after.
    #[error(
        "{path:?} is no {part}: it has tensors such as {tensors} and no `{note}` in its header, and \
         no `config.json` lies beside it"
    )]
    NotPart {
        /// The checkpoint.
        path: PathBuf,
        /// What it should be.
        part: &'static str,
        /// Some of its tensors.
        tensors: String,
        /// What its header lacks.
        note: &'static str,
    },
    /// A checkpoint has layers that its configuration does not speak of.
    #[error(
        "{path:?} has {count} tensors of layers that its configuration does not have, {names} among them: \
         the {part} would run without them; it needs the configuration that it was trained with"
    )]
    Unused {
        /// The checkpoint.
        path: PathBuf,
        /// What it is.
        part: &'static str,
        /// How many tensors.
        count: usize,
        /// Some of them.
        names: String,
    },
    /// A network made what are no numbers.
    #[error(
        "the {part} made {made} that are not finite numbers: its weights are damaged, a LoRA is too \
         strong, or its training had diverged"
    )]
    NotFinite {
        /// The network.
        part: &'static str,
        /// What it made.
        made: &'static str,
    },
    /// A file of the hub is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint's tensors do not fit the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The transformer.
    #[error(transparent)]
    Transformer(#[from] TransformerError),
    /// The VAE.
    #[error(transparent)]
    Vae(#[from] VaeError),
    /// The text encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The sampler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// candle failed, usually for want of memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A part of a request that cannot be, and what could.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}: {problem}")]
pub struct Problem {
    /// What was asked for: "size", "frames".
    pub what: &'static str,
    /// Why it cannot be, and what can.
    pub problem: String,
}

impl GenerateError {
    /// Whether it lies in what was asked for or in a file, so that trying again changes nothing.
    #[must_use]
    pub const fn is_of_input(&self) -> bool {
        !matches!(
            self,
            Self::Tensor(_)
                | Self::Transformer(TransformerError::Tensor(_))
                | Self::Vae(VaeError::Tensor(_))
                | Self::Encoder(EncoderError::Tensor(_))
                | Self::Diffusion(DiffusionError::Tensor(_))
                | Self::Params(ParamsError::Write { .. })
        )
    }
}
