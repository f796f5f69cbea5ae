//! Attention that never holds the scores.
//!
//! At 13 000 tokens and 16 heads the scores of one layer are 5.4 GB in half precision, at the
//! 130 000 tokens of a long clip a hundred times that. Here they are made in parts,
//! used, and dropped. Backward makes them again from `q`, `k`, `v` and the
//! logarithm of each row's sum of exponentials (Dao et al., "FlashAttention", 2022, section 3.1 and
//! appendix B.2).
//!
//! With `s = scale q kᵀ + mask`, `p = softmax(s)` and `y = p v`: `gv = pᵀ gy`,
//! `gs = p (gy vᵀ - rowsum(gy y))`, `gq = scale gs k`, `gk = scale gsᵀ q`.
//!
//! On the CPU the kernels of this crate go tile by tile ([`kernels`]); elsewhere candle's operations
//! do, a stretch of queries at a time ([`chunks`]).

mod chunks;
mod kernels;

use candle_core::{Result, Tensor};

use self::{
    chunks::Work,
    kernels::{Inputs, Mask, Sizes},
};
use crate::{
    error,
    math::Real,
    node::{Value, node},
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::if_wanted,
};

const NAME: &str = "attention";

/// The most scores that exist at a time: 64 MiB in single precision.
const SCORES: usize = 16 << 20;

/// `softmax(scale q kᵀ + mask) v`.
///
/// `q` is `[B, H, Nq, D]`, `k` and `v` are `[B, H, Nk, D]` (`v` may be wider), the result is
/// `[B, H, Nq, D]`. `mask` is added to the scores, broadcast from `[B, 1, 1, Nk]` or
/// `[B, 1, Nq, Nk]` (each axis of its size or 1), and gets no gradient; a key is hidden with
/// negative infinity, or a large negative number. Of a query that sees no key the result is not a
/// number.
///
/// Memory besides inputs and result is one number for each query, and on other devices than the
/// CPU, or in half precision, that of 16 Mi scores.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    scale: f64,
) -> Result<Tensor> {
    let name = NAME;
    let [batch, heads, queries, width] = *q.dims() else {
        return Err(error::shape(name, "q", q, "[B, H, Nq, D]"));
    };
    let [_, _, keys, _] = *k.dims() else {
        return Err(error::shape(name, "k", k, format!("[{batch}, {heads}, Nk, {width}]")));
    };
    error::check_shape(name, "k", k, &[batch, heads, keys, width])?;
    let fits = matches!(*v.dims(), [b, h, n, _] if [b, h, n] == [batch, heads, keys]);
    if !fits {
        return Err(error::shape(name, "v", v, format!("[{batch}, {heads}, {keys}, D]")));
    }
    for (argument, given) in [("k", k), ("v", v)] {
        error::check_type(name, argument, given, q)?;
    }
    if let Some(mask) = mask {
        let full = [batch, heads, queries, keys];
        let fits = mask.rank() == 4
            && mask.dims().iter().zip(full).all(|(given, full)| *given == 1 || *given == full);
        if !fits {
            let wanted = format!("{full:?} or 1 along each axis");
            return Err(error::shape(name, "mask", mask, wanted));
        }
        error::check_type(name, "mask", mask, q)?;
    }
    for (argument, given) in [("q", q), ("k", k), ("v", v)] {
        if given.elem_count() == 0 {
            return Err(error::shape(name, argument, given, "at least one element"));
        }
    }
    let tensors = Tensors {
        q: q.detach().contiguous()?,
        k: k.detach().contiguous()?,
        v: v.detach().contiguous()?,
        mask: mask.map(|mask| mask.detach().contiguous()).transpose()?,
        scale,
    };
    if has_kernel(q) {
        return by_dtype!(q, on_cpu([q, k, v], tensors));
    }
    let chunk = (SCORES / (batch * heads * keys)).clamp(1, queries);
    let work = Work { tensors, chunk };
    let (y, sums) = work.forward()?;
    node(
        NAME,
        &[q, k, v],
        Value::Tensor(y),
        Box::new(move |y, gradient, _| work.backward(y, &sums, &gradient.contiguous()?)),
    )
}

/// What attention is computed from, off the graph and contiguous.
#[derive(Clone)]
struct Tensors {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    scale: f64,
}

impl Tensors {
    /// Borrows the values for a kernel.
    fn lend<T: Real, R>(&self, kernel: impl FnOnce(&Inputs<'_, T>) -> R) -> Result<R> {
        let (batch, heads, queries, width) = self.q.dims4()?;
        let (_, _, keys, value_width) = self.v.dims4()?;
        let scale = self.scale;
        let sizes = Sizes { batch, heads, queries, keys, width, value_width, scale };
        let (q, k, v) = (Values::of(&self.q)?, Values::of(&self.k)?, Values::of(&self.v)?);
        let values = self.mask.as_ref().map(Values::<T>::of).transpose()?;
        let mask = self.mask.as_ref().zip(values.as_deref()).map(|(mask, values)| {
            let mut strides = [0; 4];
            let axes = mask.dims().iter().zip(mask.stride());
            for (to, (size, stride)) in strides.iter_mut().zip(axes) {
                *to = if *size == 1 { 0 } else { *stride };
            }
            Mask { values, strides }
        });
        Ok(kernel(&Inputs { sizes, q: &q, k: &k, v: &v, mask }))
    }
}

fn on_cpu<T: Real>(inputs: [&Tensor; 3], tensors: Tensors) -> Result<Tensor> {
    let (y, sums) = tensors.lend::<T, _>(kernels::forward)?;
    let (batch, heads, queries, _) = tensors.q.dims4()?;
    let shape = (batch, heads, queries, tensors.v.dim(3)?);
    node(
        NAME,
        &inputs,
        value(y, shape),
        Box::new(move |y, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let (y, gradient) = (Values::<T>::of(y)?, Values::<T>::of(&gradient)?);
            let wanted = [wanted[0], wanted[1], wanted[2]];
            let all =
                tensors.lend(|inputs| kernels::backward(inputs, &y, &sums, &gradient, wanted))?;
            let shapes = [&tensors.q, &tensors.k, &tensors.v].map(Tensor::shape);
            let made = all.into_iter().zip(shapes).zip(wanted);
            made.map(|((values, shape), wanted)| if_wanted(wanted, || tensor(values, shape)))
                .collect()
        }),
    )
}
