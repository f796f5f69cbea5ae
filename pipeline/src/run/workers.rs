//! The loops of the worker threads, one for each shape of stage.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use curate_schemas::{Clip, columns as c};

use super::{
    Event, Outlet, Planned, Shared, Ticketed,
    collect::UnitEnd,
    measured::{finish, has_measured, is_beside},
};
use crate::{
    BatchMap, ClipError, Emit, Frames, Item, Map, RunError, Score, Split, Stage, Stopped, Unit,
    UnitError, Verdict,
    channel::{Held, Received, Receiver},
};

/// How long a batch waits for more clips before it is processed as it is.
const LINGER: Duration = Duration::from_millis(50);

pub(super) fn work<I: Iterator<Item = Planned>>(
    shared: &Shared<'_>,
    index: usize,
    stage: Stage,
    units: &Mutex<I>,
    inlet: Option<Receiver<Ticketed>>,
    outlet: &Outlet,
) {
    match (stage, inlet) {
        (Stage::Split(split), _) => split_loop(shared, index, split, units, outlet),
        (Stage::Map(map), Some(inlet)) => map_loop(shared, index, map, &inlet, outlet),
        (Stage::Batch(batch), Some(inlet)) => batch_loop(shared, index, batch, &inlet, outlet),
        (Stage::Map(_) | Stage::Batch(_), None) => unreachable!("the plan puts the split first"),
    }
}

/// What a caught panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

fn split_loop<I: Iterator<Item = Planned>>(
    shared: &Shared<'_>,
    index: usize,
    mut split: Box<dyn Split>,
    units: &Mutex<I>,
    outlet: &Outlet,
) {
    let times = &shared.stats[index].times;
    let mut lane = shared.lanes.enter();
    while !shared.stop.is_draining() {
        let waiting = Instant::now();
        // A panic while listing sources must not hang the other workers: the lock is taken over.
        let planned = units.lock().unwrap_or_else(PoisonError::into_inner).next();
        times.waiting(waiting);
        match planned {
            None => return,
            Some(Planned::Failed(unit, error)) => {
                let ticket = shared.tickets.fetch_add(1, Ordering::Relaxed);
                let end = UnitEnd::GaveUp { quarantine: error.transient, error };
                send(outlet, Event::UnitEnd { ticket, unit: Arc::new(unit), emitted: 0, end });
            }
            Some(Planned::Unit(unit)) => {
                lane.found();
                try_unit(shared, index, &mut split, &Arc::new(unit), outlet)
            }
        }
    }
}

/// One unit, tried again when it fails for a passing reason.
fn try_unit(
    shared: &Shared<'_>,
    index: usize,
    split: &mut Box<dyn Split>,
    unit: &Arc<Unit>,
    outlet: &Outlet,
) {
    let times = &shared.stats[index].times;
    let (mut attempt, mut is_alone) = (1, false);
    while attempt <= shared.plan.run.tries {
        shared.observer.unit_started(unit);
        let ticket = shared.tickets.fetch_add(1, Ordering::Relaxed);
        let blocked = Duration::ZERO;
        let mut emitter = Emitter {
            shared,
            index,
            ticket,
            unit,
            outlet,
            emitted: 0,
            decoded: 0,
            blocked,
            is_alone,
        };
        let started = Instant::now();
        let caught = catch_unwind(AssertUnwindSafe(|| split.split(unit, &mut emitter)));
        let (emitted, decoded, blocked) = (emitter.emitted, emitter.decoded, emitter.blocked);
        times.busy_without(started, blocked);
        if shared.stop.is_now() {
            return;
        }
        let outcome = caught.unwrap_or_else(|panic| {
            // The decoder may be in any state: start with a new one.
            match shared.build(index) {
                Ok(Stage::Split(fresh)) => *split = fresh,
                Ok(_) => {}
                Err(error) => shared.fail(error),
            }
            Err(UnitError {
                kind: "panic",
                message: panic_message(panic.as_ref()),
                transient: false,
            })
        });
        if let Err(error) = &outcome
            && error.wants_one_thread()
            && !is_alone
        {
            is_alone = true;
            shared.wasted_frames.fetch_add(decoded, Ordering::Relaxed);
            let (unit, end) = (Arc::clone(unit), UnitEnd::Retry);
            send(outlet, Event::UnitEnd { ticket, unit, emitted, end });
            continue;
        }
        let (passing, end) = match outcome {
            Ok(report) => match report.damage.clone().filter(|damage| damage.transient) {
                None => (None, UnitEnd::Final(report)),
                Some(error) => (Some(error.clone()), UnitEnd::GaveUp { error, quarantine: true }),
            },
            Err(error) => {
                let quarantine = error.transient;
                (error.transient.then(|| error.clone()), UnitEnd::GaveUp { error, quarantine })
            }
        };
        if !matches!(end, UnitEnd::Final(_)) {
            shared.wasted_frames.fetch_add(decoded, Ordering::Relaxed);
        }
        let last = attempt == shared.plan.run.tries || shared.stop.is_draining();
        match passing {
            Some(error) if !last => {
                shared.observer.unit_retried(unit, attempt, &error);
                send(
                    outlet,
                    Event::UnitEnd { ticket, unit: Arc::clone(unit), emitted, end: UnitEnd::Retry },
                );
                attempt += 1;
            }
            Some(_) if attempt < shared.plan.run.tries => return, // draining: the next run tries again
            _ => {
                send(outlet, Event::UnitEnd { ticket, unit: Arc::clone(unit), emitted, end });
                return;
            }
        }
    }
}

