//! Transformer3D: EasyAnimate V3's diffusion transformer (arXiv 2405.18991, section 3.2), which is
//! PixArt-alpha (arXiv 2310.00426) with a motion module in each layer, long skips as in U-ViT
//! (arXiv 2209.12152), and image guidance by CLIP tokens and masked video.
//!
//! Tensors keep the names of the published checkpoints. Tokens go frame after frame: `[B, F * N,
//! d]` with N tokens per frame. What is added to PixArt starts as zero, so that a fresh network is
//! PixArt on each frame; [`load`] fills it from a checkpoint of either.
//!
//! Attention runs over all tokens of a clip in every other layer, 36 thousand to 130 thousand of
//! them. `curate_ops::attention` never holds their scores.
//!
//! Decided against a network that holds its checkpoint's tables of positions: they are for one
//! size. Decided against mutable modes: whether activations are kept is an argument of each pass.

mod block;
mod config;
mod embed;
mod error;
mod layers;
mod load;
mod motion;
pub mod parity;
mod positions;
mod published;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use curate_ops::{GradSink, Segment, checkpoint};

use self::{
    block::Block,
    embed::{Head, PatchEmbed, Projection, TimeEmbed},
    layers::Linear,
};
use crate::params::{Params, ParamsError, Scope};

pub use self::{
    config::{CLIP_CHANNELS, CLIP_TOKENS, Config, LATENT_CHANNELS, Motion, MotionAttention},
    error::TransformerError,
    load::load,
};

/// What hidden tokens get instead of minus infinity, so that a caption without tokens is no fault.
const HIDDEN: f64 = -1e4;

/// Sizes of a batch in tokens.
#[derive(Clone, Copy, Debug)]
struct Grid {
    batch: usize,
    frames: usize,
    rows: usize,
    columns: usize,
}

impl Grid {
    /// Tokens of a frame.
    const fn places(self) -> usize {
        self.rows * self.columns
    }
}

/// A CLIP embedding of a guiding image.
#[derive(Clone, Copy, Debug)]
pub struct Clip<'a> {
    /// `[B, 768]`.
    pub embedding: &'a Tensor,
    /// `[B, 8]`: 1 for tokens that are looked at, 0 for hidden ones.
    pub mask: &'a Tensor,
}

/// What the network sees.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Noised latents, `[B, 4, F, H, W]`; height and width are multiples of the patch. Their type
    /// is the one that the network computes in.
    pub latents: &'a Tensor,
    /// Latents of the mask, then of the masked video: `[B, 8, F, H, W]`. Needed by networks of 12
    /// channels.
    pub inpaint: Option<&'a Tensor>,
    /// Timesteps from 0 to 999, not always whole: `[B]`.
    pub times: &'a Tensor,
    /// Text tokens, `[B, L, caption_channels]`.
    pub text: &'a Tensor,
    /// `[B, L]`: 1 for tokens, 0 for padding. `None`: all are tokens.
    pub text_mask: Option<&'a Tensor>,
    /// Image guidance; `None` is the same as one that is hidden.
    pub clip: Option<Clip<'a>>,
    /// Height and width in pixels, `[B, 2]`. Needed by networks with size conditioning.
    pub size: Option<&'a Tensor>,
}

/// The network.
#[derive(Debug)]
pub struct Transformer3d {
    config: Config,
    patch: PatchEmbed,
    time: TimeEmbed,
    caption: Projection,
    clip: Option<Projection>,
    layers: Vec<Layer>,
    head: Head,
}

/// A block with what joins it to an early one.
#[derive(Debug)]
struct Layer {
    block: Arc<Block>,
    skip: Option<Arc<Linear>>,
    /// What is trained of both.
    vars: Vec<Var>,
}

impl Transformer3d {
    /// Joins the network with its tensors, reading or drawing those that are not there yet.
    ///
    /// # Errors
    /// When the configuration is not sound, or tensors are missing or of another shape; the message
    /// names each.
    pub fn new(params: &mut Params, config: &Config) -> Result<Self, TransformerError> {
        config.check()?;
        let mut network = params
            .build(|scope| Self::join(scope, config))
            .map_err(|error: ParamsError| TransformerError::from(error))?;
        let first_joined = config.layers - config.long_skips();
        for (index, layer) in network.layers.iter_mut().enumerate() {
            let mut prefixes = vec![format!("transformer_blocks.{index}.")];
            if let Some(skip) = index.checked_sub(first_joined) {
                prefixes.push(format!("long_connect_fc.{skip}."));
            }
            let is_own = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
            let own = params.trained().filter(|(name, _)| is_own(name));
            layer.vars = own.map(|(_, var)| var.clone()).collect();
            layer.vars.extend(params.adapter_vars(is_own));
        }
        Ok(network)
    }

