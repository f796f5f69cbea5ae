//! How much noise there is at each step: linear betas and what follows from them, all in f64.
//!
//! In f32 the cumulative product of a thousand factors loses the digits that the variance bounds at
//! small t are made of; a table of 1000 f64 costs nothing.

use super::DiffusionError;

/// The ends of a linear schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaRange {
    /// Steps; 1000 in every published model.
    pub steps: usize,
    /// Variance added by the first step.
    pub start: f64,
    /// Variance added by the last step.
    pub end: f64,
}

impl Default for BetaRange {
    /// EasyAnimate's and PixArt's: 1000 steps from 1e-4 to 2e-2.
    fn default() -> Self {
        Self { steps: 1000, start: 1e-4, end: 2e-2 }
    }
}

/// Tables of a schedule, one entry per step, from least to most noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Variance that step t adds.
    pub betas: Vec<f64>,
    /// Product of 1 - beta up to and with t: the share of the signal's power that is left.
    pub alphas_cumprod: Vec<f64>,
    /// Log of the variance of q(x_{t-1} | x_t, x_0); that of t = 1 stands in for t = 0, whose
    /// variance is zero.
    pub posterior_log_variance_clipped: Vec<f64>,
    /// Weight of x_0 in the mean of q(x_{t-1} | x_t, x_0).
    pub posterior_mean_x0: Vec<f64>,
    /// Weight of x_t in it.
    pub posterior_mean_xt: Vec<f64>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::linear(BetaRange::default())
    }
}

impl Schedule {
    /// The linear schedule of Ho et al., "Denoising diffusion probabilistic models" (arXiv
    /// 2006.11239), equations 6 and 7 for the posterior.
    ///
    /// # Panics
    /// With fewer than two steps.
    #[must_use]
    pub fn linear(range: BetaRange) -> Self {
        assert!(range.steps >= 2, "a schedule has at least two steps");
        let gap = (range.end - range.start) / (range.steps - 1) as f64;
        let betas: Vec<f64> = (0..range.steps).map(|t| range.start + gap * t as f64).collect();
        let mut left = 1.0;
        let alphas_cumprod: Vec<f64> = betas
            .iter()
            .map(|beta| {
                left *= 1.0 - beta;
                left
            })
            .collect();
        let before = |t: usize| if t == 0 { 1.0 } else { alphas_cumprod[t - 1] };
        let noise = |t: usize| 1.0 - alphas_cumprod[t];
        let steps = 0..range.steps;
        let variance = |t: usize| betas[t] * (1.0 - before(t)) / noise(t);
        let posterior_log_variance_clipped =
            steps.clone().map(|t| variance(t.max(1)).ln()).collect();
        let posterior_mean_x0 =
            steps.clone().map(|t| betas[t] * before(t).sqrt() / noise(t)).collect();
        let posterior_mean_xt =
            steps.map(|t| (1.0 - before(t)) * (1.0 - betas[t]).sqrt() / noise(t)).collect();
        Self {
            betas,
            alphas_cumprod,
            posterior_log_variance_clipped,
            posterior_mean_x0,
            posterior_mean_xt,
        }
    }

    /// Steps of training.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.betas.len()
    }

    /// Signal-to-noise ratio at a step: abar / (1 - abar).
    ///
    /// # Panics
    /// When the step is outside the schedule.
    #[must_use]
    pub fn snr(&self, step: usize) -> f64 {
        self.alphas_cumprod[step] / (1.0 - self.alphas_cumprod[step])
    }

    /// Noise per unit of signal, sqrt((1 - abar) / abar), between steps interpolated linearly.
    pub(super) fn sigma(&self, time: f64) -> f64 {
        let at = |t: usize| self.snr(t).recip().sqrt();
        let last = self.steps() - 1;
        let low = (time.max(0.0) as usize).min(last);
        let share = (time - low as f64).clamp(0.0, 1.0);
        let (below, above) = (at(low), at((low + 1).min(last)));
        below + (above - below) * share
    }

    /// The step that a time names.
    pub(super) fn step(&self, time: f64) -> Result<usize, DiffusionError> {
        let steps = self.steps();
        if time.is_finite() && time >= 0.0 && time < steps as f64 {
            Ok(time as usize)
        } else {
            Err(DiffusionError::Time { time, steps })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    /// Values of the recipe, section 2.9.
    #[test]
    fn the_share_of_signal_is_the_published_one() {
        let schedule = Schedule::default();
        for (step, expected) in
            [(0, 0.9999), (249, 0.5241), (499, 0.07859), (749, 0.003_351), (999, 4.036e-5)]
        {
            let found = schedule.alphas_cumprod[step];
            assert!((found / expected - 1.0).abs() < 2e-4, "{step}: {found} {expected}");
        }
    }

    #[test]
    fn sigmas_between_steps_lie_between_those_of_the_steps() {
        let schedule = Schedule::default();
        let (low, middle, high) =
            (schedule.sigma(10.0), schedule.sigma(10.5), schedule.sigma(11.0));
        assert!((middle - 0.5 * (low + high)).abs() < 1e-12);
        assert!(schedule.step(1000.0).is_err());
        assert_eq!(schedule.step(999.9).unwrap(), 999);
    }
}
