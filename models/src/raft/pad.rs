//! Bringing pictures to sizes that RAFT takes, and finding the picture in the flow again.

/// Every side is a multiple of this.
const CELL: usize = 8;
/// The pyramid of correlations has four levels of at least two cells.
const LEAST: usize = 128;

/// A picture's size and place in the padded one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padding {
    width: usize,
    height: usize,
    left: usize,
    top: usize,
    pub(super) padded_width: usize,
    pub(super) padded_height: usize,
}

/// A part of each plane of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Values in a whole plane.
    pub(super) plane: usize,
    /// Values before the part's first.
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) stride: usize,
}

impl Padding {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let padded = |size: usize| size.next_multiple_of(CELL).max(LEAST);
        let (padded_width, padded_height) = (padded(width), padded(height));
        Self {
            width,
            height,
            left: (padded_width - width) / 2,
            top: (padded_height - height) / 2,
            padded_width,
            padded_height,
        }
    }

    /// Writes a picture as three padded planes in [-1, 1].
    pub(super) fn fill(&self, rgb: &[u8], planes: &mut [f32]) {
        let (stride, right) = (self.padded_width, self.left + self.width);
        for (channel, plane) in planes.chunks_exact_mut(stride * self.padded_height).enumerate() {
            let rows = plane.chunks_exact_mut(stride).skip(self.top);
            for (row, pixels) in rows.zip(rgb.chunks_exact(3 * self.width)) {
                for (to, pixel) in row[self.left..right].iter_mut().zip(pixels.chunks_exact(3)) {
                    *to = f32::from(pixel[channel]) / 127.5 - 1.0;
                }
                let (first, last) = (row[self.left], row[right - 1]);
                row[..self.left].fill(first);
                row[right..].fill(last);
            }
            let first = self.top * stride;
            let last = first + (self.height - 1) * stride;
            for y in 0..self.top {
                plane.copy_within(first..first + stride, y * stride);
            }
            for y in self.top + self.height..self.padded_height {
                plane.copy_within(last..last + stride, y * stride);
            }
        }
    }

    /// The picture's pixels in an output of the padded size.
    pub(super) const fn pixels(&self) -> Window {
        Window {
            plane: self.padded_width * self.padded_height,
            start: self.top * self.padded_width + self.left,
            width: self.width,
            height: self.height,
            stride: self.padded_width,
        }
    }

    /// The cells in an output of an eighth of the padded size whose centres lie in the picture; at
    /// least one.
    pub(super) fn cells(&self) -> Window {
        let along = |before: usize, size: usize| {
            let first = (before + CELL / 2) / CELL;
            let end = (before + size + CELL / 2) / CELL;
            (first, end.max(first + 1) - first)
        };
        let (left, width) = along(self.left, self.width);
        let (top, height) = along(self.top, self.height);
        let stride = self.padded_width / CELL;
        Window {
            plane: stride * (self.padded_height / CELL),
            start: top * stride + left,
            width,
            height,
            stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every padded pixel is that of the nearest pixel of the picture, and the window finds the
        /// picture again.
        #[test]
        fn the_border_is_repeated(width in 1_usize..200, height in 1_usize..160) {
            let rgb: Vec<u8> = (0..width * height * 3).map(|at| (at * 7 % 251) as u8).collect();
            let padding = Padding::new(width, height);
            let (w, h) = (padding.padded_width, padding.padded_height);
            prop_assert!(w % 8 == 0 && h % 8 == 0 && w >= 128 && h >= 128);
            prop_assert!(w - width < 8 || w == 128);
            let mut planes = vec![f32::NAN; 3 * w * h];
            padding.fill(&rgb, &mut planes);
            let pixels = padding.pixels();
            for (channel, plane) in planes.chunks_exact(w * h).enumerate() {
                for y in 0..h {
                    for x in 0..w {
                        let inside_y = (y.max(padding.top) - padding.top).min(height - 1);
                        let inside_x = (x.max(padding.left) - padding.left).min(width - 1);
                        let from = rgb[(inside_y * width + inside_x) * 3 + channel];
                        prop_assert_eq!(plane[y * w + x], f32::from(from) / 127.5 - 1.0);
                    }
                }
                let first = plane[pixels.start];
                prop_assert_eq!(first, f32::from(rgb[channel]) / 127.5 - 1.0);
            }
            prop_assert!(pixels.start + (height - 1) * pixels.stride + width <= pixels.plane);
            let cells = padding.cells();
            prop_assert!(cells.start + (cells.height - 1) * cells.stride + cells.width <= cells.plane);
            prop_assert!(cells.width.abs_diff(width.div_ceil(8)) <= 1);
        }
    }

    #[test]
    fn multiples_are_left_as_they_are() {
        let padding = Padding::new(448, 256);
        assert_eq!((padding.left, padding.top), (0, 0));
        assert_eq!((padding.padded_width, padding.padded_height), (448, 256));
        let whole = Window { plane: 56 * 32, start: 0, width: 56, height: 32, stride: 56 };
        assert_eq!(padding.cells(), whole);
    }
}
