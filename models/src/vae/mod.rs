//! The Slice VAE: video to latents of 1/8 height and width and 1/4 the frames, and back.
//!
//! `AutoencoderKLMagvit` of EasyAnimate V3 (arXiv 2405.18991, section 3.1; the released code at
//! commit f9eeabe), number for number and with the names of its checkpoints, and two relatives:
//! MagViT, which it is initialised from ([`Chunking::MagVit`]), and a causal variant without seams
//! ([`Chunking::Carried`]) as the authors' V4 report asks for.
//!
//! Where paper and released code differ, this follows the code: only the decoder looks at
//! neighbouring slices. Pixels are in [-1, 1]; tensors are `[batch, channels, time, height, width]`.
//!
//! Decided against modes inside layers (see [`Time`]), and against a network for each mode: the
//! weights are the same, only what lies beyond the ends of time is not.

mod blocks;
mod carry;
mod config;
mod conv;
mod cut;
mod decoder;
pub mod discriminator;
mod encoder;
mod error;
pub mod inflate;
pub mod lpips;
pub mod parity;
mod posterior;
mod published;
mod recompute;
mod scaling;
mod slices;
mod smooth;
mod stream;
mod tiles;

use std::{path::Path, sync::Arc};

use candle_core::Tensor;
use curate_ops::GradSink;

use crate::{
    Weights,
    params::{Params, ParamsError, Scope},
};

pub use self::{
    carry::Carry,
    config::{Chunking, MidAttention, NormOver, Resample, Tiling, VaeConfig},
    conv::Time,
    cut::{Cut, Join},
    error::VaeError,
    posterior::Posterior,
    scaling::ScalingMeter,
    slices::{DecoderPass, EncoderPass, Span},
    smooth::Smoothing,
    stream::{Decoding, Encoding, Session, Stream},
};
use self::{decoder::Decoder, encoder::Encoder, recompute::Recompute, tiles::Tiles};

/// A Slice VAE with its weights.
#[derive(Debug)]
pub struct SliceVae {
    config: VaeConfig,
    encoder: Arc<Encoder>,
    decoder: Arc<Decoder>,
    /// Where passes leave gradients that are run again in backward; `None`: all is kept.
    recompute: Option<Recompute>,
    /// Where passes of the decoder are cut; `None`: nowhere.
    cut: Option<Cut>,
}

impl SliceVae {
    /// Asks for the weights under their published names.
    ///
    /// # Errors
    /// [`VaeError::Config`] when the configuration contradicts itself, [`VaeError::Params`] when the
    /// checkpoint cannot be read.
    pub fn new(config: &VaeConfig, scope: &mut Scope<'_>) -> Result<Self, VaeError> {
        config.check()?;
        let encoder = Arc::new(Encoder::new(scope, config)?);
        let decoder = Arc::new(Decoder::new(scope, config)?);
        Ok(Self { config: config.clone(), encoder, decoder, recompute: None, cut: None })
    }

    /// The same network for training in less memory: of each pass (a slice, or one tile of it) only
    /// what goes in and comes out is kept, and backward runs it again. Gradients are the same.
    ///
    /// Those of `params`, which the network was built from, are left in `sink`; hand it to
    /// [`curate_ops::gradients`].
    #[must_use]
    pub fn recomputing(&self, params: &Params, sink: &GradSink) -> Self {
        Self {
            config: self.config.clone(),
            encoder: Arc::clone(&self.encoder),
            decoder: Arc::clone(&self.decoder),
            recompute: Some(Recompute::new(params, sink)),
            cut: self.cut.clone(),
        }
    }

    /// The same network with its graph cut before the decoder's last convolution: gradients of what
    /// is made of decoded frames end at the leaves that are left in `cut`, one for each pass.
    #[must_use]
    pub fn cut(&self, cut: &Cut) -> Self {
        Self {
            config: self.config.clone(),
            encoder: Arc::clone(&self.encoder),
            decoder: Arc::clone(&self.decoder),
            recompute: self.recompute.clone(),
            cut: Some(cut.clone()),
        }
    }

