//! The frames of a batch: the VAE needs pixels and nothing else of it.

use candle_core::{Device, Tensor};

use crate::{
    TrainError,
    data::{Batch, DataError, Pixels},
};

/// `[B, 3, T, H, W]` in [-1, 1], on `device`.
pub(super) fn frames(batch: &Batch, device: &Device) -> Result<Tensor, TrainError> {
    match &batch.pixels {
        Pixels::Frames(frames) => Ok(frames.to_device(device)?),
        // The configuration switches the cache off, so this is not met.
        Pixels::Moments(_) => {
            let problem = "data.cache: the VAE is trained on frames; set it to \"off\"";
            Err(DataError::Config { problems: vec![problem.into()] }.into())
        }
    }
}
