//! One batch: latents, texts, known frames, noise; the network's answer; loss and gradients.
//!
//! Every number that is drawn comes from the stream of its batch, so a run that is resumed draws what
//! it would have drawn, and nothing of a generator has to be stored.

use std::{cell::RefCell, collections::BTreeMap};

use candle_core::{DType, Device, Tensor, Var};
use curate_models::{
    diffusion::{LossTerms, Objective, Schedule, Variance},
    dit::{CLIP_TOKENS, Clip, Config, Inputs, Transformer3d},
    encoders::{ClipVision, Encoded, Picture, TextEncoder},
    generate::{Generator, Known, MaskedVideo, Settings, to_rgb},
    vae::{Posterior, SliceVae},
};
use curate_ops::{GradSink, Gradients, Rng, gradients};

use super::{
    config::{DitTrainConfig, Precision},
    guidance,
    model::Parts,
};
use crate::{
    TrainError,
    data::{Batch, Cache, Pixels},
    run::Values,
};

/// What turns a batch into what the network sees. None of it is trained.
pub(super) struct Preparation<'a> {
    pub(super) config: &'a DitTrainConfig,
    objective: Objective,
    network: &'a Config,
    vae: &'a SliceVae,
    text: &'a TextEncoder,
    image: Option<&'a ClipVision>,
    schedule: &'a Schedule,
    settings: Settings,
    device: &'a Device,
    /// The empty caption, once it was encoded.
    empty: RefCell<Option<Encoded>>,
    /// What a clip without known frames is given, by frames, height and width: the same for all.
    unknown: RefCell<BTreeMap<[usize; 3], MaskedVideo>>,
}

/// A batch as the network sees it.
#[derive(Clone)]
pub(super) struct Prepared {
    /// Clean latents, scaled, `[B, 4, F, h, w]`.
    pub(super) latents: Tensor,
    pub(super) inpaint: Option<Tensor>,
    pub(super) text: Encoded,
    /// CLIP's embeddings of a frame of each clip, `[B, 768]`; `None`: not shown.
    pub(super) image: Option<Tensor>,
    pub(super) size: Option<Tensor>,
}

impl Prepared {
    /// A batch so many times, one after the other.
    pub(super) fn repeated(&self, count: usize) -> candle_core::Result<Self> {
        let repeat = |tensor: &Tensor| Tensor::cat(&vec![tensor; count], 0);
        Ok(Self {
            latents: repeat(&self.latents)?,
            inpaint: self.inpaint.as_ref().map(repeat).transpose()?,
            text: Encoded { tokens: repeat(&self.text.tokens)?, mask: repeat(&self.text.mask)? },
            image: self.image.as_ref().map(repeat).transpose()?,
            size: self.size.as_ref().map(repeat).transpose()?,
        })
    }
}

