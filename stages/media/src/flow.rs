//! Dense optical flow between two small pictures, by OpenCV.
//!
//! Two methods, both deterministic and on the calling thread. DIS (Kroeger et al., "Fast Optical
//! Flow using Dense Inverse Search", ECCV 2016) with the medium preset is the better and faster
//! one. Farneback (Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA
//! 2003) is here because the score of the released EasyAnimate recipe is made of it, with exactly
//! its settings.

use opencv::{
    core::{self, CV_8UC1, CV_8UC3, CV_32FC1, CV_32FC2, Mat, MatTraitConst as _, Ptr, Vector},
    imgproc,
    prelude::*,
    video,
};

use crate::{
    MediaError, PixelFormat, Size, init,
    mat::{Shape, into_slice, view, view_slice},
};

/// A displacement for each pixel of the first picture: where it is in the second one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Displacement to the right in pixels, row by row.
    pub u: Vec<f32>,
    /// Displacement downwards in pixels, row by row.
    pub v: Vec<f32>,
}

/// Two grey pictures of the same size, rows packed.
#[derive(Clone, Copy, Debug)]
pub struct GreyPair<'a> {
    /// The size of both in pixels.
    pub size: Size,
    /// The earlier picture.
    pub first: &'a [u8],
    /// The later picture.
    pub second: &'a [u8],
}

impl GreyPair<'_> {
    /// Runs `work` on both pictures as matrices.
    fn views(
        &self,
        during: &'static str,
        work: impl FnOnce(&Mat, &Mat) -> opencv::Result<Mat>,
    ) -> Result<Mat, MediaError> {
        let (width, height) = self.size.ints()?;
        let shape = Shape::packed(width, height, CV_8UC1, 1);
        // SAFETY: read only, and dropped at the end of this function.
        let (first, second) =
            unsafe { (view_slice(self.first, shape)?, view_slice(self.second, shape)?) };
        work(&first, &second).map_err(MediaError::convert(during))
    }
}

/// Grey levels of packed colour pixels, by OpenCV's weights (BT.601).
///
/// # Errors
/// `convert` for empty or enormous sizes.
///
/// # Panics
/// When `pixels` is shorter than `size` says.
pub fn grey_of(
    pixels: &[u8],
    size: Size,
    format: PixelFormat,
    out: &mut Vec<u8>,
) -> Result<(), MediaError> {
    let (width, height) = size.ints()?;
    let code = match format {
        PixelFormat::Bgr8 => imgproc::COLOR_BGR2GRAY,
        PixelFormat::Rgb8 => imgproc::COLOR_RGB2GRAY,
    };
    out.resize(size.pixels(), 0);
    // SAFETY: read only, and dropped at the end of this function.
    let source = unsafe { view_slice(pixels, Shape::packed(width, height, CV_8UC3, 3)) }?;
    into_slice(out, Shape::packed(width, height, CV_8UC1, 1), "making grey", |out| {
        imgproc::cvt_color(&source, out, code, 0)
    })
}

/// DIS with OpenCV's medium preset.
pub struct DisFlow(Ptr<video::DISOpticalFlow>);

impl DisFlow {
    /// Sets the method up.
    ///
    /// # Errors
    /// `memory` when OpenCV cannot.
    pub fn new() -> Result<Self, MediaError> {
        init();
        video::DISOpticalFlow::create(video::DISOpticalFlow_PRESET_MEDIUM)
            .map(Self)
            .map_err(|_error| MediaError::Memory { during: "optical flow" })
    }

    /// The flow from the first picture to the second one. `out` is reused.
    ///
    /// # Errors
    /// `convert` for sizes that OpenCV refuses (it wants at least 16 pixels or so).
    pub fn flow(&mut self, pair: &GreyPair<'_>, out: &mut Flow) -> Result<(), MediaError> {
        let flow = pair.views("optical flow", |first, second| {
            // A matrix that holds a flow already would be taken for a first guess.
            let mut flow = Mat::default();
            self.0.calc(first, second, &mut flow)?;
            Ok(flow)
        })?;
        unpack(&flow, pair.size, out)
    }
}

/// Farneback's method with the settings of the released recipe: half-size pyramid of 3 levels,
/// windows of 15, 3 iterations, neighbourhoods of 5 with a sigma of 1.2. `out` is reused.
///
/// # Errors
/// `convert` for empty or enormous sizes.
pub fn farneback(pair: &GreyPair<'_>, out: &mut Flow) -> Result<(), MediaError> {
    init();
    let flow = pair.views("optical flow", |first, second| {
        let mut flow = Mat::default();
        video::calc_optical_flow_farneback(first, second, &mut flow, 0.5, 3, 15, 3, 5, 1.2, 0)?;
        Ok(flow)
    })?;
    unpack(&flow, pair.size, out)
}

