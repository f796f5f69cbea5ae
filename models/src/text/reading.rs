//! Reading a line of text: what comes before and after PP-OCR's recogniser
//! (`PP-OCRv6_rec_small.onnx`), as rapidocr 3.10.0 runs it.
//!
//! A line is cut out along its corners and brought to a height of 48 pixels; the network gives each
//! column a probability for each character and for a blank between characters, of which the best
//! are joined (greedy decoding of connectionist temporal classification; Graves et al., ICML 2006).
//!
//! Reading tells text from what only looks like it: on a car and on flat noise the detector sees
//! lines, in which nothing or a single character is read with little certainty.
//!
//! rapidocr cuts out with cubic and then resizes with linear interpolation; here each value is
//! interpolated once, linearly. It also asks a third network whether lines stand upside down, which
//! is left out: lines that run upwards are read the wrong way round. Whoever needs them reads the
//! corners a second time, starting at the third, and keeps the better score.

use super::Quad;

/// The height of a line in the network, in pixels.
pub const LINE_HEIGHT: u32 = 48;

/// The least width of the network's input, in pixels. Lines that are narrower are padded on the
/// right with zeros.
const LINE_WIDTH: u32 = 320;

/// A crop that is this many times as high as wide is a vertical line and turned by a quarter.
const UPRIGHT: f64 = 1.5;

/// A line as the network takes it.
#[derive(Clone, Debug)]
pub struct LineImage {
    /// Blue, green and red planes of [`LINE_HEIGHT`] rows; -1 to 1, and 0 in the padding.
    pub values: Vec<f32>,
    /// Pixels in a row, at least 320.
    pub width: u32,
}

/// A BGR picture: blue first, three bytes for each pixel, rows from the top without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Bgr<'a> {
    data: &'a [u8],
    width: u32,
    height: u32,
}

impl<'a> Bgr<'a> {
    /// A picture of this size. `None` if the bytes are more or fewer, or the size is nothing.
    #[must_use]
    pub fn new(data: &'a [u8], width: u32, height: u32) -> Option<Self> {
        let bytes = u128::from(width) * u128::from(height) * 3;
        (bytes > 0 && data.len() as u128 == bytes).then_some(Self { data, width, height })
    }

    /// The channels between the centres of pixels, 0 to 255; beyond the border it repeats.
    fn sample(&self, x: f64, y: f64) -> [f64; 3] {
        let (x, y) = (within(x, self.width), within(y, self.height));
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = (x.ceil() as usize, y.ceil() as usize);
        let (across, down) = (x.fract(), y.fract());
        let at = |x: usize, y: usize, channel: usize| {
            f64::from(self.data[(y * self.width as usize + x) * 3 + channel])
        };
        std::array::from_fn(|channel| {
            let row = |y| at(left, y, channel) * (1.0 - across) + at(right, y, channel) * across;
            row(top) * (1.0 - down) + row(bottom) * down
        })
    }
}

/// A coordinate brought into a side of this many pixels.
fn within(value: f64, side: u32) -> f64 {
    value.clamp(0.0, f64::from(side - 1))
}

/// Cuts a line out of a frame, with corners in its pixels, from the top left on clockwise. `None`
/// if a side is shorter than a pixel or three corners lie on a line.
#[must_use]
pub fn line_image(frame: &Bgr<'_>, corners: &Quad) -> Option<LineImage> {
    let points = corners.map(|corner| corner.map(f64::from));
    let side =
        |a: usize, b: usize| (points[a][0] - points[b][0]).hypot(points[a][1] - points[b][1]);
    let width = side(0, 1).max(side(2, 3)).trunc();
    let height = side(0, 3).max(side(1, 2)).trunc();
    if !(width >= 1.0 && height >= 1.0) {
        return None;
    }
    let perspective = Perspective::onto(&points)?;
    let upright = height / width >= UPRIGHT;
    let (long, tall) = if upright { (height, width) } else { (width, height) };
    let columns = (f64::from(LINE_HEIGHT) * long / tall).ceil().min(f64::from(u16::MAX)) as u32;
    let padded = columns.max(LINE_WIDTH);
    let plane = (LINE_HEIGHT * padded) as usize;
    let mut values = vec![0.0; plane * 3];
    for row in 0..LINE_HEIGHT {
        let across = within(place(row, LINE_HEIGHT, tall), tall as u32);
        for column in 0..columns {
            let along = within(place(column, columns, long), long as u32);
            // Turned counter-clockwise: rows run along the crop's width, from its right.
            let (x, y) = if upright { (width - 1.0 - across, along) } else { (along, across) };
            let [x, y] = perspective.at(x / width, y / height);
            let at = (row * padded + column) as usize;
            for (channel, level) in frame.sample(x, y).into_iter().enumerate() {
                values[channel * plane + at] = (level / 127.5 - 1.0) as f32;
            }
        }
    }
    Some(LineImage { values, width: padded })
}

/// Where the centre of a pixel lies when `pixels` are spread over a length.
fn place(pixel: u32, pixels: u32, length: f64) -> f64 {
    (f64::from(pixel) + 0.5) * length / f64::from(pixels) - 0.5
}

/// The perspective map from the unit square onto a quadrilateral (Heckbert, 1989).
struct Perspective {
    x: [f64; 3],
    y: [f64; 3],
    depth: [f64; 2],
}

