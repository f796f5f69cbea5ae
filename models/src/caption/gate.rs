//! The way to the servers: which one takes the next request, and when.
//!
//! A request passes when the number and the bytes under way are within the bounds, and some server
//! has room ([`Limiter`]), is not left alone ([`Breaker`]) and has not asked us to wait. Of these the
//! one with the smallest share of its room in use is taken, then the one that has waited longest.
//!
//! All state is behind one lock that is held for a look, never across an await. Whoever cannot pass
//! waits for a change or for the next moment at which something may have changed.
//!
//! The gate also knows when all is lost. A fault of the run is kept and given to whoever comes; and
//! when requests were waiting for so long and none got any answer, that becomes one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    RunFault,
    breaker::{Breaker, Pass},
    limiter::Limiter,
    retry::{chance, jittered},
};

/// Bounds of what is under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Requests under way at once, over all servers.
    pub requests: usize,
    /// Bytes of requests under way at once; a single larger one passes alone.
    pub bytes: usize,
    /// Requests that a server gets at once in the beginning; it adapts from there.
    pub start: usize,
    /// For how long a server that failed several times in a row is left alone at first.
    pub rest: Duration,
    /// After this time without any answer the run stops.
    pub give_up: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests: 64,
            bytes: 64 << 20,
            start: 4,
            rest: Duration::from_secs(1),
            give_up: Duration::from_secs(300),
        }
    }
}

/// What a request taught about its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// It answers.
    Good,
    /// It is alive, and has too much or wants us to wait.
    Busy(Option<Duration>),
    /// It failed, and may want us to wait.
    Failed(Option<Duration>),
}

struct Lane {
    limiter: Limiter,
    breaker: Breaker,
    in_flight: usize,
    hold: Option<Instant>,
    /// Number of the last request it got.
    turn: u64,
}

struct State {
    lanes: Vec<Lane>,
    in_flight: usize,
    bytes: usize,
    turns: u64,
    fault: Option<RunFault>,
    /// Requests that want an answer, waiting ones included.
    present: usize,
    idle_since: Option<Instant>,
    /// Since when all has failed.
    failing_since: Option<Instant>,
    problem: String,
}

enum Step {
    Go(usize),
    Wait(Option<Instant>),
}

/// See the module.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
    bounds: Bounds,
    names: Vec<String>,
}

impl Gate {
    /// A gate to servers of these (printable) names.
    pub(super) fn new(names: Vec<String>, bounds: Bounds) -> Self {
        let lane = || Lane {
            limiter: Limiter::new(bounds.start, bounds.requests),
            breaker: Breaker::new(bounds.rest),
            in_flight: 0,
            hold: None,
            turn: 0,
        };
        let state = State {
            lanes: names.iter().map(|_| lane()).collect(),
            in_flight: 0,
            bytes: 0,
            turns: 0,
            fault: None,
            present: 0,
            idle_since: None,
            failing_since: None,
            problem: String::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new(), bounds, names }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that somebody wants an answer, for as long as the result lives: time in which nobody did
    /// does not count as time without an answer.
    pub(super) fn attend(&self) -> Presence<'_> {
        let mut state = self.state();
        state.present += 1;
        if let Some(since) = state.idle_since.take() {
            let idle = since.elapsed();
            state.failing_since = state.failing_since.map(|failing| failing + idle);
        }
        Presence(self)
    }

    /// Makes a fault everyone's.
    pub(super) fn fail(&self, fault: RunFault) -> RunFault {
        let fault = self.state().fault.get_or_insert(fault).clone();
        self.changed.notify_waiters();
        fault
    }

    pub(super) fn fault(&self) -> Option<RunFault> {
        self.state().fault.clone()
    }

