//! The asymmetric generalised Gaussian distribution, fitted by moments: Mittal et al. 2012,
//! equations 9 to 15 (after Lasmar et al. 2009). BRISQUE and NIQE describe pictures by it.

use std::sync::LazyLock;

/// Shapes that are tried: 0.2 to 10 in steps of 0.001, as in all published implementations.
const SHAPES: usize = 9801;

/// The ratio of moments of each shape: rises with it.
static RATIOS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    (0..SHAPES)
        .map(|index| {
            let shape = shape_at(index);
            gamma(2.0 / shape).powi(2) / (gamma(1.0 / shape) * gamma(3.0 / shape))
        })
        .collect()
});

fn shape_at(index: usize) -> f64 {
    0.2 + index as f64 * 0.001
}

/// The gamma function of positive numbers to about 1e-14 of its value: Stirling's series, after
/// going up to where it converges fast.
fn gamma(x: f64) -> f64 {
    let (mut x, mut divisor) = (x, 1.0);
    while x < 16.0 {
        divisor *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = 1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0);
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * series));
    // Half the power twice: the whole would lose digits.
    let power = x.powf(0.5 * x - 0.25);
    (std::f64::consts::TAU.sqrt() * power * (-x).exp() * power) * series.exp() / divisor
}

/// The first shape that is tried.
pub(crate) const FIRST_SHAPE: f64 = 0.2;

/// The last shape that is tried.
pub(crate) const LAST_SHAPE: f64 = 0.2 + (SHAPES - 1) as f64 * 0.001;

/// The ratio of moments that a sample has, made comparable to symmetric distributions: equations 11
/// and 12. `skew` is the left deviation over the right one.
pub(crate) fn ratio(mean_absolute: f64, mean_square: f64, skew: f64) -> f64 {
    let symmetric = mean_absolute * mean_absolute / mean_square;
    let of_skew = (skew.powi(3) + 1.0) * (skew + 1.0) / (skew * skew + 1.0).powi(2);
    symmetric * of_skew
}

/// The shape whose ratio of moments is nearest to the given one; `None` for no number.
pub(crate) fn shape(ratio: f64) -> Option<f64> {
    if ratio.is_nan() {
        return None;
    }
    let ratios = &*RATIOS;
    let after = ratios.partition_point(|r| *r < ratio);
    let index = match (after.checked_sub(1), ratios.get(after)) {
        (Some(before), Some(r)) if ratio - ratios[before] <= r - ratio => before,
        (Some(before), None) => before,
        _ => after,
    };
    Some(shape_at(index))
}

/// Deviations times this are the scales of the distribution: equations 10.
pub(crate) fn scale_of_deviation(shape: f64) -> f64 {
    gamma(1.0 / shape).sqrt() / gamma(3.0 / shape).sqrt()
}

/// The difference of the scales times this is the mean of the distribution: equation 15.
pub(crate) fn mean_of_scales(shape: f64) -> f64 {
    gamma(2.0 / shape) / gamma(1.0 / shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_factorial_and_half_integer() {
        for (x, wanted) in [
            (1.0, 1.0),
            (5.0, 24.0),
            (15.0, 87_178_291_200.0),
            (0.5, std::f64::consts::PI.sqrt()),
            (0.1, 9.513_507_698_668_732),
        ] {
            assert!((gamma(x) / wanted - 1.0).abs() < 1e-14, "{x}: {}", gamma(x));
        }
    }

    #[test]
    fn known_distributions_have_their_shapes() {
        // Of the normal distribution the ratio is 2/pi, of the Laplace distribution 1/2.
        assert!((shape(ratio(1.0, std::f64::consts::FRAC_PI_2, 1.0)).unwrap() - 2.0).abs() < 1e-9);
        assert!((shape(ratio(1.0, 2.0, 1.0)).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(shape(0.0), Some(FIRST_SHAPE));
        assert_eq!(shape(1.0), Some(LAST_SHAPE));
        assert_eq!(shape(f64::NAN), None);
        assert!(RATIOS.is_sorted());
    }

    #[test]
    fn scales_of_the_normal_distribution() {
        assert!((scale_of_deviation(2.0) - 2.0_f64.sqrt()).abs() < 1e-12);
        assert!((mean_of_scales(2.0) - 1.0 / std::f64::consts::PI.sqrt()).abs() < 1e-12);
    }
}
