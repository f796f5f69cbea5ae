//! Training the diffusion transformer (arXiv 2405.18991, section 5; the released trainer of
//! EasyAnimate V3), or low-rank adapters beside it.
//!
//! ```text
//! clips -> latents (cached, or encoded) -> noised -> transformer -> what was added
//!   captions -> tokens;  masks -> latents of what is known;  size
//! ```
//!
//! [`DitTrainConfig`] is what a run's file says, [`train`] the loop, [`measure_losses`] what the result makes of
//! each clip. Only what is trained is in its
//! checkpoints. A run ends with a folder that `curate generate` reads.
//!
//! Decided against a trainer of its own for LoRA: what is trained is a set of tensors either way.

mod checkpoint;
mod config;
mod guidance;
mod hashes;
mod losses;
mod measure;
mod model;
mod network;
mod step;
mod train;

pub use self::{
    config::{DitTrainConfig, MeasureConfig, ObjectiveConfig, Precision, Stage},
    guidance::GuidanceConfig,
    hashes::Hashes,
    losses::{LossOptions, Measured, measure_losses},
    model::Parts,
    network::ModelConfig,
    train::train,
};