    /// Waits until a request of so many bytes may be sent, and to which server.
    pub(super) async fn enter(&self, bytes: usize) -> Result<Permit<'_>, RunFault> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let now = Instant::now();
            let wait = match self.step(bytes, now)? {
                Step::Go(lane) => {
                    return Ok(Permit { gate: self, lane, bytes, sent: now, told: false });
                }
                Step::Wait(until) => until,
            };
            match wait {
                Some(until) => {
                    // Either is a reason to look again.
                    tokio::time::timeout_at(until.into(), changed).await.unwrap_or_default();
                }
                None => changed.await,
            }
        }
    }

    fn step(&self, bytes: usize, now: Instant) -> Result<Step, RunFault> {
        let mut state = self.state();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        let give_up = state.failing_since.map(|since| since + self.bounds.give_up);
        if give_up.is_some_and(|until| now >= until) {
            let fault = RunFault::Unreachable {
                endpoints: self.names.clone(),
                waited: self.bounds.give_up,
                problem: state.problem.clone(),
            };
            state.fault = Some(fault.clone());
            self.changed.notify_waiters();
            return Err(fault);
        }
        let is_full = state.in_flight >= self.bounds.requests
            || (state.in_flight > 0 && state.bytes.saturating_add(bytes) > self.bounds.bytes);
        if is_full {
            return Ok(Step::Wait(give_up));
        }
        let mut best: Option<(f64, u64, usize)> = None;
        let mut wait = give_up;
        for (index, lane) in state.lanes.iter().enumerate() {
            let until = match (lane.hold.filter(|hold| *hold > now), lane.breaker.pass(now)) {
                (Some(hold), _) => Some(hold),
                (None, Pass::Wait(until)) => until,
                (None, Pass::Free) if lane.in_flight >= lane.limiter.limit() => None,
                (None, Pass::Free | Pass::Probe) => {
                    let used = lane.in_flight as f64 / lane.limiter.limit() as f64;
                    let this = (used, lane.turn, index);
                    if best.is_none_or(|best| (this.0, this.1) < (best.0, best.1)) {
                        best = Some(this);
                    }
                    continue;
                }
            };
            wait = wait.into_iter().chain(until).min();
        }
        let Some((_, _, index)) = best else { return Ok(Step::Wait(wait)) };
        state.in_flight += 1;
        state.bytes += bytes;
        state.turns += 1;
        let turn = state.turns;
        let lane = &mut state.lanes[index];
        lane.breaker.begin_probe();
        lane.in_flight += 1;
        lane.turn = turn;
        Ok(Step::Go(index))
    }

    /// For each server: how many requests it may get at once, and how often it was left alone.
    pub(super) fn lanes(&self) -> Vec<(usize, u64)> {
        let state = self.state();
        state.lanes.iter().map(|lane| (lane.limiter.limit(), lane.breaker.opened)).collect()
    }
}

/// See [`Gate::attend`].
pub(super) struct Presence<'a>(&'a Gate);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.present -= 1;
        if state.present == 0 {
            state.idle_since = Some(Instant::now());
        }
    }
}

/// A request under way. Dropped without a [`Permit::learn`], it was given up and teaches nothing.
pub(super) struct Permit<'a> {
    gate: &'a Gate,
    /// The server it goes to.
    pub(super) lane: usize,
    bytes: usize,
    sent: Instant,
    told: bool,
}

impl Permit<'_> {
    /// The request leaves only now: the time until here is not the server's.
    pub(super) fn begin(&mut self) {
        self.sent = Instant::now();
    }

    /// Ends the request and keeps what it taught. `problem` is for whoever has to hear that nothing
    /// works.
    pub(super) fn learn(mut self, lesson: Lesson, problem: &str) {
        self.told = true;
        let now = Instant::now();
        let mut state = self.gate.state();
        let lane = &mut state.lanes[self.lane];
        match lesson {
            Lesson::Good => {
                lane.limiter.answered(self.sent, now, lane.in_flight);
                lane.breaker.good();
                state.failing_since = None;
            }
            Lesson::Busy(hold) | Lesson::Failed(hold) => {
                let is_news = lane.limiter.lower(self.sent, now);
                let chance = chance(lane.turn, &self.gate.names[self.lane], 0);
                match lesson {
                    // It does live; but while it only says so, no probe has succeeded.
                    Lesson::Busy(None) if is_news => {
                        lane.hold = Some(now + jittered(self.gate.bounds.rest, chance));
                    }
                    Lesson::Failed(_) => {
                        lane.breaker
                            .bad(now, jittered(Duration::from_secs(1), chance).as_secs_f64());
                    }
                    _ => {}
                }
                if matches!(lesson, Lesson::Busy(_)) {
                    lane.breaker.cancelled(now);
                }
                if let Some(hold) = hold {
                    lane.hold = lane.hold.max(Some(now + hold));
                }
                state.failing_since.get_or_insert(now);
                problem.clone_into(&mut state.problem);
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.in_flight -= 1;
        state.bytes -= self.bytes;
        let lane = &mut state.lanes[self.lane];
        lane.in_flight -= 1;
        if !self.told {
            lane.breaker.cancelled(Instant::now());
        }
        drop(state);
        self.gate.changed.notify_waiters();
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
