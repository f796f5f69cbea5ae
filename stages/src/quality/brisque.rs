//! BRISQUE: Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain"
//! (IEEE TIP 2012), with OpenCV's model and OpenCV's numbers.
//!
//! The regression sums 774 values of up to 1024 that nearly cancel, each made by an exponential in
//! single precision: what OpenCV rounds there shows as one or two thousandths in the score. So
//! every step is rounded as OpenCV rounds it where it runs without Intel's IPP, down to the last
//! columns that fill no vector. With IPP, which its Python wheels use unless told otherwise, OpenCV
//! differs from itself by as much in ordinary frames, and by up to three points where much of a
//! picture is flat.
//!
//! The model is `brisque_live.bin`, made of OpenCV's two files by `brisque_model.py`.

use super::{
    Grey, ModelError,
    aggd::{self, LAST_SHAPE},
    gauss::blur_replicating,
    resize::halve_cubic,
};

/// Numbers that describe a picture: 18 at each of two scales.
const FEATURES: usize = 36;

/// The least width and height that is scored, in pixels.
const LEAST_SIDE: usize = 16;

/// A regression from features to quality, trained on the LIVE database.
#[derive(Clone, Debug)]
pub struct Brisque {
    gamma: f64,
    rho: f64,
    least: [f32; FEATURES],
    greatest: [f32; FEATURES],
    weights: Vec<f64>,
    vectors: Vec<[f32; FEATURES]>,
}

impl Brisque {
    /// OpenCV's published model.
    ///
    /// # Errors
    /// [`ModelError`] if the program was built from a damaged file.
    pub fn published() -> Result<Self, ModelError> {
        Self::parse(include_bytes!("../../weights/brisque_live.bin"))
    }

    /// Reads a model packed by `brisque_model.py`, where the format is described.
    ///
    /// # Errors
    /// [`ModelError::Length`] or [`ModelError::Matrix`] if it is none.
    pub fn parse(packed: &[u8]) -> Result<Self, ModelError> {
        const HEAD: usize = 8 + 16 + 8 * FEATURES;
        let length = |wanted| ModelError::Length { wanted, found: packed.len() };
        let (head, body) = packed.split_at_checked(HEAD).ok_or(length(HEAD))?;
        let [count, features] = [0, 4].map(|at| u32_at(head, at) as usize);
        if features != FEATURES {
            return Err(ModelError::Matrix("support vectors"));
        }
        let size = count.saturating_mul(8 + 4 * FEATURES);
        if body.len() != size {
            return Err(length(HEAD.saturating_add(size)));
        }
        let (weights, vectors) = body.split_at(8 * count);
        let floats = |bytes: &[u8], at: usize| f32::from_bits(u32_at(bytes, at));
        Ok(Self {
            gamma: f64_at(head, 8),
            rho: f64_at(head, 16),
            least: std::array::from_fn(|i| floats(head, 24 + 4 * i)),
            greatest: std::array::from_fn(|i| floats(head, 24 + 4 * (FEATURES + i))),
            weights: (0..count).map(|i| f64_at(weights, 8 * i)).collect(),
            vectors: vectors
                .chunks_exact(4 * FEATURES)
                .map(|vector| std::array::from_fn(|i| floats(vector, 4 * i)))
                .collect(),
        })
    }

    /// The score, 0 (best) to 100 (worst), as `cv2.quality.QualityBRISQUE_compute` gives it; `None`
    /// for pictures under 16 pixels in one direction. Flat ones, and others with nothing to fit,
    /// have 100.
    #[must_use]
    pub fn score(&self, picture: &Grey) -> Option<f64> {
        let features = features(picture)?;
        let defined = features.iter().all(|feature| feature.is_finite());
        Some(if defined { f64::from(self.regress(&features).clamp(0.0, 100.0)) } else { 100.0 })
    }

