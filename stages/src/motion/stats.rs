//! From flow fields to the numbers of a clip.
//!
//! Each pair's field is reduced on the spot and thrown away; what is kept of it is a handful of
//! numbers. The unit of everything that is compared between clips is the diagonal of the picture
//! per second, so that neither resolution nor frame rate nor the gap between the frames changes
//! it.

use super::{
    affine::{Affine, Sample},
    camera::classify,
};

/// Samples that the camera's field is fitted to, at most (about).
const FIT_SAMPLES: f64 = 2048.0;

/// A displacement for each pixel of a picture, or for each cell of a coarse grid over it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Cells across.
    pub columns: usize,
    /// Cells down.
    pub rows: usize,
    /// Side of a cell in pixels: 1 where each pixel has its own displacement.
    pub cell: f64,
    /// Size of the picture in pixels.
    pub size: (f64, f64),
    /// Displacement to the right in pixels, row by row.
    pub u: &'a [f32],
    /// Displacement downwards in pixels, row by row.
    pub v: &'a [f32],
    /// How much each cell counts, where not all count the same.
    pub weight: Option<&'a [f32]>,
}

impl<'a> Field<'a> {
    /// A displacement for each of `width` times `height` pixels.
    #[must_use]
    pub fn dense(width: u32, height: u32, u: &'a [f32], v: &'a [f32]) -> Self {
        let (columns, rows) = (width as usize, height as usize);
        let size = (f64::from(width), f64::from(height));
        Self { columns, rows, cell: 1.0, size, u, v, weight: None }
    }
}

/// What is kept of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct PairStats {
    /// Time between the two frames in seconds.
    pub gap_s: f64,
    /// Diagonal of the picture in the field's pixels.
    pub diagonal_px: f64,
    /// Mean length of a displacement in pixels.
    pub mean_px: f64,
    /// The length that 95 % of the displacements do not exceed, in pixels.
    pub p95_px: f64,
    /// Mean length of the camera's field over the picture, in diagonals.
    camera: f64,
    /// Mean length of what is left without it, in diagonals.
    subject: f64,
    /// The camera's field in diagonals.
    field: Affine,
    /// Mean distance of a pixel from the middle, in diagonals.
    radius: f64,
}

impl PairStats {
    /// Mean speed in diagonals per second.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.mean_px / self.diagonal_px / self.gap_s
    }
}

/// Reduces fields; one per thread, as it reuses its memory.
#[derive(Debug, Default)]
pub struct Reducer {
    lengths: Vec<f32>,
    samples: Vec<Sample>,
}

