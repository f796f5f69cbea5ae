//! Samplers: from noise to a sample in a few calls of the model.
//!
//! Euler, Euler ancestral, DPM++ 2M, PNDM, DDIM as `diffusers` 0.28.2 computes them for
//! EasyAnimate's scheduler settings (linear betas, `steps_offset` 1), and Euler along a rectified
//! flow. Each knows the model's times, how an input is scaled, how the first noise is, and one
//! step.
//!
//! A sampler is given the half of the output that predicts, in f32, and any noise that it adds, so
//! that the same seed gives the same sample. Coefficients are f64; only tensors are f32.
//!
//! DDIM does not clip: latents are not confined to [-1, 1], and clipping them is what spoils its
//! results elsewhere. Decided against taking times from a list: the places are part of what a
//! sampler is, and only `strength` may leave out the first ones.

mod ddim;
mod dpmpp;
mod euler;
mod flow;
mod pndm;

use std::{fmt, str::FromStr};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{DiffusionError, NoiseSource, Prediction, Schedule};

/// A way from noise to a sample. Calls go from 0 to `times().len() - 1`, in this order.
pub trait Sampler: fmt::Debug + Send {
    /// The model's time for each call, from most to least noise.
    fn times(&self) -> &[f64];

    /// The state that the first call starts from: `x0` with noise, both `[B, C, ...]` in f32. From
    /// pure noise, `x0` is `None`.
    ///
    /// # Errors
    /// When the shapes differ.
    fn start(&self, noise: &Tensor, x0: Option<&Tensor>) -> Result<Tensor, DiffusionError>;

    /// What the model sees of a state.
    ///
    /// # Errors
    /// When candle fails.
    fn input(&self, call: usize, state: &Tensor) -> Result<Tensor, DiffusionError>;

    /// The next state, given the model's output for the input of this call.
    ///
    /// # Errors
    /// When the shapes differ.
    fn step(
        &mut self,
        call: Call<'_>,
        noise: &mut dyn NoiseSource,
    ) -> Result<Tensor, DiffusionError>;
}

/// A call of the model that was made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which one, from 0.
    pub index: usize,
    /// What the model said, the predicting half of its channels: `[B, C, ...]`.
    pub output: &'a Tensor,
    /// The state that it was asked about; before [`Sampler::input`].
    pub state: &'a Tensor,
}

/// The samplers by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SamplerKind {
    /// Euler's method along the noise level (Karras et al., arXiv 2206.00364).
    #[default]
    #[serde(rename = "euler")]
    Euler,
    /// The same, a part of the noise drawn anew at each step.
    #[serde(rename = "euler-a")]
    EulerAncestral,
    /// DPM-Solver++ of second order, multistep (Lu et al., arXiv 2211.01095).
    #[serde(rename = "dpm++2m")]
    DpmPlusPlus2m,
    /// Pseudo linear multistep (Liu et al., arXiv 2202.09778), begun by repeating one step.
    #[serde(rename = "pndm")]
    Pndm,
    /// The same, begun by three Runge-Kutta steps of four calls each.
    #[serde(rename = "pndm-prk")]
    PndmPrk,
    /// Denoising diffusion implicit models (Song et al., arXiv 2010.02502), without noise.
    #[serde(rename = "ddim")]
    Ddim,
    /// Euler's method along a rectified flow.
    #[serde(rename = "flow-euler")]
    FlowEuler,
}

impl SamplerKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmPlusPlus2m,
        Self::Pndm,
        Self::PndmPrk,
        Self::Ddim,
        Self::FlowEuler,
    ];

    /// The name, as configurations and the command line have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-a",
            Self::DpmPlusPlus2m => "dpm++2m",
            Self::Pndm => "pndm",
            Self::PndmPrk => "pndm-prk",
            Self::Ddim => "ddim",
            Self::FlowEuler => "flow-euler",
        }
    }
}

impl FromStr for SamplerKind {
    type Err = DiffusionError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(|kind| format!("`{}`", kind.name())).join(", ");
            DiffusionError::Unknown { what: "sampler", name: name.to_owned(), known }
        })
    }
}

/// Which sampler, and how it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    /// Which one.
    pub kind: SamplerKind,
    /// Steps from pure noise to the sample.
    pub steps: usize,
    /// What the model predicts.
    pub prediction: Prediction,
    /// 1 starts from noise; less starts from a given sample and goes the last `strength` of the
    /// steps, so that much of the sample stays.
    pub strength: f64,
    /// How far a flow's steps are moved towards noise: `shift s / (1 + (shift - 1) s)` (arXiv
    /// 2403.03206, section 5.3.2); 1 leaves them.
    pub shift: f64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            kind: SamplerKind::default(),
            steps: 30,
            prediction: Prediction::default(),
            strength: 1.0,
            shift: 1.0,
        }
    }
}

