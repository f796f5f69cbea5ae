//! Full-size grey pictures with the bytes that `cv2.VideoCapture` and `cv2.cvtColor` give.
//!
//! Scores that were published are scores of those bytes. OpenCV's reader calls swscale with a
//! bicubic filter and nothing else said: BT.601 whatever the file says (so does OpenCV before
//! version 5, which follows the file), and the fast paths that
//! round differently from the exact ones which [`Frame::picture`] asks for. Then come OpenCV's
//! turning of the picture and its weights for grey. (OpenCV asks for the coded size, which a codec
//! may round up, where this asks for the shown one: rows and columns that nobody sees.)

use ffmpeg_next::ffi;
use opencv::{
    core::{self, CV_8UC1, CV_8UC3},
    imgproc,
};

use crate::{
    Frame, MediaError, Size,
    mat::{Shape, into_slice, view_slice},
    scale::{Sws, Wanted},
};

/// What turning frames into grey pictures reuses; one per thread.
#[derive(Default)]
pub struct GreyConverter {
    sws: Sws,
    bgr: Vec<u8>,
}

impl Frame {
    /// The whole frame in grey, turned (but, as by OpenCV, not mirrored) upright: its size and its
    /// bytes, row by row.
    ///
    /// # Errors
    /// `convert` for pixel layouts that swscale does not know.
    pub fn grey(&self, converter: &mut GreyConverter) -> Result<(Size, Vec<u8>), MediaError> {
        let size = Size::new(self.width(), self.height());
        let (width, height) = size.ints()?;
        let layout = ffi::AVPixelFormat::AV_PIX_FMT_BGR24;
        let wanted = Wanted { size, layout, bytes: 3, flags: ffi::SWS_BICUBIC, colors: None };
        converter.sws.scale(self.av(), wanted, &mut converter.bgr)?;
        let stride = Sws::stride(size, 3);
        let shape = Shape { width, height, kind: CV_8UC3, stride };
        let mut grey = vec![0; size.pixels()];
        let packed = Shape::packed(width, height, CV_8UC1, 1);
        // SAFETY: read only, and dropped before `converter` can change.
        let bgr = unsafe { view_slice(&converter.bgr, shape) }?;
        // Turning and making grey may change places: each pixel is made of one pixel.
        into_slice(&mut grey, packed, "making grey", |out| {
            imgproc::cvt_color(&bgr, out, imgproc::COLOR_BGR2GRAY, 0)
        })?;
        let code = match self.orientation.rotation {
            90 => core::ROTATE_90_CLOCKWISE,
            180 => core::ROTATE_180,
            270 => core::ROTATE_90_COUNTERCLOCKWISE,
            _ => return Ok((size, grey)),
        };
        let turned = if self.orientation.swaps_sides() { size.turned() } else { size };
        let mut out = vec![0; size.pixels()];
        let (width, height) = turned.ints()?;
        // SAFETY: read only, and dropped at the end of this function.
        let source = unsafe { view_slice(&grey, packed) }?;
        into_slice(&mut out, Shape::packed(width, height, CV_8UC1, 1), "turning", |out| {
            core::rotate(&source, out, code)
        })?;
        Ok((turned, out))
    }
}
