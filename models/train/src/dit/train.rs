//! The loop. It reads from top to bottom; nothing is hidden in callbacks.

use std::{path::Path, time::Instant};

use candle_core::{DType, Device};
use curate_models::{
    dit::Transformer3d,
    encoders::{ClipVision, TextEncoder, TextOptions},
    generate::{Generator, ModelFolder, Place, TextSpec},
    lora::Format,
};
use curate_ops::{Gradients, Rng, on_deep_stack};
use serde_json::Value;

use super::{
    checkpoint::{State, restore, save},
    config::{DitTrainConfig, FREE, Precision},
    measure::{first_batch, held_out, preview},
    model::{Parts, Trainee},
    step::{Preparation, learn},
};
use crate::{
    TrainError,
    data::Pixels,
    feed::Surroundings,
    optim::{Ema, Optimizer},
    run::{Cadence, Ended, Observer, Point, RunFolder, Values, add_mean, not_fewer, pass_over},
};

/// Streams of dropout masks, which no batch's numbers share.
const DROPOUT: u64 = 0xd409_0a57;

/// Trains until the last step, or until asked to stop; goes on where the run's folder was left.
///
/// In the end the folder `model` of the run's folder is a model as `curate generate` reads it, with
/// averaged weights; of a LoRA run, `lora.safetensors` has the adapters in kohya's format and `peft` in
/// PEFT's.
///
/// # Errors
/// When the configuration does not fit, data cannot be read, or losses stay no numbers.
pub fn train(
    config: &DitTrainConfig,
    surroundings: &Surroundings<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Ended, TrainError> {
    // Graphs are deeper than an ordinary stack.
    on_deep_stack(|| run(config, surroundings, observer))?
}

fn run(
    config: &DitTrainConfig,
    around: &Surroundings<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Ended, TrainError> {
    let device = around.device;
    // --- the network, what stands around it, and its optimiser
    let parts = Parts::find(config, around.hub)?;
    let hashes = parts.hashes()?;
    let folder = RunFolder::open(&config.out, config, (&hashes.made_of(), &FREE))?;
    let mut trainee = parts.transformer(config, device)?;
    trainee.notes.iter().for_each(|note| observer.note(note));
    config.optimizer.check_groups(&[trainee.trained()])?;
    let mut optimizer = Optimizer::new(&config.optimizer, trainee.trained())?;
    observer.note(&format!("{} numbers are trained", optimizer.count()));
    let mut ema = Ema::new(config.ema, trainee.trained())?;
    let generator = preview_generator(config, &parts, &mut trainee, device)?;
    let schedule = parts.card.noise();
    let image = parts.image_tower(config, device)?;
    let around_it = (&generator, image.as_ref(), &schedule);
    let preparation = Preparation::new(config, &parts, around_it, device);

    // --- where the run is
    let mut state = State::default();
    if let Some(saved) = folder.resumed() {
        state = saved.state()?;
        restore(saved, trainee.trained(), (&mut optimizer, ema.as_mut()))?;
        not_fewer(state.step, config.steps)?;
        observer.note(&format!("goes on behind step {} of {}", state.step, config.steps));
    }
    let wanted = hashes.wanted();
    let resume = (state.data != Value::Null).then_some(&state.data);
    let (data, _) = config.shares();
    let mut feed = around.feeds.open(&data, &wanted, config.seed, resume)?;
    feed.notes().iter().for_each(|note| observer.note(note));
    let version = feed.version();
    let mut metrics = folder.metrics()?;
    let mut checkpoints = Cadence::new(config.checkpoint);
    let mut measures = Cadence::new(config.measure.every);
    let mut kept = state.step;

    while state.step < config.steps {
        let step = state.step + 1;
        let (began, waited) = (Instant::now(), feed.wait_s());

        // --- gradients, averaged over batches
        let mut found = Gradients::new();
        let mut values = Values::new();
        let mut samples = 0;
        for part in 0..config.accumulate {
            let batch = feed.next()?;
            if step == 1 && part == 0 {
                let path = folder.sample("first-batch.jpg")?;
                if let Some(clips) = visible(&batch.pixels) {
                    first_batch(clips, &path)?;
                    observer.wrote(&path);
                }
            }
            let stream = step * config.accumulate + part;
            let mut rng = Rng::with_stream(config.seed, stream);
            if let Some(lora) = &trainee.lora {
                lora.set_dropout_seed(Some(config.seed ^ DROPOUT.wrapping_mul(stream)));
            }
            let prepared = preparation.prepare(&batch, &mut rng)?;
            let network = (&trainee.network, optimizer.vars());
            let made = learn(&preparation, network, &prepared, &mut rng)?;
            found.add_all(optimizer.vars(), &made.gradients)?;
            samples += batch.clips.len();
            add_mean(&mut values, &made.values, config.accumulate);
        }

        // --- a step of the optimiser, unless something is no number
        let share = 1.0 / config.accumulate as f64;
        let norm = found.norm(optimizer.vars())? * share;
        let rate = config.schedule.share(step, config.steps);
        let mut is_spike = false;
        if values.iter().all(|(_, value)| value.is_finite()) && norm.is_finite() {
            let clip = config.clip.at(step, norm);
            is_spike = clip.is_spike;
            optimizer.step(&found, step, (rate, share * clip.scale))?;
            if let Some(ema) = &mut ema {
                ema.update(trainee.trained(), step)?;
            }
            state.bad_steps = 0;
        } else {
            pass_over(&mut state.bad_steps, step, metrics.path(), observer)?;
        }
        state.step = step;

        // --- the log
        let seconds = began.elapsed().as_secs_f64();
        let mut point = Point::new(step)
            .with("learning_rate", config.optimizer.learning_rate * rate)
            .with("grad_norm", norm)
            .with("is_spike", f64::from(u8::from(is_spike)))
            .with("seconds", seconds)
            .with("wait_seconds", feed.wait_s() - waited)
            .with("samples_per_second", samples as f64 / seconds);
        for (name, value) in values {
            point = point.with(name, value);
        }
        let is_last = step == config.steps;
        if measures.is_due(step) || is_last {
            // What goes wrong here costs no step.
            let prefix = format!("step-{step:010}");
            let look = || {
                let drawn = preview(&generator, config, (&folder, &prefix));
                let at = (around.feeds, &wanted, version);
                let loss = held_out(&preparation, generator.transformer(), at);
                Ok::<_, TrainError>((drawn, loss))
            };
            if let Some(lora) = &trainee.lora {
                lora.set_dropout_seed(None);
            }
            let (drawn, loss) = match &ema {
                Some(ema) => ema.applied(trainee.trained(), look)?,
                None => look()?,
            };
            match drawn {
                Ok(paths) => paths.iter().for_each(|path| observer.wrote(path)),
                Err(error) => observer.note(&format!("step {step} was not drawn: {error}")),
            }
            match loss {
                Ok(Some(loss)) => point = point.with("held_out_loss", loss),
                Ok(None) => observer.note("no clip is held out: no held-out loss is measured"),
                Err(error) => observer.note(&format!("step {step} was not measured: {error}")),
            }
        }
        metrics.push(&point)?;
        observer.step(&point, config.steps);

        // --- checkpoints
        let is_over = is_last || around.stop.is_asked();
        // A run that has lost its way goes on from before that.
        if (checkpoints.is_due(step) || is_over) && state.bad_steps == 0 {
            state.data = feed.state()?;
            let tensors = (trainee.trained(), &optimizer, ema.as_ref());
            let saved = save(config, (&folder, &state), tensors)?;
            observer.wrote(&saved.path);
            kept = step;
        }
        if is_over {
            break;
        }
    }

    if state.step < config.steps {
        return Ok(Ended::Stopped(kept));
    }
    let written = || finish(config, (&parts, &trainee), device);
    let path = match &ema {
        Some(ema) => ema.applied(trainee.trained(), written)?,
        None => written()?,
    };
    observer.wrote(&path);
    Ok(Ended::Complete)
}

/// The model, or its adapters, as they are used.
fn finish(
    config: &DitTrainConfig,
    (parts, trainee): (&Parts, &Trainee),
    device: &Device,
) -> Result<std::path::PathBuf, TrainError> {
    let out: &Path = &config.out;
    if let Some(lora) = &trainee.lora {
        let path = out.join("lora.safetensors");
        lora.save(&path, Format::Kohya, DType::F32)?;
        lora.save(&out.join("peft"), Format::Peft, DType::F32)?;
        return Ok(path);
    }
    let path = out.join("model");
    let (_, vae) = parts.vae(device)?;
    let transformer = (&parts.transformer, &trainee.params);
    ModelFolder::write(&path, &parts.card, transformer, (&parts.vae, &vae))?;
    if let Some(image) = &parts.image {
        ClipVision::copy(image, &path)?;
    }
    Ok(path)
}

/// What makes previews, over the tensors that are trained.
pub(super) fn preview_generator(
    config: &DitTrainConfig,
    parts: &Parts,
    trainee: &mut Trainee,
    device: &Device,
) -> Result<Generator, TrainError> {
    let dtype = match config.dtype {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    };
    let TextSpec { tokens, layers, .. } = parts.card.text;
    let options = TextOptions { device: device.clone(), dtype, tokens, layers };
    let text = TextEncoder::open(&parts.text_files, &options)?;
    let frozen = match trainee.frozen.take() {
        Some(frozen) => frozen,
        None => Transformer3d::frozen(&mut trainee.params, &parts.transformer)?,
    };
    let (vae, _) = parts.vae(device)?;
    let place = Place { device: device.clone(), dtype };
    Ok(Generator::over(parts.card.clone(), frozen, vae, text, place)?)
}

/// Frames, where a batch has them.
const fn visible(pixels: &Pixels) -> Option<&candle_core::Tensor> {
    match pixels {
        Pixels::Frames(frames) => Some(frames),
        Pixels::Moments(_) => None,
    }
}
