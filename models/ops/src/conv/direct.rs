//! Convolution of few channels without a matrix of patches, for strides of 1 in single precision.
//!
//! Where a convolution has 16 channels, writing each value 27 times into patches and packing them
//! for the product costs more than the product. Here a frame's surroundings are copied once into a
//! slab with zeros around it; then every tap is a shift within it, and vectors of 8 positions are
//! multiplied by weights right from there. Sums stay in registers: 4 channels of the result by 2
//! vectors forward, 4 channels by 3 taps in the gradient of the weights.
//!
//! Beyond [`MOST`] channels each patch serves so many sums that gathering it hardly counts; where exactly
//! was not measured. It needs AVX2 and FMA, and rows of whole vectors; all else goes the way of [`super::kernels`]. The work is cut by sizes only and each
//! sum has one order, so the number of threads changes no bit.
#![expect(unsafe_code, reason = "vector instructions, and parts of a result that are no slices")]

use std::arch::x86_64::{
    __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use rayon::prelude::*;

use super::Geometry;
use crate::product::Shared;

/// Values of a vector.
const LANES: usize = 8;
/// Channels of the result that are summed side by side.
const OUTS: usize = 4;
/// Vectors of positions that are summed side by side forward.
const VECTORS: usize = 2;
/// Taps of a row of the kernel that are summed side by side in the gradient of the weights.
const TAPS: usize = 3;
/// The most channels on the wider side.
const MOST: usize = 64;

/// Whether a convolution is of this kind.
pub(super) fn suits(geometry: &Geometry) -> bool {
    let [_, height, width] = geometry.output;
    geometry.stride == [1; 3]
        && geometry.kernel[2] == TAPS
        && geometry.channels.max(geometry.out_channels) <= MOST
        && width.is_multiple_of(LANES)
        && (height * width).is_multiple_of(LANES * VECTORS)
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
}

/// The surroundings of some frames of one example: `[C, frames + kt - 1, H + kh - 1, W + kw - 1]`.
struct Slab {
    /// Frames, rows and columns.
    size: [usize; 3],
    values: Vec<f32>,
}

impl Slab {
    /// For `frames` frames of the output at a time.
    fn new(geometry: &Geometry, frames: usize) -> Self {
        let [_, height, width] = geometry.output;
        let around = |count, axis: usize| count + geometry.kernel[axis] - 1;
        let size = [around(frames, 0), around(height, 1), around(width, 2)];
        Self { size, values: vec![0.0; geometry.channels * size.iter().product::<usize>()] }
    }

    /// Fills it for the frames of the output from `first` on.
    fn fill(&mut self, geometry: &Geometry, x: &[f32], example: usize, first: usize) {
        let [frames, rows, columns] = self.size;
        let [depth, height, width] = geometry.input;
        let [before, above, left] = geometry.padding;
        let plane = frames * rows * columns;
        for (channel, slab) in self.values.chunks_exact_mut(plane).enumerate() {
            let start = (example * geometry.channels + channel) * geometry.points();
            let of_channel = &x[start..start + geometry.points()];
            for (index, line) in slab.chunks_exact_mut(columns).enumerate() {
                let (t, y) = (first + index / rows, index % rows);
                let (t, y) = (t.wrapping_sub(before), y.wrapping_sub(above));
                if t >= depth || y >= height {
                    line.fill(0.0);
                    continue;
                }
                let from = &of_channel[(t * height + y) * width..][..width];
                line[..left].fill(0.0);
                line[left..left + width].copy_from_slice(from);
                line[left + width..].fill(0.0);
            }
        }
    }

    /// How far each tap's value lies from the first tap's: channels, then taps.
    fn shifts(&self, geometry: &Geometry) -> Vec<usize> {
        let [frames, rows, columns] = self.size;
        let [kt, kh, kw] = geometry.kernel;
        let mut shifts = Vec::with_capacity(geometry.patch());
        for channel in 0..geometry.channels {
            for (dt, dh, dw) in super::kernels::taps([kt, kh, kw]) {
                let frame = channel * frames + dt;
                shifts.push((frame * rows + dh) * columns + dw);
            }
        }
        shifts
    }
}

/// The weights of [`OUTS`] channels side by side: `[outs / OUTS][patch][OUTS]`, zeros where there are
/// no more.
fn side_by_side(geometry: &Geometry, w: &[f32]) -> Vec<[f32; OUTS]> {
    let patch = geometry.patch();
    let mut packed = vec![[0.0; OUTS]; geometry.out_channels.div_ceil(OUTS) * patch];
    for (out, weights) in w.chunks_exact(patch).enumerate() {
        let block = &mut packed[out / OUTS * patch..][..patch];
        for (to, from) in block.iter_mut().zip(weights) {
            to[out % OUTS] = *from;
        }
    }
    packed
}

/// `y = w x + bias`.
pub(super) fn forward(geometry: &Geometry, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (outs, positions) = (geometry.out_channels, geometry.positions());
    let [frames, height, width] = geometry.output;
    let packed = side_by_side(geometry, w);
    let mut y = vec![0f32; geometry.batch * outs * positions];
    let shared = Shared(y.as_mut_ptr());
    (0..geometry.batch * frames).into_par_iter().for_each_init(
        || {
            let slab = Slab::new(geometry, 1);
            let shifts = slab.shifts(geometry);
            (slab, shifts)
        },
        |(slab, shifts), index| {
            let (example, frame) = (index / frames, index % frames);
            slab.fill(geometry, x, example, frame);
            // SAFETY: the processor has the instructions, as [`suits`] says, and each frame of each
            // example has its own positions in `y`.
            unsafe {
                let to = shared.at(example * outs * positions + frame * height * width);
                frame_products(geometry, slab, shifts, &packed, bias, to);
            }
        },
    );
    y
}

/// A frame of the result, from the slab around it, to `to`.
///
/// # Safety
/// The processor has AVX2 and FMA; nobody else touches this frame in any channel of `to`'s example.
#[target_feature(enable = "avx2,fma")]
unsafe fn frame_products(
    geometry: &Geometry,
    slab: &Slab,
    shifts: &[usize],
    packed: &[[f32; OUTS]],
    bias: Option<&[f32]>,
    to: *mut f32,
) {
    let [_, height, width] = geometry.output;
    for (block, weights) in packed.chunks_exact(geometry.patch()).enumerate() {
        let first = block * OUTS;
        let count = OUTS.min(geometry.out_channels - first);
        let mut start = [0.0; OUTS];
        if let Some(bias) = bias {
            start[..count].copy_from_slice(&bias[first..first + count]);
        }
        for pair in (0..height * width).step_by(LANES * VECTORS) {
            let places: [_; VECTORS] = std::array::from_fn(|vector| {
                let position = pair + vector * LANES;
                position / width * slab.size[2] + position % width
            });
            // SAFETY: the largest shift of the last place is the slab's last vector; the caller
            // answers for `to`.
            unsafe {
                let places = places.map(|place| slab.values.as_ptr().add(place));
                let sums = products(places, shifts, weights, start);
                for (out, sums) in sums.into_iter().take(count).enumerate() {
                    let to = to.add((first + out) * geometry.positions() + pair);
                    for (vector, sum) in sums.into_iter().enumerate() {
                        _mm256_storeu_ps(to.add(vector * LANES), sum);
                    }
                }
            }
        }
    }
}

/// `start[o] + sum over taps of weights[tap][o] x[shifts[tap]..]`, at two places.
///
/// # Safety
/// The processor has AVX2 and FMA, and a vector can be read at each shift from each place.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn products(
    x: [*const f32; VECTORS],
    shifts: &[usize],
    weights: &[[f32; OUTS]],
    start: [f32; OUTS],
) -> [[__m256; VECTORS]; OUTS] {
    let mut sums = start.map(|start| [_mm256_set1_ps(start); VECTORS]);
    for (shift, weights) in shifts.iter().zip(weights) {
        // SAFETY: as the caller says.
        let x = x.map(|x| unsafe { _mm256_loadu_ps(x.add(*shift)) });
        for (sums, weight) in sums.iter_mut().zip(weights) {
            let weight = _mm256_set1_ps(*weight);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(weight, x, *sum);
            }
        }
    }
    sums
}

