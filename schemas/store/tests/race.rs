//! Several processes, killed at random, on one table: every unit lands exactly once.
//!
//! The same processes with a plain append instead of our commit must break that law, or the test
//! proves nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::array::AsArray as _;
use curate_schemas::{Clip, UnitId, columns};
use curate_store::{
    CompactOptions, Former, GcOptions, Lease, Outcome, Query, Receipt, Store, live_leases,
};
use lance::{
    Dataset,
    dataset::{
        CommitBuilder,
        transaction::{Operation, TransactionBuilder},
    },
};
use lance_table::format::Fragment;
use support::{CLIPS, UNITS, clips, job, open, spawn, unit, unit_row};

/// What a child process does; in the test run itself it returns at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    match job() {
        None => {}
        Some((name, number, out)) if name == "once" => work(&out, number, commit_once).await,
        Some((name, number, out)) if name == "append" => work(&out, number, append).await,
        Some((name, number, out)) if name == "again" => again(&out, number).await,
        Some((_, _, out)) => compactor(&out).await,
    }
}

/// Computes what is not done, two units at a time, each worker from another place.
async fn work(out: &Path, number: u32, commit: impl AsyncFn(&Store, Receipt)) {
    let store = open(out).await;
    let run = format!("run-{number}-{}", std::process::id());
    let lease = Lease::acquire(out, &run).await.unwrap();
    store.recover(None).await.unwrap();
    loop {
        let done = store.clip_unit_ids().await.unwrap();
        let places = (0..UNITS).map(|place| (place + number * 3) % UNITS);
        let todo: Vec<u32> = places.filter(|index| !done.contains(&unit(*index))).take(2).collect();
        if todo.is_empty() {
            break;
        }
        let batches: Vec<Result<_, std::io::Error>> =
            todo.iter().map(|index| Ok(clips(*index, &run))).collect();
        let staged = store.stage(&lease, batches).await.unwrap();
        let rows = todo.iter().map(|index| unit_row(*index, &run)).collect();
        commit(&store, Receipt::write(&lease, rows, staged).unwrap()).await;
    }
}

async fn commit_once(store: &Store, receipt: Receipt) {
    let units: BTreeSet<UnitId> = receipt.clip_units().iter().cloned().collect();
    match store.finish(receipt).await.unwrap() {
        // The next round finds what is left of the receipt.
        Outcome::Duplicate { present } => assert!(present.iter().all(|unit| units.contains(unit))),
        Outcome::Committed { .. } => {}
        other => panic!("{other:?}"),
    }
}

/// Does every unit again that the first runs did, two at a time, each worker from another place.
async fn again(out: &Path, number: u32) {
    let store = open(out).await;
    let run = format!("again-{number}-{}", std::process::id());
    let lease = Lease::acquire(out, &run).await.unwrap();
    store.recover(None).await.unwrap();
    loop {
        let all: Vec<UnitId> = (0..UNITS).map(unit).collect();
        let writers = store.writers(&all).await.unwrap();
        let is_first =
            |index: &u32| writers[&unit(*index)].iter().all(|run| run.starts_with("run"));
        let places = (0..UNITS).map(|place| (place + number * 3) % UNITS);
        let todo: Vec<u32> = places.filter(is_first).take(2).collect();
        if todo.is_empty() {
            break;
        }
        let batches: Vec<Result<_, std::io::Error>> =
            todo.iter().map(|index| Ok(wide(clips(*index, &run)))).collect();
        let staged = store.stage(&lease, batches).await.unwrap();
        let rows = todo.iter().map(|index| unit_row(*index, &run)).collect();
        let former = todo.iter().map(|index| unit(*index));
        let former = former.map(|unit| (unit.clone(), Former::by(writers[&unit].clone())));
        let receipt = Receipt::replacing(&lease, rows, staged, former.collect()).unwrap();
        store.finish(receipt).await.unwrap();
    }
}

/// Clips by which it is seen that a unit was done again.
fn wide(mut clips: Vec<Clip>) -> Vec<Clip> {
    clips.iter_mut().for_each(|clip| clip.set(columns::WIDTH, 640));
    clips
}

/// What a naive writer does: look, then append.
async fn append(store: &Store, receipt: Receipt) {
    let done = store.clip_unit_ids().await.unwrap();
    if !receipt.clip_units().iter().any(|unit| done.contains(unit)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = std::fs::read_to_string(receipt.path()).unwrap();
        let head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let fragments: Vec<Fragment> = serde_json::from_value(head["fragments"].clone()).unwrap();
        let clips = Dataset::open(store.layout().clips().to_str().unwrap()).await.unwrap();
        let append = Operation::Append { fragments };
        let transaction = TransactionBuilder::new(clips.version_id(), append).build();
        CommitBuilder::new(Arc::new(clips)).execute(transaction).await.unwrap();
    }
    receipt.discard().unwrap();
}

