//! Running a plan: threads, channels, and the way of a clip from its unit to the sink.
//!
//! One thread for each worker of each stage; the split's workers pull units, every other stage
//! reads from a channel bounded by bytes. A clip leaves for the collector as soon as its fate is
//! known. The collector runs on the caller's thread, counts each unit's clips and hands a unit to
//! the [`Sink`] when the last one has ended.
//!
//! # Invariants
//! * For every unit handed to the sink: clips emitted = kept + dropped + failed.
//! * A unit is handed over whole and once, or not at all.

mod collect;
mod lanes;
mod measured;
mod workers;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use curate_schemas::{Clip, Micros, UnitRow};

use self::lanes::Lanes;
use crate::{
    BuildContext, Item, Observer, Plan, RunError, Stage, StageTimes, Stop, Unit, UnitError,
    UnitStatus,
    channel::{self, Receiver, Sender},
};

pub use collect::{Sink, UnitResult};

/// A unit to work on, or one that is known to be hopeless before decoding.
#[derive(Debug)]
pub enum Planned {
    /// To be decoded.
    Unit(Unit),
    /// The source cannot be opened; the unit is recorded as failed.
    Failed(Unit, UnitError),
}

/// What identifies this run in the rows it writes.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The run's id.
    pub run_id: String,
    /// The program's version.
    pub curate_version: String,
    /// The clock, injected so that tests can hold it still.
    pub now: fn() -> Micros,
}

/// Counts of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageReport {
    /// The stage's kind.
    pub kind: &'static str,
    /// Workers.
    pub workers: usize,
    /// Clips that came in (for the split: that it cut out).
    pub clips: u64,
    /// Clips it dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Clips that failed in it, by the kind of error.
    pub failed: BTreeMap<String, u64>,
    /// Seconds of work over all workers.
    pub busy_s: f64,
    /// Seconds without input.
    pub waiting_s: f64,
    /// Seconds without room in the output.
    pub blocked_s: f64,
}

/// Parts of the workers' time, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// At work.
    pub busy: f64,
    /// Without input.
    pub waiting: f64,
    /// Without room in the output.
    pub blocked: f64,
}

impl StageReport {
    /// Where the time of all workers went, in a run that has lasted `wall_s` seconds.
    #[must_use]
    pub fn shares(&self, wall_s: f64) -> Shares {
        let whole = wall_s * self.workers as f64;
        let part = |seconds: f64| if whole > 0.0 { seconds / whole } else { 0.0 };
        Shares {
            busy: part(self.busy_s),
            waiting: part(self.waiting_s),
            blocked: part(self.blocked_s),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By stage, in order.
    pub stages: Vec<StageReport>,
    /// Units handed to the sink, by status.
    pub units: BTreeMap<&'static str, u64>,
    /// Clips handed to the sink.
    pub clips: u64,
    /// Kept among them.
    pub kept: u64,
    /// Dropped among them.
    pub dropped: u64,
    /// Failed among them.
    pub failed: u64,
    /// Frames decoded for analysis: of finished units, and in attempts that came to nothing.
    pub frames_decoded: u64,
    /// Frames of the sources that lie in finished units.
    pub frames_source: u64,
    /// Frames decoded once more, only to write clips.
    pub frames_again: u64,
    /// Seconds of the clips of finished units.
    pub seconds: f64,
    /// Whether the run was asked to stop before the units ran out.
    pub stopped: bool,
}

/// The way out of a stage.
pub(crate) struct Outlet {
    next: Option<Sender<Ticketed>>,
    collector: Sender<Event>,
}

/// An item and the attempt at its unit that it belongs to.
pub(crate) struct Ticketed {
    ticket: u64,
    item: Item,
}

/// Where a clip left the stages, for the funnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// The last stage that saw it.
    pub(crate) last: usize,
    /// The stage that dropped it, and why.
    pub(crate) dropped: Option<(&'static str, &'static str)>,
    /// Whether it failed in the last stage.
    pub(crate) failed: bool,
    /// Frames that were decoded for it once more.
    pub(crate) frames_again: u64,
}

/// What the collector hears.
pub(crate) enum Event {
    /// A clip has ended.
    Clip { ticket: u64, clip: Box<Clip>, left: Left },
    /// An attempt at a unit has emitted all its clips.
    UnitEnd { ticket: u64, unit: std::sync::Arc<Unit>, emitted: u64, end: collect::UnitEnd },
}

/// State that all workers share.
pub(crate) struct Shared<'a> {
    plan: &'a Plan,
    provenance: &'a Provenance,
    observer: &'a dyn Observer,
    stop: &'a Stop,
    stats: Vec<Stats>,
    tickets: AtomicU64,
    /// Frames decoded in attempts that came to nothing.
    wasted_frames: AtomicU64,
    error: Mutex<Option<RunError>>,
    lanes: Lanes,
}

