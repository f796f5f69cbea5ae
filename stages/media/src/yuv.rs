//! YUV to RGB on whole planes, in integers that the compiler can vectorise.
//!
//! The planes have their final, small size when they get here, so this costs a few thousand
//! cycles. Sixteen-bit products with five fractional bits (the high half of `a << 8` times a
//! coefficient with 13 fractional bits) are exact to one level against floating point. The loop is
//! compiled once for any x86-64 and once for AVX2, with the same results. Red, green and blue come out as planes,
//! because interleaving by three is what compilers do badly and OpenCV does well.

use crate::color::FrameColors;

/// Coefficients with 13 fractional bits, and what to add at the end with 5.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coefficients {
    luma: u16,
    red_v: i16,
    green_u: i16,
    green_v: i16,
    blue_u: i16,
    /// Takes off black's offset; rounds; makes up for the bias of cutting one product.
    offset: i16,
}

impl Coefficients {
    pub(crate) fn new(colors: FrameColors) -> Self {
        let (red, blue) = (colors.matrix.red, colors.matrix.blue);
        let green = 1.0 - red - blue;
        let (black, luma, chroma): (f64, f64, f64) = if colors.is_full_range {
            (0.0, 1.0, 1.0)
        } else {
            (16.0, 255.0 / 219.0, 255.0 / 224.0)
        };
        let fixed = |value: f64| (value * 8192.0).round() as i16;
        Self {
            luma: (luma * 8192.0).round() as u16,
            red_v: fixed(2.0 * (1.0 - red) * chroma),
            green_u: fixed(-2.0 * (1.0 - blue) * blue / green * chroma),
            green_v: fixed(-2.0 * (1.0 - red) * red / green * chroma),
            blue_u: fixed(2.0 * (1.0 - blue) * chroma),
            offset: (17.0 - black * luma * 32.0).round() as i16,
        }
    }
}

#[inline(always)]
fn high(a: i16, b: i16) -> i16 {
    (i32::from(a).wrapping_mul(i32::from(b)) >> 16) as i16
}

#[inline(always)]
fn level(value: i16) -> u8 {
    (value >> 5).clamp(0, 255) as u8
}

/// Turns planes of equal length into blue, green and red ones of the same length.
pub(crate) fn to_bgr(yuv: [&[u8]; 3], bgr: [&mut Vec<u8>; 3], by: Coefficients) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        unsafe { to_bgr_avx2(yuv, bgr, by) };
        return;
    }
    to_bgr_plain(yuv, bgr, by);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn to_bgr_avx2(yuv: [&[u8]; 3], bgr: [&mut Vec<u8>; 3], by: Coefficients) {
    to_bgr_plain(yuv, bgr, by);
}

#[inline(always)]
fn to_bgr_plain(yuv: [&[u8]; 3], bgr: [&mut Vec<u8>; 3], by: Coefficients) {
    let [y, u, v] = yuv;
    let n = y.len();
    let (u, v) = (&u[..n], &v[..n]);
    let [blue, green, red] = bgr;
    for plane in [&mut *blue, &mut *green, &mut *red] {
        plane.resize(n, 0);
    }
    let (blue, green, red) = (&mut blue[..n], &mut green[..n], &mut red[..n]);
    for i in 0..n {
        let luma = (u32::from(u16::from(y[i]) << 8).wrapping_mul(u32::from(by.luma)) >> 16) as i16;
        let luma = luma.wrapping_add(by.offset);
        // 128 becomes 0, and the value moves to the high byte.
        let u = (u16::from(u[i] ^ 0x80) << 8) as i16;
        let v = (u16::from(v[i] ^ 0x80) << 8) as i16;
        blue[i] = level(luma.wrapping_add(high(u, by.blue_u)));
        green[i] = level(luma.wrapping_add(high(u, by.green_u)).wrapping_add(high(v, by.green_v)));
        red[i] = level(luma.wrapping_add(high(v, by.red_v)));
    }
}

