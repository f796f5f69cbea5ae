//! Committing a receipt: each unit lands once, however many processes commit it.
//!
//! A plain append would not do. Lance lets two appends of the same rows both succeed, since it
//! cannot know that they are the same; a retry after a lost answer would double them. So the
//! commit is an *update* without updated rows, which may carry the set of keys it inserts. We look
//! at version V, see none of our units, and commit as "read at V": Lance then compares our keys
//! with those of every commit after V, and refuses when they meet, or when it cannot compare.
//! After a refusal we look again. Look and commit are thus one step for all writers that play by
//! this rule, and nobody holds a lock. Doing a unit again goes by the same rule (`replace.rs`).
//!
//! The keys are exact 64-bit hashes of unit ids rather than a Bloom filter: a receipt has at most
//! some hundred units, and a false alarm would cost a retry each time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::array::AsArray as _;
use curate_schemas::{UnitId, columns::UNIT_ID, stable_hash64};
use futures::TryStreamExt as _;
use lance::{
    Dataset,
    dataset::{
        CommitBuilder,
        transaction::{Operation, Transaction, TransactionBuilder, UpdateMode},
    },
};
use lance_table::format::key_existence::{FilterType, KeyExistenceFilter};

use crate::{
    Pending, Receipt, Result, Store, StoreError,
    error::At as _,
    gate::Gate,
    replace::{Removal, Standing},
};

/// Each conflict means that somebody else got on, so this many in a row means trouble.
const ATTEMPTS: u32 = 200;

/// How long Lance may try to get the next version number while others take it.
const RETRY_FOR: Duration = Duration::from_secs(300);

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its clips are in the table, since this version.
    Committed {
        /// The version.
        version: u64,
    },
    /// Nothing was committed, because these of its units have clips in the table already. The
    /// caller stages the others again; a retry of a commit that had succeeded finds all of them.
    Duplicate {
        /// The units that are there.
        present: Vec<UnitId>,
    },
    /// The receipt neither has clips nor takes the place of some, so there was nothing to commit.
    NoClips,
}

impl Store {
    /// Makes the clips of a receipt visible, all or none, and takes away what they replace.
    ///
    /// Idempotent: a second call finds every unit present.
    ///
    /// # Errors
    /// [`StoreError::StagedFileGone`] when the receipt cannot be honoured any more,
    /// [`StoreError::Contention`] when others win again and again, [`StoreError::Lance`] for the
    /// rest; what then became of the commit, a second call finds out.
    pub fn commit<'a>(&'a self, receipt: &'a Receipt) -> Pending<'a, Outcome> {
        Box::pin(async move { Ok(self.land(receipt).await?.0) })
    }

    /// As [`Store::commit`]; with what the clips were when that was refused.
    async fn land(&self, receipt: &Receipt) -> Result<(Outcome, Option<Standing>)> {
        if receipt.clip_units().is_empty() && receipt.former().is_empty() {
            return Ok((Outcome::NoClips, None));
        }
        let _gate = Gate::shared(self.layout()).await?;
        let path = self.layout().clips();
        for attempt in 0..ATTEMPTS {
            let clips = Arc::new(self.latest_clips().await?);
            let standing = Standing::of(self, &clips, receipt).await?;
            if !standing.present.is_empty() {
                let present = standing.present.iter().cloned().collect();
                return Ok((Outcome::Duplicate { present }, Some(standing)));
            }
            if receipt.fragments().is_empty() && standing.going.is_empty() {
                return Ok((Outcome::NoClips, None));
            }
            receipt.check_files(&path)?;
            let removal = Removal::of(&clips, &standing.going).await.at("delete from", &path)?;
            let transaction = insertion(&clips, receipt, removal);
            let builder = CommitBuilder::new(clips)
                .with_max_retries(50)
                .with_retry_timeout(RETRY_FOR)
                .with_skip_auto_cleanup(true);
            match Box::pin(builder.execute(transaction)).await {
                Ok(clips) => {
                    return Ok((Outcome::Committed { version: clips.version_id() }, None));
                }
                Err(error) if is_conflict(&error) => {
                    tracing::debug!(attempt, receipt = receipt.id(), "conflict, looking again");
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(50)))).await;
                }
                Err(error) => return Err(error).at("commit to", &path),
            }
        }
        Err(StoreError::Contention { path, attempts: ATTEMPTS })
    }

    /// Writes the ledger rows of a receipt: of units whose clips are in the table, and of units
    /// without clips. Rows of other units are left out, since those units are not done.
    ///
    /// Idempotent.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn record<'a>(&'a self, receipt: &'a Receipt) -> Pending<'a, ()> {
        Box::pin(async move {
            let standing = Standing::of(self, &self.latest_clips().await?, receipt).await?;
            self.record_receipt(receipt, Some(&standing)).await
        })
    }

    /// Commits a receipt, writes its ledger rows and deletes it. After
    /// [`Outcome::Duplicate`] the units that are not in the table are the caller's again.
    ///
    /// Idempotent: after an error, [`Store::recover`] (or a second call) goes on where it stopped.
    ///
    /// # Errors
    /// As [`Store::commit`] and [`Store::record`]; the receipt is kept then.
    pub fn finish(&self, receipt: Receipt) -> Pending<'_, Outcome> {
        Box::pin(async move {
            let (outcome, standing) = self.land(&receipt).await?;
            self.record_receipt(&receipt, standing.as_ref()).await?;
            receipt.discard()?;
            Ok(outcome)
        })
    }

    /// Adds the units of the clips that pass the filter.
    pub(crate) async fn collect_units(
        &self,
        clips: &Dataset,
        filter: Option<&str>,
        found: &mut BTreeSet<UnitId>,
    ) -> Result<()> {
        let path = self.layout().clips();
        let mut scan = clips.scan();
        scan.project(&[UNIT_ID.name()]).at("read", &path)?;
        if let Some(filter) = filter {
            scan.filter(filter).at("read", &path)?;
        }
        let mut batches = scan.try_into_stream().await.at("read", &path)?;
        while let Some(batch) = batches.try_next().await.at("read", &path)? {
            // Clips of a unit lie together, so most ids equal the one before.
            let mut previous = None;
            for id in batch.column(0).as_string::<i32>().iter().flatten() {
                if previous.replace(id) != Some(id) {
                    found.insert(UnitId::parse(id).at("read", &path)?);
                }
            }
        }
        Ok(())
    }
}

