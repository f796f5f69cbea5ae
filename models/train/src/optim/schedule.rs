//! Learning rates over steps: a rise from zero, then level or down.

use serde::{Deserialize, Serialize};

/// What the rate does after its rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays, as in the published trainers.
    #[default]
    Constant,
    /// Half a cosine down to [`ScheduleConfig::floor`] (Loshchilov and Hutter, "SGDR", 2017).
    Cosine,
    /// A straight line down to [`ScheduleConfig::floor`].
    Linear,
    /// It stays until [`ScheduleConfig::hold`] of the steps, then goes down in a straight line: the
    /// steps can be lengthened later without starting over.
    HoldThenLinear,
}

/// The learning rate's course, as a share of its value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Steps of the rise; 100 in the published trainer.
    pub warmup_steps: u64,
    /// What comes after.
    pub decay: Decay,
    /// The share that is left at the last step.
    pub floor: f64,
    /// For `hold-then-linear`: the share of all steps before the descent.
    pub hold: f64,
    /// The step at which the descent ends; 0: the run's last. With it, a run that is given more steps
    /// later has the rates of one that was given them at once.
    pub steps: u64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { warmup_steps: 100, decay: Decay::Constant, floor: 0.0, hold: 0.8, steps: 0 }
    }
}

impl ScheduleConfig {
    /// The share for a step, the first being 1, of `steps` in all.
    #[must_use]
    pub fn share(&self, step: u64, steps: u64) -> f64 {
        let steps = if self.steps > 0 { self.steps } else { steps };
        let rise = (step as f64 / (self.warmup_steps.max(1)) as f64).min(1.0);
        let after = |from: f64| {
            let length = (steps as f64 - from).max(1.0);
            ((step as f64 - from) / length).clamp(0.0, 1.0)
        };
        let warmup = self.warmup_steps as f64;
        let left = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => (1.0 + (std::f64::consts::PI * after(warmup)).cos()) / 2.0,
            Decay::Linear => 1.0 - after(warmup),
            Decay::HoldThenLinear => 1.0 - after((self.hold * steps as f64).max(warmup)),
        };
        rise * (self.floor + (1.0 - self.floor) * left)
    }

    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        [("floor", self.floor), ("hold", self.hold)]
            .iter()
            .filter(|(_, value)| !(0.0..=1.0).contains(value))
            .map(|(name, value)| format!("`{key}.{name}` is {value}, not a share from 0 to 1"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Decay, ScheduleConfig};

    #[test]
    fn rates_rise_and_fall_as_named() {
        let near =
            |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        let config =
            |decay| ScheduleConfig { warmup_steps: 10, decay, floor: 0.1, hold: 0.5, steps: 0 };
        let held = ScheduleConfig { steps: 110, ..config(Decay::Cosine) };
        near(held.share(60, 70), config(Decay::Cosine).share(60, 110));
        for decay in [Decay::Constant, Decay::Cosine, Decay::Linear, Decay::HoldThenLinear] {
            near(config(decay).share(5, 110), 0.5 * config(decay).share(10, 110));
            near(config(decay).share(10, 110), 1.0);
        }
        near(config(Decay::Constant).share(110, 110), 1.0);
        near(config(Decay::Cosine).share(60, 110), 0.55);
        near(config(Decay::Linear).share(35, 110), 0.1 + 0.9 * 0.75);
        near(config(Decay::HoldThenLinear).share(55, 110), 1.0);
        for decay in [Decay::Cosine, Decay::Linear, Decay::HoldThenLinear] {
            near(config(decay).share(110, 110), 0.1);
            // Longer than planned: it stays where it ended.
            near(config(decay).share(200, 110), 0.1);
        }
        assert_eq!(
            ScheduleConfig { floor: 2.0, ..ScheduleConfig::default() }.problems("schedule").len(),
            1
        );
    }
}
