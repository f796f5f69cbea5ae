//! Activations and softmax.

use candle_core::Tensor;
use curate_ops::{gelu_erf, gelu_tanh, silu, softmax_last_dim};

use crate::support::{check_gradients, check_values, normal, values};

fn like(values: Vec<f64>, x: &Tensor) -> Tensor {
    Tensor::from_vec(values, x.shape(), x.device()).unwrap()
}

/// Numbers from -30 to 30, dense around zero.
fn wide() -> Tensor {
    let numbers: Vec<f64> = (-300..=300).map(|i| f64::from(i * i * i) / 9e5).collect();
    Tensor::new(numbers, &candle_core::Device::Cpu).unwrap()
}

fn check(function: fn(&Tensor) -> candle_core::Result<Tensor>, definition: impl Fn(f64) -> f64) {
    for x in [wide(), normal(1, &[2, 3, 7])] {
        let wanted = like(values(&x).into_iter().map(&definition).collect(), &x);
        check_values(std::slice::from_ref(&x), |i| function(&i[0]), &wanted);
        check_gradients(&[x], |i| function(&i[0]));
    }
}

#[test]
fn silu_is_as_defined() {
    check(silu, |x| x / (1.0 + (-x).exp()));
}

#[test]
fn gelu_tanh_is_as_defined() {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    check(gelu_tanh, |x| 0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh()));
}

/// The error function by its series, or its continued fraction far out.
fn erf(x: f64) -> f64 {
    if x.abs() > 3.0 {
        let z = x.abs();
        let fraction = (1..=60).rev().fold(0.0, |rest, k| f64::from(k) / 2.0 / (z + rest));
        let tail = (-z * z).exp() / ((z + fraction) * std::f64::consts::PI.sqrt());
        return (1.0 - tail).copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn gelu_erf_is_as_defined() {
    check(gelu_erf, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())));
}

#[test]
fn softmax_is_as_defined() {
    for shape in [vec![2, 3, 5], vec![4, 37], vec![1], vec![3, 1]] {
        let x = (normal(1, &shape) * 5.0).unwrap();
        let last = shape[shape.len() - 1];
        let rows = values(&x);
        let wanted = rows.chunks(last).flat_map(|row| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(move |x| x.exp() / sum).collect::<Vec<_>>()
        });
        let wanted = like(wanted.collect(), &x);
        check_values(std::slice::from_ref(&x), |i| softmax_last_dim(&i[0]), &wanted);
        check_gradients(&[x], |i| softmax_last_dim(&i[0]));
    }
}

#[test]
fn softmax_takes_large_and_hidden_scores() {
    let x = Tensor::new(
        &[[1000f32, 999.0, f32::NEG_INFINITY], [-1e4, -1e4, -3e4]],
        &candle_core::Device::Cpu,
    );
    let y = softmax_last_dim(&x.unwrap()).unwrap().to_vec2::<f32>().unwrap();
    let share = 1.0 / (1.0 + (-1f32).exp());
    assert!((y[0][0] - share).abs() < 1e-6 && y[0][2].to_bits() == 0, "{y:?}");
    assert!((y[1][0] - 0.5).abs() < 1e-6 && y[1][2].to_bits() == 0, "{y:?}");
}
