//! Finishing what dead runs left behind.
//!
//! For every receipt of a run that is not alive: commit it if none of its units is in the table,
//! write the ledger rows of what is in, delete it. A receipt of which *some* units are in (another
//! process computed them) is not committed, since a commit is all or none; the rest is computed
//! again, or keeps the rows that it had. Before that, thresholds that were moved are brought to the table's metadata (see
//! `rewrite.rs`). Then the two tables are compared, and the two differences a crash can leave are mended.
//!
//! Several processes may recover at once, and while others run: every step is idempotent, and
//! the comparison reads in an order in which a step of a living run cannot look like damage.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use curate_schemas::{
    Clip, UnitId, UnitRow, batch,
    columns::{self, CLIPS as CLIPS_TABLE},
    units,
};
use futures::TryStreamExt as _;

use crate::{
    Lease, Mode, Outcome, Pending, Receipt, Result, RunDir, Store, StoreError,
    commit::{IDS_PER_FILTER, one_of},
    error::{At as _, gone_is_fine},
    layout::entries,
    lease, ledger,
    receipt::unit_of,
};

/// What [`Store::recover`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Receipts whose clips were committed now.
    pub committed: usize,
    /// Receipts that only lacked their ledger rows.
    pub recorded: usize,
    /// Receipts that were dropped because some, but not all, of their units were in the table.
    pub dropped: usize,
    /// Receipts that were dropped because their staged files were gone.
    pub lost: usize,
    /// Scratch files that were deleted.
    pub spool_files: usize,
    /// Ledger rows that were derived from clips that had none.
    pub derived: usize,
    /// Ledger rows that were deleted because the clips they count are not in the table.
    pub forgotten: usize,
}

impl Store {
    /// Finishes the work of runs that died (and, given its lease, of the caller's own run), and
    /// makes the ledger agree with the clips. Afterwards everything that ever had a receipt is in
    /// both tables or will be computed again.
    ///
    /// Idempotent, and safe beside running processes.
    ///
    /// # Errors
    /// [`StoreError::Receipt`] for an unreadable receipt, else as [`Store::finish`]. What was
    /// finished until then stays finished.
    pub fn recover<'a>(&'a self, own: Option<&'a Lease>) -> Pending<'a, Recovered> {
        Box::pin(async move {
            self.settle_judge().await?;
            let mut recovered = self.finish_dead_receipts(own).await?;
            self.reconcile(&mut recovered).await?;
            if recovered != Recovered::default() {
                tracing::info!(?recovered, "finished the work of earlier runs");
            }
            Ok(recovered)
        })
    }

    /// The first half of [`Store::recover`].
    pub(crate) async fn finish_dead_receipts(&self, own: Option<&Lease>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for run in self.layout().all_runs()? {
            let mine = own.is_some_and(|lease| lease.dir() == &run);
            if !mine && lease::holder(&run)?.is_some() {
                continue;
            }
            for path in run.receipt_files()? {
                if let Some(receipt) = Receipt::read(&path)? {
                    self.finish_one(receipt, &mut recovered).await?;
                }
            }
            if !mine {
                recovered.spool_files += sweep(&run)?;
            }
        }
        Ok(recovered)
    }

    async fn finish_one(&self, receipt: Receipt, recovered: &mut Recovered) -> Result<()> {
        match self.commit(&receipt).await {
            Ok(Outcome::Committed { .. }) => recovered.committed += 1,
            Ok(Outcome::Duplicate { present })
                if receipt.clip_units().iter().any(|unit| !present.contains(unit)) =>
            {
                recovered.dropped += 1;
            }
            Ok(Outcome::Duplicate { .. } | Outcome::NoClips) => recovered.recorded += 1,
            Err(error @ StoreError::StagedFileGone { .. }) => {
                tracing::warn!(%error, "a receipt cannot be honoured; its units are computed again");
                recovered.lost += 1;
            }
            Err(error) => return Err(error),
        }
        self.record(&receipt).await?;
        receipt.discard()
    }

    /// Mends the two ways in which the tables can disagree.
    ///
    /// A living run commits, then writes the ledger, then deletes its receipt. So a row that
    /// counts clips was written after those clips: read the ledger first, then the clips, and
    /// what the clips lack has been deleted, unless a receipt says that the row is about to be replaced.
    /// And clips without a row have a receipt or, a moment later, their row: look for it in that order.
    async fn reconcile(&self, recovered: &mut Recovered) -> Result<()> {
        let columns = [units::UNIT_ID.name(), units::CLIPS.name(), units::RUN_ID.name()];
        let before = self.read_units(&self.latest_units().await?, &columns).await?;
        let with_clips = self.clip_unit_ids().await?;
        let lacks_clips = |row: &&UnitRow| {
            row.get(units::CLIPS).is_some_and(|clips| *clips > 0)
                && UnitId::parse(unit_of(row)).is_ok_and(|unit| !with_clips.contains(&unit))
        };
        let mut ghosts: Vec<&UnitRow> = before.iter().filter(lacks_clips).collect();
        let missing = without_row(&with_clips, &before);
        if ghosts.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let promised = self.promised_units()?;
        ghosts.retain(|row| !promised.contains(unit_of(row)));
        recovered.forgotten += ghosts.len();
        // Unless another run has written them anew meanwhile.
        self.delete_rows(&as_they_are(&ghosts)).await?;

        let now = self.read_units(&self.latest_units().await?, &columns[..1]).await?;
        let mut missing = without_row(&missing, &now);
        missing.retain(|unit| !promised.contains(unit.as_str()));
        let rows = self.derive(&missing.into_iter().collect::<Vec<_>>()).await?;
        recovered.derived += rows.len();
        self.record_units(&rows, Mode::KeepExisting).await
    }

