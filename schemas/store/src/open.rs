//! Creating and opening a table.
//!
//! A dataset is made under another name and renamed into place, because a rename onto a folder
//! that is not empty fails: of two processes that create at the same moment one wins and the other
//! opens. Lance's own "create" cannot promise that; a creation that comes late is an overwrite,
//! and an overwrite goes over commits made meanwhile. `clips.lance` is renamed last, so where it
//! exists the table is whole.
//!
//! The indexes are declared on the empty table and filled by [`Store::optimize_indices`]; rows not
//! yet in an index are scanned, so answers are right at any time.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::array::{RecordBatch, RecordBatchIterator};
use curate_schemas::{
    Table,
    columns::{CLIP_ID, CLIPS, UNIT_ID},
    units::UNITS,
};
use lance::{
    Dataset,
    dataset::{InsertBuilder, WriteMode, WriteParams, builder::DatasetBuilder},
    index::DatasetIndexExt as _,
    io::ObjectStoreRegistry,
    session::Session,
};
use lance_index::{IndexType, scalar::ScalarIndexParams};
use uuid::Uuid;

use crate::{Layout, Pending, Result, StoreError, TableMeta, error::At as _, gate::Gate, schema};

/// Lance would keep up to 6 GiB of indexes; ours are two B-trees of ids.
const INDEX_CACHE_BYTES: usize = 64 << 20;

/// Lance would keep up to 1 GiB of file metadata. Readers come back to the same files at random.
const METADATA_CACHE_BYTES: usize = 64 << 20;

/// A writer goes on from its newest version, while Lance keeps every version and every transaction that
/// it made: a run's memory would grow with its commits.
const WRITER_CACHE_BYTES: usize = 4 << 20;

/// A table: the clips, the ledger of units, and the folder of runs.
///
/// Cloning is cheap, and a clone shares the caches. Every method reads the newest version.
#[derive(Clone)]
pub struct Store {
    layout: Layout,
    clips: Dataset,
    units: Dataset,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("out", &self.layout.out()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the table in `out`, or creates it as `meta` says. The flag is true when this call
    /// created it; otherwise the table's own [`Store::meta`] may differ from `meta`, and comparing
    /// them is the caller's part.
    ///
    /// Idempotent, and safe in any number of processes at once. A creation that died is finished.
    ///
    /// # Errors
    /// When `out` cannot be written, holds something else, or holds a table of another schema.
    pub fn create_or_open<'a>(out: &'a Path, meta: &'a TableMeta) -> Pending<'a, (Self, bool)> {
        Box::pin(async move {
            let layout = Layout::new(out)?;
            let mut created = false;
            if !layout.clips().exists() || !layout.units().exists() {
                let _gate = Gate::shared(&layout).await?;
                let session = session(WRITER_CACHE_BYTES);
                // Both are drafted at once; their names appear in order.
                let (units, clips) = futures::future::try_join(
                    draft(&layout, &UNITS, &layout.units(), meta, &session),
                    draft(&layout, &CLIPS, &layout.clips(), meta, &session),
                )
                .await?;
                publish(units, &layout.units())?;
                created = publish(clips, &layout.clips())?;
            }
            Ok((Self::load(layout, WRITER_CACHE_BYTES).await?, created))
        })
    }

    /// Opens the table in `out`. One that an earlier `curate` made gets the columns that it lacks, empty.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Meta`] when something else is
    /// there, [`StoreError::SchemaVersion`] when its columns are another version's.
    pub fn open(out: &Path) -> Pending<'_, Self> {
        Box::pin(async move { Self::load(Layout::new(out)?, METADATA_CACHE_BYTES).await })
    }