#[derive(Default)]
pub(crate) struct Stats {
    times: StageTimes,
    clips: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
}

impl Shared<'_> {
    /// Records what stops the run (the first one counts) and stops the intake.
    pub(crate) fn fail(&self, error: RunError) {
        let mut slot = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
        self.stop.drain();
    }

    fn context(&self) -> BuildContext<'_> {
        BuildContext {
            run: &self.plan.run,
            split_id: &self.plan.split_id,
            need: self.plan.need,
            stop: self.stop,
            base: &self.plan.base,
            models: &self.plan.models,
        }
    }

    fn build(&self, stage: usize) -> Result<Stage, RunError> {
        Ok(self.plan.stages[stage].config.build(&self.context())?)
    }
}

/// Runs `plan` over `units` and hands finished units to `sink`, which is called on this thread.
///
/// `stop` drains or abandons the run; units in flight when it is abandoned are not handed over.
///
/// # Errors
/// When going on is pointless; what was handed to the sink before is whole.
pub fn run(
    plan: &Plan,
    provenance: &Provenance,
    units: impl Iterator<Item = Planned> + Send,
    sink: &mut dyn Sink,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Report, RunError> {
    let shared = Shared {
        plan,
        provenance,
        observer,
        stop,
        stats: plan.stages.iter().map(|_| Stats::default()).collect(),
        tickets: AtomicU64::new(0),
        wasted_frames: AtomicU64::new(0),
        error: Mutex::new(None),
        lanes: Lanes::new(&plan.run, plan.stages.first().map_or(1, |split| split.workers)),
    };
    // Everything is built before the first unit is read, so that what is missing is known at once.
    let mut built = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let workers: Result<Vec<Stage>, RunError> =
            (0..stage.workers).map(|_| shared.build(index)).collect();
        built.push(workers?);
    }
    let stages: Vec<_> = plan.stages.iter().map(|stage| (stage.kind, stage.workers)).collect();
    observer.started(&stages);

    let (collector, events) = channel::bounded::<Event>(share(plan), channel::MAX_MESSAGES);
    let units = Mutex::new(units);
    let collected = thread::scope(|scope| -> Result<Report, RunError> {
        let (outlets, inlets) = wire(plan, &built, &collector);
        for (index, (stages, outlet)) in built.into_iter().zip(outlets).enumerate() {
            for (worker, stage) in stages.into_iter().enumerate() {
                let name = format!("{}-{worker}", plan.stages[index].kind);
                let outlet =
                    Outlet { next: outlet.next.clone(), collector: outlet.collector.clone() };
                let (shared, units, inlet) = (&shared, &units, inlets[index].clone());
                thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || {
                        workers::work(shared, index, stage, units, inlet, &outlet)
                    })
                    .map_err(|error| {
                        stop.now();
                        RunError::Thread(error)
                    })?;
            }
        }
        drop(inlets);
        drop(collector);
        Ok(collect::collect(&shared, &events, sink))
    });
    let mut report = collected?;
    if let Some(error) = shared.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    // Times are those of all attempts, counts those of what was handed over.
    let mut counted = std::mem::take(&mut report.stages).into_iter();
    report.stages = stage_reports(&shared);
    for stage in &mut report.stages {
        let counted = counted.next().unwrap_or_default();
        (stage.clips, stage.dropped, stage.failed) =
            (counted.clips, counted.dropped, counted.failed);
    }
    report.frames_decoded += shared.wasted_frames.load(Ordering::Relaxed);
    report.stopped = stop.is_draining();
    Ok(report)
}