    /// [`Transformer3d::new`], without a graph: sees what is trained, and trains nothing.
    ///
    /// # Errors
    /// Those of [`Transformer3d::new`].
    pub fn frozen(params: &mut Params, config: &Config) -> Result<Self, TransformerError> {
        config.check()?;
        Ok(params.build_frozen(|scope| Self::join(scope, config))?)
    }

    fn join(scope: &mut Scope<'_>, config: &Config) -> Result<Self, ParamsError> {
        let patch = PatchEmbed::new(&mut scope.at("pos_embed"), config)?;
        let time = TimeEmbed::new(&mut scope.at("adaln_single"), config)?;
        let caption = Projection::caption(&mut scope.at("caption_projection"), config)?;
        let clip = if config.has_clip() {
            Some(Projection::clip(&mut scope.at("clip_projection"), config)?)
        } else {
            None
        };
        let first_joined = config.layers - config.long_skips();
        let mut layers = Vec::new();
        for index in 0..config.layers {
            let name = format!("transformer_blocks.{index}");
            let block = Arc::new(Block::new(&mut scope.at(&name), config, index)?);
            let skip = match index.checked_sub(first_joined) {
                Some(skip) => Some(Arc::new(block::skip(scope, skip, config.width())?)),
                None => None,
            };
            layers.push(Layer { block, skip, vars: Vec::new() });
        }
        let head = Head::new(scope, config)?;
        Ok(Self { config: config.clone(), patch, time, caption, clip, layers, head })
    }

    /// What it is made of.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The prediction for a batch, `[B, out_channels, F, H, W]`, in the type of the latents.
    ///
    /// # Errors
    /// When an input is missing or does not fit.
    pub fn forward(&self, inputs: &Inputs<'_>) -> Result<Tensor, TransformerError> {
        self.run(inputs, None)
    }

    /// The same with gradients, keeping of each layer only what goes in: backward computes the rest
    /// again. Gradients of what is trained inside layers go to `sink`.
    ///
    /// # Errors
    /// When an input is missing or does not fit.
    pub fn forward_checkpointed(
        &self,
        inputs: &Inputs<'_>,
        sink: &GradSink,
    ) -> Result<Tensor, TransformerError> {
        self.run(inputs, Some(sink))
    }

    fn run(
        &self,
        inputs: &Inputs<'_>,
        sink: Option<&GradSink>,
    ) -> Result<Tensor, TransformerError> {
        let grid = self.check(inputs)?;
        let dtype = inputs.latents.dtype();
        let latents = match inputs.inpaint {
            Some(inpaint) => Tensor::cat(&[inputs.latents, &inpaint.to_dtype(dtype)?], 1)?,
            None => inputs.latents.clone(),
        };
        let (embedding, times) = self.time.forward(inputs.times, inputs.size)?;
        let (context, bias) = self.context(inputs)?;
        let mut x = self.patch.forward(&latents, grid)?;

        let skips = self.config.long_skips();
        let mut early = Vec::with_capacity(skips);
        for (index, layer) in self.layers.iter().enumerate() {
            let joined = if layer.skip.is_some() { early.pop() } else { None };
            x = layer.forward(
                &x,
                (&times, &context),
                (joined.as_ref(), bias.as_ref()),
                (grid, sink),
            )?;
            if index < skips {
                early.push(x.clone());
            }
        }
        Ok(self.head.forward(&x, &embedding, grid)?)
    }

    /// Text and CLIP tokens, `[B, L, d]`, and what is added to the scores of hidden ones.
    fn context(&self, inputs: &Inputs<'_>) -> Result<(Tensor, Option<Tensor>), TransformerError> {
        let dtype = inputs.latents.dtype();
        let text = self.caption.forward(&inputs.text.to_dtype(dtype)?)?;
        let (batch, tokens, width) = text.dims3()?;
        let whole = || Tensor::ones((batch, tokens), DType::F32, text.device());
        let (context, mask) = match (&self.clip, inputs.clip) {
            (Some(projection), Some(clip)) => {
                let image = projection.forward(&clip.embedding.to_dtype(dtype)?)?;
                let image = image.reshape((batch, CLIP_TOKENS, width))?;
                let mask = match inputs.text_mask {
                    Some(mask) => mask.to_dtype(DType::F32)?,
                    None => whole()?,
                };
                let mask = Tensor::cat(&[&mask, &clip.mask.to_dtype(DType::F32)?], 1)?;
                (Tensor::cat(&[text, image], 1)?, Some(mask))
            }
            _ => {
                let mask = inputs.text_mask.map(|mask| mask.to_dtype(DType::F32)).transpose()?;
                (text, mask)
            }
        };
        let Some(mask) = mask else { return Ok((context, None)) };
        let bias = mask.affine(-HIDDEN, HIDDEN)?;
        let shape = (batch, 1, 1, bias.dim(1)?);
        Ok((context, Some(bias.reshape(shape)?)))
    }

