//! From the map of probabilities to lines of text.
//!
//! The network is trained on polygons that were shrunk, so that lines that nearly touch stay apart
//! (Liao et al., "Label generation"). So each region of the map above a threshold is a core, from
//! which the line is got by growing it again by `area * ratio / perimeter` ("Optimization", at the
//! end). Holes in regions are candidates too, as OpenCV's list of contours has them; their mean
//! probability rules nearly all of them out. Constants and order are those of rapidocr 3.10.0 but
//! for:
//! * rapidocr truncates a core's corners to whole pixels before it grows them, which moves lines up
//!   and to the left by half a pixel of the map; here nothing is rounded before the end.
//! * Of frames over 2000 pixels wide or high, boxes are rounded to whole pixels of the frame, not
//!   of its reduced copy.
//! * Each box keeps its own score: rapidocr sorts the boxes at the end but not the scores.

use super::{
    TextBox,
    contour::Mask,
    quad::{Point, Rectangle, ordered},
};

/// The shortest side of a core, in pixels of the map.
const CORE_SIDE: f64 = 3.0;

/// The shortest side of a grown core, in pixels of the map.
const GROWN_SIDE: f64 = 5.0;

/// A box in the frame is wider and higher than this, in pixels and rounded down.
const BOX_SIDE: f32 = 3.0;

/// Boxes whose upper left corners are less than this apart in height are of the same row, in pixels
/// of the frame.
const ROW_GAP: f32 = 10.0;

/// How the map is read. The defaults are rapidocr's.
#[derive(Clone, Copy, Debug)]
pub struct DbOptions {
    /// A pixel belongs to a core above this probability. 0.3 by default (the paper has 0.2).
    pub threshold: f32,
    /// A core counts if its mean probability reaches this. 0.5 by default. No value parts text from
    /// the rest: text that is small or blurred has less than 0.7, and what is no text at all may
    /// have more and cover the frame.
    pub box_threshold: f32,
    /// How far a core grows: this times its area over its perimeter. 1.6 by default (the paper has
    /// 1.5), which leaves a margin around the letters as recognition wants it; at 1.0 boxes are
    /// close to the ink.
    pub unclip: f64,
    /// Grow regions by one pixel to the right and downwards first, which closes gaps of one. Yes by
    /// default.
    pub dilate: bool,
    /// The most outlines looked at, 1000 by default: noise may have any number. The lower ones are
    /// taken, as OpenCV lists them from the bottom.
    pub candidates: usize,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self { threshold: 0.3, box_threshold: 0.5, unclip: 1.6, dilate: true, candidates: 1000 }
    }
}

/// The network's output for one frame: how likely each pixel belongs to the core of a line of text.
#[derive(Clone, Copy, Debug)]
pub struct ProbabilityMap<'a> {
    values: &'a [f32],
    width: usize,
    height: usize,
}

impl<'a> ProbabilityMap<'a> {
    /// A map of this size, rows from the top without gaps. `None` if the values are more or fewer
    /// than that, or the size is nothing.
    #[must_use]
    pub fn new(values: &'a [f32], width: u32, height: u32) -> Option<Self> {
        let (width, height) = (width as usize, height as usize);
        let fits = width > 0 && height > 0 && width.checked_mul(height) == Some(values.len());
        fits.then_some(Self { values, width, height })
    }

    /// The mean probability inside a quadrilateral with corners in pixels of the map, its border
    /// included (what rapidocr calls the fast score).
    fn mean_inside(&self, corners: &[Point; 4]) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for (y, (first, last)) in self.rows_of(corners) {
            let row = &self.values[y * self.width..][first..=last];
            sum += row.iter().map(|value| f64::from(*value)).sum::<f64>();
            count += row.len() as f64;
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// The rows that a quadrilateral covers, each with its first and last pixel. As OpenCV's
    /// `fillPoly` draws them from whole corners: what lies inside, and the lines of the sides.
    fn rows_of(&self, corners: &[Point; 4]) -> impl Iterator<Item = (usize, (usize, usize))> {
        let (right, bottom) = ((self.width - 1) as i64, (self.height - 1) as i64);
        let least = |axis: usize| {
            let least = corners.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min);
            least.floor().max(0.0) as i64
        };
        // rapidocr truncates relative to the corner of the surrounding rectangle inside the map.
        let (left, top) = (least(0).min(right), least(1).min(bottom));
        let whole =
            corners.map(|[x, y]| [(x - left as f64) as i64 + left, (y - top as f64) as i64 + top]);
        let lowest = whole.iter().map(|p| p[1]).max().unwrap_or(top).min(bottom);
        let mut rows = vec![(i64::MAX, i64::MIN); usize::try_from(lowest - top + 1).unwrap_or(0)];
        for (index, from) in whole.iter().enumerate() {
            draw(*from, whole[(index + 1) % 4], |[x, y]| {
                let row = usize::try_from(y - top).ok();
                if let Some((first, last)) = row.and_then(|row| rows.get_mut(row)) {
                    *first = x.min(*first);
                    *last = x.max(*last);
                }
            });
        }
        rows.into_iter().enumerate().filter_map(move |(row, (first, last))| {
            let (first, last) = (first.max(0), last.min(right));
            (first <= last).then_some((row + top as usize, (first as usize, last as usize)))
        })
    }
}

