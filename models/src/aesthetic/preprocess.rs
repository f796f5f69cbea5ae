//! Pictures as the image towers of CLIP and SigLIP want them: resized, cropped, normalised, in planes.
//!
//! The published scores were made from pictures that Pillow resized, so the resize here is Pillow's to
//! the last bit: bicubic, the kernel as wide as the reduction asks (no aliasing), weights in whole
//! numbers of 2⁻²², first along rows and then along columns, with whole levels in between. Then come
//! the crop and the arithmetic of transformers' processors, in their order and precision. Against their
//! output the difference is zero (`tests/fixtures/preprocess.json`).
//!
//! Only what the crop keeps is computed: of a picture of 16:9 that is a little more than half. The
//! weights depend on the size alone, so they are made once for all frames of a video.
//!
//! Pillow since version 13 takes columns first where it finds that cheaper, which gives levels up to two
//! apart; the published heads are older, so rows come first here for every picture.
//!
//! Decided against FFmpeg's scaler: its bicubic has another kernel and rounds differently, and parity
//! with the reference could then only be approximate.

use std::ops::Range;

/// What a tower was trained to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Pixels of a side of the result, which is a square.
    pub side: usize,
    /// How a picture becomes a square.
    pub fit: Fit,
    /// Subtracted from each channel's values in [0, 1].
    pub mean: [f32; 3],
    /// What each channel is divided by then.
    pub std: [f32; 3],
}

/// How a picture of any shape becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The shorter side is brought to the square's and the middle of the longer is kept.
    Crop,
    /// Both sides are brought to the square's, whatever that does to the shape.
    Stretch,
}

impl Recipe {
    /// CLIP's, for towers of 224 pixels: `preprocessor_config.json` of `openai/clip-vit-large-patch14`.
    pub const CLIP_224: Self = Self {
        side: 224,
        fit: Fit::Crop,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };
    /// SigLIP's, for towers of 384 pixels: that of `google/siglip-so400m-patch14-384`.
    pub const SIGLIP_384: Self =
        Self { side: 384, fit: Fit::Stretch, mean: [0.5; 3], std: [0.5; 3] };

    /// Width and height after resizing, before the crop.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        match self.fit {
            Fit::Stretch => (self.side, self.side),
            Fit::Crop => {
                // Truncated after a division in floating point, as Python does it; the longer side
                // is below 2⁵³, so only the quotient is rounded.
                let longer = |long: usize, short: usize| {
                    ((self.side as f64 * long as f64) / short as f64) as usize
                };
                if width <= height {
                    (self.side, longer(height, width))
                } else {
                    (longer(width, height), self.side)
                }
            }
        }
    }
}

/// Prepares pictures of one size.
#[derive(Clone, Debug)]
pub struct Preprocess {
    side: usize,
    columns: Kernels,
    rows: Kernels,
    /// For each channel what becomes of each level.
    values: [[f32; 256]; 3],
    /// The rows that are read, each already as wide as the result.
    narrow: Vec<u8>,
    width: usize,
    height: usize,
}

impl Preprocess {
    /// For pictures of this size; `None` when one side is nothing.
    #[must_use]
    pub fn new(recipe: &Recipe, width: usize, height: usize) -> Option<Self> {
        if width == 0 || height == 0 {
            return None;
        }
        let side = recipe.side;
        let (wide, high) = recipe.resized(width, height);
        let kept = |size: usize| (size - side) / 2..(size - side) / 2 + side;
        Some(Self {
            side,
            columns: Kernels::new(width, wide, kept(wide)),
            rows: Kernels::new(height, high, kept(high)),
            values: std::array::from_fn(|channel| {
                levels(recipe.mean[channel], recipe.std[channel])
            }),
            narrow: Vec::new(),
            width,
            height,
        })
    }

    /// How many values a picture becomes: three planes of the square.
    #[must_use]
    pub const fn size(&self) -> usize {
        3 * self.side * self.side
    }

