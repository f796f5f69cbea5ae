//! The ledger: one row per finished unit.
//!
//! Rows go in by Lance's merge on `unit_id`. Two things make that safe between processes, and both
//! are easy to lose: the column is declared as the table's key, and the merge must not use an
//! index (in this version of Lance the indexed path forgets to state the inserted keys, and two
//! processes that insert the same unit both succeed). So the ledger has no index; it has one small
//! row per unit, and reading all of their ids is cheap next to any unit.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use curate_schemas::{
    Micros, UnitId, UnitRow, batch,
    units::{
        self, CLIPS, ERROR_KIND, FAILED, KEPT, RUN_ID, SOURCE_BYTES, SOURCE_MTIME, SOURCE_URI,
        STATUS, UNIT_ID, UNITS, UNITS_IN_SOURCE,
    },
};
use futures::TryStreamExt as _;
use lance::{
    Dataset,
    dataset::{
        DeleteBuilder, MergeInsertBuilder, MergeInsertWriteMode, WhenMatched, WhenNotMatched,
        write::merge_insert::SourceDedupeBehavior,
    },
};

use crate::{
    Former, Pending, Receipt, Result, Store, commit::IDS_PER_FILTER, error::At as _, gate::Gate,
    receipt::unit_of, replace::Standing,
};

/// How often Lance may look again when another process changed the same rows.
const RETRIES: u32 = 100;

/// For how long.
const RETRY_FOR: Duration = Duration::from_secs(300);

/// What to do with a unit that is in the ledger already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Keep its row, unless that says "no clips" and the new one has some: clips are the truth.
    KeepExisting,
    /// Replace its row.
    Replace,
}

/// What planning needs to know about a finished unit.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerEntry {
    /// The unit.
    pub unit_id: UnitId,
    /// Where its source was found.
    pub source_uri: String,
    /// How many units the source has; 0 when that is not known (a row that [`Store::recover`] made
    /// from clips), so that the source must be opened to find out.
    pub units_in_source: i32,
    /// `ok`, `partial`, `empty`, `failed` or `quarantined`.
    pub status: String,
    /// What kind of error, if any.
    pub error_kind: Option<String>,
    /// Clips that were cut out of it.
    pub clips: i32,
    /// Clips that were kept.
    pub kept: i32,
    /// Clips that failed.
    pub failed: i32,
    /// Size of the source when it was read.
    pub source_bytes: i64,
    /// Modification time of the source when it was read.
    pub source_mtime: Option<Micros>,
    /// The run that wrote the row.
    pub run_id: String,
}

impl LedgerEntry {
    /// Whether the unit is not whole: failed, partial or quarantined, or with failed clips.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.failed > 0 || !matches!(self.status.as_str(), "ok" | "empty")
    }
}

