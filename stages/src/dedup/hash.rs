//! The perceptual hash of a clip: 64 bits that copies of it share, mirrored ones included.
//!
//! Black borders are cut off, each frame is reduced to 32 x 32 means, and these are projected on
//! waves of low frequency across, down and over the clip's time. A bit is the sign of a projection.
//! As the sign of a wave that is odd across flips when the picture is mirrored, and that of an even
//! one stays, the hash of the mirrored clip is known from the hash ([`mirrored`]): none of the bits
//! is spent on being the same for both.
//!
//! The first 16 bits are of the mean over time. Each of the others is of the sum of two
//! projections: a finer wave of the mean, and twice a coarse wave's change over time. Where things
//! move, the second is the larger one, and bits tell when what was where; in a still shot it
//! vanishes, and the bits tell finer things instead of being noise.
//!
//! Decided against, as measured on the copies that `benches/dedup_rates.py` makes, with frames four
//! times a second and variants of this file that were not kept:
//! * the mean of the frames only: of cropped copies 94 % instead of 98 % are within 10 bits, as
//!   cropping harms fine waves, and more pairs of different clips of one film are;
//! * waves that count as much at the border as in the middle: of cropped copies 88 % instead of 94 %,
//!   all else being equal;
//! * fading the picture out and projecting on plain cosines: they overlap then, and the 64 bits say
//!   as much as 34 independent ones, instead of 60;
//! * the detector of bars of the `quality` stage: it wants bars with a sharp edge in every frame,
//!   and clips that begin in the dark have none.
//!
//! And unmeasured: bits for changes over time alone, which would be noise in a still shot.

use std::{f64::consts::PI, sync::LazyLock};

use crate::quality::Grey;

/// Frames of a clip that are hashed, evenly spread; fewer of a clip that has fewer.
pub const FRAMES: usize = 8;

/// Side of the reduced frames.
const SIDE: usize = 32;

/// Waves in each direction, the constant one included.
const WAVES: usize = 10;

/// Share of the width (height) over which the weight of pixels rises from 0 to 1 from each border.
const FADE: f64 = 0.15;

/// Bits that are of the mean over time alone; these waves are also those that are followed over
/// time.
const STILL: usize = 16;

/// Waves over time, the constant one included: as many as 48 bits need.
const TIMES: usize = 5;

/// What a change over time counts.
const CHANGE: f64 = 2.0;

/// Pixels up to this level are black: 16, the black of video that was not stretched to full range,
/// and noise.
const BLACK: u8 = 24;

/// In dark clips less is black: half the median of what is above this.
const DARKEST: u8 = 8;

/// Share of a line's pixels that are not black where the picture begins.
const LIT: f64 = 0.05;

/// A projection below this, in levels, is as likely noise as not.
const NOISE: f64 = 1.0;

/// A hash needs so many bits from projections that are more than noise.
const LEAST_BITS: usize = 48;

/// The waves of each bit, down and across: from coarse to fine.
const ORDER: [(usize, usize); 64] = order();

/// The bits that flip when a clip is mirrored.
const MIRROR: u64 = {
    let (mut mask, mut bit) = (0, 0);
    while bit < 64 {
        mask |= ((ORDER[bit].1 % 2) as u64) << bit;
        bit += 1;
    }
    mask
};

const fn order() -> [(usize, usize); 64] {
    let mut order = [(0, 0); 64];
    let (mut squares, mut found) = (1, 0);
    while found < 64 {
        let mut down = 0;
        while down < WAVES && found < 64 {
            let mut across = 0;
            while across < WAVES && found < 64 {
                if down * down + across * across == squares {
                    order[found] = (down, across);
                    found += 1;
                }
                across += 1;
            }
            down += 1;
        }
        squares += 1;
    }
    order
}

