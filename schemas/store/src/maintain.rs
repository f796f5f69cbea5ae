//! Keeping the table fast: merging small fragments and filling the indexes.
//!
//! Merging rewrites rows, and with them the clips' bytes, which Lance reads batch by batch into
//! memory. Neither the batch nor the result is bounded by Lance in a way that fits clips of very
//! different sizes, so both are derived here from the blob sizes that the table itself knows:
//! a batch holds at most [`CompactOptions::batch_bytes`] (unless one clip alone is larger), and
//! a fragment that has reached half of [`CompactOptions::fragment_bytes`] is never rewritten
//! again. Until then it is only merged with as much as it holds itself (`fragments.rs`), so each byte
//! is rewritten a bounded number of times.
//!
//! All of it is safe beside commits, and so is done during a run: a commit adds fragments and a merge
//! replaces others. Of two that replace the same fragments the second is refused and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _, StructArray, UInt64Array},
    datatypes::UInt64Type,
};
use curate_schemas::columns::VIDEO;
use futures::TryStreamExt as _;
use lance::{
    Dataset,
    dataset::{
        index::DatasetIndexRemapperOptions,
        optimize::{CompactionOptions, commit_compaction, plan_compaction},
    },
    index::DatasetIndexExt as _,
};
use lance_index::optimize::OptimizeOptions;
use lance_table::format::Fragment;

use crate::{
    Pending, Result, Store, StoreError, Turn,
    commit::is_conflict,
    error::At as _,
    fragments::{is_ragged, worth_merging},
    gate::Gate,
};

/// How often to fill the indexes when others change them at the same time.
const INDEX_ATTEMPTS: u32 = 10;

/// What to merge, and how much memory it may take.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Merge only when there are at least this many small fragments. A commit makes one; reading
    /// a thousand is slow, a hundred is not.
    pub min_small_fragments: usize,
    /// How large a fragment should become, blobs included.
    pub fragment_bytes: u64,
    /// How many blob bytes may be in memory at once (Lance holds them about twice).
    pub batch_bytes: u64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { min_small_fragments: 64, fragment_bytes: 4 << 30, batch_bytes: 64 << 20 }
    }
}

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Fragments before.
    pub fragments_before: usize,
    /// Fragments after.
    pub fragments_after: usize,
    /// Bytes of data files and blobs that were written again.
    pub bytes_rewritten: u64,
    /// Rows per batch that the blob sizes allowed, the smallest over all merges.
    pub batch_rows: Option<usize>,
    /// Whether another process changed the same fragments, so that nothing was merged.
    pub conflict: bool,
}

/// Blob sizes of one fragment, in order of row.
type Sizes = BTreeMap<u64, Vec<u64>>;

