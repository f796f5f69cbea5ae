//! Convolutions in two and three dimensions, with any stride and padding per axis.
//!
//! candle has no convolution in three dimensions; its two-dimensional one takes one stride and
//! padding for both axes, fails backward where the axes differ, and is slow backward.
//!
//! On the CPU, patches are gathered tile by tile into a matrix and multiplied by the weights
//! ([`kernels`]). The whole matrix of patches never exists: it is 27 times the input for a kernel
//! of 3x3x3. Where there are few channels, there is no such matrix at all (`direct`).
//!
//! With `y[o] = sum over c, d of w[o,c,d] x[c, s p + d - pad]`, backward is
//! `gx[c, s p + d - pad] += w[o,c,d] gy[o,p]`, `gw[o,c,d] = sum over p of gy[o,p] x[c, s p + d - pad]`
//! and `gb[o] = sum over p of gy[o,p]`.

#[cfg(feature = "cudnn")]
mod cudnn;
#[cfg(target_arch = "x86_64")]
mod direct;
mod kernels;

use candle_core::{DType, Result, Tensor};

use crate::{
    error,
    math::Real,
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
};

/// The sizes of one convolution; of the three axes time comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) input: [usize; 3],
    pub(crate) out_channels: usize,
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) padding: [usize; 3],
    pub(crate) output: [usize; 3],
}

impl Geometry {
    /// The number of values of one patch.
    pub(crate) fn patch(&self) -> usize {
        self.channels * self.taps()
    }

    /// The number of values of the kernel per channel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The number of output positions of one channel.
    pub(crate) fn positions(&self) -> usize {
        self.output.iter().product()
    }

    /// The convolution that leads back from the output to the input, if strides are 1 and the
    /// padding is smaller than the kernel.
    pub(crate) fn turned(&self) -> Option<Self> {
        let fits =
            (0..3).all(|axis| self.stride[axis] == 1 && self.padding[axis] < self.kernel[axis]);
        fits.then(|| Self {
            channels: self.out_channels,
            out_channels: self.channels,
            input: self.output,
            output: self.input,
            padding: std::array::from_fn(|axis| self.kernel[axis] - 1 - self.padding[axis]),
            ..*self
        })
    }

    /// The number of input positions of one channel.
    pub(crate) fn points(&self) -> usize {
        self.input.iter().product()
    }
}

/// Convolution in three dimensions (cross-correlation, as everywhere in deep learning).
///
/// `x` is `[B, C, T, H, W]`, `w` is `[O, C, kt, kh, kw]`, `bias` is `[O]`; the result is
/// `[B, O, T', H', W']` with `T' = (T + 2 padding - kt) / stride + 1` rounded down, likewise the
/// others. Padding is with zeros on both sides; pad causally before, with [`crate::pad_time`].
///
/// # Errors
/// When shapes or types do not fit each other, or the kernel is larger than the padded input.
pub fn conv3d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 3],
    padding: [usize; 3],
) -> Result<Tensor> {
    let geometry = geometry("conv3d", x, w, stride, padding)?;
    convolve("conv3d", x, w, bias, &geometry)
}

/// [`conv3d`] without gradients for the weights, and without the memory for them.
///
/// # Errors
/// As of [`conv3d`].
pub fn frozen_conv3d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 3],
    padding: [usize; 3],
) -> Result<Tensor> {
    conv3d(x, &w.detach(), bias.map(Tensor::detach).as_ref(), stride, padding)
}

/// Convolution in two dimensions.
///
/// `x` is `[B, C, H, W]`, `w` is `[O, C, kh, kw]`, `bias` is `[O]`; the result is `[B, O, H', W']`
/// as for [`conv3d`].
///
/// # Errors
/// As of [`conv3d`].
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Tensor> {
    if x.rank() != 4 {
        return Err(error::shape("conv2d", "x", x, "[B, C, H, W]"));
    }
    if w.rank() != 4 {
        return Err(error::shape("conv2d", "w", w, "[O, C, kh, kw]"));
    }
    let (x, w) = (x.unsqueeze(2)?, w.unsqueeze(2)?);
    let geometry =
        geometry("conv2d", &x, &w, [1, stride[0], stride[1]], [0, padding[0], padding[1]])?;
    convolve("conv2d", &x, &w, bias, &geometry)?.squeeze(2)
}

