//! The two networks that tell decoded videos from real ones while a VAE is trained.
//!
//! [`Discriminator3d`] looks at a clip, [`PatchDiscriminator`] at single frames (the PatchGAN of
//! Isola et al., "Image-to-image translation with conditional adversarial networks", 2017, as VQGAN
//! uses it). Both give a map of scores, positive for real. Names are those of the released
//! training code.
//!
//! While the generator is trained, the discriminator's weights need no gradient: build it a second
//! time over the same tensors with [`crate::params::Params::build_frozen`].

use candle_core::{Tensor, Var};
use curate_ops::{blur_pool3d, conv2d, conv3d, group_norm};

use crate::params::{Init, ParamsError, Scope};

/// LeakyReLU's slope below zero.
const SLOPE: f64 = 0.2;

fn leaky(x: &Tensor) -> candle_core::Result<Tensor> {
    (x.relu()? * (1.0 - SLOPE))? + (x * SLOPE)?
}

/// A convolution in three dimensions with zeros around its input, which stays off the graph in time.
#[derive(Debug)]
struct Conv3d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

impl Conv3d {
    fn new(
        scope: &mut Scope<'_>,
        (ins, outs): (usize, usize),
        (kernel, stride): (usize, usize),
    ) -> Result<Self, ParamsError> {
        let init = Init::torch(ins * kernel.pow(3));
        let weight = scope.get("weight", &[outs, ins, kernel, kernel, kernel], init)?;
        Ok(Self { weight, bias: scope.get("bias", &[outs], init)?, stride })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let padding = self.weight.dim(2)? / 2;
        conv3d(x, &self.weight, Some(&self.bias), [self.stride; 3], [padding; 3])
    }
}

/// Group norm over 32 groups, then LeakyReLU.
#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    const GROUPS: usize = 32;
    const EPS: f64 = 1e-5;

    fn new(scope: &mut Scope<'_>, width: usize) -> Result<Self, ParamsError> {
        let weight = scope.get("weight", &[width], Init::Ones)?;
        Ok(Self { weight, bias: scope.get("bias", &[width], Init::Zeros)? })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        leaky(&group_norm(x, Self::GROUPS, Some(&self.weight), Some(&self.bias), Self::EPS)?)
    }
}

#[derive(Debug)]
struct Block {
    norm1: Norm,
    conv1: Conv3d,
    norm2: Norm,
    conv2: Conv3d,
    shortcut: Conv3d,
    /// Whether each axis is halved.
    halves: bool,
}

impl Block {
    fn new(
        scope: &mut Scope<'_>,
        (ins, outs): (usize, usize),
        halves: bool,
    ) -> Result<Self, ParamsError> {
        // The filters that halve are in checkpoints, and always the same.
        scope.ignore("downsampler.filt");
        scope.ignore("shortcut.0.filt");
        let shortcut = if halves { "shortcut.1" } else { "shortcut.0" };
        Ok(Self {
            norm1: Norm::new(&mut scope.at("norm1"), ins)?,
            conv1: Conv3d::new(&mut scope.at("conv1"), (ins, outs), (3, 1))?,
            norm2: Norm::new(&mut scope.at("norm2"), outs)?,
            conv2: Conv3d::new(&mut scope.at("conv2"), (outs, outs), (3, 1))?,
            shortcut: Conv3d::new(&mut scope.at(shortcut), (ins, outs), (1, 1))?,
            halves,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.norm2.forward(&self.conv1.forward(&self.norm1.forward(x)?)?)?;
        let (x, y) = match self.halves {
            true => (blur_pool3d(x)?, blur_pool3d(&y)?),
            false => (x.clone(), y),
        };
        // So that the variance of the sum is that of each part.
        (self.shortcut.forward(&x)? + self.conv2.forward(&y)?)? * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// Scores of parts of clips.
#[derive(Debug)]
pub struct Discriminator3d {
    conv_in: Conv3d,
    blocks: Vec<Block>,
    conv_out: Conv3d,
}

impl Discriminator3d {
    /// Channels of the released one's blocks.
    pub const WIDTHS: [usize; 3] = [64, 128, 256];

    /// With one block for each width, multiples of 32; all but the last halve time, height and
    /// width.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn new(
        scope: &mut Scope<'_>,
        channels: usize,
        widths: &[usize],
    ) -> Result<Self, ParamsError> {
        // The released code makes an output norm and never uses it.
        scope.ignore("conv_norm_out.weight");
        scope.ignore("conv_norm_out.bias");
        let mut ins = widths.first().copied().unwrap_or(channels);
        let conv_in = Conv3d::new(&mut scope.at("conv_in"), (channels, ins), (3, 2))?;
        let mut blocks = Vec::new();
        for (index, outs) in widths.iter().copied().enumerate() {
            let mut scope = scope.at(&format!("blocks.{index}"));
            blocks.push(Block::new(&mut scope, (ins, outs), index + 1 < widths.len())?);
            ins = outs;
        }
        let conv_out = Conv3d::new(&mut scope.at("conv_out"), (ins, 1), (3, 1))?;
        Ok(Self { conv_in, blocks, conv_out })
    }

    /// `[B, C, T, H, W]`, of any `T`, to `[B, 1, ~T/8, ~H/8, ~W/8]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.conv_out.forward(&x)
    }
}

/// What a batch norm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchStats {
    /// Mean and variance of the batch, which the running ones then follow: in training.
    Batch,
    /// The running ones.
    Running,
}

#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Var,
    variance: Var,
}

