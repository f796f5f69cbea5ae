//! Looks at a clip and says which colour moves where, knowing nothing of what was asked for.
//!
//! The colour is read off the pixels that stand out of the background (`segment.rs`). The direction
//! is that of optical flow (DIS, as in the motion stage) between neighbouring pictures, averaged
//! over these pixels, and of all pairs the median, so that one jump does not decide. The flow sees
//! how far pixels are from the background instead of grey: a red shape may be as light as a grey
//! background.

use curate_media::{DisFlow, Filter, Flow, GreyPair, Picture, PixelFormat, Size, resize};

use super::{
    error::ShapesError,
    oklab::{Lab, distance, oklab},
    segment::{Foreground, foreground, median},
    words::{Color, Direction},
};

/// The longer side of the pictures that are looked at, in pixels.
pub(super) const SIDE: u32 = 96;
/// Parts of a picture that count as a thing that is to be seen.
const AREA: std::ops::RangeInclusive<f64> = 0.008..=0.4;
/// Of the pictures in which it must be seen.
const SEEN_IN: f64 = 0.75;
/// Sides per frame below which nothing moves: a quarter of the slowest speed.
const STILL: f64 = 0.375 / 64.0;
/// By how much the movement along one axis must exceed that along the other; else it is askew.
const ASKEW: f64 = 1.5;
/// Distance from the background at which the flow's pictures are brightest.
const BRIGHTEST: f32 = 0.3;

/// Pictures of a clip: `[frames, height, width, 3]` in RGB.
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// The pixels.
    pub pixels: &'a [u8],
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// What is to be seen in a clip.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Seen {
    /// The colour of what stands out, of the eight; `None` where nothing does.
    pub color: Option<Color>,
    /// Where it moves; `None` where nothing stands out, stands still, or moves askew.
    pub direction: Option<Direction>,
    /// How it moves, in sides of the picture per frame: to the right, and down.
    pub velocity: [f64; 2],
    /// Part of the picture that it covers: the median over the pictures.
    pub area: f64,
    /// Of the pictures, those in which a thing of sensible size is to be seen.
    pub seen_in: f64,
}

/// Judges clips, one after the other.
pub struct Judge {
    dis: DisFlow,
    flow: Flow,
    colors: Vec<(Color, Lab)>,
}

impl Judge {
    /// A judge.
    ///
    /// # Errors
    /// `Pictures` for want of memory.
    pub fn new() -> Result<Self, ShapesError> {
        let colors = Color::ALL.iter().map(|color| (*color, oklab(color.rgb()))).collect();
        Ok(Self { dis: DisFlow::new()?, flow: Flow::default(), colors })
    }

    /// Looks at a clip.
    ///
    /// # Errors
    /// `Pictures` when the pixels do not fit the size.
    pub fn look(&mut self, film: &Film<'_>) -> Result<Seen, ShapesError> {
        let longer = f64::from(film.width.max(film.height).max(1));
        let side = |side: u32| ((f64::from(side * SIDE) / longer).round() as u32).max(16);
        let size = Size::new(side(film.width), side(film.height));
        let bytes = film.width as usize * film.height as usize * 3;
        let mut found = Vec::new();
        for data in film.pixels.chunks(bytes.max(1)) {
            let (width, height, format) = (film.width, film.height, PixelFormat::Rgb8);
            let picture = Picture { width, height, format, data: data.to_vec() };
            let filter = if longer > f64::from(SIDE) { Filter::Area } else { Filter::Linear };
            let small = resize(&picture, size, filter)?;
            found.push(foreground(small.data.as_chunks::<3>().0, size.width as usize));
        }
        let is_seen = |one: &&Foreground| AREA.contains(&one.area);
        let seen_in = found.iter().filter(is_seen).count() as f64 / found.len().max(1) as f64;
        let area = f64::from(median(found.iter().map(|one| one.area as f32).collect()));
        let velocity = self.velocity(&found, size)?;
        let mut seen = Seen { color: None, direction: None, velocity, area, seen_in };
        if seen_in >= SEEN_IN {
            seen.color = self.color(&found);
            seen.direction = direction(velocity);
        }
        Ok(seen)
    }

    /// The colour nearest to the mean of what is seen.
    fn color(&self, found: &[Foreground]) -> Option<Color> {
        let colors: Vec<Lab> = found
            .iter()
            .filter(|one| AREA.contains(&one.area))
            .filter_map(|one| one.color)
            .collect();
        let mean = [0, 1, 2].map(|channel| {
            colors.iter().map(|color| color[channel]).sum::<f32>() / colors.len() as f32
        });
        let far = |(_, color): &&(Color, Lab)| distance(*color, mean);
        let nearest = self.colors.iter().min_by(|a, b| far(a).total_cmp(&far(b)));
        nearest.filter(|_| !colors.is_empty()).map(|(color, _)| *color)
    }

    /// The median movement from picture to picture.
    fn velocity(&mut self, found: &[Foreground], size: Size) -> Result<[f64; 2], ShapesError> {
        let levels = |one: &Foreground| -> Vec<u8> {
            one.away.iter().map(|away| (away / BRIGHTEST * 255.0).min(255.0) as u8).collect()
        };
        let (mut right, mut down) = (Vec::new(), Vec::new());
        for pair in found.windows(2) {
            let (first, second) = (levels(&pair[0]), levels(&pair[1]));
            let pair_of = GreyPair { size, first: &first, second: &second };
            self.dis.flow(&pair_of, &mut self.flow)?;
            let weight: f32 = pair[0].weight.iter().sum();
            if weight <= 0.0 {
                continue;
            }
            let mean = |plane: &[f32]| {
                plane.iter().zip(&pair[0].weight).map(|(moved, part)| moved * part).sum::<f32>()
                    / weight
            };
            right.push(mean(&self.flow.u));
            down.push(mean(&self.flow.v));
        }
        let sides = |moved: Vec<f32>, side: u32| f64::from(median(moved)) / f64::from(side);
        Ok([sides(right, size.width), sides(down, size.height)])
    }
}

fn direction([right, down]: [f64; 2]) -> Option<Direction> {
    let (across, along) = (right.abs(), down.abs());
    if across.max(along) < STILL || across.max(along) < ASKEW * across.min(along) {
        return None;
    }
    Some(match across > along {
        true if right < 0.0 => Direction::Left,
        true => Direction::Right,
        false if down < 0.0 => Direction::Up,
        false => Direction::Down,
    })
}
