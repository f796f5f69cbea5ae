//! Normalisation over groups of channels, alone or with SiLU after it.
//!
//! With `n` the normalised values and `z = n weight + bias`, `y` is `z` or `silu(z)`. Backward, with
//! `d = gy silu'(z)` (or `gy`) and means over a group, is
//! `gx = r (d weight - mean(d weight) - n mean(d weight n))`; `weight` gets the sum of `d n` over
//! examples and positions, `bias` that of `d`. SiLU is in the same pass, because each pass over an
//! activation of a video VAE costs as much as the arithmetic of ten. One mean and one spread per
//! group are kept from forward.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::{
    activation::{Activation as _, Silu, silu},
    error,
    math::Real,
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{if_wanted, sums, vectorised},
};

/// Group normalisation (Wu and He, 2018): channels of `x`, `[B, C, ..]`, are cut into `groups`, and
/// each group of each example is normalised over its channels and all other axes; then times
/// `weight` plus `bias`, each `[C]` where given.
///
/// # Errors
/// When shapes or types do not fit each other, or `groups` does not divide `C`.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let form = Form::new("group_norm", x, groups, eps)?;
    form.apply(x, weight, bias)
}

/// [`silu`] of [`group_norm`].
///
/// # Errors
/// As of [`group_norm`].
pub fn group_norm_silu(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let form = Form { silu: true, ..Form::new("group_norm_silu", x, groups, eps)? };
    form.apply(x, weight, bias)
}

#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    groups: usize,
    eps: f64,
    silu: bool,
    batch: usize,
    channels: usize,
    /// Values of one channel.
    positions: usize,
}

impl Form {
    fn new(name: &'static str, x: &Tensor, groups: usize, eps: f64) -> Result<Self> {
        let [batch, channels, rest @ ..] = x.dims() else {
            return Err(error::shape(name, "x", x, "[B, C, ..]"));
        };
        if x.elem_count() == 0 {
            return Err(error::shape(name, "x", x, "[B, C, ..] with at least one element"));
        }
        if groups == 0 || channels % groups != 0 {
            let wanted = format!("a divisor of the {channels} channels of `x`");
            return Err(error::range(name, "groups", groups, wanted));
        }
        let (batch, channels, positions) = (*batch, *channels, rest.iter().product());
        Ok(Self { name, groups, eps, silu: false, batch, channels, positions })
    }

    /// Channels of a group.
    fn width(&self) -> usize {
        self.channels / self.groups
    }

    fn apply(&self, x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
        for (name, given) in [("weight", weight), ("bias", bias)] {
            if let Some(given) = given {
                error::check_shape(self.name, name, given, &[self.channels])?;
                error::check_type(self.name, name, given, x)?;
            }
        }
        if !has_kernel(x) {
            let y = self.composed(x, weight, bias)?;
            return if self.silu { silu(&y) } else { Ok(y) };
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
        let flat = wide.reshape((self.batch, self.groups, self.width() * self.positions))?;
        let centred = flat.broadcast_sub(&flat.mean_keepdim(2)?)?;
        let spread = (centred.sqr()?.mean_keepdim(2)? + self.eps)?.sqrt()?;
        let y = centred.broadcast_div(&spread)?;
        let mut y = y.reshape((self.batch, self.channels, self.positions))?;
        let along = |given: &Tensor| given.to_dtype(y.dtype())?.reshape((1, self.channels, 1));
        let (weight, bias) = (weight.map(along).transpose()?, bias.map(along).transpose()?);
        if let Some(weight) = weight {
            y = y.broadcast_mul(&weight)?;
        }
        if let Some(bias) = bias {
            y = y.broadcast_add(&bias)?;
        }
        y.reshape(x.shape())?.to_dtype(x.dtype())
    }
}

/// What a group is normalised by.
#[derive(Clone, Copy)]
struct Moments<T> {
    mean: T,
    inverse: T,
}

/// One group of an example: its moments, and weight and bias of its channels.
struct Group<'a, T> {
    form: Form,
    moments: Moments<T>,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
}

impl<'a, T: Real> Group<'a, T> {
    fn new(
        form: Form,
        index: usize,
        moments: Moments<T>,
        affine: (Option<&'a [T]>, Option<&'a [T]>),
    ) -> Self {
        let start = index % form.groups * form.width();
        let part = |all: Option<&'a [T]>| all.map(|all| &all[start..start + form.width()]);
        Self { form, moments, weight: part(affine.0), bias: part(affine.1) }
    }

    /// Factor and summand that make `z` of `x`, for a channel of the group.
    #[inline(always)]
    fn line(&self, channel: usize) -> (T, T) {
        let weight = self.weight.map_or(T::one(), |weight| weight[channel]);
        let bias = self.bias.map_or(T::zero(), |bias| bias[channel]);
        let factor = self.moments.inverse * weight;
        (factor, bias - self.moments.mean * factor)
    }
}