impl<'a> Preparation<'a> {
    /// As a run's file says, with what stands around the network.
    pub(super) fn new(
        config: &'a DitTrainConfig,
        parts: &'a Parts,
        (generator, image, schedule): (&'a Generator, Option<&'a ClipVision>, &'a Schedule),
        device: &'a Device,
    ) -> Self {
        Self {
            config,
            objective: parts.objective,
            network: &parts.transformer,
            vae: generator.vae(),
            text: generator.text_encoder(),
            image,
            schedule,
            settings: Settings::of(&parts.card),
            device,
            empty: RefCell::new(None),
            unknown: RefCell::default(),
        }
    }

    /// Draws latents and decides what is known of the batch.
    pub(super) fn prepare(&self, batch: &Batch, rng: &mut Rng) -> Result<Prepared, TrainError> {
        let device = self.device;
        let moments = match &batch.pixels {
            Pixels::Moments(moments) => moments.to_device(device)?,
            Pixels::Frames(frames) => self.vae.moments(&frames.to_device(device)?)?.detach(),
        };
        let latents = self.drawn(&moments, rng)?;
        let inpaint = if self.network.has_clip() { Some(self.inpaint(batch, rng)?) } else { None };
        let text = self.texts(batch, rng)?;
        let size = if self.network.has_size_condition() {
            let (count, side) = (batch.clips.len(), self.vae.config().spatial_factor());
            let (height, width) = (latents.dim(3)? * side, latents.dim(4)? * side);
            let pair = Tensor::new(&[[height as f32, width as f32]], device)?;
            Some(pair.broadcast_as((count, 2))?.contiguous()?)
        } else {
            None
        };
        let image = self.image(batch, rng)?;
        Ok(Prepared { latents, inpaint, text, image, size })
    }

    /// CLIP's embeddings of a frame of each clip: of all clips of a batch or of none, as published, so that
    /// the network is left as it is where it sees nothing.
    fn image(&self, batch: &Batch, rng: &mut Rng) -> Result<Option<Tensor>, TrainError> {
        let (Some(tower), Pixels::Frames(frames)) = (self.image, &batch.pixels) else {
            return Ok(None);
        };
        if rng.uniform() < self.config.guidance.clip_dropout {
            return Ok(None);
        }
        let (_, _, count, height, width) = frames.dims5()?;
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let mut seen = Vec::new();
        for row in 0..batch.clips.len() {
            let at = rng.below(count as u64) as usize;
            seen.extend(to_rgb(&frames.narrow(0, row, 1)?.narrow(2, at, 1)?)?);
        }
        let picture = |rgb| Picture { rgb, width: side(width), height: side(height) };
        let pictures: Vec<Picture<'_>> = seen.iter().map(|rgb| picture(rgb)).collect();
        Ok(Some(tower.encode(&pictures)?.detach()))
    }

    /// Latents of moments, scaled: drawn on the CPU, so that a seed means the same everywhere.
    fn drawn(&self, moments: &Tensor, rng: &mut Rng) -> Result<Tensor, TrainError> {
        let posterior = Posterior::new(moments)?;
        let shape = posterior.mode().shape().clone();
        let noise = rng.normal_tensor(shape, DType::F32, self.device)?;
        Ok(self.vae.scale(&posterior.sample(&noise)?)?.detach())
    }

    /// Latents of masks and masked videos, clip by clip.
    fn inpaint(&self, batch: &Batch, rng: &mut Rng) -> Result<Tensor, TrainError> {
        let mut rows = Vec::new();
        for row in 0..batch.clips.len() {
            let (mut known, mut settings) = (Default::default(), self.settings.clone());
            settings.frames = batch.bucket.frames;
            (settings.width, settings.height) = (batch.bucket.width, batch.bucket.height);
            // With a cache, whether a clip comes as frames is chance; it must not decide what is learnt.
            let may_be_known =
                self.config.guidance.known.is_some() || self.config.data.cache == Cache::Off;
            if let (Pixels::Frames(frames), true) = (&batch.pixels, may_be_known) {
                let count = self.config.guidance.draw(rng, settings.frames);
                known = guidance::known(&frames.get(row)?, count)?;
            }
            let guide = self.guide(&settings, &known)?;
            let (mask, video) = (self.drawn(&guide.mask, rng)?, self.drawn(&guide.video, rng)?);
            rows.push(Tensor::cat(&[mask, video], 1)?);
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// The moments of what is known of a clip.
    fn guide(&self, settings: &Settings, known: &Known) -> Result<MaskedVideo, TrainError> {
        let new = || -> Result<MaskedVideo, TrainError> {
            Ok(MaskedVideo::new(self.vae, settings, known, (self.device, DType::F32))?)
        };
        if !known.is_empty() {
            return new();
        }
        let mut kept = self.unknown.borrow_mut();
        let shape = [settings.frames, settings.height, settings.width];
        if let Some(guide) = kept.get(&shape) {
            return Ok(guide.clone());
        }
        let guide = new()?;
        kept.insert(shape, guide.clone());
        Ok(guide)
    }

    /// Embeddings of the captions, some of them left empty.
    fn texts(&self, batch: &Batch, rng: &mut Rng) -> Result<Encoded, TrainError> {
        let is_empty: Vec<bool> =
            batch.clips.iter().map(|_| rng.uniform() < self.config.text_dropout).collect();
        let Some(cached) = &batch.text else {
            let captions = batch.clips.iter().zip(&is_empty);
            let captions: Vec<&str> =
                captions.map(|(clip, empty)| if *empty { "" } else { &clip.caption }).collect();
            return Ok(self.text.encode(&captions)?);
        };
        let empty = self.empty()?;
        let (mut tokens, mut masks) = (Vec::new(), Vec::new());
        for (row, is_empty) in is_empty.into_iter().enumerate() {
            let cached = || -> candle_core::Result<(Tensor, Tensor)> {
                let of = |tensor: &Tensor| tensor.narrow(0, row, 1)?.to_device(self.device);
                Ok((of(&cached.tokens)?, of(&cached.mask)?))
            };
            let (row, mask) = if is_empty {
                (empty.tokens.to_dtype(DType::F32)?, empty.mask.clone())
            } else {
                cached()?
            };
            tokens.push(row);
            masks.push(mask);
        }
        Ok(Encoded { tokens: Tensor::cat(&tokens, 0)?, mask: Tensor::cat(&masks, 0)? })
    }

    /// The embeddings of the empty caption.
    pub(super) fn empty(&self) -> Result<Encoded, TrainError> {
        let mut slot = self.empty.borrow_mut();
        if let Some(empty) = &*slot {
            return Ok(empty.clone());
        }
        Ok(slot.insert(self.text.encode(&[""])?).clone())
    }
}

/// What a batch gave.
pub(super) struct Made {
    pub(super) gradients: Gradients,
    /// By the names under which they are logged.
    pub(super) values: Values,
}

/// Loss of a prepared batch, with gradients for `vars`.
pub(super) fn learn(
    preparation: &Preparation<'_>,
    (network, vars): (&Transformer3d, &[Var]),
    prepared: &Prepared,
    rng: &mut Rng,
) -> Result<Made, TrainError> {
    let config = preparation.config;
    let sink = config.checkpointing.then(GradSink::new);
    let count = prepared.latents.dim(0)?;
    let fractions = config.timesteps.draw(rng, count);
    let found = losses(preparation, (network, sink.as_ref()), prepared, (&fractions, rng))?;
    let loss = found.loss.mean_all()?;
    let mean = |losses: &Tensor| -> candle_core::Result<f64> {
        Ok(f64::from(losses.mean_all()?.to_scalar::<f32>()?))
    };
    let mut values = vec![("loss", mean(&found.loss)?), ("mse", mean(&found.mse)?)];
    if let Some(vb) = &found.vb {
        values.push(("vb", mean(vb)?));
    }
    drop(found);
    let gradients = gradients(loss, vars, sink.as_ref())?;
    Ok(Made { gradients, values })
}

/// Losses of each sample at given times, with noise from `rng`.
pub(super) fn losses(
    preparation: &Preparation<'_>,
    (network, sink): (&Transformer3d, Option<&GradSink>),
    prepared: &Prepared,
    (fractions, rng): (&[f64], &mut Rng),
) -> Result<LossTerms, TrainError> {
    let (config, device) = (preparation.config, preparation.device);
    let noise = rng.normal_tensor(prepared.latents.shape().clone(), DType::F32, device)?;
    let schedule = preparation.schedule;
    let objective = preparation.objective;
    let sample = objective.noised(schedule, (&prepared.latents, &noise), fractions)?;
    let times: Vec<f32> = sample.times.iter().map(|time| *time as f32).collect();
    let times = Tensor::from_vec(times, fractions.len(), device)?;
    let dtype = match config.dtype {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    };
    let latents = sample.x_t.to_dtype(dtype)?;
    let shown = match &prepared.image {
        Some(image) => {
            let mask = Tensor::ones((image.dim(0)?, CLIP_TOKENS), DType::F32, device)?;
            Some((image.to_dtype(dtype)?, mask))
        }
        None => None,
    };
    let inputs = Inputs {
        latents: &latents,
        inpaint: prepared.inpaint.as_ref(),
        times: &times,
        text: &prepared.text.tokens,
        text_mask: Some(&prepared.text.mask),
        clip: shown.as_ref().map(|(embedding, mask)| Clip { embedding, mask }),
        size: prepared.size.as_ref(),
    };
    let output = match sink {
        Some(sink) => network.forward_checkpointed(&inputs, sink)?,
        None => network.forward(&inputs)?,
    };
    // What is learned of the variance is the second half; where it is not, nobody looks at it.
    let wanted = match objective.variance {
        Variance::LearnedRange => output,
        Variance::Fixed => output.narrow(1, 0, latents.dim(1)?)?,
    };
    Ok(objective.loss(schedule, &sample, &wanted)?)
}

/// Times at which held-out losses are measured: some of `all`, which are spread evenly, whatever is
/// drawn in training. Neighbours in the list are far apart in time, so that each batch has early and late
/// ones.
pub(super) fn fixed_times(first: usize, count: usize, all: usize) -> Vec<f64> {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let all = all.max(1);
    let mut order: Vec<usize> = (0..all).collect();
    let place = |index: &usize| (*index as f64 * GOLDEN).fract();
    order.sort_by(|a, b| place(a).total_cmp(&place(b)));
    let time = |index: usize| (order[index % all] as f64 + 0.5) / all as f64;
    (first..first + count).map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::fixed_times;

    #[test]
    fn times_are_spread_over_batches_whatever_their_size() {
        let one_by_one: Vec<f64> = (0..8).flat_map(|first| fixed_times(first, 1, 8)).collect();
        assert_eq!(fixed_times(0, 8, 8), one_by_one);
        let mut sorted = one_by_one;
        sorted.sort_by(f64::total_cmp);
        let even: Vec<f64> = (0..8).map(|index| (f64::from(index) + 0.5) / 8.0).collect();
        assert_eq!(sorted, even);
        let half = fixed_times(0, 4, 8);
        assert!(
            half.iter().any(|time| *time < 0.4) && half.iter().any(|time| *time > 0.6),
            "{half:?}"
        );
    }
}
