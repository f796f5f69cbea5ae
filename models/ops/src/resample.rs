//! Enlarging and padding.

use candle_core::{Result, Tensor};

use crate::{axis::Table, error};

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// The value at the border, repeated.
    Replicate,
    /// Zero.
    Zero,
}

/// Repeats each value `factor` times along both of the last two axes: nearest-neighbour enlargement
/// of `[B, C, H, W]` or `[B, C, T, H, W]` to `[.., factor H, factor W]`.
///
/// candle's own overwrites gradients that its input has from elsewhere.
///
/// # Errors
/// When `x` has fewer than two axes, or `factor` is 0.
pub fn upsample_nearest2d(x: &Tensor, factor: usize) -> Result<Tensor> {
    let name = "upsample_nearest2d";
    let [.., height, width] = *x.dims() else {
        return Err(error::shape(name, "x", x, "[.., H, W]"));
    };
    if factor == 0 {
        return Err(error::range(name, "factor", factor, "at least 1"));
    }
    let table =
        |length: usize| Table::picks(length, (0..length * factor).map(|i| Some(i / factor)));
    // Width first: rows are whole then.
    let wide = table(width).apply(name, x, x.rank() - 1)?;
    table(height).apply(name, &wide, x.rank() - 2)
}

/// Doubles the number of frames of `[B, C, T, H, W]` by linear interpolation without aligned
/// corners, as PyTorch's `interpolate(scale_factor=(2, 1, 1), mode="trilinear")`: frame `2t` is
/// `x[t-1] / 4 + 3 x[t] / 4`, frame `2t + 1` is `3 x[t] / 4 + x[t+1] / 4`, with the first and last
/// frame repeated beyond the ends.
///
/// # Errors
/// When `x` has another number of axes, or no frame.
pub fn interpolate_linear_t(x: &Tensor) -> Result<Tensor> {
    let name = "interpolate_linear_t";
    let [_, _, frames, _, _] = *x.dims() else {
        return Err(error::shape(name, "x", x, "[B, C, T, H, W]"));
    };
    if frames == 0 {
        return Err(error::shape(name, "x", x, "at least one frame"));
    }
    let outputs = (0..2 * frames).map(|output| {
        let near = output / 2;
        let far = if output % 2 == 1 { near + 1 } else { near.saturating_sub(1) }.min(frames - 1);
        if far == near { vec![(near, 1.0)] } else { vec![(near, 0.75), (far, 0.25)] }
    });
    Table::new(frames, outputs.collect()).apply(name, x, 2)
}

/// Adds frames before and after `[B, C, T, H, W]`.
///
/// # Errors
/// When `x` has another number of axes, or no frame to repeat.
pub fn pad_time(x: &Tensor, before: usize, after: usize, mode: PadMode) -> Result<Tensor> {
    if x.rank() != 5 || x.dim(2)? == 0 {
        return Err(error::shape("pad_time", "x", x, "[B, C, T, H, W] with T of at least 1"));
    }
    pad("pad_time", x, 2, (before, after), mode)
}

/// Adds columns at the right and rows at the bottom: along the last two axes.
///
/// # Errors
/// When `x` has fewer than two axes, or no pixels to repeat.
pub fn pad_right_bottom(x: &Tensor, right: usize, bottom: usize, mode: PadMode) -> Result<Tensor> {
    let (name, rank) = ("pad_right_bottom", x.rank());
    if rank < 2 || x.elem_count() == 0 {
        return Err(error::shape(name, "x", x, "[.., H, W] with at least one pixel"));
    }
    pad(name, &pad(name, x, rank - 1, (0, right), mode)?, rank - 2, (0, bottom), mode)
}

fn pad(
    name: &'static str,
    x: &Tensor,
    axis: usize,
    (before, after): (usize, usize),
    mode: PadMode,
) -> Result<Tensor> {
    if before + after == 0 {
        return Ok(x.clone());
    }
    let length = x.dim(axis)?;
    let picks = (0..before + length + after).map(|output| match mode {
        PadMode::Replicate => Some(output.saturating_sub(before).min(length - 1)),
        PadMode::Zero => output.checked_sub(before).filter(|input| *input < length),
    });
    Table::picks(length, picks).apply(name, x, axis)
}
