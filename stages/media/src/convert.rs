//! From a decoded frame to a picture of any size: the hot path of the scene analysis.
//!
//! Every frame of every video comes through here once, at 256 pixels or so, and may cost no more
//! than a tenth of its decoding. So the planes of a YUV frame are shrunk first, straight out of
//! the decoder's memory, and only the few pixels that are left are turned into RGB. That equals
//! converting first and shrinking afterwards up to rounding, as both steps are linear. Chroma is
//! stretched from its own centre (the quarter pixel by which most encoders sit it to the left is
//! ignored). Ten-bit planes go the same way with 16-bit samples.
//!
//! Other layouts (NV12, RGB, palettes, grey) are rare in files and take swscale, to eight bits. What
//! is transparent is shown over black.

use opencv::core::{self, CV_8UC1, CV_8UC3, CV_16UC1};

use crate::{
    Filter, Frame, MediaError, Orientation, Picture, PixelFormat, Size,
    color::{self, FrameColors},
    frame::Plane,
    gamut::{Foreign, Gamut},
    mat::{Shape, into_slice, resize_into, view, view_slice},
    scale::Scaler,
    shrink::{Shrinker, Source, Take},
    small::Spare,
    tone::{Hdr, Tone},
    yuv::{Coefficients, to_bgr},
};

/// The buffers and scalers that turning frames into pictures reuses; one per thread.
#[derive(Default)]
pub struct Converter {
    format: PixelFormat,
    yuv: [Vec<u8>; 3],
    bgr: [Vec<u8>; 3],
    wide: Vec<u8>,
    shrinker: Shrinker,
    scaler: Scaler,
    tone: Option<Tone>,
    gamut: Option<Gamut>,
    light: [Vec<f32>; 3],
    alpha: Vec<u8>,
    pub(crate) spare: Spare,
}

impl Converter {
    /// A converter whose pictures have this byte order.
    #[must_use]
    pub fn new(format: PixelFormat) -> Self {
        Self { format, ..Self::default() }
    }

    /// Resizes the planes of a frame to 8-bit planes of `size`.
    pub(crate) fn shrink(
        &mut self,
        planes: &[Plane; 3],
        out: &mut [Vec<u8>; 3],
        size: Size,
        filter: Filter,
    ) -> Result<(), MediaError> {
        let size = size.ints()?;
        for (plane, out) in planes.iter().zip(out) {
            let working = (&mut self.wide, &mut self.shrinker);
            shrink(plane, out, working, size, (filter, Take::Blend))?;
        }
        Ok(())
    }

    /// As [`shrink`](Self::shrink), linearly, but chroma of less than full size is taken from where
    /// the pixel's centre lies: what comes of giving each pixel the chroma that covers it before
    /// shrinking, and half of the memory to read.
    pub(crate) fn sample(
        &mut self,
        planes: &[Plane; 3],
        out: &mut [Vec<u8>; 3],
        size: Size,
    ) -> Result<(), MediaError> {
        let size = size.ints()?;
        for (plane, out) in planes.iter().zip(out) {
            let is_full = (plane.width, plane.height) == (planes[0].width, planes[0].height);
            let take = if is_full { Take::Blend } else { Take::Nearest };
            let working = (&mut self.wide, &mut self.shrinker);
            shrink(plane, out, working, size, (Filter::Linear, take))?;
        }
        Ok(())
    }

    /// Lays packed pixels of `size` over black, by the alpha of the frame they were made of.
    fn over_black(
        &mut self,
        frame: &Frame,
        size: Size,
        filter: Filter,
        pixels: &mut [u8],
    ) -> Result<(), MediaError> {
        if let Some(plane) = frame.alpha_plane() {
            let working = (&mut self.wide, &mut self.shrinker);
            let how = (filter, Take::Blend);
            shrink(&plane, &mut self.alpha, working, size.ints()?, how)?;
        } else {
            self.scaler.alpha(frame.av(), size, filter, &mut self.alpha)?;
        }
        for (pixel, alpha) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(&self.alpha) {
            *pixel = pixel.map(|level| ((u16::from(level) * u16::from(*alpha) + 127) / 255) as u8);
        }
        Ok(())
    }

