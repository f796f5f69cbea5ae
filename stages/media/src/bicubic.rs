//! Small pictures as the `ffmpeg` program makes them by default: what networks were trained on whose
//! authors let it scale.

use ffmpeg_next::ffi;

use crate::{
    Frame, MediaError, Size, color,
    scale::{Sws, Wanted},
};

/// Bytes of a pixel.
const RGB: usize = 3;

/// Scales with swscale's bicubic filter, in the frame's own colours; as stored, not turned.
#[derive(Default)]
pub struct Bicubic {
    sws: Sws,
    padded: Vec<u8>,
}

impl Bicubic {
    /// Writes `size` pixels of red, green and blue over `out`, rows without gaps.
    ///
    /// # Errors
    /// `convert` for layouts that swscale does not know.
    pub fn rgb(&mut self, frame: &Frame, size: Size, out: &mut Vec<u8>) -> Result<(), MediaError> {
        let wanted = Wanted {
            size,
            layout: ffi::AVPixelFormat::AV_PIX_FMT_RGB24,
            bytes: RGB,
            flags: ffi::SWS_BICUBIC,
            colors: Some(color::of_frame(frame.av())),
        };
        self.sws.scale(frame.av(), wanted, &mut self.padded)?;
        let row = size.width as usize * RGB;
        out.clear();
        for padded in self.padded.chunks_exact(Sws::stride(size, RGB)) {
            out.extend_from_slice(&padded[..row]);
        }
        Ok(())
    }
}