type Inlets = Vec<Option<Receiver<Ticketed>>>;

/// The channels between the stages: each stage's way out, and its way in (none for the split).
fn wire(plan: &Plan, built: &[Vec<Stage>], collector: &Sender<Event>) -> (Vec<Outlet>, Inlets) {
    let mut inlets: Inlets = vec![None];
    let mut outlets = Vec::with_capacity(built.len());
    for index in 0..built.len() {
        let next = built.get(index + 1).map(|workers| {
            let (sender, receiver) = channel::bounded(share(plan), worth_waiting(workers));
            inlets.push(Some(receiver));
            sender
        });
        outlets.push(Outlet { next, collector: collector.clone() });
    }
    (outlets, inlets)
}

/// The part of the memory bound that one channel may hold.
fn share(plan: &Plan) -> usize {
    let channels = plan.stages.len().max(1) as u64;
    usize::try_from(plan.run.in_flight() / channels).unwrap_or(usize::MAX)
}

/// How many clips may wait for a stage: what its workers take twice in turn, so that those that take
/// longer than others hold up nobody. More would only take memory until the slowest stage is done.
fn worth_waiting(workers: &[Stage]) -> usize {
    let takes = |stage: &Stage| match stage {
        Stage::Batch(batch) => batch.max_batch().max(1),
        Stage::Map(_) | Stage::Split(_) => 1,
    };
    2 * workers.iter().map(takes).sum::<usize>()
}

fn stage_reports(shared: &Shared<'_>) -> Vec<StageReport> {
    let stages = shared.plan.stages.iter().zip(&shared.stats);
    stages
        .map(|(stage, stats)| {
            let (busy_s, waiting_s, blocked_s) = stats.times.seconds();
            StageReport {
                kind: stage.kind,
                workers: stage.workers,
                clips: stats.clips.load(Ordering::Relaxed),
                dropped: stats.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                failed: stats.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                busy_s,
                waiting_s,
                blocked_s,
            }
        })
        .collect()
}

/// The ledger row of a unit.
pub(crate) fn unit_row(shared: &Shared<'_>, result: &UnitResult) -> UnitRow {
    use curate_schemas::units as u;
    let (unit, source) = (&result.unit, &result.unit.source);
    let count = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let mut row = UnitRow::default()
        .with(u::UNIT_ID, unit.id.to_string())
        .with(u::SOURCE_ID, source.id.to_string())
        .with(u::SOURCE_URI, source.uri.clone())
        .with(u::UNITS_IN_SOURCE, i32::try_from(unit.units_in_source).unwrap_or(i32::MAX))
        .with(u::STATUS, result.status.as_str().to_owned())
        .with(u::CLIPS, count(result.kept + result.dropped + result.failed))
        .with(u::KEPT, count(result.kept))
        .with(u::FAILED, count(result.failed))
        .with(u::FRAMES_DECODED, i64::try_from(result.frames_decoded).unwrap_or(i64::MAX))
        .with(u::FRAMES_SOURCE, i64::try_from(result.frames_source).unwrap_or(i64::MAX))
        .with(u::SOURCE_BYTES, i64::try_from(source.bytes).unwrap_or(i64::MAX))
        .with(u::SPLIT_ID, shared.plan.split_id.clone())
        .with(u::RUN_ID, shared.provenance.run_id.clone())
        .with(u::FINISHED_AT, (shared.provenance.now)());
    row.put(u::SOURCE_MTIME, source.mtime);
    row.put(u::DURATION_S, result.duration_s);
    row.put(u::ERROR_KIND, result.error.as_ref().map(|e| e.kind.to_owned()));
    row.put(u::ERROR_MESSAGE, result.error.as_ref().map(|e| e.message.clone()));
    row
}

/// The status of a unit whose attempt ended with `error` (none: it went well).
pub(crate) fn status_of(error: Option<&UnitError>, clips: u64, gave_up: bool) -> UnitStatus {
    match error {
        Some(_) if gave_up => UnitStatus::Quarantined,
        Some(_) if clips > 0 => UnitStatus::Partial,
        Some(_) => UnitStatus::Failed,
        None if clips == 0 => UnitStatus::Empty,
        None => UnitStatus::Ok,
    }
}

#[cfg(test)]
mod tests;
