//! What PySceneDetect measures of a small picture, to the bit.
//!
//! The detectors themselves are a stage; here is only what needs OpenCV or must be fast. The
//! rules (size, thresholds from the median, kernel size) are those of PySceneDetect 0.7's content
//! detector, so that its thresholds mean the same here.

use opencv::{
    core::{self, CV_8UC1, Mat, Point, Scalar},
    imgproc,
};

use crate::{
    MediaError, Size,
    mat::{Shape, into_slice, view_slice},
};

/// The size at which a frame is analysed: the longer side becomes 256 pixels, smaller frames stay
/// as they are.
#[must_use]
pub fn analysis_size(width: u32, height: u32) -> Size {
    let longer = width.max(height);
    let factor = if longer >= 256 { f64::from(longer) / 256.0 } else { 1.0 };
    let side = |side: u32| (f64::from(side) / factor).round_ties_even().max(1.0) as u32;
    Size::new(side(width), side(height))
}

/// The side of the square that edges are widened with, in pixels, for a picture of this size.
#[must_use]
pub fn edge_kernel_size(size: Size) -> u32 {
    let mean_side = (f64::from(size.width) * f64::from(size.height)).sqrt();
    let side = 4 + (mean_side / 192.0).round_ties_even() as u32;
    if side.is_multiple_of(2) { side + 1 } else { side }
}

/// The edges of a plane, widened: 255 on and near an edge, 0 elsewhere.
///
/// Canny with thresholds one third below and above the median, then dilation with a square of
/// `kernel_size` pixels (`None`: [`edge_kernel_size`]).
///
/// # Errors
/// `convert` if `plane` is not `size.width * size.height` bytes, or the kernel is not odd and at
/// least 3.
pub fn edges(plane: &[u8], size: Size, kernel_size: Option<u32>) -> Result<Vec<u8>, MediaError> {
    let during = "finding edges";
    let (width, height) = size.ints()?;
    let kernel = kernel_size.unwrap_or_else(|| edge_kernel_size(size));
    let refuse = |reason| MediaError::Convert { during, reason };
    if plane.len() != size.pixels() {
        return Err(refuse(format!("{} bytes are no {width}x{height} plane", plane.len())));
    }
    if kernel < 3 || kernel.is_multiple_of(2) || kernel > 255 {
        return Err(refuse(format!("kernel size {kernel} is not odd and between 3 and 255")));
    }
    let sigma = 1.0 / 3.0;
    let median = median(plane);
    let low = ((1.0 - sigma) * median).max(0.0).trunc();
    let high = ((1.0 + sigma) * median).min(255.0).trunc();

    let shape = Shape::packed(width, height, CV_8UC1, 1);
    // SAFETY: read only, and dropped before `plane` can change.
    let source = unsafe { view_slice(plane, shape) }?;
    let mut thin = vec![0; plane.len()];
    into_slice(&mut thin, shape, during, |out| imgproc::canny(&source, out, low, high, 3, false))?;
    let ones =
        Mat::new_rows_cols_with_default(kernel as i32, kernel as i32, CV_8UC1, Scalar::all(1.0))
            .map_err(MediaError::convert(during))?;
    // SAFETY: read only, and dropped before `thin` can change.
    let thin = unsafe { view_slice(&thin, shape) }?;
    let mut wide = vec![0; plane.len()];
    let border = imgproc::morphology_default_border_value().map_err(MediaError::convert(during))?;
    into_slice(&mut wide, shape, during, |out| {
        imgproc::dilate(&thin, out, &ones, Point::new(-1, -1), 1, core::BORDER_CONSTANT, border)
    })?;
    Ok(wide)
}

/// The median of a plane; the mean of the two middle values where there are two.
fn median(plane: &[u8]) -> f64 {
    let mut counts = [0_usize; 256];
    for value in plane {
        counts[usize::from(*value)] += 1;
    }
    let at = |rank: usize| {
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen > rank
        });
        found.unwrap_or(0) as f64
    };
    let n = plane.len();
    if n == 0 { 0.0 } else { f64::midpoint(at((n - 1) / 2), at(n / 2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_analysis_size_rounds_half_to_even() {
        assert_eq!(analysis_size(1280, 720), Size::new(256, 144));
        assert_eq!(analysis_size(720, 1280), Size::new(144, 256));
        assert_eq!(analysis_size(255, 100), Size::new(255, 100));
        assert_eq!(analysis_size(256, 100), Size::new(256, 100));
        assert_eq!(analysis_size(512, 5), Size::new(256, 2)); // 2.5
        assert_eq!(analysis_size(512, 7), Size::new(256, 4)); // 3.5
        assert_eq!(analysis_size(4096, 1), Size::new(256, 1));
    }

    #[test]
    fn kernel_sizes() {
        assert_eq!(edge_kernel_size(Size::new(256, 144)), 5);
        assert_eq!(edge_kernel_size(Size::new(1920, 1080)), 13);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3]), 3.0);
        assert_eq!(median(&[1, 4]), 2.5);
        assert_eq!(median(&[9, 1, 4]), 4.0);
        assert_eq!(median(&[0, 0, 255, 255]), 127.5);
    }

    #[test]
    fn a_step_has_an_edge_as_wide_as_the_kernel() {
        let size = Size::new(40, 40);
        let plane: Vec<u8> = (0..1600).map(|i| if i % 40 < 20 { 40 } else { 200 }).collect();
        let found = edges(&plane, size, Some(5)).unwrap();
        let row = &found[800..840];
        assert_eq!(row.iter().filter(|value| **value == 255).count(), 5);
        assert!(row[0] == 0 && row[39] == 0);
        assert!(edges(&plane, size, Some(4)).is_err());
        assert!(edges(&plane[1..], size, None).is_err());
    }
}
