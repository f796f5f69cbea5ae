//! Black bars: what letterboxing and pillarboxing put round a picture.
//!
//! Dark and black alone do not make a bar: a night sky is dark up to the edge as well. A bar is
//! black, equally bright in all its lines, and ends at a straight line, beyond which much of the
//! line is brighter at once. Where the picture beside a bar is itself dark, that line cannot be
//! seen, or a later one is taken for it; a bar on one edge is then believed on the opposite one if
//! it is black as far. Subtitles or logos inside a bar end it, as they would for whoever crops.

use super::Grey;

/// The brightest mean that is black: 16, the black of video that was not stretched to full range,
/// and noise.
const BLACK: f64 = 24.0;

/// How much the mean of a line may differ from that of the outermost line.
const EVEN: f64 = 2.0;

/// How much brighter than the outermost line a pixel may be.
const NOISE: f64 = 10.0;

/// Share of a line's pixels that may be brighter: specks, and the ringing of codecs.
const SPECKS: f64 = 0.01;

/// Share of a line's pixels that are brighter where the picture begins.
const PICTURE: f64 = 0.35;

/// Lines within which the picture begins: codecs blur the border.
const BORDER: usize = 3;

/// Lines that make a bar; a single dark line is a fault of scanning.
const LEAST: usize = 2;

/// Widths of the bars on the four edges, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bars {
    /// Rows at the top.
    pub top: usize,
    /// Rows at the bottom.
    pub bottom: usize,
    /// Columns at the left.
    pub left: usize,
    /// Columns at the right.
    pub right: usize,
}

impl Bars {
    /// Of each edge the narrower of two pictures' bars: one that is there in both.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            top: self.top.min(other.top),
            bottom: self.bottom.min(other.bottom),
            left: self.left.min(other.left),
            right: self.right.min(other.right),
        }
    }

    /// What is inside of the bars, of a picture and its blue, green and red bytes; `None` where there
    /// are no bars, or nothing else. Left and top edges are multiples of 8, where a codec's blocks
    /// begin.
    #[must_use]
    pub fn inside(&self, picture: &Grey, bgr: &[u8]) -> Option<(Grey, Vec<u8>)> {
        let (width, height) = (picture.width(), picture.height());
        let (left, top) = (self.left.next_multiple_of(8), self.top.next_multiple_of(8));
        let right = width.saturating_sub(self.right);
        let bottom = height.saturating_sub(self.bottom);
        if *self == Self::default() || left >= right || top >= bottom {
            return None;
        }
        let mut samples = Vec::with_capacity((right - left) * (bottom - top));
        let mut colors = Vec::with_capacity(3 * samples.capacity());
        for y in top..bottom {
            let row = y * width;
            samples.extend_from_slice(picture.samples().get(row + left..row + right)?);
            colors.extend_from_slice(bgr.get(3 * (row + left)..3 * (row + right))?);
        }
        Some((Grey::new(right - left, bottom - top, samples)?, colors))
    }

    /// Share of the picture's area that is bars, 0 to 1.
    #[must_use]
    pub fn share(&self, picture: &Grey) -> f64 {
        let (width, height) = (picture.width(), picture.height());
        let inside_width = width.saturating_sub(self.left + self.right);
        let inside_height = height.saturating_sub(self.top + self.bottom);
        1.0 - (inside_width * inside_height) as f64 / (width * height) as f64
    }
}

/// Finds the bars of a picture. Of one that is black all over, everything is a bar.
#[must_use]
pub fn bars(picture: &Grey) -> Bars {
    let (width, height) = (picture.width(), picture.height());
    let rows: Vec<Line> = picture.rows().map(|row| Line::of(row.iter().copied())).collect();
    if black_until(rows.iter()) == height {
        return Bars { top: height, ..Bars::default() };
    }
    let (top, bottom) = pair(&rows);
    // Columns as far as the picture goes, or the bars above and below would hide where it begins.
    let inside = &picture.samples()[top * width..(height - bottom) * width];
    let column = |x: usize| Line::of(inside.iter().skip(x).step_by(width).copied());
    let columns: Vec<Line> = (0..width).map(column).collect();
    let (left, right) = pair(&columns);
    Bars { top, bottom, left, right }
}

/// What is known of a row or column.
struct Line {
    mean: f64,
    /// How many pixels are of each level, up to the brightest that can count as black; the last is
    /// for all others.
    levels: [u32; 36],
    pixels: f64,
}

impl Line {
    fn of(samples: impl Iterator<Item = u8>) -> Self {
        let (mut sum, mut pixels, mut levels) = (0_u64, 0_u32, [0; 36]);
        for sample in samples {
            sum += u64::from(sample);
            pixels += 1;
            levels[usize::from(sample).min(35)] += 1;
        }
        let pixels = f64::from(pixels);
        Self { mean: sum as f64 / pixels, levels, pixels }
    }

    /// Share of pixels that are too bright for a bar of the given brightness.
    fn bright_share(&self, black: f64) -> f64 {
        let first = (black + NOISE) as usize + 1;
        let bright = self.levels.get(first..).unwrap_or_default();
        f64::from(bright.iter().sum::<u32>()) / self.pixels
    }
}

/// How many lines are as black as the first.
fn black_until<'a>(mut lines: impl Iterator<Item = &'a Line>) -> usize {
    let Some(outermost) = lines.next() else { return 0 };
    let black = outermost.mean;
    let is_bar =
        |line: &Line| (line.mean - black).abs() <= EVEN && line.bright_share(black) <= SPECKS;
    if black > BLACK || !is_bar(outermost) {
        return 0;
    }
    1 + lines.take_while(|line| is_bar(line)).count()
}

