//! The camera's part of a flow field: the affine field that most of it agrees with.
//!
//! A pan, a tilt, a zoom and a roll of a distant scene move every pixel by an affine function of
//! its place. It is found in two steps, as usual for a model of which part of the data knows
//! nothing: the best of some fields through three points each (M-estimator sample consensus, Torr
//! and Zisserman, "MLESAC", CVIU 2000; three points define an affine field), then iteratively
//! reweighted least squares with Geman-McClure weights (Black and Anandan, "The Robust Estimation
//! of Multiple Motions", CVIU 1996), so that a moving subject of up to almost half the picture has
//! no say.
//!
//! What cannot be told apart: a subject that fills most of the picture passes for the camera, and
//! parallax (a camera that travels) passes for the subject, because depth is not in the model.

/// A flow vector at a place; places are relative to the middle of the picture, and everything is
/// in diagonals of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) u: f64,
    pub(super) v: f64,
    /// How much it counts; not negative.
    pub(super) weight: f64,
}

/// `u = u[0] + u[1] x + u[2] y`, and `v` likewise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Affine {
    pub(super) u: [f64; 3],
    pub(super) v: [f64; 3],
}

/// Fields through three points that are tried.
const TRIES: usize = 64;
/// Samples that each of them is judged by.
const JUDGES: usize = 256;
/// Rounds of reweighting.
const ROUNDS: usize = 10;
/// A residual that is none: about a tenth of a pixel of a picture of 455x256.
const LEAST_SCALE: f64 = 0.0002;
/// A residual that is too much for a sample to agree: one pixel of such a picture, and more where
/// the flow is long, as its errors grow with it.
const TOLERANCE: f64 = 0.002;
const TOLERANCE_SHARE: f64 = 0.05;