/// The pixels of a line: one for each step along its longer direction.
fn draw(from: [i64; 2], to: [i64; 2], mut pixel: impl FnMut([i64; 2])) {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let steps = dx.abs().max(dy.abs());
    let at = |start: i64, length: i64, step: i64| {
        let share = if steps == 0 { 0.0 } else { step as f64 / steps as f64 };
        (start as f64 + length as f64 * share).round() as i64
    };
    for step in 0..=steps {
        pixel([at(from[0], dx, step), at(from[1], dy, step)]);
    }
}

/// The lines of text in a frame of this width and height in pixels, whose size in the network was
/// the map's; rows from the top, each from the left.
#[must_use]
pub fn text_boxes(
    map: &ProbabilityMap<'_>,
    frame: (u32, u32),
    options: &DbOptions,
) -> Vec<TextBox> {
    let set = map.values.iter().map(|value| *value > options.threshold).collect();
    let mut mask = Mask { set, width: map.width };
    if options.dilate {
        mask.dilate();
    }
    let outlines = mask.outlines();
    let mut boxes: Vec<TextBox> = outlines
        .iter()
        .rev()
        .take(options.candidates)
        .filter_map(|outline| {
            let core = Rectangle::around(outline.iter().map(|at| at.map(f64::from)))?;
            let score =
                (core.shorter() >= CORE_SIDE).then(|| map.mean_inside(&core.corners()))? as f32;
            let distance = options.unclip * core.size[0] * core.size[1]
                / (2.0 * (core.size[0] + core.size[1]));
            let line = core.grown(distance);
            let kept = score >= options.box_threshold && line.shorter() >= GROWN_SIDE;
            let corners = kept.then(|| in_frame(&line, map, frame))??;
            Some(TextBox { corners, score })
        })
        .collect();
    read_in_order(&mut boxes);
    boxes
}

/// A rectangle's corners in whole pixels of the frame, if enough of it lies inside.
fn in_frame(
    line: &Rectangle,
    map: &ProbabilityMap<'_>,
    frame: (u32, u32),
) -> Option<[[f32; 2]; 4]> {
    let scale = |value: f64, from: usize, to: u32| {
        let to = f64::from(to);
        (value / from as f64 * to).round_ties_even().clamp(0.0, to)
    };
    let whole =
        line.corners().map(|[x, y]| [scale(x, map.width, frame.0), scale(y, map.height, frame.1)]);
    let (right, bottom) = (frame.0.saturating_sub(1), frame.1.saturating_sub(1));
    let corners =
        ordered(whole).map(|[x, y]| [x.min(right.into()) as f32, y.min(bottom.into()) as f32]);
    let side = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]).trunc();
    let sides = [side(corners[0], corners[1]), side(corners[0], corners[3])];
    sides.iter().all(|side| *side > BOX_SIDE).then_some(corners)
}