impl Store {
    /// The right to merge while a run goes on, which one process has at a time: two that merge the same
    /// fragments would both do the work, and one of them in vain. `None` when another has it.
    ///
    /// # Errors
    /// When the lock cannot be examined.
    pub fn try_merging(&self) -> Pending<'_, Option<Turn>> {
        Box::pin(Turn::to_merge(self.layout()))
    }

    /// Merges small fragments of the ledger when there are so many. Losing against another writer is
    /// no error. Idempotent.
    ///
    /// # Errors
    /// As [`Store::compact`].
    pub fn compact_ledger(&self, min_small_fragments: usize) -> Pending<'_, ()> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            let path = self.layout().units();
            let mut units = self.latest_units().await?;
            let small = worth_merging(&units);
            if small.len() < min_small_fragments {
                return Ok(());
            }
            let lance = CompactionOptions {
                excluded_fragment_ids: all_but(&units, &small),
                num_threads: Some(1),
                ..CompactionOptions::default()
            };
            let plan = plan_compaction(&units, &lance).await.at("plan a compaction of", &path)?;
            let mut done = Vec::new();
            for task in plan.compaction_tasks() {
                done.push(Box::pin(task.execute(&units)).await.at("compact", &path)?);
            }
            let remapper = Arc::new(DatasetIndexRemapperOptions::default());
            match Box::pin(commit_compaction(&mut units, done, remapper, &lance)).await {
                Err(error) if !is_conflict(&error) => {
                    Err(error).at("commit a compaction of", &path)
                }
                _ => Ok(()),
            }
        })
    }

    /// Merges small fragments of the clips when there are many. Losing against another writer is
    /// not an error but reported; its files are left to [`Store::gc`]. Idempotent.
    ///
    /// # Errors
    /// When reading, writing or committing fails; the table is as before then.
    pub fn compact<'a>(&'a self, options: &'a CompactOptions) -> Pending<'a, Compacted> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            let path = self.layout().clips();
            let mut clips = self.latest_clips().await?;
            let before = clips.count_fragments();
            let mut report = Compacted {
                fragments_before: before,
                fragments_after: before,
                ..Compacted::default()
            };
            if worth_merging(&clips).len() < options.min_small_fragments {
                return Ok(report);
            }
            self.settle_judge().await?;
            clips = self.latest_clips().await?;
            let mut small = worth_merging(&clips);
            let sizes = self.blob_sizes(&clips, &small).await?;
            let rows = target_rows(&small, &sizes, options.fragment_bytes);
            small.retain(|it| it.num_rows().unwrap_or(0) < rows / 2 || is_ragged(it));
            if small.len() < options.min_small_fragments {
                return Ok(report);
            }
            let lance = CompactionOptions {
                target_rows_per_fragment: rows,
                excluded_fragment_ids: all_but(&clips, &small),
                num_threads: Some(1),
                ..CompactionOptions::default()
            };
            let plan = plan_compaction(&clips, &lance).await.at("plan a compaction of", &path)?;
            let mut done = Vec::new();
            for mut task in plan.compaction_tasks() {
                let blobs =
                    task.task.fragments.iter().filter_map(|part| sizes.get(&part.id)).flatten();
                // What lies in the rows themselves, latents for instance, is in memory with them.
                let mut blobs: Vec<u64> = blobs.copied().collect();
                let share = data_bytes(&task.task.fragments) / (blobs.len() as u64).max(1);
                blobs.iter_mut().for_each(|bytes| *bytes += share);
                let rows = batch_rows(&blobs, options.batch_bytes);
                report.batch_rows = Some(report.batch_rows.map_or(rows, |least| least.min(rows)));
                report.bytes_rewritten += blobs.iter().sum::<u64>();
                task.options.batch_size = Some(rows);
                done.push(Box::pin(task.execute(&clips)).await.at("compact", &path)?);
            }
            let remapper = Arc::new(DatasetIndexRemapperOptions::default());
            match Box::pin(commit_compaction(&mut clips, done, remapper, &lance)).await {
                Ok(_) => report.fragments_after = self.latest_clips().await?.count_fragments(),
                Err(error) if is_conflict(&error) => {
                    report = Compacted {
                        conflict: true,
                        batch_rows: None,
                        bytes_rewritten: 0,
                        ..report
                    };
                }
                Err(error) => return Err(error).at("commit a compaction of", &path),
            }
            Ok(report)
        })
    }

    /// How many fragments some index does not cover. Their rows are scanned, which is slow when
    /// there are many.
    ///
    /// # Errors
    /// When the indexes cannot be listed.
    pub fn unindexed_fragments(&self) -> Pending<'_, usize> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            let indices = clips.load_indices().await.at("list the indexes of", &path)?;
            let is_covered = |fragment: &Fragment| {
                let id = u32::try_from(fragment.id).unwrap_or(u32::MAX);
                indices.iter().all(|index| {
                    index.fragment_bitmap.as_ref().is_some_and(|covered| covered.contains(id))
                })
            };
            Ok(clips.iter_fragments().filter(|fragment| !is_covered(fragment)).count())
        })
    }

    /// Takes the rows that are not yet in an index into it. Until then they are scanned.
    /// Idempotent, and safe beside commits.
    ///
    /// # Errors
    /// When an index cannot be written; the old one stays.
    pub fn optimize_indices(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            let path = self.layout().clips();
            for _ in 0..INDEX_ATTEMPTS {
                let mut clips = self.latest_clips().await?;
                match Box::pin(clips.optimize_indices(&OptimizeOptions::default())).await {
                    Ok(()) => return Ok(()),
                    Err(error) if is_conflict(&error) => {}
                    Err(error) => return Err(error).at("index", &path),
                }
            }
            Err(StoreError::Contention { path, attempts: INDEX_ATTEMPTS })
        })
    }

    /// The size of each clip's bytes in some fragments. Reads descriptors, never bytes.
    async fn blob_sizes(&self, clips: &Dataset, of: &[Fragment]) -> Result<Sizes> {
        let path = self.layout().clips();
        let mut scan = clips.scan();
        scan.project(&[VIDEO.name()]).at("read", &path)?;
        scan.with_fragments(of.to_vec()).with_row_address();
        let mut batches = scan.try_into_stream().await.at("read", &path)?;
        let mut sizes = Sizes::new();
        while let Some(batch) = batches.try_next().await.at("read", &path)? {
            let addresses =
                batch.column_by_name("_rowaddr").and_then(|it| it.as_primitive_opt::<UInt64Type>());
            let blobs = batch.column_by_name(VIDEO.name()).and_then(|it| it.as_struct_opt());
            let (Some(addresses), Some(blobs)) = (addresses, blobs) else { continue };
            for (row, address) in addresses.values().iter().enumerate() {
                sizes.entry(address >> 32).or_default().push(blob_size(blobs, row));
            }
        }
        Ok(sizes)
    }
}

