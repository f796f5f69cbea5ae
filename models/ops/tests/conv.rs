//! Convolutions.

use candle_core::{DType, Result, Tensor, Var};
use curate_ops::{conv2d, conv3d, frozen_conv2d, frozen_conv3d, gradients};

use crate::support::{check_gradients, check_values, difference, message, normal, values};

/// By the definition.
fn naive(x: &Tensor, w: &Tensor, bias: &Tensor, stride: [usize; 3], padding: [usize; 3]) -> Tensor {
    let (batch, channels, t, h, width) = x.dims5().unwrap();
    let (outs, _, kt, kh, kw) = w.dims5().unwrap();
    let (xs, ws, bs) = (values(x), values(w), values(bias));
    let size = |axis: usize, input: usize, kernel: usize| {
        (input + 2 * padding[axis] - kernel) / stride[axis] + 1
    };
    let out = [size(0, t, kt), size(1, h, kh), size(2, width, kw)];
    let mut y = Vec::new();
    for (b, o) in pairs(batch, outs) {
        for ot in 0..out[0] {
            for (oh, ow) in pairs(out[1], out[2]) {
                let mut sum = bs[o];
                for (c, dt) in pairs(channels, kt) {
                    for (dh, dw) in pairs(kh, kw) {
                        let at = [ot * stride[0] + dt, oh * stride[1] + dh, ow * stride[2] + dw];
                        let [Some(it), Some(ih), Some(iw)] =
                            [0, 1, 2].map(|axis| at[axis].checked_sub(padding[axis]))
                        else {
                            continue;
                        };
                        if it < t && ih < h && iw < width {
                            sum += xs[(((b * channels + c) * t + it) * h + ih) * width + iw]
                                * ws[(((o * channels + c) * kt + dt) * kh + dh) * kw + dw];
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    Tensor::from_vec(y, (batch, outs, out[0], out[1], out[2]), x.device()).unwrap()
}

fn pairs(first: usize, second: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..first).flat_map(move |a| (0..second).map(move |b| (a, b)))
}

/// Input, channels out, kernel, stride, padding.
type Case = ([usize; 5], usize, [usize; 3], [usize; 3], [usize; 3]);

const CASES: [Case; 11] = [
    ([2, 3, 4, 5, 6], 4, [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([1, 2, 5, 7, 9], 3, [3, 3, 3], [2, 2, 2], [1, 1, 1]),
    ([1, 2, 4, 8, 7], 3, [3, 3, 3], [1, 2, 2], [0, 1, 1]),
    ([2, 2, 3, 5, 4], 2, [2, 3, 1], [1, 2, 3], [0, 2, 1]),
    ([1, 1, 1, 13, 31], 2, [1, 4, 5], [1, 1, 1], [0, 3, 0]),
    ([1, 3, 2, 3, 3], 2, [1, 1, 1], [1, 1, 1], [0, 0, 0]),
    ([1, 2, 2, 3, 2], 2, [1, 1, 1], [1, 1, 1], [1, 1, 2]),
    ([2, 40, 3, 5, 5], 2, [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([1, 2, 3, 17, 19], 3, [3, 3, 3], [1, 1, 1], [2, 2, 2]),
    // Few channels out of many, and many out of few.
    ([2, 9, 3, 6, 5], 2, [3, 3, 3], [1, 1, 1], [0, 1, 2]),
    ([2, 2, 3, 6, 5], 9, [3, 3, 2], [1, 1, 1], [2, 1, 0]),
];

fn inputs(case: &Case) -> [Tensor; 3] {
    let (x, outs, kernel, ..) = case;
    [normal(1, x), normal(2, &[*outs, x[1], kernel[0], kernel[1], kernel[2]]), normal(3, &[*outs])]
}

fn run(case: &Case, inputs: &[Tensor]) -> Result<Tensor> {
    conv3d(&inputs[0], &inputs[1], inputs.get(2), case.3, case.4)
}

#[test]
fn three_dimensions_are_as_defined() {
    for case in &CASES {
        let all = inputs(case);
        let wanted = naive(&all[0], &all[1], &all[2], case.3, case.4);
        check_values(&all, |inputs| run(case, inputs), &wanted);
        let plain = conv3d(&all[0], &all[1], None, case.3, case.4).unwrap();
        let zero = naive(&all[0], &all[1], &all[2].zeros_like().unwrap(), case.3, case.4);
        assert!(difference(&plain, &zero) < 1e-12);
    }
}

#[test]
fn three_dimensions_have_their_gradients() {
    for case in &CASES {
        check_gradients(&inputs(case), |inputs| run(case, inputs));
    }
}

/// Rows of whole vectors, few channels: those that are computed without patches in f32.
const NARROW: [Case; 6] = [
    ([2, 3, 3, 4, 8], 5, [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([1, 5, 2, 2, 16], 4, [1, 3, 3], [1, 1, 1], [0, 1, 1]),
    ([1, 6, 4, 2, 24], 9, [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([1, 2, 3, 6, 6], 3, [3, 3, 3], [1, 1, 1], [2, 2, 2]),
    ([2, 3, 5, 6, 10], 7, [3, 3, 3], [1, 1, 1], [0, 0, 0]),
    ([3, 16, 2, 8, 32], 16, [2, 1, 3], [1, 1, 1], [1, 0, 1]),
];

#[test]
fn narrow_ones_in_single_precision_are_those_in_double() {
    for case in &NARROW {
        let all = inputs(case);
        let found = |dtype| {
            let vars = all.each_ref().map(|input| Var::from_tensor(&input.to_dtype(dtype)?));
            let vars = vars.into_iter().collect::<Result<Vec<_>>>()?;
            let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let y = run(case, &inputs)?;
            let loss = (&y * normal(4, y.dims()).to_dtype(dtype)?)?.sum_all()?;
            let found = gradients(loss, &vars, None)?;
            let mut results = vec![y.detach()];
            results.extend(vars.iter().map(|var| found.get(var).expect("a gradient").clone()));
            Ok::<_, candle_core::Error>(results)
        };
        let (single, double) = (found(DType::F32).unwrap(), found(DType::F64).unwrap());
        for (what, (single, double)) in
            ["y", "x", "w", "bias"].iter().zip(single.iter().zip(&double))
        {
            let most = values(double).iter().fold(1.0f64, |most, value| most.max(value.abs()));
            let apart = difference(&single.to_dtype(DType::F64).unwrap(), double);
            assert!(apart < 2e-6 * most, "{case:?}: {what} differs by {apart} of {most}");
        }
    }
}

#[test]
fn two_dimensions_too() {
    let (x, w, bias) = (normal(1, &[2, 3, 9, 7]), normal(2, &[4, 3, 3, 2]), normal(3, &[4]));
    for (stride, padding) in
        [([1, 1], [1, 0]), ([2, 2], [1, 1]), ([2, 1], [0, 1]), ([1, 3], [2, 0])]
    {
        let deep = |tensor: &Tensor| tensor.unsqueeze(2).unwrap();
        let wanted = naive(
            &deep(&x),
            &deep(&w),
            &bias,
            [1, stride[0], stride[1]],
            [0, padding[0], padding[1]],
        );
        let all = [x.clone(), w.clone(), bias.clone()];
        let run = |i: &[Tensor]| conv2d(&i[0], &i[1], Some(&i[2]), stride, padding);
        check_values(&all, run, &wanted.squeeze(2).unwrap());
        check_gradients(&all, run);
    }
}

#[test]
fn half_precision_goes_through_single() {
    let (x, w) = (normal(1, &[1, 2, 3, 4, 5]), normal(2, &[2, 2, 3, 3, 3]));
    let half = |tensor: &Tensor| tensor.to_dtype(candle_core::DType::BF16).unwrap();
    let y = conv3d(&half(&x), &half(&w), None, [1; 3], [1; 3]).unwrap();
    assert_eq!(y.dtype(), candle_core::DType::BF16);
    let wanted = conv3d(&x, &w, None, [1; 3], [1; 3]).unwrap();
    assert!(difference(&y, &wanted) < 0.02);
}

#[test]
fn frozen_weights_get_no_gradient() {
    let var = |seed, shape: &[usize]| Var::from_tensor(&normal(seed, shape)).unwrap();
    let (x, w, bias) = (var(1, &[1, 2, 3, 4, 4]), var(2, &[2, 2, 1, 3, 3]), var(3, &[2]));
    let y = frozen_conv3d(&x, &w, Some(&bias), [1; 3], [0, 1, 1]).unwrap();
    let vars = [x.clone(), w.clone(), bias.clone()];
    let frozen = gradients(y.sqr().unwrap().sum_all().unwrap(), &vars, None).unwrap();
    assert!(frozen.get(&w).is_none() && frozen.get(&bias).is_none());
    let y = conv3d(&x, &w, Some(&bias), [1; 3], [0, 1, 1]).unwrap();
    let free = gradients(y.sqr().unwrap().sum_all().unwrap(), &vars, None).unwrap();
    assert_eq!(values(frozen.get(&x).unwrap()), values(free.get(&x).unwrap()));
    let (x, w) = (var(1, &[1, 2, 4, 4]), var(2, &[2, 2, 3, 3]));
    let y = frozen_conv2d(&x, &w, None, [1; 2], [1; 2]).unwrap();
    let frozen = gradients(y.sum_all().unwrap(), &[x.clone(), w.clone()], None).unwrap();
    assert!(frozen.get(&x).is_some() && frozen.get(&w).is_none());
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, w) = (normal(1, &[1, 2, 3, 4, 5]), normal(2, &[2, 3, 3, 3, 3]));
    let text = message(conv3d(&x, &w, None, [1; 3], [1; 3]));
    assert!(text.contains("conv3d: `w` is [2, 3, 3, 3, 3], but [2, 2, ..]"), "{text}");
    let w = normal(2, &[2, 2, 3, 3, 3]);
    let text = message(conv3d(&x, &w, None, [1, 0, 1], [1; 3]));
    assert!(text.contains("`stride` is [1, 0, 1]"), "{text}");
    let text = message(conv3d(&x, &normal(2, &[2, 2, 3, 5, 3]), None, [1; 3], [0; 3]));
    assert!(text.contains("an input of at least [3, 5, 3]"), "{text}");
    let text = message(conv3d(&x, &w, Some(&normal(3, &[3])), [1; 3], [1; 3]));
    assert!(text.contains("`bias` is [3], but [2]"), "{text}");
    let text = message(conv2d(&x, &w, None, [1; 2], [1; 2]));
    assert!(text.contains("conv2d: `x` is [1, 2, 3, 4, 5], but [B, C, H, W]"), "{text}");
    let single = w.to_dtype(candle_core::DType::F32).unwrap();
    let text = message(conv3d(&x, &single, None, [1; 3], [1; 3]));
    assert!(text.contains("`w` is F32, but F64"), "{text}");
}