    fn check(&self, inputs: &Inputs<'_>) -> Result<Grid, TransformerError> {
        let patch = self.config.patch;
        let wrong = |input: &'static str, tensor: &Tensor, wanted: String| {
            TransformerError::Input { input, found: tensor.dims().to_vec(), wanted }
        };
        let latents = inputs.latents.dims();
        let grid = match *latents {
            [batch, LATENT_CHANNELS, frames, height, width]
                if height.is_multiple_of(patch)
                    && width.is_multiple_of(patch)
                    && height * width > 0 =>
            {
                Grid { batch, frames, rows: height / patch, columns: width / patch }
            }
            _ => {
                let wanted = format!("[B, 4, F, H, W], H and W multiples of {patch}");
                return Err(wrong("latents", inputs.latents, wanted));
            }
        };
        let batch = grid.batch;
        let expect = |input: &'static str, tensor: Option<&Tensor>, shape: &[usize]| match tensor {
            Some(tensor) if tensor.dims() != shape => {
                Err(wrong(input, tensor, format!("{shape:?}")))
            }
            _ => Ok(()),
        };
        let mut masked = latents.to_vec();
        masked[1] = 2 * LATENT_CHANNELS;
        if self.config.has_clip() && inputs.inpaint.is_none() {
            let why = "the network has 12 input channels; for no guidance mask everything";
            return Err(TransformerError::Absent { input: "inpaint", why });
        }
        if self.config.has_size_condition() && inputs.size.is_none() {
            let why = "the network knows the picture's height and width";
            return Err(TransformerError::Absent { input: "size", why });
        }
        if let Some(inpaint) = inputs.inpaint.filter(|_| !self.config.has_clip()) {
            return Err(wrong(
                "inpaint",
                inpaint,
                "left out: the network has 4 input channels".into(),
            ));
        }
        expect("inpaint", inputs.inpaint, &masked)?;
        expect("times", Some(inputs.times), &[batch])?;
        let tokens = inputs.text.dims().get(1).copied().unwrap_or_default();
        expect("text", Some(inputs.text), &[batch, tokens, self.config.caption_channels])?;
        expect("text_mask", inputs.text_mask, &[batch, tokens])?;
        if let Some(clip) = inputs.clip {
            if !self.config.has_clip() {
                let wanted = "left out: the network has 4 input channels".into();
                return Err(wrong("clip", clip.embedding, wanted));
            }
            expect("clip", Some(clip.embedding), &[batch, CLIP_CHANNELS])?;
            expect("clip_mask", Some(clip.mask), &[batch, CLIP_TOKENS])?;
        }
        expect("size", inputs.size, &[batch, 2])?;
        Ok(grid)
    }
}

impl Layer {
    /// With a `sink`, nothing but inputs and result is kept.
    fn forward(
        &self,
        x: &Tensor,
        (times, context): (&Tensor, &Tensor),
        (early, bias): (Option<&Tensor>, Option<&Tensor>),
        (grid, sink): (Grid, Option<&GradSink>),
    ) -> candle_core::Result<Tensor> {
        let (block, skip) = (Arc::clone(&self.block), self.skip.clone());
        let Some(sink) = sink else {
            let x = join(skip.as_deref(), x, early)?;
            return block.forward(&x, (times, context), bias, grid);
        };
        let bias = bias.cloned();
        let segment: Segment = Arc::new(move |inputs: &[Tensor]| {
            let x = join(skip.as_deref(), &inputs[0], inputs.get(3))?;
            block.forward(&x, (&inputs[1], &inputs[2]), bias.as_ref(), grid)
        });
        let mut inputs = vec![x, times, context];
        inputs.extend(early);
        checkpoint(&segment, &inputs, &self.vars, sink)
    }
}

fn join(skip: Option<&Linear>, x: &Tensor, early: Option<&Tensor>) -> candle_core::Result<Tensor> {
    match (skip, early) {
        (Some(skip), Some(early)) => x + skip.forward(early)?,
        _ => Ok(x.clone()),
    }
}
