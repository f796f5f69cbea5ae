//! Diffusion: noise schedules, training terms, timestep draws, samplers and guidance.
//!
//! What EasyAnimate V3 (arXiv 2405.18991) trains with: 1000 steps, linear betas, a prediction of
//! the noise and of the variance between its two bounds (Nichol and Dhariwal, "Improved denoising
//! diffusion probabilistic models", arXiv 2102.09672). v-prediction (arXiv 2202.00512) and
//! rectified flow (arXiv 2209.03003) are there by name. The samplers count as `diffusers` 0.28.2
//! does, since the published results were made with it.
//!
//! Everything here is a function of tensors and numbers: no model, no global generator. Random
//! numbers come from a [`curate_ops::Rng`] that the caller seeds, stores and restores, so that a
//! run can be taken up where it stopped and a generated clip can be made again.
//!
//! Decided against one trait for "a process": objectives and samplers share a schedule and the
//! meaning of an output ([`Prediction`]) and nothing else.

mod error;
mod guidance;
mod noise;
mod objective;
pub mod parity;
pub mod samplers;
mod schedule;
mod timesteps;
mod variance;

pub use self::{
    error::DiffusionError,
    guidance::{Guidance, clip_is_active},
    noise::NoiseSource,
    objective::{LossTerms, Objective, Prediction, Sample, Variance, Weighting},
    samplers::{Call, Sampler, SamplerConfig, SamplerKind},
    schedule::{BetaRange, Schedule},
    timesteps::TimestepDraw,
};
