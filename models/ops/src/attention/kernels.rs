//! Attention on slices: scores in tiles that stay in the cache.
//!
//! Forward keeps for each query the largest score so far and the sum of exponentials relative to it,
//! and rescales when a larger one comes (Milakov and Gimelshein, "Online normalizer calculation for
//! softmax", 2018). Backward makes the same tiles again.
//!
//! Work is cut by example, head and queries; backward by example and head where there are enough,
//! else queries and keys are gone through apart, which costs two more products.

use rayon::prelude::*;

use crate::{
    math::Real,
    product::{Matrix, multiply},
    vector::{largest, sums, vectorised},
};

/// Queries and keys of a tile: half a megabyte in all for heads of 64.
const QUERIES: usize = 128;
const KEYS: usize = 256;
/// From so many heads times examples on, each is one piece of work in backward.
const HEADS: usize = 8;

/// The sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Of a query and a key.
    pub(super) width: usize,
    /// Of a value.
    pub(super) value_width: usize,
    pub(super) scale: f64,
}

/// What is added to scores: stretched along axes of stride 0.
#[derive(Clone, Copy)]
pub(super) struct Mask<'a, T> {
    pub(super) values: &'a [T],
    /// Of example, head, query, key.
    pub(super) strides: [usize; 4],
}

/// All inputs.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) q: &'a [T],
    pub(super) k: &'a [T],
    pub(super) v: &'a [T],
    pub(super) mask: Option<Mask<'a, T>>,
}

/// A stretch of queries, or of keys.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    count: usize,
}

fn parts(all: usize, most: usize) -> impl Iterator<Item = Part> + Clone {
    (0..all).step_by(most).map(move |first| Part { first, count: most.min(all - first) })
}

/// The rows of a part in one head of `[B, H, N, D]`.
fn rows<T>(all: &[T], head: usize, length: usize, width: usize, part: Part) -> &[T] {
    &all[(head * length + part.first) * width..][..part.count * width]
}

impl<'a, T: Real> Inputs<'a, T> {
    fn q(&self, head: usize, part: Part) -> &'a [T] {
        rows(self.q, head, self.sizes.queries, self.sizes.width, part)
    }

    fn k(&self, head: usize, part: Part) -> &'a [T] {
        rows(self.k, head, self.sizes.keys, self.sizes.width, part)
    }

    fn v(&self, head: usize, part: Part) -> &'a [T] {
        rows(self.v, head, self.sizes.keys, self.sizes.value_width, part)
    }

    /// Scores of a tile, with the mask.
    fn scores(&self, head: usize, queries: Part, keys: Part, to: &mut [T]) {
        let width = self.sizes.width;
        let size = [queries.count, keys.count, width];
        let (q, k) = (self.q(head, queries), self.k(head, keys));
        let (q, k) = (Matrix::rows(q, width), Matrix::rows(k, width).turned());
        multiply(to, false, T::of(self.sizes.scale), size, q, k);
        let Some(Mask { values, strides }) = self.mask else { return };
        let of_head = head / self.sizes.heads * strides[0] + head % self.sizes.heads * strides[1];
        for (index, row) in to.chunks_exact_mut(keys.count).take(queries.count).enumerate() {
            let start = of_head + (queries.first + index) * strides[2] + keys.first * strides[3];
            if strides[3] == 0 {
                for score in row {
                    *score += values[start];
                }
            } else {
                for (score, mask) in row.iter_mut().zip(&values[start..]) {
                    *score += *mask;
                }
            }
        }
    }
}

/// The result, and for each query the logarithm of its sum of exponentials.
pub(super) fn forward<T: Real>(inputs: &Inputs<'_, T>) -> (Vec<T>, Vec<T>) {
    let sizes = inputs.sizes;
    let heads = sizes.batch * sizes.heads;
    let mut y = vec![T::zero(); heads * sizes.queries * sizes.value_width];
    let mut sums = vec![T::zero(); heads * sizes.queries];
    let mut work = Vec::new();
    let (mut y_rest, mut sums_rest) = (y.as_mut_slice(), sums.as_mut_slice());
    for head in 0..heads {
        for part in parts(sizes.queries, QUERIES) {
            let (y, rest) = y_rest.split_at_mut(part.count * sizes.value_width);
            y_rest = rest;
            let (sums, rest) = sums_rest.split_at_mut(part.count);
            sums_rest = rest;
            work.push((head, part, y, sums));
        }
    }
    let tile = || vec![T::zero(); QUERIES.min(sizes.queries) * KEYS.min(sizes.keys)];
    work.into_par_iter().for_each_init(tile, |tile, (head, queries, y, sums)| {
        let mut tops = vec![T::of(f64::NEG_INFINITY); queries.count];
        for keys in parts(sizes.keys, KEYS) {
            inputs.scores(head, queries, keys, tile);
            weigh::<T>(tile, keys.count, &mut tops, sums, y);
            let size = [queries.count, sizes.value_width, keys.count];
            let v = Matrix::rows(inputs.v(head, keys), sizes.value_width);
            multiply(y, true, T::one(), size, Matrix::rows(tile, keys.count), v);
        }
        for ((y, sum), top) in y.chunks_exact_mut(sizes.value_width).zip(sums).zip(&tops) {
            let share = T::one() / *sum;
            for y in y {
                *y *= share;
            }
            *sum = *top + T::of(sum.wide().ln());
        }
    });
    (y, sums)
}

