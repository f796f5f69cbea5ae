//! Models: the hub that fetches them, ONNX Runtime, and the networks that run on it.
//!
//! [`hub`] knows every model there is (`manifest.toml`), fetches files, checks them, and says what
//! to do when one is missing. [`Runtime`] is ONNX Runtime, opened once from the hub. [`Weights`]
//! reads checkpoints by tensor name; networks are graphs without weights, and the two together make
//! a session. [`raft`] is optical flow, [`text`] finds and reads lines of text,
//! [`transnet`] finds changes of shot, [`aesthetic`] scores pictures and gives embeddings, [`caption`]
//! writes what is to be seen. These run on ONNX Runtime or ask servers.
//!
//! What is trained and generated with is written in candle and [`curate_ops`]: [`vae`] is the Slice VAE,
//! [`dit`] the diffusion transformer, [`diffusion`] losses and samplers, [`encoders`] turn text into
//! tokens and a guiding image into its embedding; [`lora`] are adapters; [`params`] are their tensors by
//! published names, and [`parity`] compares with the references.
//!
//! A run never downloads: stages only ask the hub for paths, and `curate models pull` fills it. The
//! crate reads no environment and starts no process; the command hands it a folder, something that
//! gets wheels, and a tokio runtime.
#![warn(missing_docs)]

pub mod aesthetic;
mod archive;
pub mod caption;
pub mod diffusion;
pub mod dit;
pub mod encoders;
mod error;
pub mod generate;
mod graph;
pub mod hub;
pub mod lora;
pub mod params;
pub mod parity;
pub mod raft;
mod runtime;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transnet;
pub mod vae;
mod weights;

pub use archive::ArchiveError;
pub use error::{InputError, Misfit, ModelError};
pub use runtime::Runtime;
pub use weights::{CutOff, PickleError, Weights, WeightsError};
