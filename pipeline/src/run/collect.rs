//! The collector: puts clips back together into units and hands them to the sink.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use curate_schemas::{Clip, UnitRow, columns as c};

use super::{Event, Left, Report, Shared, StageReport, status_of, unit_row};
use crate::{
    PlannedStage, RunError, SplitReport, Unit, UnitError, UnitStatus,
    channel::{Received, Receiver},
};

/// Where finished clips and units go. Called from one thread.
///
/// A `ticket` names one attempt at a unit. Clips arrive one by one, in any order and mixed with
/// other units'; they become part of the result when [`Sink::unit`] is called for their ticket.
pub trait Sink {
    /// A clip has ended. The sink may move its bytes out of memory.
    ///
    /// # Errors
    /// When going on is pointless.
    fn clip(&mut self, ticket: u64, clip: Clip) -> Result<(), RunError>;
    /// All clips of the ticket have arrived: the unit is whole and may be committed.
    ///
    /// # Errors
    /// When going on is pointless.
    fn unit(&mut self, ticket: u64, result: &UnitResult, row: UnitRow) -> Result<(), RunError>;
    /// The attempt failed; its clips are not wanted.
    fn discard(&mut self, ticket: u64);
    /// Called several times a second, for commits that are due.
    ///
    /// # Errors
    /// When going on is pointless.
    fn tick(&mut self) -> Result<(), RunError>;
}

/// A unit with its outcome.
#[derive(Clone, Debug)]
pub struct UnitResult {
    /// The unit.
    pub unit: Arc<Unit>,
    /// How it ended.
    pub status: UnitStatus,
    /// Why, when it is not `ok` or `empty`.
    pub error: Option<UnitError>,
    /// Clips kept.
    pub kept: u64,
    /// Clips dropped.
    pub dropped: u64,
    /// Clips failed.
    pub failed: u64,
    /// Frames decoded for analysis.
    pub frames_decoded: u64,
    /// Frames of the source that lie in the unit.
    pub frames_source: u64,
    /// Length of the stream in seconds, as the container says.
    pub duration_s: Option<f64>,
}

/// How an attempt at a unit ended.
pub(crate) enum UnitEnd {
    /// It is the last one: hand the unit over.
    Final(SplitReport),
    /// Nothing came of it: hand the unit over without clips.
    GaveUp { error: UnitError, quarantine: bool },
    /// Forget its clips; another attempt follows.
    Retry,
}

#[derive(Default)]
struct Attempt {
    kept: u64,
    dropped: u64,
    failed: u64,
    frames_again: u64,
    seconds: f64,
    /// Of each stage: clips that reached it, that it dropped, that failed in it.
    stages: Vec<StageReport>,
    end: Option<(Arc<Unit>, u64, UnitEnd)>,
}

impl Attempt {
    fn count(&mut self, clip: &Clip, left: Left, stages: &[PlannedStage]) {
        self.frames_again += left.frames_again;
        let time = clip.get(c::START_S).zip(clip.get(c::END_S));
        self.seconds += time.map_or(0.0, |(start, end)| end - start);
        let named = |stage: &PlannedStage| StageReport { kind: stage.kind, ..Default::default() };
        if self.stages.is_empty() {
            self.stages = stages.iter().map(named).collect();
        }
        for (index, stage) in self.stages.iter_mut().enumerate().take(left.last + 1) {
            stage.clips += 1;
            if left.failed && index == left.last {
                let kind = clip.get(c::ERROR_KIND).cloned().unwrap_or_default();
                *stage.failed.entry(kind).or_default() += 1;
            }
            if let Some((kind, reason)) = left.dropped
                && kind == stage.kind
                && !left.failed
            {
                *stage.dropped.entry(reason).or_default() += 1;
            }
        }
        match clip.get(c::STATUS).map(String::as_str) {
            Some("kept") => self.kept += 1,
            Some("dropped") => self.dropped += 1,
            _ => self.failed += 1,
        }
    }

    fn is_whole(&self) -> bool {
        let arrived = self.kept + self.dropped + self.failed;
        self.end.as_ref().is_some_and(|(_, emitted, _)| *emitted == arrived)
    }
}

