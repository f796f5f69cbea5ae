//! Garbage collection: giving back the space of everything no version refers to.
//!
//! Lance's own clean-up waits seven days before it deletes a file that no version ever knew,
//! because it may be staged work. We know better: with the gate held exclusively nobody is staging,
//! and with every dead run's receipts finished nothing staged is still wanted. So the waiting is
//! turned off. Two kinds of files would be left even then:
//!
//! * Lance looks at transaction and deletion files only as far as they are older than the oldest
//!   version it keeps, unless it also deletes a newer version. A process killed inside a commit
//!   leaves younger ones. So two empty versions are made first and the first of them is deleted.
//!   Where the newest version is that of an earlier collection and nothing is to be deleted, none is
//!   made: a collection right after another finds nothing.
//! * Half-written files, which have names that Lance does not list. Those are deleted here, by
//!   name; this is the only place where we touch files inside Lance's folders.

use std::{fs, num::NonZeroUsize, path::Path};

use lance::{
    Dataset,
    dataset::cleanup::{CleanupPolicyBuilder, RemovalStats},
};

use crate::{
    Pending, Recovered, Result, Store,
    error::{At as _, gone_is_fine},
    layout::entries,
};

/// The metadata key that the empty versions set: the last one to its own number, by which it is known.
const MARK: &str = "curate.gc";

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// How many of the newest versions to keep besides the one that the collection itself makes.
    /// A reader that is pinned to an older version fails afterwards.
    pub retain: NonZeroUsize,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { retain: NonZeroUsize::MIN }
    }
}

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Versions that were deleted, of both tables.
    pub versions: u64,
    /// Other files that were deleted, of both tables.
    pub files: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// What had to be finished first.
    pub recovered: Recovered,
}

impl Store {
    /// Finishes the work of dead runs, then deletes old versions and every file that no version
    /// refers to, and empties the scratch folders of dead runs. Idempotent.
    ///
    /// # Errors
    /// [`crate::StoreError::LeaseLive`] while a run works on the table,
    /// [`crate::StoreError::Busy`] while another writer does. Nothing was deleted then.
    pub fn gc<'a>(&'a self, options: &'a GcOptions) -> Pending<'a, GcReport> {
        Box::pin(async move {
            let mut report = GcReport::default();
            let _alone = loop {
                self.refuse_if_live()?;
                report.recovered = self.recover(None).await?;
                let alone = self.alone().await?;
                // A run may have come and died since the recovery.
                let runs = self.layout().all_runs()?;
                let receipts = runs.iter().map(|run| run.receipt_files());
                if receipts.collect::<Result<Vec<_>>>()?.iter().all(Vec::is_empty) {
                    break alone;
                }
            };
            let unreferenced = self.unreferenced_files().await?;
            for path in [self.layout().clips(), self.layout().units()] {
                let is_clean = !unreferenced.iter().any(|file| file.starts_with(&path));
                let dataset = if path == self.layout().clips() {
                    self.latest_clips().await?
                } else {
                    self.latest_units().await?
                };
                let old = Old::of(&dataset, options.retain.get()).await.at("read", &path)?;
                if is_clean && old.is_at_rest {
                    continue;
                }
                let stats = collect(dataset, old.versions).await.at("clean up", &path)?;
                report.versions += stats.old_versions;
                report.files += stats.data_files_removed
                    + stats.transaction_files_removed
                    + stats.index_files_removed
                    + stats.deletion_files_removed;
                report.bytes += stats.bytes_removed;
                sweep(&path, &mut report)?;
            }
            self.sweep_runs()?;
            Ok(report)
        })
    }

    /// Deletes what dead runs do not need to be understood later, and drafts of datasets.
    fn sweep_runs(&self) -> Result<()> {
        for run in self.layout().all_runs()? {
            for folder in [run.receipts(), run.spool()] {
                gone_is_fine(fs::remove_dir_all(&folder)).at("delete", &folder)?;
            }
            let lease = run.lease();
            gone_is_fine(fs::remove_file(&lease)).at("delete", &lease)?;
        }
        for path in entries(&self.layout().runs())? {
            if name(&path).starts_with(".new-") {
                gone_is_fine(fs::remove_dir_all(&path)).at("delete", &path)?;
            }
        }
        Ok(())
    }
}

/// What a collection would delete.
struct Old {
    versions: Vec<u64>,
    /// Whether that is nothing, but the empty version of an earlier collection.
    is_at_rest: bool,
}

impl Old {
    async fn of(dataset: &Dataset, retain: usize) -> lance::Result<Self> {
        let newest = dataset.version_id();
        let is_mark = dataset.config().get(MARK) == Some(&newest.to_string());
        let known = dataset.version_refs().await?;
        let mut versions: Vec<u64> = known.iter().map(|known| known.version).collect();
        versions.sort_unstable();
        // An earlier collection's own version equals the one before, and is not what readers keep to.
        versions.retain(|version| !(is_mark && *version == newest));
        versions.truncate(versions.len().saturating_sub(retain));
        let tags = dataset.tags().list().await?;
        let is_tagged = |version: &u64| tags.values().any(|tag| tag.version == *version);
        let is_at_rest = is_mark && versions.iter().all(is_tagged);
        versions.extend(is_mark.then_some(newest));
        Ok(Self { versions, is_at_rest })
    }
}

