//! Frames as they are shown: the pictures that go into a transcoded clip.
//!
//! Upright, with square pixels, over black where they are transparent, without HDR, all in one
//! size and pixel format. FFmpeg's own filters do it at full size and depth, in the order in which
//! least is lost: size first, then light, then depth. A frame that is as wanted already passes
//! untouched. The YUV matrix stays as it is; full range becomes limited, as half of all readers
//! take it for that anyway. BT.2020 and P3 become BT.709, whose names readers need not understand;
//! primaries that are close to it stay, with their name.

use ffmpeg_next::ffi;

use crate::{
    Encoding, Frame, MediaError, Orientation, Size, color,
    filter::Chain,
    frame::AvFrame,
    gamut::{Foreign, Primaries},
    tone::{Curve, Hdr},
};

/// Renders the frames of one clip.
pub(crate) struct Renderer {
    /// What every frame becomes.
    size: Size,
    format: ffi::AVPixelFormat,
    format_name: String,
    /// What runs, and its filters: other colours in the middle of a file need others.
    chain: Option<(Chain, String)>,
}

/// The size at which a picture of this shown size is stored: even sides, as 4:2:0 wants them.
pub(crate) fn stored_size((width, height): (u32, u32), short_side: Option<u32>) -> Size {
    let even = |side: u32| (side & !1).max(2);
    let short = width.min(height);
    match short_side {
        Some(wanted) if short > wanted => {
            let scaled = |side: u32| {
                let side = u64::from(side) * u64::from(wanted);
                let pairs = (side + u64::from(short)) / (2 * u64::from(short));
                u32::try_from(pairs * 2).unwrap_or(u32::MAX).max(2)
            };
            Size::new(scaled(width), scaled(height))
        }
        _ => Size::new(even(width), even(height)),
    }
}

/// FFmpeg's number for BT.709's primaries.
const BT709: u32 = ffi::AVColorPrimaries::AVCOL_PRI_BT709 as u32;

/// The primaries of a frame, if a clip is not to have them. RGB becomes YUV in any case, and is named
/// BT.709.
fn to_convert(frame: &Frame) -> Option<Foreign> {
    Foreign::of(frame.av()).filter(|foreign| foreign.primaries.is_wide() || frame.is_rgb())
}

impl Renderer {
    /// A renderer for a clip that begins with `first`.
    pub(crate) fn new(first: &Frame, encoding: &Encoding) -> Result<Self, MediaError> {
        let format = encoding.format().ok_or_else(|| MediaError::Encode {
            reason: format!("no pixel format {}", encoding.pixel_format),
        })?;
        let size = stored_size(first.display_size(), encoding.short_side);
        Ok(Self { size, format, format_name: encoding.pixel_format.clone(), chain: None })
    }

    /// The frame as it goes into the clip.
    pub(crate) fn render(&mut self, frame: &Frame) -> Result<AvFrame, MediaError> {
        let colors = color::of_frame(frame.av());
        let is_fitting = frame.av().format == self.format as i32
            && frame.orientation == Orientation::default()
            && frame.pixel_aspect == crate::PixelAspect::SQUARE
            && Size::new(frame.width(), frame.height()) == self.size
            && Hdr::of(frame.av()).is_none()
            && to_convert(frame).is_none()
            && !colors.is_full_range;
        let mut shown = if is_fitting {
            let mut same = AvFrame::new()?;
            same.refer_to(frame.owner())?;
            same
        } else {
            let filters = self.filters(frame);
            let fits = |(chain, of): &(Chain, String)| chain.takes(frame.av()) && *of == filters;
            if !self.chain.as_ref().is_some_and(fits) {
                let about = (frame.time_base, frame.pixel_aspect);
                self.chain = Some((Chain::new(frame.av(), about, &filters)?, filters));
            }
            let failed = || MediaError::Filter {
                during: "rendering",
                reason: "a frame went in and none came out".to_owned(),
            };
            let (chain, _) = self.chain.as_mut().ok_or_else(failed)?;
            chain.push(Some(frame.owner()))?;
            chain.pull()?.ok_or_else(failed)?
        };
        // What nobody named is named now, so that readers do not have to guess.
        let is_bt709 = frame.is_rgb() || Hdr::of(frame.av()).is_some();
        shown.name_colors(colors, is_bt709 || to_convert(frame).is_some());
        Ok(shown)
    }