impl Store {
    /// The ledger's light columns, in order of unit.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn ledger(&self) -> Pending<'_, Vec<LedgerEntry>> {
        Box::pin(async move {
            let path = self.layout().units();
            let mut entries = Vec::new();
            for row in self.read_units(&self.latest_units().await?, LIGHT).await? {
                let text = |column| row.get(column).cloned().unwrap_or_default();
                let number = |column| row.get(column).copied().unwrap_or_default();
                entries.push(LedgerEntry {
                    unit_id: UnitId::parse(&text(UNIT_ID)).at("read", &path)?,
                    source_uri: text(SOURCE_URI),
                    units_in_source: number(UNITS_IN_SOURCE),
                    status: text(STATUS),
                    error_kind: row.get(ERROR_KIND).cloned(),
                    clips: number(CLIPS),
                    kept: number(KEPT),
                    failed: number(FAILED),
                    source_bytes: row.get(SOURCE_BYTES).copied().unwrap_or_default(),
                    source_mtime: row.get(SOURCE_MTIME).copied(),
                    run_id: text(RUN_ID),
                });
            }
            entries.sort_by(|a, b| a.unit_id.cmp(&b.unit_id));
            Ok(entries)
        })
    }

    /// The units that have clips: the truth, whatever the ledger says.
    ///
    /// # Errors
    /// When the clips cannot be read.
    pub fn clip_unit_ids(&self) -> Pending<'_, BTreeSet<UnitId>> {
        Box::pin(async move {
            let mut found = BTreeSet::new();
            self.collect_units(&self.latest_clips().await?, None, &mut found).await?;
            Ok(found)
        })
    }

    /// Writes ledger rows, one per unit. Of two rows for one unit the first counts.
    ///
    /// Idempotent, and safe in any number of processes.
    ///
    /// # Errors
    /// When a row lacks a required value or the commit fails; no row is written then.
    pub fn record_units<'a>(&'a self, rows: &'a [UnitRow], mode: Mode) -> Pending<'a, ()> {
        Box::pin(async move { self.merge_rows(rows, mode, &[]).await })
    }

    /// Deletes the ledger rows of units that have no clips, as far as these runs wrote them: what
    /// stood for sources that could not be read and are done now. Idempotent.
    ///
    /// # Errors
    /// When the deletion fails.
    pub fn forget<'a>(&'a self, former: &'a Former) -> Pending<'a, ()> {
        Box::pin(async move {
            let rows = former.stand_ins.iter().map(|unit| (unit, &former.runs));
            self.delete_rows(&written_by(rows, "")).await
        })
    }

    /// Deletes the ledger rows for which one of these conditions holds.
    pub(crate) async fn delete_rows(&self, conditions: &[String]) -> Result<()> {
        let path = self.layout().units();
        let _gate = Gate::shared(self.layout()).await?;
        for some in conditions.chunks(IDS_PER_FILTER) {
            let ledger = self.latest_units().await?;
            delete(ledger, &some.join(" OR ")).await.at("delete from", &path)?;
        }
        Ok(())
    }

    /// Writes the ledger rows of a receipt that the clips allow; all, when they were not looked at,
    /// since they are as the receipt says.
    pub(crate) async fn record_receipt(
        &self,
        receipt: &Receipt,
        standing: Option<&Standing>,
    ) -> Result<()> {
        let path = self.layout().units();
        let (mut rows, mut former) = (Vec::new(), Vec::new());
        for row in receipt.units() {
            let unit = UnitId::parse(unit_of(row)).at("write", &path)?;
            if standing.is_none_or(|standing| standing.allows(receipt, &unit)) {
                former.extend(receipt.former().get(&unit).map(|former| (unit, former)));
                rows.push(row.clone());
            }
        }
        let replaced = written_by(former.iter().map(|(unit, it)| (unit, &it.runs)), "target.");
        self.merge_rows(&rows, Mode::KeepExisting, &replaced).await?;
        // After the new rows, so that no moment is without either.
        let gone =
            former.iter().flat_map(|(_, it)| it.stand_ins.iter().map(|unit| (unit, &it.runs)));
        self.delete_rows(&written_by(gone, "")).await
    }

    async fn merge_rows(&self, rows: &[UnitRow], mode: Mode, replaced: &[String]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let path = self.layout().units();
        let rows = batch::from_rows(&UNITS, rows.iter().map(UnitRow::row)).at("write", &path)?;
        let _gate = Gate::shared(self.layout()).await?;
        let units = Arc::new(self.latest_units().await?);
        Box::pin(merge(units, rows, mode, replaced)).await.at("write to", &path)
    }

    /// Rows of the ledger with these columns.
    pub(crate) async fn read_units(
        &self,
        units: &Dataset,
        columns: &[&str],
    ) -> Result<Vec<UnitRow>> {
        let path = self.layout().units();
        let mut scan = units.scan();
        scan.project(columns).at("read", &path)?;
        let mut batches = scan.try_into_stream().await.at("read", &path)?;
        let mut rows = Vec::new();
        while let Some(batch) = batches.try_next().await.at("read", &path)? {
            let some = batch::to_rows(&UNITS, &batch).at("read", &path)?;
            rows.extend(some.into_iter().filter_map(UnitRow::from_row));
        }
        Ok(rows)
    }
}

/// The columns behind [`LedgerEntry`].
const LIGHT: &[&str] = &[
    UNIT_ID.name(),
    SOURCE_URI.name(),
    UNITS_IN_SOURCE.name(),
    STATUS.name(),
    ERROR_KIND.name(),
    CLIPS.name(),
    KEPT.name(),
    FAILED.name(),
    SOURCE_BYTES.name(),
    units::SOURCE_MTIME.name(),
    RUN_ID.name(),
];

