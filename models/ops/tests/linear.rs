//! The linear layer.

use candle_core::Var;
use curate_ops::{frozen_linear, gradients, linear};

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
