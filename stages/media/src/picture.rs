//! Pixels in ordinary memory: what stages look at, and how they become a JPEG and back.

use jpeg_encoder::{ColorType, Encoder};
use opencv::core::CV_8UC3;
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use crate::{
    MediaError,
    mat::{Shape, merge, resize_into, view_slice},
    probe::ffmpeg_int,
};

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// A size of `width` times `height` pixels.
    #[must_use]
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub(crate) const fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }

    pub(crate) const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Both sides as OpenCV wants them; empty sizes are refused.
    pub(crate) fn ints(self) -> Result<(i32, i32), MediaError> {
        if self.width == 0 || self.height == 0 || self.pixels() > 1 << 30 {
            return Err(MediaError::Convert {
                during: "checking sizes",
                reason: format!("a picture of {}x{} cannot be made", self.width, self.height),
            });
        }
        Ok((ffmpeg_int(self.width)?, ffmpeg_int(self.height)?))
    }
}

impl From<(u32, u32)> for Size {
    /// Width, then height.
    fn from((width, height): (u32, u32)) -> Self {
        Self { width, height }
    }
}

/// How pixels are combined when a picture changes its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Two by two neighbours: cheapest, and what PySceneDetect uses; aliases when shrinking a lot.
    #[default]
    Linear,
    /// The mean of all covered pixels: right for thumbnails and for models.
    Area,
}

/// The order of the three colour bytes of a pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Blue, green, red: OpenCV's order.
    #[default]
    Bgr8,
    /// Red, green, blue: the order of models.
    Rgb8,
}

/// An 8-bit colour picture, rows from top to bottom, three bytes per pixel, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Order of the bytes of a pixel.
    pub format: PixelFormat,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

impl Picture {
    /// The size in pixels.
    #[must_use]
    pub const fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }

    pub(crate) fn shape(&self) -> Result<Shape, MediaError> {
        let (width, height) = self.size().ints()?;
        if self.data.len() != self.size().pixels() * 3 {
            return Err(MediaError::Convert {
                during: "checking sizes",
                reason: format!("{} bytes are no {width}x{height} picture", self.data.len()),
            });
        }
        Ok(Shape::packed(width, height, CV_8UC3, 3))
    }

    /// A picture from planes of blue, green and red.
    pub(crate) fn from_planes(
        bgr: &[Vec<u8>; 3],
        size: Size,
        format: PixelFormat,
    ) -> Result<Self, MediaError> {
        let (width, height) = size.ints()?;
        let [blue, green, red] = bgr;
        let order = match format {
            PixelFormat::Bgr8 => [&blue[..], green, red],
            PixelFormat::Rgb8 => [&red[..], green, blue],
        };
        let mut data = vec![0; size.pixels() * 3];
        merge(order, &mut data, Shape::packed(width, height, CV_8UC3, 3))?;
        Ok(Self { width: size.width, height: size.height, format, data })
    }

    /// The same picture in another byte order.
    ///
    /// # Errors
    /// `convert` if `data` does not fit the size.
    pub fn to_format(&self, format: PixelFormat) -> Result<Self, MediaError> {
        self.shape()?;
        let mut data = self.data.clone();
        if format != self.format {
            data.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        Ok(Self { format, data, ..*self })
    }
}

/// A picture at another size, in the same byte order.
///
/// # Errors
/// `convert` if a size is empty or too large or `data` does not fit.
pub fn resize(picture: &Picture, size: Size, filter: Filter) -> Result<Picture, MediaError> {
    let (width, height) = size.ints()?;
    // SAFETY: read only, and dropped before `picture` can change.
    let source = unsafe { view_slice(&picture.data, picture.shape()?) }?;
    let mut data = vec![0; size.pixels() * 3];
    resize_into(&source, &mut data, Shape::packed(width, height, CV_8UC3, 3), filter)?;
    Ok(Picture { width: size.width, height: size.height, format: picture.format, data })
}

/// A picture as a JPEG file. `quality` is 1 to 100; the same picture gives the same bytes.
///
/// # Errors
/// `convert` if the picture is malformed or larger than JPEG allows (65,535 pixels a side).
pub fn encode_jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, MediaError> {
    let refuse = |reason| MediaError::Convert { during: "writing a JPEG", reason };
    picture.shape()?;
    let side = |side: u32| {
        u16::try_from(side).map_err(|_error| refuse(format!("{side} pixels are too many")))
    };
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let order = match picture.format {
        PixelFormat::Bgr8 => ColorType::Bgr,
        PixelFormat::Rgb8 => ColorType::Rgb,
    };
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, quality.clamp(1, 100))
        .encode(&picture.data, width, height, order)
        .map_err(|error| refuse(error.to_string()))?;
    Ok(bytes)
}

/// A JPEG file as a picture.
///
/// # Errors
/// `convert` if it is none.
pub fn decode_jpeg(bytes: &[u8]) -> Result<Picture, MediaError> {
    let refuse = |reason: String| MediaError::Convert { during: "reading a JPEG", reason };
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let data = decoder.decode().map_err(|error| refuse(error.to_string()))?;
    let info = decoder.info().ok_or_else(|| refuse("it has no header".to_owned()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    Ok(Picture { width, height, format: PixelFormat::Rgb8, data })
}
