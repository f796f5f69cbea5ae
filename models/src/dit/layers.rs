//! The parts that blocks are made of: linear layers, norms, attention, feed-forward.
//!
//! Weights stay as they are stored (f32 in training) and are cast to the type of what they are used
//! on; norms are computed in f32, then cast back. All that trains goes through `curate-ops`.

use candle_core::{DType, Result, Tensor};

use crate::{
    lora::{Adapter, adapted},
    params::{Init, ParamsError, Scope},
};

/// `x wᵀ + b`, and what adapters add.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    adapters: Vec<Adapter>,
}

impl Linear {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        ins: usize,
        outs: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Self::with(scope, (ins, outs), Init::torch(ins), true)
    }

    /// Starts as zero, so that what it ends changes nothing before training.
    pub(super) fn zeros(
        scope: &mut Scope<'_>,
        ins: usize,
        outs: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Self::with(scope, (ins, outs), Init::Zeros, true)
    }

    pub(super) fn without_bias(
        scope: &mut Scope<'_>,
        ins: usize,
        outs: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Self::with(scope, (ins, outs), Init::torch(ins), false)
    }

    fn with(
        scope: &mut Scope<'_>,
        (ins, outs): (usize, usize),
        init: Init,
        has_bias: bool,
    ) -> std::result::Result<Self, ParamsError> {
        let weight = scope.get("weight", &[outs, ins], init)?;
        let bias = if has_bias { Some(scope.get("bias", &[outs], init)?) } else { None };
        Ok(Self { weight, bias, adapters: scope.adapters(ins, outs) })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(x.dtype())).transpose()?;
        let (weight, bias) = (self.weight.to_dtype(x.dtype())?, bias.as_ref());
        let is_frozen = !weight.track_op() && bias.is_none_or(|bias| !bias.track_op());
        if is_frozen && !self.adapters.is_empty() {
            return adapted(x, &weight, bias, &self.adapters);
        }
        let y = curate_ops::linear(x, &weight, bias)?;
        self.adapters.iter().try_fold(y, |y, adapter| y + adapter.forward(x)?)
    }
}

/// Scale and shift of a norm.
#[derive(Debug)]
pub(super) struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
    ) -> std::result::Result<Self, ParamsError> {
        let weight = scope.get("weight", &[width], Init::Ones)?;
        let bias = scope.get("bias", &[width], Init::Zeros)?;
        Ok(Self { weight, bias })
    }

    /// Layer norm over the last axis.
    pub(super) fn layer_norm(&self, x: &Tensor, eps: f64) -> Result<Tensor> {
        let (weight, bias) = self.single()?;
        let y = curate_ops::layer_norm(&x.to_dtype(DType::F32)?, Some(&weight), Some(&bias), eps)?;
        y.to_dtype(x.dtype())
    }

    /// Group norm of `[B, C, ..]`.
    pub(super) fn group_norm(&self, x: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
        let (weight, bias) = self.single()?;
        let single = x.to_dtype(DType::F32)?;
        curate_ops::group_norm(&single, groups, Some(&weight), Some(&bias), eps)?
            .to_dtype(x.dtype())
    }

    fn single(&self) -> Result<(Tensor, Tensor)> {
        Ok((self.weight.to_dtype(DType::F32)?, self.bias.to_dtype(DType::F32)?))
    }
}

/// Layer norm without weights, then `* (1 + scale) + shift`, each `[B, 1, d]`, as adaLN has it
/// (Peebles and Xie, arXiv 2212.09748). In f32; the result has the type of `x`.
pub(super) fn modulated_norm(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
    const EPS: f64 = 1e-6;
    let normed = curate_ops::layer_norm(&x.to_dtype(DType::F32)?, None, None, EPS)?;
    let scale = scale.to_dtype(DType::F32)?.affine(1.0, 1.0)?;
    let y = normed.broadcast_mul(&scale)?.broadcast_add(&shift.to_dtype(DType::F32)?)?;
    y.to_dtype(x.dtype())
}

/// Multi-head attention.
#[derive(Debug)]
pub(super) struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    /// Of the transformer: all layers have biases.
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
        heads: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Self::with(scope, (width, heads), Linear::new)
    }

    /// Of the motion module: no biases but the last.
    pub(super) fn of_motion(
        scope: &mut Scope<'_>,
        width: usize,
        heads: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Self::with(scope, (width, heads), Linear::without_bias)
    }

    fn with(
        scope: &mut Scope<'_>,
        (width, heads): (usize, usize),
        linear: fn(&mut Scope<'_>, usize, usize) -> std::result::Result<Linear, ParamsError>,
    ) -> std::result::Result<Self, ParamsError> {
        Ok(Self {
            to_q: linear(&mut scope.at("to_q"), width, width)?,
            to_k: linear(&mut scope.at("to_k"), width, width)?,
            to_v: linear(&mut scope.at("to_v"), width, width)?,
            to_out: Linear::new(&mut scope.at("to_out.0"), width, width)?,
            heads,
        })
    }

    /// Queries from `x`, `[B, Nq, d]`, keys and values from `context`, `[B, Nk, d]`; `bias`,
    /// `[B, 1, 1, Nk]`, is added to the scores.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, queries, width) = x.dims3()?;
        let split = |tensor: Tensor| {
            let shape = (batch, tensor.dim(1)?, self.heads, width / self.heads);
            tensor.reshape(shape)?.transpose(1, 2)?.contiguous()
        };
        let q = split(self.to_q.forward(x)?)?;
        let k = split(self.to_k.forward(context)?)?;
        let v = split(self.to_v.forward(context)?)?;
        let scale = ((width / self.heads) as f64).sqrt().recip();
        let bias = bias.map(|bias| bias.to_dtype(x.dtype())).transpose()?;
        let y = curate_ops::attention(&q, &k, &v, bias.as_ref(), scale)?;
        self.to_out.forward(&y.transpose(1, 2)?.contiguous()?.reshape((batch, queries, width))?)
    }
}

/// Linear, GELU (tanh), linear.
#[derive(Debug)]
pub(super) struct FeedForward {
    first: Linear,
    second: Linear,
}

impl FeedForward {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Ok(Self {
            first: Linear::new(&mut scope.at("net.0.proj"), width, 4 * width)?,
            second: Linear::new(&mut scope.at("net.2"), 4 * width, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&curate_ops::gelu_tanh(&self.first.forward(x)?)?)
    }
}

/// Linear to values and gates, value * GELU(gate), linear (Shazeer, arXiv 2002.05202).
#[derive(Debug)]
pub(super) struct GatedFeedForward {
    first: Linear,
    second: Linear,
}

impl GatedFeedForward {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Ok(Self {
            first: Linear::new(&mut scope.at("net.0.proj"), width, 8 * width)?,
            second: Linear::new(&mut scope.at("net.2"), 4 * width, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let both = self.first.forward(x)?;
        let (axis, half) = (both.rank() - 1, both.dim(both.rank() - 1)? / 2);
        let value = both.narrow(axis, 0, half)?;
        let gate = both.narrow(axis, half, half)?.contiguous()?;
        self.second.forward(&(value * curate_ops::gelu_erf(&gate)?)?)
    }
}
