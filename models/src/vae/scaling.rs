//! The factor that gives latents unit variance (Rombach et al., "High-resolution image synthesis
//! with latent diffusion models", 2022, section G).

use candle_core::{DType, Tensor};

use super::VaeError;

/// Measures latents, piece by piece.
///
/// Sums are in double precision. Decided against a running variance for each channel: one factor
/// for all is what published checkpoints have.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScalingMeter {
    count: u64,
    sum: f64,
    squares: f64,
}

impl ScalingMeter {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes unscaled latents, as the encoder gives them.
    ///
    /// # Errors
    /// When candle fails.
    pub fn push(&mut self, latents: &Tensor) -> Result<(), VaeError> {
        let latents = latents.to_dtype(DType::F64)?;
        self.count += latents.elem_count() as u64;
        self.sum += latents.sum_all()?.to_scalar::<f64>()?;
        self.squares += latents.sqr()?.sum_all()?.to_scalar::<f64>()?;
        Ok(())
    }

    /// One over the standard deviation: to be put into [`super::VaeConfig::scaling_factor`].
    ///
    /// # Errors
    /// [`VaeError::Scaling`] when latents do not vary, are none, or are not all numbers.
    pub fn factor(&self) -> Result<f64, VaeError> {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        let std = (self.squares / count - mean * mean).max(0.0).sqrt();
        let factor = 1.0 / std;
        if self.count > 1 && factor.is_finite() && factor > 0.0 {
            return Ok(factor);
        }
        Err(VaeError::Scaling { count: self.count, std })
    }
}