/// For each bit after the still ones, the wave over time and the bit whose wave it is of. That one
/// is even or odd across as the bit itself is, so that mirroring flips both parts or none.
const CHANGES: [(usize, usize); 64] = {
    let mut changes = [(0, 0); 64];
    let mut next = [(1, 0); 2];
    let mut bit = STILL;
    while bit < 64 {
        let parity = ORDER[bit].1 % 2;
        let (mut time, mut coarse) = next[parity];
        while ORDER[coarse].1 % 2 != parity {
            coarse += 1;
            if coarse == STILL {
                (time, coarse) = (time + 1, 0);
            }
        }
        changes[bit] = (time, coarse);
        coarse += 1;
        if coarse == STILL {
            (time, coarse) = (time + 1, 0);
        }
        next[parity] = (time, coarse);
        bit += 1;
    }
    changes
};

/// The hash of the mirrored clip.
#[must_use]
pub const fn mirrored(hash: u64) -> u64 {
    hash ^ MIRROR
}

/// Bits in which two clips differ, one of them mirrored if it is closer then. Unrelated clips
/// differ in 32, give or take 4.
#[must_use]
pub const fn distance(a: u64, b: u64) -> u32 {
    let (same, other) = ((a ^ b).count_ones(), (a ^ mirrored(b)).count_ones());
    if same < other { same } else { other }
}

/// The hash of a clip of [`FRAMES`] frames in the order of time, or fewer of a short one. Frames
/// that are not of the first one's size are left out. `None` where there is too little to see: no
/// frame, black, or flat but for noise.
#[must_use]
pub fn phash(frames: &[Grey]) -> Option<u64> {
    let first = frames.first()?;
    let frames: Vec<&Grey> = frames
        .iter()
        .filter(|frame| (frame.width(), frame.height()) == (first.width(), first.height()))
        .collect();
    let picture = Picture::of(&frames)?;
    let mut times = [[0.0; 64]; TIMES];
    let count = frames.len();
    for (at, frame) in frames.iter().enumerate() {
        let projected = project(&picture.reduced(frame));
        // There are no more waves than frames.
        for (wave, sums) in times.iter_mut().enumerate().take(count) {
            let phase = PI * wave as f64 * (at as f64 + 0.5) / count as f64;
            let weight = phase.cos() / count as f64;
            for (sum, value) in sums.iter_mut().zip(&projected) {
                *sum += weight * value;
            }
        }
    }
    let (mut hash, mut certain) = (0, 0);
    for (bit, still) in times[0].iter().enumerate() {
        let change = match CHANGES[bit] {
            (0, _) => 0.0,
            (time, coarse) => CHANGE * times[time][coarse],
        };
        let value = still + change;
        hash |= u64::from(value > 0.0) << bit;
        certain += usize::from(value.abs() >= NOISE);
    }
    (certain >= LEAST_BITS).then_some(hash)
}

/// The part of the frames that is not a black border.
struct Picture {
    columns: Vec<Vec<(usize, f32)>>,
    rows: Vec<Vec<(usize, f32)>>,
}

impl Picture {
    /// Looks where any of the frames is lit, so that a clip which begins in the dark, or is dark in
    /// places, is cut as its copy with bars is. `None` if nothing is.
    fn of(frames: &[&Grey]) -> Option<Self> {
        let first = frames.first()?;
        let (width, height) = (first.width(), first.height());
        let mut most = first.samples().to_vec();
        for frame in &frames[1..] {
            for (most, sample) in most.iter_mut().zip(frame.samples()) {
                *most = (*most).max(*sample);
            }
        }
        let mut levels: Vec<u8> = most.iter().copied().filter(|s| *s > DARKEST).collect();
        let middle = levels.len() / 2;
        if middle == 0 {
            return None;
        }
        let median = *levels.select_nth_unstable(middle).1;
        let black = (median / 2).clamp(DARKEST, BLACK);
        let mut lit = (vec![0_u32; width], vec![0_u32; height]);
        for (row, sum) in most.chunks_exact(width).zip(&mut lit.1) {
            for (sample, column) in row.iter().zip(&mut lit.0) {
                let is_lit = u32::from(*sample > black);
                *column += is_lit;
                *sum += is_lit;
            }
        }
        let cells = |lit: &[u32], across: usize| {
            let least = LIT * across as f64;
            let begins = |lit: &u32| f64::from(*lit) >= least;
            let (start, last) = (lit.iter().position(begins)?, lit.iter().rposition(begins)?);
            Some(cells(start, last + 1))
        };
        Some(Self { columns: cells(&lit.0, height)?, rows: cells(&lit.1, width)? })
    }