    /// The tables for a frame, to be put back.
    fn tone(&mut self, hdr: Hdr) -> Tone {
        let tone = self.tone.take().filter(|tone| tone.curve() == hdr.curve);
        tone.unwrap_or_else(|| Tone::new(hdr.curve))
    }

    /// Converts packed pixels from other primaries.
    fn convert_primaries(&mut self, of: Foreign, pixels: &mut [u8]) {
        let gamut = self.gamut.take().filter(|gamut| gamut.is_for(of));
        let gamut = gamut.unwrap_or_else(|| Gamut::new(of));
        gamut.convert(pixels, self.format);
        self.gamut = Some(gamut);
    }

    /// Resizes the planes of a frame of high dynamic range and tone-maps them, into `self.bgr`.
    fn show(
        &mut self,
        planes: &[Plane; 3],
        (colors, hdr): (FrameColors, Hdr),
        size: Size,
        filter: Filter,
    ) -> Result<(), MediaError> {
        let size = size.ints()?;
        for (plane, out) in planes.iter().zip(&mut self.light) {
            shrink_deep(plane, out, &mut self.wide, size, filter)?;
        }
        let tone = self.tone(hdr);
        let [y, u, v] = &self.light;
        tone.planes([y, u, v], (colors, hdr), self.bgr.each_mut());
        self.tone = Some(tone);
        Ok(())
    }
}

impl Frame {
    /// The frame as a picture of `size` (the size after turning, if `rotate`). `rotate` turns and
    /// mirrors the picture upright; without it, it is as stored.
    ///
    /// # Errors
    /// `convert` for empty or enormous sizes, and for layouts that swscale does not know.
    pub fn picture(
        &self,
        converter: &mut Converter,
        size: Size,
        filter: Filter,
        rotate: bool,
    ) -> Result<Picture, MediaError> {
        let turn = if rotate { self.orientation } else { Orientation::default() };
        let stored = if turn.swaps_sides() { size.turned() } else { size };
        let (width, height) = stored.ints()?;
        let shape = Shape::packed(width, height, CV_8UC3, 3);
        let colors = color::of_frame(self.av());
        let mut data = if let Some((planes, hdr)) = self.yuv_planes().zip(Hdr::of(self.av())) {
            converter.show(&planes, (colors, hdr), stored, filter)?;
            Picture::from_planes(&converter.bgr, stored, converter.format)?.data
        } else if let Some(planes) = self.yuv_planes() {
            let mut yuv = std::mem::take(&mut converter.yuv);
            converter.shrink(&planes, &mut yuv, stored, filter)?;
            let [y, u, v] = &yuv;
            to_bgr([y, u, v], converter.bgr.each_mut(), Coefficients::new(colors));
            converter.yuv = yuv;
            Picture::from_planes(&converter.bgr, stored, converter.format)?.data
        } else {
            let mut data = vec![0; stored.pixels() * 3];
            let order = converter.format;
            converter.scaler.scale(self.av(), colors, stored, filter, order, &mut data)?;
            if let Some(hdr) = Hdr::of(self.av()) {
                let tone = converter.tone(hdr);
                tone.convert(&mut data, order, hdr);
                converter.tone = Some(tone);
            }
            data
        };
        if let Some(foreign) = Foreign::of(self.av()) {
            converter.convert_primaries(foreign, &mut data);
        }
        if self.has_alpha() {
            converter.over_black(self, stored, filter, &mut data)?;
        }
        upright(data, shape, turn, converter.format)
    }
}

