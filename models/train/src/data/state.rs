//! Where a loader is: what a checkpoint keeps of it.
//!
//! The version of the table, so that a run goes on with the rows it began with; how far each stream of
//! rows is; and the samples that wait for their bucket to fill. Nothing of what was read ahead: it
//! is read again.

use serde::{Deserialize, Serialize};

/// Where a loader is, after a batch that it handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// The version of the table.
    pub version: u64,
    /// The filter, for messages: what it lets through is part of `rows`.
    pub filter: String,
    /// Hash of the rows, of their buckets, and of the settings that decide the order.
    pub rows: String,
    /// The seed.
    pub seed: u64,
    /// Batches that were put together, those without a readable clip included.
    pub plans: u64,
    /// Batches that were handed out.
    pub batches: u64,
    /// Samples that were handed out.
    pub samples: u64,
    /// All rows, or images and videos apart.
    pub streams: Vec<StreamState>,
}

/// How far a stream of rows is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    /// The pass over its rows, from 0.
    pub epoch: u64,
    /// Rows of this pass that were taken.
    pub taken: u64,
    /// Rows that wait for others of their bucket, in the order in which they were taken.
    pub waiting: Vec<Waiting>,
}

/// A row that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Its place among the rows that are used.
    pub row: u32,
    /// The pass in which it was taken.
    pub epoch: u64,
}
