//! What a step of the VAE takes: weights, operations and memory, before any weight is there.
//!
//! Operations count products of matrices alone. Memory is a rule of thumb: what backward needs are the inputs of
//! convolutions and norms, in single precision, of the whole clip; discriminators and LPIPS come on top. How many
//! bytes that is for each of these numbers was measured on a CPU: the story's VAE takes 33 MB more for each clip of
//! a larger batch.

use curate_models::{
    params::Params,
    vae::{Resample, SliceVae, VaeConfig},
};

use crate::TrainError;

/// Bytes for each weight: itself, its gradient, two moments, and the average.
const WEIGHT_BYTES: u64 = 20;

/// Bytes for each number that is an input of a convolution or norm: itself, what activations keep, and what is
/// needed on the way.
const INPUT_BYTES: u64 = 10;

/// Bytes of a card that are left alone.
const SPARE_BYTES: u64 = 2 << 30;

/// What a VAE and a clip of it take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VaeEstimate {
    /// Numbers that can be trained.
    pub weights: u64,
    /// Floating-point operations of encoding and decoding one clip.
    pub operations: f64,
    /// Inputs of convolutions and norms that backward looks at, of one clip.
    pub inputs: f64,
}

impl VaeEstimate {
    /// Of clips of so many frames of `side` x `side` pixels.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn of(config: &VaeConfig, frames: usize, side: usize) -> Result<Self, TrainError> {
        let shapes = Params::asked(|scope| SliceVae::new(config, scope))?;
        let mut estimate = Self { weights: 0, operations: 0.0, inputs: 0.0 };
        for (name, shape) in &shapes {
            let count: usize = shape.iter().product();
            estimate.weights += count as u64;
            if !name.ends_with(".weight") {
                continue;
            }
            let places = places(config, name, (frames, side));
            if shape.len() > 1 {
                estimate.operations += 2.0 * count as f64 * places;
            }
            // A convolution's second number is that of its inputs; a norm has one for each channel.
            let channels = shape.get(1).or(shape.first()).copied().unwrap_or(0);
            estimate.inputs += channels as f64 * places;
        }
        Ok(estimate)
    }

    /// Clips that fit into a card of so many gigabytes at once; 0 if none does.
    #[must_use]
    pub fn clips(&self, gigabytes: u64) -> u64 {
        let usable = ((gigabytes << 30) / 20 * 19).saturating_sub(SPARE_BYTES);
        let usable = usable.saturating_sub(self.weights * WEIGHT_BYTES) as f64;
        (usable / (self.inputs * INPUT_BYTES as f64).max(1.0)) as u64
    }
}

/// How many places a layer works at, by its name.
fn places(config: &VaeConfig, name: &str, (frames, side): (usize, usize)) -> f64 {
    let halved = |blocks: &[Resample]| {
        let times = blocks.iter().filter(|block| **block == Resample::SpatialTemporal).count();
        2_f64.powi((2 * blocks.len() + times) as i32)
    };
    let whole = frames as f64 * (side * side) as f64;
    let number = |part: &str| -> Option<usize> {
        let rest = name.split_once(part)?.1;
        rest.split('.').next()?.parse().ok()
    };
    let first = |blocks: &[Resample], count: usize| blocks[..count.min(blocks.len())].to_vec();
    let latents = whole / halved(&config.down);
    if let Some(index) = number("down_blocks.") {
        let is_after = usize::from(name.contains("downsampler"));
        return whole / halved(&first(&config.down, index + is_after));
    }
    if let Some(index) = number("up_blocks.") {
        let is_after = usize::from(name.contains("upsampler"));
        return latents * halved(&first(&config.up, index + is_after));
    }
    match name {
        name if name.starts_with("encoder.conv_in") || name.starts_with("decoder.conv_out") => {
            whole
        }
        name if name.starts_with("decoder.conv_norm_out") => whole,
        _ => latents,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn weights_are_counted_and_work_grows_with_clips() {
        let config = VaeConfig::preset("tiny").unwrap();
        let mut params = Params::seeded(1, &Device::Cpu);
        params.build(|scope| SliceVae::new(&config, scope)).unwrap();
        let counted: usize = params.iter().map(|(_, var, _)| var.elem_count()).sum();
        let small = VaeEstimate::of(&config, 8, 32).unwrap();
        assert_eq!(small.weights, counted as u64);
        let large = VaeEstimate::of(&config, 16, 64).unwrap();
        assert_eq!(large.operations, 8.0 * small.operations);
        assert_eq!(large.inputs, 8.0 * small.inputs);
        assert!(small.clips(24) >= 8 * large.clips(24) && large.clips(80) > large.clips(24));
    }

    #[test]
    fn layers_work_where_they_stand() {
        let config = VaeConfig::preset("v3").unwrap();
        let of = |name| places(&config, name, (8, 256));
        let whole = f64::from(8 * 256 * 256);
        assert_eq!(of("encoder.conv_in.weight"), whole);
        assert_eq!(of("encoder.down_blocks.0.convs.0.conv1.weight"), whole);
        assert_eq!(of("encoder.down_blocks.1.convs.0.conv1.weight"), whole / 4.0);
        assert_eq!(of("encoder.down_blocks.1.downsampler.conv.weight"), whole / 32.0);
        assert_eq!(of("quant_conv.weight"), f64::from(2 * 32 * 32));
        assert_eq!(of("decoder.up_blocks.0.convs.0.conv1.weight"), f64::from(2 * 32 * 32));
        assert_eq!(of("decoder.up_blocks.3.convs.0.conv1.weight"), whole);
        assert_eq!(of("decoder.conv_out.weight"), whole);
    }
}
