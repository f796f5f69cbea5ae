//! Whether a server gets requests at all: after several failures in a row it gets none for a while,
//! then a single one, and all of them again when that one is answered.
//!
//! A pure state machine that is told the time, so that it can be tested without waiting.

use std::time::{Duration, Instant};

/// Failures in a row that open it. Random faults of one request in four do so once in a thousand.
const FAILURES: u32 = 5;
/// The first pause is doubled with each probe that fails, at most this often.
const DOUBLINGS: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        trips: u32,
    },
    /// A single request is under way.
    Probing {
        trips: u32,
    },
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Go.
    Free,
    /// Go, alone: it decides.
    Probe,
    /// Wait; when there is no time, until the probe has ended.
    Wait(Option<Instant>),
}

/// The breaker of one server.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: State,
    pause: Duration,
    /// How often it has opened.
    pub(super) opened: u64,
}

impl Breaker {
    /// Closed; the first time it opens it stays so for `pause`.
    pub(super) fn new(pause: Duration) -> Self {
        Self { state: State::Closed { failures: 0 }, pause, opened: 0 }
    }

    /// What a request may do now. Whoever goes as a probe must [`begin_probe`](Self::begin_probe).
    pub(super) fn pass(&self, now: Instant) -> Pass {
        match self.state {
            State::Closed { .. } => Pass::Free,
            State::Open { until, .. } if now >= until => Pass::Probe,
            State::Open { until, .. } => Pass::Wait(Some(until)),
            State::Probing { .. } => Pass::Wait(None),
        }
    }

    pub(super) fn begin_probe(&mut self) {
        if let State::Open { trips, .. } = self.state {
            self.state = State::Probing { trips };
        }
    }

    /// The server answered sensibly. Gives whether that closed the breaker.
    pub(super) fn good(&mut self) -> bool {
        let was_probing = matches!(self.state, State::Probing { .. });
        // An answer to a request from before it opened proves as much, but only the probe closes it:
        // else a server that answers the old ones and no new ones would never be left alone.
        if was_probing || matches!(self.state, State::Closed { .. }) {
            self.state = State::Closed { failures: 0 };
        }
        was_probing
    }

    /// The server failed. `stretch` in 0.5..1 spreads the probes of several clients.
    pub(super) fn bad(&mut self, now: Instant, stretch: f64) {
        let trips = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => 0,
            State::Probing { trips } => (trips + 1).min(DOUBLINGS),
            // Requests from before it opened.
            State::Open { .. } => return,
        };
        let pause = self.pause.saturating_mul(1 << trips).mul_f64(stretch.clamp(0.5, 1.0));
        self.state = State::Open { until: now + pause, trips };
        self.opened += 1;
    }

    /// A probe was given up without an answer: the next may try.
    pub(super) fn cancelled(&mut self, now: Instant) {
        if let State::Probing { trips } = self.state {
            self.state = State::Open { until: now, trips };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_probes_and_closes() {
        let (mut breaker, now) = (Breaker::new(PAUSE), Instant::now());
        for _ in 1..FAILURES {
            breaker.bad(now, 1.0);
        }
        assert_eq!(breaker.pass(now), Pass::Free);
        assert!(!breaker.good());
        for _ in 0..FAILURES {
            assert_eq!(breaker.pass(now), Pass::Free);
            breaker.bad(now, 1.0);
        }
        assert_eq!(breaker.pass(now), Pass::Wait(Some(now + PAUSE)));
        // Late news changes nothing.
        breaker.bad(now, 1.0);
        assert!(!breaker.good());
        assert_eq!(breaker.pass(now), Pass::Wait(Some(now + PAUSE)));
        let later = now + PAUSE;
        assert_eq!(breaker.pass(later), Pass::Probe);
        breaker.begin_probe();
        assert_eq!(breaker.pass(later), Pass::Wait(None));
        breaker.bad(later, 1.0);
        assert_eq!(breaker.pass(later), Pass::Wait(Some(later + 2 * PAUSE)));
        let last = later + 2 * PAUSE;
        breaker.begin_probe();
        breaker.cancelled(last);
        assert_eq!(breaker.pass(last), Pass::Probe);
        breaker.begin_probe();
        assert!(breaker.good());
        assert_eq!((breaker.pass(last), breaker.opened), (Pass::Free, 2));
    }

    #[test]
    fn the_pause_stops_growing() {
        let (mut breaker, mut now) = (Breaker::new(PAUSE), Instant::now());
        for _ in 0..FAILURES {
            breaker.bad(now, 1.0);
        }
        for _ in 0..20 {
            let Pass::Wait(Some(until)) = breaker.pass(now) else { panic!("not open") };
            assert!(until - now <= 64 * PAUSE);
            now = until;
            breaker.begin_probe();
            breaker.bad(now, 0.7);
        }
    }
}
