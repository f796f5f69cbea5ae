//! Half the size by cubic interpolation, as OpenCV does it (four taps, no low-pass) and as Pillow
//! does it (eight taps, with low-pass). NIQE's and BRISQUE's second scale is this picture.

use std::ops::Range;

/// Weights of the four nearest samples for a position `x` (0 to 1) beyond the second, in single
/// precision as OpenCV has them: Keys' kernel with a = -0.75; the last makes the sum 1.
fn keys(x: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let far = ((A * (x + 1.0) - 5.0 * A) * (x + 1.0) + 8.0 * A) * (x + 1.0) - 4.0 * A;
    let near = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let other = ((A + 2.0) * (1.0 - x) - (A + 3.0)) * (1.0 - x) * (1.0 - x) + 1.0;
    [far, near, other, 1.0 - far - near - other]
}

/// Where each of `to` samples lies among `from`: the second of its four neighbours, and their
/// weights.
fn places(from: usize, to: usize) -> impl Iterator<Item = (isize, [f32; 4])> {
    let step = from as f64 / to as f64;
    (0..to).map(move |at| {
        let position = ((at as f64 + 0.5) * step - 0.5) as f32;
        let whole = position.floor();
        (whole as isize, keys(position - whole))
    })
}

/// `cv2.resize(source, (width // 2, height // 2), interpolation=cv2.INTER_CUBIC)` of 32-bit floats;
/// neighbours beyond the border repeat the border. Needs two pixels in each direction.
pub(crate) fn halve_cubic(source: &[f32], width: usize) -> Vec<f32> {
    let height = source.len() / width;
    let (half_width, half_height) = (width / 2, height / 2);
    let inside = |at: isize, size: usize| at.clamp(0, size as isize - 1) as usize;
    let columns: Vec<([usize; 4], [f32; 4])> = places(width, half_width)
        .map(|(second, weights)| {
            (std::array::from_fn(|i| inside(second + i as isize - 1, width)), weights)
        })
        .collect();
    let mut narrow = vec![0.0; half_width * height];
    for (from, to) in source.chunks_exact(width).zip(narrow.chunks_exact_mut(half_width)) {
        for (to, ([a, b, c, d], w)) in to.iter_mut().zip(&columns) {
            *to = from[*a] * w[0] + from[*b] * w[1] + from[*c] * w[2] + from[*d] * w[3];
        }
    }
    let mut half = vec![0.0; half_width * half_height];
    let rows = places(height, half_height);
    for (to, (second, w)) in half.chunks_exact_mut(half_width).zip(rows) {
        let [a, b, c, d]: [&[f32]; 4] = std::array::from_fn(|i| {
            &narrow[inside(second + i as isize - 1, height) * half_width..][..half_width]
        });
        // OpenCV adds from the last to the first, but where the columns fill no vector.
        let (vectors, rest) = to.split_at_mut(half_width - half_width % 4);
        let after = vectors.len();
        for (x, to) in vectors.iter_mut().enumerate() {
            *to = a[x] * w[0] + (b[x] * w[1] + (c[x] * w[2] + d[x] * w[3]));
        }
        for (x, to) in (after..).zip(rest) {
            *to = a[x] * w[0] + b[x] * w[1] + c[x] * w[2] + d[x] * w[3];
        }
    }
    half
}

/// Keys' kernel with a = -0.5, which Pillow calls bicubic.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Which samples make each of `size / 2` new ones, and with what weights.
fn spans(size: usize) -> Vec<(Range<usize>, [f64; 8])> {
    (0..size / 2)
        .map(|at| {
            let middle = 2 * at + 1;
            let span = middle.saturating_sub(4)..(middle + 4).min(size);
            let mut weights = [0.0; 8];
            for (weight, from) in weights.iter_mut().zip(span.clone()) {
                *weight = bicubic((from as f64 - middle as f64 + 0.5) * 0.5);
            }
            let sum: f64 = weights.iter().sum();
            (span, weights.map(|weight| weight * (1.0 / sum)))
        })
        .collect()
}

/// `Image.resize((width / 2, height / 2), Image.BICUBIC)` of a picture of mode `F` with even sides:
/// along rows, then along columns, sums in double precision, 32-bit floats in between. Borders are
/// met with fewer taps.
pub(crate) fn halve_smoothly(source: &[f32], width: usize) -> Vec<f32> {
    let height = source.len() / width;
    let half_width = width / 2;
    let mut narrow = vec![0.0; half_width * height];
    let columns = spans(width);
    for (from, to) in source.chunks_exact(width).zip(narrow.chunks_exact_mut(half_width)) {
        for (to, (span, weights)) in to.iter_mut().zip(&columns) {
            let taps = from[span.clone()].iter().zip(weights);
            *to = taps.fold(0.0, |sum, (sample, w)| sum + f64::from(*sample) * w) as f32;
        }
    }
    let mut half = vec![0.0; half_width * (height / 2)];
    let mut sums = vec![0.0_f64; half_width];
    for (to, (span, weights)) in half.chunks_exact_mut(half_width).zip(spans(height)) {
        sums.fill(0.0);
        for (y, weight) in span.zip(weights) {
            let from = &narrow[y * half_width..][..half_width];
            for (sum, sample) in sums.iter_mut().zip(from) {
                *sum += f64::from(*sample) * weight;
            }
        }
        for (to, sum) in to.iter_mut().zip(&sums) {
            *to = *sum as f32;
        }
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_a_ramp() {
        let ramp: Vec<f32> =
            (0..16 * 12).map(|i| (i % 16) as f32 + 2.0 * (i / 16) as f32).collect();
        for half in [halve_cubic(&ramp, 16), halve_smoothly(&ramp, 16)] {
            assert_eq!(half.len(), 8 * 6);
            for y in 2..4 {
                for x in 2..6 {
                    let wanted = (2.0 * x as f32 + 0.5) + 2.0 * (2.0 * y as f32 + 0.5);
                    assert!((half[y * 8 + x] - wanted).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn odd_sides_lose_a_pixel_and_weights_sum_to_one() {
        assert_eq!(halve_cubic(&[1.0; 7 * 5], 7).len(), 3 * 2);
        assert!(halve_cubic(&[1.0; 7 * 5], 7).iter().all(|v| (v - 1.0).abs() < 1e-6));
        for (span, weights) in spans(10) {
            assert!(span.len() <= 8 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}
