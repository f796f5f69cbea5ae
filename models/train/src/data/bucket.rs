//! Buckets: sizes that samples may have, so that those of a batch have the same.
//!
//! The aspect ratios are PixArt-alpha's (arXiv 2310.00426; 40 sizes of about 512 x 512 pixels), which
//! EasyAnimate trains with. Other base sizes are scaled from them and rounded down to 16 pixels. Where
//! rounding makes two of them equal they are one bucket, and a clip goes to the bucket whose *rounded*
//! ratio is nearest: at 64 pixels the table's own ratios are far from those of the sizes they give.
//!
//! Numbers of frames go down by slices of the VAE. The released trainer instead cuts each batch to
//! its shortest clip, so that how much of a clip is seen depends on its neighbours.

use curate_ops::Rng;
use serde::{Deserialize, Serialize};

use super::{Crop, DataConfig, config::SIDE_STEP};

/// Height and width of PixArt's buckets at base 512, widest first.
const SIZES_512: [(usize, usize); 40] = [
    (256, 1024),
    (256, 992),
    (256, 960),
    (256, 928),
    (288, 896),
    (288, 864),
    (288, 832),
    (320, 800),
    (320, 768),
    (352, 736),
    (352, 704),
    (352, 672),
    (384, 672),
    (384, 640),
    (416, 608),
    (416, 576),
    (448, 576),
    (448, 544),
    (480, 544),
    (480, 512),
    (512, 512),
    (512, 480),
    (544, 480),
    (544, 448),
    (576, 448),
    (576, 416),
    (608, 416),
    (640, 384),
    (672, 384),
    (704, 352),
    (736, 352),
    (768, 320),
    (800, 320),
    (832, 288),
    (864, 288),
    (896, 288),
    (928, 256),
    (960, 256),
    (992, 256),
    (1024, 256),
];

/// Height and width at base 512 of what a random ratio is drawn from, each with its weight.
const RANDOM_512: [(usize, usize, u64); 15] = [
    (320, 768, 1),
    (352, 704, 2),
    (384, 672, 4),
    (416, 608, 4),
    (448, 576, 4),
    (480, 544, 4),
    (480, 512, 8),
    (512, 512, 8),
    (512, 480, 8),
    (544, 480, 4),
    (576, 448, 4),
    (608, 416, 4),
    (672, 384, 4),
    (704, 352, 2),
    (768, 320, 1),
];

/// What the samples of a batch have in common. Sorted by kind, then size, then frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// Whether it holds images: rows of that kind, or all when single frames are wanted.
    pub is_image: bool,
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Frames.
    pub frames: usize,
    /// Whether its rows have latents of the run's VAE, which take the place of frames.
    pub has_latents: bool,
    /// Whether its rows have embeddings of their captions by the run's text encoder.
    pub has_text: bool,
}

impl Bucket {
    /// Tokens of a sample in the transformer: a latent is 8 x 8 pixels of 4 frames (an odd first
    /// frame by itself), a token 2 x 2 latents.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        let latents = self.frames.div_ceil(4);
        latents * (self.height / SIDE_STEP) * (self.width / SIDE_STEP)
    }

    /// Numbers of a sample as frames.
    #[must_use]
    pub const fn values(&self) -> usize {
        3 * self.frames * self.height * self.width
    }
}

/// Scales a size of the table to a base side.
const fn scaled((height, width): (usize, usize), base: usize) -> (usize, usize) {
    (side(height, base), side(width, base))
}

const fn side(pixels: usize, base: usize) -> usize {
    let side = pixels * base / 512 / SIDE_STEP * SIDE_STEP;
    if side == 0 { SIDE_STEP } else { side }
}

/// Height and width of the bucket for pictures of a size.
#[must_use]
pub fn nearest_size(config: &DataConfig, width: u32, height: u32) -> (usize, usize) {
    if config.crop == Crop::Random {
        return (config.size, config.size);
    }
    let ratio = f64::from(height) / f64::from(width.max(1));
    let away = |size: &(usize, usize)| (size.0 as f64 / size.1 as f64 - ratio).abs();
    let sizes = SIZES_512.iter().map(|size| scaled(*size, config.size));
    // The first of equals.
    sizes.min_by(|a, b| away(a).total_cmp(&away(b))).unwrap_or((config.size, config.size))
}

