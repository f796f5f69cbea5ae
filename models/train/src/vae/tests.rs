//! The loop on clips that are made here: that it learns, that every weight does, and that a run which
//! was interrupted is the run that was not.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor, Var};
use curate_models::{
    Weights,
    hub::Hub,
    params::{Params, Role},
    vae::{SliceVae, VaeConfig},
};
use curate_ops::{Rng, gradients};
use serde_json::{Value, json};

use super::{
    AdversarialConfig, LossConfig, VaeTrainConfig, adaptive_weight,
    critics::Critics,
    losses::reconstruction,
    step::{Generator, Objective, judge, scalar},
    train,
};
use crate::{
    Feed, Feeds, Surroundings, TrainError,
    data::{Batch, DataConfig, Wanted},
    run::{Ended, Observer, Point, Stop, read_metrics},
};

const CPU: Device = Device::Cpu;

/// Clips of a bright square that moves over a shaded ground.
fn clip(seed: u64, number: u64, (batch, frames, size): (usize, usize, usize)) -> Tensor {
    let mut rng = Rng::with_stream(seed, number);
    let mut values = Vec::new();
    for _ in 0..batch {
        let colour: [f64; 3] = std::array::from_fn(|_| rng.uniform() * 2.0 - 1.0);
        let (x0, y0) = (rng.uniform() * size as f64 / 2.0, rng.uniform() * size as f64 / 2.0);
        for channel in colour {
            for frame in 0..frames {
                for y in 0..size {
                    for x in 0..size {
                        let (dx, dy) = (x as f64 - x0 - frame as f64, y as f64 - y0);
                        let inside = (0.0..8.0).contains(&dx) && (0.0..8.0).contains(&dy);
                        let ground = y as f64 / size as f64 - 0.5;
                        values.push(if inside { channel } else { ground } as f32);
                    }
                }
            }
        }
    }
    Tensor::from_vec(values, (batch, 3, frames, size, size), &CPU).unwrap()
}

/// Batches by number; that of `poisoned` is no number.
struct MadeFeeds {
    poisoned: u64,
}

struct MadeFeed {
    seed: u64,
    number: u64,
    shape: (usize, usize, usize),
    poisoned: u64,
}

impl Feeds for MadeFeeds {
    fn open(
        &self,
        config: &DataConfig,
        _wanted: &Wanted,
        seed: u64,
        resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError> {
        let number = resume.and_then(Value::as_u64).unwrap_or(0);
        let shape = (config.batch, config.frames, config.size);
        Ok(Box::new(MadeFeed { seed, number, shape, poisoned: self.poisoned }))
    }
}

impl Feed for MadeFeed {
    fn next(&mut self) -> Result<Batch, TrainError> {
        self.number += 1;
        let clips = clip(self.seed, self.number, self.shape);
        let is_good = self.number != self.poisoned;
        let frames = if is_good { clips } else { (clips * f64::NAN)? };
        Ok(Batch::of_frames(self.number, frames)?)
    }

    fn state(&self) -> Result<Value, TrainError> {
        Ok(json!(self.number))
    }

