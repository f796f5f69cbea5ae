//! Adam and moving averages.

use candle_core::{DType, Tensor, Var};
use curate_ops::{Adam, AdamStep, Moments, ema_update};

use crate::support::{difference, normal, values};

/// Adam by its definition, in double precision.
struct Plain {
    p: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
}

impl Plain {
    fn step(&mut self, adam: &Adam, step: &AdamStep, gradient: &[f64]) {
        let n = step.number as i32;
        for (i, g) in gradient.iter().enumerate() {
            let g = g * step.gradient_scale;
            self.p[i] -= step.learning_rate * adam.weight_decay * self.p[i];
            self.m[i] = adam.beta1 * self.m[i] + (1.0 - adam.beta1) * g;
            self.v[i] = adam.beta2 * self.v[i] + (1.0 - adam.beta2) * g * g;
            let mean = self.m[i] / (1.0 - adam.beta1.powi(n));
            let spread = (self.v[i] / (1.0 - adam.beta2.powi(n))).sqrt() + adam.eps;
            self.p[i] -= step.learning_rate * mean / spread;
        }
    }
}

#[test]
fn steps_are_those_of_the_definition() {
    for dtype in [DType::F64, DType::F32] {
        // More than one piece of work.
        let start = normal(1, &[5, 7001]);
        let var = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
        let moments = Moments::zeros(&var).unwrap();
        let zeros = vec![0.0; start.elem_count()];
        let mut plain = Plain { p: values(&start), m: zeros.clone(), v: zeros };
        let adam = Adam { weight_decay: 0.1, beta2: 0.99, eps: 1e-6, ..Adam::default() };
        for number in 1..=5 {
            let gradient = (normal(10 + number, &[7001, 5]) * 0.1).unwrap().t().unwrap();
            let step =
                AdamStep { number, learning_rate: 0.01 / number as f64, gradient_scale: 0.5 };
            adam.step(&var, &gradient, &moments, &step).unwrap();
            plain.step(&adam, &step, &values(&gradient));
        }
        let wanted = Tensor::from_vec(plain.p, (5, 7001), start.device()).unwrap();
        let limit = if dtype == DType::F64 { 1e-13 } else { 1e-6 };
        assert!(difference(&var, &wanted) < limit, "{:e}", difference(&var, &wanted));
        let mean = Tensor::from_vec(plain.m, (5, 7001), start.device()).unwrap();
        assert!(difference(&moments.mean, &mean) < limit);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let var = Var::from_tensor(&normal(1, &[2, 3])).unwrap();
    let moments = Moments::zeros(&var).unwrap();
    let step = AdamStep { number: 1, learning_rate: 0.1, gradient_scale: 1.0 };
    let error = Adam::default().step(&var, &normal(1, &[3, 2]), &moments, &step).unwrap_err();
    assert!(error.to_string().contains("`gradient` is [3, 2], but [2, 3]"), "{error}");
    let step = AdamStep { number: 0, ..step };
    let error = Adam::default().step(&var, &normal(1, &[2, 3]), &moments, &step).unwrap_err();
    assert!(error.to_string().contains("`number` is 0"), "{error}");
}

#[test]
fn an_average_follows() {
    let average = normal(1, &[40_000]).to_dtype(DType::F32).unwrap();
    let weight = normal(2, &[40_000]).to_dtype(DType::F32).unwrap();
    let wanted = ((&average * 0.9).unwrap() + (&weight * 0.1).unwrap()).unwrap().copy().unwrap();
    ema_update(&average, &weight, 0.9).unwrap();
    assert!(difference(&average, &wanted) < 1e-7);
}
