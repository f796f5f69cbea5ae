//! Clipping of gradients by their norm, wide at first and hard on spikes.
//!
//! As the published trainer does: the bound comes down over the first steps, since early gradients
//! are large and right; later a norm far above the bound is an accident of one batch, whose step is
//! made smaller still than clipping alone would (Pascanu et al., 2013, for clipping itself).

use serde::{Deserialize, Serialize};

/// How gradients are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// The bound of the norm of all gradients together; 0: none. 1 in the published LoRA trainer.
    pub max_norm: f64,
    /// How many times wider the bound is at the first step. 5.
    pub initial_ratio: f64,
    /// The step at which it has come down to `max_norm`. 1000.
    pub settle_steps: u64,
    /// A norm of more than so many bounds is a spike, after the bound has come down. 5; 0: never.
    pub spike_ratio: f64,
    /// A spike's bound is divided by as much as the norm exceeds it, but by no more than this. 10.
    pub spike_limit: f64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            max_norm: 1.0,
            initial_ratio: 5.0,
            settle_steps: 1000,
            spike_ratio: 5.0,
            spike_limit: 10.0,
        }
    }
}

/// What becomes of a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// What it is multiplied by, at most 1.
    pub scale: f64,
    /// Whether it was a spike.
    pub is_spike: bool,
}

impl ClipConfig {
    /// What becomes of a gradient of this norm at a step, the first being 1.
    #[must_use]
    pub fn at(&self, step: u64, norm: f64) -> Clip {
        if self.max_norm <= 0.0 {
            return Clip { scale: 1.0, is_spike: false };
        }
        let settled = (step as f64 / self.settle_steps.max(1) as f64).min(1.0);
        let ratio = self.initial_ratio + (1.0 - self.initial_ratio) * settled;
        let mut bound = self.max_norm * ratio;
        let excess = norm / bound;
        let is_spike = settled >= 1.0 && self.spike_ratio > 0.0 && excess > self.spike_ratio;
        if is_spike {
            bound /= excess.min(self.spike_limit.max(1.0));
        }
        Clip { scale: (bound / norm).min(1.0), is_spike }
    }

    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value, least) in [
            ("max_norm", self.max_norm, 0.0),
            ("initial_ratio", self.initial_ratio, 1.0),
            ("spike_ratio", self.spike_ratio, 0.0),
            ("spike_limit", self.spike_limit, 1.0),
        ] {
            if value.is_nan() || value < least {
                problems.push(format!("`{key}.{name}` is {value}, less than {least}"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::ClipConfig;

    #[test]
    fn bounds_come_down_and_spikes_are_cut_further() {
        let config = ClipConfig { max_norm: 2.0, ..ClipConfig::default() };
        let near =
            |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        // Half way down the bound is 2 * 3.
        near(config.at(500, 12.0).scale, 0.5);
        near(config.at(500, 5.0).scale, 1.0);
        near(config.at(1000, 4.0).scale, 0.5);
        // Six bounds: the step is that of a gradient of norm 2 / 6.
        let spike = config.at(1000, 12.0);
        assert!(spike.is_spike);
        near(spike.scale * 12.0, 2.0 / 6.0);
        near(config.at(2000, 2000.0).scale * 2000.0, 0.2);
        assert!(!config.at(999, 1e6).is_spike);
        near(ClipConfig { max_norm: 0.0, ..config }.at(1, 1e9).scale, 1.0);
    }
}