/// OpenCV's interleaved flow as two planes.
fn unpack(flow: &Mat, size: Size, out: &mut Flow) -> Result<(), MediaError> {
    let during = "optical flow";
    let (width, height) = size.ints()?;
    if flow.typ() != CV_32FC2 || flow.cols() != width || flow.rows() != height {
        return Err(MediaError::Convert { during, reason: "the flow has another size".to_owned() });
    }
    (out.width, out.height) = (size.width, size.height);
    let shape = Shape::packed(width, height, CV_32FC1, 4);
    let mut planes = Vector::<Mat>::with_capacity(2);
    for plane in [&mut out.u, &mut out.v] {
        plane.resize(size.pixels(), 0.0);
        // SAFETY: `size` floats that only OpenCV touches until the vector is dropped.
        planes.push(unsafe { view(plane.as_mut_ptr().cast(), shape) }?);
    }
    let starts = [out.u.as_ptr().cast::<u8>(), out.v.as_ptr().cast()];
    core::split(flow, &mut planes).map_err(MediaError::convert(during))?;
    if planes.iter().zip(starts).any(|(mat, start)| !std::ptr::eq(mat.data(), start)) {
        return Err(MediaError::Convert { during, reason: "an output was replaced".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(160, 120);

    /// A texture that has been shifted.
    fn texture(shift: (f64, f64)) -> Vec<u8> {
        let level = |x: f64, y: f64| {
            128.0
                + 40.0 * (0.21 * x + 0.05 * y).sin()
                + 35.0 * (0.07 * x - 0.19 * y + 1.0).sin()
                + 25.0 * (0.31 * x + 0.23 * y + 2.0).sin()
        };
        (0..SIZE.height)
            .flat_map(|y| (0..SIZE.width).map(move |x| (x, y)))
            .map(|(x, y)| level(f64::from(x) - shift.0, f64::from(y) - shift.1) as u8)
            .collect()
    }

    /// Median displacement of both methods for a shift.
    fn measured(shift: (f64, f64)) -> Vec<(f32, f32)> {
        let (first, second) = (texture((0.0, 0.0)), texture(shift));
        let pair = GreyPair { size: SIZE, first: &first, second: &second };
        let (mut dis, mut polynomial) = (Flow::default(), Flow::default());
        DisFlow::new().unwrap().flow(&pair, &mut dis).unwrap();
        farneback(&pair, &mut polynomial).unwrap();
        let median = |plane: &mut [f32]| {
            plane.sort_by(f32::total_cmp);
            plane[plane.len() / 2]
        };
        [dis, polynomial].iter_mut().map(|f| (median(&mut f.u), median(&mut f.v))).collect()
    }

    #[test]
    fn a_shifted_texture_has_its_shift() {
        for (u, v) in measured((2.5, -1.25)) {
            assert!((u - 2.5).abs() < 0.15 && (v + 1.25).abs() < 0.15, "{u} {v}");
        }
        for (u, v) in measured((0.0, 0.0)) {
            assert!(u.abs() < 1e-3 && v.abs() < 1e-3, "{u} {v}");
        }
    }

    #[test]
    fn a_flow_does_not_depend_on_the_one_before() {
        let (first, second) = (texture((0.0, 0.0)), texture((3.0, 1.0)));
        let pair = GreyPair { size: SIZE, first: &first, second: &second };
        let back = GreyPair { size: SIZE, first: &second, second: &first };
        let mut dis = DisFlow::new().unwrap();
        let (mut alone, mut after) = (Flow::default(), Flow::default());
        dis.flow(&pair, &mut alone).unwrap();
        dis.flow(&back, &mut after).unwrap();
        dis.flow(&pair, &mut after).unwrap();
        assert!(alone == after, "the same pair gave another flow");
    }

    #[test]
    fn grey_has_opencvs_weights() {
        let mut grey = Vec::new();
        grey_of(&[255, 0, 0, 0, 255, 0, 0, 0, 255], Size::new(3, 1), PixelFormat::Rgb8, &mut grey)
            .unwrap();
        assert_eq!(grey, [76, 150, 29]);
    }
}
