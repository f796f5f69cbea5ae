//! The stages of a recipe, one file (or folder) each, and the sources that feed them.
//!
//! [`STAGES`] is the registry: explicit, ordered as a recipe usually is, and the only place that
//! lists them.

pub mod aesthetic;
pub mod caption;
pub mod clip;
pub mod dedup;
mod film;
pub mod motion;
pub mod probe;
pub mod quality;
mod range;
mod sample;
pub mod scenes;
pub mod sources;
pub mod text;

use curate_pipeline::StageEntry;
pub use range::Range;

// The example of the page is a test of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/adding_a_stage.md")]
struct AddingAStage;

/// Every kind of stage a recipe may name.
pub const STAGES: &[StageEntry] = &[
    scenes::ENTRY,
    probe::ENTRY,
    motion::ENTRY,
    text::ENTRY,
    quality::ENTRY,
    aesthetic::ENTRY,
    dedup::ENTRY,
    caption::ENTRY,
];