impl Perspective {
    fn onto([a, b, c, d]: &[[f64; 2]; 4]) -> Option<Self> {
        let minus = |p: &[f64; 2], q: &[f64; 2]| [p[0] - q[0], p[1] - q[1]];
        let cross = |p: [f64; 2], q: [f64; 2]| p[0] * q[1] - p[1] * q[0];
        let (right, lower) = (minus(b, c), minus(d, c));
        // Nothing for a parallelogram.
        let skew = [a[0] - b[0] + c[0] - d[0], a[1] - b[1] + c[1] - d[1]];
        let area = cross(right, lower);
        let depth = [cross(skew, lower) / area, cross(right, skew) / area];
        let row = |axis: usize| {
            let along = b[axis] - a[axis] + depth[0] * b[axis];
            [along, d[axis] - a[axis] + depth[1] * d[axis], a[axis]]
        };
        depth.iter().all(|v| v.is_finite()).then(|| Self { x: row(0), y: row(1), depth })
    }

    fn at(&self, u: f64, v: f64) -> [f64; 2] {
        let depth = self.depth[0] * u + self.depth[1] * v + 1.0;
        [self.x, self.y].map(|row| (row[0] * u + row[1] * v + row[2]) / depth)
    }
}

/// What the network's classes mean.
#[derive(Clone, Debug)]
pub struct Alphabet(Vec<String>);

/// What stands in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The characters; may be none.
    pub text: String,
    /// The mean probability of the characters, 0 to 1; 0 if there are none. rapidocr drops lines
    /// below 0.5.
    pub score: f32,
}

impl Alphabet {
    /// From the network's metadata under `character`: a character (or several that are one class)
    /// in each line. Before them comes the blank, after them the space.
    #[must_use]
    pub fn new(metadata: &str) -> Self {
        let blank = std::iter::once(String::new());
        let characters = metadata.lines().map(str::to_owned);
        Self(blank.chain(characters).chain([" ".to_owned()]).collect())
    }

    /// How many probabilities the network has for each column.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.0.len()
    }

    /// Reads probabilities, [`Self::classes`] for each column: of each column the most probable
    /// class counts, unless it is the blank or that of the column before.
    #[must_use]
    pub fn read(&self, probabilities: &[f32]) -> Reading {
        let (mut text, mut sum, mut count, mut before) = (String::new(), 0.0, 0.0, 0);
        for column in probabilities.chunks_exact(self.classes()) {
            let mut best = 0;
            for (class, probability) in column.iter().enumerate() {
                if *probability > column[best] {
                    best = class;
                }
            }
            if best != 0 && best != before {
                text.push_str(&self.0[best]);
                sum += column[best];
                count += 1.0;
            }
            before = best;
        }
        Reading { text, score: if count > 0.0 { sum / count } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose blue is x and whose green is y.
    fn ramps(width: u32, height: u32) -> Vec<u8> {
        (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7])).collect()
    }

    fn value(line: &LineImage, channel: u32, row: u32, column: u32) -> f32 {
        let at = (channel * LINE_HEIGHT + row) * line.width + column;
        (line.values[at as usize] + 1.0) * 127.5
    }

    #[test]
    fn a_level_line_is_cut_out_as_it_is() {
        let data = ramps(250, 200);
        let frame = Bgr::new(&data, 250, 200).unwrap();
        let line = line_image(&frame, &[[20.0, 30.0], [116.0, 30.0], [116.0, 78.0], [20.0, 78.0]]);
        let line = line.unwrap();
        assert_eq!(line.width, 320);
        assert_eq!(line.values.len(), 3 * 48 * 320);
        for (row, column) in [(0, 0), (10, 40), (47, 95)] {
            assert!((value(&line, 0, row, column) - (20 + column) as f32).abs() < 1e-3);
            assert!((value(&line, 1, row, column) - (30 + row) as f32).abs() < 1e-3);
        }
        // The padding is nought, not black.
        assert!(line.values[96].abs() < 1e-9);
    }

    #[test]
    fn a_vertical_line_is_turned() {
        let data = ramps(250, 200);
        let frame = Bgr::new(&data, 250, 200).unwrap();
        let line = line_image(&frame, &[[20.0, 30.0], [68.0, 30.0], [68.0, 126.0], [20.0, 126.0]]);
        let line = line.unwrap();
        assert!((value(&line, 0, 0, 5) - 67.0).abs() < 1e-3);
        assert!((value(&line, 1, 0, 5) - 35.0).abs() < 1e-3);
    }

    #[test]
    fn a_map_meets_all_corners() {
        let corners = [[3.0, 4.0], [90.0, 10.0], [80.0, 60.0], [-5.0, 40.0]];
        let map = Perspective::onto(&corners).unwrap();
        for (at, corner) in
            [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(corners)
        {
            let found = map.at(at.0, at.1);
            assert!((found[0] - corner[0]).hypot(found[1] - corner[1]) < 1e-9);
        }
        let data = ramps(20, 20);
        let frame = Bgr::new(&data, 20, 20).unwrap();
        assert!(line_image(&frame, &[[3.0, 3.0]; 4]).is_none());
        let flat = [[0.0, 0.0], [9.0, 0.0], [18.0, 0.0], [5.0, 0.0]];
        assert!(line_image(&frame, &flat).is_none());
    }

    #[test]
    fn blanks_part_equal_characters() {
        let alphabet = Alphabet::new("a\nb");
        assert_eq!(alphabet.classes(), 4);
        let columns = [1, 1, 0, 1, 2, 2, 3, 0, 2].map(|class| {
            let mut column = [0.1f32; 4];
            column[class] = 0.7;
            column
        });
        let reading = alphabet.read(columns.as_flattened());
        assert_eq!(reading.text, "aab b");
        assert!((reading.score - 0.7).abs() < 1e-6);
        let nothing = alphabet.read(&[0.9, 0.0, 0.1, 0.0]);
        assert_eq!(nothing, Reading { text: String::new(), score: 0.0 });
    }
}