/// The size in a blob's descriptor; 0 for null.
fn blob_size(blobs: &StructArray, row: usize) -> u64 {
    let sizes: Option<&UInt64Array> =
        blobs.column_by_name("size").and_then(|it| it.as_primitive_opt());
    match sizes {
        Some(sizes) if blobs.is_valid(row) && sizes.is_valid(row) => sizes.value(row),
        _ => 0,
    }
}

/// Bytes of the data files, blobs beside them not counted.
fn data_bytes(fragments: &[Fragment]) -> u64 {
    let files = fragments.iter().flat_map(|fragment| &fragment.files);
    files.filter_map(|file| file.file_size_bytes.get()).map(u64::from).sum()
}

/// How many average rows of these fragments make a fragment of `bytes`.
fn target_rows(fragments: &[Fragment], sizes: &Sizes, bytes: u64) -> usize {
    let rows = sizes.values().map(Vec::len).sum::<usize>().max(1) as u64;
    let total = sizes.values().flatten().sum::<u64>() + data_bytes(fragments);
    usize::try_from(bytes / (total / rows).max(1)).unwrap_or(usize::MAX).clamp(64, 1 << 20)
}

/// The fragments that are not among these.
fn all_but(table: &Dataset, these: &[Fragment]) -> Vec<u32> {
    let these: BTreeSet<u64> = these.iter().map(|fragment| fragment.id).collect();
    let others = table.iter_fragments().filter(|fragment| !these.contains(&fragment.id));
    others.filter_map(|fragment| u32::try_from(fragment.id).ok()).collect()
}

/// The most rows a batch may have so that no run of that many blobs exceeds `limit`: from the mean
/// size, halved until it holds everywhere. At least 1.
fn batch_rows(blobs: &[u64], limit: u64) -> usize {
    let mean = blobs.iter().sum::<u64>() / (blobs.len() as u64).max(1);
    let mut rows = usize::try_from(limit / mean.max(1)).unwrap_or(usize::MAX).clamp(1, 8192);
    while rows > 1
        && blobs.windows(rows.min(blobs.len()).max(1)).any(|run| run.iter().sum::<u64>() > limit)
    {
        rows /= 2;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_batch_of_blobs_fits_whatever_their_order() {
        assert_eq!(batch_rows(&[], 100), 100);
        assert_eq!(batch_rows(&[0; 50], 100), 100);
        assert_eq!(batch_rows(&[10; 50], 100), 10);
        assert_eq!(batch_rows(&[1, 1, 1, 1, 90, 90, 1, 1], 100), 1);
        assert_eq!(batch_rows(&[500; 3], 100), 1);
    }

    #[tokio::test]
    async fn merging_keeps_every_row_and_byte() {
        let table = Table::new().await;
        for source in ["a", "b", "c", "d"] {
            table.add(source, &[0, 1]).await;
        }
        table.store.optimize_indices().await.unwrap();
        let before = table.store.canonical().await.unwrap();
        let few = CompactOptions { min_small_fragments: 5, ..CompactOptions::default() };
        let report = table.store.compact(&few).await.unwrap();
        assert_eq!((report.fragments_before, report.fragments_after), (4, 4));
        // Two of the larger blobs at once, so that several batches are needed.
        let options = CompactOptions { min_small_fragments: 2, batch_bytes: 300_000, ..few };
        let report = table.store.compact(&options).await.unwrap();
        assert_eq!((report.fragments_before, report.fragments_after), (4, 1));
        assert!(report.batch_rows.unwrap() < 24, "{report:?}");
        assert!(report.bytes_rewritten > 8 * 100_000, "{report:?}");
        assert_eq!(table.store.canonical().await.unwrap(), before);
        table.store.optimize_indices().await.unwrap();
        table.store.gc(&crate::GcOptions::default()).await.unwrap();
        assert_eq!(table.store.canonical().await.unwrap(), before);
        assert_eq!(table.store.compact(&options).await.unwrap().bytes_rewritten, 0);
    }

    #[tokio::test]
    async fn the_ledger_is_merged_beside_a_writer() {
        let table = Table::new().await;
        for index in 0..6 {
            table.add("a", &[index]).await;
        }
        let before = table.store.canonical().await.unwrap();
        let fragments = async || table.store.latest_units().await.unwrap().count_fragments();
        table.store.compact_ledger(7).await.unwrap();
        assert_eq!(fragments().await, 6);
        let turn = table.store.try_merging().await.unwrap();
        assert!(turn.is_some() && table.store.try_merging().await.unwrap().is_none());
        drop(turn);
        assert!(table.store.try_merging().await.unwrap().is_some());
        let late = table.receipt("a", &[6]).await;
        let (merged, finished) =
            tokio::join!(table.store.compact_ledger(6), table.store.finish(late));
        merged.unwrap();
        finished.unwrap();
        assert!(fragments().await <= 2);
        let after = table.store.canonical().await.unwrap();
        assert!(before.iter().all(|line| after.contains(line)) && after.len() == before.len() + 4);
    }
}
