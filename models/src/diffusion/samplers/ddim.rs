//! DDIM without noise and without clipping (Song et al., arXiv 2010.02502, equation 12, eta 0).
//!
//! Times have a whole gap, and the last step leads to the clean sample.

use candle_core::Tensor;

use super::{Call, DiffusionError, Grid, NoiseSource, Prediction, Sampler, Schedule, begin, mix};

#[derive(Debug)]
pub(super) struct Ddim {
    times: Vec<f64>,
    /// Share of the signal's power, one per call, and the 1 at the end.
    left: Vec<f64>,
    prediction: Prediction,
}

impl Ddim {
    pub(super) fn new(schedule: &Schedule, grid: Grid, prediction: Prediction) -> Self {
        let gap = schedule.steps() / grid.steps;
        let steps: Vec<usize> = grid.leading(schedule).into_iter().rev().collect();
        let after = steps.iter().map(|step| match step.checked_sub(gap) {
            Some(step) => schedule.alphas_cumprod[step],
            None => 1.0,
        });
        let left = [schedule.alphas_cumprod[steps[0]]].into_iter().chain(after).collect();
        Self { times: steps.into_iter().map(|step| step as f64).collect(), left, prediction }
    }
}

impl Sampler for Ddim {
    fn times(&self) -> &[f64] {
        &self.times
    }

    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError> {
        begin((self.left[0].sqrt(), (1.0 - self.left[0]).sqrt()), noise, x0)
    }

    fn input(&self, _call: usize, state: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok(state.clone())
    }

    fn step(
        &mut self,
        Call { index: call, output, state }: Call<'_>,
        _noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError> {
        let (left, next) = (self.left[call], self.left[call + 1]);
        let clean = self.prediction.clean(left, state, output)?;
        let noise = self.prediction.noise(left, state, output)?;
        mix((next.sqrt(), &clean), ((1.0 - next).sqrt(), &noise))
    }
}
