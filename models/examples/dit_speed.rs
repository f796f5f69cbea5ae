//! The transformer's forward and training step, one at a time, on command: `benches/dit_speed.py`
//! interleaves them with PyTorch's and checks that both compute the same.
//!
//! `dit PRESET FRAMES HEIGHT WIDTH BATCH FILE` writes weights, inputs and output to FILE, then
//! answers each line of standard input (`forward`, `step`, `checkpointed`) with seconds.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::{io::BufRead as _, path::Path, time::Instant};

use candle_core::{DType, Device, Tensor, Var};
use curate_models::{
    diffusion::{Objective, Schedule},
    dit::{Clip, Config, Inputs, Transformer3d},
    params::{Params, save_tensors},
};
use curate_ops::{Adam, AdamStep, GradSink, Moments, Rng, gradients};

type Failure = Box<dyn std::error::Error>;

/// A batch as the trainer has it.
struct Batch {
    tensors: Vec<(&'static str, Tensor)>,
}

impl Batch {
    fn new(config: &Config, [frames, height, width, batch]: [usize; 4]) -> Result<Self, Failure> {
        let mut rng = Rng::new(1);
        let mut normal = |shape: &[usize]| rng.normal_tensor(shape, DType::F32, &Device::Cpu);
        let ones = |tokens: usize| Tensor::ones((batch, tokens), DType::F32, &Device::Cpu);
        let times: Vec<f32> = (0..batch).map(|index| ((index * 700 + 300) % 1000) as f32).collect();
        let tensors = vec![
            ("x0", normal(&[batch, 4, frames, height, width])?),
            ("noise", normal(&[batch, 4, frames, height, width])?),
            ("inpaint", normal(&[batch, 8, frames, height, width])?),
            ("times", Tensor::from_vec(times, batch, &Device::Cpu)?),
            ("text", normal(&[batch, 120, config.caption_channels])?),
            ("text_mask", ones(120)?),
            ("clip", normal(&[batch, 768])?),
            ("clip_mask", ones(8)?),
        ];
        Ok(Self { tensors })
    }

    fn get(&self, name: &str) -> &Tensor {
        let found = self.tensors.iter().find(|(known, _)| *known == name);
        &found.unwrap_or(&self.tensors[0]).1
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            latents: self.get("x0"),
            inpaint: Some(self.get("inpaint")),
            times: self.get("times"),
            text: self.get("text"),
            text_mask: Some(self.get("text_mask")),
            clip: Some(Clip { embedding: self.get("clip"), mask: self.get("clip_mask") }),
            size: None,
        }
    }
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [preset, frames, height, width, batch, file] = words.as_slice() else {
        return Err("give PRESET FRAMES HEIGHT WIDTH BATCH FILE".into());
    };
    let config = Config::preset(preset)?;
    let sizes = [frames.parse()?, height.parse()?, width.parse()?, batch.parse()?];
    let mut params = Params::seeded(0, &Device::Cpu);
    let network = Transformer3d::new(&mut params, &config)?;
    // What starts as zero would hide what it ends.
    let mut rng = Rng::new(2);
    for (_, var, _) in params.iter() {
        let noise = rng.normal_tensor(var.shape().clone(), DType::F32, &Device::Cpu)?;
        var.set(&(var.as_tensor() + (noise * 0.02)?)?)?;
    }
    let batch = Batch::new(&config, sizes)?;
    let output = network.forward(&batch.inputs())?.detach();
    let named = batch.tensors.iter().map(|(name, tensor)| (format!("in.{name}"), tensor));
    let named: Vec<(String, &Tensor)> = named.chain([("out".to_owned(), &output)]).collect();
    let weights = params.iter().map(|(name, var, _)| (name, var.as_tensor()));
    let tensors = named.iter().map(|(name, tensor)| (name.as_str(), *tensor)).chain(weights);
    save_tensors(Path::new(file), tensors, &[("config", &config.to_json())])?;
    println!("ready");

    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let moments = vars.iter().map(Moments::zeros).collect::<Result<Vec<Moments>, _>>()?;
    let mut number = 0;
    // What is only run and not trained keeps no graph.
    let mut frozen = params;
    frozen.set_role("*", curate_models::params::Role::Frozen);
    let plain = Transformer3d::new(&mut frozen, &config)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let started = Instant::now();
        let loss = if line == "forward" {
            plain.forward(&batch.inputs())?;
            0.0
        } else {
            number += 1;
            step(&network, &batch, (&vars, &moments), number, line == "checkpointed")?
        };
        println!("{} {loss}", started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// One step of the published trainer; gives its loss.
fn step(
    network: &Transformer3d,
    batch: &Batch,
    (vars, moments): (&[Var], &[Moments]),
    number: u64,
    is_checkpointed: bool,
) -> Result<f32, Failure> {
    let (schedule, objective) = (Schedule::default(), Objective::default());
    let times: Vec<f32> = batch.get("times").to_vec1()?;
    let fractions: Vec<f64> = times.iter().map(|time| (f64::from(*time) + 0.5) / 1000.0).collect();
    let sample = objective.noised(&schedule, (batch.get("x0"), batch.get("noise")), &fractions)?;
    let inputs = Inputs { latents: &sample.x_t, ..batch.inputs() };
    let sink = GradSink::new();
    let output = if is_checkpointed {
        network.forward_checkpointed(&inputs, &sink)?
    } else {
        network.forward(&inputs)?
    };
    let loss = objective.loss(&schedule, &sample, &output)?.loss.mean_all()?;
    let value = loss.to_scalar::<f32>()?;
    let found = gradients(loss, vars, Some(&sink))?;
    let scale = (1.0 / (found.norm(vars)? + 1e-6)).min(1.0);
    let adam = Adam { eps: 1e-10, weight_decay: 3e-2, ..Adam::default() };
    let of_step = AdamStep { number, learning_rate: 1e-4, gradient_scale: scale };
    for (var, moments) in vars.iter().zip(moments) {
        if let Some(gradient) = found.get(var) {
            adam.step(var, gradient, moments, &of_step)?;
        }
    }
    Ok(value)
}
