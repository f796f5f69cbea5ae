//! What goes into the blocks, and what comes out of them: latents, times, sizes, text, CLIP.

use candle_core::{DType, Result, Tensor};

use super::{
    Config, Grid,
    block::MODULATIONS,
    config::{CLIP_CHANNELS, CLIP_TOKENS},
    layers::{Linear, modulated_norm},
    positions::{Area, SINUSOID, sinusoid, spatial},
};
use crate::params::{Init, ParamsError, Scope};

/// `sample_size` up to which positions are not divided.
const UNIT_SIZE: usize = 64;

/// Latents to tokens with positions.
#[derive(Debug)]
pub(super) struct PatchEmbed {
    weight: Tensor,
    bias: Tensor,
    patch: usize,
    sample_size: usize,
}

impl PatchEmbed {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &Config,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, ins, patch) = (config.width(), config.in_channels, config.patch);
        let init = Init::torch(ins * patch * patch);
        // The published table of positions; here it is computed.
        scope.ignore("pos_embed");
        Ok(Self {
            weight: scope.get("proj.weight", &[width, ins, patch, patch], init)?,
            bias: scope.get("proj.bias", &[width], init)?,
            patch,
            sample_size: config.sample_size,
        })
    }

    /// `[B, C, F, H, W]` to `[B, F * N, d]`.
    pub(super) fn forward(&self, x: &Tensor, grid: Grid) -> Result<Tensor> {
        let (width, channels, patch, _) = self.weight.dims4()?;
        let Grid { batch, frames, rows, columns } = grid;
        // A convolution whose stride is its size is a product with patches.
        let patches = x
            .permute((0, 2, 1, 3, 4))?
            .reshape(vec![batch * frames, channels, rows, patch, columns, patch])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .contiguous()?
            .reshape((batch, frames * grid.places(), channels * patch * patch))?;
        let weight = self.weight.to_dtype(x.dtype())?.reshape((width, channels * patch * patch))?;
        let tokens = curate_ops::linear(&patches, &weight, Some(&self.bias.to_dtype(x.dtype())?))?;

        let base = (self.sample_size as f64 / self.patch as f64, self.scale());
        let places = spatial(Area { rows, columns }, width, base, x.device())?;
        let places = places.to_dtype(x.dtype())?.reshape((1, 1, grid.places(), width))?;
        tokens.reshape((batch, frames, grid.places(), width))?.broadcast_add(&places)?.reshape((
            batch,
            frames * grid.places(),
            width,
        ))
    }

    fn scale(&self) -> f64 {
        (self.sample_size / UNIT_SIZE).max(1) as f64
    }
}

/// Two linear layers with an activation between them.
#[derive(Debug)]
pub(super) struct Projection {
    first: Linear,
    second: Linear,
    activation: fn(&Tensor) -> Result<Tensor>,
}

impl Projection {
    /// Text to the network's width.
    pub(super) fn caption(
        scope: &mut Scope<'_>,
        config: &Config,
    ) -> std::result::Result<Self, ParamsError> {
        let width = config.width();
        Ok(Self {
            first: Linear::new(&mut scope.at("linear_1"), config.caption_channels, width)?,
            second: Linear::new(&mut scope.at("linear_2"), width, width)?,
            activation: curate_ops::gelu_tanh,
        })
    }

    /// A CLIP embedding to eight tokens, which start as zero.
    pub(super) fn clip(
        scope: &mut Scope<'_>,
        config: &Config,
    ) -> std::result::Result<Self, ParamsError> {
        let width = CLIP_TOKENS * config.width();
        Ok(Self {
            first: Linear::new(&mut scope.at("linear_1"), CLIP_CHANNELS, width)?,
            second: Linear::zeros(&mut scope.at("linear_2"), width, width)?,
            activation: curate_ops::gelu_tanh,
        })
    }

