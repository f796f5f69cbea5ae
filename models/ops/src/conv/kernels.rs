//! Convolution on slices: patches are gathered into a small matrix and multiplied.
//!
//! Positions of the output are numbered over time, height and width of one example, so that a tile
//! of them may go across rows and frames, and small frames still make full tiles. How the work is
//! cut depends on sizes only and each sum has one order, so the number of threads changes no bit.
#![expect(unsafe_code, reason = "tiles of a result are no slices")]

use rayon::prelude::*;

use super::Geometry;
#[cfg(target_arch = "x86_64")]
use super::direct;
use crate::{
    math::Real,
    product::{Product, Shared},
};

/// Positions of a tile. The matrix of a tile for 64 channels and 27 taps is 0.9 MB then.
const TILE: usize = 128;

/// One tile: an example, its first position, and how many.
#[derive(Clone, Copy)]
struct Tile {
    example: usize,
    first: usize,
    count: usize,
}

fn tiles(geometry: &Geometry) -> Vec<Tile> {
    let positions = geometry.positions();
    let of_example = move |example| {
        (0..positions).step_by(TILE).map(move |first| Tile {
            example,
            first,
            count: TILE.min(positions - first),
        })
    };
    (0..geometry.batch).flat_map(of_example).collect()
}

/// A stretch of positions in one row of the output, and where it starts in the tile.
struct Stretch {
    at: usize,
    count: usize,
    t: usize,
    y: usize,
    x: usize,
}

fn stretches(geometry: &Geometry, tile: Tile) -> Vec<Stretch> {
    let [_, height, width] = geometry.output;
    let mut all = Vec::new();
    let mut at = 0;
    while at < tile.count {
        let position = tile.first + at;
        let (row, x) = (position / width, position % width);
        let count = (width - x).min(tile.count - at);
        all.push(Stretch { at, count, t: row / height, y: row % height, x });
        at += count;
    }
    all
}

/// The input index along an axis for an output index and a tap; `None` in the padding.
fn source(geometry: &Geometry, axis: usize, out: usize, tap: usize) -> Option<usize> {
    let padded = out * geometry.stride[axis] + tap;
    let index = padded.checked_sub(geometry.padding[axis])?;
    (index < geometry.input[axis]).then_some(index)
}

/// The part of a stretch whose input column exists: first and last + 1, relative to it, and the
/// input column of the first.
fn inside(geometry: &Geometry, stretch: &Stretch, tap: usize) -> (usize, usize, usize) {
    let (stride, padding, width) = (geometry.stride[2], geometry.padding[2], geometry.input[2]);
    let start = stretch.x * stride + tap;
    let first = padding.saturating_sub(start).div_ceil(stride).min(stretch.count);
    let end = (width + padding).saturating_sub(start).div_ceil(stride).min(stretch.count);
    if first >= end { (0, 0, 0) } else { (first, end, start + first * stride - padding) }
}

