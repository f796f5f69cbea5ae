//! Clips as films, for people who look at a run.

use std::path::Path;

use candle_core::Tensor;
use curate_media::{ClipWriter, Encoding, FrameRate, MediaError, Picture, PixelFormat};
use curate_models::generate::to_rgb;

use crate::TrainError;

/// Writes frames, `[1, 3, T, H, W]` in [-1, 1], as an MP4 of so many frames a second.
///
/// # Errors
/// When they are of another shape, or cannot be written.
pub fn write_film(frames: &Tensor, fps: f64, path: &Path) -> Result<(), TrainError> {
    let (_, _, _, height, width) = frames.dims5()?;
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    let pictures = to_rgb(frames)?;
    let encode = || -> Result<Vec<u8>, MediaError> {
        let rate = FrameRate::of(fps).unwrap_or(FrameRate { num: 24, den: 1 });
        let mut film = ClipWriter::new(Encoding::default(), rate.frame_time()?);
        for data in pictures {
            film.push(&Picture { width, height, format: PixelFormat::Rgb8, data })?;
        }
        film.finish()
    };
    let bytes = encode().map_err(std::io::Error::other).map_err(TrainError::io("write", path))?;
    std::fs::write(path, bytes).map_err(TrainError::io("write", path))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn a_film_has_its_frames_and_its_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let grey = Tensor::zeros((1, 3, 5, 32, 48), DType::F32, &Device::Cpu).unwrap();
        write_film(&grey, 8.0, &path).unwrap();
        let info = curate_media::probe(&path, &curate_media::Access::default()).unwrap();
        assert_eq!((info.video.width, info.video.height), (48, 32));
        assert!((info.duration_s.unwrap() - 5.0 / 8.0).abs() < 1e-3, "{info:?}");
    }
}
