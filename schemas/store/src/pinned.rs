//! A version that stays the same while it is read: what trainers read from.
//!
//! Rows are found by Lance's stable row ids, which a scan gives once; a row is then read without looking
//! for it. Decided against finding rows by `clip_id` each time: an index that is not up to date would
//! mean a scan for every sample.

use std::{pin::Pin, sync::Arc};

use curate_schemas::{Clip, batch, columns::CLIPS};
use futures::StreamExt as _;
use lance::{
    Dataset,
    dataset::{ProjectionRequest, scanner::DatasetRecordBatchStream},
};

use crate::{
    Pending, Result, Store, error::At as _, query::condition, read::row_ids, schema::known,
};

/// One version of the clips. Cloning is cheap.
#[derive(Clone)]
pub struct Pinned {
    store: Store,
    clips: Arc<Dataset>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// Some columns of rows, batch by batch.
pub struct PinnedRows<'a> {
    of: &'a Pinned,
    stream: Pin<Box<DatasetRecordBatchStream>>,
}

impl std::fmt::Debug for PinnedRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedRows").field("of", &self.of).finish_non_exhaustive()
    }
}

impl PinnedRows<'_> {
    /// The next rows, each with what finds it again; `None` at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn next_batch(&mut self) -> Pending<'_, Option<Vec<(u64, Clip)>>> {
        Box::pin(async move {
            let path = self.of.store.layout().clips();
            let Some(batch) = self.stream.next().await else { return Ok(None) };
            let batch = batch.at("read", &path)?;
            let rows = batch::to_rows(&CLIPS, &batch).at("read", &path)?;
            let clips = rows.into_iter().filter_map(Clip::from_row);
            Ok(Some(row_ids(&batch).into_iter().zip(clips).collect()))
        })
    }
}

impl Store {
    /// A version to read from, the newest when `None`.
    ///
    /// # Errors
    /// [`crate::StoreError::NoVersion`] when there is no such version.
    pub fn pinned(&self, version: Option<u64>) -> Pending<'_, Pinned> {
        Box::pin(async move {
            let clips = Arc::new(self.clips_at(version).await?);
            Ok(Pinned { store: self.clone(), clips })
        })
    }
}

impl Pinned {
    /// The version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.clips.version_id()
    }

    /// Some columns of the rows that pass an SQL filter, or of all. Columns that the version does not
    /// have yet are null.
    ///
    /// # Errors
    /// When they cannot be read, or the filter is wrong.
    pub fn rows<'a>(
        &'a self,
        columns: &'a [&'a str],
        filter: Option<&'a str>,
    ) -> Pending<'a, PinnedRows<'a>> {
        Box::pin(async move {
            let path = self.store.layout().clips();
            let mut scan = self.clips.scan();
            scan.project(&known(&self.clips, columns)).at("read", &path)?;
            scan.with_row_id();
            if let Some(filter) = filter {
                scan.filter(condition(filter)?).at("read", &path)?;
            }
            let stream = Box::pin(scan.try_into_stream().await.at("read", &path)?);
            Ok(PinnedRows { of: self, stream })
        })
    }

    /// Some columns of one row; `None` when there is no such row. Blobs are not among them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cells<'a>(&'a self, row: u64, columns: &'a [&'a str]) -> Pending<'a, Option<Clip>> {
        Box::pin(async move {
            let path = self.store.layout().clips();
            let columns = known(&self.clips, columns);
            let wanted = ProjectionRequest::from_columns(columns, self.clips.schema());
            let batch = self.clips.take_rows(&[row], wanted).await.at("read", &path)?;
            let rows = batch::to_rows(&CLIPS, &batch).at("read", &path)?;
            Ok(rows.into_iter().next().and_then(Clip::from_row))
        })
    }

    /// The bytes of a row's clip; `None` when it has none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn video(&self, row: u64) -> Pending<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let bytes: Result<Vec<_>> = self.store.blobs(&self.clips, &[row]).await;
            Ok(bytes?.into_iter().next().flatten())
        })
    }
}

