//! What a training step asks of the model: a noised sample, and the loss of the output for it.
//!
//! By default as EasyAnimate V3 trains: the squared error of the predicted noise plus the
//! variational bound of the learned variance, whose gradient does not reach the noise (the "hybrid"
//! loss of arXiv 2102.09672 without its factor 0.001, as PixArt uses it). v-prediction and
//! rectified flow are there by name.
//!
//! The loss is per sample, so that a trainer can log it by timestep; its mean over the batch is
//! what is optimised. Everything is computed in f32 whatever the model computes in.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{DiffusionError, Schedule, variance};

/// What the first half of the model's output channels is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise.
    #[default]
    Epsilon,
    /// v = sqrt(abar) noise - sqrt(1 - abar) x0 (arXiv 2202.00512, appendix D).
    Velocity,
    /// noise - x0 along the straight line from one to the other (arXiv 2209.03003).
    Flow,
}

impl Prediction {
    /// The name, as configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "velocity",
            Self::Flow => "flow",
        }
    }
}

/// What the second half of the output channels is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// Not looked at, or not there.
    Fixed,
    /// Where the log variance lies between its two bounds, from -1 to 1 (arXiv 2102.09672, eq. 15).
    #[default]
    LearnedRange,
}

/// How much the squared error of a sample counts. Kinds without settings have braces, so that settings of
/// another kind are refused.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weighting {
    /// All the same, as published.
    Even {},
    /// min(snr, gamma) / snr for the noise, min(snr, gamma) / (snr + 1) for v (Hang et al.,
    /// "Efficient diffusion training via min-SNR weighting strategy", arXiv 2303.09556).
    MinSnr {
        /// The paper's is 5.
        gamma: f64,
    },
    /// EasyAnimate's and PixArt's `--snr_loss`: up to and with step 249 the error is that of the
    /// reconstructed x0, above it that of the noise.
    SnrSwitch {},
}

impl Default for Weighting {
    fn default() -> Self {
        Self::Even {}
    }
}

/// The last step at which [`Weighting::SnrSwitch`] looks at x0.
const SWITCH_STEP: usize = 249;

/// What is optimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// What the model predicts.
    pub prediction: Prediction,
    /// What its other channels are.
    pub variance: Variance,
    /// How samples are weighted.
    pub weighting: Weighting,
}

/// A batch on its way into the model and out of it. All tensors are `[B, C, ...]` in f32.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The clean sample.
    pub x0: Tensor,
    /// The noise that was added.
    pub noise: Tensor,
    /// The noised sample, the model's input.
    pub x_t: Tensor,
    /// The model's times, one per sample: whole steps, or for flow 1000 times the share of noise.
    pub times: Vec<f64>,
}

/// Losses per sample, `[B]` in f32.
#[derive(Clone, Debug)]
pub struct LossTerms {
    /// Mean squared error of the prediction, weighted.
    pub mse: Tensor,
    /// Variational bound in bits per dimension; `None` without a learned variance.
    pub vb: Option<Tensor>,
    /// Their sum.
    pub loss: Tensor,
}

impl Objective {
    /// Checks that the options go together.
    ///
    /// # Errors
    /// When one of them has no meaning for the prediction.
    pub fn check(&self) -> Result<(), DiffusionError> {
        let prediction = self.prediction.name();
        let option = match (self.prediction, self.variance, self.weighting) {
            (Prediction::Flow, Variance::LearnedRange, _) => "a learned variance",
            (Prediction::Flow, _, Weighting::MinSnr { .. }) => "min-SNR weighting",
            (Prediction::Flow | Prediction::Velocity, _, Weighting::SnrSwitch {}) => "`snr-switch`",
            _ => return Ok(()),
        };
        Err(DiffusionError::Meaningless { option, prediction })
    }

    /// Noises a batch. `fractions`, one per sample and each in [0, 1), say how far; see
    /// [`TimestepDraw`](super::TimestepDraw).
    ///
    /// # Errors
    /// When shapes or fractions do not fit.
    pub fn noised(
        &self,
        schedule: &Schedule,
        (x0, noise): (&Tensor, &Tensor),
        fractions: &[f64],
    ) -> Result<Sample, DiffusionError> {
        let steps = schedule.steps() as f64;
        let times: Vec<f64> = match self.prediction {
            Prediction::Flow => fractions.iter().map(|share| share * steps).collect(),
            _ => fractions.iter().map(|share| (share * steps).floor()).collect(),
        };
        let (x0, noise) = (x0.to_dtype(DType::F32)?, noise.to_dtype(DType::F32)?);
        if x0.dims() != noise.dims() {
            let expected = format!("that of the sample, {:?}", x0.dims());
            return Err(DiffusionError::Shape {
                tensor: "noise",
                shape: noise.dims().to_vec(),
                expected,
            });
        }
        let (mut signal_shares, mut noise_shares) = (Vec::new(), Vec::new());
        for time in &times {
            let step = schedule.step(*time)?;
            let (signal, noise) = match self.prediction {
                Prediction::Flow => (1.0 - time / steps, time / steps),
                _ => shares(schedule, step),
            };
            signal_shares.push(signal);
            noise_shares.push(noise);
        }
        let x_t = (scaled(&x0, &signal_shares)? + scaled(&noise, &noise_shares)?)?;
        Ok(Sample { x0, noise, x_t, times })
    }

