//! Training the Slice VAE (arXiv 2405.18991, section 3.1 and 5; the released trainer of EasyAnimate
//! V3, `easyanimate/vae`).
//!
//! ```text
//! clips -> encoder -> latents drawn -> decoder -> frames
//!   L1, L2, LPIPS with the clips; divergence of the latents; two discriminators, from a step on
//! ```
//!
//! [`VaeTrainConfig`] is what a run's file says, [`train`] the loop. A run ends with
//! `vae.safetensors`, averaged weights with their configuration and measured scaling factor.

mod checkpoint;
mod config;
mod critics;
mod estimate;
mod frames;
mod initial;
mod losses;
mod measure;
mod start;
mod step;
#[cfg(test)]
mod tests;
mod train;

pub use self::{
    config::{Stage, VaeTrainConfig},
    critics::AdversarialConfig,
    estimate::VaeEstimate,
    initial::Initial,
    losses::{
        LossConfig, Reconstruction, adaptive_weight, generator, hinge, outliers, reconstruction,
    },
    start::ModelConfig,
    train::train,
};
