//! What a trained transformer makes of each clip, as columns of the table: its loss, and how much the
//! caption helps.
//!
//! The losses that a step sees differ more by the time and noise that were drawn than by the clip, so they
//! say little about it. Here every clip is measured at the same times, by the averaged weights of the
//! newest checkpoint, once under its caption and once under the empty one with the same noise. A clip's
//! numbers do not depend on other clips: its noise comes from its own stream, and it is alone in its
//! batches. (Cached latents are rounded to 16 bits, which changes them in the sixth digit.)
//!
//! Decided against collecting losses while training: it would be free, but comparing clips would take
//! hundreds of epochs.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use candle_core::Device;
use curate_models::{dit::Transformer3d, encoders::Encoded, hub::Hub};
use curate_ops::Rng;
use curate_schemas::{
    Clip,
    columns::{CAPTION_GAIN, CLIP_ID, LOSS, LOSS_KEY},
    fingerprint, stable_hash64,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    config::{DitTrainConfig, FREE},
    model::Parts,
    step::{Preparation, Prepared, fixed_times, losses},
    train::preview_generator,
};
use crate::{
    TrainError,
    data::{
        Batch, Bucket, Content, Crop, DataConfig, DataError, Pixels, RowSource, Rows, Spacing,
        Unusable, caption_columns, captions, text_hash,
    },
    encode::{Tell, Write, hash_vae, pieces},
    optim::stored,
    run::{RunFolder, Stop},
};

/// Bytes of a row that is written, roughly: pieces are bounded by time in practice.
const ROW_BYTES: usize = 512;

/// How losses are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossOptions {
    /// Which clips, as an SQL condition in place of the run's own.
    pub filter: Option<String>,
    /// At how many times, spread evenly from no noise to noise alone.
    pub times: usize,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self { filter: None, times: 4 }
    }
}

/// What measuring came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Hash of the model and of every setting that the numbers depend on: in `loss_key`.
    pub model: String,
    /// The model's step.
    pub step: u64,
    /// Rows that were measured.
    pub rows: u64,
    /// Rows that had been measured with this model before.
    pub had: u64,
    /// Rows that passed the filter and that the run could not use.
    pub unusable: BTreeMap<Unusable, u64>,
    /// Clips that could not be read or gave no finite loss, with the reason.
    pub failures: BTreeMap<String, String>,
    /// Whether it ended early because it was asked to.
    pub is_stopped: bool,
}

/// Of what a row's losses are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LossKey {
    /// Hash of the weights and of every setting that the numbers depend on.
    model: String,
    /// The step after which the weights were saved.
    step: u64,
    /// How many times.
    times: usize,
    /// Hash of the caption.
    caption: String,
}

/// Measures the clips that a run reads, held-out ones too. Those that were measured with the same weights,
/// settings and caption are passed over. What was written stays when it is stopped or fails.
///
/// # Errors
/// [`TrainError::NotTrained`] when the run has no checkpoint; when the file is another than the run was
/// begun with, rows cannot be read or written, or the network fails. A clip that cannot be read is counted.
pub fn measure_losses(
    config: &DitTrainConfig,
    options: &LossOptions,
    source: &Arc<dyn RowSource>,
    (hub, device, stop): (&Hub, &Device, &Stop),
    (write, tell): (Write<'_>, Tell<'_>),
) -> Result<Measured, TrainError> {
    let not_trained = || TrainError::NotTrained(config.out.clone());
    if !config.out.join("checkpoints").is_dir() {
        return Err(not_trained());
    }
    // --- the model as it is used: the newest checkpoint, averages where there are some
    let parts = Parts::find(config, hub)?;
    let hashes = parts.hashes()?;
    let folder = RunFolder::open(&config.out, config, (&hashes.made_of(), &FREE))?;
    let saved = folder.resumed().ok_or_else(not_trained)?;
    let part = if config.ema.decay > 0.0 { "ema" } else { "model" };
    let mut trainee = parts.transformer(config, device)?;
    let weights = saved.weights(part)?;
    for (name, var) in trainee.trained().trained() {
        var.set(&stored(&weights, name, var.as_tensor())?)?;
    }
    let generator = preview_generator(config, &parts, &mut trainee, device)?;
    // Captions as they are, and no frame is known.
    let mut told = config.clone();
    (told.text_dropout, told.guidance.known) = (0.0, Some(0.0));
    let schedule = parts.card.noise();
    let preparation = Preparation::new(&told, &parts, (&generator, None, &schedule), device);

    // --- the clips
    let data = DataConfig {
        filter: options.filter.clone().unwrap_or_else(|| config.data.filter.clone()),
        crop: Crop::Center,
        random_ratio_crop: false,
        ..config.data.clone()
    };
    let rows = Arc::new(Rows::read(&**source, &data, &hashes.wanted())?);
    let settings = json!({
        "made_of": hashes.made_of(),
        "prediction": parts.card.prediction,
        "variance": parts.card.variance,
        "schedule": parts.card.schedule,
        "weighting": config.objective.weighting,
        "dtype": config.dtype,
        "data": [data.size, data.frames, data.frame_step, data.batch],
        "spacing": Spacing::of(&data),
        "captions": caption_columns(&data),
        "times": options.times,
        "seed": config.seed,
    });
    let weights = hash_vae(&saved.file(part))?;
    let model = fingerprint([weights.as_bytes(), settings.to_string().as_bytes()]);
    let before = measured_before(&**source, &data, &model)?;
    let missing = pieces::missing(&rows, |entry| before.contains(&entry.id));
    let mut measured = Measured {
        model: model.clone(),
        step: saved.step,
        had: (rows.entries.len() - missing.len()) as u64,
        unusable: rows.unusable.clone(),
        ..Measured::default()
    };

    // --- their losses
    let plans = pieces::plans(&rows, &missing, data.batch, |bucket| *bucket);
    let tokens = parts.card.text.tokens;
    let work = pieces::Work { source, config: &data, rows: &rows, missing, tokens, stop };
    let columns: &'static [&'static str] = &["loss", "caption_gain", "loss_key"];
    let meter = Meter {
        preparation: &preparation,
        network: generator.transformer(),
        model,
        step: saved.step,
        times: fixed_times(0, options.times, options.times),
    };
    let mut endless = BTreeMap::new();
    let about = ("losses", columns, true);
    let failures = &mut measured.failures;
    measured.rows = work.run(about, plans, (write, tell), failures, |plan, content| {
        let mut clips = Vec::new();
        for number in 0..content.clips.len() {
            let batch = alone(&content, number, plan.shape)?;
            match meter.row(&batch)? {
                Some(row) => clips.push(row),
                None => {
                    let clip = batch.clips[0].clip_id.clone();
                    endless.insert(clip, "its loss is not finite".to_owned());
                }
            }
        }
        let bytes = clips.len() * ROW_BYTES;
        Ok((clips, bytes))
    })?;
    measured.failures.extend(endless);
    measured.is_stopped = stop.is_asked();
    Ok(measured)
}

