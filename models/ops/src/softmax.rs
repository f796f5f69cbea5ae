//! Softmax.

use candle_core::{D, Result, Tensor};

use crate::{
    error,
    math::Real,
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{if_wanted, largest, over_rows, sums, vectorised},
};

/// Softmax over the last axis, safe for large numbers; hidden entries may be negative infinity.
///
/// Backward is `gx = y (gy - sum(gy y))`.
///
/// # Errors
/// When `x` has no axis.
pub fn softmax_last_dim(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 {
        return Err(error::shape("softmax_last_dim", "x", x, "[.., C]"));
    }
    if !has_kernel(x) {
        let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
        let exponentials = shifted.exp()?;
        return exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?);
    }
    let x = x.contiguous()?;
    by_dtype!(x, on_cpu(&x))
}

fn on_cpu<T: Real>(x: &Tensor) -> Result<Tensor> {
    let row = x.dim(D::Minus1)?;
    let input = Values::<T>::of(x)?;
    let mut y = vec![T::zero(); input.len()];
    over_rows(&mut y, row, |first, to| {
        let start = first * row;
        let end = start + to.len();
        forward::<T>(to, &input[start..end], row);
    });
    drop(input);
    node(
        "softmax_last_dim",
        &[x],
        value(y, x.dims()),
        Box::new(move |y, gradient, wanted| {
            let run = || {
                let gradient = gradient.contiguous()?;
                let (values, gradient) = (Values::<T>::of(y)?, Values::of(&gradient)?);
                let mut gx = vec![T::zero(); values.len()];
                over_rows(&mut gx, row, |first, to| {
                    let range = first * row..first * row + to.len();
                    backward::<T>(to, &values[range.clone()], &gradient[range], row);
                });
                tensor(gx, y.dims())
            };
            Ok(vec![if_wanted(wanted[0], run)?])
        }),
    )
}

vectorised! {
    fn forward<T: Real>(to: &mut [T], x: &[T], row: usize) {
        for (to, x) in to.chunks_exact_mut(row).zip(x.chunks_exact(row)) {
            let top = largest(x);
            for (to, x) in to.iter_mut().zip(x) {
                *to = (*x - top).exponential();
            }
            let [sum] = sums([&*to], |[e]| [e]);
            let share = T::of(1.0 / sum);
            for to in to {
                *to *= share;
            }
        }
    }
}

vectorised! {
    fn backward<T: Real>(to: &mut [T], y: &[T], gradient: &[T], row: usize) {
        let rows = to.chunks_exact_mut(row).zip(y.chunks_exact(row));
        for ((to, y), gradient) in rows.zip(gradient.chunks_exact(row)) {
            let [along] = sums([y, gradient], |[y, g]| [y * g]);
            let along = T::of(along);
            for ((to, y), gradient) in to.iter_mut().zip(y).zip(gradient) {
                *to = *y * (*gradient - along);
            }
        }
    }
}
