//! Loops as vector code, sums in a fixed order, and work cut by size.

use candle_core::Result;
use rayon::prelude::*;

use crate::math::Real;

/// Compiles a function twice, for any processor and for those with AVX2, and picks one at each
/// call. What it calls is inlined, else it would stay code for any processor.
///
/// AVX-512 gave nothing on top: most of these loops wait for memory.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$($generic:ident: $bound:path),+>(
        $($argument:ident: $type:ty),* $(,)?
    ) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "code for AVX2 may be called only where it exists")
        )]
        $vis fn $name<$($generic: $bound),+>($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<$($generic: $bound),+>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn wide<$($generic: $bound),+>($($argument: $type),*) $(-> $result)? {
                body::<$($generic),+>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: this processor has it.
                return unsafe { wide::<$($generic),+>($($argument),*) };
            }
            body::<$($generic),+>($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// Partial sums that run side by side: as many as fill the widest vectors.
const LANES: usize = 16;
/// Values after which partial sums go on in double precision.
const BLOCK: usize = 4096;
/// Values for one piece of work; fewer are not worth another thread.
pub(crate) const GRAIN: usize = 16384;

/// Sums of `K` functions of `N` equally long slices.
///
/// The order of summation depends on the length alone.
#[inline(always)]
pub(crate) fn sums<T: Real, const N: usize, const K: usize>(
    slices: [&[T]; N],
    terms: impl Fn([T; N]) -> [T; K],
) -> [f64; K] {
    let length = slices[0].len();
    let slices = slices.map(|slice| &slice[..length]);
    let mut totals = [0.0; K];
    let mut start = 0;
    while start < length {
        let end = length.min(start + BLOCK);
        let mut lanes = [[T::zero(); LANES]; K];
        let blocks = slices.map(|slice| &slice[start..end]);
        let whole = (end - start) / LANES * LANES;
        let mut at = 0;
        while at < whole {
            let group = blocks.map(|block| &block[at..at + LANES]);
            for lane in 0..LANES {
                let term = terms(group.map(|values| values[lane]));
                for (sums, term) in lanes.iter_mut().zip(term) {
                    sums[lane] += term;
                }
            }
            at += LANES;
        }
        for (lane, at) in (whole..end - start).enumerate() {
            let term = terms(blocks.map(|block| block[at]));
            for (sums, term) in lanes.iter_mut().zip(term) {
                sums[lane] += term;
            }
        }
        for (total, lanes) in totals.iter_mut().zip(&lanes) {
            *total += lanes.iter().map(|lane| lane.wide()).sum::<f64>();
        }
        start = end;
    }
    totals
}

/// The largest value; negative infinity if there is none. Values that are not numbers are passed
/// over.
#[inline(always)]
pub(crate) fn largest<T: Real>(values: &[T]) -> T {
    let least = T::of(f64::NEG_INFINITY);
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [least; LANES];
    let groups = values.chunks_exact(LANES);
    let rest = groups.remainder();
    for group in groups {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], group[lane]);
        }
    }
    lanes.iter().chain(rest).fold(least, |a, b| larger(a, *b))
}

/// Calls `work` with the number of the first row and the rows of each piece, on all threads.
pub(crate) fn over_rows<T: Send>(to: &mut [T], row: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let rows = (GRAIN / row.max(1)).max(1);
    if to.len() <= rows * row {
        return work(0, to);
    }
    let pieces = to.par_chunks_mut(rows * row).enumerate();
    pieces.for_each(|(index, piece)| work(index * rows, piece));
}

/// Adds up rows of sums that threads made of their own pieces, in the order of pieces.
pub(crate) fn add_up(parts: &[Vec<f64>], length: usize) -> Vec<f64> {
    let mut total = vec![0.0; length];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}

/// The sum of each column, of rows of this length.
pub(crate) fn column_sums<T: Real>(values: &[T], row: usize) -> Vec<f64> {
    let per = rows_per_sum(values.len() / row.max(1), row);
    let pieces = values.par_chunks(per * row.max(1));
    let parts: Vec<Vec<f64>> = pieces
        .map(|piece| {
            let mut sums = vec![0.0; row];
            add_columns::<T>(&mut sums, piece);
            sums
        })
        .collect();
    add_up(&parts, row)
}

vectorised! {
    fn add_columns<T: Real>(sums: &mut [f64], values: &[T]) {
        for row in values.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value.wide();
            }
        }
    }
}

/// In how many rows each of at most 64 pieces goes for column sums.
pub(crate) fn rows_per_sum(rows: usize, row: usize) -> usize {
    rows.div_ceil(64).max(GRAIN.div_ceil(row.max(1))).max(1)
}

/// Values to a tensor's type.
pub(crate) fn narrow<T: Real>(values: Vec<f64>) -> Vec<T> {
    values.into_iter().map(T::of).collect()
}

/// Runs a part of a backward pass if its result is wanted.
pub(crate) fn if_wanted<R>(wanted: bool, run: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
    wanted.then(run).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_for_any_length() {
        for length in [0, 1, 15, 16, 17, 4095, 4096, 4097, 10_000] {
            let a: Vec<f64> = (0..length).map(|i| i as f64).collect();
            let b: Vec<f64> = (0..length).map(|i| (i % 7) as f64).collect();
            let [sum, product] = sums([&a, &b], |[a, b]| [a, a * b]);
            let wanted: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(sum, a.iter().sum::<f64>(), "{length}");
            assert_eq!(product, wanted, "{length}");
        }
    }

    #[test]
    fn the_largest_is_found_anywhere() {
        for length in 1..40 {
            for place in 0..length {
                let mut values = vec![-3f32; length];
                values[place] = 2.0;
                assert_eq!(largest(&values).to_bits(), 2f32.to_bits());
            }
        }
        assert!(largest::<f32>(&[]).is_infinite());
        assert_eq!(largest(&[f32::NAN, 1.0]).to_bits(), 1f32.to_bits());
    }
}
