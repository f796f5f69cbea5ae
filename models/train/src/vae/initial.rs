//! First weights with which a network from scratch passes its input on from the first step.
//!
//! The published autoencoders start from Stable Diffusion's, so how one starts from nothing is open.
//! PyTorch's usual weights make each layer forget most of what it is shown, and an eight times
//! smaller picture is then learnt about last: hundreds of steps go by at the clip's mean colour.
//! Here residual branches end in zeros (Zhang et al., "Fixup initialization", 2019), so that each
//! layer begins as its shortcut, and what is on the way is an orthogonal map of channels at one tap
//! of the kernel (Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018), or the
//! mean of the taps that a stride passes over. The network begins as a mean over blocks of pixels
//! there and back, but for norms, and learns from there.
//!
//! Decided against shortcuts of the whole network (such as those of deep compression autoencoders):
//! the architecture, and so the checkpoint, would not be the published one.

use std::ops::Range;

use candle_core::{Device, Tensor, Var};
use curate_models::{
    params::Params,
    vae::{Chunking, Resample, VaeConfig},
};
use curate_ops::Rng;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the weights of a network from scratch are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// As PyTorch does: uniform, by the number of inputs.
    #[default]
    Torch,
    /// Orthogonal maps at one tap; residual branches end in zeros.
    DeltaOrthogonal,
}

/// Numbers of its own, so that no weight shares them with those drawn before.
const STREAM: u64 = 0xde17a;

/// Draws the weights of `params` anew, where the way through the network leads over them.
pub(super) fn delta_orthogonal(
    params: &Params,
    config: &VaeConfig,
    seed: u64,
) -> Result<(), TrainError> {
    let mut rng = Rng::with_stream(seed, STREAM);
    for (name, var, _) in params.iter() {
        let Some((layer, part)) = name.rsplit_once('.') else { continue };
        let is_norm = layer.rsplit('.').next().is_some_and(|last| last.contains("norm"));
        let ends_branch = layer.ends_with(".conv2") || layer.ends_with(".to_out");
        let is_inside =
            [".conv1", ".to_q", ".to_k", ".to_v"].iter().any(|end| layer.ends_with(end));
        if is_norm || is_inside {
            continue;
        }
        if ends_branch || part == "bias" {
            var.set(&var.zeros_like()?)?;
            continue;
        }
        let (outs, ins, kernel, _, _) = var.dims5()?;
        let matrix = match layer {
            // Means are passed on; variances do not depend on the input yet.
            "quant_conv" | "post_quant_conv" => eye(outs, ins, config.latent_channels),
            _ => orthogonal(outs, ins, &mut rng),
        };
        set(var, &matrix, &Taps::of(layer, kernel, config))?;
    }
    Ok(())
}

/// Which taps of a kernel a layer looks at, along time and along height and width.
struct Taps {
    time: Range<usize>,
    space: Range<usize>,
}

impl Taps {
    fn of(layer: &str, kernel: usize, config: &VaeConfig) -> Self {
        // Zeros on both sides of a slice, else what was before in front.
        let is_slice = matches!(config.chunking, Chunking::Slice { .. });
        let now = if is_slice { kernel / 2 } else { kernel - 1 };
        let block = layer
            .strip_prefix("encoder.down_blocks.")
            .and_then(|rest| rest.strip_suffix(".downsampler.conv"))
            .and_then(|index| config.down.get(index.parse::<usize>().ok()?));
        match block {
            None => Self { time: now..now + 1, space: kernel / 2..kernel / 2 + 1 },
            // Zeros are at the bottom and the right only.
            Some(Resample::SpatialTemporal) => Self { time: 1..3, space: 0..2 },
            Some(Resample::Spatial) => Self { time: now..now + 1, space: 0..2 },
        }
    }
}

