//! Convex polygons: hulls, the smallest rectangle around points, and what two polygons share.

/// Four corners in pixels, x to the right and y down.
pub type Quad = [[f32; 2]; 4];

/// A point in pixels, x to the right and y down.
pub(super) type Point = [f64; 2];

/// Twice the area of the triangle, positive if it turns from the x axis towards the y axis.
fn turn(origin: Point, a: Point, b: Point) -> f64 {
    (a[0] - origin[0]) * (b[1] - origin[1]) - (a[1] - origin[1]) * (b[0] - origin[0])
}

/// The corners of the smallest convex polygon around these points, turning from x to y, without
/// points on its sides (Andrew's monotone chain). Fewer than three when the points lie on a line;
/// points that are not finite are left out.
pub(super) fn hull(points: impl IntoIterator<Item = Point>) -> Vec<Point> {
    let mut sorted: Vec<Point> =
        points.into_iter().filter(|p| p[0].is_finite() && p[1].is_finite()).collect();
    sorted.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., a, b] = chain[..]
                && turn(a, b, point) <= 0.0
            {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut corners = chain(&mut sorted.iter().copied());
    corners.extend(chain(&mut sorted.iter().rev().copied()));
    corners
}

/// The hull of a quadrilateral's corners.
pub(super) fn quad_hull(quad: &Quad) -> Vec<Point> {
    hull(quad.iter().map(|[x, y]| [f64::from(*x), f64::from(*y)]))
}

/// The sides of a polygon, each from a corner to the next.
pub(super) fn sides(corners: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let next = corners.iter().cycle().skip(1);
    corners.iter().copied().zip(next.copied())
}

/// The area of a polygon in square pixels.
pub(super) fn area(corners: &[Point]) -> f64 {
    let Some(origin) = corners.first() else { return 0.0 };
    sides(corners).map(|(a, b)| turn(*origin, a, b)).sum::<f64>().abs() / 2.0
}

/// The part of a convex polygon inside another, both turning from x to y (Sutherland and Hodgman).
pub(super) fn clip(corners: &[Point], window: &[Point]) -> Vec<Point> {
    let mut left = corners.to_vec();
    for (from, to) in sides(window) {
        let whole = std::mem::take(&mut left);
        for (a, b) in sides(&whole) {
            let (inside_a, inside_b) = (turn(from, to, a), turn(from, to, b));
            if inside_a >= 0.0 {
                left.push(a);
            }
            if (inside_a >= 0.0) != (inside_b >= 0.0) {
                let along = inside_a / (inside_a - inside_b);
                left.push([a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])]);
            }
        }
    }
    left
}

/// The intersection over union of two convex quadrilaterals, 0 to 1; 0 if either has no area.
#[must_use]
pub fn iou(a: &Quad, b: &Quad) -> f64 {
    let (a, b) = (quad_hull(a), quad_hull(b));
    if a.len() < 3 || b.len() < 3 {
        return 0.0;
    }
    let shared = area(&clip(&a, &b));
    (shared / (area(&a) + area(&b) - shared)).clamp(0.0, 1.0)
}

/// A rectangle at any angle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rectangle {
    centre: Point,
    /// The direction of the first side; the second is a quarter turn from it. Of length 1.
    axis: Point,
    /// The lengths of both sides in pixels.
    pub(super) size: [f64; 2],
}

impl Rectangle {
    /// The rectangle of the least area around points: one of its sides lies on a side of their
    /// hull, so these directions are tried. `None` for points on a line.
    pub(super) fn around(points: impl IntoIterator<Item = Point>) -> Option<Self> {
        let hull = hull(points);
        if hull.len() < 3 {
            return None;
        }
        let mut best: Option<(f64, Self)> = None;
        for (a, b) in sides(&hull) {
            let side = [b[0] - a[0], b[1] - a[1]];
            let length = side[0].hypot(side[1]);
            let axis = [side[0] / length, side[1] / length];
            let found = Self::along(axis, &hull);
            let area = found.size[0] * found.size[1];
            if best.is_none_or(|(least, _)| area < least) {
                best = Some((area, found));
            }
        }
        best.map(|(_, rectangle)| rectangle)
    }