    /// The key of a checkpoint's header under which [`SliceVae::save`] keeps the configuration.
    pub const CONFIG_NOTE: &str = "vae_config";

    /// The name of the weight that [`SliceVae::cut`] leaves behind the cut.
    pub const LAST_WEIGHT: &str = "decoder.conv_out.weight";

    /// What it is made of.
    #[must_use]
    pub const fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// The configuration that [`SliceVae::save`] left in a checkpoint; `None` for published ones,
    /// which have a `config.json` beside them.
    ///
    /// # Errors
    /// When what is there is no configuration.
    pub fn stored_config(weights: &Weights) -> Result<Option<VaeConfig>, VaeError> {
        weights.note(Self::CONFIG_NOTE).map(VaeConfig::from_json).transpose()
    }

    /// Writes a checkpoint with its configuration, the scaling factor among it.
    ///
    /// # Errors
    /// Those of [`Params::save`].
    pub fn save(config: &VaeConfig, params: &Params, path: &Path) -> Result<(), ParamsError> {
        params.save(path, &[(Self::CONFIG_NOTE, &config.to_json())])
    }

    /// Encodes a whole video, `[B, 3, T, H, W]`.
    ///
    /// # Errors
    /// [`VaeError::Frames`] and [`VaeError::Size`] when the video cannot be cut, with the nearest
    /// that can.
    pub fn encode(&self, video: &Tensor) -> Result<Posterior, VaeError> {
        Ok(Posterior::new(&self.moments(video)?)?)
    }

    /// What [`SliceVae::encode`] makes the posterior of: the encoder's own output.
    ///
    /// # Errors
    /// Those of [`SliceVae::encode`].
    pub fn moments(&self, video: &Tensor) -> Result<Tensor, VaeError> {
        self.check_frames(video)?;
        run(self.encoding(video.dim(2)?)?, video)
    }