    fn load(layout: Layout, cache_bytes: usize) -> Pending<'static, Self> {
        Box::pin(async move {
            let missing = || StoreError::NotFound { out: layout.out().to_owned() };
            if !layout.clips().exists() {
                return Err(missing());
            }
            let session = session(cache_bytes);
            // What is in the way is told before what is missing beside it.
            let clips = load(&layout.clips(), &session).await?;
            if !layout.units().exists() {
                return Err(missing());
            }
            let units = load(&layout.units(), &session).await?;
            let store = Self { layout, clips, units };
            match TableMeta::parse(&store.layout.clips(), store.clips.metadata()) {
                Err(StoreError::SchemaVersion { found, expected, .. })
                    if (1..expected).contains(&found) =>
                {
                    store.upgrade().await?;
                }
                parsed => drop(parsed?),
            }
            Ok(store)
        })
    }

    /// Where everything is.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the table says about itself.
    ///
    /// # Errors
    /// When the newest version cannot be read.
    pub fn meta(&self) -> Pending<'_, TableMeta> {
        Box::pin(async move {
            let clips = self.latest_clips().await?;
            let mut meta = TableMeta::parse(&self.layout.clips(), clips.metadata())?;
            if let Some(judge) = self.judge_under_way(&clips).await? {
                meta.judge = judge;
            }
            Ok(meta)
        })
    }

    /// Replaces the thresholds that the table states. Rows are not touched. Idempotent.
    ///
    /// # Errors
    /// When the commit fails.
    pub fn set_judge<'a>(&'a self, judge: &'a serde_json::Value) -> Pending<'a, ()> {
        Box::pin(async move {
            let _gate = Gate::shared(&self.layout).await?;
            self.write_judge(judge).await?;
            Ok(())
        })
    }

    /// The clips as they are now.
    pub(crate) async fn latest_clips(&self) -> Result<Dataset> {
        latest(&self.clips, &self.layout.clips()).await
    }

    /// The ledger as it is now.
    pub(crate) async fn latest_units(&self) -> Result<Dataset> {
        latest(&self.units, &self.layout.units()).await
    }
}

async fn latest(dataset: &Dataset, path: &Path) -> Result<Dataset> {
    let mut dataset = dataset.clone();
    dataset.checkout_latest().await.at("read the newest version of", path)?;
    Ok(dataset)
}

fn session(metadata_bytes: usize) -> Arc<Session> {
    let registry = Arc::new(ObjectStoreRegistry::default());
    Arc::new(Session::new(INDEX_CACHE_BYTES, metadata_bytes, registry))
}

fn uri(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| StoreError::NotUtf8 { path: path.to_owned() })
}

async fn load(path: &Path, session: &Arc<Session>) -> Result<Dataset> {
    let builder = DatasetBuilder::from_uri(uri(path)?).with_session(Arc::clone(session));
    match builder.load().await {
        Err(lance::Error::DatasetNotFound { .. }) => {
            Err(StoreError::NotATable { path: path.to_owned() })
        }
        _ if !path.is_dir() => Err(StoreError::NotATable { path: path.to_owned() }),
        loaded => loaded.at("open", path),
    }
}

/// A dataset made aside. Dropped unpublished, it is deleted.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            tracing::warn!(path = %self.0.display(), %error, "could not remove an unused draft; `curate gc` will");
        }
    }
}

/// Makes a dataset aside, unless it is there already.
async fn draft(
    layout: &Layout,
    table: &'static Table,
    path: &Path,
    meta: &TableMeta,
    session: &Arc<Session>,
) -> Result<Option<Draft>> {
    if path.exists() {
        return Ok(None);
    }
    let draft = Draft(layout.runs().join(format!(".new-{}", Uuid::new_v4().simple())));
    build(table, &draft.0, meta, session).await?;
    Ok(Some(draft))
}

/// Renames a draft to its place; false when another process was faster.
fn publish(draft: Option<Draft>, path: &Path) -> Result<bool> {
    match draft {
        Some(draft) => rename_unless_taken(&draft.0, path),
        None => Ok(false),
    }
}

