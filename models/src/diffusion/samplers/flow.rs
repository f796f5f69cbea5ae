//! Euler's method along a rectified flow (Liu et al., arXiv 2209.03003).
//!
//! The state is (1 - s) x0 + s noise and the model predicts noise - x0, which is the slope in s.

use candle_core::Tensor;

use super::{Call, DiffusionError, Grid, NoiseSource, Sampler, Schedule, begin, mix};

#[derive(Debug)]
pub(super) struct FlowEuler {
    times: Vec<f64>,
    /// Share of noise, one per call, and the 0 at the end.
    shares: Vec<f64>,
}

impl FlowEuler {
    pub(super) fn new(schedule: &Schedule, grid: Grid, shift: f64) -> Self {
        let count = grid.steps as f64;
        let shares: Vec<f64> = (0..=grid.used)
            .rev()
            .map(|left| {
                let share = left as f64 / count;
                shift * share / (1.0 + (shift - 1.0) * share)
            })
            .collect();
        // As in training, the model's time is the share of noise times the schedule's steps.
        let steps = schedule.steps() as f64;
        let times = shares[..grid.used].iter().map(|share| share * steps).collect();
        Self { times, shares }
    }
}

impl Sampler for FlowEuler {
    fn times(&self) -> &[f64] {
        &self.times
    }

    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError> {
        begin((1.0 - self.shares[0], self.shares[0]), noise, x0)
    }

    fn input(&self, _call: usize, state: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok(state.clone())
    }

    fn step(
        &mut self,
        Call { index: call, output, state }: Call<'_>,
        _noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError> {
        mix((1.0, state), (self.shares[call + 1] - self.shares[call], output))
    }
}
