//! Normalisations.

use candle_core::Tensor;
use curate_ops::{group_norm, group_norm_silu, layer_norm, rms_norm};

use crate::support::{check_gradients, check_values, message, normal, values};

const EPS: f64 = 1e-3;

/// Each row of `row` values, less the mean if `centred`, over its root mean square.
fn normalised(x: &[f64], row: usize, centred: bool) -> Vec<f64> {
    x.chunks(row)
        .flat_map(|x| {
            let mean = if centred { x.iter().sum::<f64>() / row as f64 } else { 0.0 };
            let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row as f64;
            x.iter().map(move |x| (x - mean) / (square + EPS).sqrt()).collect::<Vec<_>>()
        })
        .collect()
}

fn like(values: Vec<f64>, x: &Tensor) -> Tensor {
    Tensor::from_vec(values, x.shape(), x.device()).unwrap()
}

#[test]
fn layer_norm_is_as_defined() {
    for shape in [vec![2, 3, 5], vec![3, 17], vec![7], vec![2, 1, 70]] {
        let last = shape[shape.len() - 1];
        let (x, weight, bias) =
            ((normal(1, &shape) + 0.5).unwrap(), normal(2, &[last]), normal(3, &[last]));
        let plain = like(normalised(&values(&x), last, true), &x);
        check_values(std::slice::from_ref(&x), |i| layer_norm(&i[0], None, None, EPS), &plain);
        check_gradients(std::slice::from_ref(&x), |i| layer_norm(&i[0], None, None, EPS));
        let wanted = plain.broadcast_mul(&weight).unwrap();
        let two = [x.clone(), weight.clone()];
        check_values(&two, |i| layer_norm(&i[0], Some(&i[1]), None, EPS), &wanted);
        check_gradients(&two, |i| layer_norm(&i[0], Some(&i[1]), None, EPS));
        let wanted = wanted.broadcast_add(&bias).unwrap();
        let all = [x, weight, bias];
        check_values(&all, |i| layer_norm(&i[0], Some(&i[1]), Some(&i[2]), EPS), &wanted);
        check_gradients(&all, |i| layer_norm(&i[0], Some(&i[1]), Some(&i[2]), EPS));
    }
}

#[test]
fn rms_norm_is_as_defined() {
    let (x, weight) = ((normal(1, &[2, 3, 21]) + 0.5).unwrap(), normal(2, &[21]));
    let plain = like(normalised(&values(&x), 21, false), &x);
    check_values(std::slice::from_ref(&x), |i| rms_norm(&i[0], None, EPS), &plain);
    check_gradients(std::slice::from_ref(&x), |i| rms_norm(&i[0], None, EPS));
    let all = [x, weight];
    let wanted = plain.broadcast_mul(&all[1]).unwrap();
    check_values(&all, |i| rms_norm(&i[0], Some(&i[1]), EPS), &wanted);
    check_gradients(&all, |i| rms_norm(&i[0], Some(&i[1]), EPS));
}

#[test]
fn group_norm_is_as_defined() {
    for (shape, groups) in
        [(vec![2, 6, 3, 5], 3), (vec![1, 4, 2, 3, 3], 1), (vec![3, 4, 5], 4), (vec![2, 6], 2)]
    {
        let channels = shape[1];
        let (x, weight, bias) =
            ((normal(1, &shape) + 0.5).unwrap(), normal(2, &[channels]), normal(3, &[channels]));
        let row = x.elem_count() / shape[0] / groups;
        let plain = like(normalised(&values(&x), row, true), &x);
        let along: Vec<usize> =
            (0..shape.len()).map(|axis| if axis == 1 { channels } else { 1 }).collect();
        let scaled = plain.broadcast_mul(&weight.reshape(along.as_slice()).unwrap()).unwrap();
        let wanted = scaled.broadcast_add(&bias.reshape(along.as_slice()).unwrap()).unwrap();
        let all = [x, weight, bias];
        check_values(&all[..1], |i| group_norm(&i[0], groups, None, None, EPS), &plain);
        check_gradients(&all[..1], |i| group_norm(&i[0], groups, None, None, EPS));
        let full = |i: &[Tensor]| group_norm(&i[0], groups, Some(&i[1]), Some(&i[2]), EPS);
        check_values(&all, full, &wanted);
        check_gradients(&all, full);
        let silu: Vec<f64> = values(&wanted).into_iter().map(|x| x / (1.0 + (-x).exp())).collect();
        let full = |i: &[Tensor]| group_norm_silu(&i[0], groups, Some(&i[1]), Some(&i[2]), EPS);
        check_values(&all, full, &like(silu, &wanted));
        check_gradients(&all, full);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let x = normal(1, &[2, 6, 5]);
    let text = message(layer_norm(&x, Some(&normal(2, &[6])), None, EPS));
    assert!(text.contains("layer_norm: `weight` is [6], but [5]"), "{text}");
    let text = message(group_norm(&x, 4, None, None, EPS));
    assert!(text.contains("`groups` is 4, but a divisor of the 6 channels"), "{text}");
    let text = message(group_norm(&normal(1, &[6]), 2, None, None, EPS));
    assert!(text.contains("group_norm: `x` is [6], but [B, C, ..]"), "{text}");
    let text = message(rms_norm(&x, Some(&normal(2, &[1, 5])), EPS));
    assert!(text.contains("rms_norm: `weight` is [1, 5], but [5]"), "{text}");
}

#[test]
fn a_modulated_norm_scales_and_shifts_each_example() {
    for shape in [vec![2, 3, 5], vec![3, 2, 2, 17], vec![2, 9]] {
        let (batch, last) = (shape[0], shape[shape.len() - 1]);
        let x = (normal(1, &shape) + 0.5).unwrap();
        let (scale, shift) = (normal(2, &[batch, last]), normal(3, &[batch, last]));
        let plain = like(normalised(&values(&x), last, true), &x);
        let mut along = vec![1; shape.len()];
        (along[0], along[shape.len() - 1]) = (batch, last);
        let wide = |t: &Tensor| t.reshape(along.as_slice()).unwrap();
        let scaled = plain.broadcast_mul(&(wide(&scale) + 1.0).unwrap()).unwrap();
        let wanted = scaled.broadcast_add(&wide(&shift)).unwrap();
        let all = [x, scale, shift];
        let run = |i: &[Tensor]| curate_ops::layer_norm_modulated(&i[0], &i[1], &i[2], EPS);
        check_values(&all, run, &wanted);
        check_gradients(&all, run);
    }
    let text = message(curate_ops::layer_norm_modulated(
        &normal(1, &[2, 3, 5]),
        &normal(2, &[5]),
        &normal(3, &[2, 5]),
        EPS,
    ));
    assert!(text.contains("`scale` is [5], but [2, 5]"), "{text}");
}
