//! Enlarging, padding, pooling, sampling.

use candle_core::{Result, Tensor};
use curate_ops::{
    PadMode, avg_pool2d, blur_pool3d, interpolate_linear_t, max_pool2d, pad_right_bottom, pad_time,
    pad_to_even, sample_bilinear, upsample_nearest2d,
};

use crate::support::{check_gradients, check_values, message, normal, values};

/// A tensor by a function of its indices.
fn by_index(shape: &[usize], value: impl Fn(&[usize]) -> f64) -> Tensor {
    let count = shape.iter().product();
    let numbers = (0..count).map(|flat: usize| value(&indices(flat, shape)));
    Tensor::from_vec(numbers.collect(), shape, &candle_core::Device::Cpu).unwrap()
}

fn indices(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut all = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        all[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    all
}

/// The value at signed indices; beyond the border by mode.
fn at(x: &Tensor, index: &[isize], mode: PadMode) -> f64 {
    let mut flat = 0;
    for (axis, size) in x.dims().iter().enumerate() {
        let last = *size as isize - 1;
        if mode == PadMode::Zero && !(0..=last).contains(&index[axis]) {
            return 0.0;
        }
        flat = flat * size + index[axis].clamp(0, last) as usize;
    }
    values(x)[flat]
}

fn signed(index: &[usize]) -> Vec<isize> {
    index.iter().map(|i| *i as isize).collect()
}

fn check(x: &Tensor, run: impl Fn(&Tensor) -> Result<Tensor> + Sync, wanted: &Tensor) {
    check_values(std::slice::from_ref(x), |i| run(&i[0]), wanted);
    check_gradients(std::slice::from_ref(x), |i| run(&i[0]));
    // An input that is used elsewhere as well keeps the gradients from there.
    check_gradients(std::slice::from_ref(x), |i| {
        let y = run(&i[0])?;
        Tensor::cat(&[y.flatten_all()?, i[0].sqr()?.flatten_all()?], 0)
    });
}

#[test]
fn upsampling_repeats_values() {
    for shape in [vec![2, 3, 3, 5], vec![1, 2, 3, 2, 3]] {
        let x = normal(1, &shape);
        for factor in [1, 2, 3] {
            let mut large = shape.clone();
            let rank = shape.len();
            large[rank - 2] *= factor;
            large[rank - 1] *= factor;
            let wanted = by_index(&large, |index| {
                let mut from = signed(index);
                from[rank - 2] /= factor as isize;
                from[rank - 1] /= factor as isize;
                at(&x, &from, PadMode::Zero)
            });
            check(&x, |x| upsample_nearest2d(x, factor), &wanted);
        }
    }
}

#[test]
fn frames_are_interpolated_as_by_pytorch() {
    for frames in [1, 2, 3, 5] {
        let x = normal(1, &[1, 2, frames, 2, 3]);
        let wanted = by_index(&[1, 2, 2 * frames, 2, 3], |index| {
            // The centre of an output frame, in input frames.
            let place = ((index[2] as f64 + 0.5) / 2.0 - 0.5).max(0.0);
            let (first, share) = (place.floor(), place.fract());
            let mut from = signed(index);
            from[2] = first as isize;
            let low = at(&x, &from, PadMode::Replicate);
            from[2] += 1;
            low * (1.0 - share) + at(&x, &from, PadMode::Replicate) * share
        });
        check(&x, interpolate_linear_t, &wanted);
    }
}

#[test]
fn padding_repeats_or_is_zero() {
    let x = normal(1, &[1, 2, 3, 2, 3]);
    for mode in [PadMode::Zero, PadMode::Replicate] {
        let wanted = by_index(&[1, 2, 6, 2, 3], |index| {
            let mut from = signed(index);
            from[2] -= 2;
            at(&x, &from, mode)
        });
        check(&x, |x| pad_time(x, 2, 1, mode), &wanted);
        let wanted = by_index(&[1, 2, 3, 3, 5], |index| at(&x, &signed(index), mode));
        check(&x, |x| pad_right_bottom(x, 2, 1, mode), &wanted);
    }
    let wanted = by_index(&[1, 2, 3, 2, 4], |index| at(&x, &signed(index), PadMode::Replicate));
    check(&x, pad_to_even, &wanted);
}

#[test]
fn max_pooling_takes_the_largest() {
    for (size, kernel, stride) in [([6, 8], 2, 2), ([7, 9], 3, 2), ([7, 6], 2, 2), ([5, 5], 3, 1)] {
        let x = normal(1, &[2, 2, size[0], size[1]]);
        let out = size.map(|size: usize| (size - kernel) / stride + 1);
        let wanted = by_index(&[2, 2, out[0], out[1]], |index| {
            let mut largest = f64::NEG_INFINITY;
            for (down, right) in (0..kernel * kernel).map(|i| (i / kernel, i % kernel)) {
                let (y, x_at) = (index[2] * stride + down, index[3] * stride + right);
                let from = signed(&[index[0], index[1], y, x_at]);
                largest = largest.max(at(&x, &from, PadMode::Zero));
            }
            largest
        });
        check(&x, |x| max_pool2d(x, kernel, stride), &wanted);
    }
}

#[test]
fn of_equal_largest_the_first_gets_the_gradient() {
    let nan = f64::NAN;
    let x =
        [[1.0, 1.0, 2.0, 5.0], [1.0, 1.0, 5.0, 5.0], [nan, 3.0, 0.0, 0.0], [4.0, nan, 0.0, 7.0]];
    let x = candle_core::Var::new(&x, &candle_core::Device::Cpu).unwrap();
    let y = max_pool2d(&x, 2, 2).unwrap();
    let largest = values(&y);
    assert_eq!([largest[0], largest[1], largest[3]], [1.0, 5.0, 7.0]);
    assert!(largest[2].is_nan());
    let found = curate_ops::gradients(y.sum_all().unwrap(), std::slice::from_ref(&x), None);
    let gradient = values(found.unwrap().get(&x).unwrap());
    let ones: Vec<usize> = (0..16).filter(|index| gradient[*index] == 1.0).collect();
    assert_eq!(ones, [0, 3, 8, 15]);
    assert_eq!(gradient.iter().sum::<f64>(), 4.0);
}

#[test]
fn blurring_takes_every_second_smoothed_value() {
    for shape in [[1, 2, 1, 4, 5], [2, 1, 3, 2, 7], [1, 1, 4, 6, 3]] {
        let x = normal(1, &shape);
        let half = |axis: usize| shape[axis].div_ceil(2);
        let wanted = by_index(&[shape[0], shape[1], half(2), half(3), half(4)], |index| {
            let mut sum = 0.0;
            for tap in 0..27 {
                let offsets = [tap / 9, tap / 3 % 3, tap % 3];
                let mut from = signed(index);
                let mut weight = 1.0;
                for (axis, offset) in offsets.into_iter().enumerate() {
                    from[axis + 2] = 2 * from[axis + 2] + offset - 1;
                    weight *= [0.25, 0.5, 0.25][offset as usize];
                }
                sum += weight * at(&x, &from, PadMode::Zero);
            }
            sum
        });
        check(&x, blur_pool3d, &wanted);
    }
}

#[test]
fn average_pooling_takes_means() {
    let x = normal(1, &[2, 2, 5, 6]);
    let wanted = by_index(&[2, 2, 2, 3], |index| {
        let corner =
            |down, right| signed(&[index[0], index[1], 2 * index[2] + down, 2 * index[3] + right]);
        let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
        all.map(|(down, right)| at(&x, &corner(down, right), PadMode::Zero)).iter().sum::<f64>()
            / 4.0
    });
    check(&x, |x| avg_pool2d(x, 2), &wanted);
}

#[test]
fn sampling_is_linear_between_pixels_and_zero_outside() {
    let image = normal(1, &[2, 3, 4, 5]);
    // From beyond one corner to beyond the other, never on a whole number.
    let points = by_index(&[2, 21, 2], |i| {
        (i[1] as f64 * 0.37 + i[0] as f64 * 0.11 + i[2] as f64 * 0.23) - 1.53
    });
    let places = values(&points);
    let wanted = by_index(&[2, 3, 21], |index| {
        let place = &places[(index[0] * 21 + index[2]) * 2..][..2];
        let (mut sum, floor) = (0.0, [place[0].floor(), place[1].floor()]);
        for (right, down) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            let (x, y) = (floor[0] + right, floor[1] + down);
            let share = (1.0 - (place[0] - x).abs()) * (1.0 - (place[1] - y).abs());
            let from = [index[0] as isize, index[1] as isize, y as isize, x as isize];
            sum += share * at(&image, &from, PadMode::Zero);
        }
        sum
    });
    let all = [image, points];
    check_values(&all, |i| sample_bilinear(&i[0], &i[1]), &wanted);
    check_gradients(&all, |i| sample_bilinear(&i[0], &i[1]));
}