    /// The means of `SIDE` by `SIDE` equal parts.
    fn reduced(&self, frame: &Grey) -> [f64; SIDE * SIDE] {
        let mut reduced = [0.0; SIDE * SIDE];
        for (rows, reduced) in self.rows.iter().zip(reduced.chunks_exact_mut(SIDE)) {
            for (row, weight) in rows {
                let row = &frame.samples()[row * frame.width()..][..frame.width()];
                for (columns, mean) in self.columns.iter().zip(&mut *reduced) {
                    let sum: f32 = columns.iter().map(|(at, w)| w * f32::from(row[*at])).sum();
                    *mean += f64::from(weight * sum);
                }
            }
        }
        reduced
    }
}

/// `SIDE` equal parts of the samples from `start` to `end`: which samples, and what they count.
fn cells(start: usize, end: usize) -> Vec<Vec<(usize, f32)>> {
    let step = (end - start) as f64 / SIDE as f64;
    let cell = |cell: usize| {
        let from = start as f64 + cell as f64 * step;
        let to = from + step;
        let samples = from as usize..(to.ceil() as usize).min(end);
        let share = |at: usize| (to.min(at as f64 + 1.0) - from.max(at as f64)).max(0.0) / step;
        samples.map(|at| (at, share(at) as f32)).collect()
    };
    (0..SIDE).map(cell).collect()
}

/// Weights of a line's samples for each wave: cosines that fade out at both ends, made orthogonal
/// under that weight, the even ones among themselves and the odd ones.
static WEIGHTS: LazyLock<[[f64; SIDE]; WAVES]> = LazyLock::new(|| {
    let place = |at: usize| (at as f64 + 0.5) / SIDE as f64;
    let fade: [f64; SIDE] = std::array::from_fn(|at| {
        let from_border = place(at).min(1.0 - place(at)) / FADE;
        if from_border < 1.0 { 0.5 - 0.5 * (PI * from_border).cos() } else { 1.0 }
    });
    let dot = |a: &[f64; SIDE], b: &[f64; SIDE]| -> f64 {
        a.iter().zip(b).zip(&fade).map(|((a, b), weight)| a * b * weight).sum()
    };
    let mut waves = [[0.0; SIDE]; WAVES];
    for wave in 0..WAVES {
        let mut new = std::array::from_fn(|at| (PI * wave as f64 * place(at)).cos());
        for old in waves[..wave].iter().skip(wave % 2).step_by(2) {
            let shared = dot(&new, old);
            new.iter_mut().zip(old).for_each(|(new, old)| *new -= shared * old);
        }
        let length = dot(&new, &new).sqrt();
        waves[wave] = new.map(|value| value / length);
    }
    waves.map(|wave| std::array::from_fn(|at| wave[at] * fade[at]))
});

/// The projections on the waves of the bits.
fn project(reduced: &[f64; SIDE * SIDE]) -> [f64; 64] {
    let mut rows = [[0.0; WAVES]; SIDE];
    for (row, out) in reduced.chunks_exact(SIDE).zip(&mut rows) {
        for (wave, out) in WEIGHTS.iter().zip(out) {
            *out = row.iter().zip(wave).map(|(sample, weight)| sample * weight).sum();
        }
    }
    ORDER.map(|(down, across)| {
        rows.iter().zip(&WEIGHTS[down]).map(|(row, weight)| row[across] * weight).sum()
    })
}

#[cfg(test)]
mod tests;
