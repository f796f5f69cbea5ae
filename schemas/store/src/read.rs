//! Reading single clips.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::UInt64Type,
};
use curate_schemas::{
    Clip, ClipId, batch,
    columns::{CLIP_ID, CLIPS, VIDEO},
};
use lance::{Dataset, dataset::ROW_ID};

use crate::{
    Pending, Result, Store,
    error::At as _,
    schema::{known, plain_columns},
};

impl Store {
    /// A clip, without its bytes and what trainers cached; `None` when there is none with this id.
    ///
    /// # Errors
    /// When the clips cannot be read.
    pub fn clip<'a>(&'a self, id: &'a ClipId) -> Pending<'a, Option<Clip>> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            let batch = self.rows_of(&clips, id, &plain_columns(&CLIPS)).await?;
            let rows = batch::to_rows(&CLIPS, &batch).at("read", &path)?;
            Ok(rows.into_iter().next().and_then(Clip::from_row))
        })
    }

    /// A clip's bytes; `None` when there is no such clip or it has none.
    ///
    /// # Errors
    /// When the clips cannot be read.
    pub fn video<'a>(&'a self, id: &'a ClipId) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let clips = self.latest_clips().await?;
            let batch = self.rows_of(&clips, id, &[CLIP_ID.name()]).await?;
            let rows = row_ids(&batch);
            Ok(self.blobs(&Arc::new(clips), &rows).await?.into_iter().next().flatten())
        })
    }

    /// These clips in a version (the newest when `None`), with their bytes, in the order of the ids; ids
    /// that the version lacks are left out. All of them are in memory at once.
    ///
    /// # Errors
    /// When there is no such version, or the clips cannot be read.
    pub fn whole_clips<'a>(
        &'a self,
        version: Option<u64>,
        ids: &'a [ClipId],
    ) -> Pending<'a, Vec<Clip>> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = Arc::new(self.clips_at(version).await?);
            let mut scan = clips.scan();
            scan.project(&known(&clips, &plain_columns(&CLIPS))).at("read", &path)?;
            scan.with_row_id();
            let quoted: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
            let filter = format!("{} in ({})", CLIP_ID.name(), quoted.join(", "));
            scan.filter(&filter).at("read", &path)?;
            let batch = scan.try_into_batch().await.at("read", &path)?;
            let rows = batch::to_rows(&CLIPS, &batch).at("read", &path)?;
            let blobs = self.blobs(&clips, &row_ids(&batch)).await?;
            let mut found: HashMap<String, Clip> = HashMap::new();
            for (row, blob) in rows.into_iter().zip(blobs) {
                let Some(mut clip) = Clip::from_row(row) else { continue };
                clip.put(VIDEO, blob);
                if let Some(id) = clip.get(CLIP_ID).cloned() {
                    found.insert(id, clip);
                }
            }
            Ok(ids.iter().filter_map(|id| found.remove(&id.to_string())).collect())
        })
    }

    async fn rows_of(&self, clips: &Dataset, id: &ClipId, columns: &[&str]) -> Result<RecordBatch> {
        let path = self.layout().clips();
        let mut scan = clips.scan();
        scan.project(columns).at("read", &path)?;
        scan.with_row_id();
        scan.filter(&format!("{} = '{id}'", CLIP_ID.name())).at("read", &path)?;
        scan.try_into_batch().await.at("read", &path)
    }

    /// The bytes of these rows, in their order.
    pub(crate) async fn blobs(
        &self,
        clips: &Arc<Dataset>,
        rows: &[u64],
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let path = self.layout().clips();
        let files =
            clips.take_blobs(rows, VIDEO.name()).await.at("find the bytes of a clip in", &path)?;
        let mut blobs = Vec::with_capacity(files.len());
        for file in files {
            blobs.push(match file {
                Some(file) => {
                    Some(file.read().await.at("read the bytes of a clip in", &path)?.to_vec())
                }
                None => None,
            });
        }
        Ok(blobs)
    }
}

/// The row ids in a batch that was scanned with them.
pub(crate) fn row_ids(batch: &RecordBatch) -> Vec<u64> {
    let ids = batch.column_by_name(ROW_ID).and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
    ids.map(|ids| ids.values().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use curate_schemas::columns::LATENTS;

    use super::*;
    use crate::testing::{Table, clip_id};

    #[tokio::test]
    async fn a_clip_comes_back_with_every_column_and_byte() {
        let table = Table::new().await;
        let clips = table.full_clips();
        table.add_clips(clips.clone()).await;
        table.store.optimize_indices().await.unwrap();
        for mut clip in clips {
            let id = clip_id(&clip);
            let video = clip.take(VIDEO);
            clip.take(LATENTS);
            assert_eq!(table.store.clip(&id).await.unwrap(), Some(clip));
            assert_eq!(table.store.video(&id).await.unwrap(), video);
        }
        let mut whole = table.full_clips();
        whole.iter_mut().for_each(|clip| drop(clip.take(LATENTS)));
        whole.reverse();
        let ids: Vec<ClipId> = whole.iter().map(clip_id).collect();
        assert_eq!(table.store.whole_clips(None, &ids).await.unwrap(), whole);
        assert!(table.store.whole_clips(Some(1), &ids).await.unwrap().is_empty());
        let absent = ClipId::parse(&"0".repeat(32)).unwrap();
        assert_eq!(table.store.clip(&absent).await.unwrap(), None);
        assert_eq!(table.store.video(&absent).await.unwrap(), None);
        assert!(table.store.versions().await.unwrap().len() > 1);
    }
}