    /// The rectangle around points with a side in this direction.
    fn along(axis: Point, points: &[Point]) -> Self {
        let mut low = [f64::INFINITY; 2];
        let mut high = [f64::NEG_INFINITY; 2];
        for [x, y] in points {
            let turned = [x * axis[0] + y * axis[1], y * axis[0] - x * axis[1]];
            for side in 0..2 {
                low[side] = low[side].min(turned[side]);
                high[side] = high[side].max(turned[side]);
            }
        }
        let middle = [(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0];
        let centre =
            [middle[0] * axis[0] - middle[1] * axis[1], middle[0] * axis[1] + middle[1] * axis[0]];
        Self { centre, axis, size: [high[0] - low[0], high[1] - low[1]] }
    }

    /// The same rectangle with each side moved outwards by a distance in pixels.
    pub(super) fn grown(self, distance: f64) -> Self {
        Self { size: self.size.map(|side| side + 2.0 * distance), ..self }
    }

    /// The shorter side in pixels.
    pub(super) fn shorter(&self) -> f64 {
        self.size[0].min(self.size[1])
    }

    /// The corners: top left, top right, bottom right, bottom left.
    pub(super) fn corners(&self) -> [Point; 4] {
        let [along, across] = self.size.map(|side| side / 2.0);
        let corner = |along: f64, across: f64| {
            [
                self.centre[0] + along * self.axis[0] - across * self.axis[1],
                self.centre[1] + along * self.axis[1] + across * self.axis[0],
            ]
        };
        ordered([
            corner(-along, -across),
            corner(along, -across),
            corner(along, across),
            corner(-along, across),
        ])
    }
}

/// Corners as rapidocr orders them: of the two with the least x the upper is the first and the
/// lower the last, of the others the upper the second and the lower the third.
pub(super) fn ordered(mut corners: [Point; 4]) -> [Point; 4] {
    corners.sort_by(|a, b| a[0].total_cmp(&b[0]));
    corners[..2].sort_by(|a, b| a[1].total_cmp(&b[1]));
    corners[2..].sort_by(|a, b| a[1].total_cmp(&b[1]));
    let [top_left, bottom_left, top_right, bottom_right] = corners;
    [top_left, top_right, bottom_right, bottom_left]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rectangle(centre: Point, size: [f64; 2], degrees: f64) -> Rectangle {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Rectangle { centre, axis: [cos, sin], size }
    }

    #[test]
    fn a_hull_keeps_corners_only() {
        let square = (0..25).map(|index| [f64::from(index % 5), f64::from(index / 5)]);
        assert_eq!(hull(square), [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]);
        assert_eq!(hull([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]).len(), 2);
        assert!(hull([[f64::NAN, 1.0]]).is_empty());
        assert!(Rectangle::around([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]).is_none());
    }

    #[test]
    fn overlap_of_two_squares() {
        let square = |x: f32, y: f32| [[x, y], [x + 4.0, y], [x + 4.0, y + 4.0], [x, y + 4.0]];
        assert!((iou(&square(0.0, 0.0), &square(2.0, 0.0)) - 1.0 / 3.0).abs() < 1e-12);
        assert!((iou(&square(0.0, 0.0), &square(0.0, 0.0)) - 1.0).abs() < 1e-12);
        assert!(iou(&square(0.0, 0.0), &square(9.0, 0.0)).abs() < 1e-12);
        assert!(iou(&[[0.0; 2]; 4], &square(0.0, 0.0)).abs() < 1e-12);
    }

    #[test]
    fn corners_start_at_the_top_left() {
        let corners = rectangle([10.0, 10.0], [8.0, 2.0], 20.0).corners();
        assert!(corners[0][0] < corners[1][0] && corners[3][0] < corners[2][0]);
        assert!(corners[0][1] < corners[3][1] && corners[1][1] < corners[2][1]);
    }

    proptest! {
        #[test]
        fn a_rectangle_is_the_smallest_around_its_corners(
            x in -50.0..50.0, y in -50.0..50.0, long in 6.0..90.0, tall in 3.0..40.0,
            degrees in -90.0..90.0,
        ) {
            let made = rectangle([x, y], [long, tall], degrees);
            let found = Rectangle::around(made.corners()).unwrap();
            prop_assert!((found.size[0] * found.size[1] - long * tall).abs() < 1e-6);
            prop_assert!((found.shorter() - long.min(tall)).abs() < 1e-6);
            for (a, b) in made.corners().iter().zip(found.corners()) {
                prop_assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-6);
            }
        }

        /// The offset of a rectangle with round joints is what lies within the distance: discs
        /// around the corners and all between. The smallest rectangle around it is the grown one.
        #[test]
        fn round_joints_change_nothing(
            long in 6.0..90.0, tall in 3.0..40.0, degrees in -90.0..90.0, distance in 0.5..30.0,
        ) {
            let made = rectangle([7.0, -3.0], [long, tall], degrees);
            // Whole degrees and the directions of the sides, in which the discs reach furthest.
            let angles: Vec<f64> = (0..360)
                .map(f64::from)
                .chain((0..4).map(|side| degrees + 90.0 * f64::from(side)))
                .collect();
            let round = made.corners().into_iter().flat_map(|[x, y]| {
                angles.iter().map(move |angle| {
                    let (sin, cos) = angle.to_radians().sin_cos();
                    [x + distance * cos, y + distance * sin]
                })
            });
            let around = Rectangle::around(round).unwrap();
            let grown = made.grown(distance);
            let (a, b) = (around.size[0] * around.size[1], grown.size[0] * grown.size[1]);
            prop_assert!((a - b).abs() < 1e-3 * b, "{a} {b}");
            for (a, b) in around.corners().iter().zip(grown.corners()) {
                // The disc is a polygon of 360 sides, whose sides may touch instead.
                prop_assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1.0 + 0.02 * long);
            }
        }

        #[test]
        fn a_share_is_symmetric_and_at_most_one(
            a in (0.0f32..40.0, 0.0f32..40.0, 1.0f32..30.0, 1.0f32..30.0),
            b in (0.0f32..40.0, 0.0f32..40.0, 1.0f32..30.0, 1.0f32..30.0),
        ) {
            let quad = |(x, y, w, h): (f32, f32, f32, f32)| {
                [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
            };
            let (one, other) = (iou(&quad(a), &quad(b)), iou(&quad(b), &quad(a)));
            prop_assert!((one - other).abs() < 1e-9);
            let width = ((a.0 + a.2).min(b.0 + b.2) - a.0.max(b.0)).max(0.0);
            let height = ((a.1 + a.3).min(b.1 + b.3) - a.1.max(b.1)).max(0.0);
            let shared = f64::from(width * height);
            let wanted = shared / (f64::from(a.2 * a.3 + b.2 * b.3) - shared);
            prop_assert!((one - wanted).abs() < 1e-4, "{one} {wanted}");
        }
    }
}
