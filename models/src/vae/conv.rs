//! Convolutions in time and space, and what lies beyond the ends of time.
//!
//! The released code switches a mode in every convolution before it runs an image or a slice. Here
//! it is an argument ([`Time`]), so that what is computed is to be seen where it is called.

use candle_core::Tensor;
use curate_ops::{
    PadMode, conv3d, interpolate_linear_t, pad_right_bottom, pad_time, upsample_nearest2d,
};

use super::{carry::Carry, config::Resample};
use crate::params::{Init, ParamsError, Scope};

/// What a convolution sees beyond the ends of its input in time, and how the decoder makes two
/// frames of one.
#[derive(Debug)]
pub enum Time<'a> {
    /// A single frame, with zeros around it (mode 1 of the released code). Time is not stretched.
    Image,
    /// A slice, with a frame of zeros at both ends (mode 2). Each frame becomes two.
    Slice,
    /// The first frame is repeated before the first (mode 0, MagViT). It stays one, each other
    /// becomes two.
    Causal,
    /// As `Causal` for the first chunk of a video; before later ones are the frames before them.
    Carried(&'a mut Carry),
}

/// A convolution with a kernel of three, or one, along each axis.
#[derive(Debug)]
pub(super) struct CausalConv3d {
    weight: Tensor,
    bias: Tensor,
    /// Frames of the kernel.
    reach: usize,
    stride: [usize; 3],
    /// Zeros on each side of height and width.
    padding: usize,
}

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvShape {
    pub(super) ins: usize,
    pub(super) outs: usize,
    pub(super) kernel: usize,
    pub(super) stride: [usize; 3],
    pub(super) padding: usize,
}

impl ConvShape {
    /// Three along each axis, of the same size as the input.
    pub(super) const fn same(ins: usize, outs: usize) -> Self {
        Self { ins, outs, kernel: 3, stride: [1; 3], padding: 1 }
    }

    /// A linear map of channels.
    pub(super) const fn pointwise(ins: usize, outs: usize) -> Self {
        Self { ins, outs, kernel: 1, stride: [1; 3], padding: 0 }
    }
}

impl CausalConv3d {
    pub(super) fn new(scope: &mut Scope<'_>, shape: ConvShape) -> Result<Self, ParamsError> {
        let ConvShape { ins, outs, kernel, stride, padding } = shape;
        let init = Init::torch(ins * kernel.pow(3));
        let weight = scope.get("weight", &[outs, ins, kernel, kernel, kernel], init)?;
        let bias = scope.get("bias", &[outs], init)?;
        Ok(Self { weight, bias, reach: kernel, stride, padding })
    }

    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        if self.reach == 1 {
            return self.convolve(x, 0);
        }
        match time {
            // One at both ends for a stride of 1 and of 2.
            Time::Image | Time::Slice => self.convolve(x, self.reach / 2),
            Time::Causal => self.convolve(&pad_time(x, self.reach - 1, 0, PadMode::Replicate)?, 0),
            Time::Carried(carry) => {
                let joined = carry.join(x, self.reach - 1, self.reach - self.stride[0])?;
                self.convolve(&joined, 0)
            }
        }
    }

    fn convolve(&self, x: &Tensor, time_padding: usize) -> candle_core::Result<Tensor> {
        let weight = self.weight.to_dtype(x.dtype())?;
        let bias = self.bias.to_dtype(x.dtype())?;
        let padding = [time_padding, self.padding, self.padding];
        conv3d(x, &weight, Some(&bias), self.stride, padding)
    }
}

/// Halves height and width, and time where asked for: a convolution with a stride, after a row and
/// a column of zeros at the bottom and the right.
#[derive(Debug)]
pub(super) struct Downsampler(CausalConv3d);

impl Downsampler {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
        resample: Resample,
    ) -> Result<Self, ParamsError> {
        let frames = if resample == Resample::SpatialTemporal { 2 } else { 1 };
        let shape =
            ConvShape { stride: [frames, 2, 2], padding: 0, ..ConvShape::same(width, width) };
        CausalConv3d::new(&mut scope.at("conv"), shape).map(Self)
    }

    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        self.0.forward(&pad_right_bottom(x, 1, 1, PadMode::Zero)?, time)
    }
}

/// Doubles height and width, then convolves, then doubles time where asked for.
#[derive(Debug)]
pub(super) struct Upsampler {
    conv: CausalConv3d,
    resample: Resample,
}

impl Upsampler {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        width: usize,
        resample: Resample,
    ) -> Result<Self, ParamsError> {
        let conv = CausalConv3d::new(&mut scope.at("conv"), ConvShape::same(width, width))?;
        Ok(Self { conv, resample })
    }

    pub(super) fn forward(&self, x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
        let x = self.conv.forward(&upsample_nearest2d(x, 2)?, time)?;
        match self.resample {
            Resample::Spatial => Ok(x),
            Resample::SpatialTemporal => stretch(&x, time),
        }
    }
}

/// Makes two frames of one.
fn stretch(x: &Tensor, time: &mut Time<'_>) -> candle_core::Result<Tensor> {
    match time {
        Time::Image => Ok(x.clone()),
        Time::Slice => interpolate_linear_t(x),
        Time::Causal => {
            let frames = x.dim(2)?;
            if frames == 1 {
                return Ok(x.clone());
            }
            let rest = interpolate_linear_t(&x.narrow(2, 1, frames - 1)?)?;
            Tensor::cat(&[&x.narrow(2, 0, 1)?, &rest], 2)
        }
        // What the released code does at a chunk's ends depends on where they are. Halfway between
        // neighbours, and then the frame itself, needs only the frame before: the first frame stays
        // one, and a chunk's end is as good a place as any.
        Time::Carried(carry) => {
            let is_first = carry.is_first();
            let joined = carry.join(x, 0, 1)?;
            let pairs = joined.dim(2)? - 1;
            let [batch, channels, _, height, width] = *x.dims() else { return Ok(joined) };
            if pairs == 0 {
                return Ok(joined);
            }
            let after = joined.narrow(2, 1, pairs)?;
            let between = ((joined.narrow(2, 0, pairs)? + &after)? * 0.5)?;
            let doubled = Tensor::stack(&[between, after], 3)?;
            let doubled = doubled.reshape((batch, channels, 2 * pairs, height, width))?;
            if !is_first {
                return Ok(doubled);
            }
            Tensor::cat(&[&joined.narrow(2, 0, 1)?, &doubled], 2)
        }
    }
}