/// The clips whose losses are of this model and of their caption as it is now.
fn measured_before(
    source: &dyn RowSource,
    data: &DataConfig,
    model: &str,
) -> Result<HashSet<u128>, DataError> {
    let mut columns = caption_columns(data);
    columns.extend([CLIP_ID.name(), LOSS_KEY.name()]);
    let mut before = HashSet::new();
    source.scan(&data.filter, &columns, &mut |listed| {
        for row in listed {
            let key = row.clip.get(LOSS_KEY);
            let key = key.and_then(|key| serde_json::from_str::<LossKey>(key).ok());
            let caption = captions(data, &row.clip).into_values().next().map(text_hash);
            let id = row.clip.get(CLIP_ID).and_then(|id| u128::from_str_radix(id, 16).ok());
            if let (Some(key), Some(id)) = (key, id)
                && key.model == model
                && Some(key.caption) == caption
            {
                before.insert(id);
            }
        }
    })?;
    Ok(before)
}

/// One clip of a batch.
fn alone(content: &Content, number: usize, shape: Bucket) -> candle_core::Result<Batch> {
    let pixels = content.pixels.tensor().narrow(0, number, 1)?;
    let pixels = match &content.pixels {
        Pixels::Frames(_) => Pixels::Frames(pixels),
        Pixels::Moments(_) => Pixels::Moments(pixels),
    };
    let text = match &content.text {
        Some(text) => Some(Encoded {
            tokens: text.tokens.narrow(0, number, 1)?,
            mask: text.mask.narrow(0, number, 1)?,
        }),
        None => None,
    };
    let clips = vec![content.clips[number].clone()];
    Ok(Batch { number: 0, epoch: 0, bucket: shape, clips, pixels, text })
}

/// What measures clips, one by one.
struct Meter<'a> {
    preparation: &'a Preparation<'a>,
    network: &'a Transformer3d,
    model: String,
    step: u64,
    times: Vec<f64>,
}

impl Meter<'_> {
    /// The columns of a batch of one clip; `None`: its loss is no number.
    fn row(&self, batch: &Batch) -> Result<Option<Clip>, TrainError> {
        let [told, untold] = self.both(batch)?;
        if !(told.is_finite() && untold.is_finite()) {
            return Ok(None);
        }
        let clip = &batch.clips[0];
        let key = LossKey {
            model: self.model.clone(),
            step: self.step,
            times: self.times.len(),
            caption: text_hash(&clip.caption),
        };
        let key = serde_json::to_string(&key).map_err(std::io::Error::other);
        let row = Clip::default()
            .with(CLIP_ID, clip.clip_id.clone())
            .with(LOSS, told as f32)
            .with(CAPTION_GAIN, (untold - told) as f32)
            .with(LOSS_KEY, key.map_err(TrainError::io("write", "loss_key"))?);
        Ok(Some(row))
    }

    /// Mean losses under the clip's caption and under the empty one, over the times.
    fn both(&self, batch: &Batch) -> Result<[f64; 2], TrainError> {
        let (preparation, config) = (self.preparation, self.preparation.config);
        let stream = stable_hash64(&batch.clips[0].clip_id);
        let mut rng = Rng::with_stream(config.seed, stream);
        let told = preparation.prepare(batch, &mut rng)?;
        let untold = Prepared { text: preparation.empty()?, ..told.clone() };
        let mut means = [0.0; 2];
        for (mean, prepared) in means.iter_mut().zip([told, untold]) {
            // The same noise for both. No more at once than training has.
            let mut rng = rng.clone();
            for times in self.times.chunks(config.data.batch) {
                let prepared = prepared.repeated(times.len())?;
                let at = (times, &mut rng);
                let found = losses(preparation, (self.network, None), &prepared, at)?;
                *mean += f64::from(found.loss.sum_all()?.to_scalar::<f32>()?);
            }
            *mean /= self.times.len() as f64;
        }
        Ok(means)
    }
}
