//! Changing columns of rows that are there, without touching anything else of them.
//!
//! Lance attaches new data files that hold only these columns to the fragments whose rows change
//! and forgets the old ones, so neither the other columns nor the clips' bytes are read or
//! written. (Its other way to update, whole rows, would copy the bytes of every clip it touches.)
//! The price is one small file per fragment and change, which the next compaction merges.
//!
//! Two callers. [`Store::rejudge`] moves thresholds: nobody else may be at work, since a run would
//! go on judging by the old ones. It must be all or nothing, but verdicts are rows and thresholds
//! are table metadata, which Lance cannot commit together. So the thresholds also travel in the
//! properties of the transaction that changes the rows: while that transaction is the newest, its
//! thresholds count ([`Store::meta`]); the metadata follow in the next one, and whoever writes to
//! the table first makes sure of it. [`Store::patch`] fills in measured values, beside others who
//! do the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use curate_schemas::{
    Clip,
    batch::{self, BatchError},
    columns::{CLIP_ID, CLIPS},
};
use futures::StreamExt as _;
use lance::{
    Dataset,
    dataset::{
        CommitBuilder, MergeInsertBuilder, MergeInsertWriteMode, WhenMatched, WhenNotMatched,
        scanner::DatasetRecordBatchStream,
    },
};
use serde_json::Value;

use crate::{
    Pending, Result, Store, StoreError, commit::is_conflict, error::At as _, gate::Gate, lease,
    meta::JUDGE, query::condition, schema,
};

/// How often to look again when another process changes the same rows.
const ATTEMPTS: u32 = 100;

/// How long Lance may try to get the next version number while others take it.
const RETRY_FOR: Duration = Duration::from_secs(300);

/// How long to wait for writers that hold no lease, such as `curate gc` in another terminal.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to be the only writer, held until dropped.
#[derive(Debug)]
pub struct Alone {
    _gate: Gate,
}

/// Cells of rows that are to be replaced, kept compactly: of each row only its id and the columns that
/// change, so that half a table of them fits into memory.
#[derive(Clone, Debug)]
pub struct Changes {
    columns: Vec<&'static str>,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl Changes {
    /// No changes yet, of these columns.
    #[must_use]
    pub fn of(columns: &[&'static str]) -> Self {
        let mut columns = columns.to_vec();
        columns.push(CLIP_ID.name());
        Self { columns, batches: Vec::new(), rows: 0 }
    }

    /// Adds clips, of which the id and the columns count.
    ///
    /// # Errors
    /// When a cell that every row must have is missing.
    pub fn push(&mut self, clips: &[Clip]) -> Result<(), BatchError> {
        if !clips.is_empty() {
            let rows = clips.iter().map(Clip::row);
            self.batches.push(batch::from_rows_of(&CLIPS, &self.columns, rows)?);
            self.rows += clips.len();
        }
        Ok(())
    }

    /// How many rows change.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether none do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// Some columns of the clips, batch by batch.
pub struct Clips<'a> {
    store: &'a Store,
    stream: std::pin::Pin<Box<DatasetRecordBatchStream>>,
    version: u64,
}

impl std::fmt::Debug for Clips<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clips").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Clips<'_> {
    /// The version that is read.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The next clips, with the columns asked for; `None` at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn next_batch(&mut self) -> Pending<'_, Option<Vec<Clip>>> {
        Box::pin(async move {
            let path = self.store.layout().clips();
            let Some(batch) = self.stream.next().await else { return Ok(None) };
            let rows = batch::to_rows(&CLIPS, &batch.at("read", &path)?).at("read", &path)?;
            Ok(Some(rows.into_iter().filter_map(Clip::from_row).collect()))
        })
    }
}

