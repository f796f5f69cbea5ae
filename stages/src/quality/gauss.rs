//! The Gaussian window of seven taps over which BRISQUE and NIQE take the local mean and deviation
//! (sigma 7/6: Mittal et al. 2012, section III), as OpenCV and as SciPy compute it.
//!
//! In flat parts of a picture the local variance is the difference of two nearly equal numbers, so
//! that the last bits of the blurred pictures decide what the scores are made of. Hence two
//! functions, each with the order of operations and the roundings of its model. OpenCV's fused
//! multiply-adds (those of its AVX2 build; the last columns, which fill no vector, go without most
//! of them) are done in double precision, which rounds alike but for one case in 2^29 and needs no
//! instruction set of its own.

/// Taps on either side of the middle one.
const REACH: usize = 3;
const TAPS: usize = 2 * REACH + 1;

/// Weights of the window, normalised to a sum of 1, by the square of sigma.
fn window(sigma_squared: f64) -> [f64; TAPS] {
    let mut weights = [0.0; TAPS];
    for (tap, weight) in weights.iter_mut().enumerate() {
        let distance = tap as f64 - REACH as f64;
        *weight = (-0.5 * distance * distance / sigma_squared).exp();
    }
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// `a * b + c`, rounded once.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// `cv2.GaussianBlur(source, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)` on 32-bit floats:
/// along rows, then along columns, with 32-bit floats in between.
pub(crate) fn blur_replicating(source: &[f32], width: usize) -> Vec<f32> {
    let weights = window((7.0_f64 / 6.0).powi(2)).map(|weight| weight as f32);
    let mut across = vec![0.0; source.len()];
    let mut padded = vec![0.0; width + 2 * REACH];
    for (from, to) in source.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        padded[..REACH].fill(from[0]);
        padded[REACH..REACH + width].copy_from_slice(from);
        padded[REACH + width..].fill(from[width - 1]);
        let [a, b, c, d, e, f, g]: [&[f32]; TAPS] =
            std::array::from_fn(|tap| &padded[tap..tap + width]);
        let (vectors, rest) = to.split_at_mut(width - width % 4);
        for (x, to) in vectors.iter_mut().enumerate() {
            let mut sum = weights[0] * a[x];
            sum = fused(b[x], weights[1], sum);
            sum = fused(c[x], weights[2], sum);
            sum = fused(d[x], weights[3], sum);
            sum = fused(e[x], weights[4], sum);
            sum = fused(f[x], weights[5], sum);
            *to = fused(g[x], weights[6], sum);
        }
        for (x, to) in (width - width % 4..).zip(rest) {
            let sum = (0..5).fold(0.0, |sum, tap| sum + padded[x + tap] * weights[tap]);
            *to = fused(g[x], weights[6], fused(f[x], weights[5], sum));
        }
    }
    let height = source.len() / width;
    let mut blurred = vec![0.0; source.len()];
    for (y, to) in blurred.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| &across[y.min(height - 1) * width..][..width];
        let middle = row(y);
        let above: [&[f32]; REACH] = std::array::from_fn(|i| row(y.saturating_sub(i + 1)));
        let below: [&[f32]; REACH] = std::array::from_fn(|i| row(y + i + 1));
        let (vectors, rest) = to.split_at_mut(width - width % 8);
        for (x, to) in vectors.iter_mut().enumerate() {
            let mut sum = middle[x] * weights[REACH];
            sum = fused(above[0][x] + below[0][x], weights[REACH + 1], sum);
            sum = fused(above[1][x] + below[1][x], weights[REACH + 2], sum);
            *to = fused(above[2][x] + below[2][x], weights[REACH + 3], sum);
        }
        for (x, to) in (width - width % 8..).zip(rest) {
            *to = (0..REACH).fold(middle[x] * weights[REACH], |sum, i| {
                sum + (above[i][x] + below[i][x]) * weights[REACH + 1 + i]
            });
        }
    }
    blurred
}

/// What scikit-video's local statistics blur with: `scipy.ndimage.correlate1d` along columns, then
/// along rows, zeros beyond the borders, sums in double precision, 32-bit floats in between. Its
/// sigma is squared in single precision.
pub(crate) fn blur_in_zeros(source: &[f32], width: usize) -> Vec<f32> {
    let sigma = (7.0_f64 / 6.0) as f32;
    let weights = window(f64::from(sigma * sigma));
    let height = source.len() / width;
    let nothing = vec![0.0; width];
    let mut down = vec![0.0; source.len()];
    for (y, to) in down.chunks_exact_mut(width).enumerate() {
        let row = |y: Option<usize>| match y {
            Some(y) if y < height => &source[y * width..][..width],
            _ => &nothing[..],
        };
        let middle = row(Some(y));
        let above: [&[f32]; REACH] = std::array::from_fn(|i| row(y.checked_sub(i + 1)));
        let below: [&[f32]; REACH] = std::array::from_fn(|i| row(Some(y + i + 1)));
        for (x, to) in to.iter_mut().enumerate() {
            let pair = |i: usize| f64::from(above[i][x]) + f64::from(below[i][x]);
            let mut sum = f64::from(middle[x]) * weights[REACH];
            sum += pair(2) * weights[0];
            sum += pair(1) * weights[1];
            *to = (sum + pair(0) * weights[2]) as f32;
        }
    }
    let mut blurred = vec![0.0; source.len()];
    let mut padded = vec![0.0; width + 2 * REACH];
    for (from, to) in down.chunks_exact(width).zip(blurred.chunks_exact_mut(width)) {
        padded[REACH..REACH + width].copy_from_slice(from);
        let taps: [&[f32]; TAPS] = std::array::from_fn(|tap| &padded[tap..tap + width]);
        for (x, to) in to.iter_mut().enumerate() {
            let pair = |i: usize| f64::from(taps[i][x]) + f64::from(taps[TAPS - 1 - i][x]);
            let mut sum = f64::from(taps[REACH][x]) * weights[REACH];
            sum += pair(0) * weights[0];
            sum += pair(1) * weights[1];
            *to = (sum + pair(2) * weights[2]) as f32;
        }
    }
    blurred
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_window_and_flat_stays_flat() {
        let mut point = vec![0.0; 11 * 9];
        point[4 * 11 + 5] = 1.0;
        let weights = window((7.0_f64 / 6.0).powi(2));
        for blurred in [blur_replicating(&point, 11), blur_in_zeros(&point, 11)] {
            for (y, row) in blurred.chunks_exact(11).enumerate() {
                for (x, value) in row.iter().enumerate() {
                    let tap = |at: usize, middle: usize| {
                        weights.get((at + REACH).wrapping_sub(middle)).copied().unwrap_or(0.0)
                    };
                    let wanted = tap(x, 5) * tap(y, 4);
                    assert!((f64::from(*value) - wanted).abs() < 1e-7);
                }
            }
        }
        let flat = vec![0.5; 8 * 8];
        assert!(blur_replicating(&flat, 8).iter().all(|value| (value - 0.5).abs() < 1e-6));
        let bordered = blur_in_zeros(&flat, 8);
        assert!((bordered[3 * 8 + 3] - 0.5).abs() < 1e-6 && bordered[0] < 0.3);
    }

    #[test]
    fn small_pictures_are_all_border() {
        assert_eq!(blur_replicating(&[0.25], 1).len(), 1);
        assert_eq!(blur_in_zeros(&[0.25, 0.5], 2).len(), 2);
    }
}