/// Takes a unit's clips from its split to the next stage.
struct Emitter<'a> {
    shared: &'a Shared<'a>,
    index: usize,
    ticket: u64,
    unit: &'a Arc<Unit>,
    outlet: &'a Outlet,
    emitted: u64,
    decoded: u64,
    blocked: Duration,
    /// Whether the unit is to be decoded by one thread.
    is_alone: bool,
}

impl Emit for Emitter<'_> {
    fn clip(&mut self, clip: Clip, frames: Frames) -> Result<(), Stopped> {
        if self.shared.stop.is_now() {
            return Err(Stopped);
        }
        self.emitted += 1;
        self.shared.observer.clip_split();
        self.shared.stats[self.index].clips.fetch_add(1, Ordering::Relaxed);
        let unit = Arc::clone(self.unit);
        let item =
            Item { clip, frames, dropped: None, unit, frames_again: 0, blocked: Duration::ZERO };
        let since = Instant::now();
        pass_on(
            self.shared,
            self.index,
            self.outlet,
            Ticketed { ticket: self.ticket, item },
            Ok(()),
        );
        self.blocked += since.elapsed();
        Ok(())
    }

    fn threads(&self) -> usize {
        if self.is_alone { 1 } else { self.shared.lanes.threads() }
    }

    fn decoded(&mut self, frames: u64) {
        self.decoded += frames;
        self.shared.observer.frames_decoded(frames);
    }
}

fn map_loop(
    shared: &Shared<'_>,
    index: usize,
    mut map: Box<dyn Map>,
    inlet: &Receiver<Ticketed>,
    outlet: &Outlet,
) {
    let times = &shared.stats[index].times;
    loop {
        let waiting = Instant::now();
        let Some(mut held) = inlet.recv() else { return };
        times.waiting(waiting);
        if shared.stop.is_now() {
            continue;
        }
        if passes_by(shared, index, &mut held.item) {
            let (ticketed, _permit) = held.into_parts();
            pass_on(shared, index, outlet, ticketed, Ok(()));
            continue;
        }
        shared.stats[index].clips.fetch_add(1, Ordering::Relaxed);
        held.item.blocked = Duration::ZERO;
        let busy = Instant::now();
        let measured =
            catch_unwind(AssertUnwindSafe(|| map.map(&mut held.item))).unwrap_or_else(|panic| {
                match shared.build(index) {
                    Ok(Stage::Map(fresh)) => map = fresh,
                    Ok(_) => {}
                    Err(error) => shared.fail(error),
                }
                Err(ClipError { kind: "panic", message: panic_message(panic.as_ref()) })
            });
        times.busy_without(busy, held.item.blocked);
        let since = Instant::now();
        let (ticketed, _permit) = held.into_parts();
        pass_on(shared, index, outlet, ticketed, measured);
        times.blocked(since.elapsed());
    }
}

fn batch_loop(
    shared: &Shared<'_>,
    index: usize,
    mut batch: Box<dyn BatchMap>,
    inlet: &Receiver<Ticketed>,
    outlet: &Outlet,
) {
    let times = &shared.stats[index].times;
    let mut faulted = false;
    loop {
        let waiting = Instant::now();
        let gathered = gather(inlet, batch.max_batch().max(1));
        times.waiting(waiting);
        if gathered.is_empty() {
            return;
        }
        // After a fault the stage lets clips fall (their units stay unfinished), so that nobody
        // upstream waits for room.
        if faulted || shared.stop.is_now() {
            continue;
        }
        let mut fresh = Vec::with_capacity(gathered.len());
        for mut held in gathered {
            if passes_by(shared, index, &mut held.item) {
                let (ticketed, _permit) = held.into_parts();
                pass_on(shared, index, outlet, ticketed, Ok(()));
            } else {
                fresh.push(held);
            }
        }
        let mut gathered = fresh;
        if gathered.is_empty() {
            continue;
        }
        shared.stats[index].clips.fetch_add(gathered.len() as u64, Ordering::Relaxed);
        let busy = Instant::now();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut items: Vec<&mut Item> =
                gathered.iter_mut().map(|held| &mut held.item).collect();
            batch.map_batch(&mut items)
        }));
        times.busy(busy);
        let results = match caught {
            Ok(Ok(results)) if results.len() == gathered.len() => results,
            Ok(Ok(results)) => {
                let message =
                    format!("gave {} results for {} clips", results.len(), gathered.len());
                fault(shared, index, message);
                faulted = true;
                continue;
            }
            Ok(Err(error)) => {
                fault(shared, index, error.0);
                faulted = true;
                continue;
            }
            Err(panic) => {
                // Which clip it was cannot be told: all of this batch fail, the run goes on.
                match shared.build(index) {
                    Ok(Stage::Batch(fresh)) => batch = fresh,
                    Ok(_) => {}
                    Err(error) => shared.fail(error),
                }
                let error = ClipError { kind: "panic", message: panic_message(panic.as_ref()) };
                gathered.iter().map(|_| Err(error.clone())).collect()
            }
        };
        let since = Instant::now();
        for (held, measured) in gathered.into_iter().zip(results) {
            let (ticketed, _permit) = held.into_parts();
            pass_on(shared, index, outlet, ticketed, measured);
        }
        times.blocked(since.elapsed());
    }
}

