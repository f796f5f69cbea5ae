//! Scenes as pixels: backgrounds in floating point, shapes by their distance, edges one pixel soft.

use super::{scene::Scene, words::Shape};

impl Scene {
    /// Half of the shape's width and height, of the picture's side.
    pub(super) fn half(&self) -> [f64; 2] {
        match self.shape {
            Shape::Circle => [self.radius; 2],
            // Of about the circle's area.
            Shape::Square => [0.89 * self.radius; 2],
            Shape::Triangle => [1.2 * self.radius, 1.2 * self.radius * TRIANGLE],
        }
    }

    /// Appends one picture with the shape's centre at `place`. `is_around`: what is out of view on
    /// one side shows on the other.
    pub(super) fn paint(&self, size: u32, place: [f64; 2], is_around: bool, pixels: &mut Vec<u8>) {
        let side = f64::from(size);
        let half = self.half().map(|half| half * side);
        let center = place.map(|place| place * side);
        let from = self.background.rgb().map(f64::from);
        let to = self.to_background.unwrap_or(self.background).rgb().map(f64::from);
        let color = self.color.rgb().map(f64::from);
        let turns = |distance: f64| if is_around { (distance / side).round() } else { 0.0 };
        let around = |distance: f64| distance - side * turns(distance);
        for y in 0..size {
            for x in 0..size {
                let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                let part = if self.is_gradient_vertical { y / side } else { x / side };
                let away = [around(x - center[0]), around(y - center[1])];
                let cover = (0.5 - outside(self.shape, away, half)).clamp(0.0, 1.0);
                for channel in 0..3 {
                    let behind = from[channel] + (to[channel] - from[channel]) * part;
                    let value = behind + (color[channel] - behind) * cover;
                    pixels.push(value.round() as u8);
                }
            }
        }
    }
}

/// Half the height of an equilateral triangle, over half its width.
const TRIANGLE: f64 = 0.866_025_403_784;

/// How far a point is outside of a shape around the origin, in pixels; negative inside.
fn outside(shape: Shape, [x, y]: [f64; 2], [half_width, half_height]: [f64; 2]) -> f64 {
    match shape {
        Shape::Circle => x.hypot(y) - half_width,
        Shape::Square => (x.abs() - half_width).max(y.abs() - half_height),
        // The two slanted sides run from the top down, at 60 degrees.
        Shape::Triangle => {
            let slanted = TRIANGLE * x.abs() - 0.5 * (y + half_height);
            slanted.max(y - half_height)
        }
    }
}
