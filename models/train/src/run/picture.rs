//! Clips as one picture: a row for each, frames from left to right.

use std::path::Path;

use candle_core::{DType, Tensor};
use curate_media::{Picture, PixelFormat, encode_jpeg};

use crate::TrainError;

/// Frames of a clip that are shown.
const FRAMES: usize = 8;

/// Frames of a clip `[3, T, H, W]` from left to right, spread over it with the first and the last
/// among them: `[3, H, 8 W]`; short clips leave black.
///
/// # Errors
/// When the clip has another shape.
pub fn row(clip: &Tensor) -> candle_core::Result<Tensor> {
    let frames = clip.dim(1)?;
    let shown = frames.min(FRAMES);
    let mut parts = Vec::new();
    for index in 0..shown {
        let at = if shown > 1 { index * (frames - 1) / (shown - 1) } else { 0 };
        parts.push(clip.narrow(1, at, 1)?.squeeze(1)?);
    }
    while parts.len() < FRAMES {
        parts.push(parts[0].ones_like()?.neg()?);
    }
    Tensor::cat(&parts, 2)
}

/// Writes rows, `[3, H, W]` in [-1, 1] each, below each other as a JPEG file. Of none, nothing.
///
/// # Errors
/// When they are of different widths, or the file cannot be written.
pub fn write_picture(rows: &[Tensor], path: &Path) -> Result<(), TrainError> {
    if rows.is_empty() {
        return Ok(());
    }
    let grid = Tensor::cat(rows, 1)?.to_dtype(DType::F32)?;
    let (_, height, width) = grid.dims3()?;
    let values = ((grid.clamp(-1.0, 1.0)? + 1.0)? * 127.5)?.round()?;
    let data = values.permute((1, 2, 0))?.flatten_all()?.to_dtype(DType::U8)?.to_vec1::<u8>()?;
    let size = |side: usize| u32::try_from(side).map_err(std::io::Error::other);
    let io = |error| TrainError::io("write", path)(error);
    let picture = Picture {
        width: size(width).map_err(io)?,
        height: size(height).map_err(io)?,
        format: PixelFormat::Rgb8,
        data,
    };
    let jpeg = encode_jpeg(&picture, 92).map_err(std::io::Error::other).map_err(io)?;
    std::fs::write(path, jpeg).map_err(io)
}