/// Writes the patches of a tile as columns: row `(c, dt, dh, dw)` for channels from `channels`.
fn gather<T: Real>(
    geometry: &Geometry,
    x: &[T],
    tile: Tile,
    channels: std::ops::Range<usize>,
    columns: &mut [T],
) {
    let [kt, kh, kw] = geometry.kernel;
    let [_, height, width] = geometry.input;
    let stride = geometry.stride[2];
    let stretches = stretches(geometry, tile);
    let mut rows = columns.chunks_exact_mut(tile.count);
    for channel in channels {
        let start = (tile.example * geometry.channels + channel) * geometry.points();
        let plane = &x[start..start + geometry.points()];
        for (dt, dh, dw) in taps([kt, kh, kw]) {
            let Some(row) = rows.next() else { return };
            for stretch in &stretches {
                let to = &mut row[stretch.at..stretch.at + stretch.count];
                let from = source(geometry, 0, stretch.t, dt)
                    .zip(source(geometry, 1, stretch.y, dh))
                    .map(|(t, y)| (t * height + y) * width);
                let (first, end, column) = inside(geometry, stretch, dw);
                let Some(from) = from.filter(|_| first < end) else {
                    to.fill(T::zero());
                    continue;
                };
                to[..first].fill(T::zero());
                to[end..].fill(T::zero());
                let line = &plane[from + column..from + width];
                if stride == 1 {
                    to[first..end].copy_from_slice(&line[..end - first]);
                } else {
                    for (to, from) in to[first..end].iter_mut().zip(line.iter().step_by(stride)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Adds columns back to where [`gather`] took them from, in one channel after the other.
fn scatter<T: Real>(geometry: &Geometry, columns: &[T], tile: Tile, planes: &mut [T]) {
    let [_, height, width] = geometry.input;
    let stride = geometry.stride[2];
    let stretches = stretches(geometry, tile);
    let mut rows = columns.chunks_exact(tile.count);
    for plane in planes.chunks_exact_mut(geometry.points()) {
        for (dt, dh, dw) in taps(geometry.kernel) {
            let Some(row) = rows.next() else { return };
            for stretch in &stretches {
                let to = source(geometry, 0, stretch.t, dt)
                    .zip(source(geometry, 1, stretch.y, dh))
                    .map(|(t, y)| (t * height + y) * width);
                let (first, end, column) = inside(geometry, stretch, dw);
                let Some(to) = to.filter(|_| first < end) else { continue };
                let line = plane[to + column..to + width].iter_mut().step_by(stride);
                for (to, from) in line.zip(&row[stretch.at + first..stretch.at + end]) {
                    *to += *from;
                }
            }
        }
    }
}

pub(super) fn taps([kt, kh, kw]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..kt).flat_map(move |dt| (0..kh).flat_map(move |dh| (0..kw).map(move |dw| (dt, dh, dw))))
}

/// `y = w x + bias`.
///
/// With few channels out of many, patches would be many times the work; then each input position is
/// multiplied by all taps and added where it belongs.
pub(super) fn forward<T: Real>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    if let Some(y) = directly(geometry, x, w, bias) {
        return y;
    }
    let few = FEW * geometry.out_channels <= geometry.channels;
    let Some(turned) = geometry.turned().filter(|_| few) else {
        return by_gathering(geometry, x, w, bias);
    };
    let mut y = by_scattering(&turned, &flipped(geometry, w), x);
    if let Some(bias) = bias {
        let channels = y.chunks_exact_mut(geometry.positions());
        for (channel, bias) in channels.zip(bias.iter().cycle()) {
            for y in channel {
                *y += *bias;
            }
        }
    }
    y
}

/// [`direct::forward`], where it can be and pays.
#[cfg(target_arch = "x86_64")]
fn directly<T: Real>(geometry: &Geometry, x: &[T], w: &[T], bias: Option<&[T]>) -> Option<Vec<T>> {
    let (x, w) = T::single(x).zip(T::single(w)).filter(|_| direct::suits(geometry))?;
    let bias = bias.map(|bias| T::single(bias).unwrap_or_default());
    T::of_single(direct::forward(geometry, x, w, bias))
}

/// Nowhere else.
#[cfg(not(target_arch = "x86_64"))]
fn directly<T: Real>(_: &Geometry, _: &[T], _: &[T], _: Option<&[T]>) -> Option<Vec<T>> {
    None
}

/// Channels on one side are few if this many times as many are on the other.
const FEW: usize = 4;

fn by_gathering<T: Real>(geometry: &Geometry, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    let (positions, patch, outs) = (geometry.positions(), geometry.patch(), geometry.out_channels);
    let mut y = vec![T::zero(); geometry.batch * outs * positions];
    let shared = Shared(y.as_mut_ptr());
    tiles(geometry).into_par_iter().for_each_init(
        || vec![T::zero(); patch * TILE],
        |columns, tile| {
            gather(geometry, x, tile, 0..geometry.channels, columns);
            // SAFETY: a tile has its own positions in each channel of `y`.
            unsafe {
                let to = shared.at(tile.example * outs * positions + tile.first);
                if let Some(bias) = bias {
                    for (channel, bias) in bias.iter().enumerate() {
                        std::slice::from_raw_parts_mut(to.add(channel * positions), tile.count)
                            .fill(*bias);
                    }
                }
                Product {
                    size: [outs, tile.count, patch],
                    to,
                    to_strides: [positions, 1],
                    keep: bias.is_some(),
                    factor: T::one(),
                    a: w.as_ptr(),
                    a_strides: [patch, 1],
                    b: columns.as_ptr(),
                    b_strides: [tile.count, 1],
                    spread: false,
                }
                .run();
            }
        },
    );
    y
}

/// The gradient of `x`. With stride 1 it is the convolution of `gy` with the kernel turned round and
/// channels exchanged.
pub(super) fn input_gradient<T: Real>(geometry: &Geometry, w: &[T], gy: &[T]) -> Vec<T> {
    if let Some(turned) = geometry.turned()
        && let Some(gx) = directly(&turned, gy, &flipped(geometry, w), None)
    {
        return gx;
    }
    let few = FEW * geometry.channels <= geometry.out_channels;
    match geometry.turned().filter(|_| !few) {
        Some(turned) => by_gathering(&turned, gy, &flipped(geometry, w), None),
        None => by_scattering(geometry, w, gy),
    }
}

/// Each kernel turned round, and channels exchanged.
fn flipped<T: Real>(geometry: &Geometry, w: &[T]) -> Vec<T> {
    let (ins, outs, taps) = (geometry.channels, geometry.out_channels, geometry.taps());
    let mut flipped = vec![T::zero(); w.len()];
    for (o, of_out) in w.chunks_exact(ins * taps).enumerate() {
        for (c, of_in) in of_out.chunks_exact(taps).enumerate() {
            let to = &mut flipped[(c * outs + o) * taps..][..taps];
            for (to, from) in to.iter_mut().zip(of_in.iter().rev()) {
                *to = *from;
            }
        }
    }
    flipped
}

/// Channels whose rows of patches make one block of about this many rows.
const BLOCK: usize = 256;

fn channel_blocks(geometry: &Geometry) -> Vec<std::ops::Range<usize>> {
    // At least four blocks, if there are four channels.
    let most = geometry.channels.div_ceil(4);
    let per = BLOCK.div_ceil(geometry.taps()).min(most).max(1);
    let starts = (0..geometry.channels).step_by(per);
    starts.map(|start| start..(start + per).min(geometry.channels)).collect()
}

/// `gx` = the columns `wᵀ gy`, added where they belong: for each example and block of channels
/// apart.
fn by_scattering<T: Real>(geometry: &Geometry, w: &[T], gy: &[T]) -> Vec<T> {
    let (positions, patch, outs) = (geometry.positions(), geometry.patch(), geometry.out_channels);
    let (points, taps) = (geometry.points(), geometry.taps());
    let mut gx = vec![T::zero(); geometry.batch * geometry.channels * points];
    let blocks = channel_blocks(geometry);
    let mut work = Vec::new();
    let mut rest = gx.as_mut_slice();
    for example in 0..geometry.batch {
        for block in &blocks {
            let (planes, others) = rest.split_at_mut(block.len() * points);
            work.push((example, block.clone(), planes));
            rest = others;
        }
    }
    let tiles = tiles(geometry);
    work.into_par_iter().for_each(|(example, block, planes)| {
        let rows = block.len() * taps;
        let mut columns = vec![T::zero(); rows * TILE];
        for tile in tiles.iter().filter(|tile| tile.example == example) {
            // SAFETY: all lies within the slices, and `columns` is this thread's own.
            unsafe {
                Product {
                    size: [rows, tile.count, outs],
                    to: columns.as_mut_ptr(),
                    to_strides: [tile.count, 1],
                    keep: false,
                    factor: T::one(),
                    a: w.as_ptr().add(block.start * taps),
                    a_strides: [1, patch],
                    b: gy.as_ptr().add(example * outs * positions + tile.first),
                    b_strides: [positions, 1],
                    spread: false,
                }
                .run();
            }
            scatter(geometry, &columns[..rows * tile.count], *tile, planes);
        }
    });
    gx
}

/// Parts that tiles are dealt to where a convolution has few channels.
const PARTS: usize = 8;

/// The gradient of `w`. Each block of channels goes through all tiles in order; where there are
/// few blocks, tiles are cut into [`PARTS`] stretches whose sums are added in order.
pub(super) fn weight_gradient<T: Real>(geometry: &Geometry, x: &[T], gy: &[T]) -> Vec<T> {
    #[cfg(target_arch = "x86_64")]
    if let Some((x, gy)) = T::single(x).zip(T::single(gy)).filter(|_| direct::suits(geometry))
        && let Some(gw) = T::of_single(direct::weight_gradient(geometry, x, gy))
    {
        return gw;
    }
    let (positions, patch, outs) = (geometry.positions(), geometry.patch(), geometry.out_channels);
    let taps = geometry.taps();
    let blocks = channel_blocks(geometry);
    let tiles = tiles(geometry);
    let parts = if blocks.len() >= PARTS { 1 } else { PARTS.div_ceil(blocks.len()) };
    let per = tiles.len().div_ceil(parts).max(1);
    let work: Vec<_> =
        blocks.iter().flat_map(|block| tiles.chunks(per).map(move |part| (block, part))).collect();
    let sums: Vec<Vec<T>> = work
        .par_iter()
        .map(|(block, part)| {
            let rows = block.len() * taps;
            let mut sum = vec![T::zero(); outs * rows];
            let mut columns = vec![T::zero(); rows * TILE];
            for tile in *part {
                gather(geometry, x, *tile, (*block).clone(), &mut columns);
                // SAFETY: all lies within the slices, and `sum` is this thread's own.
                unsafe {
                    Product {
                        size: [outs, rows, tile.count],
                        to: sum.as_mut_ptr(),
                        to_strides: [rows, 1],
                        keep: true,
                        factor: T::one(),
                        a: gy.as_ptr().add(tile.example * outs * positions + tile.first),
                        a_strides: [positions, 1],
                        b: columns.as_ptr(),
                        b_strides: [1, tile.count],
                        spread: false,
                    }
                    .run();
                }
            }
            sum
        })
        .collect();
    let mut gw = vec![T::zero(); outs * patch];
    for ((block, _), sum) in work.iter().zip(&sums) {
        let rows = block.len() * taps;
        for (to, from) in gw.chunks_exact_mut(patch).zip(sum.chunks_exact(rows)) {
            for (to, from) in to[block.start * taps..].iter_mut().zip(from) {
                *to += *from;
            }
        }
    }
    gw
}

/// The gradient of the bias: the sum of each channel.
pub(super) fn bias_gradient<T: Real>(geometry: &Geometry, gy: &[T]) -> Vec<T> {
    let (positions, outs) = (geometry.positions(), geometry.out_channels);
    (0..outs)
        .into_par_iter()
        .map(|channel| {
            let of = |example| &gy[(example * outs + channel) * positions..][..positions];
            T::of((0..geometry.batch).map(|example| sum_f64(of(example))).sum())
        })
        .collect()
}

/// The sum of values in double precision.
fn sum_f64<T: Real>(values: &[T]) -> f64 {
    values.iter().map(|value| value.wide()).sum()
}