/// Deletes these versions, and with them what only they refer to or nobody does.
async fn collect(mut dataset: Dataset, mut old: Vec<u64>) -> lance::Result<RemovalStats> {
    dataset.update_config([(MARK, "collecting")]).await?;
    old.push(dataset.version_id());
    let own = (dataset.version_id() + 1).to_string();
    dataset.update_config([(MARK, own.as_str())]).await?;
    let policy = CleanupPolicyBuilder::default()
        .versions(old)?
        .delete_unverified(true)
        .error_if_tagged_old_versions(false)
        .build();
    dataset.cleanup_with_policy(policy).await
}

/// Deletes half-written files, then folders that are empty.
fn sweep(folder: &Path, report: &mut GcReport) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            sweep(&path, report)?;
            if entries(&path)?.is_empty() {
                gone_is_fine(fs::remove_dir(&path)).at("delete", &path)?;
            }
        } else if is_half_written(&path) {
            report.bytes += fs::metadata(&path).map_or(0, |meta| meta.len());
            report.files += 1;
            gone_is_fine(fs::remove_file(&path)).at("delete", &path)?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The names under which Lance and its object store write a file before they rename it.
fn is_half_written(path: &Path) -> bool {
    let name = name(path);
    let staged = name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    staged || name.starts_with(".tmp") || name.contains(".tmp.")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        Query, StoreError,
        testing::{Table, unit_clips},
    };

    #[tokio::test]
    async fn a_living_run_is_named_and_nothing_is_deleted() {
        let table = Table::new().await;
        let lease = table.lease("alive").await;
        let staged = table.stage(&lease, unit_clips("a", 0)).await;
        let error = table.store.gc(&GcOptions::default()).await.unwrap_err();
        assert!(matches!(&error, StoreError::LeaseLive { run, .. } if run == "alive"), "{error}");
        assert!(!table.store.unreferenced_files().await.unwrap().is_empty());
        drop((lease, staged));
        table.store.gc(&GcOptions::default()).await.unwrap();
        assert_eq!(table.store.unreferenced_files().await.unwrap(), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn nothing_unreferenced_is_left_not_even_what_lance_does_not_see() {
        let table = Table::new().await;
        for source in ["a", "b", "c"] {
            table.add(source, &[0, 1]).await;
        }
        table.store.optimize_indices().await.unwrap();
        table.delete_clips("a", 0).await;
        table.store.recover(None).await.unwrap();
        let before = table.store.canonical().await.unwrap();
        let clips = table.store.layout().clips();
        // What processes leave that are killed while they write.
        for orphan in [
            "data/.tmpAbC123",
            "data/0123/00000000000000000000000000000001.blob",
            "data/orphan.lance",
            "_transactions/9-dead.txn",
            "_deletions/1-2-3.arrow",
            "_versions/18446744073709551000.manifest#1",
            "_versions/7.manifest.tmp.abcdef",
            "_indices/2f1d8b1e-0000-4000-8000-000000000000/page_data.lance",
        ] {
            let path = clips.join(orphan);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"half").unwrap();
        }
        let report = table.store.gc(&GcOptions::default()).await.unwrap();
        assert!(report.versions > 0 && report.files > 0 && report.bytes > 0, "{report:?}");
        assert_eq!(table.store.unreferenced_files().await.unwrap(), Vec::<PathBuf>::new());
        assert_eq!(table.store.canonical().await.unwrap(), before);
        let versions = table.store.versions().await.unwrap();
        table.store.tag("kept", None).await.unwrap();
        for _ in 0..2 {
            let again = table.store.gc(&GcOptions::default()).await.unwrap();
            assert_eq!(again, GcReport::default(), "the table is at rest");
        }
        let now = table.store.versions().await.unwrap();
        assert_eq!(
            now.iter().map(|it| it.version).collect::<Vec<_>>(),
            [versions[0].version, versions[1].version]
        );
        table.add("d", &[0]).await;
        let report = table.store.gc(&GcOptions::default()).await.unwrap();
        assert!(report.versions > 0, "{report:?}");
        assert_eq!(table.store.gc(&GcOptions::default()).await.unwrap(), GcReport::default());
    }

    #[tokio::test]
    async fn the_newest_versions_keep_their_numbers() {
        let table = Table::new().await;
        table.add("a", &[0]).await;
        table.add("a", &[1]).await;
        let versions = table.store.versions().await.unwrap();
        let [.., older, pinned] = versions.as_slice() else { panic!("{versions:?}") };
        table.store.gc(&GcOptions::default()).await.unwrap();
        Query::open(&table.store, Some(pinned.version)).await.unwrap();
        let error = Query::open(&table.store, Some(older.version)).await.unwrap_err();
        assert!(matches!(error, StoreError::NoVersion { .. }), "{error}");
    }
}
