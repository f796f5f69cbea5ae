//! swscale, for the pixel layouts that the fast path does not take.
//!
//! Slower than resizing planes, but it knows every layout there is. Exact rounding is asked for,
//! so that all machines give the same bytes. Its averaging differs slightly from OpenCV's; a
//! stream never mixes the two unless its layout changes midway.

use std::{ffi::c_int, ptr};

use ffmpeg_next::ffi;

use crate::{Filter, MediaError, PixelFormat, Size, color, color::FrameColors};

/// A cached swscale context and its padded output.
pub(crate) struct Scaler {
    context: *mut ffi::SwsContext,
    padded: Vec<u8>,
}

// SAFETY: a scaler has no ties to the thread that made it; it is used by one owner at a time.
unsafe impl Send for Scaler {}

impl Default for Scaler {
    fn default() -> Self {
        Self { context: ptr::null_mut(), padded: Vec::new() }
    }
}

impl Scaler {
    /// Scales `frame` into `out`: packed pixels of `size` in `order`.
    pub(crate) fn scale(
        &mut self,
        frame: &ffi::AVFrame,
        colors: FrameColors,
        size: Size,
        filter: Filter,
        order: PixelFormat,
        out: &mut [u8],
    ) -> Result<(), MediaError> {
        let during = "scaling";
        let (width, height) = size.ints()?;
        let unknown = || MediaError::Convert {
            during,
            reason: format!("pixel format number {} cannot be scaled", frame.format),
        };
        let format = color::pixel_format(frame.format).ok_or_else(unknown)?;
        let method = match filter {
            Filter::Linear => ffi::SWS_BILINEAR,
            Filter::Area => ffi::SWS_AREA,
        };
        let target = match order {
            PixelFormat::Bgr8 => ffi::AVPixelFormat::AV_PIX_FMT_BGR24,
            PixelFormat::Rgb8 => ffi::AVPixelFormat::AV_PIX_FMT_RGB24,
        };
        let exact = ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT | ffi::SWS_BITEXACT;
        // SAFETY: the cached context is null or ours, and the call either keeps it or frees it
        // and returns another.
        self.context = unsafe {
            ffi::sws_getCachedContext(
                self.context,
                frame.width,
                frame.height,
                format,
                width,
                height,
                target,
                method | exact,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if self.context.is_null() {
            return Err(unknown());
        }
        // swscale writes whole vectors, past the end of a tight row; it gets rows with room.
        let row = size.width as usize * 3;
        let stride = row.next_multiple_of(64) + 64;
        self.padded.resize(stride * size.height as usize, 0);
        let planes = [self.padded.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
        let strides = [c_int::try_from(stride).ok().ok_or_else(unknown)?, 0, 0, 0];
        // SAFETY: the frame's pointers are as its format wants them, the output has `height` rows
        // of `stride` bytes, and the coefficient tables are constants.
        let code = unsafe {
            let table = ffi::sws_getCoefficients(colors.matrix.swscale);
            ffi::sws_setColorspaceDetails(
                self.context,
                table,
                c_int::from(colors.is_full_range),
                table,
                1,
                0,
                1 << 16,
                1 << 16,
            );
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
            return Err(MediaError::Convert { during, reason: crate::error::describe(code) });
        }
        for (out, padded) in out.chunks_exact_mut(row).zip(self.padded.chunks_exact(stride)) {
            out.copy_from_slice(&padded[..row]);
        }
        Ok(())
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: null or ours, freed once.
        unsafe { ffi::sws_freeContext(self.context) };
    }
}
