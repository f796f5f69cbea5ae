//! The linear layer.

use candle_core::{Tensor, Var};
use curate_ops::{LowRank, adapted_linear, frozen_linear, gradients, linear};

use crate::support::{check_gradients, check_values, message, normal};

#[test]
fn it_is_a_product_with_the_transposed_weight() {
    let (x, w, bias) = (normal(1, &[2, 3, 5]), normal(2, &[4, 5]), normal(3, &[4]));
    let wanted = x.broadcast_matmul(&w.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
    let all = [x, w, bias];
    check_values(&all, |i| linear(&i[0], &i[1], Some(&i[2])), &wanted);
    check_gradients(&all, |i| linear(&i[0], &i[1], Some(&i[2])));
    check_gradients(&all[..2], |i| linear(&i[0], &i[1], None));
    let one = [normal(1, &[5]), all[1].clone()];
    check_gradients(&one, |i| linear(&i[0], &i[1], None));
}

#[test]
fn frozen_weights_get_no_gradient() {
    let var = |seed, shape: &[usize]| Var::from_tensor(&normal(seed, shape)).unwrap();
    let (x, w, bias) = (var(1, &[3, 5]), var(2, &[4, 5]), var(3, &[4]));
    let loss = frozen_linear(&x, &w, Some(&bias)).unwrap().sum_all().unwrap();
    let found = gradients(loss, &[x.clone(), w.clone(), bias.clone()], None).unwrap();
    assert!(found.get(&x).is_some() && found.get(&w).is_none() && found.get(&bias).is_none());
}

/// Two adapters, one of them with dropout, against the same by single operations.
#[test]
fn adapters_add_to_a_frozen_layer() {
    let (w, bias) = (normal(2, &[4, 5]), normal(3, &[4]));
    let mask = normal(8, &[2, 3, 5]);
    let all = [
        normal(1, &[2, 3, 5]),
        normal(4, &[2, 5]),
        normal(5, &[4, 2]),
        normal(6, &[3, 5]),
        normal(7, &[4, 3]),
    ];
    let whole = |i: &[Tensor]| {
        // Of the type that it is tried in.
        let [w, bias, mask] = [&w, &bias, &mask].map(|tensor| tensor.to_dtype(i[0].dtype()));
        let (w, bias, mask) = (w?, bias?, mask?);
        let one = LowRank { down: &i[1], up: &i[2], factor: 0.5, mask: None };
        let two = LowRank { down: &i[3], up: &i[4], factor: -2.0, mask: Some(&mask) };
        adapted_linear(&i[0], &w, Some(&bias), &[one, two])
    };
    let of = |x: &Tensor, down: &Tensor, up: &Tensor| linear(&linear(x, down, None)?, up, None);
    let masked = (&all[0] * &mask).unwrap();
    let one = (of(&all[0], &all[1], &all[2]).unwrap() * 0.5).unwrap();
    let two = (of(&masked, &all[3], &all[4]).unwrap() * -2.0).unwrap();
    let wanted = (linear(&all[0], &w, Some(&bias)).unwrap() + (one + two).unwrap()).unwrap();
    check_values(&all, whole, &wanted);
    check_gradients(&all, whole);
    // On plain inputs, as in a first layer, and with one half of an adapter frozen.
    check_gradients(&all[1..3], |i| {
        let one = LowRank { down: &i[0], up: &i[1], factor: 0.5, mask: None };
        adapted_linear(&all[0], &w, None, &[one])
    });
    check_gradients(&all[2..3], |i| {
        let one = LowRank { down: &all[1], up: &i[0], factor: 0.5, mask: None };
        adapted_linear(&all[0], &w, None, &[one])
    });
    let short = LowRank { down: &all[1], up: &all[4], factor: 1.0, mask: None };
    let text = message(adapted_linear(&all[0], &w, None, &[short]));
    assert!(text.contains("adapted_linear: `up` is [4, 3], but [4, 2]"), "{text}");
}

#[test]
fn what_does_not_fit_is_named() {
    let text = message(linear(&normal(1, &[2, 3]), &normal(2, &[4, 5]), None));
    assert!(text.contains("linear: `x` is [2, 3], but [.., 5] as of `w`"), "{text}");
    let text = message(linear(&normal(1, &[2, 5]), &normal(2, &[4, 5]), Some(&normal(3, &[5]))));
    assert!(text.contains("`bias` is [5], but [4]"), "{text}");
}

#[test]
fn half_precision_has_its_gradients_too() {
    let half = |seed, shape: &[usize]| {
        let values = normal(seed, shape).to_dtype(candle_core::DType::BF16).unwrap();
        Var::from_tensor(&values).unwrap()
    };
    let vars = [half(1, &[2, 3, 5]), half(2, &[4, 5]), half(3, &[4])];
    let wide = |i: usize| Var::from_tensor(&vars[i].to_dtype(candle_core::DType::F64).unwrap());
    let exact = [0, 1, 2].map(|index| wide(index).unwrap());
    let found = [&vars, &exact].map(|vars| {
        let y = linear(&vars[0], &vars[1], Some(&vars[2])).unwrap();
        gradients(y.sum_all().unwrap(), vars, None).unwrap()
    });
    for (var, exact) in vars.iter().zip(&exact) {
        let (given, wanted) = (found[0].get(var).unwrap(), found[1].get(exact).unwrap());
        assert!(crate::support::difference(given, wanted) < 0.02);
    }
}
