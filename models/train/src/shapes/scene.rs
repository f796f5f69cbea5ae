//! One clip as a description, from which its pictures and its caption follow.
//!
//! All lengths are parts of the picture's side, and where the shape starts depends on how many
//! frames there are: it stays in view for the whole clip. Where the way is longer than the picture,
//! it leaves on one side and comes in on the other at the same time.

use curate_ops::Rng;
use serde::{Deserialize, Serialize};

use super::words::{Background, Color, Direction, Shape, Speed};

/// Half the width of shapes, of the picture's side: about 8 to 12.5 pixels of 64.
const RADIUS: std::ops::Range<f64> = 0.125..0.195;
/// From where on its way a shape starts. Most of what is seen then lies on the side that it moves to,
/// which is what a network finds first. With ways centred in the picture the word for a direction says
/// something of a place only together with the time: three things at once, which networks that are
/// trained by gradients learn late.
const EARLIEST: f64 = 2.0 / 3.0;

/// A clip of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// What moves.
    pub shape: Shape,
    /// Its colour.
    pub color: Color,
    /// Where it moves.
    pub direction: Direction,
    /// How fast.
    pub speed: Speed,
    /// What is behind.
    pub background: Background,
    /// What the background changes to, from left to right or from top to bottom; `None` where it
    /// is plain.
    pub to_background: Option<Background>,
    /// Whether the background changes from top to bottom.
    pub is_gradient_vertical: bool,
    /// Half the width of a circle of the same weight, of the picture's side.
    pub radius: f64,
    /// Where it starts on its way: 0 is the earliest place at which it stays in view, 1 the latest.
    pub start: f64,
    /// Where it is across its way: from 0 (left or top) to 1, in view as a whole.
    pub across: f64,
}

impl Scene {
    /// Draws a scene; the same state of `rng` gives the same scene, and each call takes equally
    /// many numbers, so that what is drawn next does not depend on this scene.
    pub fn draw(rng: &mut Rng) -> Self {
        let (shape, color) = (Shape::draw(rng), Color::draw(rng));
        let (direction, speed) = (Direction::draw(rng), Speed::draw(rng));
        let (background, other) = (Background::draw(rng), Background::draw(rng));
        let has_gradient = rng.below(2) == 1;
        Self {
            shape,
            color,
            direction,
            speed,
            background,
            to_background: (has_gradient && other != background).then_some(other),
            is_gradient_vertical: rng.below(2) == 1,
            radius: RADIUS.start + (RADIUS.end - RADIUS.start) * rng.uniform(),
            start: EARLIEST + (1.0 - EARLIEST) * rng.uniform(),
            across: rng.uniform(),
        }
    }

    /// The pictures, `[frames, size, size, 3]` in RGB, with soft edges.
    #[must_use]
    pub fn render(&self, size: u32, frames: u32) -> Vec<u8> {
        let area = size as usize * size as usize;
        let mut pixels = Vec::with_capacity(area * frames as usize * 3);
        let is_around = self.wraps(frames);
        for place in self.places(frames) {
            self.paint(size, place, is_around, &mut pixels);
        }
        pixels
    }

    /// Where the shape's centre is in each frame, to the right and down, of the picture's side.
    #[must_use]
    pub fn places(&self, frames: u32) -> Vec<[f64; 2]> {
        let [right, down] = self.direction.step();
        let is_vertical = right == 0.0;
        let [half_width, half_height] = self.half();
        let across = if is_vertical { half_width } else { half_height };
        let level = across + (1.0 - 2.0 * across) * self.across;
        let (way, room) = self.way_and_room(frames);
        let is_around = self.wraps(frames);
        let first =
            if is_around { self.start } else { (1.0 - room) / 2.0 + (room - way) * self.start };
        (0..frames)
            .map(|frame| {
                let gone = first + self.speed.sides_per_frame() * f64::from(frame);
                let gone = if is_around { gone.rem_euclid(1.0) } else { gone };
                let gone = if right + down < 0.0 { 1.0 - gone } else { gone };
                if is_vertical { [level, gone] } else { [gone, level] }
            })
            .collect()
    }

    /// How far the centre goes, and how far it can go: at either end a quarter of the shape may be
    /// out of view.
    fn way_and_room(&self, frames: u32) -> (f64, f64) {
        let [half_width, half_height] = self.half();
        let along = if self.direction.step()[0] == 0.0 { half_height } else { half_width };
        let way = self.speed.sides_per_frame() * f64::from(frames.saturating_sub(1));
        (way, 1.0 - along)
    }

    /// Whether the way is so long for so many frames that the shape leaves and comes in again.
    fn wraps(&self, frames: u32) -> bool {
        let (way, room) = self.way_and_room(frames);
        way > room
    }

    /// A description of the scene in words; one of several, all of which say the same.
    pub fn caption(&self, rng: &mut Rng) -> String {
        super::caption::caption(self, rng)
    }
}