/// [`conv2d`] without gradients for the weights, and without the memory for them.
///
/// # Errors
/// As of [`conv3d`].
pub fn frozen_conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Tensor> {
    conv2d(x, &w.detach(), bias.map(Tensor::detach).as_ref(), stride, padding)
}

/// The sizes, checked.
fn geometry(
    operation: &'static str,
    x: &Tensor,
    w: &Tensor,
    stride: [usize; 3],
    padding: [usize; 3],
) -> Result<Geometry> {
    let [batch, channels, input @ ..] = x.dims() else {
        return Err(error::shape(operation, "x", x, "[B, C, T, H, W]"));
    };
    let [out_channels, weight_channels, kernel @ ..] = w.dims() else {
        return Err(error::shape(operation, "w", w, "[O, C, kt, kh, kw]"));
    };
    let (Ok(input), Ok(kernel)) = (<[usize; 3]>::try_from(input), <[usize; 3]>::try_from(kernel))
    else {
        let (given, name, wanted) = if input.len() == 3 {
            (w, "w", "[O, C, kt, kh, kw]")
        } else {
            (x, "x", "[B, C, T, H, W]")
        };
        return Err(error::shape(operation, name, given, wanted));
    };
    if channels != weight_channels {
        let wanted = format!("[{out_channels}, {channels}, ..] as `x` has {channels} channels");
        return Err(error::shape(operation, "w", w, wanted));
    }
    error::check_type(operation, "w", w, x)?;
    for (argument, given) in [("x", x), ("w", w)] {
        if given.elem_count() == 0 {
            return Err(error::shape(operation, argument, given, "at least one element"));
        }
    }
    if stride.contains(&0) {
        return Err(error::range(operation, "stride", stride, "at least 1 along each axis"));
    }
    let mut output = [0; 3];
    for axis in 0..3 {
        let padded = input[axis] + 2 * padding[axis];
        if padded < kernel[axis] {
            let wanted = format!("an input of at least {kernel:?} with padding {padding:?}");
            return Err(error::shape(operation, "x", x, wanted));
        }
        output[axis] = (padded - kernel[axis]) / stride[axis] + 1;
    }
    let (batch, channels, out_channels) = (*batch, *channels, *out_channels);
    Ok(Geometry { batch, channels, input, out_channels, kernel, stride, padding, output })
}

fn convolve(
    operation: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<Tensor> {
    if let Some(bias) = bias {
        error::check_shape(operation, "bias", bias, &[geometry.out_channels])?;
        error::check_type(operation, "bias", bias, x)?;
    }
    if has_kernel(x) {
        let (x, w) = (x.contiguous()?, w.contiguous()?);
        let bias = bias.map(Tensor::contiguous).transpose()?;
        return by_dtype!(x, on_cpu(operation, &x, &w, bias.as_ref(), geometry));
    }
    if x.device().is_cpu() {
        // Of half precision: the CPU computes no faster in it.
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        let (wide_x, wide_w, wide_bias) = (wide(x)?, wide(w)?, bias.map(wide).transpose()?);
        return convolve(operation, &wide_x, &wide_w, wide_bias.as_ref(), geometry)?
            .to_dtype(x.dtype());
    }
    on_device(operation, x, w, bias, geometry)
}

/// By cuDNN.
#[cfg(feature = "cudnn")]
fn on_device(
    operation: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<Tensor> {
    use self::cudnn::{Pass, run};

    if !matches!(x.dtype(), DType::F32 | DType::BF16) {
        return by_planes(x, w, bias, geometry);
    }
    let geometry = *geometry;
    let (kept_x, kept_w) = (x.detach().contiguous()?, w.detach().contiguous()?);
    let y = run(Pass::Forward, &geometry, &kept_x, &kept_w)?;
    let y = node(
        operation,
        &[x, w],
        crate::node::Value::Tensor(y),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let gx = || run(Pass::Input, &geometry, &kept_w, &gradient);
            let gw = || run(Pass::Weights, &geometry, &kept_x, &gradient);
            Ok(vec![
                crate::vector::if_wanted(wanted[0], gx)?,
                crate::vector::if_wanted(wanted[1], gw)?,
            ])
        }),
    )?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, geometry.out_channels, 1, 1, 1))?),
        None => Ok(y),
    }
}

