//! Text encoder, transformer, sampler and VAE, put together.
//!
//! What goes in beside the noise is in `context.rs`.

use candle_core::{DType, Device, Tensor};

use super::{
    Blueprint, GenerateError, Guides, ModelCard, ModelFolder, ModelHashes, Problem, Settings, Task,
    context::{Context, Draws, stream},
    hashes, text_files,
};
use crate::{
    Weights,
    diffusion::{Call, NoiseSource as _, Schedule, clip_is_active},
    dit::{Clip, Inputs, LATENT_CHANNELS, Transformer3d},
    encoders::{ClipVision, Picture, TextEncoder, TextFiles, TextOptions},
    hub::Hub,
    params::{Params, Role},
    vae::{Chunking, SliceVae},
};

/// Where a model computes, and in what.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where.
    pub device: Device,
    /// What transformer and text encoder keep weights in and compute in: `f32`, or `bf16` for half the
    /// memory. On a CPU the VAE is always `f32`: it is small, and half precision is slow there.
    pub dtype: DType,
}

impl Place {
    /// By name: `cpu`, `cuda` or `cuda:1`, and `f32` or `bf16`.
    ///
    /// # Errors
    /// [`GenerateError::Request`] for other names, and for a device that cannot be used.
    pub fn parse(device: &str, dtype: &str) -> Result<Self, GenerateError> {
        let refuse = |what, problem: String| GenerateError::Request {
            problems: vec![Problem { what, problem }],
        };
        let number = match device.split_once(':') {
            Some(("cuda", number)) => number.parse().ok(),
            None if device == "cuda" => Some(0),
            _ => None,
        };
        let device = match (device, number) {
            ("cpu", _) => Device::Cpu,
            (name, Some(number)) => Device::new_cuda(number)
                .map_err(|error| refuse("device", format!("`{name}` cannot be used: {error}")))?,
            (name, None) => {
                let known = "there are `cpu`, `cuda` and `cuda:N`";
                return Err(refuse("device", format!("there is no `{name}`; {known}")));
            }
        };
        let dtype = match dtype {
            "f32" => DType::F32,
            "bf16" => DType::BF16,
            name => {
                let known = "there are `f32` and `bf16`";
                return Err(refuse("dtype", format!("there is no `{name}`; {known}")));
            }
        };
        Ok(Self { device, dtype })
    }

    pub(super) fn vae_dtype(&self) -> DType {
        if self.device.is_cpu() { DType::F32 } else { self.dtype }
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Calls of the transformer that are done.
    pub done: usize,
    /// All of them.
    pub calls: usize,
}

/// A model that makes clips.
#[derive(Debug)]
pub struct Generator {
    blueprint: Blueprint,
    schedule: Schedule,
    pub(super) transformer: Transformer3d,
    params: Params,
    pub(super) vae: SliceVae,
    pub(super) text: TextEncoder,
    image: Option<ClipVision>,
    hashes: ModelHashes,
    pub(super) place: Place,
}

impl Generator {
    /// Reads a model. `text` takes the place of the text encoder that its card names.
    ///
    /// # Errors
    /// When a part is not there, is damaged, or does not fit the others; files and tensors are named.
    pub fn open(
        folder: &ModelFolder,
        text: Option<&TextFiles>,
        hub: &Hub,
        place: Place,
    ) -> Result<Self, GenerateError> {
        let files = match text {
            Some(files) => files.clone(),
            None => folder.text_files(hub)?,
        };
        let card = folder.card();
        let sha256 = |path| Weights::open(path).and_then(|weights| weights.sha256());
        let image = folder.image_encoder();
        let blueprint = Blueprint::of(folder);
        let hashes = ModelHashes {
            transformer: sha256(folder.transformer_path())?,
            vae: sha256(folder.vae_path())?,
            text: hashes::of_text(&card.text.encoder, (text, &files), hub)?,
            image: image.as_deref().map(sha256).transpose()?,
            config: hashes::of_config(&blueprint, &files, image.as_deref())?,
        };
        let network = folder.transformer(&place.device, place.dtype)?;
        let (vae, _) = folder.vae(&place.device, place.vae_dtype())?;
        let image = match image {
            Some(_) => Some(ClipVision::open(folder.root(), &place.device, place.dtype)?),
            None => None,
        };
        let made = Self::join(blueprint, network, vae, (&files, hashes), place)?;
        Ok(Self { image, ..made })
    }