/// One of a list, each as likely as another.
///
/// # Panics
/// When the list is empty.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.below(list.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 64;
    const FRAMES: u32 = 24;

    fn scenes(count: u64) -> Vec<Scene> {
        (0..count).map(|stream| Scene::draw(&mut Rng::with_stream(7, stream))).collect()
    }

    /// Weight and centre (pixels) of what differs from the background in one picture.
    fn center(scene: &Scene, picture: &[u8], behind: &[u8]) -> (f64, [f64; 2]) {
        let (mut weight, mut sum) = (0.0, [0.0; 2]);
        let color = scene.color.rgb();
        for (index, (pixel, back)) in
            picture.as_chunks::<3>().0.iter().zip(behind.as_chunks::<3>().0).enumerate()
        {
            let differs = |a: &[u8; 3], b: &[u8; 3]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum()
            };
            let cover = differs(pixel, back) / differs(&color, back);
            weight += cover;
            sum[0] += cover * (index % SIZE as usize) as f64;
            sum[1] += cover * (index / SIZE as usize) as f64;
        }
        (weight, sum.map(|sum| sum / weight))
    }

    #[test]
    fn pictures_show_what_the_scene_says() {
        for scene in scenes(60) {
            let film = scene.render(SIZE, FRAMES);
            let behind = &Scene { radius: -1.0, ..scene.clone() }.render(SIZE, 1);
            let pictures: Vec<_> = film.chunks_exact(behind.len()).collect();
            assert_eq!(pictures.len(), FRAMES as usize);
            let seen: Vec<_> =
                pictures.iter().map(|picture| center(&scene, picture, behind)).collect();
            // In the middle of the clip all of it is in view, and its area that of its kind.
            let side = f64::from(SIZE);
            let half = scene.half().map(|half| half * side);
            let area = match scene.shape {
                Shape::Circle => std::f64::consts::PI * half[0] * half[0],
                Shape::Square => 4.0 * half[0] * half[1],
                Shape::Triangle => 2.0 * half[0] * half[1],
            };
            let middle = seen[FRAMES as usize / 2];
            assert!((middle.0 / area - 1.0).abs() < 0.08, "{scene:?}: {} of {area}", middle.0);
            // The lower quarter of a triangle is nearly half of it.
            for (weight, _) in &seen {
                assert!(*weight > 0.5 * area, "{scene:?}: {weight} of {area} in view");
            }
            // Whole pixels per frame, in the right direction and no other, from any frame on.
            let step = scene.speed.sides_per_frame() * side;
            let [right, down] = scene.direction.step();
            for pair in seen[8..16].windows(2) {
                let moved = [pair[1].1[0] - pair[0].1[0], pair[1].1[1] - pair[0].1[1]];
                let wanted = [right * step, down * step];
                for axis in 0..2 {
                    assert!((moved[axis] - wanted[axis]).abs() < 0.25, "{scene:?}: {moved:?}");
                }
            }
        }
    }

    #[test]
    fn all_kinds_are_drawn_about_equally_often() {
        let scenes = scenes(4000);
        for color in Color::ALL {
            let count = scenes.iter().filter(|scene| scene.color == *color).count();
            assert!((400..600).contains(&count), "{color}: {count}");
        }
        for direction in Direction::ALL {
            let count = scenes.iter().filter(|scene| scene.direction == *direction).count();
            assert!((900..1100).contains(&count), "{direction}: {count}");
        }
    }

    #[test]
    fn a_long_way_goes_around_and_stays_in_view() {
        let scene = Scene { speed: Speed::Fast, ..scenes(1)[0].clone() };
        let places = scene.places(100);
        assert!(places.iter().flatten().all(|place| (0.0..=1.0).contains(place)));
        let film = scene.render(32, 100);
        let weights: Vec<u64> = film
            .chunks_exact(32 * 32 * 3)
            .map(|picture| {
                let color = scene.color.rgb();
                let is_it = |pixel: &&[u8; 3]| **pixel == color;
                picture.as_chunks::<3>().0.iter().filter(is_it).count() as u64
            })
            .collect();
        let (least, most) = (weights.iter().min().unwrap(), weights.iter().max().unwrap());
        assert!(*least * 10 > *most * 7, "{weights:?}");
    }

    #[test]
    fn captions_say_the_scene_and_nothing_else() {
        let mut rng = Rng::new(3);
        let mut wordings = std::collections::BTreeSet::new();
        for scene in scenes(200) {
            let caption = scene.caption(&mut rng);
            let words: Vec<&str> = caption.split(|c: char| !c.is_alphabetic()).collect();
            for color in Color::ALL {
                assert_eq!(words.contains(&color.word()), *color == scene.color, "{caption}");
            }
            for shape in Shape::ALL {
                assert_eq!(words.contains(&shape.word()), *shape == scene.shape, "{caption}");
            }
            for direction in Direction::ALL {
                let says = words
                    .iter()
                    .any(|word| *word == direction.word() || *word == format!("{direction}wards"));
                assert_eq!(says, *direction == scene.direction, "{caption}");
            }
            wordings.insert(words.len());
        }
        assert!(wordings.len() > 3, "{wordings:?}");
    }
}
