//! Which timesteps a training step sees.
//!
//! The full trainer of EasyAnimate V3 draws t = floor(1000 sigmoid(n)) with n standard normal, its
//! LoRA trainer uniformly; the paper states neither.

use curate_ops::Rng;
use serde::{Deserialize, Serialize};

/// How times are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimestepDraw {
    /// sigmoid(mean + deviation * n) with n standard normal (arXiv 2403.03206, section 3.1).
    LogitNormal {
        /// Above 0 more noise, below it less; 0 in the published trainer.
        mean: f64,
        /// 1 in the published trainer.
        deviation: f64,
    },
    /// Every time is as likely as another. With braces, so that keys of the other kind are refused.
    Uniform {},
}

impl Default for TimestepDraw {
    fn default() -> Self {
        Self::LOGIT_NORMAL
    }
}

impl TimestepDraw {
    /// Of the published full trainer.
    pub const LOGIT_NORMAL: Self = Self::LogitNormal { mean: 0.0, deviation: 1.0 };

    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(self, key: &str) -> Vec<String> {
        let Self::LogitNormal { mean, deviation } = self else { return Vec::new() };
        let mut problems = Vec::new();
        if !mean.is_finite() {
            problems.push(format!("`{key}.mean` is {mean}, not a number"));
        }
        if !(deviation.is_finite() && deviation >= 0.0) {
            problems.push(format!("`{key}.deviation` is {deviation}, not a number from 0 on"));
        }
        problems
    }

    /// Draws times as fractions of the schedule, each in [0, 1): one for each sample of a batch.
    pub fn draw(self, rng: &mut Rng, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| match self {
                Self::LogitNormal { mean, deviation } => {
                    let value = mean + deviation * rng.normal();
                    (1.0 + (-value).exp()).recip().min(1.0 - f64::EPSILON)
                }
                Self::Uniform {} => rng.uniform(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use curate_ops::Rng;

    use super::TimestepDraw;

    #[test]
    fn draws_have_the_distribution_they_name() {
        let mut rng = Rng::new(1);
        let share = |times: &[f64], low: f64, high: f64| {
            times.iter().filter(|time| (low..high).contains(*time)).count() as f64
                / times.len() as f64
        };
        let uniform = TimestepDraw::Uniform {}.draw(&mut rng, 40_000);
        assert!((share(&uniform, 0.25, 0.5) - 0.25).abs() < 0.01);
        let logit = TimestepDraw::LOGIT_NORMAL.draw(&mut rng, 40_000);
        // sigmoid(1) = 0.731: one standard deviation around the middle holds 68.3 %.
        assert!((share(&logit, 0.268_94, 0.731_06) - 0.6827).abs() < 0.01);
        assert!((share(&logit, 0.0, 0.5) - 0.5).abs() < 0.01);
        let extreme = TimestepDraw::LogitNormal { mean: 800.0, deviation: 1.0 };
        assert!(extreme.draw(&mut rng, 3).iter().all(|time| *time < 1.0));
    }
}
