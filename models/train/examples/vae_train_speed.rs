//! Milliseconds of a step of the VAE's trainer, without reading data:
//! `vae_train_speed WIDTH MULTIPLIERS SIZE FRAMES BATCH STEPS START`, as `16 1,2,4,4 64 8 4 20 1`; the
//! discriminators begin at step START, 0 leaves them out.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use curate_models::hub::Hub;
use curate_ops::Rng;
use curate_train::{
    Feed, Feeds, Surroundings, TrainError,
    data::{Batch, DataConfig, Wanted},
    run::{Observer, Point, Stop},
    vae::{VaeTrainConfig, train},
};
use serde_json::{Value, json};

/// Always the same noise.
struct Noise;

struct Same(Tensor);

impl Feeds for Noise {
    fn open(
        &self,
        config: &DataConfig,
        _wanted: &Wanted,
        seed: u64,
        _resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError> {
        let shape = (config.batch, 3, config.frames, config.size, config.size);
        let clips = Rng::new(seed).uniform_tensor(-1.0..1.0, shape, DType::F32, &Device::Cpu)?;
        Ok(Box::new(Same(clips)))
    }
}

impl Feed for Same {
    fn next(&mut self) -> Result<Batch, TrainError> {
        Ok(Batch::of_frames(0, self.0.clone())?)
    }

    fn state(&self) -> Result<Value, TrainError> {
        Ok(json!(null))
    }

    fn wait_s(&self) -> f64 {
        0.0
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Default)]
struct Seconds(Vec<f64>);

impl Observer for Seconds {
    fn step(&mut self, point: &Point, _steps: u64) {
        self.0.extend(point.get("seconds"));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [width, multipliers, size, frames, batch, steps, start] = &arguments[..] else {
        return Err("vae_train_speed WIDTH MULTIPLIERS SIZE FRAMES BATCH STEPS START".into());
    };
    let out = tempfile::tempdir()?;
    let weight = if start == "0" { 0.0 } else { 0.5 };
    let text = format!(
        "out = '{}'\nstage = 'slice'\nsteps = {steps}\nheld_out = 0.0\nheld_out_batches = 1\n\
         loss.lpips = 0.0\nmodel.preset = 'tiny'\nmodel.width = {width}\nmodel.groups = 8\n\
         model.multipliers = [{multipliers}]\n\
         data = {{ table = 'none', size = {size}, frames = {frames}, batch = {batch} }}\n\
         adversarial = {{ weight = {weight}, start = {start}, frames_width = 16, clips_widths = [32, 32] }}",
        out.path().display()
    );
    let config = VaeTrainConfig::parse(&text).map_err(|problems| problems.join("; "))?;
    let hub = Hub::open(out.path())?;
    let around =
        Surroundings { feeds: &Noise, hub: &hub, device: &Device::Cpu, stop: &Stop::default() };
    let mut seconds = Seconds::default();
    train(&config, &around, &mut seconds)?;
    // The first warm caches and the allocator.
    let warm = &seconds.0[seconds.0.len().min(3)..];
    let mean = warm.iter().sum::<f64>() / warm.len().max(1) as f64;
    println!("{:.0} ms a step over {} steps", 1e3 * mean, warm.len());
    Ok(())
}
