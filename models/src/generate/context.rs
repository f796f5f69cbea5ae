//! What a batch of clips is made from: texts, known frames, and numbers that are drawn.
//!
//! A clip depends on its own prompt, seed and settings. What else is in its batch moves it by
//! rounding alone: texts are encoded one at a time, and each clip has a generator of its own for
//! every number that is drawn, on the CPU whatever the device.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use curate_ops::Rng;

use super::{GenerateError, Generator, Known, Settings, Task, masked::MaskedVideo};
use crate::{
    diffusion::{DiffusionError, Guidance, NoiseSource},
    dit::{CLIP_CHANNELS, CLIP_TOKENS},
    encoders::Encoded,
    vae::Posterior,
};

/// What a clip's generator draws, each from its own stream of the seed.
pub(super) mod stream {
    /// The first noise, and what samplers add.
    pub(in super::super) const SAMPLER: u64 = 0;
    /// Latents of known frames.
    pub(super) const GUIDE: u64 = 1;
    /// Latents of a clip that another one is made from.
    pub(super) const SOURCE: u64 = 2;
}

/// What a clip is made from beside its text.
#[derive(Clone, Copy, Debug)]
pub struct Guides<'a> {
    /// Frames that it begins or ends with.
    pub known: &'a Known,
    /// CLIP's embedding of the first frame that it begins with, `[1, 768]`.
    pub image: Option<&'a Tensor>,
    /// A clip that it is made from, `[3, frames, height, width]` in [-1, 1]; see [`Settings::strength`].
    pub source: Option<&'a Tensor>,
}

/// What the transformer is given at every step.
pub(super) struct Context {
    pub(super) guidance: Guidance,
    pub(super) text: Encoded,
    pub(super) inpaint: Option<Tensor>,
    /// CLIP embedding and its mask.
    pub(super) image: Option<(Tensor, Tensor)>,
    pub(super) size: Option<Tensor>,
}

/// Noise for a batch, each row from the generator of its own task.
pub(super) struct Draws(Vec<Rng>);

impl Draws {
    pub(super) fn new(tasks: &[Task], stream: u64) -> Self {
        Self(tasks.iter().map(|task| Rng::with_stream(task.seed, stream)).collect())
    }
}

impl NoiseSource for Draws {
    fn like(&mut self, tensor: &Tensor) -> Result<Tensor, DiffusionError> {
        let mut shape = tensor.dims().to_vec();
        shape[0] = 1;
        let rows = self
            .0
            .iter_mut()
            .map(|rng| rng.normal_tensor(shape.clone(), DType::F32, tensor.device()));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }
}

impl Generator {
    /// What does not change from step to step: rows are those without the text, then those with it.
    pub(super) fn context(
        &self,
        tasks: &[Task],
        settings: &Settings,
        guides: &Guides<'_>,
    ) -> Result<Context, GenerateError> {
        let guidance = Guidance { scale: settings.guidance };
        let copies = if guidance.is_double() { 2 } else { 1 };
        let negatives = tasks.iter().map(|task| &task.negative);
        let prompts = tasks.iter().map(|task| &task.prompt);
        let texts: Vec<&str> =
            negatives.filter(|_| copies == 2).chain(prompts).map(String::as_str).collect();
        let text = self.texts(&texts)?;
        let repeated = |tensor: Tensor| match copies {
            2 => Tensor::cat(&[&tensor, &tensor], 0),
            _ => Ok(tensor),
        };

        let config = self.transformer.config();
        let mut inpaint = None;
        if config.has_clip() {
            let place = (&self.place.device, self.place.vae_dtype());
            let masked = MaskedVideo::new(&self.vae, settings, guides.known, place)?;
            let mut noise = Draws::new(tasks, stream::GUIDE);
            let mut drawn = |moments: &Tensor| self.drawn(moments, tasks.len(), &mut noise);
            let both = Tensor::cat(&[drawn(&masked.mask)?, drawn(&masked.video)?], 1)?;
            inpaint = Some(repeated(both.to_dtype(self.place.dtype)?)?);
        }
        let rows = tasks.len() * copies;
        let mut image = None;
        if let Some(embedding) = guides.image.filter(|_| config.has_clip()) {
            let seen =
                embedding.to_dtype(self.place.dtype)?.broadcast_as((tasks.len(), CLIP_CHANNELS))?;
            let mask = Tensor::ones((tasks.len(), CLIP_TOKENS), DType::F32, &self.place.device)?;
            // Without the text, the picture is left out, too.
            let pair = if copies == 2 {
                let nothing = seen.zeros_like()?;
                (
                    Tensor::cat(&[&nothing, &seen], 0)?,
                    Tensor::cat(&[&mask.zeros_like()?, &mask], 0)?,
                )
            } else {
                (seen.contiguous()?, mask)
            };
            image = Some(pair);
        }
        let mut size = None;
        if config.has_size_condition() {
            let sides = [settings.height as f32, settings.width as f32];
            let sides = Tensor::new(&sides, &self.place.device)?;
            size = Some(sides.unsqueeze(0)?.broadcast_as((rows, 2))?.contiguous()?);
        }
        Ok(Context { guidance, text, inpaint, image, size })
    }

    /// Encoded texts, each by itself and once.
    fn texts(&self, texts: &[&str]) -> Result<Encoded, GenerateError> {
        let mut known: BTreeMap<&str, Encoded> = BTreeMap::new();
        for text in texts {
            if !known.contains_key(text) {
                known.insert(text, self.text.encode(&[text])?);
            }
        }
        let rows: Vec<&Encoded> = texts.iter().map(|text| &known[text]).collect();
        let tokens: Vec<&Tensor> = rows.iter().map(|row| &row.tokens).collect();
        let mask: Vec<&Tensor> = rows.iter().map(|row| &row.mask).collect();
        Ok(Encoded { tokens: Tensor::cat(&tokens, 0)?, mask: Tensor::cat(&mask, 0)? })
    }

    /// Scaled latents of a clip in pixels, drawn for each task.
    pub(super) fn encoded(&self, pixels: &Tensor, tasks: &[Task]) -> Result<Tensor, GenerateError> {
        let pixels = pixels.unsqueeze(0)?.to_device(&self.place.device)?;
        let moments = self.vae.moments(&pixels.to_dtype(self.place.vae_dtype())?)?;
        self.drawn(&moments, tasks.len(), &mut Draws::new(tasks, stream::SOURCE))
    }

    /// Scaled latents of a posterior, drawn for each row: `[B, 4, F, h, w]` in f32.
    fn drawn(
        &self,
        moments: &Tensor,
        rows: usize,
        noise: &mut Draws,
    ) -> Result<Tensor, GenerateError> {
        let mut shape = moments.dims().to_vec();
        shape[0] = rows;
        let moments = moments.to_dtype(DType::F32)?.broadcast_as(shape)?.contiguous()?;
        let posterior = Posterior::new(&moments)?;
        let latents = posterior.sample(&noise.like(posterior.mode())?)?;
        Ok(self.vae.scale(&latents)?)
    }
}
