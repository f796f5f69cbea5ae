//! `curate run`: a recipe into its table, and [`execute`] for whoever else runs recipes.

use std::{
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use curate_pipeline::{Provenance, Report, Stop};
use curate_schemas::Micros;
use curate_stages::sources::{Listing, Sources};
use curate_store::{CompactOptions, Lease, LedgerEntry, Store, TableMeta};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::runtime::Handle;

use crate::{
    Exit, UsageError,
    cli::JudgeBy,
    progress::{Progress, Total, say},
    recipe::Recipe,
    report::{self, Ended},
    sink::TableSink,
    units::{Done, Listed, Scope, Units},
};

/// What the command line adds to the recipe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) limit: Option<u64>,
    pub(crate) shard: Option<(u32, u32)>,
    pub(crate) retry: bool,
    pub(crate) judge: Option<JudgeBy>,
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) fn run(path: &Path, options: Options, runtime: &Handle) -> anyhow::Result<Exit> {
    let recipe = Recipe::load(path)?;
    let ran = execute(&recipe, options, runtime)?;
    report::print(&Ended {
        recipe: &recipe,
        report: &ran.report,
        listed: &ran.listed,
        duplicates: ran.duplicates,
        took: ran.took,
    });
    if ran.report.stopped {
        say("stopped; run the same command again to go on");
        return Ok(Exit::Stopped);
    }
    if ran.listed.sources == 0 {
        return Ok(Exit::Usage);
    }
    let bad: u64 =
        ["failed", "partial", "quarantined"].iter().filter_map(|s| ran.report.units.get(s)).sum();
    let is_bad = bad + ran.report.failed + ran.listed.done_badly > 0;
    Ok(if is_bad { Exit::Partial } else { Exit::Complete })
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) store: Store,
    pub(crate) report: Report,
    pub(crate) listed: Listed,
    /// Units that another process committed first.
    pub(crate) duplicates: u64,
    pub(crate) took: Duration,
}

/// Runs a recipe into its table.
pub(crate) fn execute(recipe: &Recipe, options: Options, runtime: &Handle) -> anyhow::Result<Ran> {
    let plan = &recipe.plan;
    curate_media::init();
    let started = Instant::now();
    let run_id = format!("{}-{}", now().0 / 1_000_000, std::process::id());
    let store = runtime.block_on(open_table(recipe, options.judge))?;
    let lease = runtime.block_on(Lease::acquire(&recipe.out, &run_id))?;
    let ledger = runtime.block_on(ledger(&store, &lease, options.retry))?;
    recipe.record(lease.dir().path())?;

    let stop = Stop::default();
    listen_for_signals(&stop)?;
    let scope = Scope {
        limit: options.limit,
        shard: options.shard,
        unit_length: recipe.unit_length,
        deadline: Duration::from_secs_f64(plan.run.unit_timeout_seconds),
    };
    let total = Arc::new(Total::default());
    count_sources(recipe.sources_by_location()?, scope, &stop, &total)?;
    let (units, listed) =
        Units::new(recipe.sources()?, Done::new(&ledger), scope, stop.clone(), Arc::clone(&total));
    let events = lease.dir().path().join("events.jsonl");
    let progress = Progress::new(
        std::fs::File::create(&events)
            .with_context(|| format!("cannot write {}", events.display()))?,
        total,
    );
    let provenance =
        Provenance { run_id, curate_version: env!("CARGO_PKG_VERSION").to_owned(), now };
    let mut sink = TableSink::new(&store, &lease, runtime.clone(), &plan.run);
    let ran = curate_pipeline::run(plan, &provenance, units, &mut sink, &progress, &stop);
    progress.finish();
    // What is whole is committed even when the run ended with an error.
    let committed = if stop.is_now() { Ok(()) } else { sink.commit() };
    let (commits, duplicates) = (sink.commits, sink.duplicates);
    drop(sink);
    progress.event(&json!({
        "event": "run_ended", "commits": commits, "error": ran.as_ref().err().map(ToString::to_string),
    }));
    let report = ran?;
    committed?;
    if commits > 0 {
        runtime.block_on(tidy(&store))?;
    }
    let listed = listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    drop(lease);
    Ok(Ran { store, report, listed, duplicates, took: started.elapsed() })
}

