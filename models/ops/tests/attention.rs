//! Attention.

use candle_core::{D, DType, Result, Tensor, Var};
use curate_ops::{attention, gradients};

use crate::support::{check_gradients, check_values, message, normal};

fn plain(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, scale: f64) -> Result<Tensor> {
    let mut scores = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? * scale)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.matmul(&v.contiguous()?)
}

/// Hides keys 1 and 4 of the second example, or what comes later.
fn masks(queries: usize, keys: usize) -> [Option<Tensor>; 3] {
    let hidden =
        |b: usize, k: usize| if b == 1 && (k == 1 || k == 4) { f64::NEG_INFINITY } else { 0.0 };
    let device = candle_core::Device::Cpu;
    let of_keys: Vec<f64> = (0..2 * keys).map(|i| hidden(i / keys, i % keys)).collect();
    let causal: Vec<f64> =
        (0..queries * keys).map(|i| if i % keys > i / keys + 2 { -1e9 } else { 0.3 }).collect();
    [
        None,
        Some(Tensor::from_vec(of_keys, (2, 1, 1, keys), &device).unwrap()),
        Some(Tensor::from_vec(causal, (1, 1, queries, keys), &device).unwrap()),
    ]
}

#[test]
fn it_is_softmax_of_products_with_any_mask() {
    let (queries, keys) = (7, 6);
    let all =
        [normal(1, &[2, 3, queries, 4]), normal(2, &[2, 3, keys, 4]), normal(3, &[2, 3, keys, 5])];
    for mask in masks(queries, keys) {
        let wanted = plain(&all[0], &all[1], &all[2], mask.as_ref(), 0.7).unwrap();
        let run = |i: &[Tensor]| {
            let mask = mask.as_ref().map(|mask| mask.to_dtype(i[0].dtype())).transpose()?;
            attention(&i[0], &i[1], &i[2], mask.as_ref(), 0.7)
        };
        check_values(&all, run, &wanted);
        check_gradients(&all, run);
    }
}

#[test]
fn more_than_a_tile_and_few_heads_or_many() {
    for (heads, queries, keys) in [(1, 140, 270), (8, 130, 257)] {
        let shape = |length: usize, width: usize| vec![1, heads, length, width];
        let all =
            [normal(1, &shape(queries, 3)), normal(2, &shape(keys, 3)), normal(3, &shape(keys, 2))];
        let mask = (heads == 1).then(|| normal(4, &[1, 1, queries, keys]));
        for mask in [None, mask].into_iter().take(if heads == 1 { 2 } else { 1 }) {
            let wanted = plain(&all[0], &all[1], &all[2], mask.as_ref(), 0.7).unwrap();
            let run = |i: &[Tensor]| {
                let mask = mask.as_ref().map(|mask| mask.to_dtype(i[0].dtype())).transpose()?;
                attention(&i[0], &i[1], &i[2], mask.as_ref(), 0.7)
            };
            check_values(&all, run, &wanted);
            check_gradients(&all, run);
        }
    }
}

#[test]
fn the_first_tiles_of_keys_may_be_hidden() {
    let all = [normal(1, &[1, 1, 3, 4]), normal(2, &[1, 1, 600, 4]), normal(3, &[1, 1, 600, 4])];
    let hidden: Vec<f64> =
        (0..600).map(|k| if k < 590 { f64::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(hidden, (1, 1, 1, 600), &candle_core::Device::Cpu).unwrap();
    let wanted = plain(&all[0], &all[1], &all[2], Some(&mask), 1.0).unwrap();
    let y = attention(&all[0], &all[1], &all[2], Some(&mask), 1.0).unwrap();
    assert!(crate::support::difference(&y, &wanted) < 1e-13);
    check_gradients(&all, |i| attention(&i[0], &i[1], &i[2], Some(&mask), 1.0));
}

#[test]
fn only_what_is_asked_for_gets_a_gradient() {
    let [q, k, v] = [1, 2, 3].map(|seed| normal(seed, &[1, 2, 5, 4]));
    let q = Var::from_tensor(&q).unwrap();
    let (k, fixed) = (Var::from_tensor(&k).unwrap(), v);
    let loss = attention(&q, &k, &fixed, None, 1.0).unwrap().sqr().unwrap().sum_all().unwrap();
    let vars = [q.clone(), k.clone()];
    let some = gradients(loss, &vars, None).unwrap();
    let v = Var::from_tensor(&fixed).unwrap();
    let loss = attention(&q, &k, &v, None, 1.0).unwrap().sqr().unwrap().sum_all().unwrap();
    let all = gradients(loss, &[q.clone(), k.clone(), v.clone()], None).unwrap();
    for var in &vars {
        let [some, all] = [some.get(var), all.get(var)].map(|g| crate::support::values(g.unwrap()));
        assert_eq!(some, all);
    }
}

#[test]
fn half_precision_stays_half() {
    let half = |seed| normal(seed, &[1, 2, 9, 8]).to_dtype(DType::BF16).unwrap();
    let (q, k, v) = (half(1), half(2), half(3));
    let y = attention(&q, &k, &v, None, 0.35).unwrap();
    assert_eq!(y.dtype(), DType::BF16);
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let wanted = plain(&wide(&q), &wide(&k), &wide(&v), None, 0.35).unwrap();
    assert!(crate::support::difference(&y, &wanted) < 0.02);
    let q = Var::from_tensor(&q).unwrap();
    let loss = attention(&q, &k, &v, None, 0.35).unwrap().to_dtype(DType::F32).unwrap();
    let found = gradients(loss.sum_all().unwrap(), std::slice::from_ref(&q), None).unwrap();
    assert_eq!(found.get(&q).unwrap().dtype(), DType::BF16);
}

#[test]
fn what_does_not_fit_is_named() {
    let [q, k, v] = [normal(1, &[2, 3, 4, 5]), normal(1, &[2, 3, 6, 5]), normal(1, &[2, 3, 6, 5])];
    let text = message(attention(&q, &normal(1, &[2, 3, 6, 4]), &v, None, 1.0));
    assert!(text.contains("`k` is [2, 3, 6, 4], but [2, 3, 6, 5]"), "{text}");
    let text = message(attention(&q, &k, &normal(1, &[2, 3, 5, 5]), None, 1.0));
    assert!(text.contains("`v` is [2, 3, 5, 5], but [2, 3, 6, D]"), "{text}");
    let text = message(attention(&q, &k, &v, Some(&normal(1, &[2, 1, 1, 5])), 1.0));
    assert!(text.contains("`mask` is [2, 1, 1, 5], but [2, 3, 4, 6] or 1"), "{text}");
}
