//! `curate run`.

use std::{
    path::Path,
    sync::{
        PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use curate_pipeline::{Provenance, Report, Stop};
use curate_schemas::Micros;
use curate_store::{Lease, LedgerEntry, Store, TableMeta};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::runtime::Handle;

use crate::{
    Exit, UsageError,
    cli::JudgeBy,
    env,
    progress::{Progress, say},
    recipe::Recipe,
    sink::TableSink,
    units::{Done, Listed, Scope, Units},
};

#[derive(Clone, Copy, Debug)]
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
    let plan = &recipe.plan;
    curate_media::init();
    let run_id = format!("{}-{}", now().0 / 1_000_000, std::process::id());
    let meta = TableMeta::new(plan.split_id.clone(), plan.split.clone(), plan.judge.clone());
    let store = runtime.block_on(async {
        let (store, created) = Store::create_or_open(&recipe.out, &meta).await?;
        if !created {
            check_table(&store, &meta, options.judge).await?;
        }
        anyhow::Ok(store)
    })?;
    let lease = runtime.block_on(Lease::acquire(&recipe.out, &run_id))?;
    let ledger = runtime.block_on(async {
        store.recover(Some(&lease)).await?;
        if options.retry {
            let again: Vec<_> = store
                .ledger()
                .await?
                .into_iter()
                .filter(is_bad)
                .map(|entry| entry.unit_id)
                .collect();
            say(&format!("trying {} units again", again.len()));
            store.delete_units(&again).await?;
        }
        anyhow::Ok(store.ledger().await?)
    })?;

    let stop = Stop::default();
    listen_for_signals(&stop)?;
    let scope = Scope {
        limit: options.limit,
        shard: options.shard,
        unit_length: recipe.unit_length,
        deadline: Duration::from_secs_f64(plan.run.unit_timeout_seconds),
    };
    let (units, listed) = Units::new(recipe.sources()?, Done::new(&ledger), scope, stop.clone());
    let events = lease.dir().path().join("events.jsonl");
    let progress = Progress::new(
        std::fs::File::create(&events)
            .with_context(|| format!("cannot write {}", events.display()))?,
    );
    let provenance =
        Provenance { run_id, curate_version: env!("CARGO_PKG_VERSION").to_owned(), now };
    let mut sink = TableSink::new(&store, &lease, runtime.clone(), &plan.run);
    let started = Instant::now();
    let ran = curate_pipeline::run(plan, &provenance, units, &mut sink, &progress, &stop);
    progress.finish();
    // What is whole is committed even when the run ended with an error.
    let committed = if stop.is_now() { Ok(()) } else { sink.commit() };
    let commits = sink.commits;
    let duplicates = sink.duplicates;
    let report = ran?;
    committed?;
    if commits > 0 {
        runtime.block_on(store.optimize_indices())?;
    }
    let listed = listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    print_report(&recipe, &report, &listed, duplicates, started.elapsed());
    if report.stopped {
        say("stopped; run the same command again to go on");
        return Ok(Exit::Stopped);
    }
    let bad: u64 =
        ["failed", "partial", "quarantined"].iter().filter_map(|s| report.units.get(s)).sum();
    Ok(if bad + report.failed + listed.done_badly > 0 { Exit::Partial } else { Exit::Complete })
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

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

fn print_report(
    recipe: &Recipe,
    report: &Report,
    listed: &Listed,
    duplicates: u64,
    took: Duration,
) {
    let skipped: Vec<String> =
        listed.skipped.iter().map(|(word, n)| format!("{n} {word}")).collect();
    say(&format!(
        "sources {}{}",
        listed.sources,
        if skipped.is_empty() {
            String::new()
        } else {
            format!(" (left aside: {})", skipped.join(", "))
        }
    ));
    let units: Vec<String> =
        report.units.iter().map(|(status, n)| format!("{n} {status}")).collect();
    say(&format!(
        "units   {} worked on ({}), {} done before{}",
        listed.units,
        if units.is_empty() { "none".to_owned() } else { units.join(", ") },
        listed.done,
        if duplicates > 0 {
            format!(", {duplicates} committed by another process first")
        } else {
            String::new()
        }
    ));
    if listed.units == 0 {
        say("nothing to do: every unit is in the table; nothing was decoded");
        return;
    }
    say(&format!(
        "clips   {} = {} kept + {} dropped + {} failed",
        report.clips, report.kept, report.dropped, report.failed
    ));
    for stage in &report.stages {
        for (reason, count) in &stage.dropped {
            say(&format!("        {count:>6} dropped by {}: {reason}", stage.kind));
        }
        if stage.failed > 0 {
            say(&format!("        {:>6} failed in {}", stage.failed, stage.kind));
        }
    }
    if report.kept == 0 {
        say(
            "NO CLIP WAS KEPT. The lines above say why; `curate status` and `curate query` show more.",
        );
    }
    say("stage      workers   clips   busy  waiting  blocked");
    let wall = took.as_secs_f64();
    let mut bottleneck = ("", 0.0);
    for stage in &report.stages {
        let whole = wall * stage.workers as f64;
        let busy = percent(stage.busy_s, whole);
        if busy > bottleneck.1 {
            bottleneck = (stage.kind, busy);
        }
        say(&format!(
            "{:<10} {:>7} {:>7} {busy:>5.0}% {:>7.0}% {:>7.0}%",
            stage.kind,
            stage.workers,
            stage.clips,
            percent(stage.waiting_s, whole),
            percent(stage.blocked_s, whole)
        ));
    }
    if !bottleneck.0.is_empty() {
        say(&format!("bottleneck: {} ({:.0}% busy)", bottleneck.0, bottleneck.1));
    }
    let ratio = if report.frames_source > 0 {
        report.frames_decoded as f64 / report.frames_source as f64
    } else {
        0.0
    };
    say(&format!(
        "analysis frames decoded / source frames: {} / {} = {ratio:.2}; decoded again to write clips: 0",
        report.frames_decoded, report.frames_source
    ));
    let memory =
        env::peak_memory().map_or_else(String::new, |b| format!(", peak memory {} MiB", b >> 20));
    say(&format!(
        "{wall:.1} s, {:.0} frames/s{memory}",
        report.frames_decoded as f64 / wall.max(1e-3)
    ));
    say(&format!("table: {}", recipe.out.display()));
}