    /// Writes a picture as planes of red, green and blue.
    ///
    /// `rgb` is three bytes for each pixel, rows from the top without gaps, of the size that this was
    /// made for; `planes` has [`Self::size`] values.
    ///
    /// # Panics
    /// When one of them has another length.
    pub fn fill(&mut self, rgb: &[u8], planes: &mut [f32]) {
        assert_eq!(rgb.len(), 3 * self.width * self.height, "bytes of a picture");
        assert_eq!(planes.len(), self.size(), "values of a prepared picture");
        let side = self.side;
        let read = self.rows.read();
        self.narrow.resize(3 * side * read.len(), 0);
        let rows = rgb.chunks_exact(3 * self.width).skip(read.start);
        for (row, narrow) in rows.zip(self.narrow.chunks_exact_mut(3 * side)) {
            for (kernel, pixel) in self.columns.each().zip(narrow.as_chunks_mut::<3>().0) {
                let pixels = row[3 * kernel.start..].as_chunks::<3>().0;
                let mut sums = [HALF; 3];
                for (weight, levels) in kernel.weights.iter().zip(pixels) {
                    for (sum, level) in sums.iter_mut().zip(levels) {
                        *sum += weight * i32::from(*level);
                    }
                }
                *pixel = sums.map(level);
            }
        }
        let mut sums = vec![HALF; 3 * side];
        for (y, kernel) in self.rows.each().enumerate() {
            sums.fill(HALF);
            let rows = self.narrow.chunks_exact(3 * side).skip(kernel.start - read.start);
            for (weight, row) in kernel.weights.iter().zip(rows) {
                for (sum, level) in sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(*level);
                }
            }
            for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
                let values = &self.values[channel];
                let sums = sums.iter().skip(channel).step_by(3);
                for (value, sum) in plane[y * side..(y + 1) * side].iter_mut().zip(sums) {
                    *value = values[usize::from(level(*sum))];
                }
            }
        }
    }
}

/// What transformers makes of each level: to [0, 1] in double precision, the rest in single.
fn levels(mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|level| ((level as f64 * (1.0 / 255.0)) as f32 - mean) / std)
}

/// Binary digits of a weight after the point: of 32, eight are the level's and two keep the sum of a
/// kernel with negative lobes from running over.
const DIGITS: u32 = 32 - 8 - 2;
/// Where sums begin, so that cutting digits off rounds.
const HALF: i32 = 1 << (DIGITS - 1);

/// The level that a sum stands for.
fn level(sum: i32) -> u8 {
    (sum >> DIGITS).clamp(0, 255) as u8
}

/// What each pixel of one dimension of the result is made of.
#[derive(Clone, Debug)]
struct Kernels {
    /// First pixel read, and where the weights lie.
    places: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

/// What one pixel is made of.
struct Kernel<'a> {
    start: usize,
    weights: &'a [i32],
}

/// How far the bicubic kernel reaches, in pixels of the smaller picture.
const REACH: f64 = 2.0;

impl Kernels {
    /// From `from` pixels to `to`, for the pixels of `kept` only.
    fn new(from: usize, to: usize, kept: Range<usize>) -> Self {
        let ratio = from as f64 / to as f64;
        // Enlarged pictures are interpolated; reduced ones averaged over what falls together.
        let spread = ratio.max(1.0);
        let (inverse, reach) = (1.0 / spread, REACH * spread);
        let mut made = Self { places: Vec::with_capacity(kept.len()), weights: Vec::new() };
        let mut exact = Vec::new();
        for pixel in kept {
            let centre = (pixel as f64 + 0.5) * ratio;
            // Casts cut towards zero and stop at zero.
            let start = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            exact.clear();
            exact.extend((start..end).map(|at| bicubic((at as f64 - centre + 0.5) * inverse)));
            let sum: f64 = exact.iter().sum();
            let before = made.weights.len();
            made.weights.extend(exact.iter().map(|weight| whole(weight / sum)));
            made.places.push((start, before..made.weights.len()));
        }
        made
    }

