//! A frame as the scene detectors see it: small, in planes, with its buffers used again.
//!
//! Every frame of every video is turned into one of these, so nothing is done that only a picture
//! needs: the planes are never interleaved, and no buffer is allocated or cleared per frame.

use crate::{
    Converter, Filter, Frame, Hsv, MediaError, Picture, PixelFormat, Size, color, hsv,
    hsv::planes_to_hsv,
    tone::Hdr,
    yuv::{Coefficients, to_bgr},
};

/// A small frame, as stored (not turned).
pub struct SmallFrame {
    size: Size,
    pixels: Pixels,
}

enum Pixels {
    Yuv([Vec<u8>; 3], Coefficients),
    /// Converted otherwise: by swscale, or tone-mapped.
    Packed(Picture),
}

/// Buffers of small frames that are done with.
pub(crate) type Spare = Vec<[Vec<u8>; 3]>;

/// More than wait for their clip at any time need not be kept.
const MOST_SPARE: usize = 64;

impl Frame {
    /// The frame at `size`, shrunk linearly, as stored: not turned, and YUV in its own
    /// primaries.
    ///
    /// # Errors
    /// Those of [`Frame::picture`].
    pub fn small(&self, converter: &mut Converter, size: Size) -> Result<SmallFrame, MediaError> {
        let is_plain = Hdr::of(self.av()).is_none() && !self.has_alpha();
        let planes = self.yuv_planes().filter(|_| is_plain);
        let pixels = match planes {
            Some(planes) => {
                let mut yuv = converter.spare.pop().unwrap_or_default();
                converter.sample(&planes, &mut yuv, size)?;
                Pixels::Yuv(yuv, Coefficients::new(color::of_frame(self.av())))
            }
            None => Pixels::Packed(self.picture(converter, size, Filter::Linear, false)?),
        };
        Ok(SmallFrame { size, pixels })
    }
}

impl SmallFrame {
    /// Hue, saturation and value, written over `out`; the same as [`hsv`] of the picture.
    ///
    /// # Errors
    /// Those of [`hsv`].
    pub fn hsv(&self, out: &mut Hsv) -> Result<(), MediaError> {
        match &self.pixels {
            Pixels::Yuv([y, u, v], by) => {
                (out.width, out.height) = (self.size.width, self.size.height);
                let bgr = [&mut out.hue, &mut out.saturation, &mut out.value];
                to_bgr([y, u, v], bgr, *by);
                planes_to_hsv(&mut out.hue, &mut out.saturation, &mut out.value);
            }
            Pixels::Packed(picture) => *out = hsv(picture)?,
        }
        Ok(())
    }

    /// As a picture, in blue, green, red.
    ///
    /// # Errors
    /// `convert` if the size is empty.
    pub fn picture(&self) -> Result<Picture, MediaError> {
        match &self.pixels {
            Pixels::Yuv([y, u, v], by) => {
                let mut bgr = [vec![], vec![], vec![]];
                to_bgr([y, u, v], bgr.each_mut(), *by);
                Picture::from_planes(&bgr, self.size, PixelFormat::Bgr8)
            }
            Pixels::Packed(picture) => picture.to_format(PixelFormat::Bgr8),
        }
    }

    /// Gives the buffers back, for the next frame.
    pub fn recycle(self, converter: &mut Converter) {
        if let Pixels::Yuv(yuv, _) = self.pixels
            && converter.spare.len() < MOST_SPARE
        {
            converter.spare.push(yuv);
        }
    }
}
