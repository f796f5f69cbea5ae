//! How much of a frame quadrilaterals cover together.
//!
//! Exact, not counted on a raster: the plane is cut into vertical strips at each corner and each
//! crossing of two sides. Within a strip the order of all sides stays the same, so the covered
//! length of a vertical line changes linearly from one edge of the strip to the other, and the
//! covered area is the length at the middle times the strip's width.

use super::quad::{Point, Quad, clip, quad_hull, sides};

/// The share of a frame of this width and height in pixels that the quadrilaterals cover together,
/// 0 to 1. What lies outside of the frame does not count, nor does one with a corner at infinity.
/// Of one that is not convex, the hull of its corners counts.
#[must_use]
pub fn union_area(quads: &[Quad], width: u32, height: u32) -> f64 {
    let (right, bottom) = (f64::from(width), f64::from(height));
    let frame = [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]];
    if right * bottom <= 0.0 {
        return 0.0;
    }
    let finite = quads.iter().filter(|quad| quad.as_flattened().iter().all(|v| v.is_finite()));
    let inside: Vec<_> = finite.map(|quad| clip(&quad_hull(quad), &frame)).collect();
    (union_px2(&inside) / (right * bottom)).clamp(0.0, 1.0)
}

/// The area in square pixels that convex polygons cover together.
pub(super) fn union_px2(polygons: &[Vec<Point>]) -> f64 {
    let polygons: Vec<(&[Point], [Point; 2])> = polygons
        .iter()
        .filter(|corners| corners.len() >= 3)
        .map(|corners| (&**corners, extent(corners)))
        .collect();
    let mut cuts: Vec<f64> =
        polygons.iter().flat_map(|(corners, _)| corners.iter().map(|corner| corner[0])).collect();
    for (index, (a, [a_low, a_high])) in polygons.iter().enumerate() {
        for (b, [b_low, b_high]) in &polygons[index + 1..] {
            if (0..2).all(|axis| a_low[axis] < b_high[axis] && b_low[axis] < a_high[axis]) {
                let pairs = sides(a).flat_map(|one| sides(b).map(move |other| (one, other)));
                cuts.extend(pairs.filter_map(|(one, other)| crossing(one, other)));
            }
        }
    }
    cuts.sort_unstable_by(f64::total_cmp);
    cuts.dedup();

    let mut covered = 0.0;
    let mut spans: Vec<[f64; 2]> = Vec::new();
    for strip in cuts.windows(2) {
        let middle = f64::midpoint(strip[0], strip[1]);
        let here = polygons.iter().filter(|(_, [low, high])| low[0] <= middle && middle <= high[0]);
        spans.clear();
        spans.extend(here.map(|(corners, _)| span(corners, middle)));
        spans.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]));
        let (mut length, mut reached) = (0.0, f64::NEG_INFINITY);
        for [low, high] in &spans {
            length += (high - low.max(reached)).max(0.0);
            reached = high.max(reached);
        }
        covered += length * (strip[1] - strip[0]);
    }
    covered
}

/// The least and the largest coordinates of a polygon.
fn extent(corners: &[Point]) -> [Point; 2] {
    let edge = |start: f64, of: fn(f64, f64) -> f64| {
        [0, 1].map(|axis| corners.iter().map(|corner| corner[axis]).fold(start, of))
    };
    [edge(f64::INFINITY, f64::min), edge(f64::NEG_INFINITY, f64::max)]
}

/// Where a vertical line enters and leaves a convex polygon that it meets: y in pixels.
fn span(corners: &[Point], x: f64) -> [f64; 2] {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (a, b) in sides(corners) {
        if a[0].min(b[0]) <= x && x <= a[0].max(b[0]) && a[0].to_bits() != b[0].to_bits() {
            let y = a[1] + (x - a[0]) / (b[0] - a[0]) * (b[1] - a[1]);
            (low, high) = (low.min(y), high.max(y));
        }
    }
    [low, high.max(low)]
}