vectorised! {
    /// Scores to exponentials relative to the largest score so far; what was summed up before is
    /// scaled to the same.
    fn weigh<T: Real>(
        tile: &mut [T],
        keys: usize,
        tops: &mut [T],
        totals: &mut [T],
        y: &mut [T],
    ) {
        let width = y.len() / tops.len();
        let rows = tile.chunks_exact_mut(keys).zip(y.chunks_exact_mut(width));
        for (((row, y), top), total) in rows.zip(tops).zip(totals) {
            let found = largest(row);
            let new = if found > *top { found } else { *top };
            // Of a row hidden so far nothing is subtracted: its exponentials are 0.
            let level = if new > T::of(f64::NEG_INFINITY) { new } else { T::zero() };
            for score in row.iter_mut() {
                *score = (*score - level).exponential();
            }
            let [sum] = sums([&*row], |[e]| [e]);
            let before = (*top - level).exponential();
            *total = *total * before + T::of(sum);
            for y in y {
                *y *= before;
            }
            *top = new;
        }
    }
}

/// The gradients of `q`, `k` and `v`; empty where not wanted.
pub(super) fn backward<T: Real>(
    inputs: &Inputs<'_, T>,
    y: &[T],
    sums: &[T],
    gy: &[T],
    wanted: [bool; 3],
) -> [Vec<T>; 3] {
    let sizes = inputs.sizes;
    let heads = sizes.batch * sizes.heads;
    let mut along = vec![T::zero(); heads * sizes.queries];
    let pairs = gy.par_chunks(sizes.value_width).zip(y.par_chunks(sizes.value_width));
    along.par_iter_mut().zip(pairs).with_min_len(256).for_each(|(along, (gy, y))| {
        *along = inner::<T>(gy, y);
    });
    let back = Back { inputs: *inputs, sums, gy, along: &along };
    let room = |wanted: bool, length: usize, width: usize| {
        vec![T::zero(); if wanted { heads * length * width } else { 0 }]
    };
    let mut gq = room(wanted[0], sizes.queries, sizes.width);
    let mut gk = room(wanted[1], sizes.keys, sizes.width);
    let mut gv = room(wanted[2], sizes.keys, sizes.value_width);
    let all_queries = Part { first: 0, count: sizes.queries };
    let all_keys = Part { first: 0, count: sizes.keys };
    let each_head = heads >= HEADS;
    let per_piece = |length: usize, most: usize| if each_head { length } else { most };
    let of_queries = [heads, sizes.queries, per_piece(sizes.queries, QUERIES)];
    let of_keys = [heads, sizes.keys, per_piece(sizes.keys, KEYS)];
    let q = split(&mut gq, of_queries, sizes.width);
    let k = split(&mut gk, of_keys, sizes.width);
    let v = split(&mut gv, of_keys, sizes.value_width);
    if each_head {
        let work: Vec<_> = q.into_iter().zip(k).zip(v).enumerate().collect();
        work.into_par_iter().for_each(|(head, ((q, k), v))| {
            back.run(head, all_queries, all_keys, [q, k, v]);
        });
        return [gq, gk, gv];
    }
    let piece = |index: usize, [_, length, most]: [usize; 3]| {
        let pieces = length.div_ceil(most);
        let first = index % pieces * most;
        (index / pieces, Part { first, count: most.min(length - first) })
    };
    if wanted[0] {
        q.into_par_iter().enumerate().for_each(|(index, q)| {
            let (head, queries) = piece(index, of_queries);
            back.run(head, queries, all_keys, [q, &mut [], &mut []]);
        });
    }
    if wanted[1] || wanted[2] {
        k.into_par_iter().zip(v).enumerate().for_each(|(index, (k, v))| {
            let (head, keys) = piece(index, of_keys);
            back.run(head, all_queries, keys, [&mut [], k, v]);
        });
    }
    [gq, gk, gv]
}