/// Resizes one plane to 8-bit samples at `size`.
fn shrink(
    plane: &Plane,
    out: &mut Vec<u8>,
    (wide, shrinker): (&mut Vec<u8>, &mut Shrinker),
    size: (i32, i32),
    (filter, take): (Filter, Take),
) -> Result<(), MediaError> {
    let (width, height) = size;
    let pixels = width as usize * height as usize;
    out.resize(pixels, 0);
    let can_shrink = plane.width >= width.max(2) && plane.height >= height.max(2);
    if plane.depth == 8 && filter == Filter::Linear && can_shrink {
        let source = Source {
            data: plane.data,
            stride: plane.stride,
            width: plane.width as usize,
            height: plane.height as usize,
        };
        // SAFETY: the frame that owns the plane outlives this call and is not written to.
        unsafe { shrinker.shrink(source, take, out, width as usize) };
        return Ok(());
    }
    let kind = if plane.depth == 8 { CV_8UC1 } else { CV_16UC1 };
    let source = Shape { width: plane.width, height: plane.height, kind, stride: plane.stride };
    // SAFETY: the frame that owns the plane outlives this call and is not written to.
    let source = unsafe { view(plane.data, source) }?;
    if plane.depth == 8 {
        return resize_into(&source, out, Shape::packed(width, height, CV_8UC1, 1), filter);
    }
    wide.resize(pixels * 2, 0);
    resize_into(&source, wide, Shape::packed(width, height, CV_16UC1, 2), filter)?;
    let shift = plane.depth - 8;
    let half = 1_u32 << (shift - 1);
    for (out, sample) in out.iter_mut().zip(wide.chunks_exact(2)) {
        let sample = u32::from(u16::from_ne_bytes([sample[0], sample[1]]));
        *out = (sample.wrapping_add(half) >> shift).min(255) as u8;
    }
    Ok(())
}

/// Resizes one plane and keeps its depth: 8-bit code values, with fractions, divided by 255.
fn shrink_deep(
    plane: &Plane,
    out: &mut Vec<f32>,
    wide: &mut Vec<u8>,
    (width, height): (i32, i32),
    filter: Filter,
) -> Result<(), MediaError> {
    let (kind, bytes) = if plane.depth == 8 { (CV_8UC1, 1) } else { (CV_16UC1, 2) };
    let source = Shape { width: plane.width, height: plane.height, kind, stride: plane.stride };
    // SAFETY: the frame that owns the plane outlives this call and is not written to.
    let source = unsafe { view(plane.data, source) }?;
    wide.resize(width as usize * height as usize * bytes, 0);
    resize_into(&source, wide, Shape::packed(width, height, kind, bytes), filter)?;
    let largest = 255.0 * f32::from(1_u16 << (plane.depth - 8));
    out.clear();
    if bytes == 1 {
        out.extend(wide.iter().map(|sample| f32::from(*sample) / largest));
    } else {
        let samples = wide.as_chunks::<2>().0.iter().map(|two| u16::from_ne_bytes(*two));
        out.extend(samples.map(|sample| f32::from(sample) / largest));
    }
    Ok(())
}

/// Turns and mirrors packed pixels.
fn upright(
    data: Vec<u8>,
    shape: Shape,
    turn: Orientation,
    format: PixelFormat,
) -> Result<Picture, MediaError> {
    let (mut data, mut shape) = (data, shape);
    let code = match turn.rotation {
        90 => Some(core::ROTATE_90_CLOCKWISE),
        180 => Some(core::ROTATE_180),
        270 => Some(core::ROTATE_90_COUNTERCLOCKWISE),
        _ => None,
    };
    if let Some(code) = code {
        let turned = if turn.swaps_sides() {
            Shape::packed(shape.height, shape.width, CV_8UC3, 3)
        } else {
            shape
        };
        let mut out = vec![0; data.len()];
        // SAFETY: read only, and dropped before `data` is replaced.
        let source = unsafe { view_slice(&data, shape) }?;
        into_slice(&mut out, turned, "turning", |out| core::rotate(&source, out, code))?;
        drop(source);
        (data, shape) = (out, turned);
    }
    if turn.mirrored {
        let mut out = vec![0; data.len()];
        // SAFETY: read only, and dropped before `data` is replaced.
        let source = unsafe { view_slice(&data, shape) }?;
        into_slice(&mut out, shape, "mirroring", |out| core::flip(&source, out, 1))?;
        drop(source);
        data = out;
    }
    Ok(Picture { width: shape.width as u32, height: shape.height as u32, format, data })
}
