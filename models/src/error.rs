//! What can go wrong with a model that is there.

use std::path::PathBuf;

use crate::{aesthetic::head::HeadError, hub::Missing, weights::WeightsError};

/// Why a model cannot be used, or gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The model has not been pulled.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// ONNX Runtime's library is there and cannot be loaded.
    #[error("{path:?} cannot be loaded: {source}; `curate models verify onnxruntime` checks it")]
    Library {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        source: ort::LoadDynamicError,
    },
    /// The file system refused.
    #[error("{path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The checkpoint is not one of this network.
    #[error("{weights} are not weights of {network}: {}", list(.problems))]
    Mismatch {
        /// The network.
        network: &'static str,
        /// Where the weights come from.
        weights: String,
        /// What does not fit.
        problems: Vec<Misfit>,
    },
    /// The checkpoint is not an aesthetic head.
    #[error("{weights}: {source}; the published heads are named in `curate models list`")]
    Head {
        /// Where it comes from.
        weights: String,
        /// What does not fit.
        source: HeadError,
    },
    /// A network's own list of weights is damaged, which the tests of this crate rule out.
    #[error("the list of weights of {network} cannot be read: {source}")]
    Graph {
        /// The network.
        network: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// ONNX Runtime refused or failed.
    #[error("ONNX Runtime failed while {during}: {source}")]
    Onnx {
        /// What was being done.
        during: &'static str,
        /// What it said.
        source: ort::Error,
    },
    /// The pictures handed in cannot be used.
    #[error("{0}")]
    Input(#[from] InputError),
}

/// A tensor that keeps weights from fitting a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The network needs it.
    #[error("`{0}` is missing")]
    Missing(String),
    /// It has another shape than the network needs.
    #[error("`{name}` has the shape {found:?}, not {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the network needs.
        wanted: Vec<usize>,
    },
    /// The network has no use for it.
    #[error("`{0}` is unknown")]
    Unknown(String),
}

/// Pictures that a network cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The bytes are not those of a picture of this size.
    #[error("{bytes} bytes are not an RGB picture of {width}x{height}")]
    Bytes {
        /// Bytes handed in.
        bytes: usize,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Pictures of one batch differ in size.
    #[error("pictures of one batch must have one size, not {a:?} and {b:?}")]
    Sizes {
        /// Width and height of one.
        a: (u32, u32),
        /// Width and height of another.
        b: (u32, u32),
    },
}

/// The first few, and how many more there are.
pub(crate) fn list(problems: &[Misfit]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match problems.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}
