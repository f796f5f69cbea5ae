//! Where a sampler's noise comes from.

use candle_core::{DType, Tensor};
use curate_ops::Rng;

use super::DiffusionError;

/// A source of normal noise: a generator, or what was drawn earlier.
pub trait NoiseSource {
    /// Standard normals of the shape of a tensor, in f32, on its device.
    ///
    /// # Errors
    /// When candle fails.
    fn like(&mut self, tensor: &Tensor) -> Result<Tensor, DiffusionError>;
}

/// Numbers are drawn on the CPU whatever the device, so that a seed means the same clip everywhere.
impl NoiseSource for Rng {
    fn like(&mut self, tensor: &Tensor) -> Result<Tensor, DiffusionError> {
        Ok(self.normal_tensor(tensor.shape().clone(), DType::F32, tensor.device())?)
    }
}
