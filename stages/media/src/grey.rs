//! Full-size grey pictures with the bytes that `cv2.VideoCapture` and `cv2.cvtColor` give.
//!
//! Scores that were published are scores of those bytes. OpenCV's reader calls swscale with a
//! bicubic filter and nothing else said: BT.601 whatever the file says (so does OpenCV before
//! version 5, which follows the file), and the fast paths that
//! round differently from the exact ones which [`Frame::picture`] asks for. Then come OpenCV's
//! turning of the picture and its weights for grey. (OpenCV asks for the coded size, which a codec
//! may round up, where this asks for the shown one: rows and columns that nobody sees.)

use std::{ffi::c_int, ptr};

use ffmpeg_next::ffi;
use opencv::{
    core::{self, CV_8UC1, CV_8UC3},
    imgproc,
};

use crate::{
    Frame, MediaError, Size, color,
    error::describe,
    mat::{Shape, into_slice, view_slice},
};

/// What turning frames into grey pictures reuses; one per thread.
pub struct GreyConverter {
    context: *mut ffi::SwsContext,
    bgr: Vec<u8>,
}

// SAFETY: a scaler has no ties to the thread that made it; it is used by one owner at a time.
unsafe impl Send for GreyConverter {}

impl Default for GreyConverter {
    fn default() -> Self {
        Self { context: ptr::null_mut(), bgr: Vec::new() }
    }
}

impl Drop for GreyConverter {
    fn drop(&mut self) {
        // SAFETY: null or ours, freed once.
        unsafe { ffi::sws_freeContext(self.context) };
    }
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
        // swscale writes whole vectors, past the end of a tight row; it gets rows with room.
        let stride = (size.width as usize * 3).next_multiple_of(64) + 64;
        converter.bgr.resize(stride * size.height as usize, 0);
        converter.scale(self.av(), (width, height), stride)?;
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

impl GreyConverter {
    /// Scales `frame` into `bgr`, whose rows are `stride` bytes apart.
    fn scale(
        &mut self,
        frame: &ffi::AVFrame,
        (width, height): (c_int, c_int),
        stride: usize,
    ) -> Result<(), MediaError> {
        let during = "scaling";
        let unknown = || MediaError::Convert {
            during,
            reason: format!("pixel format number {} cannot be scaled", frame.format),
        };
        let format = color::pixel_format(frame.format).ok_or_else(unknown)?;
        // SAFETY: the cached context is null or ours, and the call either keeps it or frees it
        // and returns another.
        self.context = unsafe {
            ffi::sws_getCachedContext(
                self.context,
                width,
                height,
                format,
                width,
                height,
                ffi::AVPixelFormat::AV_PIX_FMT_BGR24,
                ffi::SWS_BICUBIC,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if self.context.is_null() {
            return Err(unknown());
        }
        let planes = [self.bgr.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
        let strides = [c_int::try_from(stride).ok().ok_or_else(unknown)?, 0, 0, 0];
        // SAFETY: the frame's pointers are as its format wants them, and the output has `height`
        // rows of `stride` bytes.
        let code = unsafe {
            ffi::sws_scale(
                self.context,
                frame.data.as_ptr().cast(),
                frame.linesize.as_ptr(),
                0,
                frame.height,
                planes.as_ptr(),
                strides.as_ptr(),
            )
        };
        if code < 0 {
            return Err(MediaError::Convert { during, reason: describe(code) });
        }
        Ok(())
    }
}
