//! Why training does not begin, or does not go on.
//!
//! Parts with many ways to fail (data, configurations) have errors of their own; this is what a
//! training loop returns.

use std::path::{Path, PathBuf};

use curate_models::{
    WeightsError, diffusion::DiffusionError, dit::TransformerError, encoders::EncoderError,
    generate::GenerateError, lora::LoraError, params::ParamsError, vae::VaeError,
};

use crate::data::DataError;

/// Why a training run stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration is wrong.
    #[error("{}: {}", .path.display(), .problems.join("; "))]
    Config {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, each with its key.
        problems: Vec<String>,
    },
    /// The run's folder was begun with other settings.
    #[error(
        "{} was begun with other settings ({}); put them back, or give the run another `out`",
        .folder.display(), .keys.join(", ")
    )]
    OtherRun {
        /// The run's folder.
        folder: PathBuf,
        /// The keys that differ, with both values.
        keys: Vec<String>,
    },
    /// Another process trains in this folder.
    #[error("another process trains in {}; wait for it, or give the run another `out`", .0.display())]
    Busy(PathBuf),
    /// What was asked for needs a trained model.
    #[error("the run {} has no checkpoint yet: train first, with the same file", .0.display())]
    NotTrained(PathBuf),
    /// A file or folder of the run cannot be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint does not say what it should.
    #[error(
        "the checkpoint {} cannot be read: {problem}; delete it to go on from the one before",
        .path.display()
    )]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The loss or its gradient is no number, again and again.
    #[error(
        "{steps} steps in a row had no finite loss or gradient, the last at step {step}. The losses \
         before are in {}: go on with other clips (`data.where`) in another `out`, or begin anew with a \
         lower learning rate", .metrics.display()
    )]
    NotFinite {
        /// How many steps.
        steps: u64,
        /// The last of them.
        step: u64,
        /// Where they are logged.
        metrics: PathBuf,
    },
    /// A group of the optimiser names nothing that is trained.
    #[error("`{key}` has the pattern `{pattern}`, which fits no tensor that is trained")]
    NothingTrained {
        /// The setting.
        key: &'static str,
        /// The pattern.
        pattern: String,
    },
    /// A checkpoint of weights cannot be read.
    #[error(transparent)]
    Weights(Box<WeightsError>),
    /// Weights do not fit their network.
    #[error(transparent)]
    Params(Box<ParamsError>),
    /// The VAE fails.
    #[error(transparent)]
    Vae(Box<VaeError>),
    /// The transformer fails.
    #[error(transparent)]
    Transformer(Box<TransformerError>),
    /// The text encoder fails.
    #[error(transparent)]
    Encoder(Box<EncoderError>),
    /// Noise, losses or samplers fail.
    #[error(transparent)]
    Diffusion(Box<DiffusionError>),
    /// A model's folder cannot be read or written, or a preview not be made.
    #[error(transparent)]
    Model(Box<GenerateError>),
    /// Adapters do not fit the network, or cannot be written.
    #[error(transparent)]
    Lora(Box<LoraError>),
    /// The data cannot be read.
    #[error(transparent)]
    Data(Box<DataError>),
    /// candle failed, usually for want of memory.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Boxed, so that a result is not as large as the largest of them.
macro_rules! boxed {
    ($($variant:ident($error:ty),)*) => {
        $(impl From<$error> for TrainError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed! {
    Data(DataError),
    Diffusion(DiffusionError),
    Encoder(EncoderError),
    Lora(LoraError),
    Model(GenerateError),
    Params(ParamsError),
    Transformer(TransformerError),
    Vae(VaeError),
    Weights(WeightsError),
}

impl TrainError {
    /// An error of a file operation.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What is wrong with a run's file, found by what does not know where it lies.
    pub(crate) fn of_file(problems: Vec<String>) -> Self {
        Self::Config { path: PathBuf::new(), problems }
    }

    /// The error with the path of the run's file, where it is the file's and does not say so yet.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        match self {
            Self::Config { path, problems } if path.as_os_str().is_empty() => {
                Self::Config { path: file.to_owned(), problems }
            }
            error @ Self::NothingTrained { .. } => {
                Self::Config { path: file.to_owned(), problems: vec![error.to_string()] }
            }
            error => error,
        }
    }

    /// Whether the user's file or arguments are at fault, so that running again changes nothing.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::OtherRun { .. }
            | Self::NotTrained(_)
            | Self::NothingTrained { .. } => true,
            Self::Data(error) => error.is_usage(),
            Self::Model(error) => error.is_of_input(),
            Self::Weights(_) | Self::Lora(_) => true,
            Self::Params(error) => !matches!(**error, ParamsError::Write { .. }),
            Self::Vae(error) => !matches!(**error, VaeError::Tensor(_)),
            Self::Transformer(error) => !matches!(**error, TransformerError::Tensor(_)),
            Self::Encoder(error) => !matches!(**error, EncoderError::Tensor(_)),
            Self::Diffusion(error) => !matches!(**error, DiffusionError::Tensor(_)),
            Self::Io { source, .. } => {
                use std::io::ErrorKind as Kind;
                matches!(source.kind(), Kind::NotFound | Kind::IsADirectory)
            }
            _ => false,
        }
    }
}
