//! Two prints of a small picture by which frames are told apart, as PySceneDetect 0.7's hash and
//! histogram detectors take them: the same OpenCV calls in the same order.

use opencv::{
    core::{self, Mat, MatTraitConst as _, MatTraitConstManual as _, Vector},
    imgproc,
};

use crate::{MediaError, Picture, PixelFormat, mat::view_slice};

/// A matrix over a picture's pixels, and that it is valid only as long as the picture.
fn pixels(picture: &Picture) -> Result<Mat, MediaError> {
    // SAFETY: every caller reads it only, and drops it while it borrows the picture.
    unsafe { view_slice(&picture.data, picture.shape()?) }
}

/// The perceptual hash: which of the `size * size` lowest frequencies of the grey picture lie above
/// their median, rows first. The picture is averaged to a square of `size * lowpass` pixels.
///
/// # Errors
/// `convert` if the picture is malformed or `size * lowpass` is odd.
pub fn perceptual_hash(
    picture: &Picture,
    size: u32,
    lowpass: u32,
) -> Result<Vec<bool>, MediaError> {
    let convert = MediaError::convert("hashing a picture");
    let side = i32::try_from(size.saturating_mul(lowpass)).unwrap_or(i32::MAX);
    let code = match picture.format {
        PixelFormat::Bgr8 => imgproc::COLOR_BGR2GRAY,
        PixelFormat::Rgb8 => imgproc::COLOR_RGB2GRAY,
    };
    let source = pixels(picture)?;
    let transform = || -> opencv::Result<Vec<f32>> {
        let (mut grey, mut square) = (Mat::default(), Mat::default());
        imgproc::cvt_color(&source, &mut grey, code, 0)?;
        let target = core::Size::new(side, side);
        imgproc::resize(&grey, &mut square, target, 0.0, 0.0, imgproc::INTER_AREA)?;
        let samples = square.data_typed::<u8>()?;
        let brightest = f32::from(samples.iter().copied().max().unwrap_or(0).max(1));
        let scaled: Vec<f32> = samples.iter().map(|s| f32::from(*s) / brightest).collect();
        let scaled = Mat::from_slice(&scaled)?;
        let scaled = scaled.reshape(1, side)?;
        let mut frequencies = Mat::default();
        core::dct(&scaled, &mut frequencies, 0)?;
        let all = frequencies.data_typed::<f32>()?;
        let rows = all.chunks_exact(side as usize).take(size as usize);
        Ok(rows.flat_map(|row| row[..size as usize].iter().copied()).collect())
    };
    let low = transform().map_err(convert)?;
    let median = median(&low);
    Ok(low.iter().map(|value| *value > median).collect())
}

/// The median as numpy has it for 32-bit floats: of two middle values, their mean.
fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        n => sorted[n / 2],
    }
}

/// How often each of `bins` levels of brightness (BT.601 luma, full range) occurs, scaled to a
/// vector of length 1.
///
/// # Errors
/// `convert` if the picture is malformed.
pub fn luma_histogram(picture: &Picture, bins: u32) -> Result<Vec<f32>, MediaError> {
    let convert = MediaError::convert("counting brightness");
    let bins = i32::try_from(bins).unwrap_or(256).clamp(1, 256);
    let code = match picture.format {
        PixelFormat::Bgr8 => imgproc::COLOR_BGR2YUV,
        PixelFormat::Rgb8 => imgproc::COLOR_RGB2YUV,
    };
    let source = pixels(picture)?;
    let count = || -> opencv::Result<Vec<f32>> {
        let (mut yuv, mut luma) = (Mat::default(), Mat::default());
        imgproc::cvt_color(&source, &mut yuv, code, 0)?;
        core::extract_channel(&yuv, &mut luma, 0)?;
        let mut histogram = Mat::default();
        imgproc::calc_hist(
            &Vector::<Mat>::from_iter([luma]),
            &Vector::from_slice(&[0]),
            &core::no_array(),
            &mut histogram,
            &Vector::from_slice(&[bins]),
            &Vector::from_slice(&[0.0, 256.0]),
            false,
        )?;
        let mut scaled = Mat::default();
        core::normalize(&histogram, &mut scaled, 1.0, 0.0, core::NORM_L2, -1, &core::no_array())?;
        Ok(scaled.data_typed::<f32>()?.to_vec())
    };
    count().map_err(convert)
}

/// The correlation of two histograms, -1 to 1; 1 for two that are flat.
///
/// # Errors
/// `convert` if their lengths differ.
pub fn correlation(a: &[f32], b: &[f32]) -> Result<f64, MediaError> {
    let compare = || -> opencv::Result<f64> {
        let (a, b) = (Mat::from_slice(a)?, Mat::from_slice(b)?);
        imgproc::compare_hist(&a, &b, imgproc::HISTCMP_CORREL)
    };
    compare().map_err(MediaError::convert("comparing histograms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(level: impl Fn(u32, u32) -> u8) -> Picture {
        let (width, height) = (64, 36);
        let data = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [level(x, y); 3])
            .collect();
        Picture { width, height, format: PixelFormat::Bgr8, data }
    }

    #[test]
    fn a_hash_ignores_brightness_and_sees_the_picture() {
        let wave = |x: u32, y: u32| {
            let (x, y) = (f64::from(x), f64::from(y));
            100.0 + 50.0 * (x / 7.0).sin() + 40.0 * (y / 5.0 + x / 11.0).cos()
        };
        let ramp = picture(|x, y| wave(x, y) as u8);
        let dimmed = picture(|x, y| (wave(x, y) / 2.0) as u8);
        let other = picture(|x, y| if (x / 16 + y / 9) % 2 == 0 { 20 } else { 200 });
        let hash = |picture: &Picture| perceptual_hash(picture, 8, 2).unwrap();
        let apart = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        assert_eq!(hash(&ramp).len(), 64);
        assert!(apart(&hash(&ramp), &hash(&dimmed)) < 12);
        assert!(apart(&hash(&ramp), &hash(&other)) > 15);
        assert!(perceptual_hash(&ramp, 3, 1).is_err());
    }

    #[test]
    fn histograms_of_equal_pictures_correlate_fully() {
        let ramp = picture(|x, y| (x * 2 + y) as u8);
        let histogram = luma_histogram(&ramp, 128).unwrap();
        assert_eq!(histogram.len(), 128);
        let length: f32 = histogram.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-5);
        assert!((correlation(&histogram, &histogram).unwrap() - 1.0).abs() < 1e-9);
        let dark = luma_histogram(&picture(|_, _| 3), 128).unwrap();
        assert!(correlation(&histogram, &dark).unwrap() < 0.5);
        assert!(correlation(&histogram, &dark[1..]).is_err());
    }
}
