//! What a run would be, before it begins: weights, tokens, operations, memory. No weights are loaded.
//!
//! Estimates, and said to be: operations count products of matrices alone, memory is a rule of thumb.

use curate_models::{dit::Config, hub::Hub};
use curate_train::{
    TrainError,
    data::{Bucket, DataConfig, Report, Rows, TableRows, Wanted, estimate},
    dit::{DitTrainConfig, Parts},
    vae::{VaeEstimate, VaeTrainConfig},
};

use tokio::runtime::Handle;

use crate::{Exit, progress::say};

/// Cards for which batches are estimated, in GB.
const CARDS: [u64; 3] = [24, 40, 80];

/// Says what a run of the VAE is.
pub(super) fn vae(config: &VaeTrainConfig) -> Result<(), TrainError> {
    let network = config.network()?;
    let data = &config.data;
    say(&format!(
        "VAE of widths {:?}, {} latent channels; {} steps of {} clips of {} frames, {} x {}",
        network.widths(),
        network.latent_channels,
        config.steps,
        data.batch as u64 * config.accumulate,
        data.frames,
        data.size,
        data.size
    ));
    let estimate = VaeEstimate::of(&network, data.frames, data.size)?;
    // Backward costs twice as much as forward; with `recompute` forward is run once more.
    let passes = if config.recompute { 4.0 } else { 3.0 };
    let clips = (data.batch as u64 * config.accumulate) as f64;
    let fits = CARDS.map(|card| format!("{} on {card} GB", estimate.clips(card)));
    say(&format!(
        "about {:.1} million weights, {:.2e} FLOP a step; clips that fit a card at once in f32 without \
         `recompute`, LPIPS and discriminators (estimate): {}",
        estimate.weights as f64 / 1e6,
        estimate.operations * passes * clips,
        fits.join(", ")
    ));
    let latents = network.latents(data.frames)?;
    let side = data.size / network.spatial_factor();
    let numbers = latents * side * side * network.latent_channels;
    let pixels = data.frames * data.size * data.size * network.channels;
    say(&format!(
        "a clip becomes {latents} x {side} x {side} latents, {:.0} times fewer numbers than pixels",
        pixels as f64 / numbers as f64
    ));
    Ok(())
}

/// Says what a run of the transformer is.
pub(super) fn dit(config: &DitTrainConfig, hub: &Hub) -> Result<Parts, TrainError> {
    let parts = Parts::find(config, hub)?;
    let (network, data) = (&parts.transformer, &config.data);
    let bucket = Bucket {
        is_image: data.frames == 1,
        height: data.size,
        width: data.size,
        frames: data.frames,
        has_latents: false,
        has_text: false,
    };
    let weights = estimate::weights(network);
    let samples = data.batch as u64 * config.accumulate;
    let flops = operations(network, &bucket, config.checkpointing) * samples as f64;
    say(&format!(
        "transformer of {} blocks, {} wide: about {:.1} million weights",
        network.layers,
        network.heads * network.head_width,
        weights as f64 / 1e6
    ));
    say(&format!(
        "{} steps of {samples} clips of {} frames, {} x {}: {} tokens each, about {:.2e} FLOP a step",
        config.steps,
        data.frames,
        data.size,
        data.size,
        bucket.tokens(),
        flops
    ));
    let fits =
        CARDS.map(|card| format!("{} on {card} GB", estimate::samples(network, &bucket, card)));
    say(&format!(
        "clips that fit a card at once, all weights trained in bf16 with checkpointing (estimate): {}",
        fits.join(", ")
    ));
    for note in parts.notes(config) {
        say(&note);
    }
    Ok(parts)
}

/// Says which rows a run would train on.
pub(super) fn rows(
    data: &DataConfig,
    wanted: &Wanted,
    runtime: &Handle,
) -> Result<Exit, TrainError> {
    let table = TableRows::open(data, None, runtime)?;
    let rows = Rows::read(&table, data, wanted)?;
    Report::of(&rows, wanted).notes().iter().for_each(|note| say(note));
    Ok(Exit::Complete)
}

/// Operations of a training step for one sample: products of matrices, forward once and backward
/// twice, and forward again with checkpointing.
fn operations(config: &Config, bucket: &Bucket, is_checkpointed: bool) -> f64 {
    let width = (config.heads * config.head_width) as f64;
    let tokens = bucket.tokens() as f64;
    let frames = if bucket.is_image { 1.0 } else { bucket.frames.div_ceil(4) as f64 };
    let places = tokens / frames;
    // Scores and sums of values: four operations for each pair and channel.
    let pair = 4.0 * width;
    let spatial = pair * frames * places * places;
    let motion = config.motion.as_ref().map_or(0.0, |motion| {
        let of = |kinds: &[curate_models::dit::MotionAttention]| -> f64 {
            kinds
                .iter()
                .map(|kind| match kind {
                    curate_models::dit::MotionAttention::Temporal => {
                        pair * places * frames * frames
                    }
                    curate_models::dit::MotionAttention::Global => pair * tokens * tokens,
                })
                .sum()
        };
        (of(&motion.even) + of(&motion.odd)) / 2.0
    });
    let forward =
        2.0 * estimate::weights(config) as f64 * tokens + config.layers as f64 * (spatial + motion);
    forward * if is_checkpointed { 4.0 } else { 3.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_grow_with_tokens_and_faster_with_global_attention() {
        let bucket = |frames, size| Bucket {
            is_image: frames == 1,
            height: size,
            width: size,
            frames,
            has_latents: false,
            has_text: false,
        };
        let xl2 = Config::xl2();
        let of = |frames, size| operations(&xl2, &bucket(frames, size), false);
        // 1.5 billion weights, 256 tokens, six operations for each, and little attention.
        let image = of(1, 256);
        let plain = 6.0 * 1.54e9 * 256.0;
        assert!((plain..1.1 * plain).contains(&image), "{image:e}");
        let (short, long) = (of(72, 512), of(144, 512));
        assert!(long > 2.2 * short && long < 4.0 * short, "{short:e} {long:e}");
        let again = operations(&xl2, &bucket(72, 512), true);
        assert!((again / short - 4.0 / 3.0).abs() < 1e-9);
    }
}
