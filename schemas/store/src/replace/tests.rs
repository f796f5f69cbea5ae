//! A unit that is done again is there at every moment, and once, whoever dies or meets whom.

use super::*;
use crate::{
    GcOptions, Outcome, Query, Recovered,
    testing::{CLIPS_PER_UNIT, Table, unit, unit_row},
};

/// A table of three units, and what it is after unit 1 was done again.
async fn table_and_expected(has_clips: bool) -> (Table, Vec<String>) {
    let mut tables = [Table::new().await, Table::new().await];
    for table in &tables {
        table.add("a", &[0, 1, 2]).await;
    }
    tables[1].store.finish(tables[1].again("calm", 1, has_clips).await).await.unwrap();
    let expected = tables[1].store.canonical().await.unwrap();
    assert_ne!(tables[0].store.canonical().await.unwrap(), expected);
    tables.swap(0, 1);
    let [_, table] = tables;
    (table, expected)
}

/// How many clips of the unit each version has, oldest first.
async fn clips_by_version(table: &Table, index: u32) -> Vec<usize> {
    let filter = format!("unit_id = '{}'", unit("a", index));
    let clips = table.store.latest_clips().await.unwrap();
    let mut counts = Vec::new();
    for known in table.store.versions().await.unwrap() {
        let version = clips.checkout_version(known.version).await.unwrap();
        counts.push(version.count_rows(Some(filter.clone())).await.unwrap());
    }
    counts.dedup();
    counts
}

#[tokio::test]
async fn no_version_is_without_the_unit() {
    let (table, expected) = table_and_expected(true).await;
    table.store.optimize_indices().await.unwrap();
    let receipt = table.again("retry", 1, true).await;
    assert!(matches!(table.store.finish(receipt).await.unwrap(), Outcome::Committed { .. }));
    assert_eq!(clips_by_version(&table, 1).await, [0, CLIPS_PER_UNIT as usize]);
    assert_eq!(table.store.canonical().await.unwrap(), expected);
    // By id, where an index still knows the former row.
    let id =
        crate::testing::clip("a", 1, 0).get(curate_schemas::columns::CLIP_ID).cloned().unwrap();
    let query = Query::open(&table.store, None).await.unwrap();
    let sql = format!("select width from clips where clip_id = '{id}'");
    let found = query.sql(&sql).await.unwrap().collect().await.unwrap();
    let widths = found[0].column(0).as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(widths.values(), &[640]);
    drop(query);
    table.store.gc(&GcOptions::default()).await.unwrap();
    assert_eq!(table.store.canonical().await.unwrap(), expected);
}

#[tokio::test]
async fn death_after_any_step_loses_no_row() {
    for has_clips in [true, false] {
        for steps in 0..=4 {
            let (table, expected) = table_and_expected(has_clips).await;
            let before = table.store.canonical().await.unwrap();
            let receipt = table.again("killed", 1, has_clips).await;
            if steps == 0 {
                receipt.discard().unwrap();
            } else {
                if steps >= 2 {
                    table.store.commit(&receipt).await.unwrap();
                }
                if steps >= 3 {
                    table.store.record(&receipt).await.unwrap();
                }
                if steps >= 4 {
                    receipt.discard().unwrap();
                }
            }
            let clips = table.store.latest_clips().await.unwrap().count_rows(None).await.unwrap();
            let is_replaced_by_none = !has_clips && steps >= 2;
            assert_eq!(clips, if is_replaced_by_none { 6 } else { 9 }, "after step {steps}");
            table.store.recover(None).await.unwrap();
            let now = table.store.canonical().await.unwrap();
            assert_eq!(now, if steps == 0 { before } else { expected.clone() }, "step {steps}");
            assert_eq!(table.store.recover(None).await.unwrap(), Recovered::default());
            // What was not done is done by the next run, and what was done is not done twice.
            let receipt = table.again("next", 1, has_clips).await;
            table.store.finish(receipt).await.unwrap();
            assert_eq!(table.store.canonical().await.unwrap(), expected, "step {steps}");
        }
    }
}

