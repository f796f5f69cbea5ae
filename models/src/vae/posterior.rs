//! What the encoder says of a video: a normal distribution for each number of its latents
//! (Kingma and Welling, "Auto-encoding variational Bayes", 2013).

use candle_core::{Result, Tensor};

/// Independent normal distributions, `[B, latent channels, F, H, W]`.
#[derive(Clone, Debug)]
pub struct Posterior {
    mean: Tensor,
    log_variance: Tensor,
}

impl Posterior {
    /// Of the encoder's output: half its channels are means, half logarithms of variances, which
    /// are kept between -30 and 20.
    ///
    /// # Errors
    /// When candle fails.
    pub fn new(moments: &Tensor) -> Result<Self> {
        let half = moments.dim(1)? / 2;
        let mean = moments.narrow(1, 0, half)?.contiguous()?;
        let log_variance = moments.narrow(1, half, half)?.contiguous()?.clamp(-30.0, 20.0)?;
        Ok(Self { mean, log_variance })
    }

    /// The most likely latents: the means.
    #[must_use]
    pub const fn mode(&self) -> &Tensor {
        &self.mean
    }

    /// Logarithms of variances, kept in bounds.
    #[must_use]
    pub const fn log_variance(&self) -> &Tensor {
        &self.log_variance
    }

    /// Latents drawn from it, given numbers drawn from the standard normal distribution. The
    /// transformer is trained on these, and so is the decoder.
    ///
    /// # Errors
    /// When the noise is of another shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        let deviation = (&self.log_variance * 0.5)?.exp()?;
        &self.mean + (deviation * noise)?
    }

    /// How far it is from the standard normal distribution (Kullback-Leibler divergence): summed
    /// over all latents of a video, the mean over videos.
    ///
    /// # Errors
    /// When candle fails.
    pub fn divergence(&self) -> Result<Tensor> {
        let batch = self.mean.dim(0)?;
        let terms = (self.mean.sqr()? + self.log_variance.exp()?)?;
        let terms = ((terms - &self.log_variance)? - 1.0)?;
        terms.sum_all()? * (0.5 / batch as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn variances_are_kept_in_bounds_and_samples_have_them() {
        // Two channels: means 1, 2; logarithms of variances 100 and ln 4.
        let moments = [1.0, 2.0, 100.0, 4.0_f32.ln()];
        let moments = Tensor::from_slice(&moments, (1, 4, 1, 1, 1), &Device::Cpu).unwrap();
        let posterior = Posterior::new(&moments).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(posterior.mode()), [1.0, 2.0]);
        assert_eq!(values(posterior.log_variance()), [20.0, 4.0_f32.ln()]);
        let noise = Tensor::from_slice(&[0.0_f32, -3.0], (1, 2, 1, 1, 1), &Device::Cpu).unwrap();
        let sample = values(&posterior.sample(&noise).unwrap());
        assert!((sample[0] - 1.0).abs() < 1e-6 && (sample[1] + 4.0).abs() < 1e-5, "{sample:?}");
        // 0.5 (1 + e^20 - 1 - 20) + 0.5 (4 + 4 - 1 - ln 4)
        let wanted = 0.5 * (20.0_f64.exp() - 20.0) + 0.5 * (7.0 - 4.0_f64.ln());
        let found = f64::from(posterior.divergence().unwrap().to_scalar::<f32>().unwrap());
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} {wanted}");
    }
}