    /// The support vector regression: the paper's section III.C.
    fn regress(&self, features: &[f32; FEATURES]) -> f32 {
        let exp = Exponential::new();
        let scaled: [f32; FEATURES] = std::array::from_fn(|i| {
            2.0 * (features[i] - self.least[i]) / (self.greatest[i] - self.least[i]) - 1.0
        });
        let mut sum = -self.rho;
        for (vector, weight) in self.vectors.iter().zip(&self.weights) {
            let mut distance = 0.0;
            for (of_vector, of_picture) in
                vector.as_chunks::<2>().0.iter().zip(scaled.as_chunks::<2>().0)
            {
                let [a, b] = [0, 1].map(|i| f64::from(of_vector[i] - of_picture[i]));
                distance += a * a + b * b;
            }
            sum += weight * f64::from(exp.of((distance * -self.gamma) as f32));
        }
        sum as f32
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn f64_at(bytes: &[u8], at: usize) -> f64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    f64::from_le_bytes(word)
}

/// The exponential function with the roundings of OpenCV's: a table of 64 powers of 2, and a cubic
/// for what is left of the exponent.
struct Exponential {
    table: [f32; 64],
    cubic: [f32; 4],
}

impl Exponential {
    fn new() -> Self {
        // The cubic is scaled so that its highest coefficient is 1, the table by what that takes.
        const HIGHEST: f64 = 0.009_670_371_139_572_338;
        let table = std::array::from_fn(|i| ((i as f64 / 64.0).exp2() * HIGHEST) as f32);
        let cubic = [
            0.055_503_393_667_531_25,
            0.240_226_510_951_330_15,
            0.693_147_180_552_144_8,
            1.000_000_000_000_002_4,
        ];
        Self { table, cubic: cubic.map(|coefficient: f64| (coefficient / HIGHEST) as f32) }
    }

    /// `e` to the power of `x`, for `x` from -80 to 0.
    fn of(&self, x: f32) -> f32 {
        let fused = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        let steps = x.max(-80.0) * (std::f64::consts::LOG2_E * 64.0) as f32;
        let whole = steps.round_ties_even();
        let rest = (steps - whole) * (1.0 / 64.0);
        let [mut sum, rest_of_cubic @ ..] = self.cubic;
        sum += rest;
        for coefficient in rest_of_cubic {
            sum = fused(sum, rest, coefficient);
        }
        let whole = whole as i32;
        let power = f32::from_bits(((whole >> 6) + 127).cast_unsigned() << 23);
        sum * (self.table[(whole & 63).cast_unsigned() as usize] * power)
    }
}

/// What BRISQUE sees in a picture, before it is scaled to the ranges of the model: for each of two
/// scales the shape and variance of the normalised brightness, then shape, mean, left and right
/// variance of the products of neighbours to the right, below, below right and above right. `None`
/// for pictures under 16 pixels. Not numbers where there is nothing to fit.
fn features(picture: &Grey) -> Option<[f32; FEATURES]> {
    let (width, height) = (picture.width(), picture.height());
    if width < LEAST_SIDE || height < LEAST_SIDE {
        return None;
    }
    let full: Vec<f32> =
        picture.samples().iter().map(|s| f32::from(*s) * (1.0_f64 / 255.0) as f32).collect();
    let half = halve_cubic(&full, width);
    let mut features = [0.0; FEATURES];
    let (first, second) = features.split_at_mut(FEATURES / 2);
    scale_features(full, width, first);
    scale_features(half, width / 2, second);
    Some(features)
}

/// The 18 features of one scale.
fn scale_features(picture: Vec<f32>, width: usize, features: &mut [f32]) {
    let normalised = normalise(picture, width);
    let height = normalised.len() / width;
    let row = |y: usize| &normalised[y * width..][..width];
    let mut moments = Moments::default();
    moments.add(&normalised);
    let fit = moments.fit(normalised.len());
    features[0] = fit.shape as f32;
    features[1] = (fit.left * fit.left + fit.right * fit.right) as f32 / 2.0;
    let mut products = Vec::with_capacity(width);
    for (neighbour, features) in features[2..].chunks_exact_mut(4).enumerate() {
        let mut moments = Moments::default();
        for y in 0..height - usize::from(neighbour > 0) {
            let (left, right) = match neighbour {
                0 => (&row(y)[..width - 1], &row(y)[1..]),
                1 => (row(y), row(y + 1)),
                2 => (&row(y)[..width - 1], &row(y + 1)[1..]),
                _ => (&row(y + 1)[..width - 1], &row(y)[1..]),
            };
            products.clear();
            products.extend(left.iter().zip(right).map(|(a, b)| a * b));
            moments.add(&products);
        }
        // Pixels without a neighbour count as products of 0.
        let fit = moments.fit(normalised.len());
        let scales = (fit.right - fit.left) * aggd::mean_of_scales(fit.shape);
        features[0] = fit.shape as f32;
        features[1] = (scales * aggd::scale_of_deviation(fit.shape)) as f32;
        features[2] = (fit.left * fit.left) as f32;
        features[3] = (fit.right * fit.right) as f32;
    }
}

/// Brightness less its local mean, over its local deviation: the paper's equations 1 to 3. Where
/// rounding makes the variance negative OpenCV has no number, which its fit skips as it skips
/// zeros.
fn normalise(mut picture: Vec<f32>, width: usize) -> Vec<f32> {
    let mean = blur_replicating(&picture, width);
    let squares: Vec<f32> = picture.iter().map(|value| value * value).collect();
    let mean_of_squares = blur_replicating(&squares, width);
    for ((value, mean), square) in picture.iter_mut().zip(&mean).zip(&mean_of_squares) {
        let deviation = (square - mean * mean).sqrt();
        let normalised = (*value - mean) / (deviation + (1.0_f64 / 255.0) as f32);
        *value = if normalised.is_nan() { 0.0 } else { normalised };
    }
    picture
}

const LANES: usize = 4;

/// Sums over values, several side by side, as the processor adds them.
#[derive(Default)]
struct Moments {
    absolute: [f64; LANES],
    squares: [f64; LANES],
    /// The squares, those of negative values subtracted.
    signed_squares: [f64; LANES],
    negative: [u32; LANES],
    positive: [u32; LANES],
}

/// A fitted distribution: its shape, and the deviation to either side.
struct Fit {
    shape: f64,
    left: f64,
    right: f64,
}

impl Moments {
    /// Zeros belong to neither side.
    fn add(&mut self, values: &[f32]) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for chunk in chunks.iter().chain([&last]) {
            for (lane, value) in chunk.iter().enumerate() {
                let (negative, positive) = (u32::from(*value < 0.0), u32::from(*value > 0.0));
                self.negative[lane] = self.negative[lane].wrapping_add(negative);
                self.positive[lane] = self.positive[lane].wrapping_add(positive);
                let value = f64::from(*value);
                self.absolute[lane] += value.abs();
                self.squares[lane] += value * value;
                self.signed_squares[lane] += value * value.abs();
            }
        }
    }

