//! From a prompt to a clip.
//!
//! [`ModelFolder`] is a model on disk, [`ModelCard`] what it was trained to do; [`Generator`] has both
//! in memory. Text-to-video, text-to-image (one frame) and image-to-video (known first and last
//! frames) are one path, as in EasyAnimate V3's pipelines (arXiv 2405.18991), with other inputs.
//!
//! Sampling gives latents, decoding gives frames a slice at a time, so that a clip that is made is never
//! in memory as pixels. What it is made from is: known frames, and the clip of [`Guides::source`]. Files
//! are the caller's.

mod blueprint;
mod card;
mod context;
mod error;
mod folder;
mod generator;
mod hashes;
mod masked;
mod pixels;
mod settings;

/// What frames and embeddings are in here, for callers that do not use candle themselves.
pub use candle_core::Tensor;

pub use self::{
    blueprint::Blueprint,
    card::{CARD_FORMAT, ModelCard, SamplingSpec, ScheduleSpec, TextSource, TextSpec},
    context::Guides,
    error::{GenerateError, Problem},
    folder::{ModelFolder, TRANSFORMER_NOTE, text_files, transformer_config},
    generator::{Frames, Generator, Place, Progress},
    hashes::ModelHashes,
    masked::MaskedVideo,
    pixels::{from_rgb, to_rgb},
    settings::{Known, Settings, Task},
};
