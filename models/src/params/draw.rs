//! First values of weights.
//!
//! One stream of random numbers for a whole network would give every tensor other values as soon as
//! one is added before it. So each tensor has a stream of its own, found by its name.

use candle_core::{DType, Device, Result, Tensor};
use curate_ops::Rng;

/// What a tensor begins as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero: biases, and additions that must not change what a pretrained network does.
    Zeros,
    /// All one: scales of norms.
    Ones,
    /// Between minus and plus this.
    Uniform {
        /// The largest magnitude.
        bound: f64,
    },
    /// Normal around this.
    Normal {
        /// The mean, 0 as a rule.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
}

/// The sequence of random numbers that belongs to a name. FNV-1a: short, and the same for ever.
pub(crate) fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Init {
    /// What PyTorch draws for weights and biases of linear and convolution layers: uniform within
    /// `1 / sqrt(inputs)`, where `inputs` are the numbers that one output is a sum of.
    #[must_use]
    pub fn torch(inputs: usize) -> Self {
        Self::Uniform { bound: 1.0 / (inputs.max(1) as f64).sqrt() }
    }

    /// Xavier's uniform draw (Glorot and Bengio, 2010) for a layer from `inputs` to `outputs`.
    #[must_use]
    pub fn xavier(inputs: usize, outputs: usize) -> Self {
        Self::Uniform { bound: (6.0 / (inputs + outputs).max(1) as f64).sqrt() }
    }

    /// The tensor of this name.
    pub(super) fn tensor(self, seed: u64, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut rng = Rng::with_stream(seed, stream(name));
        let (dtype, device) = (DType::F32, &Device::Cpu);
        match self {
            Self::Zeros => Tensor::zeros(shape, dtype, device),
            Self::Ones => Tensor::ones(shape, dtype, device),
            Self::Uniform { bound } => rng.uniform_tensor(-bound..bound, shape, dtype, device),
            Self::Normal { mean, std } => {
                rng.normal_tensor(shape, dtype, device)?.affine(std, mean)
            }
        }
    }
}
