//! One step of Adam, and moving averages of weights, in one pass over memory.
//!
//! candle's AdamW takes 15 operations and three copies per tensor, and keeps its moments to itself,
//! so they cannot be stored. Here moments are plain tensors of the caller.
//!
//! Everything is updated in place: values of a variable that a graph still needs change under it,
//! so step only after backward.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use crate::{
    error,
    math::Real,
    slices::{Values, by_dtype, has_kernel},
};

/// Values per piece of work.
const PIECE: usize = 16384;

/// Adam's numbers that stay the same from step to step. The defaults are PyTorch's for AdamW.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// Decay of the mean of gradients. 0.9.
    pub beta1: f64,
    /// Decay of the mean of squared gradients. 0.999.
    pub beta2: f64,
    /// Added to the root of the corrected mean square. 1e-8.
    pub eps: f64,
    /// Share of each weight that a step takes away, times the learning rate; apart from the
    /// gradient (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019). 0.01; 0
    /// makes it plain Adam.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// What differs from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The number of this step, the first being 1.
    pub number: u64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The gradient is multiplied by it first: for clipping by norm, or the mean over
    /// micro-batches. 1 leaves it.
    pub gradient_scale: f64,
}

/// The two means that Adam keeps of each variable.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Of gradients.
    pub mean: Tensor,
    /// Of squared gradients.
    pub square: Tensor,
}

impl Moments {
    /// Zero, of the shape, type and device of a variable.
    ///
    /// # Errors
    /// When there is no memory on the device.
    pub fn zeros(var: &Var) -> Result<Self> {
        let zeros = || Tensor::zeros(var.shape(), var.dtype(), var.device());
        Ok(Self { mean: zeros()?, square: zeros()? })
    }
}

impl Adam {
    /// One step for one variable (Kingma and Ba, 2015, in PyTorch's order):
    ///
    /// ```text
    /// p -= lr weight_decay p
    /// m  = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
    /// p -= lr / (1 - beta1^n) m / (sqrt(v) / sqrt(1 - beta2^n) + eps)
    /// ```
    ///
    /// Variable and moments are of the same type, single precision as a rule; the gradient is
    /// converted to it.
    ///
    /// # Errors
    /// When shapes or types do not fit each other, or the step's number is 0.
    pub fn step(
        &self,
        var: &Var,
        gradient: &Tensor,
        moments: &Moments,
        step: &AdamStep,
    ) -> Result<()> {
        let param = var.as_tensor();
        for (name, given) in
            [("gradient", gradient), ("mean", &moments.mean), ("square", &moments.square)]
        {
            error::check_shape("adam", name, given, param.dims())?;
        }
        error::check_type("adam", "mean", &moments.mean, param)?;
        error::check_type("adam", "square", &moments.square, param)?;
        if step.number == 0 {
            return Err(error::range("adam", "number", step.number, "1 for the first step"));
        }
        let gradient = gradient.detach().to_dtype(param.dtype())?.contiguous()?;
        let factors = Factors::new(self, step);
        if has_kernel(param) {
            return by_dtype!(param, step_on_cpu(param, &gradient, moments, &factors));
        }
        factors.composed(var, &gradient, moments)
    }
}

/// The numbers of one step, worked out once.
struct Factors {
    keep: f64,
    beta1: f64,
    beta2: f64,
    scale: f64,
    rate: f64,
    root: f64,
    eps: f64,
}