impl Reducer {
    /// Reduces one field between frames that are `gap_s` seconds apart.
    ///
    /// # Panics
    /// When the slices are not as long as the size says.
    pub fn reduce(&mut self, field: &Field<'_>, gap_s: f64) -> PairStats {
        let Field { columns, rows, cell, size, u, v, weight } = *field;
        let pixels = columns * rows;
        assert!(u.len() == pixels && v.len() == pixels, "a field of another size");
        assert!(weight.is_none_or(|weight| weight.len() == pixels), "weights of another size");
        let diagonal_px = size.0.hypot(size.1);
        self.lengths.clear();
        self.lengths.extend(u.iter().zip(v).map(|(u, v)| (u * u + v * v).sqrt()));
        let weight_at = |at: usize| weight.map_or(1.0, |weight| f64::from(weight[at]));
        let total = weight.map_or(pixels as f64, |w| w.iter().map(|w| f64::from(*w)).sum());
        let per_weight = |sum: f64| if total > 0.0 { sum / total } else { 0.0 };
        let sum = match weight {
            None => self.lengths.iter().map(|length| f64::from(*length)).sum(),
            Some(weight) => {
                self.lengths.iter().zip(weight).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum()
            }
        };
        let mean_px = per_weight(sum);

        // Places relative to the middle of the picture, in diagonals.
        let place = |at: usize, side: f64| ((at as f64 + 0.5) * cell - side / 2.0) / diagonal_px;
        let step = ((pixels as f64 / FIT_SAMPLES).sqrt().ceil() as usize).max(1);
        self.samples.clear();
        for row in (step / 2..rows).step_by(step) {
            for column in (step / 2..columns).step_by(step) {
                let at = row * columns + column;
                self.samples.push(Sample {
                    x: place(column, size.0),
                    y: place(row, size.1),
                    u: f64::from(u[at]) / diagonal_px,
                    v: f64::from(v[at]) / diagonal_px,
                    weight: weight_at(at),
                });
            }
        }
        let camera_field = Affine::fit(&self.samples);
        let over_picture = |length: &dyn Fn(&Sample) -> f64| {
            self.samples.iter().map(length).sum::<f64>() / self.samples.len().max(1) as f64
        };
        let radius = over_picture(&|s| s.x.hypot(s.y));
        let camera = over_picture(&|s| {
            let (u, v) = camera_field.at(s.x, s.y);
            u.hypot(v)
        });
        let mut left = 0.0;
        for row in 0..rows {
            let y = place(row, size.1);
            for column in 0..columns {
                let at = row * columns + column;
                let (camera_u, camera_v) = camera_field.at(place(column, size.0), y);
                let (du, dv) = (f64::from(u[at]) / diagonal_px, f64::from(v[at]) / diagonal_px);
                left += weight_at(at) * ((du - camera_u).powi(2) + (dv - camera_v).powi(2)).sqrt();
            }
        }
        let p95_px = match weight {
            None => p95(&mut self.lengths),
            Some(weight) => weighted_p95(&self.lengths, weight),
        };
        PairStats {
            gap_s,
            diagonal_px,
            mean_px,
            p95_px,
            camera,
            subject: per_weight(left),
            field: camera_field,
            radius,
        }
    }
}

/// Exactly the smallest length that at least 95 % do not exceed. Changes their order.
fn p95(lengths: &mut [f32]) -> f64 {
    if lengths.is_empty() {
        return 0.0;
    }
    let at = (lengths.len() * 95).div_ceil(100) - 1;
    f64::from(*lengths.select_nth_unstable_by(at, f32::total_cmp).1)
}

/// The same where lengths count differently; for some hundred cells.
fn weighted_p95(lengths: &[f32], weight: &[f32]) -> f64 {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|at| weight[*at] > 0.0).collect();
    order.sort_by(|a, b| lengths[*a].total_cmp(&lengths[*b]));
    let total: f64 = order.iter().map(|at| f64::from(weight[*at])).sum();
    let mut below = 0.0;
    let found = order.iter().find(|at| {
        below += f64::from(weight[**at]);
        below >= 0.95 * total
    });
    found.map_or(0.0, |at| f64::from(lengths[*at]))
}

/// The motion of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// Mean speed of a pixel, in diagonals per second: the judged value.
    pub speed: f64,
    /// Mean displacement in pixels; between which frames, the method says.
    pub px_mean: f64,
    /// 95th percentile of the displacement in pixels.
    pub px_p95: f64,
    /// Mean speed of the camera's field, in diagonals per second.
    pub camera: f64,
    /// Mean speed of what is left, in diagonals per second.
    pub subject: f64,
    /// What the camera does.
    pub camera_motion: &'static str,
    /// The method that measured it.
    pub method: &'static str,
}