    /// The losses of an output, `[B, C, ...]` or, with a learned variance, `[B, 2C, ...]`.
    ///
    /// # Errors
    /// When the options do not go together or the output does not fit the batch.
    pub fn loss(
        &self,
        schedule: &Schedule,
        sample: &Sample,
        output: &Tensor,
    ) -> Result<LossTerms, DiffusionError> {
        self.check()?;
        let output = output.to_dtype(DType::F32)?;
        let channels = sample.x0.dim(1)?;
        let is_learned = self.variance == Variance::LearnedRange;
        let mut expected = sample.x0.dims().to_vec();
        expected[1] = 2 * channels;
        if output.dims() != expected && (is_learned || output.dims() != sample.x0.dims()) {
            return Err(DiffusionError::Shape {
                tensor: "the model's output",
                shape: output.dims().to_vec(),
                expected: format!("{expected:?}"),
            });
        }
        let predicted = output.narrow(1, 0, channels)?;
        let steps = sample.times.iter().map(|time| schedule.step(*time));
        let steps = steps.collect::<Result<Vec<usize>, _>>()?;

        let error = (self.target(schedule, sample, &steps)? - &predicted)?;
        let mse = per_sample(&error.sqr()?)?;
        let weights: Vec<f64> = steps.iter().map(|step| self.weight(schedule, *step)).collect();
        let mse = if weights.iter().all(|weight| (weight - 1.0).abs() < f64::EPSILON) {
            mse
        } else {
            scaled(&mse, &weights)?
        };
        if !is_learned {
            return Ok(LossTerms { loss: mse.clone(), mse, vb: None });
        }
        let x0 = self.prediction.x0(schedule, &sample.x_t, &predicted.detach(), &steps)?;
        let share = output.narrow(1, channels, channels)?;
        let vb = variance::bound(schedule, sample, (&x0, &share), &steps)?;
        Ok(LossTerms { loss: (&mse + &vb)?, mse, vb: Some(vb) })
    }

    fn target(
        &self,
        schedule: &Schedule,
        sample: &Sample,
        steps: &[usize],
    ) -> Result<Tensor, DiffusionError> {
        match self.prediction {
            Prediction::Epsilon => Ok(sample.noise.clone()),
            Prediction::Flow => Ok((&sample.noise - &sample.x0)?),
            Prediction::Velocity => {
                let pairs = steps.iter().map(|step| shares(schedule, *step));
                let (signal, noise): (Vec<f64>, Vec<f64>) = pairs.unzip();
                Ok((scaled(&sample.noise, &signal)? - scaled(&sample.x0, &noise)?)?)
            }
        }
    }

    /// An error of x0 is one of the noise times sqrt(1 - abar) / sqrt(abar), so that the switch is
    /// a weight, too: 1 / snr.
    fn weight(&self, schedule: &Schedule, step: usize) -> f64 {
        let snr = schedule.snr(step);
        match (self.weighting, self.prediction) {
            (Weighting::MinSnr { gamma }, Prediction::Epsilon) => snr.min(gamma) / snr,
            (Weighting::MinSnr { gamma }, Prediction::Velocity) => snr.min(gamma) / (snr + 1.0),
            (Weighting::SnrSwitch {}, _) if step <= SWITCH_STEP => snr.recip(),
            _ => 1.0,
        }
    }
}

impl Prediction {
    /// The clean sample that an output stands for.
    fn x0(
        self,
        schedule: &Schedule,
        x_t: &Tensor,
        output: &Tensor,
        steps: &[usize],
    ) -> Result<Tensor, DiffusionError> {
        let pairs = steps.iter().map(|step| {
            let (signal, noise) = shares(schedule, *step);
            match self {
                Self::Epsilon => (signal.recip(), -noise / signal),
                _ => (signal, -noise),
            }
        });
        let (of_x_t, of_output): (Vec<f64>, Vec<f64>) = pairs.unzip();
        Ok((scaled(x_t, &of_x_t)? + scaled(output, &of_output)?)?)
    }
}

/// Shares of signal and noise in x_t, the squares of which add up to one.
fn shares(schedule: &Schedule, step: usize) -> (f64, f64) {
    let left = schedule.alphas_cumprod[step];
    (left.sqrt(), (1.0 - left).sqrt())
}

/// Multiplies each sample of a batch with a number of its own.
pub(super) fn scaled(tensor: &Tensor, factors: &[f64]) -> Result<Tensor, DiffusionError> {
    Ok(tensor.broadcast_mul(&column(tensor, factors)?)?)
}

