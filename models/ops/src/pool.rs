//! Pooling.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::{
    axis::Table,
    error,
    math::Real,
    node::node,
    resample::{PadMode, pad_right_bottom},
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{if_wanted, vectorised},
};

/// The largest of each window of `kernel` x `kernel` pixels of `[.., H, W]`, one window every
/// `stride` pixels and none that crosses the border: `[.., H', W']` with
/// `H' = (H - kernel) / stride + 1` rounded down.
///
/// The gradient goes to the largest, to the first of equals. candle's own scales it by
/// `1 / kernel²`, or fails.
///
/// # Errors
/// When a number is 0, or the window is larger than the image.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    let [.., height, width] = *x.dims() else {
        return Err(error::shape("max_pool2d", "x", x, "[.., H, W]"));
    };
    if kernel == 0 || stride == 0 {
        return Err(error::range("max_pool2d", "kernel, stride", (kernel, stride), "at least 1"));
    }
    if height < kernel || width < kernel {
        let wanted = format!("an image of at least {kernel}x{kernel} pixels");
        return Err(error::shape("max_pool2d", "x", x, wanted));
    }
    let windows = Windows { size: [height, width], kernel, stride };
    if !has_kernel(x) {
        let rank = x.rank();
        return windows.composed(&windows.composed(x, rank - 2)?, rank - 1);
    }
    by_dtype!(x, largest_on_cpu(x, windows))
}

#[derive(Clone, Copy)]
struct Windows {
    /// Height and width.
    size: [usize; 2],
    kernel: usize,
    stride: usize,
}

impl Windows {
    fn out(&self) -> [usize; 2] {
        self.size.map(|size| (size - self.kernel) / self.stride + 1)
    }

    /// The largest along one axis, by candle's operations.
    fn composed(&self, x: &Tensor, axis: usize) -> Result<Tensor> {
        let x = x.contiguous()?;
        let count = (x.dim(axis)? - self.kernel) / self.stride + 1;
        let mut largest: Option<Tensor> = None;
        for tap in 0..self.kernel {
            let picks: Vec<u32> =
                (0..count).map(|index| (index * self.stride + tap) as u32).collect();
            let taken = x.index_select(&Tensor::new(picks, x.device())?, axis)?;
            largest = Some(match largest {
                None => taken,
                Some(largest) => largest.maximum(&taken)?,
            });
        }
        largest.ok_or_else(|| candle_core::Error::msg("an empty window"))
    }

    /// Calls `visit` with the number of each window of a plane and the index of each of its pixels.
    fn pixels(&self, mut visit: impl FnMut(usize, usize)) {
        let ([height, across], [_, width]) = (self.out(), self.size);
        for row in 0..height {
            for column in 0..across {
                let corner = (row * width + column) * self.stride;
                for down in 0..self.kernel {
                    for right in 0..self.kernel {
                        visit(row * across + column, corner + down * width + right);
                    }
                }
            }
        }
    }
}

/// The larger; what is no number wins, and stays.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if b > a || b.wide().is_nan() { b } else { a }
}

vectorised! {
    /// The largest values of a plane: first along columns, then along rows.
    fn largest<T: Real>(windows: &Windows, x: &[T], y: &mut [T], line: &mut [T]) {
        let (width, [_, across]) = (windows.size[1], windows.out());
        for (row, y) in y.chunks_exact_mut(across).enumerate() {
            let lines = x[row * windows.stride * width..].chunks_exact(width);
            for (down, from) in lines.take(windows.kernel).enumerate() {
                if down == 0 {
                    line.copy_from_slice(from);
                }
                for (line, from) in line.iter_mut().zip(from) {
                    *line = larger(*line, *from);
                }
            }
            let starts = line.windows(windows.kernel).step_by(windows.stride);
            for (y, window) in y.iter_mut().zip(starts) {
                *y = window[1..].iter().fold(window[0], |a, b| larger(a, *b));
            }
        }
    }
}