    /// FFmpeg's words for what must be done to frames like this one.
    fn filters(&self, frame: &Frame) -> String {
        let mut filters = Vec::new();
        // As stored: sides are turned at the end.
        let stored = if frame.orientation.swaps_sides() { self.size.turned() } else { self.size };
        let is_rgb = frame.is_rgb();
        let colors = color::of_frame(frame.av());
        let is_resized = self.is_resized(frame, stored);
        if frame.has_alpha() {
            filters
                .push("format=yuva444p|gbrap|yuva444p10|gbrap10,premultiply=inplace=1".to_owned());
        }
        let Size { width, height } = stored;
        let is_by_zscale = Hdr::of(frame.av()).is_some() || to_convert(frame).is_some();
        // zscale refuses half samples of chroma.
        if is_by_zscale && (frame.width() | frame.height()) & 1 == 1 {
            let even = |side: u32| (side & !1).max(2).min(side);
            filters.push(format!("crop={}:{}:0:0", even(frame.width()), even(frame.height())));
        }
        if let Some(hdr) = Hdr::of(frame.av()) {
            let range = if colors.is_full_range { "pc" } else { "tv" };
            let transfer = match hdr.curve {
                Curve::Pq => "smpte2084",
                Curve::Hlg => "arib-std-b67",
            };
            let primaries = hdr.primaries.map_or(BT709, Primaries::number);
            // Colours that BT.709 does not have are clipped as RGB: as YUV they would change others.
            filters.push(format!(
                "zscale=w={width}:h={height}:f=lanczos:rin={range}:tin={transfer}:pin={primaries}:\
                 p={primaries}:min={}:t=linear:npl=100,format=gbrpf32le,zscale=p=709,\
                 tonemap=tonemap=hable:desat=0:peak={},zscale=t=709,format=gbrp16le,\
                 zscale=m=709:r=tv,format={}",
                colors.matrix.zscale_name(),
                hdr.peak,
                self.format_name
            ));
        } else if let Some(foreign) = to_convert(frame) {
            let (range, matrix) = match (is_rgb, colors.is_full_range) {
                (true, _) => ("pc", "gbr"),
                (false, true) => ("pc", colors.matrix.zscale_name()),
                (false, false) => ("tv", colors.matrix.zscale_name()),
            };
            let (primaries, transfer) = (foreign.primaries.number(), foreign.transfer());
            filters.push(format!(
                "zscale=w={width}:h={height}:f=lanczos:rin={range}:tin={transfer}:pin={primaries}:\
                 min={matrix}:p=709:t={transfer}:m=gbr:r=pc,format=gbrp16le,\
                 zscale=m=709:r=tv,format={}",
                self.format_name
            ));
        } else {
            let matrix = if is_rgb {
                "in_range=pc:out_color_matrix=bt709".to_owned()
            } else {
                let name = colors.matrix.filter_name();
                let range = if colors.is_full_range { "pc" } else { "tv" };
                format!("in_range={range}:in_color_matrix={name}:out_color_matrix={name}")
            };
            if !is_resized && (frame.width(), frame.height()) != (width, height) {
                filters.push(format!("crop={width}:{height}:0:0"));
            }
            filters.push(format!(
                "scale={width}:{height}:flags=lanczos+accurate_rnd+full_chroma_int+bitexact:\
                 {matrix}:out_range=tv,format={}",
                self.format_name
            ));
        }
        match frame.orientation.rotation {
            90 => filters.push("transpose=clock".to_owned()),
            180 => filters.push("hflip,vflip".to_owned()),
            270 => filters.push("transpose=cclock".to_owned()),
            _ => {}
        }
        if frame.orientation.mirrored {
            filters.push("hflip".to_owned());
        }
        filters.push("setsar=1".to_owned());
        filters.join(",")
    }

    /// Whether more changes than an odd row or column.
    fn is_resized(&self, frame: &Frame, stored: Size) -> bool {
        let is_near = |side: u32, stored: u32| side == stored || side == stored + 1;
        frame.pixel_aspect != crate::PixelAspect::SQUARE
            || !is_near(frame.width(), stored.width)
            || !is_near(frame.height(), stored.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_even_and_never_enlarged() {
        assert_eq!(stored_size((853, 481), None), Size::new(852, 480));
        assert_eq!(stored_size((1920, 1080), Some(512)), Size::new(910, 512));
        assert_eq!(stored_size((1080, 1920), Some(512)), Size::new(512, 910));
        assert_eq!(stored_size((320, 240), Some(512)), Size::new(320, 240));
        assert_eq!(stored_size((1, 1), None), Size::new(2, 2));
    }
}
