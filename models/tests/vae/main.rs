//! The Slice VAE: against the released code, and what it promises beyond that.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod discriminator;
mod lpips;
mod parity;
mod streams;
mod training;
mod weights;

use candle_core::{DType, Device, Tensor};
use curate_models::{
    params::Params,
    vae::{SliceVae, VaeConfig, VaeError},
};
use curate_ops::Rng;

const CPU: Device = Device::Cpu;

/// A network that is small even for tests.
fn small(preset: &str) -> VaeConfig {
    VaeConfig { width: 16, groups: 8, tiling: None, ..VaeConfig::preset(preset).unwrap() }
}

fn made(config: &VaeConfig) -> (SliceVae, Params) {
    let mut params = Params::seeded(5, &CPU);
    let vae = params.build(|scope| SliceVae::new(config, scope)).unwrap();
    (vae, params)
}

fn noise(shape: &[usize], seed: u64) -> Tensor {
    Rng::new(seed).normal_tensor(shape, DType::F32, &CPU).unwrap()
}

fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

/// Pieces of some length of the third axis.
fn pieces(whole: &Tensor, length: usize) -> impl Iterator<Item = Result<Tensor, VaeError>> {
    let count = whole.dim(2).unwrap();
    (0..count)
        .step_by(length)
        .map(move |start| Ok(whole.narrow(2, start, length.min(count - start))?))
}

fn joined(parts: impl Iterator<Item = Result<Tensor, VaeError>>) -> Tensor {
    let parts: Vec<Tensor> = parts.collect::<Result<_, _>>().unwrap();
    Tensor::cat(&parts, 2).unwrap()
}
