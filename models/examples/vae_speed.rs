//! Seconds that encoding, decoding and the gradients of a training loss take, for
//! `benches/vae_torch.py`: `vae_speed FOLDER FRAMES SIDE`, with weights and configuration as the
//! fixtures have them. Prints one line of JSON: of each the seconds on the wall, and the processor's,
//! which a busy machine disturbs less.
#![expect(clippy::print_stdout, reason = "an example")]

use std::{error::Error, fs, path::Path, time::Instant};

use candle_core::{DType, Device, Var};
use curate_models::vae::{SliceVae, VaeError, parity};
use curate_ops::{Rng, gradients};

/// What this process has used of the processor so far, all its threads together, in seconds.
fn processor() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field may hold anything, in parentheses; user and system time are the 14th and 15th,
    // in hundredths of a second.
    let (_, rest) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    let ticks: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Of the second run: the first warms caches and the allocator.
fn seconds(mut run: impl FnMut() -> Result<(), VaeError>) -> Result<[f64; 2], Box<dyn Error>> {
    run()?;
    let (start, used) = (Instant::now(), processor()?);
    run()?;
    Ok([start.elapsed().as_secs_f64(), processor()? - used])
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, frames, side] = &arguments[..] else {
        return Err("vae_speed FOLDER FRAMES SIDE".into());
    };
    let (frames, side): (usize, usize) = (frames.parse()?, side.parse()?);
    let (config, mut params) = parity::reference(Path::new(folder))?;
    let still = params.build_frozen(|scope| SliceVae::new(&config, scope))?;
    let trained = params.build(|scope| SliceVae::new(&config, scope))?;
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let mut rng = Rng::new(1);
    let x =
        rng.normal_tensor((1, config.channels, frames, side, side), DType::F32, &Device::Cpu)?;
    let small = side / config.spatial_factor();
    let shape = (1, config.latent_channels, config.latents(frames)?, small, small);
    let z = rng.normal_tensor(shape, DType::F32, &Device::Cpu)?;
    let encode = seconds(|| still.encode(&x).map(drop))?;
    let decode = seconds(|| still.decode(&z).map(drop))?;
    let step = seconds(|| {
        let loss = parity::loss(&trained, &x, &z, 1e-6)?;
        Ok(gradients(loss, &vars, None).map(drop)?)
    })?;
    println!("{{\"encode\": {encode:?}, \"decode\": {decode:?}, \"step\": {step:?}}}");
    Ok(())
}