    /// A preset with weights drawn from a seed: its clips are noise. For trying out and for tests.
    ///
    /// # Errors
    /// When there is no such preset, or its text encoder is not there.
    pub fn preset(
        name: &str,
        seed: u64,
        text: Option<&TextFiles>,
        hub: &Hub,
        place: Place,
    ) -> Result<Self, GenerateError> {
        let blueprint = Blueprint::preset(name)?;
        let Blueprint { card, transformer: config, vae: vae_config } = &blueprint;
        let files = match text {
            Some(files) => files.clone(),
            None => text_files(&card.text.encoder, std::path::Path::new("."), hub)?,
        };
        let hashes = ModelHashes {
            transformer: format!("preset {name}, seed {seed}"),
            vae: format!("preset for {name}, seed {seed}"),
            text: hashes::of_text(&card.text.encoder, (text, &files), hub)?,
            image: None,
            config: hashes::of_config(&blueprint, &files, None)?,
        };
        let drawn = |dtype| {
            let mut params = Params::seeded(seed, &place.device).with_dtype(dtype);
            params.set_role("*", Role::Frozen);
            params
        };
        let mut params = drawn(place.dtype);
        let transformer = Transformer3d::new(&mut params, config)?;
        let mut vae = drawn(place.vae_dtype());
        let vae = vae.build(|scope| SliceVae::new(vae_config, scope))?;
        Self::join(blueprint, (transformer, params), vae, (&files, hashes), place)
    }

    fn join(
        blueprint: Blueprint,
        (transformer, params): (Transformer3d, Params),
        vae: SliceVae,
        (files, hashes): (&TextFiles, ModelHashes),
        place: Place,
    ) -> Result<Self, GenerateError> {
        let options = TextOptions {
            device: place.device.clone(),
            dtype: place.dtype,
            tokens: blueprint.card.text.tokens,
            layers: blueprint.card.text.layers,
        };
        let text = TextEncoder::open(files, &options)?;
        let made = Self::over(blueprint.card, transformer, vae, text, place)?;
        Ok(Self { params, hashes, ..made })
    }

    /// Of networks that are in memory, such as those in training.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn over(
        card: ModelCard,
        transformer: Transformer3d,
        vae: SliceVae,
        text: TextEncoder,
        place: Place,
    ) -> Result<Self, GenerateError> {
        let latents = vae.config().latent_channels;
        if latents != LATENT_CHANNELS {
            let problem = format!(
                "the VAE's latents have {latents} channels, the transformer takes {LATENT_CHANNELS}"
            );
            return Err(GenerateError::Unfit { problem });
        }
        let width = text.encode(&[""])?.tokens.dim(2)?;
        let wanted = transformer.config().caption_channels;
        if width != wanted {
            let problem = format!(
                "the text encoder's tokens have {width} numbers, the transformer takes {wanted}"
            );
            return Err(GenerateError::Unfit { problem });
        }
        let schedule = card.noise();
        let (params, hashes) = (Params::seeded(0, &place.device), ModelHashes::default());
        let (network, pictures) = (transformer.config().clone(), vae.config().clone());
        let blueprint = Blueprint { card, transformer: network, vae: pictures };
        Ok(Self { blueprint, schedule, transformer, params, vae, text, image: None, hashes, place })
    }

