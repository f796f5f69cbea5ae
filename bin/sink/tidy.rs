//! Merging what commits have left behind, at a run's end and while it goes on.
//!
//! Each commit adds a fragment to both datasets, and looks into all of them to see whether its units
//! are there: without merging, a run takes time that grows with the square of its commits, and from about
//! a hundred on the description of the fragments no longer fits the store's cache.

use curate_store::{CompactOptions, Compacted, Store, StoreError};

use crate::words;

/// After so many commits of a process it looks whether there is something to merge: as many as make
/// fragments that are worth merging ([`CompactOptions`]). More would make every commit slower, fewer
/// would have each clip written again more often.
pub(crate) const COMMITS_BETWEEN: u64 = 64;

/// So many fragments are scanned as quickly as an index is read.
const UNINDEXED_FRAGMENTS: usize = 8;

/// Brings the indices up to date and merges small fragments when there are many, with so many clip
/// bytes in memory. `None` when another process does it now.
pub(crate) async fn tidy(store: &Store, merging: u64) -> Result<Option<Compacted>, StoreError> {
    let Some(_turn) = store.try_merging().await? else { return Ok(None) };
    let compact = CompactOptions { batch_bytes: merging, ..CompactOptions::default() };
    // First, since only fragments that the same indices cover are merged with each other.
    if store.unindexed_fragments().await? >= UNINDEXED_FRAGMENTS {
        store.optimize_indices().await?;
    }
    store.compact_ledger(compact.min_small_fragments).await?;
    store.compact(&compact).await.map(Some)
}

/// As [`tidy`], while a run goes on. Nothing depends on it, so a failure is only told.
pub(super) async fn tidy_meanwhile(store: &Store, merging: u64) {
    if let Err(error) = tidy(store, merging).await {
        tracing::warn!(error = words(&error), "could not merge fragments; the run goes on");
    }
}
