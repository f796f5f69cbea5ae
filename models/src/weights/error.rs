//! What can be wrong with a checkpoint.

use std::{io, path::PathBuf};

use crate::ArchiveError;

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file system refused.
    #[error("{path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is neither of the two formats.
    #[error("{origin} is neither a safetensors file nor a PyTorch file: {source}")]
    Format {
        /// The file.
        origin: String,
        /// What is wrong with it as a safetensors file.
        source: serde_json::Error,
    },
    /// The file ends before its tensors do.
    #[error("{origin} is cut off in {tensor}: {bytes} bytes of {expected}; fetch it again")]
    Short {
        /// The file.
        origin: String,
        /// Bytes it has.
        bytes: u64,
        /// Bytes it should have.
        expected: u64,
        /// Where it ends.
        tensor: CutOff,
    },
    /// A `.pth` file is damaged as an archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The pickle in a `.pth` file cannot be understood.
    #[error("{path:?}: {source}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: PickleError,
    },
    /// There is no such tensor.
    #[error("{origin} has no tensor `{name}`")]
    NoTensor {
        /// The file.
        origin: String,
        /// The name.
        name: String,
    },
    /// The tensor's elements are not floating-point numbers.
    #[error("`{name}` in {origin} is not a tensor of floating-point numbers")]
    Type {
        /// The file.
        origin: String,
        /// The tensor.
        name: String,
    },
}

/// Where a file ends that is too short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CutOff {
    /// Before its tensors.
    #[error("its header")]
    Header,
    /// In a tensor, the first that is not whole.
    #[error("tensor `{name}` of shape {shape:?}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

/// Why a pickle gives no tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The archive holds no pickle.
    #[error("the archive has no data.pkl, so it is not a checkpoint of PyTorch")]
    Absent,
    /// The pickle is larger than any description of tensors.
    #[error("its data.pkl is too large for a description of tensors")]
    TooLarge,
    /// Written on a machine with the other byte order.
    #[error("it was written with big-endian numbers, which are not read")]
    ByteOrder,
    /// The pickle ends in the middle.
    #[error("its pickle is cut off")]
    Short,
    /// An instruction that no state dict needs.
    #[error(
        "its pickle has the instruction 0x{opcode:02x} at byte {at}, which no state dict needs"
    )]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Where it is.
        at: usize,
    },
    /// An instruction finds something else than it works on.
    #[error("its pickle is damaged at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
    /// The pickle holds no dictionary of tensors.
    #[error("it holds no dictionary of tensors by name")]
    NoTensors,
    /// A tensor's place makes no sense.
    #[error("tensor `{0}` does not lie in its storage")]
    Tensor(String),
}
