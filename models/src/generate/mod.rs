//! From a prompt to a clip.
//!
//! [`ModelFolder`] is a model on disk, [`ModelCard`] what it was trained to do.

mod card;
mod error;
mod folder;

pub use self::{
    card::{CARD_FORMAT, ModelCard, SamplingSpec, ScheduleSpec, TextSource, TextSpec},
    error::{GenerateError, Problem},
    folder::{ModelFolder, text_files},
};
