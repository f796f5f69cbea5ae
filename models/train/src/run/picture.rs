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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rows_have_the_first_and_last_frame_and_pictures_their_colours() {
        let clip = Tensor::arange(0.0_f32, 17.0, &Device::Cpu).unwrap().reshape((1, 17, 1, 1));
        let clip = clip.unwrap().repeat((3, 1, 1, 1)).unwrap();
        let values = |x: Tensor| x.get(0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let found = values(row(&clip).unwrap());
        assert_eq!(found, [0.0, 2.0, 4.0, 6.0, 9.0, 11.0, 13.0, 16.0]);
        let found = values(row(&clip.narrow(1, 3, 1).unwrap()).unwrap());
        assert_eq!(found, [3.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("red.jpg");
        let red = Tensor::new(&[[[1.0_f32]], [[-1.0]], [[-5.0]]], &Device::Cpu).unwrap();
        write_picture(&[red.broadcast_as((3, 16, 24)).unwrap()], &path).unwrap();
        let picture = curate_media::decode_jpeg(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!((picture.width, picture.height), (24, 16));
        let [first, _, last] = picture.data[..3] else { panic!("no pixel") };
        let (red, blue) = match picture.format {
            PixelFormat::Rgb8 => (first, last),
            PixelFormat::Bgr8 => (last, first),
        };
        assert!(red > 245 && blue < 10, "{:?}", &picture.data[..3]);
    }
}