impl Factors {
    fn new(adam: &Adam, step: &AdamStep) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step.number as f64);
        Self {
            keep: 1.0 - step.learning_rate * adam.weight_decay,
            beta1: adam.beta1,
            beta2: adam.beta2,
            scale: step.gradient_scale,
            rate: step.learning_rate / correction(adam.beta1),
            root: correction(adam.beta2).sqrt(),
            eps: adam.eps,
        }
    }

    fn composed(&self, var: &Var, gradient: &Tensor, moments: &Moments) -> Result<()> {
        let gradient = (gradient * self.scale)?;
        let mean = ((&moments.mean * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
        let square = ((&moments.square * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let spread = ((square.sqrt()? / self.root)? + self.eps)?;
        let param = ((var.as_tensor().detach() * self.keep)? - ((&mean / spread)? * self.rate)?)?;
        overwrite(&moments.mean, &mean)?;
        overwrite(&moments.square, &square)?;
        var.set(&param)
    }
}

fn step_on_cpu<T: Real>(
    param: &Tensor,
    gradient: &Tensor,
    moments: &Moments,
    factors: &Factors,
) -> Result<()> {
    let of = T::of;
    let [keep, beta1, beta2, scale, rate, root, eps] = [
        of(factors.keep),
        of(factors.beta1),
        of(factors.beta2),
        of(factors.scale),
        of(factors.rate),
        of(factors.root),
        of(factors.eps),
    ];
    let (new1, new2) = (of(1.0 - factors.beta1), of(1.0 - factors.beta2));
    let gradient = Values::<T>::of(gradient)?;
    in_place::<T>(param, |p| {
        in_place::<T>(&moments.mean, |m| {
            in_place::<T>(&moments.square, |v| {
                let pieces = p.par_chunks_mut(PIECE).zip(m.par_chunks_mut(PIECE));
                let pieces = pieces.zip(v.par_chunks_mut(PIECE)).zip(gradient.par_chunks(PIECE));
                pieces.for_each(|(((p, m), v), g)| {
                    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                        let g = *g * scale;
                        *m = *m * beta1 + g * new1;
                        *v = *v * beta2 + g * g * new2;
                        *p = *p * keep - rate * *m / (v.root() / root + eps);
                    }
                });
                Ok(())
            })
        })
    })
}

/// `average = decay average + (1 - decay) weight`, in place.
///
/// # Errors
/// When shapes or types differ.
pub fn ema_update(average: &Tensor, weight: &Tensor, decay: f64) -> Result<()> {
    error::check_shape("ema_update", "weight", weight, average.dims())?;
    error::check_type("ema_update", "weight", weight, average)?;
    if has_kernel(average) {
        let weight = weight.contiguous()?;
        return by_dtype!(average, ema_on_cpu(average, &weight, decay));
    }
    let next = ((average.detach() * decay)? + (weight.detach() * (1.0 - decay))?)?;
    overwrite(average, &next)
}

/// Writes values into a contiguous tensor.
fn overwrite(to: &Tensor, values: &Tensor) -> Result<()> {
    // Both share the storage with what they flatten.
    to.flatten_all()?.slice_set(&values.flatten_all()?.contiguous()?, 0, 0)
}

fn ema_on_cpu<T: Real>(average: &Tensor, weight: &Tensor, decay: f64) -> Result<()> {
    let (old, new) = (T::of(decay), T::of(1.0 - decay));
    let weight = Values::<T>::of(weight)?;
    in_place::<T>(average, |average| {
        average.par_chunks_mut(PIECE).zip(weight.par_chunks(PIECE)).for_each(
            |(average, weight)| {
                for (average, weight) in average.iter_mut().zip(weight) {
                    *average = *average * old + *weight * new;
                }
            },
        );
        Ok(())
    })
}

/// Lends the values of a contiguous tensor on the CPU for writing.
fn in_place<T: Real>(tensor: &Tensor, write: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&InPlace {
        write: RefCell::new(Some(write)),
        of: std::marker::PhantomData::<T>,
    })
}

struct InPlace<F, T> {
    write: RefCell<Option<F>>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for InPlace<F, T> {
    fn name(&self) -> &'static str {
        "in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a tensor of strides {:?} has no slice", layout.stride())
        };
        let values = T::slice_mut(storage)?;
        match self.write.borrow_mut().take() {
            Some(write) => write(&mut values[start..end]),
            None => candle_core::bail!("an update in place runs once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::Rng;

    #[test]
    fn other_devices_compute_the_same() {
        for shape in [vec![], vec![3, 5]] {
            let normal = |seed| {
                Rng::new(seed).normal_tensor(shape.as_slice(), DType::F64, &Device::Cpu).unwrap()
            };
            let vars = [1, 1].map(|seed| Var::from_tensor(&normal(seed)).unwrap());
            let moments = vars.each_ref().map(|var| Moments::zeros(var).unwrap());
            let adam = Adam { weight_decay: 0.1, ..Adam::default() };
            for number in 1..4 {
                let gradient = normal(number + 1);
                let step = AdamStep { number, learning_rate: 0.1, gradient_scale: 0.5 };
                adam.step(&vars[0], &gradient, &moments[0], &step).unwrap();
                let factors = Factors::new(&adam, &step);
                factors.composed(&vars[1], &gradient, &moments[1]).unwrap();
            }
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let pairs = [
                (vars[0].as_tensor(), vars[1].as_tensor()),
                (&moments[0].mean, &moments[1].mean),
                (&moments[0].square, &moments[1].square),
            ];
            for (a, b) in pairs {
                let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-14;
                assert!(flat(a).into_iter().zip(flat(b)).all(near));
            }
        }
    }

    #[test]
    fn averages_of_half_precision_are_written_in_place() {
        let half = |value: f32| Tensor::full(value, (2, 3), &Device::Cpu).unwrap();
        let half = |value| half(value).to_dtype(DType::F16).unwrap();
        let average = half(1.0);
        ema_update(&average, &half(3.0), 0.5).unwrap();
        let values = average.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        assert_eq!(values.to_vec1::<f32>().unwrap(), [2.0; 6]);
    }
}
