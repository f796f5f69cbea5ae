//! When whole units are committed.

use std::time::{Duration, Instant};

use curate_pipeline::RunConfig;

/// How long the second commit waits for more units.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Spooled bytes that do not wait for more. A fragment of so many is never merged, so that its bytes are
/// written once.
const MOST_BYTES: u64 = 2 << 30;

/// The first unit is committed at once: a table that cannot be written is noticed before hours of work
/// wait for it. Then commits come after so many units, so many spooled bytes, or so many seconds; these are
/// few at first and twice as many each time, so that there is something to look at soon and fragments
/// are large later.
pub(crate) struct Cadence {
    /// What the wait after a commit grows to.
    every: Duration,
    most_units: usize,
    /// How long to wait after the last commit.
    wait: Duration,
    last: Option<Instant>,
}

impl Cadence {
    pub(crate) fn new(run: &RunConfig) -> Self {
        let every = Duration::from_secs_f64(run.commit_seconds);
        Self { every, most_units: run.commit_units, wait: Duration::ZERO, last: None }
    }

    /// Whether so many units, with so many bytes of clips, should be committed now.
    pub(crate) fn is_due(&self, units: usize, bytes: u64, now: Instant) -> bool {
        let is_late = self.last.is_none_or(|last| now.duration_since(last) >= self.wait);
        units > 0 && (is_late || units >= self.most_units || bytes >= MOST_BYTES)
    }

    /// A commit begins.
    pub(crate) fn committed(&mut self, now: Instant) {
        let next = if self.last.is_none() { FIRST_WAIT } else { self.wait * 2 };
        self.wait = next.min(self.every);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds from the start at which a unit a second is committed.
    fn commits(run: &RunConfig, seconds: u64) -> Vec<u64> {
        let (mut cadence, start, mut units) = (Cadence::new(run), Instant::now(), 0);
        let at = |second: &u64| {
            let now = start + Duration::from_secs(*second);
            units += 1;
            let is_due = cadence.is_due(units, 0, now);
            if is_due {
                cadence.committed(now);
                units = 0;
            }
            is_due
        };
        (1..=seconds).filter(at).collect()
    }

    #[test]
    fn waits_grow_to_what_is_set() {
        assert_eq!(commits(&RunConfig::default(), 130), [1, 6, 16, 36, 66, 96, 126]);
        let every = |commit_seconds| RunConfig { commit_seconds, ..RunConfig::default() };
        assert_eq!(commits(&every(3.0), 10), [1, 4, 7, 10]);
        assert_eq!(commits(&every(1e-10), 3), [1, 2, 3]);
        assert_eq!(commits(&every(86_400_000.0), 50), [1, 6, 16, 36]);
    }

    #[test]
    fn many_units_do_not_wait() {
        let few = RunConfig { commit_units: 4, ..RunConfig::default() };
        assert_eq!(commits(&few, 13), [1, 5, 9, 13]);
    }

    #[test]
    fn many_bytes_do_not_wait_for_more() {
        let now = Instant::now();
        let mut cadence = Cadence::new(&RunConfig::default());
        assert!(!cadence.is_due(0, 0, now));
        assert!(cadence.is_due(1, 0, now));
        cadence.committed(now);
        assert!(!cadence.is_due(1, MOST_BYTES - 1, now));
        assert!(cadence.is_due(1, MOST_BYTES, now));
    }
}