/// The x in pixels at which two sides cross, if they do.
fn crossing((a, b): (Point, Point), (c, d): (Point, Point)) -> Option<f64> {
    let (one, other) = ([b[0] - a[0], b[1] - a[1]], [d[0] - c[0], d[1] - c[1]]);
    let between = [c[0] - a[0], c[1] - a[1]];
    let cross = |p: Point, q: Point| p[0] * q[1] - p[1] * q[0];
    let parallel = cross(one, other);
    let along = [cross(between, other) / parallel, cross(between, one) / parallel];
    // For parallel sides these are infinite or not a number.
    along.iter().all(|share| (0.0..=1.0).contains(share)).then(|| a[0] + along[0] * one[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIDE: u32 = 64;

    fn turned(x: f64, y: f64, long: f64, tall: f64, degrees: f64) -> Quad {
        let (sin, cos) = degrees.to_radians().sin_cos();
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(along, across)| {
            let (u, v) = (along * long / 2.0, across * tall / 2.0);
            [(x + u * cos - v * sin) as f32, (y + u * sin + v * cos) as f32]
        })
    }

    fn quads(range: std::ops::Range<f64>) -> impl Strategy<Value = Vec<Quad>> {
        let one = (range.clone(), range, 1.0..40.0, 1.0..12.0, -90.0..90.0)
            .prop_map(|(x, y, long, tall, degrees)| turned(x, y, long, tall, degrees));
        prop::collection::vec(one, 0..9)
    }

    fn share(quads: &[Quad]) -> f64 {
        union_area(quads, SIDE, SIDE)
    }

    #[test]
    fn squares_that_overlap_count_once() {
        let square = |x: f32, y: f32| [[x, y], [x + 20.0, y], [x + 20.0, y + 20.0], [x, y + 20.0]];
        let whole = f64::from(SIDE * SIDE);
        assert!((share(&[square(0.0, 0.0), square(10.0, 10.0)]) - 700.0 / whole).abs() < 1e-12);
        assert!((share(&[square(54.0, 54.0)]) - 100.0 / whole).abs() < 1e-12);
        assert!((share(&[square(-90.0, 3.0)])).abs() < 1e-12);
        // A cross of two bars, the second with its corners the other way round.
        let bars = [
            [[0.0, 30.0], [64.0, 30.0], [64.0, 34.0], [0.0, 34.0]],
            [[30.0, 64.0], [34.0, 64.0], [34.0, 0.0], [30.0, 0.0]],
        ];
        assert!((share(&bars) - (512.0 - 16.0) / whole).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_nonsense_cover_nothing() {
        assert!(share(&[]).abs() < 1e-12);
        assert!(
            share(&[[[3.0, 3.0]; 4], [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]]).abs()
                < 1e-12
        );
        let broken = [[f32::NAN, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]];
        assert!(share(&[broken]).abs() < 1e-12);
        assert!(union_area(&[turned(3.0, 3.0, 2.0, 2.0, 0.0)], 0, 5).abs() < 1e-12);
        let whole = turned(32.0, 32.0, 900.0, 900.0, 30.0);
        assert!((share(&[whole, whole]) - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn a_union_is_at_most_the_sum_and_at_least_each(quads in quads(-10.0..74.0)) {
            let union = share(&quads);
            let each: Vec<f64> = quads.iter().map(|quad| share(&[*quad])).collect();
            prop_assert!(union <= each.iter().sum::<f64>() + 1e-9);
            prop_assert!(each.iter().all(|one| *one <= union + 1e-9));
        }

        #[test]
        fn order_and_repetition_change_nothing(quads in quads(-10.0..74.0), by in 0usize..9) {
            let mut other = quads.clone();
            other.extend_from_within(..by.min(quads.len()));
            other.reverse();
            for quad in &mut other {
                quad.reverse();
            }
            prop_assert!((share(&quads) - share(&other)).abs() < 1e-9);
        }

        #[test]
        fn disjoint_quads_add_up(quads in quads(0.0..1.0)) {
            // Each in a cell of its own, far apart.
            let apart: Vec<Quad> = quads
                .iter()
                .enumerate()
                .map(|(index, quad)| quad.map(|[x, y]| [x + 50.0 + 50.0 * index as f32, y + 50.0]))
                .collect();
            let share = |quads: &[Quad]| union_area(quads, 600, 100);
            let sum: f64 = apart.iter().map(|quad| share(&[*quad])).sum();
            prop_assert!((share(&apart) - sum).abs() < 1e-9);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_fine_raster_agrees(quads in quads(-10.0..74.0)) {
            const FINE: u32 = 4;
            // Inside a convex quad: on the same side of all its sides.
            let inside = |quad: &Quad, x: f64, y: f64| {
                let turns: [f64; 4] = std::array::from_fn(|side| {
                    let ([ax, ay], [bx, by]) = (quad[side], quad[(side + 1) % 4]);
                    let [ax, ay, bx, by] = [ax, ay, bx, by].map(f64::from);
                    (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                });
                turns.iter().all(|turn| *turn >= 0.0)
            };
            let at = |index: u32| (f64::from(index) + 0.5) / f64::from(FINE);
            let cells = SIDE * FINE;
            let hit = (0..cells * cells)
                .filter(|cell| {
                    let (x, y) = (at(cell % cells), at(cell / cells));
                    quads.iter().any(|quad| inside(quad, x, y))
                })
                .count();
            let raster = hit as f64 / f64::from(cells * cells);
            prop_assert!((share(&quads) - raster).abs() < 0.01, "{} {raster}", share(&quads));
        }
    }
}
