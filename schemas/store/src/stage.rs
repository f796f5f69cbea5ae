//! Staging: writing clips to data files that no version of the table refers to yet.
//!
//! Rows stream through: in memory are one batch of the caller's, and of each column what Lance
//! gathers until it makes a page ([`COLUMN_BYTES`]). Files are as few and large as can be (one per
//! call, up to 2 GiB of columns), which is what makes compaction, and its rewriting of clip bytes,
//! rarely needed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{RecordBatch, RecordBatchIterator},
    datatypes::SchemaRef,
    error::ArrowError,
};
use curate_schemas::{
    Clip, UnitId,
    columns::{CLIPS, UNIT_ID},
};
use lance::dataset::{InsertBuilder, WriteMode, WriteParams, transaction::Operation};
use lance_file::writer::FileWriterOptions;
use lance_table::format::Fragment;

use crate::{
    Lease, Pending, Result, StagedFile, Store, StoreError,
    error::{At as _, BoxError},
    layout::entries,
    schema,
};

/// Largest data file, without the blobs beside it.
const FILE_BYTES: usize = 2 << 30;
/// Bytes of a column that make a page: Lance's own 8 MiB are held while the decoders hold theirs.
/// It is mostly thumbnails, captions and embeddings that come to so much in one commit.
const COLUMN_BYTES: u64 = 1 << 20;

/// Data files that were written and are not yet visible. Dropped without a receipt, they are
/// garbage.
#[derive(Debug, Default)]
pub struct Staged {
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) files: Vec<StagedFile>,
    pub(crate) clips: BTreeMap<UnitId, usize>,
}

impl Staged {
    /// The units that have clips here, each with its number of clips.
    pub fn units(&self) -> impl Iterator<Item = (&UnitId, usize)> {
        self.clips.iter().map(|(unit, clips)| (unit, *clips))
    }
}

impl Store {
    /// Writes clips to data files without making them visible. All clips of a unit must be in one
    /// call. `rows` is pulled on a thread where it may block.
    ///
    /// Not idempotent: each call writes new files. The lease is what keeps garbage collection off
    /// them until there is a receipt.
    ///
    /// # Errors
    /// [`StoreError::Rows`] with the caller's error, [`StoreError::Batch`] for a clip without a
    /// required value, [`StoreError::Lance`] when writing fails. Nothing is visible afterwards.
    pub fn stage<'a, I, E>(&'a self, lease: &'a Lease, rows: I) -> Pending<'a, Staged>
    where
        I: IntoIterator<Item = std::result::Result<Vec<Clip>, E>>,
        I::IntoIter: Send + 'static,
        E: Into<BoxError>,
    {
        tracing::debug!(run = lease.run(), "staging");
        self.stage_boxed(Box::new(rows.into_iter().map(|clips| clips.map_err(Into::into))))
    }

    fn stage_boxed(&self, rows: BoxedRows) -> Pending<'_, Staged> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            let seen = Arc::new(Mutex::new(Seen::default()));
            let schema = schema::lance_schema(&CLIPS);
            let batches = Batches { rows, schema: schema.clone(), seen: seen.clone() };
            let writing = FileWriterOptions {
                data_cache_bytes: Some(COLUMN_BYTES * schema.fields().len() as u64),
                ..FileWriterOptions::default()
            };
            let params = WriteParams {
                mode: WriteMode::Append,
                max_bytes_per_file: FILE_BYTES,
                file_writer_options: Some(writing),
                skip_auto_cleanup: true,
                ..WriteParams::default()
            };
            let insert = InsertBuilder::new(Arc::new(clips)).with_params(&params);
            let batches = RecordBatchIterator::new(batches, schema);
            let written = insert.execute_uncommitted_stream(batches).await;
            let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(failure) = seen.failure {
                return Err(failure.into_error(&path));
            }
            let fragments = match written.at("write clips to", &path)?.operation {
                Operation::Append { fragments } => fragments,
                other => {
                    let what = lance::Error::internal(format!("appending gave {other:?}"));
                    return Err(what).at("write clips to", &path);
                }
            };
            let mut files = Vec::new();
            for file in fragments.iter().flat_map(|fragment| &fragment.files) {
                written_files(&path, &file.path, &mut files)?;
            }
            Ok(Staged { fragments, files, clips: seen.clips })
        })
    }
}

