use curate_schemas::columns::{DROP_REASON, DROP_STAGE, MOTION, STATUS, VIDEO};
use serde_json::json;

use super::*;
use crate::{
    CompactOptions,
    testing::{Table, clip_id, unit_clips},
};

const VERDICT: [&str; 3] = ["status", "drop_stage", "drop_reason"];

fn changes(columns: &[&'static str], clips: &[Clip]) -> Changes {
    let mut changes = Changes::of(columns);
    changes.push(clips).unwrap();
    changes
}

fn dropped(mut clip: Clip) -> Clip {
    clip.set(STATUS, "dropped".to_owned());
    clip.set(DROP_STAGE, "motion".to_owned());
    clip.set(DROP_REASON, "too_still".to_owned());
    clip
}

/// Names and sizes of everything beside the manifests that holds rows or bytes.
fn data_files(table: &Table) -> std::collections::BTreeMap<std::path::PathBuf, u64> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![table.store.layout().clips().join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path(), entry.metadata().unwrap().len());
            }
        }
    }
    found
}

#[tokio::test]
async fn verdicts_change_and_nothing_else() {
    let table = Table::new().await;
    table.add("a", &[0, 1]).await;
    table.add("b", &[0]).await;
    let before = data_files(&table);
    let mut wanted = table.store.canonical().await.unwrap();
    let alone = table.store.alone().await.unwrap();
    let judge = json!({"motion": 0.3});
    let clip = dropped(unit_clips("a", 1).swap_remove(1));
    table
        .store
        .rejudge(&alone, &changes(&VERDICT, std::slice::from_ref(&clip)), &judge)
        .await
        .unwrap();
    drop(alone);
    let after = data_files(&table);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let added: u64 =
        after.iter().filter(|(path, _)| !before.contains_key(*path)).map(|(_, b)| b).sum();
    assert!(added > 0 && added < 10_000, "{added} bytes for three words");
    assert_eq!(table.store.meta().await.unwrap().judge, judge);
    let id = clip_id(&clip);
    assert_eq!(table.store.clip(&id).await.unwrap().unwrap().get(STATUS).unwrap(), "dropped");
    assert_eq!(table.store.video(&id).await.unwrap().unwrap(), *clip.get(VIDEO).unwrap());

    // Back again, and the table is as before; also after merging and collecting.
    let back = unit_clips("a", 1).swap_remove(1);
    table.store.patch(&changes(&VERDICT, &[back])).await.unwrap();
    let mut now = table.store.canonical().await.unwrap();
    assert_eq!(now, wanted);
    let options = CompactOptions { min_small_fragments: 2, ..CompactOptions::default() };
    table.store.compact(&options).await.unwrap();
    table.store.gc(&crate::GcOptions::default()).await.unwrap();
    now = table.store.canonical().await.unwrap();
    assert_eq!(now, std::mem::take(&mut wanted));
}

#[tokio::test]
async fn thresholds_and_verdicts_change_together() {
    let table = Table::new().await;
    table.add("a", &[0]).await;
    let clip = dropped(unit_clips("a", 0).swap_remove(0));
    let judge = json!({"motion": 0.7});
    // What a process leaves that dies between the two commits.
    table.store.rewrite(&changes(&VERDICT, &[clip]), Some(&judge)).await.unwrap();
    let stale = table.store.latest_clips().await.unwrap();
    assert!(!stale.metadata()[JUDGE].contains("0.7"));
    assert_eq!(table.store.meta().await.unwrap().judge, judge);
    // The next writer finishes it before it writes anything itself.
    table.store.recover(None).await.unwrap();
    table.add("b", &[0]).await;
    assert_eq!(table.store.meta().await.unwrap().judge, judge);
}

#[tokio::test]
async fn a_row_gets_its_bytes_and_the_others_keep_theirs() {
    let table = Table::new().await;
    table.add("a", &[0, 1]).await;
    let mut wanted = table.store.canonical().await.unwrap();
    let bare = unit_clips("a", 0).swap_remove(2);
    assert!(bare.get(VIDEO).is_none());
    let old = wanted.iter().position(|line| line.contains(bare.get(CLIP_ID).unwrap()));
    wanted.remove(old.unwrap());
    let full = bare.clone().with(VIDEO, vec![7; 200_000]).with(MOTION, 0.5);
    let stranger = unit_clips("b", 0).swap_remove(0);
    for _ in 0..2 {
        table.store.replace(&[full.clone(), stranger.clone()]).await.unwrap();
        let mut now = table.store.canonical().await.unwrap();
        let new = now.iter().position(|line| line.contains(bare.get(CLIP_ID).unwrap()));
        assert!(now.remove(new.unwrap()).contains("motion"));
        assert_eq!(now, wanted);
        let bytes = table.store.video(&clip_id(&full)).await.unwrap();
        assert_eq!(bytes.as_ref(), full.get(VIDEO));
    }
    table.store.optimize_indices().await.unwrap();
    assert_eq!(table.store.clip(&clip_id(&full)).await.unwrap().unwrap().get(MOTION), Some(&0.5));
    assert_eq!(table.counts().await, (6, 2));
}

#[tokio::test]
async fn nobody_is_alone_beside_a_run() {
    let table = Table::new().await;
    let lease = table.lease("at-work").await;
    let error = table.store.alone().await.unwrap_err();
    assert!(error.to_string().contains("at-work"), "{error}");
    drop(lease);
    table.store.alone().await.unwrap();
}

#[tokio::test]
async fn patches_of_many_processes_all_arrive() {
    let table = Table::new().await;
    table.add("a", &[0, 1, 2]).await;
    let jobs = (0..3_u32).map(|unit| {
        let store = table.store.clone();
        async move {
            let clips: Vec<Clip> = unit_clips("a", unit)
                .into_iter()
                .map(|clip| clip.with(MOTION, unit as f32))
                .collect();
            store.patch(&changes(&["motion"], &clips)).await.unwrap();
        }
    });
    futures::future::join_all(jobs).await;
    let mut clips = table.store.clips(&["unit_id", "motion"], None).await.unwrap();
    let mut seen = 0;
    while let Some(batch) = clips.next_batch().await.unwrap() {
        for clip in batch {
            let unit = clip.get(curate_schemas::columns::UNIT_ID).unwrap();
            let wanted = (0..3).find(|i| *unit == crate::testing::unit("a", *i).to_string());
            assert_eq!(clip.get(MOTION).copied(), wanted.map(|i| i as f32));
            seen += 1;
        }
    }
    assert_eq!(seen, 9);
}