/// Writes a matrix `[outs][ins]` to the taps of a kernel, as their mean.
fn set(var: &Var, matrix: &[Vec<f64>], taps: &Taps) -> Result<(), TrainError> {
    let (outs, ins, kernel, _, _) = var.dims5()?;
    let share = 1.0 / (taps.time.len() * taps.space.len().pow(2)) as f64;
    let mut values = vec![0f32; outs * ins * kernel.pow(3)];
    let each = matrix.iter().flatten();
    for (value, kernels) in each.zip(values.chunks_exact_mut(kernel.pow(3))) {
        for t in taps.time.clone() {
            for y in taps.space.clone() {
                for x in taps.space.clone() {
                    kernels[(t * kernel + y) * kernel + x] = (value * share) as f32;
                }
            }
        }
    }
    let shape = (outs, ins, kernel, kernel, kernel);
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
    var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
    Ok(())
}

/// Ones on the diagonal of the first `count` rows.
fn eye(outs: usize, ins: usize, count: usize) -> Vec<Vec<f64>> {
    let row = |row| (0..ins).map(move |column| f64::from(u8::from(row == column && row < count)));
    (0..outs).map(|index| row(index).collect()).collect()
}

/// A matrix whose rows are orthonormal, or its columns where there are more rows: normal numbers
/// after Gram and Schmidt.
fn orthogonal(outs: usize, ins: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let (few, many) = (outs.min(ins), outs.max(ins));
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(few);
    while rows.len() < few {
        let mut row: Vec<f64> = (0..many).map(|_| rng.normal()).collect();
        for other in &rows {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
        }
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
        rows.push(row);
    }
    if outs <= ins {
        return rows;
    }
    (0..outs).map(|out| rows.iter().map(|row| row[out]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use curate_models::vae::SliceVae;

    use super::*;

    #[test]
    fn rows_or_columns_are_orthonormal() {
        for (outs, ins) in [(3, 8), (8, 3), (4, 4)] {
            let matrix = orthogonal(outs, ins, &mut Rng::new(1));
            let is_wide = outs <= ins;
            let of = |index: usize| -> Vec<f64> {
                let column = || matrix.iter().map(|row| row[index]).collect();
                if is_wide { matrix[index].clone() } else { column() }
            };
            for (one, two) in [(0, 0), (0, 1), (2, 2), (1, 2)] {
                let product: f64 = of(one).iter().zip(&of(two)).map(|(a, b)| a * b).sum();
                let wanted = if one == two { 1.0 } else { 0.0 };
                assert!((product - wanted).abs() < 1e-9, "{outs} {ins} {one} {two}: {product}");
            }
        }
    }

    /// Which frames and pixels of the input make the first latent, by what a change of them does.
    #[test]
    fn a_latent_begins_as_what_its_block_of_pixels_shows() {
        for name in ["tiny", "tiny-carried"] {
            let config = VaeConfig::preset(name).unwrap();
            let mut params = Params::seeded(3, &Device::Cpu);
            let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
            delta_orthogonal(&params, &config, 3).unwrap();
            let mut rng = Rng::new(4);
            let frames = if name == "tiny" { 8 } else { 9 };
            let shape = (1, 3, frames, 16, 16);
            let video = rng.normal_tensor(shape, DType::F32, &Device::Cpu).unwrap();
            let latents = |video: &Tensor| vae.encode(video).unwrap().mode().copy().unwrap();
            let before = latents(&video);
            let posterior = vae.encode(&video).unwrap();
            let spread = posterior
                .log_variance()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            assert_eq!(spread, 0.0, "{name}");
            // A shift of one block's pixels is seen at its latent more than anywhere else.
            let mut values = video.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (index, value) in values.iter_mut().enumerate() {
                let (y, x) = (index / 16 % 16, index % 16);
                *value += if y < 8 && x >= 8 { 2.0 } else { 0.0 };
            }
            let changed = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let change = (latents(&changed) - before).unwrap().sqr().unwrap();
            let change = change.sum((0, 1, 2)).unwrap().to_vec2::<f32>().unwrap();
            let most = change.iter().flatten().fold(0f32, |a, b| a.max(*b));
            assert!(change[0][1] > 0.0 && change[0][1] == most, "{name}: {change:?}");
        }
    }
}