/// Sorts boxes as they are read. A row goes on as long as the next box starts less than [`ROW_GAP`]
/// below the one before.
fn read_in_order(boxes: &mut [TextBox]) {
    let [x, y] = [0, 1].map(|axis| move |text: &TextBox| text.corners[0][axis]);
    boxes.sort_by(|a, b| y(a).total_cmp(&y(b)));
    for row in boxes.chunk_by_mut(|a, b| y(b) - y(a) < ROW_GAP) {
        row.sort_by(|a, b| x(a).total_cmp(&x(b)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map with rectangles of a probability: first and last pixel in both directions.
    fn map(width: usize, height: usize, filled: &[([usize; 4], f32)]) -> Vec<f32> {
        let mut values = vec![0.01; width * height];
        for ([left, top, right, bottom], probability) in filled {
            for y in *top..=*bottom {
                values[y * width + left..=y * width + right].fill(*probability);
            }
        }
        values
    }

    fn boxes(values: &[f32], width: u32, height: u32, frame: (u32, u32)) -> Vec<TextBox> {
        let map = ProbabilityMap::new(values, width, height).unwrap();
        text_boxes(&map, frame, &DbOptions::default())
    }

    #[test]
    fn a_core_grows_to_a_line_in_the_frame() {
        // 40 wide and 10 high with the edges at 20..60 and 30..40: grown by 1.6 * 400 / 100 = 6.4.
        let values = map(128, 96, &[([20, 30, 59, 39], 0.9)]);
        let found = boxes(&values, 128, 96, (256, 96));
        assert_eq!(found.len(), 1);
        let wanted = [[27.0, 24.0], [133.0, 24.0], [133.0, 46.0], [27.0, 46.0]];
        assert_eq!(found[0].corners, wanted);
        // The row and the column added by dilation count in the mean.
        let mean = (0.9 * 400.0 + 0.01 * 51.0) / 451.0;
        assert!((found[0].score - mean).abs() < 1e-4, "{}", found[0].score);
    }

    #[test]
    fn faint_small_and_thin_regions_are_no_lines() {
        let faint = map(128, 96, &[([20, 30, 59, 39], 0.45)]);
        assert!(boxes(&faint, 128, 96, (128, 96)).is_empty());
        let thin = map(128, 96, &[([20, 30, 59, 31], 0.9), ([100, 80, 100, 80], 1.0)]);
        assert!(boxes(&thin, 128, 96, (128, 96)).is_empty());
        // Large in the map, but less than 4 pixels high in the frame.
        let flat = map(128, 96, &[([20, 30, 59, 39], 0.9)]);
        assert!(boxes(&flat, 128, 96, (128, 12)).is_empty());
        assert!(boxes(&map(32, 32, &[]), 32, 32, (32, 32)).is_empty());
    }

    #[test]
    fn lines_are_cut_at_the_border_of_the_frame() {
        let values = map(64, 64, &[([0, 0, 63, 20], 1.0)]);
        let found = boxes(&values, 64, 64, (640, 640));
        assert_eq!(found.len(), 1);
        assert_eq!([found[0].corners[0], found[0].corners[1]], [[0.0, 0.0], [639.0, 0.0]]);
        assert_eq!(found[0].corners[2][0].to_bits(), 639.0f32.to_bits());
    }

    #[test]
    fn a_hole_that_is_probable_enough_is_a_line_too() {
        // A frame of 8 pixels around a hole of 16x8: both rectangles are mostly set.
        let mut values = map(64, 48, &[([10, 10, 49, 33], 0.9)]);
        for y in 18..26 {
            values[y * 64 + 22..y * 64 + 38].fill(0.2);
        }
        assert_eq!(boxes(&values, 64, 48, (64, 48)).len(), 1);
        let options = DbOptions { box_threshold: 0.2, ..DbOptions::default() };
        let map = ProbabilityMap::new(&values, 64, 48).unwrap();
        assert_eq!(text_boxes(&map, (64, 48), &options).len(), 2);
        let options = DbOptions { candidates: 1, ..options };
        assert_eq!(text_boxes(&map, (64, 48), &options).len(), 1);
    }

    #[test]
    fn boxes_are_in_reading_order() {
        let filled = [[70, 22, 110, 31], [10, 25, 50, 34], [10, 60, 110, 69]];
        let values = map(128, 96, &filled.map(|place| (place, 0.9)));
        let found = boxes(&values, 128, 96, (128, 96));
        let starts: Vec<f32> = found.iter().map(|text| text.corners[0][0]).collect();
        assert!(found.len() == 3 && starts[0] < starts[1], "{starts:?}");
        assert!(found[2].corners[0][1] > 40.0);
    }

    #[test]
    fn a_filled_quadrilateral_includes_its_sides() {
        let values = vec![1.0; 20 * 20];
        let map = ProbabilityMap::new(&values, 20, 20).unwrap();
        let count = |corners: &[Point; 4]| -> usize {
            map.rows_of(corners).map(|(_, (first, last))| last - first + 1).sum()
        };
        assert_eq!(count(&[[2.0, 3.0], [6.0, 3.0], [6.0, 5.9], [2.0, 5.9]]), 15);
        // A diamond of radius 3: 1 + 3 + 5 + 7 + 5 + 3 + 1 pixels.
        assert_eq!(count(&[[7.0, 10.0], [10.0, 7.0], [13.0, 10.0], [10.0, 13.0]]), 25);
        // Outside of the map nothing is counted.
        assert_eq!(count(&[[-5.0, -5.0], [40.0, -5.0], [40.0, 40.0], [-5.0, 40.0]]), 400);
    }

    #[test]
    fn a_map_has_as_many_values_as_its_size_says() {
        assert!(ProbabilityMap::new(&[0.0; 6], 3, 2).is_some());
        assert!(ProbabilityMap::new(&[0.0; 5], 3, 2).is_none());
        assert!(ProbabilityMap::new(&[], 0, 2).is_none());
    }
}
