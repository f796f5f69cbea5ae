//! The hybrid motion module: attention along time and over everything (EasyAnimate, section 3.2;
//! the temporal part after AnimateDiff, arXiv 2307.04725).
//!
//! Knows neither the timestep nor the text. Its last layer starts as zero, so that a network that
//! was trained on pictures goes on making them.

use candle_core::{Result, Tensor};

use super::{
    Grid,
    config::{MotionAttention, NORM_GROUPS},
    layers::{Affine, Attention, GatedFeedForward, Linear},
    positions,
};
use crate::params::{ParamsError, Scope};

const GROUP_EPS: f64 = 1e-6;
const LAYER_EPS: f64 = 1e-5;

#[derive(Debug)]
pub(super) struct MotionModule {
    norm: Affine,
    proj_in: Linear,
    attentions: Vec<(MotionAttention, Affine, Attention)>,
    ff_norm: Affine,
    ff: GatedFeedForward,
    proj_out: Linear,
}

impl MotionModule {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        kinds: &[MotionAttention],
        (width, heads): (usize, usize),
    ) -> std::result::Result<Self, ParamsError> {
        let scope = &mut scope.at("temporal_transformer");
        let norm = Affine::new(&mut scope.at("norm"), width)?;
        let proj_in = Linear::new(&mut scope.at("proj_in"), width, width)?;
        let proj_out = Linear::zeros(&mut scope.at("proj_out"), width, width)?;
        let block = &mut scope.at("transformer_blocks.0");
        let mut attentions = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let norm = Affine::new(&mut block.at(&format!("norms.{index}")), width)?;
            let scope = &mut block.at(&format!("attention_blocks.{index}"));
            // The published table of positions; here it is computed.
            scope.ignore("pos_encoder.pe");
            attentions.push((*kind, norm, Attention::of_motion(scope, width, heads)?));
        }
        Ok(Self {
            norm,
            proj_in,
            attentions,
            ff_norm: Affine::new(&mut block.at("ff_norm"), width)?,
            ff: GatedFeedForward::new(&mut block.at("ff"), width)?,
            proj_out,
        })
    }

    /// `x` is `[B, F * N, d]`, frame after frame, and so is the result.
    pub(super) fn forward(&self, x: &Tensor, grid: Grid) -> Result<Tensor> {
        let (batch, frames, places) = (grid.batch, grid.frames, grid.places());
        let width = x.dim(2)?;
        let whole = (batch, frames * places, width);
        // The norm looks at one frame: [B F, d, N].
        let by_channel =
            x.reshape((batch * frames, places, width))?.transpose(1, 2)?.contiguous()?;
        let normed = self.norm.group_norm(&by_channel, NORM_GROUPS, GROUP_EPS)?;
        let normed = normed.transpose(1, 2)?.contiguous()?.reshape(whole)?;
        let mut hidden = self.proj_in.forward(&normed)?;

        let when = positions::temporal(frames, width, x.device())?.to_dtype(x.dtype())?;
        let when = when.reshape((1, frames, 1, width))?;
        for (kind, norm, attention) in &self.attentions {
            // Queries, keys and values all carry the time.
            let timed = norm
                .layer_norm(&hidden, LAYER_EPS)?
                .reshape((batch, frames, places, width))?
                .broadcast_add(&when)?;
            let change = match kind {
                MotionAttention::Global => {
                    let tokens = timed.reshape(whole)?;
                    attention.forward(&tokens, &tokens, None)?
                }
                MotionAttention::Temporal => {
                    let by_place = timed.transpose(1, 2)?.contiguous()?;
                    let tokens = by_place.reshape((batch * places, frames, width))?;
                    let change = attention.forward(&tokens, &tokens, None)?;
                    let change = change.reshape((batch, places, frames, width))?;
                    change.transpose(1, 2)?.contiguous()?.reshape(whole)?
                }
            };
            hidden = (hidden + change)?;
        }
        let change = self.ff.forward(&self.ff_norm.layer_norm(&hidden, LAYER_EPS)?)?;
        x + self.proj_out.forward(&(hidden + change)?)?
    }
}
