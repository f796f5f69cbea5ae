//! The linear layer.

use candle_core::{Error, Result, Shape, Tensor};

use crate::{
    error,
    math::Real,
    node::{Value, node},
    product::{Matrix, multiply_spread},
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{column_sums, if_wanted, narrow},
};

/// `x wᵀ + bias`.
///
/// `x` is `[.., I]` with any number of axes before the last, `w` is `[O, I]` as PyTorch stores it,
/// `bias` is `[O]`; the result is `[.., O]`.
///
/// Backward is `gx = gy w`, `gw = gyᵀ x` and `gb` the sum of `gy` over rows.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (Some((ins, leading)), [outs, columns]) = (x.dims().split_last(), w.dims()) else {
        return Err(error::shape("linear", "w", w, "[O, I], with `x` as [.., I]"));
    };
    if ins != columns {
        return Err(error::shape("linear", "x", x, format!("[.., {columns}] as of `w`")));
    }
    error::check_type("linear", "w", w, x)?;
    if let Some(bias) = bias {
        error::check_shape("linear", "bias", bias, &[*outs])?;
        error::check_type("linear", "bias", bias, x)?;
    }
    let shape: Vec<usize> = leading.iter().copied().chain([*outs]).collect();
    let sizes = Sizes { rows: leading.iter().product(), ins: *ins, outs: *outs };
    let kept = Kept { x: x.detach().contiguous()?, w: w.detach().contiguous()?, sizes };
    if has_kernel(x) && x.elem_count() > 0 && w.elem_count() > 0 {
        return by_dtype!(x, on_cpu([x, w], bias, kept, shape));
    }
    composed([x, w], bias, kept, shape)
}

/// [`linear`] without gradients for the weights, and without the memory for them: for LoRA, frozen
/// encoders, and a discriminator while the generator learns.
///
/// # Errors
/// As of [`linear`].
pub fn frozen_linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear(x, &w.detach(), bias.map(Tensor::detach).as_ref())
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    ins: usize,
    outs: usize,
}

/// Off the graph and contiguous.
struct Kept {
    x: Tensor,
    w: Tensor,
    sizes: Sizes,
}

/// What backward needs, and no more: frozen weights need no `x`, which is most of what a layer could
/// save in training adapters.
struct Needed {
    /// For the gradient of `w`.
    x: Option<Tensor>,
    /// For the gradient of `x`.
    w: Option<Tensor>,
    shape: Shape,
}

impl Kept {
    fn needed(self, [x, w]: [&Tensor; 2]) -> Needed {
        let shape = x.shape().clone();
        Needed { x: w.track_op().then_some(self.x), w: x.track_op().then_some(self.w), shape }
    }
}

/// What was kept, since backward asks only for gradients of what is on the graph.
fn present(kept: Option<&Tensor>) -> Result<&Tensor> {
    kept.ok_or_else(|| Error::msg("linear: backward asks for the gradient of a frozen tensor"))
}

fn on_cpu<T: Real>(
    [x, w]: [&Tensor; 2],
    bias: Option<&Tensor>,
    kept: Kept,
    shape: Vec<usize>,
) -> Result<Tensor> {
    let Sizes { rows, ins, outs } = kept.sizes;
    let mut y = vec![T::zero(); rows * outs];
    if let Some(bias) = bias {
        let bias = bias.contiguous()?;
        let bias = Values::<T>::of(&bias)?;
        for row in y.chunks_exact_mut(outs) {
            row.copy_from_slice(&bias);
        }
    }
    {
        let (x, w) = (Values::<T>::of(&kept.x)?, Values::<T>::of(&kept.w)?);
        let (x, w) = (Matrix::rows(&x, ins), Matrix::rows(&w, ins).turned());
        multiply_spread(&mut y, bias.is_some(), [rows, outs, ins], x, w);
    }
    let mut inputs = vec![x, w];
    inputs.extend(bias);
    let kept = kept.needed([x, w]);
    node(
        "linear",
        &inputs,
        value(y, shape),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let gradient = Values::<T>::of(&gradient)?;
            let gy = Matrix::rows(&gradient, outs);
            let gx = || {
                let mut gx = vec![T::zero(); rows * ins];
                let w = Values::<T>::of(present(kept.w.as_ref())?)?;
                multiply_spread(&mut gx, false, [rows, ins, outs], gy, Matrix::rows(&w, ins));
                tensor(gx, kept.shape.dims())
            };
            let gw = || {
                let mut gw = vec![T::zero(); outs * ins];
                let x = Values::<T>::of(present(kept.x.as_ref())?)?;
                let size = [outs, ins, rows];
                multiply_spread(&mut gw, false, size, gy.turned(), Matrix::rows(&x, ins));
                tensor(gw, (outs, ins))
            };
            let gb = || tensor(narrow::<T>(column_sums::<T>(&gradient, outs)), outs);
            let mut all = vec![if_wanted(wanted[0], gx)?, if_wanted(wanted[1], gw)?];
            if let Some(wanted) = wanted.get(2) {
                all.push(if_wanted(*wanted, gb)?);
            }
            Ok(all)
        }),
    )
}

/// By candle's operations.
fn composed(
    [x, w]: [&Tensor; 2],
    bias: Option<&Tensor>,
    kept: Kept,
    shape: Vec<usize>,
) -> Result<Tensor> {
    let Sizes { rows, ins, outs } = kept.sizes;
    let mut y = kept.x.reshape((rows, ins))?.matmul(&kept.w.t()?)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.detach())?;
    }
    let mut inputs = vec![x, w];
    inputs.extend(bias);
    let kept = kept.needed([x, w]);
    node(
        "linear",
        &inputs,
        Value::Tensor(y.reshape(shape)?),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?.reshape((rows, outs))?;
            let gx = || gradient.matmul(present(kept.w.as_ref())?)?.reshape(&kept.shape);
            let gw = || {
                let x = present(kept.x.as_ref())?.reshape((rows, ins))?;
                gradient.t()?.matmul(&x)
            };
            let gb = || {
                // In half precision the sum over many rows would lose what the terms have.
                let wide = crate::slices::at_least_single(&gradient)?.sum(0)?;
                wide.to_dtype(gradient.dtype())
            };
            let mut all = vec![if_wanted(wanted[0], gx)?, if_wanted(wanted[1], gw)?];
            if let Some(wanted) = wanted.get(2) {
                all.push(if_wanted(*wanted, gb)?);
            }
            Ok(all)
        }),
    )
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::{Kept, Sizes};

    /// Backward through frozen weights holds no activation, and weights of a first layer none of theirs.
    #[test]
    fn only_what_backward_needs_is_kept() {
        let plain = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
        let var = Var::from_tensor(&plain).unwrap();
        let cases = [(&plain, var.as_tensor()), (var.as_tensor(), &plain)];
        for (x, w) in cases {
            let sizes = Sizes { rows: 2, ins: 3, outs: 2 };
            let needed = Kept { x: x.detach(), w: w.detach(), sizes }.needed([x, w]);
            assert_eq!((needed.x.is_some(), needed.w.is_some()), (w.track_op(), x.track_op()));
            assert_ne!(needed.x.is_some(), needed.w.is_some());
        }
    }
}