fn on_cpu<T: Real>(
    form: Form,
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let size = form.width() * form.positions;
    let mut y = vec![T::zero(); x.elem_count()];
    let moments: Vec<Moments<T>> = {
        let input = Values::<T>::of(x)?;
        let weight = weight.map(Values::<T>::of).transpose()?;
        let bias = bias.map(Values::<T>::of).transpose()?;
        let affine = (weight.as_deref(), bias.as_deref());
        let work = y.par_chunks_mut(size).zip(input.par_chunks(size)).enumerate();
        let moments = work.map(|(index, (to, x))| {
            let moments = measure::<T>(x, form.eps);
            forward::<T>(to, x, &Group::new(form, index, moments, affine));
            moments
        });
        moments.collect()
    };
    let (kept, kept_weight, kept_bias) =
        (x.detach(), weight.map(Tensor::detach), bias.map(Tensor::detach));
    let mut inputs = vec![x];
    inputs.extend(weight);
    inputs.extend(bias);
    node(
        form.name,
        &inputs,
        value(y, x.dims()),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let (input, gradient) = (Values::<T>::of(&kept)?, Values::<T>::of(&gradient)?);
            let weight = kept_weight.as_ref().map(Values::<T>::of).transpose()?;
            let bias = kept_bias.as_ref().map(Values::<T>::of).transpose()?;
            let affine = (weight.as_deref(), bias.as_deref());
            let mut gx = vec![T::zero(); input.len()];
            let work = gx.par_chunks_mut(size).zip(input.par_chunks(size));
            let work = work.zip(gradient.par_chunks(size)).zip(&moments).enumerate();
            // For each example and channel.
            let of_channels: Vec<Vec<[f64; 2]>> = work
                .map(|(index, (((to, x), gradient), moments))| {
                    backward::<T>(to, x, gradient, &Group::new(form, index, *moments, affine))
                })
                .collect();
            let totals = |which: usize| {
                let mut totals = vec![0.0; form.channels];
                let all = of_channels.iter().flatten().map(|sums| sums[which]);
                for (index, sum) in all.enumerate() {
                    totals[index % form.channels] += sum;
                }
                tensor(crate::vector::narrow::<T>(totals), form.channels)
            };
            let mut all = vec![if_wanted(wanted[0], || tensor(gx, kept.dims()))?];
            let given = [(0, weight.is_some()), (1, bias.is_some())];
            for (which, _) in given.into_iter().filter(|(_, given)| *given) {
                all.push(if_wanted(wanted[all.len()], || totals(which))?);
            }
            Ok(all)
        }),
    )
}

vectorised! {
    fn measure<T: Real>(x: &[T], eps: f64) -> Moments<T> {
        let count = x.len() as f64;
        let mean = T::of(sums([x], |[x]| [x])[0] / count);
        let [square] = sums([x], |[x]| [(x - mean) * (x - mean)]);
        Moments { mean, inverse: T::of(1.0 / (square / count + eps).sqrt()) }
    }
}

vectorised! {
    fn forward<T: Real>(to: &mut [T], x: &[T], group: &Group<'_, T>) {
        let positions = group.form.positions;
        let channels = to.chunks_exact_mut(positions).zip(x.chunks_exact(positions));
        for (channel, (to, x)) in channels.enumerate() {
            let (factor, summand) = group.line(channel);
            if group.form.silu {
                for (to, x) in to.iter_mut().zip(x) {
                    *to = Silu::value(*x * factor + summand);
                }
            } else {
                for (to, x) in to.iter_mut().zip(x) {
                    *to = *x * factor + summand;
                }
            }
        }
    }
}

vectorised! {
    fn backward<T: Real>(
        to: &mut [T],
        x: &[T],
        gradient: &[T],
        group: &Group<'_, T>,
    ) -> Vec<[f64; 2]> {
        let Moments { mean, inverse } = group.moments;
        let positions = group.form.positions;
        let count = x.len() as f64;
        let (mut level, mut along, mut of_channels) = (0.0, 0.0, Vec::new());
        let channels = to.chunks_exact_mut(positions).zip(x.chunks_exact(positions));
        for (channel, ((to, x), gradient)) in
            channels.zip(gradient.chunks_exact(positions)).enumerate()
        {
            let (factor, summand) = group.line(channel);
            if group.form.silu {
                for ((to, x), gradient) in to.iter_mut().zip(x).zip(gradient) {
                    *to = *gradient * Silu::slope(*x * factor + summand);
                }
            } else {
                to.copy_from_slice(gradient);
            }
            let [with, plain] = sums([&*to, x], |[d, x]| [d * ((x - mean) * inverse), d]);
            let weight = group.weight.map_or(1.0, |weight| weight[channel].wide());
            level += weight * plain;
            along += weight * with;
            of_channels.push([with, plain]);
        }
        let (level, along) = (T::of(level / count), T::of(along / count));
        let channels = to.chunks_exact_mut(positions).zip(x.chunks_exact(positions));
        for (channel, (to, x)) in channels.enumerate() {
            let weight = group.weight.map_or(T::one(), |weight| weight[channel]);
            for (to, x) in to.iter_mut().zip(x) {
                *to = inverse * (*to * weight - level - (*x - mean) * inverse * along);
            }
        }
        of_channels
    }
}
