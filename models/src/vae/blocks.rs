//! What encoder and decoder are made of: norms, residual layers, and the middle with its attention.

use candle_core::{DType, Tensor};
use curate_ops::{attention, group_norm, group_norm_silu, linear};

use super::{
    config::{MidAttention, NormOver, VaeConfig},
    conv::{CausalConv3d, ConvShape, Time},
};
use crate::params::{Init, ParamsError, Scope};

/// Added to variances before the root.
const EPS: f64 = 1e-6;

/// A group norm.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    over: NormOver,
}

impl Norm {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
        config: &VaeConfig,
    ) -> Result<Self, ParamsError> {
        let weight = scope.get("weight", &[width], Init::Ones)?;
        let bias = scope.get("bias", &[width], Init::Zeros)?;
        Ok(Self { weight, bias, groups: config.groups, over: config.norms })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.apply(x, group_norm)
    }

    /// With a SiLU behind it, as everywhere but before attention.
    pub(super) fn forward_silu(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.apply(x, group_norm_silu)
    }

    fn apply(&self, x: &Tensor, norm: GroupNorm) -> candle_core::Result<Tensor> {
        let dtype = x.dtype();
        // Sums over a slice are too long for half precision.
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let (weight, bias) = (self.weight.to_dtype(wide)?, self.bias.to_dtype(wide)?);
        let run = |x: &Tensor| norm(x, self.groups, Some(&weight), Some(&bias), EPS);
        let x = x.to_dtype(wide)?;
        let y = match self.over {
            NormOver::Clip => run(&x)?,
            NormOver::Frame => unfold_frames(&run(&fold_frames(&x)?)?, x.dim(0)?)?,
        };
        y.to_dtype(dtype)
    }
}

type GroupNorm =
    fn(&Tensor, usize, Option<&Tensor>, Option<&Tensor>, f64) -> candle_core::Result<Tensor>;

/// Frames become examples: `[B T, C, H, W]`.
fn fold_frames(x: &Tensor) -> candle_core::Result<Tensor> {
    x.transpose(1, 2)?.contiguous()?.flatten(0, 1)
}

/// Back to `[B, C, T, H, W]`.
fn unfold_frames(x: &Tensor, batch: usize) -> candle_core::Result<Tensor> {
    let (frames, channels, height, width) = x.dims4()?;
    let shape = (batch, frames / batch, channels, height, width);
    x.reshape(shape)?.transpose(1, 2)?.contiguous()
}

/// Norm, SiLU, convolution, twice, beside a shortcut.
#[derive(Debug)]
pub(super) struct ResidualBlock {
    norm1: Norm,
    conv1: CausalConv3d,
    norm2: Norm,
    conv2: CausalConv3d,
    /// Where the number of channels changes.
    shortcut: Option<CausalConv3d>,
}

impl ResidualBlock {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        (ins, outs): (usize, usize),
        config: &VaeConfig,
    ) -> Result<Self, ParamsError> {
        let norm1 = Norm::new(&mut scope.at("norm1"), ins, config)?;
        let conv1 = CausalConv3d::new(&mut scope.at("conv1"), ConvShape::same(ins, outs))?;
        let norm2 = Norm::new(&mut scope.at("norm2"), outs, config)?;
        let conv2 = CausalConv3d::new(&mut scope.at("conv2"), ConvShape::same(outs, outs))?;
        let mut shortcut = None;
        if ins != outs {
            let shape = ConvShape::pointwise(ins, outs);
            shortcut = Some(CausalConv3d::new(&mut scope.at("shortcut"), shape)?);
        }
        Ok(Self { norm1, conv1, norm2, conv2, shortcut })
    }

    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?, time)?;
        let y = self.conv2.forward(&self.norm2.forward_silu(&y)?, time)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, time)? + y,
            None => x + y,
        }
    }
}

/// Attention with one head as wide as the network.
#[derive(Debug)]
struct Attention {
    norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    sees: MidAttention,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(scope: &mut Scope<'_>, width: usize) -> Result<Self, ParamsError> {
        let init = Init::torch(width);
        let weight = scope.get("weight", &[width, width], init)?;
        Ok(Self { weight, bias: scope.get("bias", &[width], init)? })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let weight = self.weight.to_dtype(x.dtype())?;
        linear(x, &weight, Some(&self.bias.to_dtype(x.dtype())?))
    }
}

impl Attention {
    fn new(scope: &mut Scope<'_>, width: usize, config: &VaeConfig) -> Result<Self, ParamsError> {
        Ok(Self {
            norm: Norm::new(&mut scope.at("group_norm"), width, config)?,
            query: Linear::new(&mut scope.at("to_q"), width)?,
            key: Linear::new(&mut scope.at("to_k"), width)?,
            value: Linear::new(&mut scope.at("to_v"), width)?,
            out: Linear::new(&mut scope.at("to_out"), width)?,
            sees: config.attention,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, width, frames, height, columns) = x.dims5()?;
        let y = self.norm.forward(x)?;
        let y = match self.sees {
            MidAttention::Clip => y.flatten_from(2)?,
            MidAttention::Frame => fold_frames(&y)?.flatten_from(2)?,
        };
        // [B, 1, tokens, C]: one head.
        let y = y.transpose(1, 2)?.contiguous()?.unsqueeze(1)?;
        let (query, key) = (self.query.forward(&y)?, self.key.forward(&y)?);
        let value = self.value.forward(&y)?;
        let scale = 1.0 / (width as f64).sqrt();
        let y = self.out.forward(&attention(&query, &key, &value, None, scale)?)?;
        let y = y.squeeze(1)?.transpose(1, 2)?.contiguous()?;
        let y = match self.sees {
            MidAttention::Clip => y.reshape((batch, width, frames, height, columns))?,
            MidAttention::Frame => {
                unfold_frames(&y.reshape((batch * frames, width, height, columns))?, batch)?
            }
        };
        x + y
    }
}

/// The middle: a residual layer, then attention and another, as many times as there are.
#[derive(Debug)]
pub(super) struct MidBlock {
    first: ResidualBlock,
    rest: Vec<(Attention, ResidualBlock)>,
}

impl MidBlock {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
        config: &VaeConfig,
    ) -> Result<Self, ParamsError> {
        let first = ResidualBlock::new(&mut scope.at("convs.0"), (width, width), config)?;
        let mut rest = Vec::new();
        for index in 1..config.layers {
            let name = format!("attentions.{}", index - 1);
            let attention = Attention::new(&mut scope.at(&name), width, config)?;
            let name = format!("convs.{index}");
            let block = ResidualBlock::new(&mut scope.at(&name), (width, width), config)?;
            rest.push((attention, block));
        }
        Ok(Self { first, rest })
    }

    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        let mut x = self.first.forward(x, time)?;
        for (attention, block) in &self.rest {
            x = block.forward(&attention.forward(&x)?, time)?;
        }
        Ok(x)
    }
}