/// The bars at both ends of a row of lines.
fn pair(lines: &[Line]) -> (usize, usize) {
    let black = [black_until(lines.iter()), black_until(lines.iter().rev())];
    let ends = |line: Option<&Line>, outermost: Option<&Line>| match (line, outermost) {
        (Some(line), Some(outermost)) => line.bright_share(outermost.mean) >= PICTURE,
        _ => false,
    };
    let ends_sharply = [
        (0..BORDER).any(|i| ends(lines.get(black[0] + i), lines.first())),
        (0..BORDER).any(|i| ends(lines.iter().rev().nth(black[1] + i), lines.last())),
    ];
    let [first, last] = [(0, 1), (1, 0)].map(|(this, other)| {
        let doubtful = !ends_sharply[this] || black[this] > 2 * black[other].max(LEAST);
        let width = match ends_sharply[other] && black[other] >= LEAST {
            true if doubtful => black[other].min(black[this]),
            _ if ends_sharply[this] => black[this],
            _ => 0,
        };
        if width < LEAST { 0 } else { width }
    });
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 160;
    const HEIGHT: usize = 90;

    /// Even noise of the given width around 0.
    fn noise(width: f64, x: usize, y: usize) -> f64 {
        let mixed = (x as u32 * 1973 + y as u32 * 9277).wrapping_mul(2_654_435_761) ^ 0x9e37;
        (f64::from(mixed.wrapping_mul(2_246_822_519) >> 16) / 65_536.0 - 0.5) * width
    }

    fn grey(level: impl Fn(usize, usize) -> f64) -> Grey {
        let samples =
            (0..WIDTH * HEIGHT).map(|i| level(i % WIDTH, i / WIDTH).clamp(0.0, 255.0) as u8);
        Grey::new(WIDTH, HEIGHT, samples.collect()).unwrap()
    }

    fn scene(x: usize, y: usize) -> f64 {
        110.0 + 60.0 * (x as f64 / 9.0).sin() + 40.0 * (y as f64 / 7.0).cos() + noise(8.0, x, y)
    }

    fn boxed(bars: Bars, black: f64, width: f64, inside: impl Fn(usize, usize) -> f64) -> Grey {
        grey(|x, y| {
            let rows = bars.top..HEIGHT - bars.bottom;
            let columns = bars.left..WIDTH - bars.right;
            if rows.contains(&y) && columns.contains(&x) {
                inside(x, y)
            } else {
                black + noise(width, x, y)
            }
        })
    }

    #[test]
    fn boxes_are_found_under_noise() {
        for wanted in [
            Bars { top: 11, bottom: 12, ..Bars::default() },
            Bars { left: 20, right: 20, ..Bars::default() },
            Bars { top: 8, bottom: 9, left: 30, right: 25 },
            Bars { top: 10, ..Bars::default() },
            Bars { right: 2, ..Bars::default() },
        ] {
            for (black, width) in [(0.0, 0.0), (16.0, 0.0), (16.0, 6.0), (4.0, 8.0), (2.0, 3.0)] {
                let picture = boxed(wanted, black, width, scene);
                assert_eq!(bars(&picture), wanted, "{black} {width}");
            }
        }
        let letterboxed = Bars { top: 9, bottom: 9, ..Bars::default() };
        let share = letterboxed.share(&boxed(letterboxed, 0.0, 0.0, scene));
        assert!((share - 0.2).abs() < 1e-12);
        let windowed = Bars { top: 9, bottom: 9, left: 16, right: 16 };
        assert!((windowed.share(&grey(scene)) - (1.0 - 0.8 * 0.8)).abs() < 1e-12);
    }

    #[test]
    fn dark_pictures_have_none_and_black_ones_are_all_bar() {
        let none = Bars::default();
        assert_eq!(bars(&grey(scene)), none);
        assert_eq!(bars(&grey(|x, y| scene(x, y) / 12.0)), none);
        // A night sky over a skyline, a lamp in the dark, dusk, a vignette.
        let night = |x: usize, y: usize| {
            let roof = 30 + (x / 12 * 17 % 40);
            let level = if y > roof { 60.0 } else { 8.0 };
            level + noise(6.0, x, y)
        };
        assert_eq!(bars(&grey(night)), none);
        let from_middle = |x: usize, y: usize| (x as f64 - 80.0).hypot(y as f64 - 45.0);
        assert_eq!(bars(&grey(|x, y| 300.0 - 10.0 * from_middle(x, y))), none);
        assert_eq!(bars(&grey(|x, y| 5.0 + y as f64 * 0.8 + noise(4.0, x, y))), none);
        assert_eq!(bars(&grey(|x, y| scene(x, y) * (1.0 - from_middle(x, y) / 90.0))), none);
        for width in [0.0, 6.0] {
            let black = grey(|x, y| 10.0 + noise(width, x, y));
            assert!((bars(&black).share(&black) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_dark_half_takes_the_opposite_bar_for_its_own() {
        let letterboxed = Bars { top: 11, bottom: 11, ..Bars::default() };
        let night = |x: usize, y: usize| if y < 45 { 1.0 } else { scene(x, y) };
        assert_eq!(bars(&boxed(letterboxed, 0.0, 0.0, night)), letterboxed);
    }
}
