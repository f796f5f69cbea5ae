//! Normalisation over the last axis: layer normalisation, its modulated form, and root mean square.
//!
//! All are `y = n (base + weight) + bias` of the normalised row `n = (x - mean) r` with
//! `r = 1 / sqrt(mean((x - mean)²) + eps)`. Backward, with `d = gy (base + weight)` and means over
//! the row, is `gx = r (d - mean(d) - n mean(d n))`; without a mean to subtract, the middle term is
//! gone. `weight` gets the sum over rows of `gy n`, `bias` that of `gy`. One mean and one `r` per row
//! are kept from forward, everything else is computed again.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::{
    error,
    math::Real,
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{GRAIN, add_up, if_wanted, narrow, over_rows, rows_per_sum, sums, vectorised},
};

/// Layer normalisation over the last axis (Ba et al., 2016): `(x - mean) / sqrt(var + eps)`, with
/// the biased variance, then times `weight` plus `bias`, each `[C]` where given.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let last = last_axis("layer_norm", x)?;
    let rows = x.elem_count() / last;
    let form = Form { name: "layer_norm", centred: true, base: 0.0, eps, row: last, share: rows };
    form.check(x, weight, bias, &[last])?;
    form.apply(x, weight, bias)
}

/// Root mean square normalisation over the last axis (Zhang and Sennrich, 2019):
/// `x / sqrt(mean(x²) + eps)`, then times `weight`, `[C]` where given.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let last = last_axis("rms_norm", x)?;
    let rows = x.elem_count() / last;
    let form = Form { name: "rms_norm", centred: false, base: 0.0, eps, row: last, share: rows };
    form.check(x, weight, None, &[last])?;
    form.apply(x, weight, None)
}

/// Layer normalisation without own weights, then `n (1 + scale) + shift` with a scale and a shift
/// for each example: the adaptive form of diffusion transformers (Peebles and Xie, 2023).
///
/// `x` is `[B, .., C]`; `scale` and `shift` are `[B, C]`.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn layer_norm_modulated(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let name = "layer_norm_modulated";
    let last = last_axis(name, x)?;
    if x.rank() < 2 {
        return Err(error::shape(name, "x", x, "[B, .., C]"));
    }
    let batch = x.dim(0)?;
    let share = x.elem_count() / last / batch;
    let form = Form { name, centred: true, base: 1.0, eps, row: last, share };
    form.check(x, Some(scale), Some(shift), &[batch, last])?;
    form.apply(x, Some(scale), Some(shift))
}

fn last_axis(name: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(last) if x.elem_count() > 0 => Ok(*last),
        _ => Err(error::shape(name, "x", x, "[.., C] with at least one element")),
    }
}

/// Which normalisation.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    /// The mean is subtracted first.
    centred: bool,
    /// Added to the weight.
    base: f64,
    eps: f64,
    /// The length of a row.
    row: usize,
    /// So many consecutive rows have the same weight and bias.
    share: usize,
}

impl Form {
    fn check(
        &self,
        x: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        shape: &[usize],
    ) -> Result<()> {
        let names = if self.base > 0.0 { ["scale", "shift"] } else { ["weight", "bias"] };
        for (name, given) in names.into_iter().zip([weight, bias]) {
            if let Some(given) = given {
                error::check_shape(self.name, name, given, shape)?;
                error::check_type(self.name, name, given, x)?;
            }
        }
        Ok(())
    }

    fn apply(&self, x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.composed(x, weight, bias);
        }
        let x = x.contiguous()?;
        let weight = weight.map(Tensor::contiguous).transpose()?;
        let bias = bias.map(Tensor::contiguous).transpose()?;
        by_dtype!(x, on_cpu(*self, &x, weight.as_ref(), bias.as_ref()))
    }

    /// By candle's operations, in single precision if the input has half.
    fn composed(
        &self,
        x: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let wide = crate::slices::at_least_single(x)?;
        let centred = if self.centred {
            wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?
        } else {
            wide.clone()
        };
        let spread = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        let mut y = centred.broadcast_div(&spread)?;
        // [C], or [B, 1, .., C].
        let along = |given: &Tensor| {
            let mut shape = vec![1; x.rank()];
            shape[x.rank() - 1] = self.row;
            if given.rank() == 2 {
                shape[0] = given.dim(0)?;
            }
            given.to_dtype(wide.dtype())?.reshape(shape)
        };
        if let Some(weight) = weight {
            y = y.broadcast_mul(&(along(weight)? + self.base)?)?;
        }
        if let Some(bias) = bias {
            y = y.broadcast_add(&along(bias)?)?;
        }
        y.to_dtype(x.dtype())
    }
}