    fn fit(&self, count: usize) -> Fit {
        let sum = |lanes: &[f64; LANES]| lanes.iter().sum::<f64>();
        let number = |lanes: &[u32; LANES]| lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
        let (squares, signed) = (sum(&self.squares), sum(&self.signed_squares));
        let left = ((squares - signed) / 2.0 / number(&self.negative)).sqrt();
        let right = ((squares + signed) / 2.0 / number(&self.positive)).sqrt();
        let count = count as f64;
        let ratio = aggd::ratio(sum(&self.absolute) / count, squares / count, left / right);
        Fit { shape: aggd::shape(ratio).unwrap_or(LAST_SHAPE), left, right }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(level: impl Fn(usize, usize) -> u8) -> Grey {
        let (width, height) = (97, 64);
        let samples = (0..width * height).map(|i| level(i % width, i / width)).collect();
        Grey::new(width, height, samples).unwrap()
    }

    #[test]
    fn the_exponential_is_right_to_single_precision() {
        let exp = Exponential::new();
        for step in 0..4000 {
            let x = step as f32 * -0.01;
            assert!((f64::from(exp.of(x)) / f64::from(x).exp() - 1.0).abs() < 1e-5, "{x}");
        }
        assert!((exp.of(0.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn noise_is_normal_and_without_direction() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i32
        };
        let sums: Vec<u8> =
            (0..97 * 64).map(|_| ((0..4).map(|_| noise()).sum::<i32>() / 4) as u8).collect();
        let features = features(&Grey::new(97, 64, sums).unwrap()).unwrap();
        assert!((2.0..4.0).contains(&features[0]), "{features:?}");
        for pair in [2, 6, 10, 14] {
            assert!((features[pair] - features[2]).abs() < 0.2, "{features:?}");
        }
    }

    #[test]
    fn flat_pictures_are_worst_and_tiny_ones_have_no_score() {
        let model = Brisque::published().unwrap();
        assert_eq!(model.score(&picture(|_, _| 0)), Some(100.0));
        assert_eq!(model.score(&picture(|_, _| 255)), Some(100.0));
        assert_eq!(model.score(&Grey::new(15, 20, vec![7; 300]).unwrap()), None);
        let score = model.score(&picture(|x, y| ((x * x + 3 * y) % 251) as u8)).unwrap();
        assert!((0.0..=100.0).contains(&score));
    }

    #[test]
    fn damaged_models_are_refused() {
        let whole = include_bytes!("../../weights/brisque_live.bin");
        assert_eq!(Brisque::published().unwrap().vectors.len(), 774);
        for cut in [0, 100, 400, whole.len() - 1] {
            assert!(matches!(Brisque::parse(&whole[..cut]), Err(ModelError::Length { .. })));
        }
        let mut other = whole.to_vec();
        other[4] = 35;
        assert_eq!(Brisque::parse(&other).err(), Some(ModelError::Matrix("support vectors")));
    }
}