#[cfg(test)]
mod tests {
    use curate_schemas::columns::{CLIP_ID, LATENTS, LATENTS_KEY, MOTION, VIDEO};

    use crate::{Changes, CompactOptions, StoreError, testing::Table};

    #[tokio::test]
    async fn a_version_is_read_row_by_row_while_the_table_goes_on() {
        let table = Table::new().await;
        table.add_clips(table.full_clips()).await;
        let pinned = table.store.pinned(None).await.unwrap();
        table.add("a", &[0, 1]).await;
        table.add("b", &[0]).await;
        let options = CompactOptions { min_small_fragments: 2, ..CompactOptions::default() };
        table.store.compact(&options).await.unwrap();
        let newest = table.store.pinned(None).await.unwrap();
        for (pinned, count) in [(&pinned, 5), (&newest, 14)] {
            let (mut seen, mut rows) = (0, pinned.rows(&["clip_id"], None).await.unwrap());
            while let Some(batch) = rows.next_batch().await.unwrap() {
                for (row, clip) in batch {
                    let id = clip.get(CLIP_ID).unwrap();
                    let cells = pinned.cells(row, &["clip_id", "latents"]).await.unwrap().unwrap();
                    assert_eq!(cells.get(CLIP_ID).unwrap(), id);
                    let full = table.full_clips();
                    let whole = full.iter().find(|clip| clip.get(CLIP_ID).unwrap() == id);
                    assert_eq!(cells.get(LATENTS), whole.and_then(|clip| clip.get(LATENTS)));
                    let video = pinned.video(row).await.unwrap();
                    if let Some(whole) = whole {
                        assert_eq!(video.as_ref(), whole.get(VIDEO));
                    }
                    seen += 1;
                }
            }
            assert_eq!(seen, count);
        }
        for (filter, rest) in
            [("motion > 1, motion < 3", "`,`"), ("motion > 1 mtoion < 3", "`mtoion`")]
        {
            let error = newest.rows(&["clip_id"], Some(filter)).await.unwrap_err();
            let StoreError::Sql { source, .. } = &error else { panic!("{error}") };
            assert!(source.to_string().contains(rest), "{source}");
        }
        newest.rows(&["clip_id"], Some("motion > 1 -- a note")).await.unwrap();
        let error = newest.rows(&["clip_id"], Some("motoin > 1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Lance { .. }), "{error}");
        assert!(table.store.pinned(Some(999)).await.is_err());
    }

    /// What trainers cache is replaced alone: nothing else is written again.
    #[tokio::test]
    async fn large_columns_are_patched_without_touching_bytes() {
        let table = Table::new().await;
        table.add("a", &[0]).await;
        let before = table.store.canonical().await.unwrap();
        let pinned = table.store.pinned(None).await.unwrap();
        let mut rows = pinned.rows(&["clip_id"], Some("status = 'kept'")).await.unwrap();
        let rows = rows.next_batch().await.unwrap().unwrap();
        assert_eq!(rows.len(), 2);
        for (number, (row, clip)) in rows.into_iter().enumerate() {
            let clip = clip
                .with(LATENTS, vec![number as u8; 100_000])
                .with(LATENTS_KEY, format!("{number}"));
            let mut changes = Changes::of(&["latents", "latents_key"]);
            changes.push(&[clip]).unwrap();
            table.store.patch(&changes).await.unwrap();
            let newest = table.store.pinned(None).await.unwrap();
            let cells = newest.cells(row, &["latents", "motion"]).await.unwrap().unwrap();
            assert_eq!(cells.get(LATENTS).unwrap(), &vec![number as u8; 100_000]);
            assert_eq!(cells.get(MOTION), None);
            let old = pinned.cells(row, &["latents"]).await.unwrap().unwrap();
            assert_eq!(old.get(LATENTS), None);
        }
        let mut after = table.store.canonical().await.unwrap();
        let keys = |line: &String| line.contains("latents_key");
        assert_eq!(after.iter().filter(|line| keys(line)).count(), 2);
        after.retain(|line| !keys(line));
        assert!(after.iter().all(|line| before.contains(line)));
    }
}
