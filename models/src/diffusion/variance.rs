//! The variational bound of one step, which trains the learned variance.
//!
//! KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in bits per dimension, and at t = 0 the likelihood
//! of x_0 itself under a Gaussian that is cut into bins as wide as those of 8-bit pixels (Ho et
//! al., arXiv 2006.11239, section 3.3). Latents are no pixels; the bins are kept because the
//! published models were trained with them. The Gaussian's integral is the tanh approximation, as
//! published.

use std::f64::consts::{LN_2, PI};

use candle_core::Tensor;

use super::{
    DiffusionError, Sample, Schedule,
    objective::{column, per_sample, scaled},
};

/// Half the width of a bin.
const HALF_BIN: f64 = 1.0 / 255.0;
/// Beyond it, a bin is open to the outside.
const EDGE: f64 = 0.999;
/// Keeps logarithms finite.
const TINY: f64 = 1e-12;

/// Bits per dimension, `[B]`. `x0` is what the model takes for the clean sample, detached, and
/// `share` in [-1, 1] says where its log variance lies between the bounds; both `[B, C, ...]`.
pub(super) fn bound(
    schedule: &Schedule,
    sample: &Sample,
    (x0, share): (&Tensor, &Tensor),
    steps: &[usize],
) -> Result<Tensor, DiffusionError> {
    let of = |table: &[f64]| steps.iter().map(|step| table[*step]).collect::<Vec<f64>>();
    let (of_x0, of_xt) = (of(&schedule.posterior_mean_x0), of(&schedule.posterior_mean_xt));
    // Both means share their part of x_t.
    let from_xt = scaled(&sample.x_t, &of_xt)?;
    let mean = (scaled(x0, &of_x0)? + &from_xt)?;
    let true_mean = (scaled(&sample.x0, &of_x0)? + &from_xt)?;

    let low = of(&schedule.posterior_log_variance_clipped);
    let span: Vec<f64> =
        steps.iter().zip(&low).map(|(step, low)| schedule.betas[*step].ln() - low).collect();
    let fraction = share.affine(0.5, 0.5)?;
    let low = column(share, &low)?;
    let log_variance = scaled(&fraction, &span)?.broadcast_add(&low)?;

    let kl = kl(&true_mean, &low, &mean, &log_variance)?;
    let bits = if steps.contains(&0) {
        let likelihood = log_likelihood(&sample.x0, &mean, &log_variance)?;
        let is_first: Vec<u8> = steps.iter().map(|step| u8::from(*step == 0)).collect();
        let is_first = Tensor::from_vec(is_first, steps.len(), kl.device())?;
        is_first.where_cond(&per_sample(&likelihood.neg()?)?, &per_sample(&kl)?)?
    } else {
        per_sample(&kl)?
    };
    Ok((bits / LN_2)?)
}

/// KL divergence of two diagonal Gaussians, elementwise, in nats; the first's log variance is
/// broadcast.
fn kl(
    mean: &Tensor,
    log_variance: &Tensor,
    other_mean: &Tensor,
    other_log_variance: &Tensor,
) -> Result<Tensor, DiffusionError> {
    let gap = other_log_variance.broadcast_sub(log_variance)?;
    let precision = other_log_variance.neg()?.exp()?;
    let distance = ((mean - other_mean)?.sqr()? * precision)?;
    Ok((((&gap + gap.neg()?.exp()?)? + distance)?.affine(0.5, -0.5))?)
}

/// Log probability of the bin around each value.
fn log_likelihood(
    value: &Tensor,
    mean: &Tensor,
    log_variance: &Tensor,
) -> Result<Tensor, DiffusionError> {
    let centred = (value - mean)?;
    let precision = log_variance.affine(-0.5, 0.0)?.exp()?;
    let below_upper = cdf(&(centred.affine(1.0, HALF_BIN)? * &precision)?)?;
    let below_lower = cdf(&(centred.affine(1.0, -HALF_BIN)? * &precision)?)?;
    let log = |share: &Tensor| share.clamp(TINY, f64::from(f32::MAX))?.log();
    let inside = log(&(&below_upper - &below_lower)?)?;
    let leftmost = log(&below_upper)?;
    let rightmost = log(&below_lower.affine(-1.0, 1.0)?)?;
    let right = value.gt(EDGE)?.where_cond(&rightmost, &inside)?;
    Ok(value.lt(-EDGE)?.where_cond(&leftmost, &right)?)
}

/// The standard normal's integral, by tanh.
fn cdf(value: &Tensor) -> Result<Tensor, DiffusionError> {
    let cubic = (value + (value.sqr()? * value)?.affine(0.044_715, 0.0)?)?;
    Ok(cubic.affine((2.0 / PI).sqrt(), 0.0)?.tanh()?.affine(0.5, 0.5)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{kl, log_likelihood};

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn divergence_is_zero_of_itself_and_known_otherwise() {
        let found =
            kl(&row(&[0.5, 0.0]), &row(&[0.0, 0.0]), &row(&[0.5, 1.0]), &row(&[0.0, 2.0_f32.ln()]));
        let found = found.unwrap().to_vec1::<f32>().unwrap();
        // ln sqrt 2 + (1 + 1) / (2 * 2) - 1/2
        let expected = [0.0, 0.5 * 2.0_f32.ln() + 0.5 - 0.5];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    /// The bins from -1 to 1 cover the line, so their probabilities add up to one.
    #[test]
    fn probabilities_of_all_bins_add_up_to_one() {
        let bins: Vec<f32> = (0..256).map(|bin| bin as f32 / 127.5 - 1.0).collect();
        let (mean, variance) = (vec![0.2_f32; 256], vec![-2.0_f32; 256]);
        let log = log_likelihood(&row(&bins), &row(&mean), &row(&variance)).unwrap();
        let total = log.exp().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }
}