fn rename_unless_taken(draft: &Path, path: &Path) -> Result<bool> {
    match fs::rename(draft, path) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).at("create", path),
    }
}

async fn build(
    table: &'static Table,
    draft: &Path,
    meta: &TableMeta,
    session: &Arc<Session>,
) -> Result<()> {
    let params = WriteParams {
        mode: WriteMode::Create,
        enable_stable_row_ids: true,
        skip_auto_cleanup: true,
        session: Some(Arc::clone(session)),
        ..WriteParams::default()
    };
    let nothing = std::iter::empty::<std::result::Result<RecordBatch, _>>();
    let rows = RecordBatchIterator::new(nothing, schema::lance_schema(table));
    let insert = InsertBuilder::new(uri(draft)?).with_params(&params);
    let mut dataset = Box::pin(insert.execute_stream(rows)).await.at("create", draft)?;
    let entries = meta.entries();
    let entries = entries.iter().map(|(key, value)| (*key, value.as_str()));
    dataset.update_metadata(entries).await.at("describe", draft)?;
    if std::ptr::eq(table, &CLIPS) {
        for column in [CLIP_ID.name(), UNIT_ID.name()] {
            let name = Some(format!("{column}_btree"));
            let params = ScalarIndexParams::default();
            dataset
                .create_index(&[column], IndexType::BTree, name, &params, false)
                .await
                .at("declare an index of", draft)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Query,
        testing::{Table, meta},
    };

    #[tokio::test]
    async fn of_many_creators_one_creates_and_all_open() {
        let dir = tempfile::tempdir().unwrap();
        let meta = meta();
        let creators = (0..4).map(|_| Store::create_or_open(dir.path(), &meta));
        let opened = futures::future::join_all(creators).await;
        let opened: Vec<(Store, bool)> = opened.into_iter().map(Result::unwrap).collect();
        assert_eq!(opened.iter().filter(|(_, created)| *created).count(), 1);
        for (store, _) in &opened {
            assert_eq!(store.meta().await.unwrap(), meta);
        }
        let runs = crate::layout::entries(&opened[0].0.layout().runs()).unwrap();
        assert_eq!(runs, [opened[0].0.layout().gate()], "drafts are cleaned up");
    }

    #[tokio::test]
    async fn what_is_not_a_table_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Store::open(dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("`curate run` creates it"), "{error}");
        fs::create_dir(dir.path().join("units.lance")).unwrap();
        let place = dir.path().join("clips.lance");
        for is_file in [true, false] {
            if is_file {
                fs::write(&place, "").unwrap();
            } else {
                fs::remove_file(&place).unwrap();
                fs::create_dir(&place).unwrap();
            }
            let error = Store::open(dir.path()).await.unwrap_err();
            assert!(matches!(&error, StoreError::NotATable { path } if *path == place), "{error}");
        }
        let table = Table::new().await;
        let mut clips =
            load(&table.store.layout().clips(), &session(METADATA_CACHE_BYTES)).await.unwrap();
        clips.update_metadata([("curate.schema_version", "999")]).await.unwrap();
        let error = Store::open(table.dir.path()).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaVersion { found: 999, .. }), "{error}");
        clips.update_metadata([("curate.split_id", None::<&str>)]).await.unwrap();
        let error = Store::open(table.dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("curate.split_id"), "{error}");
    }

    #[tokio::test]
    async fn the_description_outlives_commits_and_collection() {
        let table = Table::new().await;
        table.store.set_judge(&serde_json::json!({"motion": 0.2})).await.unwrap();
        table.add("a", &[0]).await;
        table.store.gc(&crate::GcOptions::default()).await.unwrap();
        let store = Store::open(table.dir.path()).await.unwrap();
        let found = store.meta().await.unwrap();
        assert_eq!(found, TableMeta { judge: serde_json::json!({"motion": 0.2}), ..meta() });
        Query::open(&store, None).await.unwrap();
    }
}