impl Affine {
    /// The field at a place.
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let Self { u, v } = self;
        (u[0] + u[1] * x + u[2] * y, v[0] + v[1] * x + v[2] * y)
    }

    /// All of it times `factor`.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self { u: self.u.map(|p| p * factor), v: self.v.map(|p| p * factor) }
    }

    /// The sum of two fields.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let add = |a: [f64; 3], b: [f64; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
        Self { u: add(self.u, other.u), v: add(self.v, other.v) }
    }

    fn residual(&self, sample: &Sample) -> f64 {
        let (u, v) = self.at(sample.x, sample.y);
        (sample.u - u).hypot(sample.v - v)
    }

    /// The field that most of `samples` agree with. The same samples give the same field.
    pub(super) fn fit(samples: &[Sample]) -> Self {
        let mut lengths: Vec<f64> =
            samples.iter().filter(|s| s.weight > 0.0).map(|s| s.u.hypot(s.v)).collect();
        let Some(typical) = median(&mut lengths) else { return Self::default() };
        let tolerance = TOLERANCE + TOLERANCE_SHARE * typical;
        let mut field = Self::consensus(samples, tolerance);
        let mut residuals = Vec::with_capacity(samples.len());
        for _ in 0..ROUNDS {
            residuals.clear();
            residuals.extend(samples.iter().map(|sample| field.residual(sample)));
            let mut sorted = residuals.clone();
            // 1.4826: the median of absolute values as a standard deviation.
            let scale = 1.4826 * median(&mut sorted).unwrap_or(0.0);
            let squared = (2.0 * scale.clamp(LEAST_SCALE, tolerance)).powi(2);
            let weights = samples
                .iter()
                .zip(&residuals)
                .map(|(s, r)| s.weight * (squared / (squared + r * r)).powi(2));
            let Some(next) = Self::least_squares(samples, weights) else { break };
            field = next;
        }
        field
    }

    /// The field that most samples agree with, among stillness, the mean field, and fields through
    /// three samples each.
    fn consensus(samples: &[Sample], tolerance: f64) -> Self {
        let step = samples.len().div_ceil(JUDGES).max(1);
        let cost = |field: &Self| -> f64 {
            let cost = |s: &Sample| s.weight * field.residual(s).min(tolerance).powi(2);
            samples.iter().step_by(step).map(cost).sum()
        };
        let mean = Self::least_squares(samples, samples.iter().map(|s| s.weight));
        let mut best = Self::default();
        let mut least = cost(&best);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let through_three = std::iter::repeat_with(|| {
            let three = [(); 3].map(|()| samples[random.below(samples.len())]);
            Self::least_squares(&three, three.iter().map(|s| s.weight))
        });
        for field in std::iter::once(mean).chain(through_three.take(TRIES)).flatten() {
            let cost = cost(&field);
            if cost < least {
                (best, least) = (field, cost);
            }
        }
        best
    }

    /// The field with the least weighted sum of squared residuals; none when the samples lie on a
    /// line.
    fn least_squares(samples: &[Sample], weights: impl Iterator<Item = f64>) -> Option<Self> {
        // The symmetric matrix of [1, x, y], and the right sides.
        let mut m = [0.0; 6];
        let (mut right_u, mut right_v) = ([0.0; 3], [0.0; 3]);
        for (s, w) in samples.iter().zip(weights) {
            let (wx, wy) = (w * s.x, w * s.y);
            for (sum, term) in m.iter_mut().zip([w, wx, wy, wx * s.x, wx * s.y, wy * s.y]) {
                *sum += term;
            }
            for (sum, term) in right_u.iter_mut().zip([w, wx, wy]) {
                *sum += term * s.u;
            }
            for (sum, term) in right_v.iter_mut().zip([w, wx, wy]) {
                *sum += term * s.v;
            }
        }
        let [a, b, c, d, e, f] = m;
        let inverse = [
            d * f - e * e,
            c * e - b * f,
            b * e - c * d,
            a * f - c * c,
            b * c - a * e,
            a * d - b * b,
        ];
        let determinant = a * inverse[0] + b * inverse[1] + c * inverse[2];
        // Places are within half a diagonal, so samples all over the picture give about 0.005.
        if determinant <= 1e-9 * a.powi(3) {
            return None;
        }
        let [p, q, r, s, t, w] = inverse.map(|cofactor| cofactor / determinant);
        let solve = |right: [f64; 3]| {
            [
                p * right[0] + q * right[1] + r * right[2],
                q * right[0] + s * right[1] + t * right[2],
                r * right[0] + t * right[1] + w * right[2],
            ]
        };
        Some(Self { u: solve(right_u), v: solve(right_v) })
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// xorshift64*: a fixed sequence is all that is asked of it.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: Affine = Affine { u: [0.01, 0.02, -0.03], v: [-0.02, 0.03, 0.02] };

    /// A picture of 16:9 that moves as `CAMERA` but for a square that covers `share` of it.
    fn scene(share: f64, noise: f64) -> Vec<Sample> {
        let side = share.sqrt();
        let mut random = Random(7);
        let mut jitter = move || noise * (random.below(2001) as f64 / 1000.0 - 1.0);
        let mut samples = Vec::new();
        for row in 0..36 {
            for column in 0..64 {
                let (across, down) =
                    ((f64::from(column) + 0.5) / 64.0, (f64::from(row) + 0.5) / 36.0);
                let (x, y) = ((across - 0.5) * 0.8716, (down - 0.5) * 0.4903);
                let (mut u, mut v) = CAMERA.at(x, y);
                if across < side && down < side {
                    (u, v) = (0.05, 0.04);
                }
                samples.push(Sample { x, y, u: u + jitter(), v: v + jitter(), weight: 1.0 });
            }
        }
        samples
    }

    fn distance(a: &Affine, b: &Affine) -> f64 {
        let off = a.plus(&b.scaled(-1.0));
        [(-0.4, -0.2), (0.4, -0.2), (-0.4, 0.2), (0.4, 0.2), (0.0, 0.0)]
            .iter()
            .map(|(x, y)| off.at(*x, *y))
            .map(|(u, v)| u.hypot(v))
            .fold(0.0, f64::max)
    }

    #[test]
    fn a_subject_has_no_say() {
        for (share, noise, tolerance) in [
            (0.0, 0.0, 1e-9),
            (0.1, 0.0, 1e-4),
            (0.4, 0.0, 1e-4),
            (0.4, 0.001, 5e-4),
            (0.0, 0.002, 5e-4),
        ] {
            let off = distance(&Affine::fit(&scene(share, noise)), &CAMERA);
            assert!(off < tolerance, "share {share}, noise {noise}: off by {off}");
        }
    }

    #[test]
    fn unknown_places_have_no_say() {
        let mut samples = scene(0.0, 0.0);
        for sample in samples.iter_mut().take(1500) {
            *sample = Sample { u: 1.0, v: -1.0, weight: 0.0, ..*sample };
        }
        assert!(distance(&Affine::fit(&samples), &CAMERA) < 1e-6);
    }

    #[test]
    fn stillness_and_nothing_are_still() {
        let still: Vec<Sample> =
            scene(0.0, 0.0).into_iter().map(|s| Sample { u: 0.0, v: 0.0, ..s }).collect();
        assert!(distance(&Affine::fit(&still), &Affine::default()) < 1e-12);
        assert_eq!(Affine::fit(&[]), Affine::default());
        let one = [Sample { x: 0.0, y: 0.0, u: 1.0, v: 0.0, weight: 1.0 }];
        assert_eq!(Affine::fit(&one), Affine::default());
    }
}