fn largest_on_cpu<T: Real>(x: &Tensor, windows: Windows) -> Result<Tensor> {
    let kept = x.detach().contiguous()?;
    let [height, across] = windows.out();
    let (from, to) = (windows.size[0] * windows.size[1], height * across);
    let planes = x.elem_count() / from;
    let mut y = vec![T::zero(); planes * to];
    {
        let input = Values::<T>::of(&kept)?;
        let line = || vec![T::zero(); windows.size[1]];
        let work = y.par_chunks_mut(to).zip(input.par_chunks(from));
        work.for_each_init(line, |line, (y, x)| largest::<T>(&windows, x, y, line));
    }
    let mut shape = x.dims().to_vec();
    let rank = shape.len();
    shape[rank - 2..].copy_from_slice(&[height, across]);
    node(
        "max_pool2d",
        &[x],
        value(y, shape),
        Box::new(move |y, gradient, wanted| {
            let run = || {
                let gradient = gradient.contiguous()?;
                let (gradient, y) = (Values::<T>::of(&gradient)?, Values::<T>::of(y)?);
                let input = Values::<T>::of(&kept)?;
                let mut gx = vec![T::zero(); planes * from];
                let work = gx.par_chunks_mut(from).zip(input.par_chunks(from));
                let work = work.zip(y.par_chunks(to)).zip(gradient.par_chunks(to));
                work.for_each(|(((gx, x), y), gradient)| {
                    let mut last = usize::MAX;
                    windows.pixels(|window, pixel| {
                        let found = window != last && is_same(x[pixel], y[window]);
                        if found {
                            gx[pixel] += gradient[window];
                            last = window;
                        }
                    });
                });
                tensor(gx, kept.dims())
            };
            Ok(vec![if_wanted(wanted[0], run)?])
        }),
    )
}

#[inline(always)]
fn is_same<T: Real>(a: T, b: T) -> bool {
    a == b || (a.wide().is_nan() && b.wide().is_nan())
}

/// Every second value along the last three axes of `[B, C, T, H, W]` after smoothing with the
/// normalised outer product of `[1, 2, 1]` (Zhang, "Making convolutional networks shift-invariant
/// again", 2019), with one zero beyond each border: `[B, C, ceil(T/2), ceil(H/2), ceil(W/2)]`.
///
/// # Errors
/// When `x` has another number of axes, or no element.
pub fn blur_pool3d(x: &Tensor) -> Result<Tensor> {
    if x.rank() != 5 || x.elem_count() == 0 {
        return Err(error::shape("blur_pool3d", "x", x, "[B, C, T, H, W]"));
    }
    let mut y = x.clone();
    for axis in 2..5 {
        let length = x.dim(axis)?;
        let outputs = (0..length.div_ceil(2)).map(|output| {
            let taps = [(2 * output).checked_sub(1), Some(2 * output), Some(2 * output + 1)];
            let taps = taps.into_iter().zip([0.25, 0.5, 0.25]);
            let inside =
                taps.filter_map(|(tap, weight)| Some((tap.filter(|tap| *tap < length)?, weight)));
            inside.collect()
        });
        y = Table::new(length, outputs.collect()).apply("blur_pool3d", &y, axis)?;
    }
    Ok(y)
}

/// The mean of each window of `kernel` x `kernel` pixels without overlap, of `[.., H, W]`.
/// Rows and columns that fill no window are left out.
///
/// # Errors
/// When `kernel` is 0 or the image is smaller.
pub fn avg_pool2d(x: &Tensor, kernel: usize) -> Result<Tensor> {
    let [.., height, width] = *x.dims() else {
        return Err(error::shape("avg_pool2d", "x", x, "[.., H, W]"));
    };
    if kernel == 0 || height < kernel || width < kernel {
        let wanted = format!("between 1 and the image of {height}x{width}");
        return Err(error::range("avg_pool2d", "kernel", kernel, wanted));
    }
    let table = |length: usize| {
        let taps =
            |output| (0..kernel).map(|tap| (output * kernel + tap, 1.0 / kernel as f64)).collect();
        Table::new(length, (0..length / kernel).map(taps).collect())
    };
    let rows = table(height).apply("avg_pool2d", x, x.rank() - 2)?;
    table(width).apply("avg_pool2d", &rows, x.rank() - 1)
}

/// Pads to even height and width by repeating the border: what pooling by two wants.
///
/// # Errors
/// As of [`pad_right_bottom`].
pub fn pad_to_even(x: &Tensor) -> Result<Tensor> {
    let [.., height, width] = *x.dims() else {
        return Err(error::shape("pad_to_even", "x", x, "[.., H, W]"));
    };
    pad_right_bottom(x, width % 2, height % 2, PadMode::Replicate)
}
