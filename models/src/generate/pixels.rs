//! Decoded frames to bytes, and bytes to what the VAE encodes.

use candle_core::{DType, Device, Tensor};

use super::GenerateError;

/// Frames `[1, 3, n, height, width]`, about [-1, 1], as RGB pictures: rows from top to bottom, three
/// bytes a pixel. What lies outside of the range is cut; values are rounded, where the published
/// scripts round down and darken by half a step.
///
/// # Errors
/// When the tensor is of another shape, or has what is no number, which would become black.
pub fn to_rgb(frames: &Tensor) -> Result<Vec<Vec<u8>>, GenerateError> {
    let frames = frames.to_dtype(DType::F32)?.squeeze(0)?.permute((1, 2, 3, 0))?;
    let count = frames.dim(0)?;
    let values = frames.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().any(|value| value.is_nan()) {
        return Err(GenerateError::NotFinite { part: "VAE", made: "frames" });
    }
    let byte = |value: &f32| ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    let bytes: Vec<u8> = values.iter().map(byte).collect();
    let size = bytes.len() / count.max(1);
    Ok(bytes.chunks_exact(size.max(1)).map(<[u8]>::to_vec).collect())
}

/// RGB pictures of one size as `[3, n, height, width]` in [-1, 1], on the CPU.
///
/// # Errors
/// When a picture has another number of bytes.
pub fn from_rgb(
    pictures: &[Vec<u8>],
    (width, height): (usize, usize),
) -> Result<Tensor, GenerateError> {
    let values: Vec<f32> =
        pictures.iter().flatten().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
    let frames = Tensor::from_vec(values, (pictures.len(), height, width, 3), &Device::Cpu)?;
    Ok(frames.permute((3, 0, 1, 2))?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_and_the_rest_is_cut() {
        let pictures: Vec<Vec<u8>> =
            (0..3_u8).map(|frame| (0..24).map(|i| i * 10 + frame).collect()).collect();
        let frames = from_rgb(&pictures, (4, 2)).unwrap();
        assert_eq!(frames.dims(), [3, 3, 2, 4]);
        assert_eq!(to_rgb(&frames.unsqueeze(0).unwrap()).unwrap(), pictures);
        let outside = Tensor::new(&[f32::NEG_INFINITY, -1.2, 9.0], &Device::Cpu).unwrap();
        let outside = outside.reshape((1, 3, 1, 1, 1)).unwrap();
        assert_eq!(to_rgb(&outside).unwrap(), [vec![0, 0, 255]]);
        assert!(from_rgb(&pictures, (5, 2)).is_err());
        let nothing = Tensor::full(f32::NAN, (1, 3, 1, 1, 1), &Device::Cpu).unwrap();
        let text = to_rgb(&nothing).unwrap_err().to_string();
        assert!(text.contains("not finite numbers"), "{text}");
    }
}
