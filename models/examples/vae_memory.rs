//! Peak memory of encoding or decoding a video of any length, in a process of its own:
//! `vae_memory PRESET SIDE FRAMES encode|decode|load`. `load` only makes the network.
//!
//! Prints one line: what was run, seconds, and the peak resident memory in MiB.
#![expect(clippy::print_stdout, reason = "an example")]

use std::{error::Error, fs, time::Instant};

use candle_core::{DType, Device, Tensor};
use curate_models::{
    params::Params,
    vae::{SliceVae, VaeConfig, VaeError},
};
use curate_ops::Rng;

/// The largest resident memory of this process so far, in MiB.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, side, frames, way] = &arguments[..] else {
        return Err("vae_memory PRESET SIDE FRAMES encode|decode|load".into());
    };
    let config = VaeConfig::preset(preset).ok_or("no such preset")?;
    let (side, frames): (usize, usize) = (side.parse()?, frames.parse()?);
    let latents = config.latents(frames)?;
    let small = side / config.spatial_factor();
    let mut params = Params::seeded(1, &Device::Cpu);
    let vae = params.build_frozen(|scope| SliceVae::new(&config, scope))?;
    let start = Instant::now();
    let mut rng = Rng::new(2);
    let mut noise = |shape: [usize; 5]| -> Result<Tensor, VaeError> {
        Ok(rng.normal_tensor(&shape, DType::F32, &Device::Cpu)?)
    };
    let mut count = 0;
    match way.as_str() {
        "encode" => {
            let pieces = (0..frames).map(|_| noise([1, config.channels, 1, side, side]));
            for moments in vae.encode_stream(frames, pieces)? {
                count += moments?.dim(2)?;
            }
            assert_eq!(count, latents);
        }
        "decode" => {
            let pieces = (0..latents).map(|_| noise([1, config.latent_channels, 1, small, small]));
            for piece in vae.decode_stream(latents, pieces)? {
                count += piece?.dim(2)?;
            }
            assert_eq!(count, frames);
        }
        "load" => {}
        _ => return Err("encode, decode or load?".into()),
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{preset} {side} {frames} {way}: {seconds:.1} s, peak {:.1} MiB", peak_mib()?);
    Ok(())
}
