//! Peak memory of a training step of the transformer, in a process of its own:
//! `lora_memory PRESET FRAMES SIDE whole|lora|load RANK`. `SIDE` is that of square latents. `whole` takes the
//! gradients of all weights, `lora` those of adapters of so large a rank at every linear layer, over frozen
//! weights; `load` only makes the network.
//!
//! Prints one line: what was run, seconds, trained numbers, and the peak resident memory in MiB.
#![expect(clippy::print_stdout, reason = "an example")]

use std::{error::Error, fs, time::Instant};

use candle_core::{DType, Device, Tensor, Var};
use curate_models::{
    dit::{Config, Inputs, Transformer3d},
    lora::{Lora, LoraConfig},
    params::{Params, Role},
};
use curate_ops::{Rng, gradients};

/// The largest resident memory of this process so far, in MiB.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, frames, side, way, rank] = &arguments[..] else {
        return Err("lora_memory PRESET FRAMES SIDE whole|lora|load RANK".into());
    };
    let config = Config::preset(preset)?;
    let (frames, side): (usize, usize) = (frames.parse()?, side.parse()?);
    let mut params = Params::seeded(0, &Device::Cpu);
    let mut network = Transformer3d::new(&mut params, &config)?;
    let mut vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    if way == "lora" {
        let rank: usize = rank.parse()?;
        let lora = LoraConfig { rank, alpha: rank as f64, ..LoraConfig::default() };
        let lora = Lora::fresh(&lora, &params, 1)?;
        params.set_role("*", Role::Frozen);
        params.adapt(&lora, 1.0)?;
        network = Transformer3d::new(&mut params, &config)?;
        vars = lora.params().trained().map(|(_, var)| var.clone()).collect();
    }
    let start = Instant::now();
    if way != "load" {
        let mut rng = Rng::new(2);
        let mut noise = |shape: &[usize]| rng.normal_tensor(shape, DType::F32, &Device::Cpu);
        let latents = noise(&[1, 4, frames, side, side])?;
        let inpaint = noise(&[1, 8, frames, side, side])?;
        let text = noise(&[1, 120, config.caption_channels])?;
        let times = Tensor::new(&[500.0_f32], &Device::Cpu)?;
        let inputs = Inputs {
            latents: &latents,
            inpaint: Some(&inpaint),
            times: &times,
            text: &text,
            text_mask: None,
            clip: None,
            size: None,
        };
        let loss = network.forward(&inputs)?.sqr()?.mean_all()?;
        let found = gradients(loss, &vars, None)?;
        // Without an image to guide it, what is for that gets none.
        assert!(vars.iter().filter(|var| found.get(var).is_none()).count() <= 4);
    }
    let seconds = start.elapsed().as_secs_f64();
    let trained: usize = vars.iter().map(|var| var.elem_count()).sum();
    let peak = peak_mib()?;
    println!(
        "{preset} {frames}x{side}x{side} {way} {rank}: {seconds:.1} s, {trained} trained, peak {peak:.0} MiB"
    );
    Ok(())
}