/// What a row is normalised by.
#[derive(Clone, Copy, Default)]
struct Moments<T> {
    mean: T,
    /// One over the spread.
    inverse: T,
}

/// Weight and bias, if there are any, with what they belong to.
struct Affine<'a, T> {
    form: Form,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
}

impl<'a, T: Real> Affine<'a, T> {
    fn of_row(&self, all: Option<&'a [T]>, row: usize) -> Option<&'a [T]> {
        all.map(|all| &all[row / self.form.share * self.form.row..][..self.form.row])
    }
}

fn on_cpu<T: Real + Default>(
    form: Form,
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let row = form.row;
    let mut moments = vec![Moments::<T>::default(); x.elem_count() / row];
    let mut y = vec![T::zero(); x.elem_count()];
    {
        let input = Values::<T>::of(x)?;
        let weight = weight.map(Values::<T>::of).transpose()?;
        let bias = bias.map(Values::<T>::of).transpose()?;
        let affine = Affine { form, weight: weight.as_deref(), bias: bias.as_deref() };
        let rows = (GRAIN / row).max(1);
        let work = y.par_chunks_mut(rows * row).zip(input.par_chunks(rows * row));
        work.zip(moments.par_chunks_mut(rows)).enumerate().for_each(
            |(index, ((to, x), moments))| {
                measure::<T>(x, &form, moments);
                normalise::<T>(to, x, moments, &affine, index * rows);
            },
        );
    }
    let (kept, kept_weight) = (x.detach(), weight.map(Tensor::detach));
    let (has_weight, has_bias) = (weight.is_some(), bias.is_some());
    let mut inputs = vec![x];
    inputs.extend(weight);
    inputs.extend(bias);
    let segments = x.elem_count() / row / form.share;
    let shape = if form.base > 0.0 { vec![segments, row] } else { vec![row] };
    node(
        form.name,
        &inputs,
        value(y, x.dims()),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let (input, gradient) = (Values::<T>::of(&kept)?, Values::<T>::of(&gradient)?);
            let weight = kept_weight.as_ref().map(Values::<T>::of).transpose()?;
            let affine = Affine { form, weight: weight.as_deref(), bias: None };
            let gx = || {
                let mut gx = vec![T::zero(); input.len()];
                over_rows(&mut gx, row, |first, to| {
                    let range = first * row..first * row + to.len();
                    let moments = &moments[first..first + to.len() / row];
                    let (x, gradient) = (&input[range.clone()], &gradient[range]);
                    back::<T>(to, x, gradient, moments, &affine, first);
                });
                tensor(gx, kept.dims())
            };
            let mut all = vec![if_wanted(wanted[0], gx)?];
            if has_weight || has_bias {
                let wanted = |index: usize| wanted.get(index).copied().unwrap_or(false);
                let (of_weight, of_bias) = if wanted(1) || wanted(2) {
                    column_sums::<T>(&form, &input, &gradient, &moments)
                } else {
                    Default::default()
                };
                if has_weight {
                    let gw = || tensor(narrow::<T>(of_weight), shape.as_slice());
                    all.push(if_wanted(wanted(1), gw)?);
                }
                if has_bias {
                    let gb = || tensor(narrow::<T>(of_bias), shape.as_slice());
                    all.push(if_wanted(wanted(usize::from(has_weight) + 1), gb)?);
                }
            }
            Ok(all)
        }),
    )
}

vectorised! {
    fn measure<T: Real>(x: &[T], form: &Form, to: &mut [Moments<T>]) {
        let count = form.row as f64;
        for (x, to) in x.chunks_exact(form.row).zip(to) {
            let mean = if form.centred { sums([x], |[x]| [x])[0] / count } else { 0.0 };
            let mean = T::of(mean);
            let [square] = sums([x], |[x]| [(x - mean) * (x - mean)]);
            let inverse = T::of(1.0 / (square / count + form.eps).sqrt());
            *to = Moments { mean, inverse };
        }
    }
}

