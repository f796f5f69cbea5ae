//! The stages of a recipe, one file (or folder) each, and the sources that feed them.
//!
//! [`STAGES`] is the registry: explicit, ordered as a recipe usually is, and the only place that
//! lists them.

pub mod clip;
pub mod probe;
pub mod scenes;
pub mod sources;

use curate_pipeline::StageEntry;

/// Every kind of stage a recipe may name.
pub const STAGES: &[StageEntry] = &[scenes::ENTRY, probe::ENTRY];
