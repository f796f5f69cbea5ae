//! A process may die after any step; whatever it leaves, recovery and a rerun must end in the
//! table of a run that was never killed.

use super::*;
use crate::{
    GcOptions,
    testing::{CLIPS_PER_UNIT, Table, clip, unit, unit_clips, unit_row},
};

/// The table of a run that was never killed: units 0, 1 and 2 with clips, 3 without.
async fn unkilled() -> Vec<String> {
    let table = Table::new().await;
    table.add("a", &[0, 1]).await;
    table.add("a", &[2]).await;
    let receipt = table.failed("a", 3).await;
    table.store.finish(receipt).await.unwrap();
    table.store.canonical().await.unwrap()
}

/// What a rerun does: recover, then compute what neither table knows.
async fn rerun(table: &Table) -> Recovered {
    let recovered = table.store.recover(None).await.unwrap();
    let mut done = table.store.clip_unit_ids().await.unwrap();
    done.extend(table.store.ledger().await.unwrap().into_iter().map(|entry| entry.unit_id));
    for index in (0..3).filter(|index| !done.contains(&unit("a", *index))) {
        table.add("a", &[index]).await;
    }
    if !done.contains(&unit("a", 3)) {
        let receipt = table.failed("a", 3).await;
        table.store.finish(receipt).await.unwrap();
    }
    recovered
}

#[tokio::test]
async fn death_after_any_step_changes_nothing() {
    let expected = unkilled().await;
    for steps in 0..=4 {
        let table = Table::new().await;
        let lease = table.lease("killed").await;
        let clips = [0, 1].into_iter().flat_map(|index| unit_clips("a", index)).collect();
        let staged = table.stage(&lease, clips).await;
        std::fs::write(lease.dir().spool().join("frames"), b"scratch").unwrap();
        if steps >= 1 {
            let rows = [0, 1].map(|index| unit_row("a", index, CLIPS_PER_UNIT));
            let receipt = Receipt::write(&lease, rows.to_vec(), staged).unwrap();
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
        drop(lease);
        let recovered = rerun(&table).await;
        assert_eq!(recovered.committed, usize::from(steps == 1), "after step {steps}");
        assert_eq!(recovered.recorded, usize::from(matches!(steps, 2 | 3)), "after step {steps}");
        assert_eq!((recovered.spool_files, recovered.derived), (1, 0), "after step {steps}");
        assert_eq!(table.store.canonical().await.unwrap(), expected, "after step {steps}");
        assert_eq!(table.store.recover(None).await.unwrap(), Recovered::default());
        table.store.gc(&GcOptions::default()).await.unwrap();
        assert_eq!(
            table.store.unreferenced_files().await.unwrap(),
            Vec::<std::path::PathBuf>::new()
        );
        assert_eq!(table.store.canonical().await.unwrap(), expected, "after step {steps} and gc");
    }
}

#[tokio::test]
async fn a_receipt_of_which_a_part_is_there_is_dropped_and_its_rest_replanned() {
    let table = Table::new().await;
    let pending = table.receipt("a", &[0, 1]).await;
    table.add("a", &[1]).await;
    let recovered = rerun(&table).await;
    assert_eq!((recovered.dropped, recovered.committed), (1, 0));
    assert!(!pending.path().exists());
    assert_eq!(table.store.canonical().await.unwrap(), unkilled().await);
}

#[tokio::test]
async fn a_receipt_whose_files_are_gone_is_dropped() {
    let table = Table::new().await;
    let pending = table.receipt("a", &[0]).await;
    for file in entries(&table.store.layout().clips().join("data")).unwrap() {
        if file.is_file() {
            fs::remove_file(file).unwrap();
        }
    }
    assert_eq!(rerun(&table).await.lost, 1);
    assert!(!pending.path().exists());
    assert_eq!(table.store.canonical().await.unwrap(), unkilled().await);
}

#[tokio::test]
async fn a_living_run_is_left_alone_unless_it_is_our_own() {
    let table = Table::new().await;
    let lease = table.lease("alive").await;
    let staged = table.stage(&lease, unit_clips("a", 0)).await;
    Receipt::write(&lease, vec![unit_row("a", 0, CLIPS_PER_UNIT)], staged).unwrap();
    assert_eq!(table.store.recover(None).await.unwrap(), Recovered::default());
    assert_eq!(table.counts().await, (0, 0));
    assert_eq!(table.store.recover(Some(&lease)).await.unwrap().committed, 1);
    assert_eq!(table.counts().await, (3, 1));
}

#[tokio::test]
async fn ledger_rows_whose_clips_were_deleted_are_forgotten() {
    let table = Table::new().await;
    table.add("a", &[0, 1]).await;
    table.delete_clips("a", 0).await;
    let recovered = table.store.recover(None).await.unwrap();
    assert_eq!(recovered, Recovered { forgotten: 1, ..Recovered::default() });
    rerun(&table).await;
    assert_eq!(table.store.canonical().await.unwrap(), unkilled().await);
}

#[tokio::test]
async fn a_lost_ledger_is_derived_from_the_clips() {
    let table = Table::new().await;
    table.add("a", &[0, 1]).await;
    fs::remove_dir_all(table.store.layout().units()).unwrap();
    let (store, created) =
        Store::create_or_open(table.dir.path(), &crate::testing::meta()).await.unwrap();
    assert!(!created);
    assert_eq!(store.recover(None).await.unwrap().derived, 2);
    let ledger = store.ledger().await.unwrap();
    assert_eq!(ledger.len(), 2);
    assert_eq!((ledger[0].clips, ledger[0].kept, ledger[0].units_in_source), (3, 2, 0));
}

#[tokio::test]
async fn rows_and_clips_of_a_receipt_must_agree() {
    let table = Table::new().await;
    let lease = table.lease("wrong").await;
    for rows in [
        vec![],
        vec![unit_row("a", 0, 2)],
        vec![unit_row("a", 0, 1), unit_row("a", 0, 1)],
        vec![unit_row("a", 0, 1), unit_row("a", 1, 1)],
    ] {
        let staged = table.stage(&lease, vec![clip("a", 0, 0)]).await;
        let error = Receipt::write(&lease, rows, staged).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    }
    assert_eq!(lease.dir().receipt_files().unwrap(), Vec::<std::path::PathBuf>::new());
}
