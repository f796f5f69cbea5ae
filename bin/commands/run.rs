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
use curate_pipeline::{Order, Provenance, Report, Stop};
use curate_schemas::Micros;
use curate_stages::sources::{Listing, Sources};
use curate_store::Store;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::runtime::Handle;

use super::{fill::Filling, report::run_ended};
use crate::{
    Exit, backfill,
    cli::JudgeBy,
    copies::{self, Settled},
    opening::Opened,
    order,
    progress::{Progress, Total, say},
    recipe::Recipe,
    report::{self, Ended},
    sink::{TableSink, tidy},
    units::{Done, Known, Listed, Replaced, Scope, Units},
};

/// What the command line adds to the recipe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) limit: Option<u64>,
    pub(crate) shard: Option<(u32, u32)>,
    pub(crate) retry: bool,
    pub(crate) backfill: bool,
    pub(crate) judge: Option<JudgeBy>,
}

pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) fn run(path: &Path, options: Options, runtime: &Handle) -> anyhow::Result<Exit> {
    let mut recipe = Recipe::load(path)?;
    let ran = execute(&mut recipe, options, runtime)?;
    if ran.report.stopped && ran.listed.sources == 0 {
        say("stopped; run the same command again to go on");
        return Ok(Exit::Stopped);
    }
    report::print(&Ended {
        recipe: &recipe,
        report: &ran.report,
        listed: &ran.listed,
        duplicates: ran.duplicates,
        copies: ran.copies,
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
    let is_bad = bad + ran.report.failed + ran.listed.done_badly + ran.unfinished > 0;
    Ok(if is_bad { Exit::Partial } else { Exit::Complete })
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) store: Store,
    pub(crate) report: Report,
    pub(crate) listed: Listed,
    /// Units that another process committed first.
    pub(crate) duplicates: u64,
    /// Clips that are copies of others, or are no longer.
    pub(crate) copies: Settled,
    /// Clips that were in the table before and have failed or are not complete.
    pub(crate) unfinished: u64,
    pub(crate) took: Duration,
}

/// Runs a recipe into its table.
pub(crate) fn execute(
    recipe: &mut Recipe,
    options: Options,
    runtime: &Handle,
) -> anyhow::Result<Ran> {
    let stop = Stop::default();
    listen_for_signals(&stop)?;
    curate_media::init();
    let started = Instant::now();
    // Processes started together in containers may share second and process number.
    let chance = uuid::Uuid::new_v4().simple().to_string();
    let run_id = format!("{}-{}-{}", now().0 / 1_000_000, std::process::id(), &chance[..8]);
    let provenance = Provenance {
        run_id: run_id.clone(),
        curate_version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
    };
    if recipe.plan.run.order == Order::Cost && !recipe.out.join("clips.lance").exists() {
        let sources = (recipe.sources_by_location()?, recipe.reading());
        order::by_cost(&mut recipe.plan, sources, &provenance, &stop)?;
    }
    let Opened { table, lease, ledger, mut unfinished } =
        Opened::of(recipe, options, &run_id, runtime)?;
    let (recipe, plan) = (&*recipe, &recipe.plan);
    recipe.record(lease.dir().path())?;

    let scope = Scope {
        limit: options.limit,
        shard: options.shard,
        unit_length: recipe.unit_length,
        reading: recipe.reading(),
        deadline: Duration::from_secs_f64(plan.run.stall_seconds),
        tries: plan.run.tries,
    };
    let total = Arc::new(Total::default());
    count_sources(recipe.sources_by_location()?, scope, &stop, &total)?;
    let events = lease.dir().events();
    let progress = Progress::new(
        std::fs::File::create(&events)
            .with_context(|| format!("cannot write {}", events.display()))?,
        total,
    );
    if options.backfill {
        let filling = Filling {
            recipe,
            store: table.store()?,
            lease: &lease,
            scope,
            provenance: &provenance,
            progress: &progress,
            stop: &stop,
            runtime,
        };
        unfinished = filling.fill(&ledger)?;
    }
    let mut done = Done::new(&ledger);
    if options.retry {
        let store = table.store()?;
        done.mark_bad(runtime.block_on(backfill::units_with_failed_clips(store))?);
        done.mark_writers(runtime.block_on(store.writers(&done.bad_units()))?);
    }
    let replaced = Replaced::default();
    let known = Known { done, retry: options.retry, replaced: Arc::clone(&replaced) };
    let (units, listed) = Units::new(recipe.sources()?, known, scope, stop.clone(), &progress);
    let mut sink =
        TableSink::new(&table, &lease, runtime.clone(), &plan.run, Arc::clone(&replaced));
    let ran = curate_pipeline::run(plan, &provenance, units, &mut sink, &progress, &stop);
    progress.finish();
    // What is whole is committed even when the run ended with an error, but not when a person has
    // asked twice to leave.
    let committed = if ran.is_ok() && stop.is_now() { Ok(()) } else { sink.commit() };
    let (commits, finished, duplicates) = (sink.commits, sink.finished, sink.duplicates);
    drop(sink);
    let took_s = started.elapsed().as_secs_f64();
    progress.event(&json!({
        "event": "run_ended", "commits": commits, "error": ran.as_ref().err().map(ToString::to_string),
        "report": ran.as_ref().ok().map(|report| run_ended(report, took_s)),
    }));
    // Why there is no table says more than that nothing could be written.
    let store = table.into_store()?;
    let report = ran?;
    committed?;
    let going = std::mem::take(&mut replaced.lock().unwrap_or_else(PoisonError::into_inner).alone);
    for former in &going {
        runtime.block_on(store.forget(former))?;
    }
    let copies = if stop.is_now() {
        Settled::default()
    } else {
        runtime.block_on(copies::settle(&store))?
    };
    if finished > 0 {
        match runtime.block_on(tidy(&store, plan.run.merging())) {
            Ok(Some(merged)) if merged.bytes_rewritten > 0 => say(&format!(
                "merged {} fragments into {}, {} bytes written again",
                merged.fragments_before, merged.fragments_after, merged.bytes_rewritten
            )),
            Ok(_) => {}
            // Everything is committed; the next run tidies.
            Err(error) => say(&format!(
                "could not merge fragments or bring the indices up to date: {}",
                crate::words(&error)
            )),
        }
    }
    if options.retry {
        let needs = runtime.block_on(backfill::needs(&store, plan))?;
        unfinished = needs.clips + needs.failed;
    }
    let listed = listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    drop(lease);
    Ok(Ran { store, report, listed, duplicates, copies, unfinished, took: started.elapsed() })
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