impl Motion {
    /// The mean over a clip's pairs; none without pairs. `px` gives the factor by which a pair's
    /// pixels count.
    #[must_use]
    pub fn of(
        pairs: &[PairStats],
        method: &'static str,
        px: impl Fn(&PairStats) -> f64,
    ) -> Option<Self> {
        let first = pairs.first()?;
        let mean = |value: &dyn Fn(&PairStats) -> f64| {
            pairs.iter().map(value).sum::<f64>() / pairs.len() as f64
        };
        let fields: Vec<Affine> =
            pairs.iter().map(|pair| pair.field.scaled(1.0 / pair.gap_s)).collect();
        Some(Self {
            speed: mean(&PairStats::speed),
            px_mean: mean(&|pair| pair.mean_px * px(pair)),
            px_p95: mean(&|pair| pair.p95_px * px(pair)),
            camera: mean(&|pair| pair.camera / pair.gap_s),
            subject: mean(&|pair| pair.subject / pair.gap_s),
            camera_motion: classify(&fields, first.radius),
            method,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 160;
    const HEIGHT: usize = 90;

    /// A field of `camera` pixels to the left, with a square in its middle, a tenth of the area,
    /// that moves down by `subject` pixels instead.
    fn field(camera: f32, subject: f32) -> (Vec<f32>, Vec<f32>) {
        let mut u = vec![-camera; WIDTH * HEIGHT];
        let mut v = vec![0.0; WIDTH * HEIGHT];
        let side = (0.1 * (WIDTH * HEIGHT) as f64).sqrt() as usize;
        for row in 20..20 + side {
            for column in 60..60 + side {
                (u[row * WIDTH + column], v[row * WIDTH + column]) = (0.0, subject);
            }
        }
        (u, v)
    }

    fn reduced(u: &[f32], v: &[f32], weight: Option<&[f32]>, gap_s: f64) -> PairStats {
        let field = Field { weight, ..Field::dense(WIDTH as u32, HEIGHT as u32, u, v) };
        Reducer::default().reduce(&field, gap_s)
    }

    #[test]
    fn camera_and_subject_are_told_apart() {
        let (u, v) = field(4.0, 3.0);
        let pair = reduced(&u, &v, None, 0.1);
        let motion = Motion::of(&[pair], "dis", |_| 1.0).unwrap();
        let diagonal = (160.0_f64).hypot(90.0);
        let share = 37.0 * 37.0 / (160.0 * 90.0);
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.01;
        assert!(near(motion.px_mean, 4.0 * (1.0 - share) + 3.0 * share), "{motion:?}");
        assert!(near(motion.speed, motion.px_mean / diagonal / 0.1));
        assert!(near(motion.camera, 4.0 / diagonal / 0.1), "{motion:?}");
        // The square moves 3 down and 4 to the right of the camera's field.
        assert!(near(motion.subject, 5.0 * share / diagonal / 0.1), "{motion:?}");
        assert_eq!(motion.camera_motion, "pan_right");
        assert_eq!(motion.px_p95, 4.0);
    }

    #[test]
    fn unknown_cells_do_not_count() {
        let (u, mut v) = field(4.0, 3.0);
        let weight: Vec<f32> = v.iter().map(|v| if *v > 0.0 { 0.0 } else { 2.0 }).collect();
        v.fill(0.0);
        let pair = reduced(&u, &v, Some(&weight), 0.1);
        assert!((pair.mean_px - 4.0).abs() < 1e-9 && pair.subject < 1e-9, "{pair:?}");
        assert_eq!(pair.p95_px, 4.0);
        let nothing = vec![0.0; WIDTH * HEIGHT];
        assert_eq!(reduced(&u, &v, Some(&nothing), 0.1).mean_px, 0.0);
    }

    #[test]
    fn a_percentile_is_exact() {
        let mut lengths: Vec<f32> = (1..=1000).rev().map(|n| n as f32).collect();
        assert_eq!(weighted_p95(&lengths, &vec![1.0; 1000]), 950.0);
        assert_eq!(p95(&mut lengths), 950.0);
        assert_eq!(p95(&mut [7.0]), 7.0);
        assert_eq!(p95(&mut []), 0.0);
    }

    #[test]
    fn cells_are_as_wide_as_they_say() {
        let cells = [(4.0, 1.0), (4.0, 1.0), (4.0, 1.0), (4.0, 0.5)];
        let (u, weight): (Vec<f32>, Vec<f32>) = cells.into_iter().unzip();
        let field = Field {
            columns: 4,
            rows: 1,
            cell: 16.0,
            size: (56.0, 16.0),
            u: &u,
            v: &[0.0; 4],
            weight: Some(&weight),
        };
        let pair = Reducer::default().reduce(&field, 0.1);
        assert!((pair.speed() - 40.0 / 56.0_f64.hypot(16.0)).abs() < 1e-9, "{pair:?}");
        assert!(Motion::of(&[], "mvs", |_| 1.0).is_none());
    }
}