    fn wait_s(&self) -> f64 {
        0.0
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Asks to stop after a step.
struct Watch {
    stop: Stop,
    after: u64,
    notes: Vec<String>,
}

impl Observer for Watch {
    fn step(&mut self, point: &Point, _steps: u64) {
        if point.step == self.after {
            self.stop.ask();
        }
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

fn run(
    config: &VaeTrainConfig,
    after: u64,
    poisoned: u64,
) -> (Result<Ended, TrainError>, Vec<String>) {
    let stop = Stop::default();
    let empty = tempfile::tempdir().unwrap();
    let hub = Hub::open(empty.path().join("hub")).unwrap();
    let feeds = MadeFeeds { poisoned };
    let around = Surroundings { feeds: &feeds, hub: &hub, device: &CPU, stop: &stop };
    let mut watch = Watch { stop: stop.clone(), after, notes: Vec::new() };
    let ended = train(config, &around, &mut watch);
    (ended, watch.notes)
}

/// A run small enough for tests.
fn config(out: &Path, more: &str) -> VaeTrainConfig {
    let text = format!(
        "out = '{}'\nstage = 'slice'\nloss.lpips = 0.0\nheld_out = 0.0\nheld_out_batches = 1\n\
         model.preset = 'tiny'\nmodel.width = 8\nmodel.groups = 8\nadversarial.frames_width = 4\n\
         adversarial.clips_widths = [32]\ndata = {{ table = 'set', size = 32, frames = 9, batch = 1 }}\n\
         {more}",
        out.display()
    );
    VaeTrainConfig::parse(&text).unwrap()
}

fn network(width: usize) -> (SliceVae, Params) {
    let config = VaeConfig { width, groups: 8, ..VaeConfig::preset("tiny").unwrap() };
    let mut params = Params::seeded(5, &CPU);
    let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    (vae, params)
}

const WEIGHTS: LossConfig =
    LossConfig { l1: 1.0, l2: 0.5, lpips: 0.0, kl: 1e-4, outliers: 0.0, outlier_deviations: 3.0 };

fn small_critics() -> Critics {
    let config =
        AdversarialConfig { frames_width: 4, clips_widths: vec![64], ..Default::default() };
    Critics::new(&config, 9, &CPU).unwrap()
}

fn largest(tensor: &Tensor) -> f32 {
    tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn every_trained_tensor_learns_of_generator_and_discriminators() {
    let (vae, params) = network(8);
    let critics = small_critics();
    // Behind its hinge nothing is asked of real clips. In between, what moves all scores alike wins on
    // the one side what it loses on the other, and last biases have no gradient.
    for name in ["discriminator.model.11.bias", "discriminator3d.conv_out.bias"] {
        let bias = critics.params.get(name).unwrap();
        bias.set(&(bias.ones_like().unwrap() * 3.0).unwrap()).unwrap();
    }
    let real = clip(1, 1, (1, 9, 32));
    let noise = Rng::new(3).normal_tensor((1, 4, 3, 4, 4), DType::F32, &CPU).unwrap();
    let objective = Objective { loss: &WEIGHTS, lpips: None, critics: Some((&critics, 0.5)) };
    for recompute in [false, true] {
        let generator = Generator::new(&vae, &params, recompute).unwrap();
        let step = generator.step(&real, &noise, &objective).unwrap();
        for (name, var) in params.trained() {
            let found = step.gradients.get(var).unwrap_or_else(|| panic!("{name} has none"));
            // Softmax does not see what is added to all keys.
            assert!(largest(found) > 0.0 || name.ends_with("to_k.bias"), "{name}");
        }
        let (found, loss) = judge(&critics, &critics.vars(), &real, &step.made).unwrap();
        assert!(loss > 0.0);
        for (name, var) in critics.params.trained() {
            let found = found.get(var).unwrap_or_else(|| panic!("{name} has none"));
            assert!(largest(found) > 0.0, "{name}");
        }
        assert_eq!(critics.params.trained().count(), critics.vars().len());
    }
}

#[test]
fn the_decoder_alone_learns_while_the_encoder_is_kept() {
    let config = VaeConfig { width: 8, groups: 8, ..VaeConfig::preset("tiny").unwrap() };
    let mut params = Params::seeded(5, &CPU);
    params.set_role("encoder.*", Role::Frozen);
    params.set_role("quant_conv.*", Role::Frozen);
    let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    let generator = Generator::new(&vae, &params, true).unwrap();
    let objective = Objective { loss: &WEIGHTS, lpips: None, critics: None };
    let noise = Rng::new(3).normal_tensor((1, 4, 3, 4, 4), DType::F32, &CPU).unwrap();
    let step = generator.step(&clip(1, 1, (1, 9, 32)), &noise, &objective).unwrap();
    for (name, var, role) in params.iter() {
        let is_decoder = name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
        assert_eq!(role == Role::Trained, is_decoder);
        assert_eq!(step.gradients.get(var).is_some(), is_decoder, "{name}");
    }
}

#[test]
fn the_adaptive_weight_is_that_of_two_whole_backward_passes() {
    let (vae, params) = network(8);
    let critics = small_critics();
    let real = clip(1, 2, (2, 8, 32));
    let noise = Rng::new(4).normal_tensor((2, 4, 2, 4, 4), DType::F32, &CPU).unwrap();
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let last = [params.get(SliceVae::LAST_WEIGHT).unwrap().clone()];
    let parts = || {
        let posterior = vae.encode(&real).unwrap();
        let made = vae.decode(&posterior.sample(&noise).unwrap()).unwrap();
        let prior = (posterior.divergence().unwrap() * WEIGHTS.kl).unwrap();
        let nll = reconstruction(&real, &made, &WEIGHTS, None).unwrap().loss;
        (nll, critics.generator(&made).unwrap(), prior)
    };
    let (nll, adversarial, _) = parts();
    let score = scalar(&adversarial).unwrap();
    let (nll, adversarial) =
        (gradients(nll, &vars, None).unwrap(), gradients(adversarial, &vars, None).unwrap());
    let weight = adaptive_weight(0.5, nll.norm(&last).unwrap(), adversarial.norm(&last).unwrap());
    let (nll, adversarial, prior) = parts();
    let total = ((nll + (adversarial * weight).unwrap()).unwrap() + prior).unwrap();
    let value = scalar(&total).unwrap();
    let wanted = gradients(total, &vars, None).unwrap();

    let generator = Generator::new(&vae, &params, false).unwrap();
    let objective = Objective { loss: &WEIGHTS, lpips: None, critics: Some((&critics, 0.5)) };
    let step = generator.step(&real, &noise, &objective).unwrap();
    let found: BTreeMap<_, _> = step.values.iter().copied().collect();
    let near =
        |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-4, "{found} {wanted}");
    near(found["adversarial_weight"], weight);
    near(found["adversarial"], score);
    near(found["loss"], value);
    let norm = wanted.norm(&vars).unwrap();
    for (name, var) in params.trained() {
        let (found, wanted) = (step.gradients.get(var).unwrap(), wanted.get(var).unwrap());
        let apart = largest(&(found - wanted).unwrap());
        assert!(apart <= 1e-3 * largest(wanted) + 1e-7 * norm as f32, "{name}: {apart}");
    }
}

#[test]
fn discriminators_are_left_as_they_are_by_the_generators_step() {
    let (vae, params) = network(8);
    let critics = small_critics();
    let real = clip(1, 2, (1, 8, 32));
    let made = Var::from_tensor(&vae.decode(vae.encode(&real).unwrap().mode()).unwrap()).unwrap();
    let mut vars = critics.vars();
    vars.push(made.clone());
    let found = gradients(critics.generator(made.as_tensor()).unwrap(), &vars, None).unwrap();
    assert!(found.get(&made).is_some());
    assert!(critics.vars().iter().all(|var| found.get(var).is_none()));
    drop(params);
}

/// All tensors of a checkpoint's files, bit by bit.
fn bits(folder: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut all = BTreeMap::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in
        files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "safetensors"))
    {
        let weights = Weights::open(file).unwrap();
        for name in weights.names() {
            let values = weights.f32(name).unwrap().into_iter().map(f32::to_bits).collect();
            let part = file.file_name().unwrap().to_string_lossy();
            all.insert(format!("{part}: {name}"), values);
        }
    }
    all
}

#[test]
fn a_run_that_was_interrupted_is_the_run_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [
        ("without", "adversarial.weight = 0.0\naccumulate = 2"),
        // Discriminators begin between the first stop and the second.
        ("with", "adversarial.start = 3"),
    ] {
        let steps = 5;
        let more = format!("steps = {steps}\nsamples = {{ steps = 2 }}\n{more}");
        let straight = folder.path().join(format!("{name} straight"));
        let (ended, _) = run(&config(&straight, &more), 0, 0);
        assert_eq!(ended.unwrap(), Ended::Complete);
        let stopped = folder.path().join(format!("{name} stopped"));
        for after in [2, 4] {
            let (ended, _) = run(&config(&stopped, &more), after, 0);
            assert_eq!(ended.unwrap(), Ended::Stopped(after));
        }
        let (ended, notes) = run(&config(&stopped, &more), 0, 0);
        assert_eq!(ended.unwrap(), Ended::Complete);
        assert!(notes.iter().any(|note| note.contains("behind step 4")), "{notes:?}");

        let last = format!("checkpoints/step-{steps:010}");
        let (a, b) = (bits(&straight.join(&last)), bits(&stopped.join(&last)));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        let has_critics = a.keys().any(|name| name.starts_with("discriminators."));
        assert_eq!(has_critics, name == "with");
        for (name, values) in &a {
            assert_eq!(values, &b[name], "{name}");
        }
        let read =
            |run: &Path| std::fs::read_to_string(run.join(&last).join("state.json")).unwrap();
        assert_eq!(read(&straight), read(&stopped));
        let losses = |run: &Path| -> Vec<Option<f64>> {
            let points = read_metrics(&run.join("metrics.jsonl")).unwrap();
            points.iter().map(|point| point.get("loss")).collect()
        };
        assert_eq!(losses(&straight), losses(&stopped));
        assert_eq!(losses(&straight).len(), steps);
        let result = |run: &Path| std::fs::read(run.join("vae.safetensors")).unwrap();
        assert!(result(&straight) == result(&stopped));
        // What is left for others has a configuration of its own, and a scaling factor that was
        // measured.
        let weights = Weights::open(&stopped.join("vae.safetensors")).unwrap();
        let vae = SliceVae::stored_config(&weights).unwrap().unwrap();
        assert!(vae.scaling_factor != VaeConfig::preset("tiny").unwrap().scaling_factor);
        assert!(stopped.join(format!("samples/step-{steps:010}.jpg")).exists());
    }
}

#[test]
fn losses_go_down() {
    let folder = tempfile::tempdir().unwrap();
    let more = "steps = 60\nadversarial.weight = 0.0\noptimizer.learning_rate = 2e-3";
    let (ended, _) = run(&config(folder.path(), more), 0, 0);
    assert_eq!(ended.unwrap(), Ended::Complete);
    let points = read_metrics(&folder.path().join("metrics.jsonl")).unwrap();
    let mean = |points: &[Point]| {
        points.iter().filter_map(|point| point.get("l1")).sum::<f64>() / points.len() as f64
    };
    let (first, last) = (mean(&points[..5]), mean(&points[55..]));
    assert!(last < 0.6 * first, "{first} {last}");
}

#[test]
fn a_step_that_is_no_number_is_passed_over_and_many_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("one");
    let (ended, notes) = run(&config(&out, "steps = 3\nadversarial.start = 1"), 0, 2);
    assert_eq!(ended.unwrap(), Ended::Complete);
    assert!(notes.iter().any(|note| note.contains("step 2 is passed over")), "{notes:?}");
    let weights = Weights::open(&out.join("vae.safetensors")).unwrap();
    assert!(weights.names().all(|name| weights.f32(name).unwrap().iter().all(|v| v.is_finite())));

    let out = folder.path().join("all");
    let more = "steps = 50\nadversarial.weight = 0.0\noptimizer.learning_rate = 1e30";
    let (ended, _) = run(&config(&out, more), 0, 0);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("10 steps in a row") && error.contains("metrics.jsonl"), "{error}");
}

#[test]
fn other_settings_are_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, _) = run(&config(folder.path(), "steps = 1\nadversarial.weight = 0.0"), 0, 0);
    ended.unwrap();
    let more = "steps = 2\nadversarial.weight = 0.0\nloss.l1 = 0.5";
    let error = run(&config(folder.path(), more), 0, 0).0.unwrap_err().to_string();
    assert!(error.contains("`loss.l1` was 1.0, now 0.5"), "{error}");
    let more = "steps = 2\nadversarial.weight = 0.0\nrecompute = true";
    let (ended, _) = run(&config(folder.path(), more), 0, 0);
    assert_eq!(ended.unwrap(), Ended::Complete);
    assert_eq!(read_metrics(&folder.path().join("metrics.jsonl")).unwrap().len(), 2);
}
