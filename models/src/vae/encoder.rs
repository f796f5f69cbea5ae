//! From frames to the moments of latents.
//!
//! A slice of 8 frames of 256x256, in the released model's widths: 3 channels, 128 (halved in
//! space), 256 and 512 (halved in space and time), 512; the middle; 8 channels of 2 x 32 x 32.

use candle_core::Tensor;

use super::{
    blocks::{MidBlock, Norm, ResidualBlock},
    config::VaeConfig,
    conv::{CausalConv3d, ConvShape, Downsampler, Time},
};
use crate::params::{ParamsError, Scope};

#[derive(Debug)]
struct DownBlock {
    layers: Vec<ResidualBlock>,
    downsampler: Option<Downsampler>,
}

/// The encoder with the convolution behind it (`quant_conv`).
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: CausalConv3d,
    blocks: Vec<DownBlock>,
    mid: MidBlock,
    norm_out: Norm,
    conv_out: CausalConv3d,
    quant: CausalConv3d,
}

impl Encoder {
    pub(super) fn new(scope: &mut Scope<'_>, config: &VaeConfig) -> Result<Self, ParamsError> {
        let widths = config.widths();
        let last = widths.last().copied().unwrap_or(config.width);
        let moments = 2 * config.latent_channels;
        let pointwise = ConvShape::pointwise(moments, moments);
        let quant = CausalConv3d::new(&mut scope.at("quant_conv"), pointwise)?;
        let mut scope = scope.at("encoder");
        let shape = ConvShape::same(config.channels, config.width);
        let conv_in = CausalConv3d::new(&mut scope.at("conv_in"), shape)?;
        let mut blocks = Vec::new();
        let mut ins = config.width;
        for (index, outs) in widths.into_iter().enumerate() {
            let mut scope = scope.at(&format!("down_blocks.{index}"));
            let mut layers = Vec::new();
            for layer in 0..config.layers {
                let mut scope = scope.at(&format!("convs.{layer}"));
                layers.push(ResidualBlock::new(&mut scope, (ins, outs), config)?);
                ins = outs;
            }
            let downsampler = config
                .down
                .get(index)
                .map(|resample| Downsampler::new(&mut scope.at("downsampler"), outs, *resample));
            blocks.push(DownBlock { layers, downsampler: downsampler.transpose()? });
        }
        let mid = MidBlock::new(&mut scope.at("mid_block"), last, config)?;
        let norm_out = Norm::new(&mut scope.at("conv_norm_out"), last, config)?;
        let shape = ConvShape::same(last, moments);
        let conv_out = CausalConv3d::new(&mut scope.at("conv_out"), shape)?;
        Ok(Self { conv_in, blocks, mid, norm_out, conv_out, quant })
    }

    /// `[B, 3, T, H, W]` to `[B, 2 latent channels, T / 4, H / 8, W / 8]`: means, then logarithms of
    /// variances.
    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        let mut x = self.conv_in.forward(x, time)?;
        for block in &self.blocks {
            for layer in &block.layers {
                x = layer.forward(&x, time)?;
            }
            if let Some(downsampler) = &block.downsampler {
                x = downsampler.forward(&x, time)?;
            }
        }
        let x = self.norm_out.forward_silu(&self.mid.forward(&x, time)?)?;
        self.quant.forward(&self.conv_out.forward(&x, time)?, time)
    }
}
