//! Gradients by finite differences, and comparing tensors.

use candle_core::{DType, Device, Result, Tensor, Var};
use curate_ops::{Rng, gradients};

/// Gradients may differ by this much from finite differences, relative to the largest.
const TOLERANCE: f64 = 1e-6;
/// Elements of each input that are moved; all, if there are fewer.
const PROBES: usize = 48;

/// Normal numbers, the same in each run.
pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, DType::F64, &Device::Cpu).unwrap()
}

/// Checks the gradients of a function for all inputs: as they are, and as views with strides.
pub(crate) fn check_gradients(
    inputs: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
) {
    for strided in [false, true] {
        let vars: Vec<Var> = inputs.iter().map(|input| var(input, strided)).collect();
        let run = || -> Result<Tensor> {
            let views: Vec<Tensor> = vars.iter().map(|var| view(var, strided)).collect();
            let y = function(&views)?;
            let weights = normal(991, y.dims());
            (y * weights)?.sum_all()
        };
        let found = gradients(run().unwrap(), &vars, None).unwrap();
        for (index, var) in vars.iter().enumerate() {
            let gradient = found.get(var).unwrap_or_else(|| panic!("input {index}: no gradient"));
            assert_eq!(gradient.dims(), var.dims(), "input {index}");
            assert!(!gradient.track_op(), "input {index}: its gradient is on the graph");
            let error = worst(var, gradient, &run);
            assert!(error < TOLERANCE, "input {index}, strided: {strided}: {error:e}");
        }
    }
}

/// The largest difference from finite differences.
fn worst(var: &Var, gradient: &Tensor, run: &dyn Fn() -> Result<Tensor>) -> f64 {
    let gradient = values(gradient);
    let base = values(var);
    let largest = gradient.iter().fold(1e-3, |largest: f64, value| largest.max(value.abs()));
    let step = 1e-5;
    let mut rng = Rng::new(17);
    let all = base.len() <= PROBES;
    let mut worst: f64 = 0.0;
    for probe in 0..base.len().min(PROBES) {
        let index = if all { probe } else { rng.below(base.len() as u64) as usize };
        let at = |offset: f64| {
            let mut moved = base.clone();
            moved[index] += offset;
            var.set(&Tensor::from_vec(moved, var.shape(), var.device()).unwrap()).unwrap();
            run().unwrap().to_scalar::<f64>().unwrap()
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        worst = worst.max((slope - gradient[index]).abs() / largest);
    }
    worst
}

/// A variable that [`view`] turns into the input.
fn var(input: &Tensor, strided: bool) -> Var {
    let input = if strided { turn(input) } else { input.clone() };
    Var::from_tensor(&input.contiguous().unwrap()).unwrap()
}

fn view(var: &Var, strided: bool) -> Tensor {
    if strided { turn(var) } else { var.as_tensor().clone() }
}

/// The first and the last axis exchanged.
fn turn(tensor: &Tensor) -> Tensor {
    if tensor.rank() < 2 { tensor.clone() } else { tensor.transpose(0, tensor.rank() - 1).unwrap() }
}

/// All values in double precision.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, relative to the largest value.
pub(crate) fn difference(given: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(given.dims(), wanted.dims());
    let (given, wanted) = (values(given), values(wanted));
    let largest = wanted.iter().fold(1e-30, |largest: f64, value| largest.max(value.abs()));
    given.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

/// Compares in double, and in single precision with inputs converted.
pub(crate) fn check_values(
    inputs: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    wanted: &Tensor,
) {
    let exact = function(inputs).unwrap();
    assert!(difference(&exact, wanted) < 1e-12, "{:e}", difference(&exact, wanted));
    let single: Vec<Tensor> =
        inputs.iter().map(|input| input.to_dtype(DType::F32).unwrap()).collect();
    let rough = function(&single).unwrap();
    assert_eq!(rough.dtype(), DType::F32);
    assert!(difference(&rough, wanted) < 3e-6, "{:e}", difference(&rough, wanted));
}

/// The message of an error.
pub(crate) fn message(result: Result<Tensor>) -> String {
    result.unwrap_err().to_string()
}
