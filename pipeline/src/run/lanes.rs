//! How the cores are shared out among the units that are decoded at the same time.
//!
//! Frame threads cost a decoder a quarter of its throughput (`make bench-decode-threads`), so many
//! units get a thread each, and few units several. A decoder's threads cannot change while it runs:
//! its share is what holds when it begins.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{RunConfig, config::MOST_DECODE_THREADS};

/// How long the first unit waits to hear whether there are others. Looking into a usual file takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);

/// The cores, and the workers that want a share of them.
pub(super) struct Lanes {
    cpus: usize,
    /// What the user has set.
    fixed: Option<usize>,
    patience: Duration,
    workers: Mutex<Workers>,
    found: Condvar,
}

#[derive(Debug)]
struct Workers {
    /// Those that have not found yet that there are no more units.
    open: usize,
    /// Those that look for their first unit.
    looking: usize,
}

impl Lanes {
    pub(super) fn new(run: &RunConfig, workers: usize) -> Self {
        Self {
            cpus: run.cpus,
            fixed: (run.decode_threads > 0).then_some(run.decode_threads),
            patience: PATIENCE,
            workers: Mutex::new(Workers { open: workers, looking: workers }),
            found: Condvar::new(),
        }
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the workers begins. Each must begin once.
    pub(super) fn enter(&self) -> Lane<'_> {
        Lane { lanes: self, is_looking: true }
    }

    /// Decoder threads for a unit that begins now.
    pub(super) fn threads(&self) -> usize {
        if let Some(threads) = self.fixed {
            return threads;
        }
        let is_waiting = |workers: &mut Workers| workers.looking > 0;
        let waited = self.found.wait_timeout_while(self.workers(), self.patience, is_waiting);
        let (workers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (self.cpus / workers.open.max(1)).clamp(1, MOST_DECODE_THREADS)
    }
}

/// A worker that takes units, until it is dropped.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    is_looking: bool,
}

impl Lane<'_> {
    /// The worker has a unit.
    pub(super) fn found(&mut self) {
        self.no_longer_looks(&mut self.lanes.workers());
    }

    fn no_longer_looks(&mut self, workers: &mut Workers) {
        if std::mem::take(&mut self.is_looking) {
            workers.looking -= 1;
            self.lanes.found.notify_all();
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // In one step: between two, a film that waits would see that nobody looks any more, and share
        // the cores with workers that are about to go.
        let mut workers = self.lanes.workers();
        workers.open -= 1;
        self.no_longer_looks(&mut workers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(cpus: usize, decode_threads: usize, workers: usize) -> Lanes {
        Lanes::new(&RunConfig { cpus, decode_threads, ..RunConfig::default() }, workers)
    }

    #[test]
    fn many_units_get_a_thread_each_and_the_last_ones_more() {
        let lanes = lanes(4, 0, 4);
        let mut workers: Vec<Lane<'_>> = (0..4).map(|_| lanes.enter()).collect();
        workers.iter_mut().for_each(Lane::found);
        assert_eq!(lanes.threads(), 1);
        workers.truncate(2);
        assert_eq!(lanes.threads(), 2);
        workers.truncate(1);
        assert_eq!(lanes.threads(), 4);
    }

    #[test]
    fn a_single_film_waits_for_the_others_to_find_nothing() {
        let patience = Duration::from_secs(20);
        // Many times, since what may go wrong is a matter of who comes first.
        for _ in 0..500 {
            let lanes = Lanes { patience, ..lanes(4, 0, 4) };
            std::thread::scope(|scope| {
                let mut one = lanes.enter();
                for _ in 0..3 {
                    scope.spawn(|| drop(lanes.enter()));
                }
                one.found();
                assert_eq!(lanes.threads(), 4, "all cores are for it, not a quarter");
            });
        }
    }

    #[test]
    fn nobody_waits_for_a_slow_listing_for_ever() {
        let lanes = lanes(4, 0, 2);
        let (mut one, _slow) = (lanes.enter(), lanes.enter());
        one.found();
        assert_eq!(lanes.threads(), 2, "the slow worker is expected to come");
    }

    #[test]
    fn what_is_set_holds() {
        assert_eq!(lanes(4, 3, 4).threads(), 3);
    }
}
