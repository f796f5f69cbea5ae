//! Finding text in a frame: PP-OCR's detector as rapidocr 3.10.0 runs it by default.
//!
//! The network (`PP-OCRv6_det_small.onnx`) gives each pixel of its input a probability of lying in
//! the shrunk core of a line of text. What comes before and after is differentiable binarization
//! (DB; Liao et al., AAAI 2020, arXiv 1911.08947): [`input_size`] and [`normalise`] make the input,
//! [`text_boxes`] turns the map into quadrilaterals. On top of these, [`union_area`] says how much
//! of a frame is text, and [`persistence`] how much of it stays where it is from frame to frame.
//! [`line_image`] and [`Alphabet`] are the two ends of reading a line.
//!
//! Between size and values the caller resizes with OpenCV's `INTER_LINEAR`, straight from the frame
//! and without keeping the ratio of the sides, as rapidocr does.
//!
//! Decided against:
//! * OpenCV's contour functions. Only the smallest rectangle around each contour is used, for which
//!   the ends of the rows of a region are enough; tracing its outline is not.
//! * Clipper for the offset. Growing a rectangle with round joints and taking the smallest
//!   rectangle around the result is growing its sides; a test shows it.
//! * rapidocr's black bands around frames that are 30 pixels high or lower, or over 8 times as wide
//!   as high: videos are not.
//!
//! The detector alone sees text where there is none: on a clip of a white car it covers a fifth of
//! the frame, with scores that faint text has too. Reading the lines rules these out: keep those of
//! two or more characters with a score of 0.5 or more.

mod area;
mod boxes;
mod contour;
mod networks;
mod persistence;
mod quad;
mod reading;

pub use self::{
    area::union_area,
    boxes::{DbOptions, ProbabilityMap, text_boxes},
    networks::{LineReader, PP_OCR, TextDetector},
    persistence::{Persistence, PersistenceOptions, persistence},
    quad::{Quad, iou},
    reading::{Alphabet, Bgr, LINE_HEIGHT, LineImage, Reading, line_image},
};

/// A line of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextBox {
    /// Its corners in pixels of the frame, x and y: top left, top right, bottom right, bottom left.
    /// Whole numbers, from 0 to the width or height minus 1.
    pub corners: Quad,
    /// The mean probability inside the line's core, 0 to 1. None is below
    /// [`DbOptions::box_threshold`].
    pub score: f32,
}

/// How large a frame goes into the network, in pixels of one of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideLimit {
    /// The shorter side is at least this long: smaller frames are enlarged, larger ones stay.
    AtLeast(u32),
    /// The longer side is at most this long: larger frames are reduced, smaller ones stay.
    AtMost(u32),
}

impl Default for SideLimit {
    /// rapidocr's: a shorter side of at least 736 pixels.
    fn default() -> Self {
        Self::AtLeast(736)
    }
}

/// The sides of the input are multiples of this, in pixels: the network halves them five times.
const CELL: u32 = 32;

/// The longest and the shortest side that rapidocr lets into its detector, in pixels. Frames beyond
/// are brought to it first.
const BOUNDS: (u32, u32) = (2000, 30);

/// The size in pixels to which a frame is resized: width and height, each a multiple of 32.
///
/// Three steps, each truncated to whole pixels and then rounded to the nearest multiple of 32, a
/// half to the even one, as in rapidocr: the longer side is brought down to 2000, the shorter up to
/// 30, and then the limit holds. (rapidocr resizes in each step, here the caller does it once.)
/// Sides never become less than 32, where rapidocr refuses the frame; a frame without pixels counts
/// as one of one pixel.
#[must_use]
pub fn input_size(width: u32, height: u32, limit: SideLimit) -> (u32, u32) {
    let mut size = (width.max(1), height.max(1));
    if size.0.max(size.1) > BOUNDS.0 {
        size = scaled(size, BOUNDS.0, size.0.max(size.1));
    }
    if size.0.min(size.1) < BOUNDS.1 {
        size = scaled(size, BOUNDS.1, size.0.min(size.1));
    }
    let (shorter, longer) = (size.0.min(size.1), size.0.max(size.1));
    match limit {
        SideLimit::AtLeast(side) if shorter < side => scaled(size, side, shorter),
        SideLimit::AtMost(side) if longer > side => scaled(size, side, longer),
        _ => scaled(size, 1, 1),
    }
}

/// A size times `to / from`, on the grid of cells.
fn scaled(size: (u32, u32), to: u32, from: u32) -> (u32, u32) {
    let ratio = f64::from(to) / f64::from(from);
    let side = |length: u32| {
        let cells = (f64::from(length) * ratio).trunc() / f64::from(CELL);
        (cells.round_ties_even().clamp(1.0, f64::from(u32::MAX / CELL)) as u32) * CELL
    };
    (side(size.0), side(size.1))
}

/// The network's input of a resized BGR picture (blue first, three bytes for each pixel, rows
/// without gaps): three planes in the same order, bytes from 0 to 255 brought to -1 to 1.
#[must_use]
pub fn normalise(bgr: &[u8]) -> Vec<f32> {
    // Mean and deviation are 0.5 for all channels. As numpy does it: a 32-bit product, the rest in
    // 64 bits.
    let levels: [f32; 256] = std::array::from_fn(|level| {
        let scaled = level as f32 * (1.0 / 255.0) as f32;
        ((f64::from(scaled) - 0.5) / 0.5) as f32
    });
    let plane =
        |channel: usize| bgr.chunks_exact(3).map(move |pixel| levels[usize::from(pixel[channel])]);
    let mut planes = Vec::with_capacity(bgr.len());
    for channel in 0..3 {
        planes.extend(plane(channel));
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rapidocrs() {
        let default = |width, height| input_size(width, height, SideLimit::default());
        assert_eq!(default(960, 540), (1312, 736));
        assert_eq!(default(640, 480), (992, 736));
        assert_eq!(default(480, 640), (736, 992));
        assert_eq!(default(1280, 720), (1312, 736));
        assert_eq!(default(1920, 1080), (1920, 1088));
        assert_eq!(default(3840, 2160), (1984, 1120));
        assert_eq!(default(736, 736), (736, 736));
    }

    #[test]
    fn limits_hold_from_below_or_above() {
        assert_eq!(input_size(960, 540, SideLimit::AtLeast(480)), (960, 544));
        assert_eq!(input_size(960, 540, SideLimit::AtMost(480)), (480, 256));
        assert_eq!(input_size(320, 180, SideLimit::AtMost(480)), (320, 192));
        // 80 / 32 and 48 / 32 lie between two multiples: the even one.
        assert_eq!(input_size(80, 48, SideLimit::AtMost(480)), (64, 64));
    }

    #[test]
    fn no_side_vanishes() {
        assert_eq!(input_size(0, 0, SideLimit::AtMost(1)), (32, 32));
        assert_eq!(input_size(4000, 2, SideLimit::AtMost(64)), (64, 32));
        let (width, height) = input_size(u32::MAX, 1, SideLimit::default());
        assert!(width >= height && height >= 736);
    }

    #[test]
    fn values_go_from_minus_one_to_one_in_planes() {
        let planes = normalise(&[0, 128, 255, 51, 51, 51]);
        assert_eq!(planes.len(), 6);
        let wanted = [-1.0, -0.6, 0.003_921_6, -0.6, 1.0, -0.6];
        for (value, wanted) in planes.iter().zip(wanted) {
            assert!((value - wanted).abs() < 1e-6, "{planes:?}");
        }
    }
}
