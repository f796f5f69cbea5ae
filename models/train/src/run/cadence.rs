//! When something is due that happens every so many steps or minutes.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CadenceConfig {
    /// Every so many steps; 0: not by steps.
    #[serde(default)]
    pub steps: u64,
    /// Every so many minutes; 0: not by time.
    #[serde(default)]
    pub minutes: f64,
}

impl CadenceConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(self, key: &str) -> Vec<String> {
        // A year: what is longer is a mistake, and more than clocks can count.
        let is_right = (0.0..=525_600.0).contains(&self.minutes);
        let wrong = || format!("`{key}.minutes` is {}, not from 0 to 525600", self.minutes);
        if is_right { Vec::new() } else { vec![wrong()] }
    }
}

/// Counts towards the next time. By the clock things happen at other steps in each run; nothing that
/// happens by a cadence changes what is trained.
#[derive(Debug)]
pub struct Cadence {
    config: CadenceConfig,
    last: Instant,
}

impl Cadence {
    /// Begins to count.
    #[must_use]
    pub fn new(config: CadenceConfig) -> Self {
        Self { config, last: Instant::now() }
    }

    /// Whether it is due after this step; then it counts anew.
    pub fn is_due(&mut self, step: u64) -> bool {
        let by_steps = self.config.steps > 0 && step.is_multiple_of(self.config.steps);
        let by_time = self.config.minutes > 0.0
            && self.last.elapsed() >= Duration::from_secs_f64(self.config.minutes * 60.0);
        if by_steps || by_time {
            self.last = Instant::now();
        }
        by_steps || by_time
    }
}

#[cfg(test)]
mod tests {
    use super::{Cadence, CadenceConfig};

    #[test]
    fn things_are_due_by_steps_or_by_the_clock() {
        let due = |steps, minutes| {
            let mut cadence = Cadence::new(CadenceConfig { steps, minutes });
            (1..7).filter(|step| cadence.is_due(*step)).collect::<Vec<_>>()
        };
        assert_eq!(due(3, 0.0), [3, 6]);
        assert_eq!(due(0, 0.0), [0; 0]);
        assert_eq!(due(3, 600.0), [3, 6]);
        assert_eq!(due(0, 1e-12).len(), 6);
    }
}