/// Conditions, one a unit, that hold for its row when one of these runs wrote it.
pub(crate) fn written_by<'a>(
    rows: impl Iterator<Item = (&'a UnitId, &'a BTreeSet<String>)>,
    prefix: &str,
) -> Vec<String> {
    let condition = |(unit, runs): (&UnitId, &BTreeSet<String>)| {
        let runs: Vec<String> =
            runs.iter().map(|run| format!("'{}'", run.replace('\'', "''"))).collect();
        let runs = runs.join(",");
        format!("({prefix}unit_id = '{unit}' AND {prefix}run_id IN ({runs}))")
    };
    rows.filter(|(_, runs)| !runs.is_empty()).map(condition).collect()
}

/// Inserts rows; rows that are there are replaced as the mode says, or where one of the conditions holds.
async fn merge(
    units: Arc<Dataset>,
    rows: RecordBatch,
    mode: Mode,
    replaced: &[String],
) -> lance::Result<()> {
    let matched = match mode {
        Mode::Replace => WhenMatched::UpdateAll,
        Mode::KeepExisting => {
            let mut conditions = vec!["(source.clips > 0 AND target.clips = 0)".to_owned()];
            conditions.extend_from_slice(replaced);
            WhenMatched::update_if(&units, &conditions.join(" OR "))?
        }
    };
    let mut merge = MergeInsertBuilder::try_new(units, vec![UNIT_ID.name().to_owned()])?;
    merge
        .when_matched(matched)
        .when_not_matched(WhenNotMatched::InsertAll)
        .source_dedupe_behavior(SourceDedupeBehavior::FirstSeen)
        .write_mode(MergeInsertWriteMode::RewriteRows)
        .use_index(false)
        .skip_auto_cleanup(true)
        .conflict_retries(RETRIES)
        .retry_timeout(RETRY_FOR);
    merge.try_build()?.execute_batches(vec![rows]).await?;
    Ok(())
}

/// Deletes rows, retrying when another process changed the same fragments. Nothing to delete makes
/// no version.
pub(crate) async fn delete(dataset: Dataset, filter: &str) -> lance::Result<()> {
    if dataset.count_rows(Some(filter.to_owned())).await? == 0 {
        return Ok(());
    }
    let delete = DeleteBuilder::new(Arc::new(dataset), filter);
    Box::pin(delete.conflict_retries(RETRIES).retry_timeout(RETRY_FOR).execute()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, unit, unit_row};

    #[tokio::test]
    async fn the_first_row_stays_unless_clips_turn_up() {
        let table = Table::new().await;
        let failed = unit_row("a", 0, 0).with(STATUS, "failed".to_owned());
        table.store.record_units(std::slice::from_ref(&failed), Mode::KeepExisting).await.unwrap();
        let empty = unit_row("a", 0, 0).with(STATUS, "empty".to_owned());
        table.store.record_units(std::slice::from_ref(&empty), Mode::KeepExisting).await.unwrap();
        assert_eq!(table.store.ledger().await.unwrap()[0].status, "failed");
        table.store.record_units(&[unit_row("a", 0, 3)], Mode::KeepExisting).await.unwrap();
        let ledger = table.store.ledger().await.unwrap();
        assert_eq!((ledger.len(), ledger[0].status.as_str(), ledger[0].clips), (1, "ok", 3));
        table.store.record_units(&[failed], Mode::KeepExisting).await.unwrap();
        assert_eq!(table.store.ledger().await.unwrap(), ledger);
        table.store.record_units(&[empty], Mode::Replace).await.unwrap();
        assert_eq!(table.store.ledger().await.unwrap()[0].status, "empty");
    }

    #[tokio::test]
    async fn rows_written_at_once_land_once() {
        let table = Table::new().await;
        let stores: Vec<Store> = (0..4).map(|_| table.store.clone()).collect();
        let rows: Vec<UnitRow> = (0..5).map(|index| unit_row("a", index, 0)).collect();
        let writes = stores.iter().map(|store| store.record_units(&rows, Mode::KeepExisting));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
        assert_eq!(table.store.ledger().await.unwrap().len(), 5);
    }

    #[tokio::test]
    async fn only_rows_by_the_runs_named_are_forgotten() {
        let table = Table::new().await;
        table.store.record_units(&[unit_row("a", 0, 0)], Mode::KeepExisting).await.unwrap();
        let stand_ins = BTreeSet::from([unit("a", 0)]);
        for (run, left) in [("another", 1), ("it's", 1), ("test", 0), ("test", 0)] {
            let runs = BTreeSet::from([run.to_owned()]);
            let former = Former { runs, stand_ins: stand_ins.clone() };
            table.store.forget(&former).await.unwrap();
            assert_eq!(table.counts().await, (0, left), "{run}");
        }
    }
}
