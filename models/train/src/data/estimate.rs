//! How many samples of a bucket fit into a card's memory: a rule of thumb, said to be one.
//!
//! Counted for the whole transformer in bf16 with f32 master weights, AdamW and gradient checkpointing
//! of each block. Per weight 18 bytes: weight, gradient and both moments in f32, and a copy in bf16.
//! Per token and block two bytes a channel for what is kept, and for the one block that is run again
//! 160 bytes a channel (about 40 tensors of the width of a token, and their gradients). A twentieth of
//! the card and 2 GiB are left for the libraries, the VAE and fragmentation.
//!
//! Decided against measuring: `curate buckets` runs where there is no card.

use curate_models::dit::Config;

use super::Bucket;

/// Bytes for each weight.
const WEIGHT_BYTES: u64 = 18;

/// Bytes for each token and channel of the block that is run again.
const BLOCK_BYTES: u64 = 160;

/// Bytes that are left alone.
const SPARE_BYTES: u64 = 2 << 30;

/// Weights of a transformer, to a percent: those of its blocks, joins and embeddings.
#[must_use]
pub fn weights(config: &Config) -> u64 {
    let width = (config.heads * config.head_width) as u64;
    let (layers, square) = (config.layers as u64, width * width);
    // Self and cross attention 8 squares, feed-forward 8; two attentions of the motion module 8, its
    // feed-forward 12, its ends 2.
    let block = square * (16 + if config.motion.is_some() { 22 } else { 0 });
    let joins =
        if config.has_long_skips { (layers.div_ceil(2)).saturating_sub(1) * square } else { 0 };
    // The image embedding becomes eight tokens, by way of as many channels.
    let clip = if config.in_channels > 4 { 768 * 8 * width + 64 * square } else { 0 };
    layers * block + joins + clip + (config.caption_channels as u64 + 256) * width + 9 * square
}

/// Bytes that a batch of `samples` needs.
#[must_use]
pub fn batch_bytes(config: &Config, bucket: &Bucket, samples: u64) -> u64 {
    let width = (config.heads * config.head_width) as u64;
    let token = width * (2 * config.layers as u64 + BLOCK_BYTES);
    weights(config) * WEIGHT_BYTES + samples * bucket.tokens() as u64 * token
}

/// Samples of a bucket that fit into a card of `gigabytes`; 0 if none does.
#[must_use]
pub fn samples(config: &Config, bucket: &Bucket, gigabytes: u64) -> u64 {
    let usable = (gigabytes << 30) / 20 * 19;
    let usable = usable.saturating_sub(SPARE_BYTES);
    let fixed = batch_bytes(config, bucket, 0);
    let one = batch_bytes(config, bucket, 1) - fixed;
    usable.saturating_sub(fixed) / one.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_counted_to_a_percent() {
        let paper = weights(&Config::xl2()) as f64;
        assert!((paper / 1.538e9 - 1.0).abs() < 0.01, "{paper}");
        let plain = weights(&Config::xl2().without_additions()) as f64;
        assert!((plain / 611e6 - 1.0).abs() < 0.01, "{plain}");
    }

    #[test]
    fn larger_cards_and_smaller_buckets_take_more() {
        let bucket = |size: usize, frames| Bucket {
            is_image: frames == 1,
            height: size,
            width: size,
            frames,
            has_latents: false,
            has_text: false,
        };
        let of = |bucket: &Bucket, card| samples(&Config::xl2(), bucket, card);
        let (large, small) = (bucket(512, 144), bucket(256, 24));
        assert_eq!(of(&small, 24), 0, "weights and moments alone are more");
        let found = [40, 80].map(|card| of(&large, card));
        assert!(found[0] < found[1] && found[1] >= 4, "{found:?}");
        assert!(of(&small, 80) > 20 * of(&large, 80));
        for samples in [1, of(&large, 80)] {
            assert!(batch_bytes(&Config::xl2(), &large, samples) < 80 << 30);
        }
        assert!(samples(&Config::tiny(), &bucket(64, 16), 24) > 1000);
    }
}
