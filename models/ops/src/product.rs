//! Matrix products on slices. Most run on one thread, as the work around them is cut for threads
//! already.
#![expect(unsafe_code, reason = "gemm takes pointers")]

use gemm::{Parallelism, gemm};

use crate::math::Real;

/// `to[m,n] = (keep ? to : 0) + factor a[m,k] b[k,n]`, each with its strides from row to row and
/// from column to column.
pub(crate) struct Product<T> {
    /// `m`, `n` and `k`.
    pub(crate) size: [usize; 3],
    pub(crate) to: *mut T,
    pub(crate) to_strides: [usize; 2],
    pub(crate) keep: bool,
    pub(crate) factor: T,
    pub(crate) a: *const T,
    pub(crate) a_strides: [usize; 2],
    pub(crate) b: *const T,
    pub(crate) b_strides: [usize; 2],
    /// On all threads of the pool. It cuts rows and columns of the result and never a sum, so the
    /// result is the same.
    pub(crate) spread: bool,
}

impl<T: Real> Product<T> {
    /// # Safety
    /// The pointers are valid for all elements, and nobody else touches those of `to`.
    pub(crate) unsafe fn run(&self) {
        let [m, n, k] = self.size;
        let signed = |strides: [usize; 2]| strides.map(|stride| stride as isize);
        let (to, a, b) = (signed(self.to_strides), signed(self.a_strides), signed(self.b_strides));
        let threads = match self.spread {
            true => Parallelism::Rayon(rayon::current_num_threads()),
            false => Parallelism::None,
        };
        // SAFETY: as the caller says.
        unsafe {
            gemm(
                m,
                n,
                k,
                self.to,
                to[1],
                to[0],
                self.keep,
                self.a,
                a[1],
                a[0],
                self.b,
                b[1],
                b[0],
                T::one(),
                self.factor,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

/// A matrix: its values and its strides from row to row and from column to column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// Rows of this length one behind the other.
    pub(crate) fn rows(values: &'a [T], row: usize) -> Self {
        Self { values, strides: [row, 1] }
    }

    /// Rows and columns exchanged.
    pub(crate) fn turned(self) -> Self {
        Self { values: self.values, strides: [self.strides[1], self.strides[0]] }
    }

    fn reach(&self, rows: usize, columns: usize) -> usize {
        match (rows, columns) {
            (0, _) | (_, 0) => 0,
            _ => (rows - 1) * self.strides[0] + (columns - 1) * self.strides[1] + 1,
        }
    }
}

/// `to = (keep ? to : 0) + factor a b`, where `to` has `m` rows of `n`, and `k` lies between.
pub(crate) fn multiply<T: Real>(
    to: &mut [T],
    keep: bool,
    factor: T,
    size: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    product(to, keep, factor, size, a, b, false);
}

/// [`multiply`] on all threads.
pub(crate) fn multiply_spread<T: Real>(
    to: &mut [T],
    keep: bool,
    size: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    product(to, keep, T::one(), size, a, b, true);
}

fn product<T: Real>(
    to: &mut [T],
    keep: bool,
    factor: T,
    [m, n, k]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    spread: bool,
) {
    assert!(
        to.len() >= m * n && a.values.len() >= a.reach(m, k) && b.values.len() >= b.reach(k, n)
    );
    let product = Product {
        size: [m, n, k],
        to: to.as_mut_ptr(),
        to_strides: [n, 1],
        keep,
        factor,
        a: a.values.as_ptr(),
        a_strides: a.strides,
        b: b.values.as_ptr(),
        b_strides: b.strides,
        spread,
    };
    // SAFETY: the slices reach as far as the product, and `to` is borrowed.
    unsafe { product.run() }
}

/// A pointer that threads write through, each to its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: users write disjoint elements.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// `offset` lies within the slice.
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: as the caller says.
        unsafe { self.0.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_and_factors_are_kept() {
        let a: Vec<f64> = (0..6).map(f64::from).collect();
        let b: Vec<f64> = (0..8).map(|i| f64::from(i) - 3.0).collect();
        // `a` as 2x3, `b` as the 3x2 within a 4x2, turned from 2x4.
        let b = Matrix { values: &b, strides: [4, 1] }.turned();
        let mut to = vec![1.0; 4];
        multiply(&mut to, true, 2.0, [2, 2, 3], Matrix::rows(&a, 3), b);
        let at = |row: usize, column: usize| -> f64 {
            (0..3).map(|k| a[row * 3 + k] * ((column * 4 + k) as f64 - 3.0)).sum()
        };
        let wanted =
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(row, column)| 1.0 + 2.0 * at(row, column));
        assert_eq!(to, wanted);
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn short_slices_are_refused() {
        let mut to = vec![0f32; 3];
        multiply(
            &mut to,
            false,
            1.0,
            [2, 2, 1],
            Matrix::rows(&[1.0; 2], 1),
            Matrix::rows(&[1.0; 2], 2),
        );
    }
}