/// One number per sample, shaped to be broadcast against a batch.
pub(super) fn column(batch: &Tensor, numbers: &[f64]) -> Result<Tensor, DiffusionError> {
    let mut shape = vec![1; batch.rank()];
    shape[0] = numbers.len();
    if numbers.len() != batch.dim(0)? {
        return Err(DiffusionError::Shape {
            tensor: "the batch",
            shape: batch.dims().to_vec(),
            expected: format!("{} samples, one for each timestep", numbers.len()),
        });
    }
    let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    Ok(Tensor::from_vec(numbers, shape, batch.device())?)
}

/// Mean over everything but the batch.
pub(super) fn per_sample(tensor: &Tensor) -> Result<Tensor, DiffusionError> {
    Ok(tensor.flatten_from(1)?.mean(1)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::{LossTerms, Objective, Prediction, Sample, Schedule, Variance, Weighting};
    use crate::diffusion::NoiseSource as _;

    fn batch(objective: &Objective, fractions: &[f64]) -> Sample {
        let mut noise = curate_ops::Rng::new(5);
        let shape = (fractions.len(), 4, 2, 2, 2);
        let like = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let (x0, eps) = (noise.like(&like).unwrap(), noise.like(&like).unwrap());
        objective.noised(&Schedule::default(), (&x0, &eps), fractions).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// An output that is right has no squared error, whatever is predicted and however it is
    /// weighted.
    #[test]
    fn a_perfect_prediction_costs_nothing() {
        let schedule = Schedule::default();
        for prediction in [Prediction::Epsilon, Prediction::Velocity, Prediction::Flow] {
            let objective =
                Objective { prediction, variance: Variance::Fixed, ..Objective::default() };
            let sample = batch(&objective, &[0.0, 0.3, 0.999]);
            let steps: Vec<usize> = sample.times.iter().map(|time| *time as usize).collect();
            let target = objective.target(&schedule, &sample, &steps).unwrap();
            let LossTerms { loss, vb, .. } = objective.loss(&schedule, &sample, &target).unwrap();
            assert!(vb.is_none() && numbers(&loss).iter().all(|loss| *loss < 1e-12));
            if prediction != Prediction::Flow {
                let x0 = prediction.x0(&schedule, &sample.x_t, &target, &steps).unwrap();
                let gap = numbers(&(x0 - &sample.x0).unwrap().abs().unwrap());
                assert!(gap.iter().all(|gap| *gap < 2e-4), "{prediction:?} {gap:?}");
            }
        }
    }

    #[test]
    fn weights_are_those_of_their_definitions() {
        let schedule = Schedule::default();
        let of = |prediction, weighting, step| {
            Objective { prediction, weighting, variance: Variance::Fixed }.weight(&schedule, step)
        };
        let min_snr = Weighting::MinSnr { gamma: 5.0 };
        let (early, late) = (schedule.snr(10), schedule.snr(900));
        assert!((of(Prediction::Epsilon, min_snr, 10) - 5.0 / early).abs() < 1e-9);
        assert!((of(Prediction::Epsilon, min_snr, 900) - 1.0).abs() < 1e-9);
        assert!((of(Prediction::Velocity, min_snr, 900) - late / (late + 1.0)).abs() < 1e-9);
        assert!(
            (of(Prediction::Epsilon, Weighting::SnrSwitch {}, 249) - 1.0 / schedule.snr(249)).abs()
                < 1e-9
        );
        assert!((of(Prediction::Epsilon, Weighting::SnrSwitch {}, 250) - 1.0).abs() < 1e-9);
    }

    /// The bound trains the variance and nothing else (arXiv 2102.09672, section 4).
    #[test]
    fn the_bound_leaves_the_noise_alone() {
        let objective = Objective::default();
        let sample = batch(&objective, &[0.0, 0.5]);
        let output =
            Var::from_tensor(&Tensor::cat(&[&sample.noise, &sample.x0], 1).unwrap()).unwrap();
        let terms = objective.loss(&Schedule::default(), &sample, &output).unwrap();
        let gradients = terms.vb.unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&output).unwrap();
        let of_noise = numbers(&gradient.narrow(1, 0, 4).unwrap());
        let of_variance = numbers(&gradient.narrow(1, 4, 4).unwrap());
        assert!(of_noise.iter().all(|value| value.abs() < f32::MIN_POSITIVE));
        assert!(of_variance.iter().all(|value| value.is_finite() && value.abs() > 0.0));
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let objective = Objective { prediction: Prediction::Flow, ..Objective::default() };
        let text = objective.check().unwrap_err().to_string();
        assert!(text.contains("a learned variance") && text.contains("`flow`"), "{text}");
        let sample = batch(&Objective::default(), &[0.5]);
        let error =
            Objective::default().loss(&Schedule::default(), &sample, &sample.x0).unwrap_err();
        assert!(error.to_string().contains("expected [1, 8, 2, 2, 2]"), "{error}");
    }
}