/// The gradient of `w`: of each example apart, then added in order.
pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], gy: &[f32]) -> Vec<f32> {
    let (outs, patch, positions) = (geometry.out_channels, geometry.patch(), geometry.positions());
    let frames = geometry.output[0];
    let sums: Vec<Vec<f32>> = (0..geometry.batch)
        .into_par_iter()
        .map_init(
            || {
                let slab = Slab::new(geometry, frames);
                let shifts = slab.shifts(geometry);
                (slab, shifts)
            },
            |(slab, shifts), example| {
                slab.fill(geometry, x, example, 0);
                let gy = &gy[example * outs * positions..][..outs * positions];
                let mut sum = vec![0f32; outs * patch];
                for first in (0..outs).step_by(OUTS) {
                    // Where there are no more channels, the last is summed again and not kept.
                    let channels = std::array::from_fn(|out| (first + out).min(outs - 1));
                    for (row, shifts) in shifts.chunks_exact(TAPS).enumerate() {
                        // SAFETY: the processor has the instructions, as [`suits`] says; shifts
                        // reach no further than the slab.
                        let found =
                            unsafe { row_gradient(geometry, slab, shifts[0], gy, channels) };
                        for (out, found) in found.iter().enumerate().take(outs - first) {
                            sum[(first + out) * patch + row * TAPS..][..TAPS]
                                .copy_from_slice(found);
                        }
                    }
                }
                sum
            },
        )
        .collect();
    let mut gw = vec![0f32; outs * patch];
    for sum in &sums {
        gw.iter_mut().zip(sum).for_each(|(to, from)| *to += from);
    }
    gw
}

/// `sum over positions of gy[channel][p] x[p + shift + tap]` for some channels and the taps of a row.
///
/// # Safety
/// The processor has AVX2 and FMA, and the slab reaches as far as the last position's last tap.
#[target_feature(enable = "avx2,fma")]
unsafe fn row_gradient(
    geometry: &Geometry,
    slab: &Slab,
    shift: usize,
    gy: &[f32],
    channels: [usize; OUTS],
) -> [[f32; TAPS]; OUTS] {
    let [frames, height, width] = geometry.output;
    let [_, rows, columns] = slab.size;
    let of_channel = channels.map(|channel| gy[channel * geometry.positions()..].as_ptr());
    let mut sums = [[_mm256_setzero_ps(); TAPS]; OUTS];
    for line in 0..frames * height {
        let (t, y) = (line / height, line % height);
        let from = (t * rows + y) * columns + shift;
        for column in (0..width).step_by(LANES) {
            // SAFETY: as the caller says; `gy` has all positions of each channel.
            unsafe {
                let x = slab.values.as_ptr().add(from + column);
                let x: [__m256; TAPS] = std::array::from_fn(|tap| _mm256_loadu_ps(x.add(tap)));
                for (sums, gy) in sums.iter_mut().zip(of_channel) {
                    let gy = _mm256_loadu_ps(gy.add(line * width + column));
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = _mm256_fmadd_ps(gy, x, *sum);
                    }
                }
            }
        }
    }
    sums.map(|sums| sums.map(|sum| total(sum)))
}

/// The sum of a vector's values.
#[target_feature(enable = "avx2")]
fn total(vector: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