    fn number(
        scope: &mut Scope<'_>,
        width: usize,
        is_zero: bool,
    ) -> std::result::Result<Self, ParamsError> {
        let second = if is_zero { Linear::zeros } else { Linear::new };
        Ok(Self {
            first: Linear::new(&mut scope.at("linear_1"), SINUSOID, width)?,
            second: second(&mut scope.at("linear_2"), width, width)?,
            activation: curate_ops::silu,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&(self.activation)(&self.first.forward(x)?)?)
    }
}

/// The time, and the picture's size where the network knows it, as modulations.
#[derive(Debug)]
pub(super) struct TimeEmbed {
    time: Projection,
    /// Of height and width, then of their ratio.
    size: Option<(Projection, Projection)>,
    linear: Linear,
}

impl TimeEmbed {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &Config,
    ) -> std::result::Result<Self, ParamsError> {
        let width = config.width();
        let linear = Linear::new(&mut scope.at("linear"), width, MODULATIONS * width)?;
        let emb = &mut scope.at("emb");
        let time = Projection::number(&mut emb.at("timestep_embedder"), width, false)?;
        let size = if config.has_size_condition() {
            let of = width / 3;
            Some((
                Projection::number(&mut emb.at("resolution_embedder"), of, true)?,
                Projection::number(&mut emb.at("aspect_ratio_embedder"), of, true)?,
            ))
        } else {
            None
        };
        Ok(Self { time, size, linear })
    }

    /// `times`, `[B]`, and `size`, `[B, 2]` with height and width in pixels, to the embedding
    /// `[B, d]` and the modulations `[B, 6, d]`, in f32.
    pub(super) fn forward(
        &self,
        times: &Tensor,
        size: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let mut embedding = self.time.forward(&sinusoid(times)?)?;
        if let (Some((edges, ratio)), Some(size)) = (&self.size, size) {
            let size = size.to_dtype(DType::F32)?;
            let batch = size.dim(0)?;
            let edge = |index: usize| size.narrow(1, index, 1)?.flatten_all();
            let of_edges = edges.forward(&sinusoid(&size.flatten_all()?)?)?.reshape((batch, ()))?;
            let of_ratio = ratio.forward(&sinusoid(&(edge(0)? / edge(1)?)?)?)?;
            embedding = (embedding + Tensor::cat(&[of_edges, of_ratio], 1)?)?;
        }
        let all = self.linear.forward(&curate_ops::silu(&embedding)?)?;
        let shape = (embedding.dim(0)?, MODULATIONS, embedding.dim(1)?);
        Ok((embedding, all.reshape(shape)?))
    }
}

/// Tokens to latents.
#[derive(Debug)]
pub(super) struct Head {
    table: Tensor,
    proj: Linear,
    patch: usize,
    channels: usize,
}

impl Head {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &Config,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, patch, channels) = (config.width(), config.patch, config.out_channels);
        let spread = Init::Normal { mean: 0.0, std: (width as f64).sqrt().recip() };
        Ok(Self {
            table: scope.get("scale_shift_table", &[2, width], spread)?,
            proj: Linear::new(&mut scope.at("proj_out"), width, patch * patch * channels)?,
            patch,
            channels,
        })
    }

    /// `[B, F * N, d]` and the time's embedding `[B, d]` to `[B, C, F, H, W]`.
    pub(super) fn forward(&self, x: &Tensor, embedding: &Tensor, grid: Grid) -> Result<Tensor> {
        let table = self.table.to_dtype(DType::F32)?.unsqueeze(0)?;
        let modulation = embedding.unsqueeze(1)?.broadcast_add(&table)?;
        let part = |index: usize| modulation.narrow(1, index, 1);
        let x = self.proj.forward(&modulated_norm(x, &part(0)?, &part(1)?)?)?;
        let Grid { batch, frames, rows, columns } = grid;
        let (patch, channels) = (self.patch, self.channels);
        x.reshape(vec![batch, frames, rows, columns, patch, patch, channels])?
            .permute(vec![0, 6, 1, 2, 4, 3, 5])?
            .contiguous()?
            .reshape((batch, channels, frames, rows * patch, columns * patch))
    }
}
