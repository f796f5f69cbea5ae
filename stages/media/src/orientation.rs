//! How a stored picture must be turned to stand upright.
//!
//! A display matrix can say anything; what cameras write is one of eight cases: a quarter turn,
//! with or without a mirror. Everything else (shears, odd angles, zeros) is a damaged or playful
//! file and is read as upright, which is what players do with a matrix they cannot apply.

/// One of the eight ways to turn a picture: first clockwise, then mirrored left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Clockwise turn of the stored picture, in degrees: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether left and right are swapped after the turn.
    pub mirrored: bool,
}

impl Orientation {
    /// Whether width and height change places.
    #[must_use]
    pub const fn swaps_sides(self) -> bool {
        self.rotation == 90 || self.rotation == 270
    }

    /// Reads a display matrix as FFmpeg exports it: nine 32-bit numbers, rows `a b u`, `c d v`,
    /// `x y w`, of which `a` to `d` map a stored point to a shown one.
    pub(crate) fn from_matrix(matrix: &[i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = matrix.map(f64::from);
        // One degree of tilt, the tolerance of FFmpeg's own program.
        let tilt = 1_f64.to_radians().tan();
        let is_axis = |on: f64, off: f64| on != 0.0 && off.abs() <= tilt * on.abs();
        let clockwise = |rotation, mirrored| Self { rotation, mirrored };
        if is_axis(a, b) && is_axis(d, c) {
            match (a > 0.0, d > 0.0) {
                (true, true) => clockwise(0, false),
                (false, false) => clockwise(180, false),
                (false, true) => clockwise(0, true),
                (true, false) => clockwise(180, true),
            }
        } else if is_axis(b, a) && is_axis(c, d) {
            match (b > 0.0, c > 0.0) {
                (true, false) => clockwise(90, false),
                (false, true) => clockwise(270, false),
                (true, true) => clockwise(90, true),
                (false, false) => clockwise(270, true),
            }
        } else {
            Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(a: i32, b: i32, c: i32, d: i32) -> (u16, bool) {
        let one = 1 << 16;
        let read =
            Orientation::from_matrix(&[a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]);
        (read.rotation, read.mirrored)
    }

    #[test]
    fn the_eight_cases() {
        assert_eq!(read(1, 0, 0, 1), (0, false));
        assert_eq!(read(0, 1, -1, 0), (90, false));
        assert_eq!(read(-1, 0, 0, -1), (180, false));
        assert_eq!(read(0, -1, 1, 0), (270, false));
        assert_eq!(read(-1, 0, 0, 1), (0, true));
        assert_eq!(read(0, 1, 1, 0), (90, true));
        assert_eq!(read(1, 0, 0, -1), (180, true));
        assert_eq!(read(0, -1, -1, 0), (270, true));
    }

    #[test]
    fn nonsense_is_upright() {
        assert_eq!(read(0, 0, 0, 0), (0, false));
        assert_eq!(read(1, 1, -1, 1), (0, false));
        assert_eq!(read(1, 0, 1, 0), (0, false));
        assert_eq!(
            Orientation::from_matrix(&[i32::MIN, i32::MAX, 3, i32::MAX, i32::MIN, 1, 1, 1, 1]),
            Orientation::default()
        );
    }
}
