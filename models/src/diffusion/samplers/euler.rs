//! Euler's method along the noise level, plain and ancestral (Karras et al., arXiv 2206.00364).
//!
//! The state is x0 + sigma * noise; the model sees it divided by sqrt(sigma^2 + 1). Levels lie
//! evenly in time from the last step to the first, then 0.

use candle_core::Tensor;

use super::{Call, DiffusionError, Grid, NoiseSource, Prediction, Sampler, Schedule, mix};

#[derive(Debug)]
pub(super) struct Euler {
    times: Vec<f64>,
    /// One per call, and the 0 at the end.
    sigmas: Vec<f64>,
    prediction: Prediction,
    is_ancestral: bool,
}

impl Euler {
    pub(super) fn new(
        schedule: &Schedule,
        grid: Grid,
        prediction: Prediction,
        is_ancestral: bool,
    ) -> Self {
        let times = grid.linspace(schedule, 0).split_off(grid.steps - grid.used);
        let levels = times.iter().map(|time| schedule.sigma(*time));
        let sigmas = levels.chain([0.0]).collect();
        Self { times, sigmas, prediction, is_ancestral }
    }
}

impl Sampler for Euler {
    fn times(&self) -> &[f64] {
        &self.times
    }

    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError> {
        match x0 {
            Some(x0) => mix((1.0, x0), (self.sigmas[0], noise)),
            None => Ok((noise * self.sigmas[0])?),
        }
    }

    fn input(&self, call: usize, state: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok((state / self.sigmas[call].hypot(1.0))?)
    }

    fn step(
        &mut self,
        Call { index: call, output, state }: Call<'_>,
        noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError> {
        let (sigma, next) = (self.sigmas[call], self.sigmas[call + 1]);
        let left = (sigma * sigma + 1.0).recip();
        let slope = self.prediction.noise(left, &self.input(call, state)?, output)?;
        if !self.is_ancestral {
            return mix((1.0, state), (next - sigma, &slope));
        }
        let (square, next_square) = (sigma * sigma, next * next);
        let up = next * ((square - next_square) / square).sqrt();
        let down = (next_square - up * up).max(0.0).sqrt();
        let state = mix((1.0, state), (down - sigma, &slope))?;
        // Drawn at the last step as well, where its share is zero: what is drawn does not depend on
        // where a sampler stands.
        let noise = noise.like(&state)?;
        mix((1.0, &state), (up, &noise))
    }
}