/// So many fragments are scanned as quickly as an index is read.
const UNINDEXED_FRAGMENTS: usize = 8;

/// Merges small fragments when there are many, and brings the indices up to date.
async fn tidy(store: &Store) -> anyhow::Result<()> {
    let compacted = store.compact(&CompactOptions::default()).await?;
    if compacted.bytes_rewritten > 0 {
        say(&format!(
            "merged {} fragments into {}, {} bytes written again",
            compacted.fragments_before, compacted.fragments_after, compacted.bytes_rewritten
        ));
    }
    if store.unindexed_fragments().await? >= UNINDEXED_FRAGMENTS {
        store.optimize_indices().await?;
    }
    Ok(())
}

async fn open_table(recipe: &Recipe, judge: Option<JudgeBy>) -> anyhow::Result<Store> {
    let plan = &recipe.plan;
    let meta = TableMeta::new(plan.split_id.clone(), plan.split.clone(), plan.judge.clone());
    let (store, created) = Store::create_or_open(&recipe.out, &meta).await?;
    if !created {
        check_table(&store, &meta, judge).await?;
    }
    Ok(store)
}

/// What is done, after finishing what dead runs had staged.
async fn ledger(store: &Store, lease: &Lease, retry: bool) -> anyhow::Result<Vec<LedgerEntry>> {
    store.recover(Some(lease)).await?;
    if retry {
        let bad = store.ledger().await?.into_iter().filter(is_bad);
        let again: Vec<_> = bad.map(|entry| entry.unit_id).collect();
        say(&format!("trying {} units again", again.len()));
        store.delete_units(&again).await?;
    }
    Ok(store.ledger().await?)
}

/// Adds up the sources' bytes beside the run, for the progress bar.
fn count_sources(
    sources: Sources,
    scope: Scope,
    stop: &Stop,
    total: &Arc<Total>,
) -> anyhow::Result<()> {
    let (stop, total) = (stop.clone(), Arc::clone(total));
    let most = scope.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let shares = scope.shard.map_or(1, |(_, count)| u64::from(count));
    std::thread::Builder::new().name("count".to_owned()).spawn(move || {
        let found = sources.filter_map(|listing| match listing {
            Listing::Source(source) => Some(source.bytes),
            _ => None,
        });
        for bytes in found.take(most).take_while(|_| !stop.is_draining()) {
            total.bytes.fetch_add(bytes / shares, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

fn is_bad(entry: &LedgerEntry) -> bool {
    entry.failed > 0 || !matches!(entry.status.as_str(), "ok" | "empty")
}

/// A table is only written by the recipe that made it.
async fn check_table(
    store: &Store,
    meta: &TableMeta,
    judge: Option<JudgeBy>,
) -> anyhow::Result<()> {
    let table = store.meta().await?;
    let out = store.layout().out().display().to_string();
    if table.split_id != meta.split_id {
        return Err(UsageError(format!(
            "{out} was made by another recipe; its clips are other clips.\n  the table: {}\n  this recipe: {}\n\
             choose another [output] path, or set the recipe back",
            table.split, meta.split
        ))
        .into());
    }
    if table.judge != meta.judge {
        match judge {
            Some(JudgeBy::File) => store.set_judge(&meta.judge).await?,
            Some(JudgeBy::Table) | None => {
                return Err(UsageError(format!(
                    "the thresholds of this recipe are not those of {out}.\n  the table: {}\n  this recipe: {}\n\
                     set the recipe back, or use `--judge file` to judge new clips by the recipe (rows that are \
                     there keep their verdict)",
                    table.judge, meta.judge
                ))
                .into());
            }
        }
    }
    Ok(())
}

/// The first Ctrl-C or SIGTERM drains the run; the second one leaves at once.
fn listen_for_signals(stop: &Stop) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (stop, count) = (stop.clone(), AtomicU32::new(0));
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _signal in signals.forever() {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                say("finishing what is in flight; once more to leave at once");
                stop.drain();
            } else {
                stop.now();
            }
        }
    })?;
    Ok(())
}