impl BatchNorm {
    const EPS: f64 = 1e-5;
    /// The share of a batch in the running statistics.
    const MOMENTUM: f64 = 0.1;

    fn new(scope: &mut Scope<'_>, width: usize) -> Result<Self, ParamsError> {
        scope.ignore("num_batches_tracked");
        Ok(Self {
            weight: scope.get("weight", &[width], Init::Normal { mean: 1.0, std: 0.02 })?,
            bias: scope.get("bias", &[width], Init::Zeros)?,
            mean: scope.buffer("running_mean", &[width], Init::Zeros)?,
            variance: scope.buffer("running_var", &[width], Init::Ones)?,
        })
    }

    fn forward(&self, x: &Tensor, stats: BatchStats) -> candle_core::Result<Tensor> {
        let (batch, width, height, columns) = x.dims4()?;
        match stats {
            BatchStats::Running => {
                let spread = (self.variance.as_detached_tensor() + Self::EPS)?.sqrt()?;
                let scale = (&self.weight / spread)?;
                let shift = (&self.bias - (&scale * self.mean.as_detached_tensor())?)?;
                let per_channel = |t: Tensor| t.reshape((1, width, 1, 1));
                x.broadcast_mul(&per_channel(scale)?)?.broadcast_add(&per_channel(shift)?)
            }
            BatchStats::Batch => {
                // As one example whose channels are groups of one.
                let x = x.transpose(0, 1)?.contiguous()?;
                self.follow(&x.detach().flatten_from(1)?)?;
                let x = x.reshape((1, width, batch, height, columns))?;
                let y = group_norm(&x, width, Some(&self.weight), Some(&self.bias), Self::EPS)?;
                y.squeeze(0)?.transpose(0, 1)?.contiguous()
            }
        }
    }

    /// Moves the running statistics towards those of `[C, values]`.
    fn follow(&self, x: &Tensor) -> candle_core::Result<()> {
        let count = x.dim(1)?;
        if count < 2 {
            return Ok(());
        }
        let mean = x.mean_keepdim(1)?;
        let variance = (x.broadcast_sub(&mean)?.sqr()?.sum(1)? / (count - 1) as f64)?;
        for (var, new) in [(&self.mean, mean.squeeze(1)?), (&self.variance, variance)] {
            let kept = (var.as_detached_tensor() * (1.0 - Self::MOMENTUM))?;
            var.set(&(kept + (new * Self::MOMENTUM)?)?)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct PatchLayer {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    norm: Option<BatchNorm>,
}

/// Scores of patches of 70 x 70 pixels.
#[derive(Debug)]
pub struct PatchDiscriminator {
    layers: Vec<PatchLayer>,
}

impl PatchDiscriminator {
    /// The released one's first width.
    pub const WIDTH: usize = 64;
    const HALVINGS: usize = 3;

    /// For pictures of this many channels; the first layer has `width`, each of three more twice
    /// that of the one before.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn new(scope: &mut Scope<'_>, channels: usize, width: usize) -> Result<Self, ParamsError> {
        let mut layers = Vec::new();
        let mut ins = channels;
        for index in 0..Self::HALVINGS + 2 {
            let (is_first, is_last) = (index == 0, index == Self::HALVINGS + 1);
            let outs = if is_last { 1 } else { width << index };
            // Published names count norms and activations too: 0, 2, 5, 8, 11.
            let place = if is_first { 0 } else { 3 * index - 1 };
            let mut conv = scope.at(&format!("model.{place}"));
            let shape = [outs, ins, 4, 4];
            let weight = conv.get("weight", &shape, Init::Normal { mean: 0.0, std: 0.02 })?;
            let (mut bias, mut norm) = (None, None);
            if is_first || is_last {
                bias = Some(conv.get("bias", &[outs], Init::torch(ins * 16))?);
            } else {
                norm = Some(BatchNorm::new(&mut scope.at(&format!("model.{}", place + 1)), outs)?);
            }
            let stride = if index < Self::HALVINGS { 2 } else { 1 };
            layers.push(PatchLayer { weight, bias, stride, norm });
            ins = outs;
        }
        Ok(Self { layers })
    }

    /// `[N, C, H, W]` to `[N, 1, H/8 - 2, W/8 - 2]`.
    ///
    /// # Errors
    /// When shapes do not fit; pictures must have at least 32 pixels along each axis.
    pub fn forward(&self, x: &Tensor, stats: BatchStats) -> candle_core::Result<Tensor> {
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = leaky(&x)?;
            }
            x = conv2d(&x, &layer.weight, layer.bias.as_ref(), [layer.stride; 2], [1; 2])?;
            if let Some(norm) = &layer.norm {
                x = norm.forward(&x, stats)?;
            }
        }
        Ok(x)
    }
}