/// Without cuDNN, by candle's operations.
#[cfg(not(feature = "cudnn"))]
fn on_device(
    _: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<Tensor> {
    by_planes(x, w, bias, geometry)
}

fn on_cpu<T: Real>(
    operation: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<Tensor> {
    let geometry = *geometry;
    let [t, h, width] = geometry.output;
    let shape = (geometry.batch, geometry.out_channels, t, h, width);
    let bias_values = bias.map(Values::<T>::of).transpose()?;
    let y =
        kernels::forward::<T>(&geometry, &Values::of(x)?, &Values::of(w)?, bias_values.as_deref());
    drop(bias_values);
    let (kept_x, kept_w) = (x.detach(), w.detach());
    let mut inputs = vec![x, w];
    inputs.extend(bias);
    node(
        operation,
        &inputs,
        value(y, shape),
        Box::new(move |_, gradient, wanted| {
            let gradient = gradient.contiguous()?;
            let gradient = Values::<T>::of(&gradient)?;
            let mut all = Vec::new();
            all.push(if wanted[0] {
                let w = Values::of(&kept_w)?;
                Some(tensor(kernels::input_gradient(&geometry, &w, &gradient), kept_x.dims())?)
            } else {
                None
            });
            all.push(if wanted[1] {
                let x = Values::of(&kept_x)?;
                Some(tensor(kernels::weight_gradient(&geometry, &x, &gradient), kept_w.dims())?)
            } else {
                None
            });
            if let Some(wanted) = wanted.get(2) {
                let sums =
                    || tensor(kernels::bias_gradient(&geometry, &gradient), geometry.out_channels);
                all.push(wanted.then(sums).transpose()?);
            }
            Ok(all)
        }),
    )
}

/// As a sum over the kernel's frames of two-dimensional convolutions: what a device without own
/// kernels can do.
fn by_planes(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, geometry: &Geometry) -> Result<Tensor> {
    let Geometry { batch, channels, out_channels, kernel, stride, padding, output, .. } = *geometry;
    let x = x.pad_with_zeros(2, padding[0], padding[0])?;
    let x =
        x.pad_with_zeros(3, padding[1], padding[1])?.pad_with_zeros(4, padding[2], padding[2])?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..kernel[0] {
        let frames: Vec<Tensor> = (0..output[0])
            .map(|frame| x.narrow(2, frame * stride[0] + tap, 1))
            .collect::<Result<_>>()?;
        let frames = Tensor::cat(&frames, 2)?.transpose(1, 2)?;
        let (height, width) = (frames.dim(3)?, frames.dim(4)?);
        let frames = frames.reshape((batch * output[0], channels, height, width))?;
        let plane = w.narrow(2, tap, 1)?.squeeze(2)?.contiguous()?;
        // candle's convolution has one stride, so the result of stride 1 is thinned out.
        let mut y = frames.conv2d(&plane, 0, 1, 1, 1)?;
        for axis in [1, 2] {
            if stride[axis] > 1 {
                let keep: Vec<u32> =
                    (0..output[axis]).map(|index| (index * stride[axis]) as u32).collect();
                let keep = Tensor::new(keep, y.device())?;
                y = y.index_select(&keep, axis + 1)?;
            }
        }
        sum = Some(match sum {
            None => y,
            Some(sum) => (sum + y)?,
        });
    }
    let sum = sum.ok_or_else(|| candle_core::Error::msg("a kernel without frames"))?;
    let sum =
        sum.reshape((batch, output[0], out_channels, output[1], output[2]))?.transpose(1, 2)?;
    match bias {
        Some(bias) => sum.broadcast_add(&bias.reshape((1, out_channels, 1, 1, 1))?),
        None => sum.contiguous(),
    }
}