/// Height and width for a batch whose ratio is drawn.
#[must_use]
pub(super) fn random_size(base: usize, rng: &mut Rng) -> (usize, usize) {
    let total = RANDOM_512.iter().map(|(_, _, weight)| weight).sum();
    let mut drawn = rng.below(total);
    for (height, width, weight) in RANDOM_512 {
        if drawn < weight {
            return scaled((height, width), base);
        }
        drawn -= weight;
    }
    (base, base)
}

/// Frames for a batch of up to `frames`, of which a random crop is made: all in nine of ten batches,
/// else one of the shorter lengths, each as likely.
#[must_use]
pub(super) fn random_frames(config: &DataConfig, frames: usize, rng: &mut Rng) -> usize {
    let shorter: Vec<usize> =
        config.lengths().into_iter().filter(|length| *length < frames).collect();
    if shorter.is_empty() || rng.uniform() < 0.9 {
        return frames;
    }
    shorter[rng.below(shorter.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(size: usize) -> DataConfig {
        DataConfig { size, ..DataConfig::default() }
    }

    #[test]
    fn the_table_is_the_published_one() {
        // Keys of the published table are h/w with two decimals.
        let ratio = |index: usize| {
            let (height, width) = SIZES_512[index];
            (height as f64 / width as f64 * 100.0).round() / 100.0
        };
        let keys = [(0, 0.25), (4, 0.32), (10, 0.5), (20, 1.0), (27, 1.67), (29, 2.0), (39, 4.0)];
        for (index, key) in keys {
            assert_eq!(ratio(index), key);
        }
        for (height, width) in SIZES_512 {
            let pixels = height * width;
            assert!((230_000..=270_000).contains(&pixels), "{height}x{width}");
            assert!(SIZES_512.contains(&(height, width)));
        }
        assert!(SIZES_512.windows(2).all(|w| w[0].0 * w[1].1 < w[1].0 * w[0].1), "sorted by ratio");
        assert_eq!(RANDOM_512.iter().map(|(_, _, weight)| weight).sum::<u64>(), 62);
        assert!(RANDOM_512.iter().all(|(h, w, _)| SIZES_512.contains(&(*h, *w))));
    }

    #[test]
    fn pictures_go_where_least_is_cut_off() {
        assert_eq!(nearest_size(&config(512), 1920, 1080), (384, 672));
        assert_eq!(nearest_size(&config(512), 1080, 1920), (672, 384));
        assert_eq!(nearest_size(&config(512), 100, 100), (512, 512));
        assert_eq!(nearest_size(&config(512), 5000, 100), (256, 1024));
        assert_eq!(nearest_size(&config(768), 1920, 1080), (576, 1008));
        // The published 0.94 is 48 x 64 at this base, whose ratio is 0.75.
        assert_eq!(nearest_size(&config(64), 256, 240), (64, 64));
        assert_eq!(nearest_size(&config(64), 320, 240), (48, 64));
        assert_eq!(nearest_size(&config(16), 5000, 100), (16, 32));
        let square = DataConfig { crop: Crop::Random, ..config(128) };
        assert_eq!(nearest_size(&square, 5000, 100), (128, 128));
    }

    #[test]
    fn random_shapes_follow_their_weights() {
        let mut rng = Rng::new(1);
        let draws: Vec<(usize, usize)> = (0..6200).map(|_| random_size(512, &mut rng)).collect();
        let count = |size| draws.iter().filter(|drawn| **drawn == size).count();
        assert!((700..900).contains(&count((512, 512))), "{}", count((512, 512)));
        assert!((60..140).contains(&count((320, 768))), "{}", count((320, 768)));
        let config = DataConfig { frames: 24, ..config(512) };
        let lengths: Vec<usize> = (0..2000).map(|_| random_frames(&config, 24, &mut rng)).collect();
        let count = |frames| lengths.iter().filter(|length| **length == frames).count();
        assert!((1740..1860).contains(&count(24)), "{}", count(24));
        assert!((60..140).contains(&count(8)) && (60..140).contains(&count(16)));
        assert_eq!(random_frames(&config, 8, &mut rng), 8);
    }

    #[test]
    fn tokens_are_those_of_the_paper() {
        let bucket = Bucket {
            is_image: false,
            height: 384,
            width: 672,
            frames: 144,
            has_latents: false,
            has_text: false,
        };
        assert_eq!(bucket.tokens(), 36_288);
        assert_eq!(Bucket { frames: 1, ..bucket }.tokens(), 1008);
        assert_eq!(Bucket { frames: 25, ..bucket }.tokens(), 7 * 1008);
    }
}
