//! DPM-Solver++ of second order, multistep (Lu et al., arXiv 2211.01095, algorithm 2, midpoint).
//!
//! The state is x_t itself. The last step, to no noise at all, is of first order, and so is a step after
//! one of no width: with as many steps as the schedule has, two times round to the same one.

use candle_core::Tensor;

use super::{Call, DiffusionError, Grid, NoiseSource, Prediction, Sampler, Schedule, begin, mix};

#[derive(Debug)]
pub(super) struct DpmPp {
    times: Vec<f64>,
    /// One per call, and the 0 at the end.
    sigmas: Vec<f64>,
    prediction: Prediction,
    /// The clean sample of the call before.
    before: Option<Tensor>,
}

/// Shares of signal and noise of a level, whose squares add up to one, and the half log ratio.
#[derive(Clone, Copy)]
struct Level {
    signal: f64,
    noise: f64,
    lambda: f64,
}

impl Level {
    fn new(sigma: f64) -> Self {
        let signal = sigma.hypot(1.0).recip();
        Self { signal, noise: sigma * signal, lambda: -sigma.ln() }
    }
}

impl DpmPp {
    pub(super) fn new(schedule: &Schedule, grid: Grid, prediction: Prediction) -> Self {
        let mut times = grid.linspace(schedule, 1);
        times.pop();
        let times: Vec<f64> =
            times.split_off(grid.steps - grid.used).into_iter().map(f64::round_ties_even).collect();
        let levels = times.iter().map(|time| schedule.sigma(*time));
        let sigmas = levels.chain([0.0]).collect();
        Self { times, sigmas, prediction, before: None }
    }
}

impl Sampler for DpmPp {
    fn times(&self) -> &[f64] {
        &self.times
    }

    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError> {
        let level = Level::new(self.sigmas[0]);
        begin((level.signal, level.noise), noise, x0)
    }

    fn input(&self, _call: usize, state: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok(state.clone())
    }

    fn step(
        &mut self,
        Call { index: call, output, state }: Call<'_>,
        _noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError> {
        let (from, to) = (Level::new(self.sigmas[call]), Level::new(self.sigmas[call + 1]));
        let clean = self.prediction.clean(from.signal * from.signal, state, output)?;
        let width = to.lambda - from.lambda;
        let towards = -to.signal * (-width).exp_m1();
        let is_last = call + 1 == self.times.len();
        let earlier = call
            .checked_sub(1)
            .map_or(0.0, |before| from.lambda - Level::new(self.sigmas[before]).lambda);
        let aim = match &self.before {
            // The clean sample in the middle of the step, by a line through this one and the last.
            Some(before) if !is_last && earlier > 0.0 => {
                let reach = 0.5 * width / earlier;
                mix((1.0 + reach, &clean), (-reach, before))?
            }
            _ => clean.clone(),
        };
        self.before = Some(clean);
        mix((to.noise / from.noise, state), (towards, &aim))
    }
}
