//! A training run as a folder: configuration, metrics, checkpoints.
//!
//! ```text
//! OUT/config.json            what the run was begun with
//! OUT/metrics.jsonl          one line for each step
//! OUT/checkpoints/step-N/    state.json and tensors; the newest whole one is resumed
//! OUT/samples/               pictures and clips made on the way
//! ```
//!
//! Decided against one file for a checkpoint: weights, averages and moments are read by different
//! people. A folder that is renamed into place appears whole all the same.

mod cadence;
mod checkpoint;
mod film;
mod folder;
mod guard;
mod metrics;
mod observe;
mod picture;

pub use self::{
    cadence::{Cadence, CadenceConfig},
    checkpoint::{Part, PrunePolicy, Saved},
    film::write_film,
    folder::RunFolder,
    metrics::{Metrics, Point, read_metrics},
    observe::{Ended, Observer, Stop},
    picture::{row, write_picture},
};
pub(crate) use self::{
    guard::{batches_problem, not_fewer, pass_over},
    metrics::{Values, add_mean},
};
