//! Tables of earlier versions of `curate` get the columns that came later.
//!
//! Columns are only ever added, at the end and nullable, and Lance adds such a column without
//! writing data: it is null where a data file does not have it. So a table is brought up to date when it
//! is opened, once, in two small commits; rows, bytes and earlier versions stay as they are. The
//! earlier `curate` then says that it does not know the table, which is right: it would write rows
//! without the columns and drop them when it rewrites some.
//!
//! Decided against a command for it: there is nothing to decide.

use arrow::datatypes::Schema;
use curate_schemas::columns::{CLIPS, SCHEMA_VERSION};
use lance::dataset::NewColumnTransform;

use crate::{
    Result, Store, StoreError, commit::is_conflict, error::At as _, gate::Gate, meta::SCHEMA,
    schema,
};

/// How often to look again when others write at the same time.
const ATTEMPTS: u32 = 100;

impl Store {
    /// Adds what is missing, and says so in the table's metadata. Idempotent, and safe beside others
    /// who do the same.
    pub(crate) async fn upgrade(&self) -> Result<()> {
        let path = self.layout().clips();
        let _gate = Gate::shared(self.layout()).await?;
        self.settle_judge().await?;
        let version = SCHEMA_VERSION.to_string();
        let wanted = schema::lance_schema(&CLIPS);
        for _ in 0..ATTEMPTS {
            let mut clips = self.latest_clips().await?;
            if clips.metadata().get(SCHEMA) == Some(&version) {
                return Ok(());
            }
            let fields = wanted.fields().iter();
            let missing: Vec<_> = fields
                .filter(|field| clips.schema().field(field.name()).is_none())
                .cloned()
                .collect();
            let added = if missing.is_empty() {
                Ok(())
            } else {
                let missing = NewColumnTransform::AllNulls(Schema::new(missing).into());
                Box::pin(clips.add_columns(missing, None, None)).await
            };
            let written = match added {
                Ok(()) => clips.update_metadata([(SCHEMA, version.as_str())]).await.map(drop),
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return Ok(()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error).at("add the columns of this version to", &path),
            }
        }
        Err(StoreError::Contention { path, attempts: ATTEMPTS })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use curate_schemas::columns::{CLIP_ID, LATENTS, LATENTS_KEY};

    use super::*;
    use crate::{
        Changes, Query,
        testing::{Table, unit_clips},
    };

    /// A table as an earlier `curate` left it.
    async fn old_table() -> (Table, Vec<String>, u64) {
        let table = Table::new().await;
        table.add("a", &[0, 1]).await;
        let rows = table.store.canonical().await.unwrap();
        let mut clips = table.store.latest_clips().await.unwrap();
        let newer = CLIPS.columns.iter().filter(|spec| spec.since > 1).map(|spec| spec.name);
        clips.drop_columns(&newer.collect::<Vec<_>>()).await.unwrap();
        clips.update_metadata([(SCHEMA, "1")]).await.unwrap();
        (table, rows, clips.version_id())
    }

    #[tokio::test]
    async fn an_earlier_table_opens_and_takes_the_new_columns() {
        let (table, rows, old) = old_table().await;
        let opening = (0..3).map(|_| Store::open(table.dir.path()));
        let opened = futures::future::join_all(opening).await;
        for store in opened {
            let store = store.unwrap();
            assert_eq!(store.canonical().await.unwrap(), rows);
            assert_eq!(store.meta().await.unwrap().schema_version, SCHEMA_VERSION);
        }
        let store = Store::open(table.dir.path()).await.unwrap();
        table.add("b", &[0]).await;
        let clip = unit_clips("a", 1).swap_remove(0);
        let id = clip.get(CLIP_ID).unwrap().clone();
        let mut changes = Changes::of(&["latents", "latents_key"]);
        let key = "a key".to_owned();
        changes.push(&[clip.with(LATENTS, vec![7; 50_000]).with(LATENTS_KEY, key)]).unwrap();
        store.patch(&changes).await.unwrap();
        let filter = format!("clip_id = '{id}'");
        let pinned = store.pinned(None).await.unwrap();
        let mut found = pinned.rows(&["latents"], Some(&filter)).await.unwrap();
        let found = found.next_batch().await.unwrap().unwrap();
        assert_eq!(found[0].1.get(LATENTS).unwrap(), &vec![7; 50_000]);

        // Its earlier versions are read as before, and back to one is possible.
        let sql = "select count(*) from clips where latents_key is null";
        let query = Query::open(&store, Some(old)).await.unwrap();
        let counted = query.sql(sql).await.unwrap().collect().await.unwrap();
        let counted = counted[0].column(0).as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(counted.value(0), 6);
        let mut clips = store.clips_of(Some(old), &["clip_id", "text_key"], None).await.unwrap();
        assert_eq!(clips.next_batch().await.unwrap().unwrap().len(), 6);
        drop(clips);
        let alone = store.alone().await.unwrap();
        store.restore(alone, old).await.unwrap();
        let store = Store::open(table.dir.path()).await.unwrap();
        assert_eq!(store.canonical().await.unwrap(), rows);
    }

    /// What two that open an earlier table at once do to each other.
    #[tokio::test]
    async fn the_second_to_write_the_same_metadata_is_told_to_look_again() {
        let (table, ..) = old_table().await;
        let mut first = table.store.latest_clips().await.unwrap();
        let mut second = table.store.latest_clips().await.unwrap();
        first.update_metadata([(SCHEMA, "2")]).await.unwrap();
        let error = second.update_metadata([(SCHEMA, "2")]).await.unwrap_err();
        assert!(is_conflict(&error), "{error}");
    }

    #[tokio::test]
    async fn a_later_table_is_refused() {
        let (table, ..) = old_table().await;
        let mut clips = table.store.latest_clips().await.unwrap();
        for version in [0, SCHEMA_VERSION + 1] {
            let version = version.to_string();
            clips.update_metadata([(SCHEMA, version.as_str())]).await.unwrap();
            let error = Store::open(table.dir.path()).await.unwrap_err();
            assert!(matches!(error, StoreError::SchemaVersion { .. }), "{error}");
        }
    }
}