/// How many ids go into one filter.
pub(crate) const IDS_PER_FILTER: usize = 500;

/// The filter "`column` is one of these ids". Ids hold no quotes.
pub(crate) fn one_of(column: &str, units: &[UnitId]) -> String {
    let ids: Vec<String> = units.iter().map(|unit| format!("'{unit}'")).collect();
    format!("{column} IN ({})", ids.join(","))
}

/// Whether another writer was faster, so that looking again helps. Who is told so begins anew at the
/// latest version, which also mends what Lance calls incompatible: two that write the same key of
/// the metadata.
pub(crate) fn is_conflict(error: &lance::Error) -> bool {
    matches!(
        error.find_root(),
        lance::Error::RetryableCommitConflict { .. }
            | lance::Error::TooMuchWriteContention { .. }
            | lance::Error::IncompatibleTransaction { .. }
    )
}

/// The transaction that inserts a receipt's fragments and removes what they replace, with all units
/// as keys.
fn insertion(clips: &Dataset, receipt: &Receipt, removal: Removal) -> Transaction {
    let units: BTreeSet<&UnitId> =
        receipt.clip_units().iter().chain(receipt.former().keys()).collect();
    let field = clips.schema().field(UNIT_ID.name()).map(|field| field.id).unwrap_or_default();
    let properties = HashMap::from([
        ("curate.run".to_owned(), receipt.run().to_owned()),
        ("curate.receipt".to_owned(), receipt.id().to_owned()),
        ("curate.units".to_owned(), units.len().to_string()),
    ]);
    let operation = Operation::Update {
        removed_fragment_ids: removal.removed,
        updated_fragments: removal.updated,
        new_fragments: receipt.fragments().to_vec(),
        fields_modified: Vec::new(),
        compacted_sstables: Vec::new(),
        // Every field, so that no index takes the new fragments for covered.
        fields_for_preserving_frag_bitmap: clips
            .schema()
            .fields_pre_order()
            .filter_map(|field| u32::try_from(field.id).ok())
            .collect(),
        update_mode: Some(UpdateMode::RewriteRows),
        inserted_rows_filter: Some(KeyExistenceFilter {
            field_ids: vec![field],
            filter: FilterType::ExactSet(
                units.into_iter().map(|unit| stable_hash64(unit.as_str())).collect(),
            ),
        }),
        updated_fragment_offsets: None,
    };
    // On the transaction itself: in this version of Lance the commit builder drops properties.
    TransactionBuilder::new(clips.version_id(), operation)
        .transaction_properties(Some(Arc::new(properties)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, unit};

    #[tokio::test]
    async fn a_receipt_is_committed_once_and_says_so_in_the_history() {
        let table = Table::new().await;
        let receipt = table.receipt("a", &[0, 1]).await;
        let Outcome::Committed { version } = table.store.commit(&receipt).await.unwrap() else {
            panic!("nothing was there before");
        };
        let again = table.store.commit(&receipt).await.unwrap();
        assert_eq!(again, Outcome::Duplicate { present: vec![unit("a", 0), unit("a", 1)] });
        let clips = table.store.latest_clips().await.unwrap();
        assert_eq!(clips.version_id(), version);
        let transaction = clips.read_transaction().await.unwrap().unwrap();
        let properties = transaction.transaction_properties.unwrap();
        assert_eq!(properties["curate.receipt"], receipt.id());
        assert_eq!(properties["curate.run"], receipt.run());
    }

    #[tokio::test]
    async fn one_present_unit_keeps_the_whole_receipt_out() {
        let table = Table::new().await;
        table.add("a", &[1]).await;
        let receipt = table.receipt("a", &[0, 1, 2]).await;
        let outcome = table.store.finish(receipt).await.unwrap();
        assert_eq!(outcome, Outcome::Duplicate { present: vec![unit("a", 1)] });
        let rest = table.receipt("a", &[0, 2]).await;
        assert!(matches!(table.store.finish(rest).await.unwrap(), Outcome::Committed { .. }));
        assert_eq!(table.counts().await, (3 * 3, 3));
    }

    #[tokio::test]
    async fn a_receipt_whose_files_are_gone_is_refused_by_name() {
        let table = Table::new().await;
        let receipt = table.receipt("a", &[0]).await;
        let data = table.store.layout().clips().join("data");
        let staged = crate::layout::entries(&data).unwrap();
        std::fs::remove_file(staged.iter().find(|path| path.is_file()).unwrap()).unwrap();
        let error = table.store.commit(&receipt).await.unwrap_err();
        assert!(matches!(error, StoreError::StagedFileGone { .. }), "{error}");
    }

    #[tokio::test]
    async fn units_without_clips_need_no_commit() {
        let table = Table::new().await;
        let before = table.store.latest_clips().await.unwrap().version_id();
        let receipt = table.failed("a", 0).await;
        assert_eq!(table.store.finish(receipt).await.unwrap(), Outcome::NoClips);
        assert_eq!(table.store.latest_clips().await.unwrap().version_id(), before);
        assert_eq!(table.counts().await, (0, 1));
    }
}