/// Merges and indexes without pause until there is a file `stop`.
async fn compactor(out: &Path) {
    let store = open(out).await;
    let eager = CompactOptions { min_small_fragments: 2, ..CompactOptions::default() };
    while !out.join("stop").exists() {
        store.compact(&eager).await.unwrap();
        store.optimize_indices().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often each unit's clips are in the table.
async fn copies(store: &Store) -> BTreeMap<String, i64> {
    let query = Query::open(store, None).await.unwrap();
    let rows = query.sql("select unit_id, count(*) from clips group by unit_id").await.unwrap();
    let mut copies = BTreeMap::new();
    for batch in rows.collect().await.unwrap() {
        let counts = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        for (id, count) in batch.column(0).as_string::<i32>().iter().zip(counts.values()) {
            copies.insert(id.unwrap().to_owned(), *count);
        }
    }
    copies
}

/// The table of one process that nobody killed.
async fn undisturbed() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    work(dir.path(), 0, commit_once).await;
    open(dir.path()).await.canonical().await.unwrap()
}

/// Rounds of kills.
const ROUNDS: u64 = 6;

/// Pauses that hit workers while they open, recover, stage, commit and record, for each round; more
/// and longer ones for a machine that has much else to do.
fn pauses() -> impl Iterator<Item = (u64, Duration)> {
    let pauses = [60, 140, 90, 200, 300, 120].into_iter().cycle();
    let longer = |(round, pause)| (round, Duration::from_millis(pause * (1 + round / ROUNDS)));
    (0..5 * ROUNDS).zip(pauses).map(longer)
}

fn wait(children: Vec<std::process::Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn killed_workers_and_a_compactor_leave_every_unit_once() {
    let expected = undisturbed().await;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    let store = open(out).await;
    let compactor = spawn("compact", 0, out);
    let started = Instant::now();
    let mut pending = 0;
    let mut done = 0;
    // A quick machine may have done everything by then; receipts show that kills hit the work.
    let have_hit = |done: usize, pending| done > 0 && (done < UNITS as usize || pending > 0);
    for (round, pause) in pauses() {
        if round >= ROUNDS && have_hit(done, pending) {
            break;
        }
        let mut workers: Vec<_> = (0..4).map(|number| spawn("once", number, out)).collect();
        for victim in &mut workers {
            thread::sleep(pause);
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        assert_eq!(live_leases(out).unwrap(), [], "the dead hold no leases");
        let runs = store.layout().all_runs().unwrap();
        pending += runs.iter().map(|run| run.receipt_files().unwrap().len()).sum::<usize>();
        done = store.clip_unit_ids().await.unwrap().len();
    }
    eprintln!("{done} units and {pending} receipts left by killed workers");
    assert!(have_hit(done, pending), "the kills did not hit the work");
    wait((0..4).map(|number| spawn("once", number, out)).collect());
    std::fs::write(out.join("stop"), "").unwrap();
    wait(vec![compactor]);
    eprintln!("all units after {:.1} s", started.elapsed().as_secs_f64());

    let copies = copies(&store).await;
    assert_eq!(copies.len(), UNITS as usize);
    assert!(copies.values().all(|count| *count == CLIPS), "{copies:?}");
    store.recover(None).await.unwrap();
    assert_eq!(store.canonical().await.unwrap(), expected);
    let report = store.gc(&GcOptions::default()).await.unwrap();
    eprintln!("{report:?}");
    assert_eq!(store.unreferenced_files().await.unwrap(), Vec::<std::path::PathBuf>::new());
    assert_eq!(store.canonical().await.unwrap(), expected);
}

/// Every unit is done again by workers that are killed, beside a compactor: none is away or there
/// twice at any time.
#[tokio::test]
async fn killed_workers_that_do_units_again_replace_each_once() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for dir in &dirs {
        work(dir.path(), 0, commit_once).await;
    }
    let out = dirs[1].path();
    again(dirs[0].path(), 0).await;
    let expected = open(dirs[0].path()).await.canonical().await.unwrap();
    let store = open(out).await;
    assert_ne!(store.canonical().await.unwrap(), expected);
    let compactor = spawn("compact", 0, out);
    let mut left = Vec::new();
    let all = i64::from(UNITS) * CLIPS;
    let have_hit = |left: &[i64]| left.iter().any(|left| (1..all).contains(left));
    for (round, pause) in pauses() {
        if round >= ROUNDS && have_hit(&left) {
            break;
        }
        let mut workers: Vec<_> = (0..4).map(|number| spawn("again", number, out)).collect();
        for victim in &mut workers {
            thread::sleep(pause);
            victim.kill().unwrap();
            victim.wait().unwrap();
            let copies = copies(&store).await;
            assert_eq!(copies.len(), UNITS as usize, "units are away");
            assert!(copies.values().all(|count| *count == CLIPS), "{copies:?}");
            assert_eq!(store.ledger().await.unwrap().len(), UNITS as usize);
        }
        let sql = "select count(*) from clips where width is null";
        let query = Query::open(&store, None).await.unwrap();
        let counted = query.sql(sql).await.unwrap().collect().await.unwrap();
        left.push(counted[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0));
    }
    eprintln!("clips left to do again after each round of kills: {left:?}");
    assert!(have_hit(&left), "the kills did not hit the work");
    wait((0..4).map(|number| spawn("again", number, out)).collect());
    std::fs::write(out.join("stop"), "").unwrap();
    wait(vec![compactor]);
    store.recover(None).await.unwrap();
    assert_eq!(store.canonical().await.unwrap(), expected);
    store.gc(&GcOptions::default()).await.unwrap();
    assert_eq!(store.unreferenced_files().await.unwrap(), Vec::<std::path::PathBuf>::new());
    assert_eq!(store.canonical().await.unwrap(), expected);
}

#[tokio::test]
async fn with_a_plain_append_the_law_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    // All from the same place, so that they meet.
    wait((0..4).map(|_| spawn("append", 0, dir.path())).collect());
    let copies = copies(&store).await;
    assert_eq!(copies.len(), UNITS as usize);
    assert!(copies.values().any(|count| *count > CLIPS), "appends met without harm: {copies:?}");
}
