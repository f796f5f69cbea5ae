//! What a run tells whoever watches: progress bars, the event log and the end table are all made
//! from these calls, so the engine prints nothing itself.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{Unit, UnitResult};

/// Every method does nothing unless overridden. Calls come from many threads.
pub trait Observer: Sync {
    /// The run has its stages and their numbers of workers.
    fn started(&self, _stages: &[(&'static str, usize)]) {}
    /// A unit is being decoded.
    fn unit_started(&self, _unit: &Unit) {}
    /// This many more frames have been decoded.
    fn frames_decoded(&self, _frames: u64) {}
    /// A clip was cut out.
    fn clip_split(&self) {}
    /// The stages' counts and times so far; called several times a second.
    fn stages(&self, _stages: &[crate::StageReport]) {}
    /// A stage has finished with a clip.
    fn clip_measured(&self, _stage: &'static str) {}
    /// All clips of a unit have ended.
    fn unit_finished(&self, _result: &UnitResult) {}
    /// A unit failed for a passing reason and is tried again.
    fn unit_retried(&self, _unit: &Unit, _attempt: u32, _error: &crate::UnitError) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Where the workers of one stage spent their time.
#[derive(Debug, Default)]
pub struct StageTimes {
    busy: AtomicU64,
    waiting: AtomicU64,
    blocked: AtomicU64,
}

impl StageTimes {
    pub(crate) fn busy(&self, since: Instant) {
        add(&self.busy, since.elapsed());
    }

    pub(crate) fn waiting(&self, since: Instant) {
        add(&self.waiting, since.elapsed());
    }

    pub(crate) fn blocked(&self, time: Duration) {
        add(&self.blocked, time);
    }

    /// Moves time that was counted as busy to blocked (a split blocks inside its own call).
    pub(crate) fn busy_without(&self, since: Instant, blocked: Duration) {
        add(&self.busy, since.elapsed().saturating_sub(blocked));
        add(&self.blocked, blocked);
    }

    /// Seconds of work, of waiting for input and of waiting for room in the output, over all
    /// workers.
    #[must_use]
    pub fn seconds(&self) -> (f64, f64, f64) {
        let read = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed) as f64 / 1e9;
        (read(&self.busy), read(&self.waiting), read(&self.blocked))
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(time.as_nanos().min(u128::from(u64::MAX)) as u64, Ordering::Relaxed);
}