/// How often the observer is told how the stages are doing.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Receives until every worker is gone. After an error it goes on receiving, so that nobody waits
/// for room, but hands nothing more to the sink.
pub(super) fn collect(
    shared: &Shared<'_>,
    events: &Receiver<Event>,
    sink: &mut dyn super::Sink,
) -> Report {
    let mut attempts: HashMap<u64, Attempt> = HashMap::new();
    let mut report = Report::default();
    let mut broken = false;
    let mut shown = Instant::now();
    loop {
        if shown.elapsed() >= SHOW_EVERY {
            shared.observer.stages(&super::stage_reports(shared));
            shown = Instant::now();
        }
        let event = match events.recv_timeout(Duration::from_millis(200)) {
            Received::Closed => break,
            Received::TimedOut => None,
            Received::Message(event) => Some(event),
        };
        // An abandoned run hands nothing over: what its stages say now may be only that they were
        // interrupted.
        if broken || shared.stop.is_now() {
            continue;
        }
        // The event is held until it has been handled: a clip's bytes count until the sink has them.
        let handled = match event {
            None => sink.tick(),
            Some(event) => {
                handle(shared, event, &mut attempts, &mut report, sink).and_then(|()| sink.tick())
            }
        };
        if let Err(error) = handled {
            broken = true;
            shared.fail(error);
            shared.stop.now();
        }
    }
    report
}

fn handle(
    shared: &Shared<'_>,
    event: crate::channel::Held<Event>,
    attempts: &mut HashMap<u64, Attempt>,
    report: &mut Report,
    sink: &mut dyn Sink,
) -> Result<(), RunError> {
    let (event, _permit) = event.into_parts();
    let ticket = match event {
        Event::Clip { ticket, clip, left } => {
            attempts.entry(ticket).or_default().count(&clip, left, &shared.plan.stages);
            sink.clip(ticket, *clip)?;
            ticket
        }
        Event::UnitEnd { ticket, unit, emitted, end } => {
            attempts.entry(ticket).or_default().end = Some((unit, emitted, end));
            ticket
        }
    };
    if attempts.get(&ticket).is_some_and(Attempt::is_whole)
        && let Some(attempt) = attempts.remove(&ticket)
    {
        hand_over(shared, ticket, attempt, report, sink)?;
    }
    Ok(())
}

fn hand_over(
    shared: &Shared<'_>,
    ticket: u64,
    attempt: Attempt,
    report: &mut Report,
    sink: &mut dyn Sink,
) -> Result<(), RunError> {
    let Attempt {
        kept,
        dropped,
        failed,
        frames_again,
        seconds,
        stages,
        end: Some((unit, clips, end)),
    } = attempt
    else {
        return Ok(());
    };
    let result = match end {
        UnitEnd::Retry => {
            sink.discard(ticket);
            return Ok(());
        }
        UnitEnd::GaveUp { error, quarantine } => {
            sink.discard(ticket);
            UnitResult {
                unit,
                status: status_of(Some(&error), 0, quarantine),
                error: Some(error),
                kept: 0,
                dropped: 0,
                failed: 0,
                frames_decoded: 0,
                frames_source: 0,
                duration_s: None,
            }
        }
        UnitEnd::Final(split) => UnitResult {
            unit,
            status: status_of(split.damage.as_ref(), clips, false),
            error: split.damage,
            kept,
            dropped,
            failed,
            frames_decoded: split.frames_decoded,
            frames_source: split.frames_source,
            duration_s: split.duration_s,
        },
    };
    if kept + dropped + failed == result.kept + result.dropped + result.failed {
        add(&mut report.stages, stages);
    }
    report.clips += result.kept + result.dropped + result.failed;
    report.kept += result.kept;
    report.dropped += result.dropped;
    report.failed += result.failed;
    report.frames_decoded += result.frames_decoded;
    report.frames_source += result.frames_source;
    report.frames_again += frames_again;
    report.seconds += seconds;
    *report.units.entry(result.status.as_str()).or_default() += 1;
    let row = unit_row(shared, &result);
    sink.unit(ticket, &result, row)?;
    shared.observer.unit_finished(&result);
    Ok(())
}

/// Adds a unit's counts to the run's.
fn add(sums: &mut Vec<StageReport>, unit: Vec<StageReport>) {
    if sums.is_empty() {
        *sums = unit;
        return;
    }
    for (sum, stage) in sums.iter_mut().zip(unit) {
        sum.clips += stage.clips;
        for (kind, count) in stage.failed {
            *sum.failed.entry(kind).or_default() += count;
        }
        for (reason, count) in stage.dropped {
            *sum.dropped.entry(reason).or_default() += count;
        }
    }
}
