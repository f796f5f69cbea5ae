//! PNDM: pseudo numerical methods on the manifold (Liu et al., arXiv 2202.09778).
//!
//! A linear multistep method needs three earlier outputs. Either the first step is made twice, from
//! the same state (one more call than steps), or the first three steps are pseudo Runge-Kutta steps
//! of four calls (nine more calls). The last step leads to the first step of the schedule, not to the
//! clean sample: so the published results were made.
//!
//! Models that predict v: each output is turned into noise at its own time before outputs are added
//! up. `diffusers` adds up v of different times and then turns the sum, which is no v of any time.

use candle_core::Tensor;

use super::{Call, DiffusionError, Grid, NoiseSource, Prediction, Sampler, Schedule, begin, mix};

/// Calls of the model per Runge-Kutta step.
const PRK_CALLS: usize = 4;
/// Runge-Kutta steps.
const PRK_STEPS: usize = 3;

#[derive(Debug)]
pub(super) struct Pndm {
    /// The model's time for each call.
    times: Vec<f64>,
    /// From which step to which each call's result goes; `None` as the end is the clean end.
    moves: Vec<(usize, Option<usize>)>,
    alphas_cumprod: Vec<f64>,
    prediction: Prediction,
    /// Calls of the Runge-Kutta steps.
    prk: usize,
    /// Newest last, up to four.
    outputs: Vec<Tensor>,
    /// The state that a step began with.
    origin: Option<Tensor>,
    /// The weighted sum of a Runge-Kutta step's outputs so far.
    sum: Option<Tensor>,
}

impl Pndm {
    pub(super) fn new(
        schedule: &Schedule,
        grid: Grid,
        prediction: Prediction,
        is_prk: bool,
    ) -> Self {
        let gap = schedule.steps() / grid.steps;
        let mut steps: Vec<usize> = grid.leading(schedule).into_iter().rev().collect();
        let mut moves = Vec::new();
        let mut calls: Vec<usize> = Vec::new();
        let prk = if is_prk { PRK_CALLS * PRK_STEPS } else { 0 };
        if is_prk {
            let half = gap / 2;
            // A step from t in four calls: at t, in the middle twice, and at the end.
            let mut places = vec![steps[0]];
            for step in 0..PRK_STEPS * 2 {
                let end = steps[step / 2 + 1];
                places.push(if step.is_multiple_of(2) { end + half } else { end });
            }
            for pair in places.windows(2) {
                calls.extend([pair[0], pair[1]]);
            }
            for call in 0..prk {
                let begin = calls[call / PRK_CALLS * PRK_CALLS];
                let to =
                    calls[call] as isize - if call.is_multiple_of(2) { half as isize } else { 0 };
                moves.push((begin, usize::try_from(to).ok()));
            }
            steps.drain(..PRK_STEPS);
            for step in &steps {
                moves.push((*step, step.checked_sub(gap)));
            }
            calls.extend(steps);
        } else {
            for (index, step) in steps.iter().enumerate() {
                calls.push(*step);
                moves.push((*step, step.checked_sub(gap)));
                if index == 0 {
                    // The same step again, with the output at its end taken into account.
                    calls.push(step.checked_sub(gap).unwrap_or(0));
                    moves.push((*step, step.checked_sub(gap)));
                }
            }
        }
        Self {
            times: calls.into_iter().map(|time| time as f64).collect(),
            moves,
            alphas_cumprod: schedule.alphas_cumprod.clone(),
            prediction,
            prk,
            outputs: Vec::new(),
            origin: None,
            sum: None,
        }
    }

    /// Equation 11 of the paper: from one step to another along a given noise.
    fn transfer(
        &self,
        (from, to): (usize, Option<usize>),
        state: &Tensor,
        noise: &Tensor,
    ) -> Result<Tensor, DiffusionError> {
        let left = self.alphas_cumprod[from];
        let next = self.alphas_cumprod[to.unwrap_or(0)];
        let of_noise = left * (1.0 - next).sqrt() + (left * (1.0 - left) * next).sqrt();
        mix(((next / left).sqrt(), state), (-(next - left) / of_noise, noise))
    }

    fn runge_kutta(
        &mut self,
        call: usize,
        noise: Tensor,
        state: &Tensor,
    ) -> Result<Tensor, DiffusionError> {
        let (weight, is_last) = match call % PRK_CALLS {
            0 => {
                self.outputs.push(noise.clone());
                self.origin = Some(state.clone());
                (1.0 / 6.0, false)
            }
            3 => (1.0 / 6.0, true),
            _ => (1.0 / 3.0, false),
        };
        let sum = match self.sum.take() {
            Some(sum) => mix((1.0, &sum), (weight, &noise))?,
            None => (&noise * weight)?,
        };
        let along = if is_last { sum.clone() } else { noise };
        if !is_last {
            self.sum = Some(sum);
        }
        let origin = self.origin.as_ref().unwrap_or(state);
        self.transfer(self.moves[call], origin, &along)
    }

    fn multistep(
        &mut self,
        call: usize,
        noise: Tensor,
        state: &Tensor,
    ) -> Result<Tensor, DiffusionError> {
        if self.prk == 0 && call == 1 {
            // The first step again, from where it began, along the mean of both ends.
            let first = self.outputs.last().unwrap_or(&noise);
            let mean = mix((0.5, &noise), (0.5, first))?;
            let origin = self.origin.take();
            return self.transfer(self.moves[call], origin.as_ref().unwrap_or(state), &mean);
        }
        if call == 0 {
            self.origin = Some(state.clone());
        }
        self.outputs.push(noise);
        let excess = self.outputs.len().saturating_sub(4);
        self.outputs.drain(..excess);
        // Adams-Bashforth, newest first.
        let weights: &[f64] = match self.outputs.len() {
            1 => &[1.0],
            2 => &[3.0 / 2.0, -1.0 / 2.0],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let mut along: Option<Tensor> = None;
        for (output, weight) in self.outputs.iter().rev().zip(weights) {
            let part = (output * *weight)?;
            along = Some(match along {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        let along = along.unwrap_or_else(|| state.clone());
        self.transfer(self.moves[call], state, &along)
    }
}

impl Sampler for Pndm {
    fn times(&self) -> &[f64] {
        &self.times
    }

    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError> {
        let left = self.alphas_cumprod[self.times[0] as usize];
        begin((left.sqrt(), (1.0 - left).sqrt()), noise, x0)
    }

    fn input(&self, _call: usize, state: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok(state.clone())
    }

    fn step(
        &mut self,
        Call { index: call, output, state }: Call<'_>,
        _noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError> {
        let left = self.alphas_cumprod[self.times[call] as usize];
        let noise = self.prediction.noise(left, state, output)?;
        if call < self.prk {
            self.runge_kutta(call, noise, state)
        } else {
            self.multistep(call, noise, state)
        }
    }
}