impl SamplerConfig {
    /// Makes the sampler.
    ///
    /// # Errors
    /// When it is not for this prediction, or a number is out of its range.
    pub fn build(&self, schedule: &Schedule) -> Result<Box<dyn Sampler>, DiffusionError> {
        let (sampler, prediction) = (self.kind.name(), self.prediction.name());
        let is_flow = self.kind == SamplerKind::FlowEuler;
        if is_flow != (self.prediction == Prediction::Flow) {
            let alternative = if is_flow { "another sampler" } else { "`flow-euler`" };
            return Err(DiffusionError::Unsuited { sampler, prediction, alternative });
        }
        for (key, value, high) in [("strength", self.strength, 1.0), ("shift", self.shift, 100.0)] {
            if !(value > 0.0 && value <= high) {
                return Err(DiffusionError::Range { key, value, low: 0.0, high });
            }
        }
        // Runge-Kutta looks at the middle of a step, too, and needs three steps and one after them.
        let is_prk = self.kind == SamplerKind::PndmPrk;
        let (least, most) =
            (if is_prk { 4 } else { 1 }, schedule.steps() / if is_prk { 2 } else { 1 });
        if !(least..=most).contains(&self.steps) {
            return Err(DiffusionError::Steps { sampler, steps: self.steps, least, most });
        }
        let used = share(self.steps, self.strength);
        if used < least {
            // Rounding decides, so the steps around the quotient are tried.
            let about = (least as f64 / self.strength) as usize;
            let mut near = about.saturating_sub(1)..=most.min(about.saturating_add(2));
            let fewest = near.find(|steps| share(*steps, self.strength) >= least);
            let (steps, strength) = (self.steps, self.strength);
            return Err(DiffusionError::Weak { sampler, steps, strength, used, least, fewest });
        }
        let grid = Grid { steps: self.steps, used };
        let prediction = self.prediction;
        Ok(match self.kind {
            SamplerKind::Euler => Box::new(euler::Euler::new(schedule, grid, prediction, false)),
            SamplerKind::EulerAncestral => {
                Box::new(euler::Euler::new(schedule, grid, prediction, true))
            }
            SamplerKind::DpmPlusPlus2m => Box::new(dpmpp::DpmPp::new(schedule, grid, prediction)),
            SamplerKind::Pndm => Box::new(pndm::Pndm::new(schedule, grid, prediction, false)),
            SamplerKind::PndmPrk => Box::new(pndm::Pndm::new(schedule, grid, prediction, true)),
            SamplerKind::Ddim => Box::new(ddim::Ddim::new(schedule, grid, prediction)),
            SamplerKind::FlowEuler => Box::new(flow::FlowEuler::new(schedule, grid, self.shift)),
        })
    }
}

/// How many of the steps a strength leaves.
fn share(steps: usize, strength: f64) -> usize {
    (steps as f64 * strength + 1e-9) as usize
}

/// How many steps there are, and how many of the last ones are gone.
#[derive(Clone, Copy, Debug)]
struct Grid {
    steps: usize,
    used: usize,
}

impl Grid {
    /// `steps + extra` numbers from the last step of the schedule down to the first, evenly.
    fn linspace(self, schedule: &Schedule, extra: usize) -> Vec<f64> {
        let (count, last) = (self.steps + extra, (schedule.steps() - 1) as f64);
        // The gap first, as numpy has it: DPM++ rounds these, and at a half the last bit decides.
        let gap = last / (count - 1).max(1) as f64;
        (0..count).rev().map(|i| i as f64 * gap).collect()
    }

    /// Times with the same whole gap, from the least noise up; one later than multiples of it, as
    /// `steps_offset` 1 has it. Only those used.
    fn leading(self, schedule: &Schedule) -> Vec<usize> {
        let gap = schedule.steps() / self.steps;
        // With one step per time the last one would lie past the end.
        (0..self.used).map(|i| (i * gap + 1).min(schedule.steps() - 1)).collect()
    }
}

/// `a * x + b * y` in f32.
fn mix((a, x): (f64, &Tensor), (b, y): (f64, &Tensor)) -> Result<Tensor, DiffusionError> {
    let (x, y) = (x.to_dtype(DType::F32)?, y.to_dtype(DType::F32)?);
    Ok((x.affine(a, 0.0)? + y.affine(b, 0.0)?)?)
}

/// A noised state whose powers of signal and noise add up to one, as the model's output sees it.
impl Prediction {
    /// The clean sample that an output stands for, given the share of the signal's power.
    fn clean(self, left: f64, x_t: &Tensor, output: &Tensor) -> Result<Tensor, DiffusionError> {
        let (signal, noise) = (left.sqrt(), (1.0 - left).sqrt());
        match self {
            Self::Epsilon => mix((signal.recip(), x_t), (-noise / signal, output)),
            Self::Velocity | Self::Flow => mix((signal, x_t), (-noise, output)),
        }
    }

    /// The noise that an output stands for.
    fn noise(self, left: f64, x_t: &Tensor, output: &Tensor) -> Result<Tensor, DiffusionError> {
        match self {
            Self::Epsilon => Ok(output.to_dtype(DType::F32)?),
            Self::Velocity | Self::Flow => mix((left.sqrt(), output), ((1.0 - left).sqrt(), x_t)),
        }
    }
}

/// A start between a sample and noise: `signal * x0 + noise_share * noise`.
fn begin(
    (signal, noise_share): (f64, f64),
    noise: &Tensor,
    x0: Option<&Tensor>,
) -> Result<Tensor, DiffusionError> {
    match x0 {
        Some(x0) => mix((signal, x0), (noise_share, noise)),
        None => Ok(noise.to_dtype(DType::F32)?),
    }
}

#[cfg(test)]
mod tests;