    /// Decodes the latents of a whole video, unscaled: `[B, latent channels, F, H, W]`.
    ///
    /// # Errors
    /// When there are none, or they have another number of channels.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor, VaeError> {
        self.check_latents(latents)?;
        run(self.decoding(latents.dim(2)?)?, latents)
    }

    /// The second pass over decoded frames (see `smooth.rs`): `[B, 3, T, H, W]` to the same. Where the
    /// VAE cannot encode a slice fewer frames, they stay as they are.
    ///
    /// # Errors
    /// Those of [`SliceVae::encode`].
    pub fn smooth(&self, frames: &Tensor) -> Result<Tensor, VaeError> {
        self.check_frames(frames)?;
        run(self.smoothing(frames.dim(2)?)?, frames)
    }

    /// Starts to encode a video of this many frames that comes in pieces; gives moments.
    ///
    /// # Errors
    /// [`VaeError::Frames`].
    pub fn encoding(&self, frames: usize) -> Result<Encoding<'_>, VaeError> {
        Encoding::new(self, frames)
    }

    /// Starts to decode this many latents that come in pieces.
    ///
    /// # Errors
    /// [`VaeError::Latents`].
    pub fn decoding(&self, latents: usize) -> Result<Decoding<'_>, VaeError> {
        Decoding::new(self, latents)
    }

    /// Starts to smooth this many decoded frames that come in pieces.
    ///
    /// # Errors
    /// [`VaeError::Frames`].
    pub fn smoothing(&self, frames: usize) -> Result<Smoothing<'_>, VaeError> {
        Smoothing::new(self, frames)
    }

    /// Moments, slice by slice, of `frames` frames that an iterator gives in pieces of any length.
    ///
    /// # Errors
    /// [`VaeError::Frames`]; later errors are items.
    pub fn encode_stream<I, E>(
        &self,
        frames: usize,
        pieces: I,
    ) -> Result<Stream<Encoding<'_>, I>, VaeError>
    where
        I: Iterator<Item = Result<Tensor, E>>,
        E: From<VaeError>,
    {
        Ok(Stream::new(self.encoding(frames)?, pieces))
    }

    /// Frames, slice by slice, of `latents` latents that an iterator gives in pieces of any length.
    ///
    /// # Errors
    /// [`VaeError::Latents`]; later errors are items.
    pub fn decode_stream<I, E>(
        &self,
        latents: usize,
        pieces: I,
    ) -> Result<Stream<Decoding<'_>, I>, VaeError>
    where
        I: Iterator<Item = Result<Tensor, E>>,
        E: From<VaeError>,
    {
        Ok(Stream::new(self.decoding(latents)?, pieces))
    }

    /// Smoothed frames of `frames` decoded ones, as [`SliceVae::decode_stream`] gives them.
    ///
    /// # Errors
    /// [`VaeError::Frames`]; later errors are items.
    pub fn smooth_stream<I, E>(
        &self,
        frames: usize,
        pieces: I,
    ) -> Result<Stream<Smoothing<'_>, I>, VaeError>
    where
        I: Iterator<Item = Result<Tensor, E>>,
        E: From<VaeError>,
    {
        Ok(Stream::new(self.smoothing(frames)?, pieces))
    }

    /// Latents as the transformer sees them.
    ///
    /// # Errors
    /// When candle fails.
    pub fn scale(&self, latents: &Tensor) -> Result<Tensor, VaeError> {
        Ok((latents * self.config.scaling_factor)?)
    }

    /// Latents as the decoder wants them, of what the transformer made.
    ///
    /// # Errors
    /// When candle fails.
    pub fn unscale(&self, latents: &Tensor) -> Result<Tensor, VaeError> {
        Ok((latents / self.config.scaling_factor)?)
    }

    fn check_frames(&self, frames: &Tensor) -> Result<(), VaeError> {
        let channels = self.config.channels;
        let [_, found, _, height, width] = *frames.dims() else {
            return Err(shape("frames", channels, frames));
        };
        if found != channels {
            return Err(shape("frames", channels, frames));
        }
        let factor = self.config.spatial_factor();
        let fits = |side: usize| side > 0 && side.is_multiple_of(factor);
        if fits(height) && fits(width) {
            return Ok(());
        }
        Err(VaeError::Size { width, height, factor })
    }

    fn check_latents(&self, latents: &Tensor) -> Result<(), VaeError> {
        let channels = self.config.latent_channels;
        match *latents.dims() {
            [_, found, ..] if found == channels && latents.rank() == 5 => Ok(()),
            _ => Err(shape("latents", channels, latents)),
        }
    }

    /// Tiles of frames that go into the encoder.
    fn encoder_tiles(&self) -> Tiles {
        let factor = self.config.spatial_factor();
        let Some(Tiling { side, stride }) = self.config.tiling else { return Tiles::WHOLE };
        let keep = stride / factor;
        Tiles { side, stride, blend: side / factor - keep, keep }
    }

    /// Tiles of latents that go into the decoder.
    fn decoder_tiles(&self) -> Tiles {
        let factor = self.config.spatial_factor();
        let Some(Tiling { side, stride }) = self.config.tiling else { return Tiles::WHOLE };
        Tiles { side: side / factor, stride: stride / factor, blend: side - stride, keep: stride }
    }
}

fn shape(what: &'static str, channels: usize, tensor: &Tensor) -> VaeError {
    VaeError::Shape { what, channels, found: tensor.dims().to_vec() }
}

/// Runs a session on the whole of something.
fn run(mut session: impl Session, whole: &Tensor) -> Result<Tensor, VaeError> {
    let mut parts = session.push(whole)?;
    parts.extend(session.finish()?);
    Ok(Tensor::cat(&parts, 2)?)
}
