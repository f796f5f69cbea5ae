//! First weights of a 3D autoencoder out of a 2D one: the VAE of Stable Diffusion.
//!
//! MagViT starts from `sd-vae-ft-mse` (paper, section 3.1). The released code has only the result,
//! so this is the usual way: the two-dimensional kernel goes to the frame that the output belongs
//! to, all other frames of the kernel are zero. In a causal convolution that is the kernel's last
//! frame, in a slice's its middle one. The network then treats each frame that it keeps as the 2D
//! network does.
//!
//! From MagViT to the Slice VAE no weight changes, nor does a name: open the checkpoint with a
//! [`VaeConfig`] whose chunking is another.
//!
//! Both layouts of names are read: diffusers' (`vae/diffusion_pytorch_model.safetensors`) and that
//! of the original checkpoints (`vae-ft-mse-840000-ema-pruned`, alone or within a whole model).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{
    VaeError,
    config::{Chunking, VaeConfig},
};
use crate::{
    Weights,
    params::{Params, ParamsError},
};

/// What became of a 2D checkpoint.
#[derive(Debug)]
pub struct Inflated {
    /// To build the network from.
    pub params: Params,
    /// Tensors that were given a third dimension, by their names here, sorted.
    pub names: Vec<String>,
}

/// Makes the weights of a network of this configuration from those of a 2D autoencoder.
///
/// # Errors
/// When the checkpoint cannot be read. Whether it fits is found when the network is built.
pub fn inflate(
    weights: &Weights,
    config: &VaeConfig,
    device: &Device,
) -> Result<Inflated, VaeError> {
    let (mut tensors, mut names) = (BTreeMap::new(), Vec::new());
    for name in weights.names() {
        let Some(ours) = renamed(name, config.multipliers.len()) else { continue };
        let shape = weights.shape(name).unwrap_or_default();
        let values = weights.f32(name).map_err(ParamsError::from)?;
        let tensor = Tensor::from_vec(values, shape, device)?;
        let is_kernel = shape.len() == 4;
        let tensor = match *shape {
            // Attention's maps, which the original has as convolutions.
            [outs, ins, 1, 1] if ours.contains(".attentions.") => tensor.reshape((outs, ins))?,
            [_, _, 1, 1] => tensor.unsqueeze(2)?,
            [_, _, _, _] => in_time(&tensor, config.chunking)?,
            _ => tensor,
        };
        if is_kernel && tensor.rank() == 5 {
            names.push(ours.clone());
        }
        tensors.insert(ours, tensor);
    }
    names.sort_unstable();
    let origin = format!("{}, inflated", weights.origin());
    let params = Params::from_tensors(&origin, tensors, device).with_inflated(&names);
    Ok(Inflated { params, names })
}

/// `[O, I, k, k]` to `[O, I, k, k, k]`.
fn in_time(kernel: &Tensor, chunking: Chunking) -> candle_core::Result<Tensor> {
    let frames = kernel.dim(3)?;
    let at = match chunking {
        Chunking::Slice { .. } => frames / 2,
        Chunking::MagVit { .. } | Chunking::Carried { .. } => frames - 1,
    };
    kernel.unsqueeze(2)?.pad_with_zeros(2, at, frames - 1 - at)
}

/// A tensor's name here. `None` for what is no part of the autoencoder.
fn renamed(name: &str, blocks: usize) -> Option<String> {
    let name = name.strip_prefix("first_stage_model.").unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    let ours = match parts[..] {
        ["quant_conv" | "post_quant_conv", _]
        | ["encoder" | "decoder", "conv_in" | "conv_out" | "conv_norm_out", _] => name.to_owned(),
        [side @ ("encoder" | "decoder"), "norm_out", kind] => {
            format!("{side}.conv_norm_out.{kind}")
        }
        // diffusers.
        [side, block @ ("down_blocks" | "up_blocks"), index, "resnets", layer, part, kind] => {
            format!("{side}.{block}.{index}.convs.{layer}.{}.{kind}", layer_part(part))
        }
        [side, block, index, "downsamplers", "0", "conv", kind] => {
            format!("{side}.{block}.{index}.downsampler.conv.{kind}")
        }
        [side, block, index, "upsamplers", "0", "conv", kind] => {
            format!("{side}.{block}.{index}.upsampler.conv.{kind}")
        }
        [side, "mid_block", "resnets", layer, part, kind] => {
            format!("{side}.mid_block.convs.{layer}.{}.{kind}", layer_part(part))
        }
        [side, "mid_block", "attentions", index, part, kind]
        | [side, "mid_block", "attentions", index, part, "0", kind] => {
            format!("{side}.mid_block.attentions.{index}.{}.{kind}", attention_part(part))
        }
        // The original.
        ["encoder", "down", index, "block", layer, part, kind] => {
            format!("encoder.down_blocks.{index}.convs.{layer}.{}.{kind}", layer_part(part))
        }
        ["encoder", "down", index, "downsample", "conv", kind] => {
            format!("encoder.down_blocks.{index}.downsampler.conv.{kind}")
        }
        ["decoder", "up", index, "block", layer, part, kind] => {
            let index = from_the_end(index, blocks)?;
            format!("decoder.up_blocks.{index}.convs.{layer}.{}.{kind}", layer_part(part))
        }
        ["decoder", "up", index, "upsample", "conv", kind] => {
            format!("decoder.up_blocks.{}.upsampler.conv.{kind}", from_the_end(index, blocks)?)
        }
        [side, "mid", "attn_1", part, kind] => {
            format!("{side}.mid_block.attentions.0.{}.{kind}", attention_part(part))
        }
        [side, "mid", block, part, kind] => {
            let layer = block.strip_prefix("block_")?.parse::<usize>().ok()?.checked_sub(1)?;
            format!("{side}.mid_block.convs.{layer}.{}.{kind}", layer_part(part))
        }
        _ => return None,
    };
    Some(ours)
}

/// The original counts the decoder's blocks from its end.
fn from_the_end(index: &str, blocks: usize) -> Option<usize> {
    blocks.checked_sub(1)?.checked_sub(index.parse().ok()?)
}

fn layer_part(part: &str) -> &str {
    match part {
        "conv_shortcut" | "nin_shortcut" => "shortcut",
        other => other,
    }
}

fn attention_part(part: &str) -> &str {
    match part {
        "norm" => "group_norm",
        "q" | "query" => "to_q",
        "k" | "key" => "to_k",
        "v" | "value" => "to_v",
        "proj_out" | "proj_attn" => "to_out",
        other => other,
    }
}