type BoxedRows = Box<dyn Iterator<Item = std::result::Result<Vec<Clip>, BoxError>> + Send>;

/// A data file and the blob files beside it, as they are on disk now.
fn written_files(dataset: &Path, name: &str, files: &mut Vec<StagedFile>) -> Result<()> {
    let data = dataset.join("data");
    let file = data.join(name);
    let beside = file.with_extension("");
    for path in std::iter::once(file).chain(entries(&beside)?) {
        let bytes = fs::metadata(&path).at("find the staged file", &path)?.len();
        let path = path.strip_prefix(dataset).unwrap_or(&path).to_owned();
        files.push(StagedFile { path, bytes });
    }
    Ok(())
}

/// What the stream of batches noticed on its way to Lance.
#[derive(Default)]
struct Seen {
    clips: BTreeMap<UnitId, usize>,
    failure: Option<Failure>,
}

/// Why the stream ended early. Kept aside, because on its way through Lance an error loses its
/// type.
enum Failure {
    Rows(BoxError),
    Batch(curate_schemas::batch::BatchError),
    Id(curate_schemas::IdError),
}

impl Failure {
    fn into_error(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Rows(source) => StoreError::Rows { path, source },
            Self::Batch(source) => StoreError::Batch { path, source },
            Self::Id(source) => StoreError::BadId { path, source },
        }
    }
}

struct Batches {
    rows: BoxedRows,
    schema: SchemaRef,
    seen: Arc<Mutex<Seen>>,
}

impl Batches {
    fn batch(
        &self,
        clips: std::result::Result<Vec<Clip>, BoxError>,
    ) -> std::result::Result<RecordBatch, Failure> {
        let clips = clips.map_err(Failure::Rows)?;
        let batch = schema::clip_batch(&self.schema, &clips).map_err(Failure::Batch)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for clip in &clips {
            let unit = clip.get(UNIT_ID).map(String::as_str).unwrap_or_default();
            let unit = UnitId::parse(unit).map_err(Failure::Id)?;
            *seen.clips.entry(unit).or_default() += 1;
        }
        Ok(batch)
    }
}

impl Iterator for Batches {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let clips = self.rows.find(|clips| !matches!(clips, Ok(clips) if clips.is_empty()))?;
        Some(self.batch(clips).map_err(|failure| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.failure = Some(failure);
            ArrowError::ExternalError("the rows ended with an error".into())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, clip, unit_clips};

    #[tokio::test]
    async fn the_callers_error_comes_back_and_nothing_is_staged() {
        let table = Table::new().await;
        let lease = table.lease("test").await;
        let rows = vec![Ok(unit_clips("a", 0)), Err(std::io::Error::other("the spool is gone"))];
        let error = table.store.stage(&lease, rows).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert!(matches!(error, StoreError::Rows { .. }) && source.to_string().contains("spool"));
        let mut bad = clip("a", 0, 0);
        bad.put(UNIT_ID, None);
        let error = table.store.stage(&lease, [Ok::<_, BoxError>(vec![bad])]).await.unwrap_err();
        assert!(matches!(error, StoreError::Batch { .. }), "{error}");
        assert_eq!(table.counts().await, (0, 0));
    }

    #[tokio::test]
    async fn no_rows_stage_no_files() {
        let table = Table::new().await;
        let lease = table.lease("test").await;
        let rows: [std::result::Result<_, BoxError>; 2] = [Ok(vec![]), Ok(vec![])];
        let staged = table.store.stage(&lease, rows).await.unwrap();
        assert_eq!((staged.fragments.len(), staged.files.len(), staged.units().count()), (0, 0, 0));
    }
}
