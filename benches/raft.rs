//! Pairs per second of RAFT-small by batch size. `benches/raft_speed.py` compares it with
//! torchvision; by itself: `cargo bench --bench raft -- [WIDTH HEIGHT UPDATES THREADS]`.
//!
//! What is in the pictures does not change the time, so they are noise. Each batch size gets one
//! call to warm up, then as many as fit into some seconds.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use curate_models::{
    Runtime, Weights,
    hub::Hub,
    raft::{PairRef, Raft, RaftOptions, Resolution, Rgb, Variant},
};

const BATCHES: [usize; 4] = [1, 2, 4, 8];
const FOR: Duration = Duration::from_secs(6);

fn main() {
    let numbers: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let [width, height, updates, threads] = match numbers[..] {
        [width, height, updates, threads] => [width, height, updates, threads],
        _ => [448, 256, 12, 1],
    };
    let models = std::env::var_os("CURATE_MODELS").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cache/curate/models"),
        PathBuf::from,
    );
    let hub = Hub::open(models).expect("the manifest");
    let runtime = Runtime::open(&hub).expect("ONNX Runtime: run `curate models pull`");
    let content = hub.content("raft-small", "raft_small.safetensors").expect("own weights");
    let weights = Weights::from_hub(&content).expect("own weights");
    let options = RaftOptions { updates, threads: threads as usize };
    let mut raft = Raft::load(&runtime, Variant::Small, &weights, options).expect("a network");
    let mut state = 1_u32;
    let mut noise = || -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..width * height * 3).map(next).collect()
    };
    let (first, second) = (noise(), noise());
    let rgb = |data| Rgb::new(data, width, height).expect("a picture");
    let pair = PairRef { first: rgb(&first), second: rgb(&second) };
    for batch in BATCHES {
        let pairs = vec![pair; batch];
        let mut once = || raft.each_flow(&pairs, Resolution::Eighth, |_, _| {}).expect("a flow");
        once();
        let (started, mut calls) = (Instant::now(), 0_u32);
        while started.elapsed() < FOR {
            once();
            calls += 1;
        }
        let pairs = f64::from(calls) * batch as f64;
        println!("{batch}\t{:.3}", pairs / started.elapsed().as_secs_f64());
    }
}