/// The sum of the absolute differences of two equally long planes.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn sum_abs_diff(a: &[u8], b: &[u8]) -> u64 {
    assert_eq!(a.len(), b.len(), "planes of different sizes");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { sum_abs_diff_avx2(a, b) };
    }
    sum_abs_diff_plain(a, b)
}

fn sum_abs_diff_plain(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
}

/// By `psadbw`, which the compiler does not find by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_abs_diff_avx2(a: &[u8], b: &[u8]) -> u64 {
    use std::arch::x86_64 as simd;
    let (blocks_a, rest_a) = a.as_chunks::<32>();
    let (blocks_b, rest_b) = b.as_chunks::<32>();
    let mut sums = simd::_mm256_setzero_si256();
    for (a, b) in blocks_a.iter().zip(blocks_b) {
        // SAFETY: both are 32 bytes long.
        let (a, b) = unsafe {
            (
                simd::_mm256_loadu_si256(a.as_ptr().cast()),
                simd::_mm256_loadu_si256(b.as_ptr().cast()),
            )
        };
        sums = simd::_mm256_add_epi64(sums, simd::_mm256_sad_epu8(a, b));
    }
    let mut parts = [0_u64; 4];
    // SAFETY: four numbers of eight bytes.
    unsafe { simd::_mm256_storeu_si256(parts.as_mut_ptr().cast(), sums) };
    parts.iter().sum::<u64>() + sum_abs_diff_plain(rest_a, rest_b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::{self, FrameColors, Matrix};

    fn exact(y: u8, u: u8, v: u8, colors: FrameColors) -> [f64; 3] {
        let Matrix { red, blue, .. } = colors.matrix;
        let green = 1.0 - red - blue;
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
        let (y, u, v) = if colors.is_full_range {
            (y, u, v)
        } else {
            ((y - 16.0) * 255.0 / 219.0, u * 255.0 / 224.0, v * 255.0 / 224.0)
        };
        let r = y + 2.0 * (1.0 - red) * v;
        let b = y + 2.0 * (1.0 - blue) * u;
        let g = (y - red * r - blue * b) / green;
        [b, g, r].map(|value| value.clamp(0.0, 255.0))
    }

    #[test]
    fn every_colour_is_within_one_level_of_floating_point() {
        for (red, blue) in [(0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)] {
            for is_full_range in [false, true] {
                let colors =
                    FrameColors { matrix: Matrix { red, blue, ..color::BT709 }, is_full_range };
                let by = Coefficients::new(colors);
                let mut error = 0.0;
                let mut count = 0.0;
                for u in (0..=255_u8).step_by(3) {
                    for v in (0..=255_u8).step_by(3) {
                        let y: Vec<u8> = (0..=255).collect();
                        let mut bgr = [vec![], vec![], vec![]];
                        to_bgr([&y, &[u; 256], &[v; 256]], bgr.each_mut(), by);
                        for y in 0..=255_u8 {
                            let wanted = exact(y, u, v, colors);
                            for (got, wanted) in bgr.iter().zip(wanted) {
                                let off = f64::from(got[usize::from(y)]) - wanted;
                                assert!(off.abs() <= 1.0, "{y} {u} {v}: off by {off}");
                                error += off;
                                count += 1.0;
                            }
                        }
                    }
                }
                assert!((error / count).abs() < 0.05, "bias {}", error / count);
            }
        }
    }

    #[test]
    fn differences_are_summed() {
        let a: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 % 256) as u8).collect();
        let b: Vec<u8> = (0..200_000_u32).map(|i| (i * 13 % 251) as u8).collect();
        let slow: u64 = a.iter().zip(&b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert_eq!(sum_abs_diff(&a, &b), slow);
        assert_eq!(sum_abs_diff(&[], &[]), 0);
        assert_eq!(sum_abs_diff(&[255; 70_000], &[0; 70_000]), 255 * 70_000);
    }
}