vectorised! {
    fn normalise<T: Real>(
        to: &mut [T],
        x: &[T],
        moments: &[Moments<T>],
        affine: &Affine<'_, T>,
        first: usize,
    ) {
        let (row, base) = (affine.form.row, T::of(affine.form.base));
        let rows = to.chunks_exact_mut(row).zip(x.chunks_exact(row)).zip(moments);
        for (index, ((to, x), moments)) in rows.enumerate() {
            let Moments { mean, inverse } = *moments;
            for (to, x) in to.iter_mut().zip(x) {
                *to = (*x - mean) * inverse;
            }
            if let Some(weight) = affine.of_row(affine.weight, first + index) {
                for (to, weight) in to.iter_mut().zip(weight) {
                    *to *= base + *weight;
                }
            }
            if let Some(bias) = affine.of_row(affine.bias, first + index) {
                for (to, bias) in to.iter_mut().zip(bias) {
                    *to += *bias;
                }
            }
        }
    }
}

vectorised! {
    fn back<T: Real>(
        to: &mut [T],
        x: &[T],
        gradient: &[T],
        moments: &[Moments<T>],
        affine: &Affine<'_, T>,
        first: usize,
    ) {
        let (row, base) = (affine.form.row, T::of(affine.form.base));
        let count = row as f64;
        let rows = to.chunks_exact_mut(row).zip(x.chunks_exact(row));
        let rows = rows.zip(gradient.chunks_exact(row)).zip(moments);
        for (index, (((to, x), gradient), moments)) in rows.enumerate() {
            let Moments { mean, inverse } = *moments;
            match affine.of_row(affine.weight, first + index) {
                Some(weight) => {
                    for ((to, gradient), weight) in to.iter_mut().zip(gradient).zip(weight) {
                        *to = *gradient * (base + *weight);
                    }
                }
                None => to.copy_from_slice(gradient),
            }
            let [sum, along] = sums([&*to, x], |[d, x]| [d, d * ((x - mean) * inverse)]);
            let level = T::of(if affine.form.centred { sum / count } else { 0.0 });
            let along = T::of(along / count);
            for (to, x) in to.iter_mut().zip(x) {
                *to = inverse * (*to - level - (*x - mean) * inverse * along);
            }
        }
    }
}

/// The gradients of weight and bias.
fn column_sums<T: Real>(
    form: &Form,
    x: &[T],
    gradient: &[T],
    moments: &[Moments<T>],
) -> (Vec<f64>, Vec<f64>) {
    let row = form.row;
    let per = rows_per_sum(form.share, row);
    let (mut of_weight, mut of_bias) = (Vec::new(), Vec::new());
    // Each share of rows has weights of its own.
    for (segment, moments) in moments.chunks(form.share).enumerate() {
        let start = segment * form.share * row;
        let end = start + moments.len() * row;
        let pieces = x[start..end].par_chunks(per * row);
        let pieces = pieces.zip(gradient[start..end].par_chunks(per * row));
        let pieces = pieces.zip(moments.par_chunks(per));
        let sums = pieces.map(|((x, gradient), moments)| {
            let mut sums = [vec![0.0; row], vec![0.0; row]];
            add_columns::<T>(&mut sums, x, gradient, moments);
            sums
        });
        let (weights, biases): (Vec<_>, Vec<_>) =
            sums.collect::<Vec<_>>().into_iter().map(|[weight, bias]| (weight, bias)).unzip();
        of_weight.extend(add_up(&weights, row));
        of_bias.extend(add_up(&biases, row));
    }
    (of_weight, of_bias)
}

vectorised! {
    fn add_columns<T: Real>(
        sums: &mut [Vec<f64>; 2],
        x: &[T],
        gradient: &[T],
        moments: &[Moments<T>],
    ) {
        let [of_weight, of_bias] = sums;
        let row = of_weight.len();
        let rows = x.chunks_exact(row).zip(gradient.chunks_exact(row)).zip(moments);
        for ((x, gradient), Moments { mean, inverse }) in rows {
            let columns = of_weight.iter_mut().zip(of_bias.iter_mut()).zip(x).zip(gradient);
            for (((of_weight, of_bias), x), gradient) in columns {
                *of_weight += (*gradient * ((*x - *mean) * *inverse)).wide();
                *of_bias += gradient.wide();
            }
        }
    }
}