    /// The units of all receipts, of living runs too, that have clips or had some.
    fn promised_units(&self) -> Result<BTreeSet<String>> {
        let mut promised = BTreeSet::new();
        for run in self.layout().all_runs()? {
            for path in run.receipt_files()? {
                if let Some(receipt) = Receipt::read(&path)? {
                    let units = receipt.clip_units().iter().chain(receipt.former().keys());
                    promised.extend(units.map(UnitId::to_string));
                }
            }
        }
        Ok(promised)
    }

    /// Ledger rows made from clips. Nothing we do leaves clips without a row; this is for a ledger
    /// that somebody deleted. What clips do not tell is 0, and the number of the source's units 0
    /// makes the next run open the source and find out.
    async fn derive(&self, missing: &[UnitId]) -> Result<Vec<UnitRow>> {
        let path = self.layout().clips();
        let mut rows: BTreeMap<String, UnitRow> = BTreeMap::new();
        let clips = self.latest_clips().await?;
        for some in missing.chunks(IDS_PER_FILTER) {
            let mut scan = clips.scan();
            scan.filter(&one_of(columns::UNIT_ID.name(), some)).at("read", &path)?;
            scan.project(DERIVED_FROM).at("read", &path)?;
            let mut batches = scan.try_into_stream().await.at("read", &path)?;
            while let Some(batch) = batches.try_next().await.at("read", &path)? {
                for clip in batch::to_rows(&CLIPS_TABLE, &batch).at("read", &path)? {
                    if let Some(clip) = Clip::from_row(clip) {
                        count(&mut rows, &clip);
                    }
                }
            }
        }
        Ok(rows.into_values().collect())
    }
}

/// The columns that [`Store::derive`] reads.
const DERIVED_FROM: &[&str] = &[
    columns::UNIT_ID.name(),
    columns::SOURCE_ID.name(),
    columns::SOURCE_URI.name(),
    columns::STATUS.name(),
    columns::SPLIT_ID.name(),
    columns::RUN_ID.name(),
    columns::CREATED_AT.name(),
];

/// Adds a clip to its unit's derived row.
fn count(rows: &mut BTreeMap<String, UnitRow>, clip: &Clip) {
    let text = |column| clip.get(column).cloned().unwrap_or_default();
    let row = rows.entry(text(columns::UNIT_ID)).or_insert_with(|| {
        let mut row = UnitRow::default()
            .with(units::UNIT_ID, text(columns::UNIT_ID))
            .with(units::SOURCE_ID, text(columns::SOURCE_ID))
            .with(units::SOURCE_URI, text(columns::SOURCE_URI))
            .with(units::UNITS_IN_SOURCE, 0)
            .with(units::STATUS, "ok".to_owned())
            .with(units::CLIPS, 0)
            .with(units::KEPT, 0)
            .with(units::FAILED, 0)
            .with(units::FRAMES_DECODED, 0)
            .with(units::FRAMES_SOURCE, 0)
            .with(units::SOURCE_BYTES, 0)
            .with(units::SPLIT_ID, text(columns::SPLIT_ID))
            .with(units::RUN_ID, text(columns::RUN_ID));
        row.put(units::FINISHED_AT, clip.get(columns::CREATED_AT).copied());
        row
    });
    let mut add = |column| {
        let now = row.get(column).copied().unwrap_or(0);
        row.set(column, now + 1);
    };
    add(units::CLIPS);
    match text(columns::STATUS).as_str() {
        "kept" => add(units::KEPT),
        "failed" => add(units::FAILED),
        _ => {}
    }
}

/// Conditions that hold for these ledger rows, and no longer once others take their place.
fn as_they_are(rows: &[&UnitRow]) -> Vec<String> {
    let named = rows.iter().filter_map(|row| {
        let run = row.get(units::RUN_ID).cloned().unwrap_or_default();
        Some((UnitId::parse(unit_of(row)).ok()?, BTreeSet::from([run])))
    });
    ledger::written_by(Vec::from_iter(named).iter().map(|(unit, runs)| (unit, runs)), "")
}

/// Those of `units` that have no row.
fn without_row(units: &BTreeSet<UnitId>, rows: &[UnitRow]) -> BTreeSet<UnitId> {
    let known: BTreeSet<&str> = rows.iter().map(unit_of).collect();
    units.iter().filter(|unit| !known.contains(unit.as_str())).cloned().collect()
}

/// Deletes a dead run's scratch files and half-written receipts; how many.
fn sweep(run: &RunDir) -> Result<usize> {
    let mut files = entries(&run.spool())?;
    files.extend(
        entries(&run.receipts())?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "tmp")),
    );
    for path in &files {
        let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        gone_is_fine(deleted).at("delete", path)?;
    }
    Ok(files.len())
}

#[cfg(test)]
mod tests;