impl Store {
    /// Waits until nobody writes to the table and keeps it so.
    ///
    /// # Errors
    /// [`StoreError::LeaseLive`] while a run works on the table, [`StoreError::Busy`] while another
    /// writer does.
    pub fn alone(&self) -> Pending<'_, Alone> {
        Box::pin(async move {
            self.refuse_if_live()?;
            let gate = match Gate::exclusive(self.layout(), PATIENCE).await {
                Ok(gate) => gate,
                Err(busy) => {
                    self.refuse_if_live()?;
                    return Err(busy);
                }
            };
            self.refuse_if_live()?;
            Ok(Alone { _gate: gate })
        })
    }

    pub(crate) fn refuse_if_live(&self) -> Result<()> {
        match lease::live_leases(self.layout().out())?.into_iter().next() {
            Some(holder) => Err(lease::live(self.layout(), holder)),
            None => Ok(()),
        }
    }

    /// Some columns of all clips, or of those that pass an SQL filter, in the newest version.
    ///
    /// # Errors
    /// When they cannot be read, or the filter is wrong.
    pub fn clips<'a>(
        &'a self,
        columns: &'a [&'a str],
        filter: Option<&'a str>,
    ) -> Pending<'a, Clips<'a>> {
        self.clips_of(None, columns, filter)
    }

    /// As [`Store::clips`], in a version; the newest when `None`.
    ///
    /// # Errors
    /// As [`Store::clips`], and when there is no such version.
    pub fn clips_of<'a>(
        &'a self,
        version: Option<u64>,
        columns: &'a [&'a str],
        filter: Option<&'a str>,
    ) -> Pending<'a, Clips<'a>> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.clips_at(version).await?;
            let mut scan = clips.scan();
            scan.project(&schema::known(&clips, columns)).at("read", &path)?;
            if let Some(filter) = filter {
                scan.filter(condition(filter)?).at("read", &path)?;
            }
            let stream = Box::pin(scan.try_into_stream().await.at("read", &path)?);
            Ok(Clips { store: self, stream, version: clips.version_id() })
        })
    }

    /// Replaces cells (of clips found by id) and the thresholds that the table states, both or
    /// neither. The new version.
    ///
    /// # Errors
    /// When reading, writing or committing fails.
    pub fn rejudge<'a>(
        &'a self,
        _alone: &'a Alone,
        changes: &'a Changes,
        judge: &'a Value,
    ) -> Pending<'a, u64> {
        Box::pin(async move {
            self.settle_judge().await?;
            if !changes.is_empty() {
                self.rewrite(changes, Some(judge)).await?;
            }
            self.write_judge(judge).await
        })
    }

    /// Replaces cells of clips, found by id; clips that are not in the table are left out. Safe beside
    /// other writers, and idempotent. The new version.
    ///
    /// # Errors
    /// [`StoreError::Contention`] when others win again and again; else as [`Store::rejudge`].
    pub fn patch<'a>(&'a self, changes: &'a Changes) -> Pending<'a, u64> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            self.rewrite(changes, None).await
        })
    }

    /// Replaces whole rows, bytes included, found by id. For rows that have no bytes yet: the bytes
    /// of a clip are a column that cannot be changed alone. Whatever the rows held before is gone.
    /// Memory is that of the clips given. Safe beside other writers, and idempotent.
    ///
    /// # Errors
    /// As [`Store::patch`].
    pub fn replace<'a>(&'a self, clips: &'a [Clip]) -> Pending<'a, ()> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            let path = self.layout().clips();
            let schema = schema::lance_schema(&CLIPS);
            let rows = schema::clip_batch(&schema, clips).at("write to", &path)?;
            let latest = Arc::new(self.latest_clips().await?);
            Box::pin(replace_rows(latest, rows)).await.at("write to", &path)
        })
    }

    async fn rewrite(&self, changes: &Changes, judge: Option<&Value>) -> Result<u64> {
        let path = self.layout().clips();
        for attempt in 0..ATTEMPTS {
            let latest = Arc::new(self.latest_clips().await?);
            let commit = rewrite_once(latest, changes.batches.clone(), judge);
            match Box::pin(commit).await {
                Ok(version) => return Ok(version),
                Err(error) if is_conflict(&error) => {
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
                }
                Err(error) => return Err(error).at("change columns of", &path),
            }
        }
        Err(StoreError::Contention { path, attempts: ATTEMPTS })
    }

    /// The thresholds in the newest transaction, when the table's metadata do not have them yet.
    pub(crate) async fn judge_under_way(&self, clips: &Dataset) -> Result<Option<Value>> {
        let path = self.layout().clips();
        let transaction = clips.read_transaction().await.at("read", &path)?;
        let properties = transaction.and_then(|transaction| transaction.transaction_properties);
        let Some(text) = properties.as_ref().and_then(|all| all.get(JUDGE)) else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|source| StoreError::Meta {
            path,
            key: JUDGE,
            source: Some(source),
        })
    }

    /// Finishes what a [`Store::rejudge`] that died left to do.
    pub(crate) async fn settle_judge(&self) -> Result<()> {
        if let Some(judge) = self.judge_under_way(&self.latest_clips().await?).await? {
            self.write_judge(&judge).await?;
        }
        Ok(())
    }

    /// Writes the thresholds to the table's metadata.
    pub(crate) async fn write_judge(&self, judge: &Value) -> Result<u64> {
        let path = self.layout().clips();
        let text = judge.to_string();
        for _ in 0..ATTEMPTS {
            let mut clips = self.latest_clips().await?;
            if clips.metadata().get(JUDGE) == Some(&text) {
                return Ok(clips.version_id());
            }
            match clips.update_metadata([(JUDGE, text.as_str())]).await {
                Ok(_) => return Ok(clips.version_id()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error).at("change the metadata of", &path),
            }
        }
        Err(StoreError::Contention { path, attempts: ATTEMPTS })
    }
}

async fn rewrite_once(
    clips: Arc<Dataset>,
    rows: Vec<RecordBatch>,
    judge: Option<&Value>,
) -> lance::Result<u64> {
    let mut merge =
        MergeInsertBuilder::try_new(Arc::clone(&clips), vec![CLIP_ID.name().to_owned()])?;
    merge
        .when_matched(WhenMatched::UpdateAll)
        .when_not_matched(WhenNotMatched::DoNothing)
        .write_mode(MergeInsertWriteMode::RewriteColumns)
        .skip_auto_cleanup(true);
    let made = Box::pin(merge.try_build()?.execute_uncommitted_batches(rows)).await?;
    let mut transaction = made.transaction;
    if let Some(judge) = judge {
        let mut properties: HashMap<String, String> =
            transaction.transaction_properties.as_deref().cloned().unwrap_or_default();
        properties.insert(JUDGE.to_owned(), judge.to_string());
        transaction.transaction_properties = Some(Arc::new(properties));
    }
    // No retries below: a conflict means that the rows must be looked at again.
    let mut commit = CommitBuilder::new(clips).with_skip_auto_cleanup(true);
    if let Some(rows) = made.affected_rows {
        commit = commit.with_affected_rows(rows);
    }
    Ok(Box::pin(commit.execute(transaction)).await?.version_id())
}

async fn replace_rows(clips: Arc<Dataset>, rows: RecordBatch) -> lance::Result<()> {
    let mut merge = MergeInsertBuilder::try_new(clips, vec![CLIP_ID.name().to_owned()])?;
    merge
        .when_matched(WhenMatched::UpdateAll)
        .when_not_matched(WhenNotMatched::DoNothing)
        .write_mode(MergeInsertWriteMode::RewriteRows)
        .conflict_retries(ATTEMPTS)
        .retry_timeout(RETRY_FOR)
        .skip_auto_cleanup(true);
    Box::pin(merge.try_build()?.execute_batches(vec![rows])).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