#[test]
fn what_does_not_fit_is_named() {
    let x = normal(1, &[2, 3, 4]);
    let text = message(interpolate_linear_t(&x));
    assert!(text.contains("`x` is [2, 3, 4], but [B, C, T, H, W]"), "{text}");
    let text = message(max_pool2d(&x, 4, 2));
    assert!(text.contains("`x` is [2, 3, 4], but an image of at least 4x4"), "{text}");
    let text = message(upsample_nearest2d(&x, 0));
    assert!(text.contains("`factor` is 0"), "{text}");
    let text = message(blur_pool3d(&x));
    assert!(text.contains("[B, C, T, H, W]"), "{text}");
    let text = message(sample_bilinear(&normal(1, &[2, 1, 3, 3]), &normal(2, &[1, 4, 2])));
    assert!(text.contains("`points` is [1, 4, 2], but [2, P, 2]"), "{text}");
    let text = message(pad_time(&x, 1, 0, PadMode::Zero));
    assert!(text.contains("pad_time: `x`"), "{text}");
}

#[test]
fn half_precision_goes_by_candle() {
    let x = normal(1, &[1, 2, 3, 4, 5]);
    let half = x.to_dtype(candle_core::DType::BF16).unwrap();
    let all: [fn(&Tensor) -> Result<Tensor>; 6] = [
        |x| upsample_nearest2d(x, 2),
        interpolate_linear_t,
        blur_pool3d,
        |x| max_pool2d(x, 3, 2),
        |x| pad_time(x, 1, 2, PadMode::Zero),
        |x| pad_right_bottom(x, 1, 2, PadMode::Replicate),
    ];
    for run in all {
        let (given, wanted) = (run(&half).unwrap(), run(&x).unwrap());
        assert!(crate::support::difference(&given, &wanted) < 0.02);
        let var = candle_core::Var::from_tensor(&half).unwrap();
        let loss = run(&var).unwrap().sum_all().unwrap();
        let found = curate_ops::gradients(loss, std::slice::from_ref(&var), None).unwrap();
        let exact = candle_core::Var::from_tensor(&x).unwrap();
        let loss = run(&exact).unwrap().sum_all().unwrap();
        let wanted = curate_ops::gradients(loss, std::slice::from_ref(&exact), None).unwrap();
        let (given, wanted) = (found.get(&var).unwrap(), wanted.get(&exact).unwrap());
        assert!(crate::support::difference(given, wanted) < 0.02);
    }
}
