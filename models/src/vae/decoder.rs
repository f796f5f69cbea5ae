//! From latents to frames.
//!
//! In two parts, since the first sees the latents of neighbouring slices and the second does not:
//! convolution and middle, then blocks that double. Blocks have one residual layer more than the
//! encoder's, and come in the opposite order.

use candle_core::Tensor;

use super::{
    blocks::{MidBlock, Norm, ResidualBlock},
    config::VaeConfig,
    conv::{CausalConv3d, ConvShape, Time, Upsampler},
};
use crate::params::{ParamsError, Scope};

#[derive(Debug)]
struct UpBlock {
    layers: Vec<ResidualBlock>,
    upsampler: Option<Upsampler>,
}

/// The decoder with the convolution before it (`post_quant_conv`).
#[derive(Debug)]
pub(super) struct Decoder {
    post_quant: CausalConv3d,
    conv_in: CausalConv3d,
    mid: MidBlock,
    blocks: Vec<UpBlock>,
    norm_out: Norm,
    conv_out: CausalConv3d,
}

/// The latents that one pass sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Latents of the slice before.
    pub(super) before: usize,
    /// Latents that are decoded.
    pub(super) count: usize,
}

impl Decoder {
    pub(super) fn new(scope: &mut Scope<'_>, config: &VaeConfig) -> Result<Self, ParamsError> {
        let widths = config.widths();
        let last = widths.last().copied().unwrap_or(config.width);
        let latent = config.latent_channels;
        let shape = ConvShape::pointwise(latent, latent);
        let post_quant = CausalConv3d::new(&mut scope.at("post_quant_conv"), shape)?;
        let mut scope = scope.at("decoder");
        let shape = ConvShape::same(latent, last);
        let conv_in = CausalConv3d::new(&mut scope.at("conv_in"), shape)?;
        let mid = MidBlock::new(&mut scope.at("mid_block"), last, config)?;
        let mut blocks = Vec::new();
        let mut ins = last;
        for (index, outs) in widths.into_iter().rev().enumerate() {
            let mut scope = scope.at(&format!("up_blocks.{index}"));
            let mut layers = Vec::new();
            for layer in 0..=config.layers {
                let mut scope = scope.at(&format!("convs.{layer}"));
                layers.push(ResidualBlock::new(&mut scope, (ins, outs), config)?);
                ins = outs;
            }
            let upsampler = config
                .up
                .get(index)
                .map(|resample| Upsampler::new(&mut scope.at("upsampler"), outs, *resample));
            blocks.push(UpBlock { layers, upsampler: upsampler.transpose()? });
        }
        let norm_out = Norm::new(&mut scope.at("conv_norm_out"), ins, config)?;
        let shape = ConvShape::same(ins, config.channels);
        let conv_out = CausalConv3d::new(&mut scope.at("conv_out"), shape)?;
        Ok(Self { post_quant, conv_in, mid, blocks, norm_out, conv_out })
    }

    /// `[B, latent channels, F, H, W]` to `[B, 3, frames of view.count, 8 H, 8 W]`.
    pub(super) fn forward(
        &self,
        z: &Tensor,
        view: View,
        time: &mut Time<'_>,
    ) -> candle_core::Result<Tensor> {
        let x = self.features(z, view, time)?;
        self.last(&x, time)
    }

    /// All but the last convolution.
    pub(super) fn features(
        &self,
        z: &Tensor,
        view: View,
        time: &mut Time<'_>,
    ) -> candle_core::Result<Tensor> {
        let z = self.post_quant.forward(z, time)?;
        let x = self.mid.forward(&self.conv_in.forward(&z, time)?, time)?;
        let x = match (view.before, view.count == x.dim(2)?) {
            (0, true) => x,
            (before, _) => x.narrow(2, before, view.count)?.contiguous()?,
        };
        self.double(x, time)
    }

    /// The last convolution, to pixels.
    pub(super) fn last(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        self.conv_out.forward(x, time)
    }

    fn double(&self, mut x: Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        for block in &self.blocks {
            for layer in &block.layers {
                x = layer.forward(&x, time)?;
            }
            if let Some(upsampler) = &block.upsampler {
                x = upsampler.forward(&x, time)?;
            }
        }
        self.norm_out.forward_silu(&x)
    }
}
