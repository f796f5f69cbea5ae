//! Published checkpoints: EasyAnimate V3, and PixArt, which lacks what V3 adds.
//!
//! As the authors initialise: tensors of the same name and shape are taken, the additions start as
//! zero, and a patch embedding for fewer channels gets zeros for the rest, so that the masked video
//! has no say at first. Any other shape is an error that names the tensor; nothing is skipped in
//! silence, and the report lists what was taken, made to fit, drawn, or left over.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{Config, Transformer3d, TransformerError};
use crate::{
    Weights,
    params::{Params, ParamsError, Report},
};

/// The only tensor that is made to fit.
const PATCH: &str = "pos_embed.proj.weight";

/// Makes a network from a checkpoint, drawing what it lacks with `seed`; without a seed, a tensor
/// that is missing is an error.
///
/// # Errors
/// When the checkpoint cannot be read or is of another network.
pub fn load(
    weights: Weights,
    config: &Config,
    seed: Option<u64>,
    device: &Device,
) -> Result<(Transformer3d, Params, Report), TransformerError> {
    let channels = weights.shape(PATCH).and_then(|shape| shape.get(1)).copied();
    let is_narrow = channels.is_some_and(|channels| channels < config.in_channels);
    let mut inflated = Vec::new();
    let mut params = if is_narrow {
        let origin = weights.origin().to_owned();
        let mut tensors = all(&weights, device)?;
        if let Some(weight) = tensors.get_mut(PATCH) {
            inflated.push(PATCH.to_owned());
            *weight = inflate(weight, config.in_channels)?;
        }
        Params::from_tensors(&origin, tensors, device)
    } else {
        Params::from_weights(weights, device)
    };
    if let Some(seed) = seed {
        params = params.or_seeded(seed);
    }
    let network = Transformer3d::new(&mut params, config)?;
    let mut report = params.report();
    report.matched.retain(|name| !inflated.contains(name));
    report.inflated = inflated;
    Ok((network, params, report))
}

fn all(weights: &Weights, device: &Device) -> Result<BTreeMap<String, Tensor>, TransformerError> {
    let mut tensors = BTreeMap::new();
    for name in weights.names() {
        let shape = weights.shape(name).unwrap_or_default();
        let values = weights.f32(name).map_err(ParamsError::from)?;
        tensors.insert(name.to_owned(), Tensor::from_vec(values, shape, device)?);
    }
    Ok(tensors)
}

/// More input channels, the new ones zero.
fn inflate(weight: &Tensor, channels: usize) -> candle_core::Result<Tensor> {
    let (outs, ins, rows, columns) = weight.dims4()?;
    let zeros = (outs, channels - ins, rows, columns);
    Tensor::cat(&[weight, &Tensor::zeros(zeros, weight.dtype(), weight.device())?], 1)
}