    fn each(&self) -> impl Iterator<Item = Kernel<'_>> {
        self.places
            .iter()
            .map(|(start, range)| Kernel { start: *start, weights: &self.weights[range.clone()] })
    }

    /// The pixels that any kernel reads.
    fn read(&self) -> Range<usize> {
        let start = self.places.iter().map(|(start, _)| *start).min().unwrap_or(0);
        let end = self.places.iter().map(|(start, range)| start + range.len()).max();
        start..end.unwrap_or(start)
    }
}

/// Keys' kernel (1981) with a slope of -1/2 at 1.
fn bicubic(x: f64) -> f64 {
    const SLOPE: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((SLOPE + 2.0) * x - (SLOPE + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * SLOPE
    } else {
        0.0
    }
}

/// A weight in whole numbers of 2⁻²², halves away from zero.
fn whole(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << DIGITS);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fnv1a, picture};

    fn prepared(recipe: &Recipe, rgb: &[u8], width: usize, height: usize) -> Vec<f32> {
        let mut preprocess = Preprocess::new(recipe, width, height).unwrap();
        let mut planes = vec![f32::NAN; preprocess.size()];
        preprocess.fill(rgb, &mut planes);
        planes
    }

    /// Both towers' processors of transformers, to the last bit: reduced and enlarged, upright, odd,
    /// of the very size. `recipes/vision_graphs/pictures.py` writes the hashes.
    #[test]
    fn pictures_are_prepared_as_transformers_does_it() {
        let text = include_str!("../../tests/fixtures/preprocess.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = fixture["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let side = |name: &str| case[name].as_u64().unwrap() as usize;
            let (width, height) = (side("width"), side("height"));
            let rgb = picture(1, width, height);
            for (name, recipe) in [("clip", Recipe::CLIP_224), ("siglip", Recipe::SIGLIP_384)] {
                let planes = prepared(&recipe, &rgb, width, height);
                let bytes: Vec<u8> = planes.iter().flat_map(|value| value.to_le_bytes()).collect();
                let hash = format!("{:016x}", fnv1a(&bytes));
                assert_eq!(hash, case[name], "{name}, {width}x{height}");
            }
        }
    }

    #[test]
    fn a_picture_of_one_colour_stays_one_colour() {
        // A kernel's weights, rounded one by one, sum to a little more or less than one.
        for (width, height) in [(1, 1), (1, 500), (640, 3), (1921, 1081)] {
            let rgb = [255, 128, 0].repeat(width * height);
            for recipe in [Recipe::CLIP_224, Recipe::SIGLIP_384] {
                let planes = prepared(&recipe, &rgb, width, height);
                for (channel, plane) in planes.chunks_exact(recipe.side * recipe.side).enumerate() {
                    let value =
                        levels(recipe.mean[channel], recipe.std[channel])[[255, 128, 0][channel]];
                    assert!(plane.iter().all(|found| *found == value), "{width}x{height}");
                }
            }
        }
    }

    #[test]
    fn the_middle_is_kept_and_one_object_serves_all_frames() {
        // Columns of 1, 2, ... in a picture that is only cropped.
        let rgb: Vec<u8> = (0..224).flat_map(|_| (1..=255).flat_map(|x| [x; 3])).collect();
        let mut preprocess = Preprocess::new(&Recipe::CLIP_224, 255, 224).unwrap();
        let mut planes = vec![0.0; preprocess.size()];
        for _ in 0..2 {
            preprocess.fill(&rgb, &mut planes);
            let values = levels(Recipe::CLIP_224.mean[0], Recipe::CLIP_224.std[0]);
            // 31 are left over, 15 of them on the left.
            assert_eq!((planes[0], planes[223]), (values[16], values[239]));
        }
        assert!(Preprocess::new(&Recipe::CLIP_224, 0, 9).is_none());
    }
}
