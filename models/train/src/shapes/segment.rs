//! What stands out of a picture: the pixels that a smooth background does not explain.
//!
//! The background is a plane in each channel of OKLab, fitted to the pixels that lie nearest to it
//! (least trimmed squares: Rousseeuw, 1984, by concentration steps), so that a shape of up to two
//! fifths of the picture does not bend it. Picture by picture, since the backgrounds of generated
//! clips may flicker. Decided against a median over time, which a slow shape would become part of.

use super::oklab::{Lab, distance, oklab};

/// Of the pixels, nearest to the plane, by which it is fitted again.
const TRUSTED: f64 = 0.6;
/// Concentration steps; the fit has settled long before.
const STEPS: usize = 5;
/// The least distance from the background that stands out, far above what encoding adds.
const LEAST: f32 = 0.07;
/// What stands out must do so by so many times the background's own roughness.
const ROUGHNESSES: f32 = 4.0;

/// The foreground of a picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreground {
    /// For each pixel how much it stands out: from 0 to 1.
    pub(super) weight: Vec<f32>,
    /// For each pixel how far it is from the background.
    pub(super) away: Vec<f32>,
    /// Part of the picture that it covers.
    pub(super) area: f64,
    /// The colour of its core, where there is one.
    pub(super) color: Option<Lab>,
}

/// A plane: its value at the centre, its slopes to the right and down.
type Plane = [f64; 3];

/// Finds what stands out of a picture of `width` across, in RGB.
pub(super) fn foreground(pixels: &[[u8; 3]], width: usize) -> Foreground {
    let labs: Vec<Lab> = pixels.iter().map(|pixel| oklab(*pixel)).collect();
    let height = pixels.len() / width.max(1);
    let place = |index: usize| {
        let (x, y) = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5);
        [1.0, x / width as f64 - 0.5, y / height as f64 - 0.5]
    };
    let mut trusted: Vec<usize> = (0..labs.len()).collect();
    let mut away = vec![0.0; labs.len()];
    for _ in 0..STEPS {
        let planes = fit(&labs, &trusted, place);
        for (index, (away, lab)) in away.iter_mut().zip(&labs).enumerate() {
            let place = place(index);
            let behind = planes.map(|plane| dot(plane, place) as f32);
            *away = distance(*lab, behind);
        }
        let kept = ((labs.len() as f64 * TRUSTED) as usize).max(1).min(labs.len());
        trusted = (0..labs.len()).collect();
        if kept < trusted.len() {
            trusted.select_nth_unstable_by(kept, |a, b| away[*a].total_cmp(&away[*b]));
            trusted.truncate(kept);
        }
    }
    let roughness = median(trusted.iter().map(|index| away[*index]).collect());
    let least = LEAST.max(ROUGHNESSES * roughness);
    let weight: Vec<f32> = away
        .iter()
        .map(|away| {
            let part = ((away - least) / least).clamp(0.0, 1.0);
            part * part * (3.0 - 2.0 * part)
        })
        .collect();
    let area = weight.iter().map(|weight| f64::from(*weight)).sum::<f64>() / labs.len() as f64;
    let color = core(&labs, &weight, &away);
    Foreground { weight, away, area, color }
}

/// The mean colour of the half of the foreground that stands out most: edges are mixed with what is
/// behind them.
fn core(labs: &[Lab], weight: &[f32], away: &[f32]) -> Option<Lab> {
    let mut inside: Vec<usize> = (0..labs.len()).filter(|index| weight[*index] > 0.5).collect();
    inside.sort_unstable_by(|a, b| away[*b].total_cmp(&away[*a]).then(a.cmp(b)));
    inside.truncate(inside.len().div_ceil(2));
    let count = inside.len() as f32;
    let sum = |channel: usize| inside.iter().map(|index| labs[*index][channel]).sum::<f32>();
    (count > 0.0).then(|| [0, 1, 2].map(|channel| sum(channel) / count))
}

/// Least squares for all three channels.
fn fit(labs: &[Lab], of: &[usize], place: impl Fn(usize) -> [f64; 3]) -> [Plane; 3] {
    let (mut square, mut right) = ([[0.0; 3]; 3], [[0.0; 3]; 3]);
    for index in of {
        let place = place(*index);
        for row in 0..3 {
            for column in 0..3 {
                square[row][column] += place[row] * place[column];
                right[column][row] += place[row] * f64::from(labs[*index][column]);
            }
        }
    }
    right.map(|right| solve(square, right))
}

/// Three equations with a symmetric matrix, by Cramer's rule; a little is added to the diagonal, so
/// that one always exists.
fn solve(mut square: [[f64; 3]; 3], right: [f64; 3]) -> Plane {
    let trace = square[0][0] + square[1][1] + square[2][2];
    (0..3).for_each(|index| square[index][index] += 1e-9 * trace.max(1e-9));
    let whole = determinant(square);
    std::array::from_fn(|column| {
        let mut other = square;
        (0..3).for_each(|row| other[row][column] = right[row]);
        determinant(other) / whole
    })
}

fn determinant([a, b, c]: [[f64; 3]; 3]) -> f64 {
    dot(a, [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]])
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The middle one; 0 of nothing.
pub(super) fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
