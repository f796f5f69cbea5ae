//! Doing a unit again: its former rows go in the commit that brings the new ones.
//!
//! Deleting first and computing then would leave a hole for as long as the unit takes, and a process
//! that is killed meanwhile would leave it for good. So the former rows stay until the new ones are
//! staged. One transaction of the clips then deletes the former and adds the new ones: an *update*,
//! which may carry deletions beside new fragments and, as every commit here, the keys of its units
//! (`commit.rs`).
//!
//! Two processes may do the same unit again at once, and it must land once. What is to go is
//! therefore named by who wrote it: a receipt lists the runs whose rows the unit had when it was decided
//! to do it again. The commit looks at a version, and
//!
//! * rows of the unit by other runs mean that another process was faster: the unit is taken for
//!   present, and nothing of the receipt is committed, as with units that are done for the first time;
//! * otherwise the former rows are deleted *as of that version* and the keys hold the unit until the
//!   commit: whoever commits it in between, with clips or (see below) without, has its key too, and
//!   Lance refuses the second of the two, which then looks again.
//!
//! A unit that had clips and now has none is committed as well, with its key: without that a process
//! which was slower could not tell its own former rows from those that another one has just brought.
//!
//! The ledger is another table and cannot be part of this commit. It follows by the same rule: a row is
//! replaced where one of those runs wrote it. Between the two the receipt is there, so whoever comes
//! next writes the ledger too (`recover.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow::array::AsArray as _;
use curate_schemas::{
    UnitId,
    columns::{RUN_ID, UNIT_ID},
    units,
};
use futures::TryStreamExt as _;
use lance::{
    Dataset,
    dataset::{DeleteBuilder, transaction::Operation},
};
use lance_table::format::Fragment;
use serde::{Deserialize, Serialize};

use crate::{
    Pending, Receipt, Result, Store,
    commit::{IDS_PER_FILTER, one_of},
    error::At as _,
};

/// What a unit's new rows take the place of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The runs that wrote the rows that go, of clips and ledger. Rows by any other run are newer than
    /// the decision to do the unit again, and stay.
    pub runs: BTreeSet<String>,
    /// Other units whose ledger rows go too: what stood for the source while it could not be read.
    /// They have no clips.
    pub stand_ins: BTreeSet<UnitId>,
}

impl Former {
    /// Rows of the unit that these runs wrote.
    #[must_use]
    pub fn by(runs: impl IntoIterator<Item = String>) -> Self {
        Self { runs: runs.into_iter().collect(), stand_ins: BTreeSet::new() }
    }
}

/// Who wrote the clips of units, as one version has them.
pub(crate) type Writers = BTreeMap<UnitId, BTreeSet<String>>;

impl Store {
    /// The runs that wrote the rows of these units, of clips and ledger: what a [`Former`] lists.
    /// Filling in columns later makes it more than one run for a unit.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn writers<'a>(&'a self, units: &'a [UnitId]) -> Pending<'a, Writers> {
        Box::pin(async move {
            let mut writers = self.writers_in(&self.latest_clips().await?, units).await?;
            let ledger = (self.latest_units().await?, self.layout().units());
            let names = [units::UNIT_ID.name(), units::RUN_ID.name()];
            for some in units.chunks(IDS_PER_FILTER) {
                collect_writers((&ledger.0, &ledger.1), names, some, &mut writers).await?;
            }
            Ok(writers)
        })
    }

    /// Who wrote the clips of these units, in this version.
    pub(crate) async fn writers_in(&self, clips: &Dataset, units: &[UnitId]) -> Result<Writers> {
        let path = self.layout().clips();
        let mut writers = Writers::new();
        for some in units.chunks(IDS_PER_FILTER) {
            let names = [UNIT_ID.name(), RUN_ID.name()];
            collect_writers((clips, &path), names, some, &mut writers).await?;
        }
        Ok(writers)
    }
}

/// Adds who wrote the rows of units, by the columns for both.
async fn collect_writers(
    (table, path): (&Dataset, &Path),
    [unit, run]: [&str; 2],
    units: &[UnitId],
    writers: &mut Writers,
) -> Result<()> {
    let mut scan = table.scan();
    scan.project(&[unit, run]).at("read", path)?;
    scan.filter(&one_of(unit, units)).at("read", path)?;
    let mut batches = scan.try_into_stream().await.at("read", path)?;
    while let Some(batch) = batches.try_next().await.at("read", path)? {
        let [ids, runs] = [0, 1].map(|column| batch.column(column).as_string::<i32>());
        // Rows of a unit lie together, so most pairs equal the one before.
        let mut previous = None;
        for pair in ids.iter().flatten().zip(runs.iter().flatten()) {
            if previous.replace(pair) != Some(pair) {
                let unit = UnitId::parse(pair.0).at("read", path)?;
                writers.entry(unit).or_default().insert(pair.1.to_owned());
            }
        }
    }
    Ok(())
}

/// What a version of the clips holds of a receipt's units.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Units with rows that are not to go: this receipt's, or those of who was faster.
    pub(crate) present: BTreeSet<UnitId>,
    /// Units with no rows but those that are to go.
    pub(crate) going: Vec<UnitId>,
}

impl Standing {
    /// Looks at a version.
    pub(crate) async fn of(store: &Store, clips: &Dataset, receipt: &Receipt) -> Result<Self> {
        let former = receipt.former();
        let mut units: BTreeSet<UnitId> = receipt.clip_units().iter().cloned().collect();
        units.extend(former.keys().cloned());
        let mut standing = Self::default();
        for (unit, runs) in store.writers_in(clips, &Vec::from_iter(units)).await? {
            let are_former = former.get(&unit).is_some_and(|former| runs.is_subset(&former.runs));
            if are_former {
                standing.going.push(unit);
            } else {
                standing.present.insert(unit);
            }
        }
        Ok(standing)
    }

    /// Whether the clips are what the receipt's ledger row of a unit says, or better.
    pub(crate) fn allows(&self, receipt: &Receipt, unit: &UnitId) -> bool {
        if receipt.clip_units().contains(unit) {
            return self.present.contains(unit);
        }
        let has_rows = self.present.contains(unit) || self.going.contains(unit);
        !receipt.former().contains_key(unit) || !has_rows
    }
}

/// Fragments without the rows of some units, as of one version.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    pub(crate) updated: Vec<Fragment>,
    pub(crate) removed: Vec<u64>,
}

impl Removal {
    /// Writes the lists of deleted rows, which no version refers to yet. The commit that takes them
    /// up must have been read at this version, and is refused when one of the fragments has changed.
    pub(crate) async fn of(clips: &Arc<Dataset>, units: &[UnitId]) -> lance::Result<Self> {
        if units.is_empty() {
            return Ok(Self::default());
        }
        let filter = one_of(UNIT_ID.name(), units);
        let delete = DeleteBuilder::new(Arc::clone(clips), filter).execute_uncommitted();
        match Box::pin(delete).await?.transaction.operation {
            Operation::Delete { updated_fragments, deleted_fragment_ids, .. } => {
                Ok(Self { updated: updated_fragments, removed: deleted_fragment_ids })
            }
            other => Err(lance::Error::internal(format!("deleting gave {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests;
