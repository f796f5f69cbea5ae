//! One layer: spatial attention, motion, cross-attention, feed-forward.
//!
//! adaLN-single (PixArt-alpha, arXiv 2310.00426, section 2.3): one projection of the time for all
//! layers, to which each adds a table of its own.

use candle_core::{DType, Result, Tensor};

use super::{
    Config, Grid,
    layers::{Attention, FeedForward, Linear, modulated_norm},
    motion::MotionModule,
};
use crate::params::{Init, ParamsError, Scope};

/// Shift, scale and gate, for attention and feed-forward.
pub(super) const MODULATIONS: usize = 6;

#[derive(Debug)]
pub(super) struct Block {
    table: Tensor,
    attn1: Attention,
    motion: Option<MotionModule>,
    attn2: Attention,
    ff: FeedForward,
}

impl Block {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &Config,
        layer: usize,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, heads) = (config.width(), config.heads);
        let motion = match &config.motion {
            Some(motion) => {
                let (kinds, sizes) = (config.motion_of(layer), (width, motion.heads));
                Some(MotionModule::new(&mut scope.at("attn_temporal"), kinds, sizes)?)
            }
            None => None,
        };
        let spread = Init::Normal { mean: 0.0, std: (width as f64).sqrt().recip() };
        Ok(Self {
            table: scope.get("scale_shift_table", &[MODULATIONS, width], spread)?,
            attn1: Attention::new(&mut scope.at("attn1"), width, heads)?,
            motion,
            attn2: Attention::new(&mut scope.at("attn2"), width, heads)?,
            ff: FeedForward::new(&mut scope.at("ff"), width)?,
        })
    }

    /// `x` is `[B, F * N, d]`, `times` is `[B, 6, d]` in f32, `context` is `[B, L, d]` and `bias`,
    /// `[B, 1, 1, L]`, hides some of it.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        (times, context): (&Tensor, &Tensor),
        bias: Option<&Tensor>,
        grid: Grid,
    ) -> Result<Tensor> {
        let table = self.table.to_dtype(DType::F32)?.unsqueeze(0)?;
        let modulation = times.broadcast_add(&table)?;
        let part = |index: usize| modulation.narrow(1, index, 1);
        let gated = |change: &Tensor, index: usize| {
            change.broadcast_mul(&part(index)?.to_dtype(change.dtype())?)
        };
        let (batch, tokens, width) = x.dims3()?;

        let y = modulated_norm(x, &part(0)?, &part(1)?)?;
        let y = y.reshape((grid.batch * grid.frames, grid.places(), width))?;
        let y = self.attn1.forward(&y, &y, None)?.reshape((batch, tokens, width))?;
        let mut x = (x + gated(&y, 2)?)?;
        if let Some(motion) = &self.motion {
            x = motion.forward(&x, grid)?;
        }
        let x = (&x + self.attn2.forward(&x, context, bias)?)?;
        let y = self.ff.forward(&modulated_norm(&x, &part(3)?, &part(4)?)?)?;
        &x + gated(&y, 5)?
    }
}

/// Joins a layer with an early one (U-ViT, arXiv 2209.12152): starts as zero.
pub(super) fn skip(
    scope: &mut Scope<'_>,
    index: usize,
    width: usize,
) -> std::result::Result<Linear, ParamsError> {
    Linear::zeros(&mut scope.at(&format!("long_connect_fc.{index}")), width, width)
}