/// The rows of `heads` times `length`, in pieces of `most` within a head; as many empty ones if
/// there are no values.
fn split<T>(
    mut values: &mut [T],
    [heads, length, most]: [usize; 3],
    width: usize,
) -> Vec<&mut [T]> {
    let mut pieces = Vec::new();
    for _ in 0..heads {
        for part in parts(length, most) {
            let count = if values.is_empty() { 0 } else { part.count * width };
            let (piece, rest) = values.split_at_mut(count);
            pieces.push(piece);
            values = rest;
        }
    }
    pieces
}

/// What backward needs.
struct Back<'a, T> {
    inputs: Inputs<'a, T>,
    /// From [`forward`].
    sums: &'a [T],
    gy: &'a [T],
    /// For each query the product of `gy` and `y`.
    along: &'a [T],
}

impl<T: Real> Back<'_, T> {
    /// Adds to the gradients what the tiles of these queries and keys make. `to` begins at the first
    /// of the queries, and of the keys, and is empty where not wanted.
    fn run(&self, head: usize, queries: Part, keys: Part, to: [&mut [T]; 3]) {
        let sizes = self.inputs.sizes;
        let (width, value_width) = (sizes.width, sizes.value_width);
        let room = QUERIES.min(queries.count) * KEYS.min(keys.count);
        let (mut weights, mut slopes) = (vec![T::zero(); room], vec![T::zero(); room]);
        let [gq, gk, gv] = to;
        for part in parts(queries.count, QUERIES) {
            let query = Part { first: queries.first + part.first, count: part.count };
            let gy = rows(self.gy, head, sizes.queries, value_width, query);
            let gy = Matrix::rows(gy, value_width);
            let sums = rows(self.sums, head, sizes.queries, 1, query);
            let along = rows(self.along, head, sizes.queries, 1, query);
            let q = Matrix::rows(self.inputs.q(head, query), width);
            for inner in parts(keys.count, KEYS) {
                let key = Part { first: keys.first + inner.first, count: inner.count };
                let (n, m) = (query.count, key.count);
                self.inputs.scores(head, query, key, &mut weights);
                exponentials::<T>(&mut weights, m, sums);
                let tile = Matrix::rows(&weights, m);
                if !gv.is_empty() {
                    let to = &mut gv[inner.first * value_width..][..m * value_width];
                    multiply(to, true, T::one(), [m, value_width, n], tile.turned(), gy);
                }
                if gq.is_empty() && gk.is_empty() {
                    continue;
                }
                let v = Matrix::rows(self.inputs.v(head, key), value_width).turned();
                multiply(&mut slopes, false, T::one(), [n, m, value_width], gy, v);
                slope::<T>(&mut slopes, &weights, m, along);
                let (tile, scale) = (Matrix::rows(&slopes, m), T::of(sizes.scale));
                if !gq.is_empty() {
                    let k = Matrix::rows(self.inputs.k(head, key), width);
                    let to = &mut gq[part.first * width..][..n * width];
                    multiply(to, true, scale, [n, width, m], tile, k);
                }
                if !gk.is_empty() {
                    let to = &mut gk[inner.first * width..][..m * width];
                    multiply(to, true, scale, [m, width, n], tile.turned(), q);
                }
            }
        }
    }
}

vectorised! {
    fn inner<T: Real>(a: &[T], b: &[T]) -> T {
        T::of(sums([a, b], |[a, b]| [a * b])[0])
    }
}

vectorised! {
    /// Scores to weights.
    fn exponentials<T: Real>(tile: &mut [T], keys: usize, sums: &[T]) {
        for (row, sum) in tile.chunks_exact_mut(keys).zip(sums) {
            for score in row {
                *score = (*score - *sum).exponential();
            }
        }
    }
}

vectorised! {
    /// Gradients of weights to those of scores.
    fn slope<T: Real>(slopes: &mut [T], weights: &[T], keys: usize, along: &[T]) {
        let rows = slopes.chunks_exact_mut(keys).zip(weights.chunks_exact(keys));
        for ((slopes, weights), along) in rows.zip(along) {
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *slope = *weight * (*slope - *along);
            }
        }
    }
}
