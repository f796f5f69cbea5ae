//! swscale, for the pixel layouts that the fast path does not take.
//!
//! Slower than resizing planes, but it knows every layout there is. Exact rounding is asked for,
//! so that all machines give the same bytes. Its averaging differs slightly from OpenCV's; a
//! stream never mixes the two unless its layout changes midway.

use std::{ffi::c_int, ptr};

use ffmpeg_next::ffi;

use crate::{Filter, MediaError, PixelFormat, Size, color, color::FrameColors};

/// Owner of a cached swscale context, made anew when sizes or layouts change.
pub(crate) struct Sws(*mut ffi::SwsContext);

// SAFETY: a context has no ties to the thread that made it; it is used by one owner at a time.
unsafe impl Send for Sws {}

impl Default for Sws {
    fn default() -> Self {
        Self(ptr::null_mut())
    }
}

impl Drop for Sws {
    fn drop(&mut self) {
        // SAFETY: null or ours, freed once.
        unsafe { ffi::sws_freeContext(self.0) };
    }
}

/// What a frame is to become.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) size: Size,
    /// A packed layout.
    pub(crate) layout: ffi::AVPixelFormat,
    /// Its bytes to a pixel.
    pub(crate) bytes: usize,
    /// swscale's filter and switches.
    pub(crate) flags: i32,
    /// The frame's colours; `None` leaves swscale's own idea of them.
    pub(crate) colors: Option<FrameColors>,
}

impl Sws {
    /// The bytes from one row to the next of a layout of `bytes` to a pixel: swscale writes whole
    /// vectors, past the end of a tight row, so rows have room behind them.
    pub(crate) fn stride(size: Size, bytes: usize) -> usize {
        (size.width as usize * bytes).next_multiple_of(64) + 64
    }

    /// Scales `frame` into `out`: packed pixels in rows of [`Self::stride`] bytes.
    pub(crate) fn scale(
        &mut self,
        frame: &ffi::AVFrame,
        wanted: Wanted,
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        let during = "scaling";
        let (width, height) = wanted.size.ints()?;
        let unknown = || MediaError::Convert {
            during,
            reason: format!("pixel format number {} cannot be scaled", frame.format),
        };
        let format = color::pixel_format(frame.format).ok_or_else(unknown)?;
        // SAFETY: the cached context is null or ours, and the call either keeps it or frees it
        // and returns another.
        self.0 = unsafe {
            ffi::sws_getCachedContext(
                self.0,
                frame.width,
                frame.height,
                format,
                width,
                height,
                wanted.layout,
                wanted.flags,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if self.0.is_null() {
            return Err(unknown());
        }
        let stride = Self::stride(wanted.size, wanted.bytes);
        out.resize(stride * wanted.size.height as usize, 0);
        let planes = [out.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
        let strides = [c_int::try_from(stride).ok().ok_or_else(unknown)?, 0, 0, 0];
        // SAFETY: the frame's pointers are as its format wants them, the output has `height` rows
        // of `stride` bytes, and the coefficient tables are constants.
        let code = unsafe {
            if let Some(colors) = wanted.colors {
                let table = ffi::sws_getCoefficients(colors.matrix.swscale);
                ffi::sws_setColorspaceDetails(
                    self.0,
                    table,
                    c_int::from(colors.is_full_range),
                    table,
                    1,
                    0,
                    1 << 16,
                    1 << 16,
                );
            }
            ffi::sws_scale(
                self.0,
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
        Ok(())
    }
}

/// Averages, rounds exactly, and gives the same bytes on every machine.
fn flags(filter: Filter) -> i32 {
    let method = match filter {
        Filter::Linear => ffi::SWS_BILINEAR,
        Filter::Area => ffi::SWS_AREA,
    };
    method | ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT | ffi::SWS_BITEXACT
}

/// A scaler with its padded output.
#[derive(Default)]
pub(crate) struct Scaler {
    sws: Sws,
    /// Has settings of its own, so as not to be made anew for every frame.
    alpha: Sws,
    padded: Vec<u8>,
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
        let layout = match order {
            PixelFormat::Bgr8 => ffi::AVPixelFormat::AV_PIX_FMT_BGR24,
            PixelFormat::Rgb8 => ffi::AVPixelFormat::AV_PIX_FMT_RGB24,
        };
        let wanted = Wanted { size, layout, bytes: 3, flags: flags(filter), colors: Some(colors) };
        self.sws.scale(frame, wanted, &mut self.padded)?;
        let row = size.width as usize * 3;
        let rows = self.padded.chunks_exact(Sws::stride(size, 3));
        for (out, padded) in out.chunks_exact_mut(row).zip(rows) {
            out.copy_from_slice(&padded[..row]);
        }
        Ok(())
    }

    /// Scales the alpha of `frame`, in a layout that is not planar YUV, into `out`: one byte per
    /// pixel.
    pub(crate) fn alpha(
        &mut self,
        frame: &ffi::AVFrame,
        size: Size,
        filter: Filter,
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        let layout = ffi::AVPixelFormat::AV_PIX_FMT_BGRA;
        let wanted = Wanted { size, layout, bytes: 4, flags: flags(filter), colors: None };
        self.alpha.scale(frame, wanted, &mut self.padded)?;
        out.clear();
        for row in self.padded.chunks_exact(Sws::stride(size, 4)) {
            let pixels = row[..size.width as usize * 4].as_chunks::<4>().0;
            out.extend(pixels.iter().map(|[_, _, _, alpha]| *alpha));
        }
        Ok(())
    }
}