/// Whether a clip has nothing to do with this stage: it is on its way past it to one that stores
/// dropped clips, or it came out of a table with what the stage measures.
fn passes_by(shared: &Shared<'_>, index: usize, item: &mut Item) -> bool {
    is_beside(shared.plan, index, item.dropped) || has_measured(shared, index, &mut item.clip)
}

fn fault(shared: &Shared<'_>, index: usize, message: String) {
    let stage = shared.plan.stages[index].kind.to_owned();
    shared.fail(RunError::Fault { stage, fault: crate::StageFault(message) });
}

/// Up to `most` messages: waits for the first one, then as long as more come soon and nobody is
/// waiting for the bytes that are held here. Empty when there will be none.
fn gather(inlet: &Receiver<Ticketed>, most: usize) -> Vec<Held<Ticketed>> {
    let Some(first) = inlet.recv() else { return Vec::new() };
    let mut gathered = vec![first];
    let deadline = Instant::now() + LINGER;
    while gathered.len() < most && !inlet.upstream_blocked() {
        let left = deadline.saturating_duration_since(Instant::now());
        // In short steps: a sender may start waiting while we do.
        match inlet.recv_timeout(left.min(Duration::from_millis(2))) {
            Received::Message(held) => gathered.push(held),
            Received::TimedOut if left > Duration::ZERO => {}
            Received::TimedOut | Received::Closed => break,
        }
    }
    gathered
}

/// Judges a measured clip and sends it to the next stage, or to the collector when its fate is
/// known.
fn pass_on(
    shared: &Shared<'_>,
    index: usize,
    outlet: &Outlet,
    ticketed: Ticketed,
    measured: Result<(), ClipError>,
) {
    let stage = &shared.plan.stages[index];
    let stats = &shared.stats[index];
    let Ticketed { ticket, mut item } = ticketed;
    shared.observer.clip_measured(stage.kind);
    if let Err(error) = measured {
        let mut failed = stats.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(error.kind.to_owned()).or_default() += 1;
        drop(failed);
        item.clip.set(c::STATUS, "failed".to_owned());
        item.clip.set(c::DROP_STAGE, stage.kind.to_owned());
        item.clip.set(c::ERROR_KIND, error.kind.to_owned());
        item.clip.set(c::ERROR_MESSAGE, error.message);
        finish(shared, (index, true), outlet, ticket, item);
        return;
    }
    if let Verdict::Drop { reason } = stage.config.judge(&item.clip)
        && item.dropped.is_none()
    {
        let mut dropped = stats.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        *dropped.entry(reason).or_default() += 1;
        drop(dropped);
        item.dropped = Some((stage.kind, reason));
    }
    let rest = &shared.plan.stages[index + 1..];
    let leaves = item.dropped.is_some()
        && shared.plan.run.score == Score::Kept
        && !rest.iter().any(|stage| stage.config.wants_dropped());
    match &outlet.next {
        Some(next) if !leaves => {
            let later = &shared.plan.stages[index + 1..];
            if later.iter().all(|stage| stage.config.frames() == crate::FrameNeed::default()) {
                item.frames = Frames::default();
            }
            let bytes = item.frames.bytes() + clip_bytes(&item.clip);
            // Nobody listens only when the run is being torn down.
            next.send(Ticketed { ticket, item }, bytes).unwrap_or_default();
        }
        _ => {
            match item.dropped {
                None => item.clip.set(c::STATUS, "kept".to_owned()),
                Some((stage, reason)) => {
                    item.clip.set(c::STATUS, "dropped".to_owned());
                    item.clip.set(c::DROP_STAGE, stage.to_owned());
                    item.clip.set(c::DROP_REASON, reason.to_owned());
                }
            }
            finish(shared, (index, false), outlet, ticket, item);
        }
    }
}

fn clip_bytes(clip: &Clip) -> usize {
    clip.get(c::VIDEO).map_or(0, Vec::len) + clip.get(c::THUMB).map_or(0, Vec::len)
}

pub(super) fn send(outlet: &Outlet, event: Event) {
    let bytes = match &event {
        Event::Clip { clip, .. } => clip_bytes(clip),
        Event::UnitEnd { .. } => 0,
    };
    // The collector outlives every worker, so this only fails while the run is being torn down.
    outlet.collector.send(event, bytes).unwrap_or_default();
}
