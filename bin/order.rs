//! `[run] order = "cost"`: which filter should see a clip first.
//!
//! The first clips of the sources go through all stages, rejected or not, and each stage's time
//! and share of rejected clips are taken. The cheapest way to reject is to ask first whoever
//! rejects most per second (cost divided by the share it rejects, ascending, which is optimal
//! when filters are independent). The order is frozen in the table: later runs and other
//! processes follow it, so the reason stored for a rejected clip does not depend on the machine.

use std::{collections::BTreeMap, sync::Arc};

use curate_pipeline::{
    NoObserver, Plan, Planned, Provenance, Reading, RunError, Score, Sink, Stop, Unit, UnitResult,
    Verdict,
};
use curate_schemas::{Clip, UnitId, UnitRow};
use curate_stages::{
    caption, dedup,
    sources::{Listing, Sources},
};

use crate::{progress::say, signals, units::source_ref};

/// So many clips are looked at.
const CLIPS: usize = 32;
/// In at most so many units.
const UNITS: usize = 16;
/// What never rejected a clip in the probe may do so later, but rarely.
const RAREST: f64 = 0.5 / CLIPS as f64;

/// Stages that reject nothing worth asking for first, and may cost money. They come after the others.
const NO_FILTERS: [&str; 2] = [caption::ENTRY.kind, dedup::ENTRY.kind];

/// Counts what each stage would reject.
struct Looker<'a> {
    plan: &'a Plan,
    stop: &'a Stop,
    /// The run's own: a person may not want to wait.
    outer: &'a Stop,
    seen: usize,
    rejected: BTreeMap<&'static str, u64>,
}

impl Sink for Looker<'_> {
    fn clip(&mut self, _ticket: u64, clip: Clip) -> Result<(), RunError> {
        self.seen += 1;
        for stage in &self.plan.stages {
            if matches!(stage.config.judge(&clip), Verdict::Drop { .. }) {
                *self.rejected.entry(stage.kind).or_default() += 1;
            }
        }
        if self.seen >= CLIPS {
            self.stop.now();
        }
        Ok(())
    }

    fn unit(&mut self, _: u64, _: &UnitResult, _: UnitRow) -> Result<(), RunError> {
        Ok(())
    }

    fn discard(&mut self, _ticket: u64) {}

    fn tick(&mut self) -> Result<(), RunError> {
        if self.outer.is_draining() {
            self.stop.now();
        }
        Ok(())
    }
}

/// Sources as units of their own; a long one is left as soon as enough clips were seen.
fn units(sources: Sources, reading: Reading) -> impl Iterator<Item = Planned> {
    let found = sources.filter_map(|listing| match listing {
        Listing::Source(source) => Some(source),
        _ => None,
    });
    found.take(UNITS).map(move |source| {
        let id = UnitId::new(&source.id, 0);
        Planned::Unit(Unit {
            id,
            source: Arc::new(source_ref(source, reading)),
            units_in_source: 1,
            start: None,
            end: None,
        })
    })
}

/// Measures the stages on the first of these sources and puts them in order.
pub(crate) fn by_cost(
    plan: &mut Plan,
    (sources, reading): (Sources, Reading),
    provenance: &Provenance,
    outer: &Stop,
) -> anyhow::Result<()> {
    if plan.stages.len() < 4 {
        return Ok(()); // a split, one filter and the bytes
    }
    signals::release()?;
    let mut probe = plan.clone();
    probe.stages.pop();
    probe.stages.retain(|stage| !NO_FILTERS.contains(&stage.kind));
    probe.run.score = Score::All;
    let stop = Stop::default();
    let mut looker =
        Looker { plan: &probe, stop: &stop, outer, seen: 0, rejected: BTreeMap::new() };
    let units = units(sources, reading);
    let report = curate_pipeline::run(&probe, provenance, units, &mut looker, &NoObserver, &stop)?;
    if outer.is_draining() {
        anyhow::bail!("stopped while looking for the order of stages; run the same command again");
    }
    let (seen, rejected) = (looker.seen.max(1) as f64, looker.rejected);
    let mut ranked: Vec<(f64, &'static str, f64, f64)> = report
        .stages
        .iter()
        .skip(1)
        .map(|stage| {
            // The engine counts clips of finished units; the probe ends in the middle of some.
            let seconds = stage.busy_s / seen;
            let share = rejected.get(stage.kind).copied().unwrap_or(0) as f64 / seen;
            (seconds / share.max(RAREST), stage.kind, seconds, share)
        })
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let kinds: Vec<&str> = ranked.iter().map(|(_, kind, ..)| *kind).collect();
    plan.reorder(&kinds);
    let words: Vec<String> = plan
        .stages
        .iter()
        .filter_map(|stage| ranked.iter().find(|(_, kind, ..)| *kind == stage.kind))
        .map(|(_, kind, seconds, share)| {
            format!("{kind} ({:.1} ms a clip, rejects {:.0} %)", seconds * 1e3, share * 100.0)
        })
        .collect();
    say(&format!(
        "order by cost, from {} clips (decoded for this alone): {}",
        looker.seen,
        words.join(", ")
    ));
    Ok(())
}