    /// Changes the transformer's tensors, as LoRA files do, and joins the network with them anew. Not for
    /// one that was made by [`Generator::over`], whose tensors are its owner's.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn adapt<E: From<GenerateError>>(
        &mut self,
        change: impl FnOnce(&mut Params) -> Result<(), E>,
    ) -> Result<(), E> {
        change(&mut self.params)?;
        let config = self.transformer.config().clone();
        self.transformer =
            Transformer3d::new(&mut self.params, &config).map_err(GenerateError::from)?;
        Ok(())
    }

    /// What the model is made of, and was trained to do.
    #[must_use]
    pub const fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// What the model was trained to do.
    #[must_use]
    pub const fn card(&self) -> &ModelCard {
        &self.blueprint.card
    }

    /// CLIP's embedding of a picture in RGB bytes, for [`Guides::image`]. `None`: the model has no image
    /// tower.
    ///
    /// # Errors
    /// When the bytes are not of such a picture, or candle fails.
    pub fn see(
        &self,
        rgb: &[u8],
        (width, height): (usize, usize),
    ) -> Result<Option<Tensor>, GenerateError> {
        let Some(tower) = &self.image else { return Ok(None) };
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let (width, height) = (side(width), side(height));
        Ok(Some(tower.encode(&[Picture { rgb, width, height }])?))
    }

    /// Its VAE.
    #[must_use]
    pub const fn vae(&self) -> &SliceVae {
        &self.vae
    }

    /// Its transformer.
    #[must_use]
    pub const fn transformer(&self) -> &Transformer3d {
        &self.transformer
    }

    /// Its text encoder.
    #[must_use]
    pub const fn text_encoder(&self) -> &TextEncoder {
        &self.text
    }

    /// Checksums of its parts.
    #[must_use]
    pub const fn hashes(&self) -> &ModelHashes {
        &self.hashes
    }

    /// Makes the latents of a batch of clips, each `[1, 4, F, h, w]` in f32, scaled as the transformer
    /// sees them. `observe` is told of every call of the transformer.
    ///
    /// # Errors
    /// Those of [`Blueprint::check`]; [`GenerateError::NotFinite`]; otherwise when candle fails.
    pub fn latents(
        &self,
        tasks: &[Task],
        settings: &Settings,
        guides: &Guides<'_>,
        observe: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Tensor>, GenerateError> {
        self.blueprint.check(settings, guides.known)?;
        let device = &self.place.device;
        let mut noise = Draws::new(tasks, stream::SAMPLER);
        let factor = self.vae.config().spatial_factor();
        let shape = (
            tasks.len(),
            LATENT_CHANNELS,
            self.vae.config().latents(settings.frames)?,
            settings.height / factor,
            settings.width / factor,
        );
        let first = noise.like(&Tensor::zeros(shape, DType::F32, device)?)?;
        let source = guides.source.map(|source| self.encoded(source, tasks)).transpose()?;
        let context = self.context(tasks, settings, guides)?;

        let mut sampler = settings.sampler(&self.blueprint.card).build(&self.schedule)?;
        let times = sampler.times().to_vec();
        let mut state = sampler.start(&first, source.as_ref())?;
        let calls = times.len();
        observe(Progress { done: 0, calls });
        for (index, time) in times.into_iter().enumerate() {
            let input = sampler.input(index, &state)?;
            let sees_image = clip_is_active(index, calls, settings.clip_ratio);
            let output = self.predict(&context, (&input, time), sees_image)?;
            state = sampler.step(Call { index, output: &output, state: &state }, &mut noise)?;
            observe(Progress { done: index + 1, calls });
        }
        // They would decode to black, which looks like a model that has learned nothing.
        let numbers = state.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(GenerateError::NotFinite { part: "transformer", made: "latents" });
        }
        let clips = (0..tasks.len()).map(|row| Ok(state.narrow(0, row, 1)?.contiguous()?));
        clips.collect()
    }

    /// The guided prediction of noise, v or flow, `[B, 4, F, h, w]` in f32.
    fn predict(
        &self,
        context: &Context,
        (input, time): (&Tensor, f64),
        sees_image: bool,
    ) -> Result<Tensor, GenerateError> {
        let double = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0);
        let is_double = context.guidance.is_double();
        let latents = if is_double { double(input)? } else { input.clone() };
        let latents = latents.to_dtype(self.place.dtype)?;
        let rows = latents.dim(0)?;
        let times = Tensor::full(time as f32, rows, latents.device())?;
        let image = context.image.as_ref().filter(|_| sees_image);
        let clip = image.map(|(embedding, mask)| Clip { embedding, mask });
        let output = self.transformer.forward(&Inputs {
            latents: &latents,
            inpaint: context.inpaint.as_ref(),
            times: &times,
            text: &context.text.tokens,
            text_mask: Some(&context.text.mask),
            clip,
            size: context.size.as_ref(),
        })?;
        // The other half is the variance, which samplers leave alone.
        let output = output.narrow(1, 0, LATENT_CHANNELS)?.to_dtype(DType::F32)?.contiguous()?;
        Ok(if is_double { context.guidance.join(&output)? } else { output })
    }

    /// The frames of latents that [`Generator::latents`] made, a few at a time as they are decoded:
    /// `[1, 3, n, height, width]` in f32, about [-1, 1]. Memory does not grow with the clip.
    ///
    /// # Errors
    /// When the latents are of another shape; later errors are items.
    pub fn frames(
        &self,
        latents: &Tensor,
        settings: &Settings,
    ) -> Result<Frames<'_>, GenerateError> {
        let latents = self.vae.unscale(latents)?.to_dtype(self.place.vae_dtype())?;
        let count = latents.dim(2)?;
        let pieces = std::iter::once(Ok::<_, GenerateError>(latents));
        let decoded = self.vae.decode_stream(count, pieces)?;
        let single = |frames: Result<Tensor, GenerateError>| Ok(frames?.to_dtype(DType::F32)?);
        // What is carried from chunk to chunk leaves no seam.
        let has_seams = !matches!(self.vae.config().chunking, Chunking::Carried { .. });
        Ok(if settings.smoothing && has_seams {
            Box::new(self.vae.smooth_stream(settings.frames, decoded)?.map(single))
        } else {
            Box::new(decoded.map(single))
        })
    }
}

/// Decoded frames, as [`Generator::frames`] gives them.
pub type Frames<'g> = Box<dyn Iterator<Item = Result<Tensor, GenerateError>> + 'g>;
