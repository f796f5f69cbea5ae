//! The loop. It reads from top to bottom; nothing is hidden in callbacks.

use std::time::Instant;

use candle_core::{DType, Tensor};
use curate_models::{
    params::{Params, save_tensors},
    vae::{SliceVae, VaeConfig, lpips::Lpips},
};
use curate_ops::{Gradients, Rng, on_deep_stack};
use serde_json::{Value, json};

use super::{
    checkpoint::{Judges, State, restore, save, whole},
    config::{FREE, VaeTrainConfig},
    critics::Critics,
    frames::frames,
    measure::Sampling,
    start,
    step::{Generator, Objective, judge},
};
use crate::{
    TrainError,
    data::Wanted,
    encode::hash_vae,
    feed::Surroundings,
    optim::{Ema, Optimizer},
    run::{Cadence, Ended, Observer, Point, RunFolder, Values, add_mean, not_fewer, pass_over},
};

/// What the discriminators' weights are drawn with, so that they share no number with the network's.
const CRITICS_SEED: u64 = 0x5eed;
/// The file of a run that `curate encode` and `curate generate` read.
const RESULT: &str = "vae.safetensors";

/// Trains until the last step, or until asked to stop; goes on where the run's folder was left.
///
/// In the end `vae.safetensors` in the run's folder has the averaged weights (those of the last step,
/// without `ema`) with the network's configuration and the scaling factor that was measured.
///
/// # Errors
/// When the configuration does not fit, data cannot be read, or losses stay no numbers.
pub fn train(
    config: &VaeTrainConfig,
    surroundings: &Surroundings<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Ended, TrainError> {
    // Graphs are deeper than an ordinary stack.
    on_deep_stack(|| run(config, surroundings, observer))?
}

fn run(
    config: &VaeTrainConfig,
    around: &Surroundings<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Ended, TrainError> {
    let device = around.device;
    // --- the network, its optimisers, and what they are after
    let mut vae_config = config.network()?;
    let from = config.model.checkpoint.as_ref().or(config.model.inflate_from.as_ref());
    let from = from.map(|path| hash_vae(path)).transpose()?;
    let lpips = perceptual(config, around, observer)?;
    // With LPIPS another network comes out than without.
    let made_of = json!({ "from": from, "lpips": lpips.as_ref().map(|_| true) });
    let folder = RunFolder::open(&config.out, config, (&made_of, &FREE))?;
    let (vae, mut params, notes) = start::network(config, &vae_config, device)?;
    notes.iter().for_each(|note| observer.note(note));
    // What is only looked at keeps no graph.
    let looked_at = params.build_frozen(|scope| SliceVae::new(&vae_config, scope))?;
    let generator = Generator::new(&vae, &params, config.recompute)?;
    let mut optimizer = Optimizer::new(&config.optimizer, &params)?;
    let mut ema = Ema::new(config.ema, &params)?;
    let mut judges = None;
    if config.adversarial.weight > 0.0 {
        let critics = Critics::new(&config.adversarial, config.seed ^ CRITICS_SEED, device)?;
        let optimizer = Optimizer::new(&config.optimizer, &critics.params)?;
        judges = Some(Judges { critics, optimizer });
    }
    let sets: Vec<&Params> =
        [&params].into_iter().chain(judges.as_ref().map(|judges| &judges.critics.params)).collect();
    config.optimizer.check_groups(&sets)?;

    // --- where the run is
    let mut state = State {
        step: 0,
        critic_steps: 0,
        bad_steps: 0,
        data: Value::Null,
        scaling_factor: vae_config.scaling_factor,
    };
    if let Some(saved) = folder.resumed() {
        state = saved.state()?;
        restore(saved, (&params, &mut optimizer, ema.as_mut()), judges.as_mut())?;
        not_fewer(state.step, config.steps)?;
        observer.note(&format!("goes on behind step {} of {}", state.step, config.steps));
    }
    vae_config.scaling_factor = state.scaling_factor;
    let resume = (state.data != Value::Null).then_some(&state.data);
    let mut feed =
        around.feeds.open(&config.training_data(), &Wanted::default(), config.seed, resume)?;
    let sampling = Sampling {
        config,
        around,
        folder: &folder,
        vae: &looked_at,
        params: &params,
        lpips: lpips.as_ref(),
        version: feed.version(),
    };
    feed.notes().iter().for_each(|note| observer.note(note));
    let mut metrics = folder.metrics()?;
    let mut checkpoints = Cadence::new(config.checkpoint);
    let mut samples = Cadence::new(config.samples);
    let mut is_sampled = false;
    let mut kept = state.step;

    while state.step < config.steps {
        let step = state.step + 1;
        let (began, waited) = (Instant::now(), feed.wait_s());

        // --- gradients, averaged over batches
        let is_judged = step >= config.adversarial.start;
        let active = judges.as_ref().filter(|_| is_judged);
        let objective = Objective {
            loss: &config.loss,
            lpips: lpips.as_ref(),
            critics: active.map(|judges| (&judges.critics, config.adversarial.weight)),
        };
        let mut found = Gradients::new();
        let mut judged = Gradients::new();
        let mut values = Values::new();
        let mut count = 0;
        for batch in 0..config.accumulate {
            let real = frames(&feed.next()?, device)?;
            count += real.dim(0)? * real.dim(2)?;
            let mut rng = Rng::with_stream(config.seed, step * config.accumulate + batch);
            let noise = rng.normal_tensor(&latents_of(&vae_config, &real)?, DType::F32, device)?;
            let made = generator.step(&real, &noise, &objective)?;
            found.add_all(generator.vars(), &made.gradients)?;
            add_mean(&mut values, &made.values, config.accumulate);
            if let Some(Judges { critics, optimizer }) = active {
                let (gradients, loss) = judge(critics, optimizer.vars(), &real, &made.made)?;
                judged.add_all(optimizer.vars(), &gradients)?;
                add_mean(&mut values, &[("discriminator", loss)], config.accumulate);
            }
        }

        // --- one step of each optimiser, unless something is no number
        let share = 1.0 / config.accumulate as f64;
        let norm = found.norm(generator.vars())? * share;
        let critic_norm = match active {
            Some(judges) => judged.norm(judges.optimizer.vars())? * share,
            None => 0.0,
        };
        let rate = config.schedule.share(step, config.steps);
        let is_finite = values.iter().all(|(_, value)| value.is_finite());
        if is_finite && norm.is_finite() && critic_norm.is_finite() {
            let clip = config.clip.at(step, norm);
            optimizer.step(&found, step, (rate, share * clip.scale))?;
            if let Some(judges) = judges.as_mut().filter(|_| is_judged) {
                state.critic_steps += 1;
                let clip = config.clip.at(state.critic_steps, critic_norm);
                judges.optimizer.step(&judged, state.critic_steps, (rate, share * clip.scale))?;
            }
            if let Some(ema) = &mut ema {
                ema.update(&params, step)?;
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
            .with("seconds", seconds)
            .with("wait_seconds", feed.wait_s() - waited)
            .with("frames_per_second", count as f64 / seconds);
        if is_judged && judges.is_some() {
            point = point.with("discriminator_grad_norm", critic_norm);
        }
        for (name, value) in values {
            point = point.with(name, value);
        }
        let is_last = step == config.steps;
        if samples.is_due(step) || is_last {
            match sampling.draw(ema.as_ref(), step, observer) {
                Ok((values, factor)) => {
                    is_sampled = is_last;
                    state.scaling_factor = factor;
                    vae_config.scaling_factor = factor;
                    for (name, value) in values {
                        point = point.with(name, value);
                    }
                }
                // What goes wrong here costs no step; at the end it is tried once more.
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
            let saved = save(
                config,
                (&folder, &state, &vae_config),
                (&params, &optimizer, ema.as_ref()),
                judges.as_ref(),
            )?;
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
    if !is_sampled {
        // The run was complete already; its result may have been deleted.
        let (_, factor) = sampling.draw(ema.as_ref(), state.step, observer)?;
        vae_config.scaling_factor = factor;
    }
    let path = folder.path().join(RESULT);
    let whole = whole(&params, ema.as_ref());
    let json = vae_config.to_json();
    let tensors = whole.iter().map(|(name, tensor)| (name.as_str(), *tensor));
    // One note, as the order of several in a file's header is another each time.
    save_tensors(&path, tensors, &[(SliceVae::CONFIG_NOTE, &json)])?;
    let weights = if ema.is_some() { "averaged weights" } else { "the weights of the last step" };
    observer.note(&format!(
        "{RESULT} has {weights}, and {:.4} as the scaling factor of its latents",
        vae_config.scaling_factor
    ));
    observer.wrote(&path);
    Ok(Ended::Complete)
}

/// LPIPS, if it counts and its weights were pulled.
fn perceptual(
    config: &VaeTrainConfig,
    around: &Surroundings<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Option<Lpips>, TrainError> {
    if config.loss.lpips == 0.0 {
        return Ok(None);
    }
    match Lpips::from_hub(around.hub, around.device)? {
        Ok(lpips) => Ok(Some(lpips)),
        Err(missing) => {
            observer.note(&format!(
                "LPIPS is off, and reconstructions will be less sharp: {missing}. `loss.lpips = 0` \
                 says that this is meant"
            ));
            Ok(None)
        }
    }
}

/// The shape of the latents of clips.
fn latents_of(vae: &VaeConfig, clips: &Tensor) -> Result<[usize; 5], TrainError> {
    let (batch, _, frames, height, width) = clips.dims5()?;
    let factor = vae.spatial_factor();
    Ok([batch, vae.latent_channels, vae.latents(frames)?, height / factor, width / factor])
}
