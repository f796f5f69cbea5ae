//! Values between pixels.

use candle_core::{DType, Result, Tensor};

use crate::error;

/// Samples images at points, linearly between pixels and zero outside (PyTorch's `grid_sample`
/// with zero padding, but with points in pixels: the centre of the first pixel is `(0, 0)`).
///
/// `image` is `[N, C, H, W]`, `points` is `[N, P, 2]` with x before y; the result is `[N, C, P]`.
/// Gradients flow to both; at whole coordinates the one of the points is that of the right and
/// lower neighbour.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn sample_bilinear(image: &Tensor, points: &Tensor) -> Result<Tensor> {
    let [count, channels, height, width] = *image.dims() else {
        return Err(error::shape("sample_bilinear", "image", image, "[N, C, H, W]"));
    };
    let [examples, number, 2] = *points.dims() else {
        return Err(error::shape("sample_bilinear", "points", points, format!("[{count}, P, 2]")));
    };
    if examples != count || image.elem_count() == 0 {
        return Err(error::shape("sample_bilinear", "points", points, format!("[{count}, P, 2]")));
    }
    error::check_type("sample_bilinear", "points", points, image)?;
    let flat = image.reshape((count, channels, height * width))?;
    let (right, bottom) = ((width - 1) as f64, (height - 1) as f64);
    let axis = |index: usize| points.narrow(2, index, 1)?.squeeze(2);
    let (x, y) = (axis(0)?, axis(1)?);
    let (left, top) = (x.detach().floor()?, y.detach().floor()?);
    let (across, down) = ((&x - &left)?, (&y - &top)?);
    let within = |at: &Tensor, last: f64| at.ge(0.0)? * at.le(last)?;
    let mut sum: Option<Tensor> = None;
    for corner in 0..4u8 {
        let (far_x, far_y) = (corner & 1 == 1, corner & 2 == 2);
        let column = if far_x { (&left + 1.0)? } else { left.clone() };
        let row = if far_y { (&top + 1.0)? } else { top.clone() };
        let share = |part: &Tensor, far| if far { Ok(part.clone()) } else { 1.0 - part };
        let seen = (within(&column, right)? * within(&row, bottom)?)?.to_dtype(image.dtype())?;
        let share = ((share(&across, far_x)? * share(&down, far_y)?)? * seen)?;
        let index = ((row.clamp(0.0, bottom)? * width as f64)? + column.clamp(0.0, right)?)?;
        let index = index.to_dtype(DType::U32)?.unsqueeze(1)?;
        let index = index.broadcast_as((count, channels, number))?.contiguous()?;
        let part = flat.gather(&index, 2)?.broadcast_mul(&share.unsqueeze(1)?)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => (sum + part)?,
        });
    }
    sum.ok_or_else(|| candle_core::Error::msg("no corners"))
}
