//! What kernels compute with: single and double precision, and functions that vectorise.
//!
//! In single precision the functions are straight-line code, so that LLVM turns loops over them
//! into vector code; the C library's are calls. In double precision, which is there for tests of
//! gradients, they are the C library's.
//!
//! Products and sums are kept apart (no fused multiply-add): then the bits do not depend on the
//! width and the kind of vectors that a machine has, and these loops wait for memory anyway.

use candle_core::{CpuStorage, Result, WithDType};

/// A type that the kernels compute in.
pub(crate) trait Real: WithDType {
    /// A number of this type. (candle's `from_f64` is not sure to be inlined into vector code.)
    fn of(value: f64) -> Self;

    /// In double precision.
    fn wide(self) -> f64;

    /// The square root.
    fn root(self) -> Self;

    /// The exponential function: exactly 0 for negative infinity. In single precision within
    /// 1.5 units in the last place, and 0 below -87.3, where numbers lose precision.
    fn exponential(self) -> Self;

    /// The distribution function of the normal distribution, and its density. In single precision
    /// within 5e-7, relative below zero.
    fn normal(self) -> (Self, Self);

    /// The values, if they are in single precision.
    fn single(values: &[Self]) -> Option<&[f32]>;

    /// Values in single precision, if this is their type.
    fn of_single(values: Vec<f32>) -> Option<Vec<Self>>;

    /// The values of a storage for writing.
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

impl Real for f32 {
    fn single(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn of_single(values: Vec<f32>) -> Option<Vec<Self>> {
        Some(values)
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        exponential(self)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        normal(self)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Ok(values),
            _ => candle_core::bail!("the storage is not of single precision"),
        }
    }
}

impl Real for f64 {
    fn single(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn of_single(_: Vec<f32>) -> Option<Vec<Self>> {
        None
    }

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let below = 0.5 * candle_core::cpu::erf::erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2);
        let root = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2 * 0.5;
        (below, root * (-0.5 * self * self).exp())
    }

    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Ok(values),
            _ => candle_core::bail!("the storage is not of double precision"),
        }
    }
}

/// `2^n e^r` with `n` whole and `|r| <= ln(2) / 2`, and `e^r = 1 + r + r² q(r)`, where `q` goes
/// through that at the Chebyshev nodes: within 1e-8 before rounding.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    /// Adding it leaves a whole number in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    /// ln(2) in two parts, the first with zeros at its end so that its multiples are exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let least = -87.336_54;
    let clamped = if x < least { least } else { x };
    let clamped = if clamped > 88.722_83 { 88.722_83 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = clamped - whole * LN2[0] - whole * LN2[1];
    let mut sum = 1.392_625_1e-3;
    for coefficient in [8.363_233e-3, 4.166_655_4e-2, 0.166_665_77, 0.5] {
        sum = sum * rest + coefficient;
    }
    let sum = sum * (rest * rest) + rest + 1.0;
    // In two halves, as 2^128 is too large.
    let power = (shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32) >> 1;
    let other = (shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32).wrapping_sub(power);
    let two_to = |power: i32| f32::from_bits((power.wrapping_add(127) << 23) as u32);
    let value = sum * two_to(power) * two_to(other);
    let value = if x < least { 0.0 } else { value };
    if x > 88.722_83 { f32::INFINITY } else { value }
}

/// `Φ(-z) = e^(-z²/2) p(1 / (1 + 0.47 z / √2)) / 2` for positive `z`, where the polynomial `p` is
/// `e^(u²) erfc(u)` at the Chebyshev nodes of `u` from 0 to 7.1; in the form of Abramowitz and
/// Stegun, 7.1.26, with twice the degree.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs();
    let bell = exponential(-0.5 * z * z);
    let t = 1.0 / (1.0 + 0.47 * std::f32::consts::FRAC_1_SQRT_2 * z);
    let mut sum = -0.053_345_624;
    for coefficient in [
        0.299_746_73,
        -0.634_126_5,
        0.552_424_4,
        -0.189_243_5,
        0.278_024_8,
        0.213_313_6,
        0.268_259_77,
        0.264_939_6,
        6.720_186e-6,
    ] {
        sum = sum * t + coefficient;
    }
    let tail = 0.5 * bell * sum;
    let below = if x > 0.0 { 1.0 - tail } else { tail };
    (below, bell * 0.398_942_3)
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).exponential())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_good_to_one_and_a_half_units() {
        let mut worst = 0.0f64;
        for step in 0..=1_400_000 {
            let x = -87.3 + step as f32 * 1.25e-4;
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(exponential(x)) / wanted - 1.0).abs());
        }
        assert!(worst < 1.8e-7, "{worst:e}");
        assert_eq!(exponential(0.0).to_bits(), 1f32.to_bits());
        assert_eq!(exponential(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exponential(-88.0).to_bits(), 0);
        assert!(exponential(89.0).is_infinite() && exponential(f32::INFINITY).is_infinite());
        assert!(exponential(88.7).is_finite());
        assert!(exponential(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_is_good_to_five_in_ten_million() {
        for step in -9000..=9000 {
            let x = step as f32 * 1e-3;
            let (below, density) = normal(x);
            let (wanted, slope) = f64::from(x).normal();
            let scale = if x < 0.0 { wanted.max(1e-30) } else { 1.0 };
            let error = (f64::from(below) - wanted).abs() / scale;
            // Far out the square of x loses what the exponential needs.
            let limit = 5e-7 * f64::from(x * x).max(1.0);
            assert!(error < limit, "{x}: {error:e}");
            assert!((f64::from(density) - slope).abs() < 1e-7, "{x}");
        }
        assert!(normal(f32::NAN).0.is_nan());
        assert_eq!(normal(f32::NEG_INFINITY).0.to_bits(), 0);
        assert_eq!(normal(f32::INFINITY).0.to_bits(), 1f32.to_bits());
    }
}