#[tokio::test]
async fn of_several_that_do_a_unit_again_one_lands() {
    for round in 0..5 {
        let (table, expected) = table_and_expected(true).await;
        let mut receipts = Vec::new();
        for number in 0..4 {
            receipts.push(table.again(&format!("retry-{round}-{number}"), 1, true).await);
        }
        let ended = receipts.into_iter().map(|receipt| table.store.finish(receipt));
        let ended: Vec<Outcome> =
            futures::future::try_join_all(ended).await.unwrap().into_iter().collect();
        let landed = ended.iter().filter(|it| matches!(it, Outcome::Committed { .. })).count();
        assert_eq!(landed, 1, "{ended:?}");
        let others = Outcome::Duplicate { present: vec![unit("a", 1)] };
        assert_eq!(ended.iter().filter(|it| **it == others).count(), 3, "{ended:?}");
        assert_eq!(clips_by_version(&table, 1).await, [0, CLIPS_PER_UNIT as usize]);
        assert_eq!(table.store.canonical().await.unwrap(), expected);
    }
}

/// One process finds clips where another one finds none: the clips stay, whoever comes first.
#[tokio::test]
async fn clips_win_over_none() {
    for clips_first in [true, false] {
        let (table, expected) = table_and_expected(true).await;
        for has_clips in [clips_first, !clips_first] {
            let receipt = table.again(&format!("retry-{has_clips}"), 1, has_clips).await;
            table.store.finish(receipt).await.unwrap();
        }
        assert_eq!(table.store.canonical().await.unwrap(), expected, "{clips_first}");
    }
    let (table, expected) = table_and_expected(true).await;
    let (with, without) =
        (table.again("with", 1, true).await, table.again("without", 1, false).await);
    let both = [table.store.finish(with), table.store.finish(without)];
    futures::future::try_join_all(both).await.unwrap();
    assert_eq!(table.store.canonical().await.unwrap(), expected);
}

#[tokio::test]
async fn a_unit_that_is_there_already_keeps_the_others_of_the_receipt_as_they_were() {
    let (table, _) = table_and_expected(true).await;
    let before = table.store.canonical().await.unwrap();
    let lease = table.lease("retry").await;
    // Unit 1 is done again and has no clips any more; unit 2 is by another run than this one thinks.
    let rows = [1, 2].map(|index| unit_row("a", index, 0));
    let former = BTreeMap::from([
        (unit("a", 1), Former::by(["test".to_owned()])),
        (unit("a", 2), Former::by(["an earlier run".to_owned()])),
    ]);
    let receipt = Receipt::replacing(&lease, rows.to_vec(), Default::default(), former).unwrap();
    let outcome = table.store.finish(receipt).await.unwrap();
    assert_eq!(outcome, Outcome::Duplicate { present: vec![unit("a", 2)] });
    assert_eq!(table.store.canonical().await.unwrap(), before);
}

#[tokio::test]
async fn what_stood_for_an_unreadable_source_goes_when_its_first_unit_comes() {
    let table = Table::new().await;
    table.store.finish(table.failed("unread", 0).await).await.unwrap();
    let former = Former {
        runs: BTreeSet::from(["test".to_owned()]),
        stand_ins: BTreeSet::from([unit("unread", 0)]),
    };
    let lease = table.lease("now").await;
    let staged = table.stage(&lease, crate::testing::unit_clips("a", 0)).await;
    let rows = vec![unit_row("a", 0, CLIPS_PER_UNIT)];
    let former = BTreeMap::from([(unit("a", 0), former)]);
    let receipt = Receipt::replacing(&lease, rows, staged, former).unwrap();
    assert_eq!(table.counts().await, (0, 1));
    table.store.finish(receipt).await.unwrap();
    let ledger = table.store.ledger().await.unwrap();
    assert_eq!(ledger.iter().map(|entry| &entry.unit_id).collect::<Vec<_>>(), [&unit("a", 0)]);
}
