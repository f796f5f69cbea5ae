//! Text that stays: subtitles and logos that were added to a video, against text in the scene.
//!
//! What was added keeps its place in the picture from frame to frame to the pixel; text in the
//! scene moves with the camera and with what it stands on. A box is called persistent if, counting
//! its own, enough of the sampled frames have a box at its place. Two boxes are at one place if
//! * their intersection over union is high enough, and
//! * one of five points keeps its place: the centre or the middle of a side. So lines of subtitles
//!   that follow each other match whether they are centred or start at one margin, and text which
//!   moves slowly along its own direction does not match, however long it is.
//!
//! Boxes are compared with the box itself, not along a chain of neighbours: text that creeps leaves
//! its place sooner or later.
//!
//! Decided against comparing what is written: it needs recognition, and a subtitle changes while
//! its place does not. What boxes cannot tell is a sign in a shot whose camera stands still: it
//! counts as persistent. Frames are best half a second apart or more, so that what moves has time
//! to.

use super::{
    TextBox,
    area::union_px2,
    quad::{Point, Quad, iou, quad_hull},
};

/// When text counts as persistent.
#[derive(Clone, Copy, Debug)]
pub struct PersistenceOptions {
    /// The least intersection over union of two boxes at one place, 0 to 1. 0.5 by default: lines
    /// of which one is up to twice as long as the other still match.
    pub overlap: f64,
    /// How far the point that keeps its place may move, in heights of the line (its shorter side).
    /// 0.25 by default: the detector's own jitter is well below, and it is less than text on
    /// something that moves makes in half a second.
    pub drift: f64,
    /// In how many frames the place must have text. 3 by default, so that one coincidence is not
    /// enough; all of them for clips with fewer frames, but never fewer than 2.
    pub frames: usize,
}

impl Default for PersistenceOptions {
    fn default() -> Self {
        Self { overlap: 0.5, drift: 0.25, frames: 3 }
    }
}

/// How much of a clip's text is persistent. Both are 0 for a clip without text, and for one with a
/// single frame, of which nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Persistence {
    /// Of the area of all text, summed over the frames, the share that persistent boxes cover, 0 to
    /// 1. Areas that overlap in a frame count once.
    pub area_share: f64,
    /// The share of all frames that have a persistent box, 0 to 1.
    pub frame_share: f64,
}

/// How much of the text in a clip's sampled frames stays where it is.
#[must_use]
pub fn persistence(frames: &[Vec<TextBox>], options: &PersistenceOptions) -> Persistence {
    let wanted = options.frames.min(frames.len()).max(2);
    let stays = |text: &TextBox| {
        let matching = frames.iter().filter(|frame| {
            frame.iter().any(|other| at_one_place(&text.corners, &other.corners, options))
        });
        matching.take(wanted).count() == wanted
    };
    let (mut all_px2, mut persistent_px2, mut persistent_frames) = (0.0, 0.0, 0.0);
    for frame in frames {
        let hulls = |boxes: &mut dyn Iterator<Item = &TextBox>| {
            union_px2(&boxes.map(|text| quad_hull(&text.corners)).collect::<Vec<_>>())
        };
        let staying: Vec<&TextBox> = frame.iter().filter(|text| stays(text)).collect();
        all_px2 += hulls(&mut frame.iter());
        persistent_px2 += hulls(&mut staying.iter().copied());
        persistent_frames += if staying.is_empty() { 0.0 } else { 1.0 };
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
    Persistence {
        area_share: share(persistent_px2, all_px2),
        frame_share: share(persistent_frames, frames.len() as f64),
    }
}

/// Whether two boxes are at one place.
fn at_one_place(a: &Quad, b: &Quad, options: &PersistenceOptions) -> bool {
    let distance = |a: Point, b: Point| (a[0] - b[0]).hypot(a[1] - b[1]);
    let (points_a, points_b) = (anchors(a), anchors(b));
    // Between the middles of opposite sides lie the line's length and height.
    let height =
        |points: &[Point; 5]| distance(points[1], points[3]).min(distance(points[2], points[4]));
    let most = options.drift * height(&points_a).min(height(&points_b));
    let keeps = points_a.iter().zip(points_b).any(|(a, b)| distance(*a, b) <= most);
    keeps && iou(a, b) >= options.overlap
}

/// The centre and the middles of the four sides.
fn anchors(quad: &Quad) -> [Point; 5] {
    let [a, b, c, d] = quad.map(|corner| corner.map(f64::from));
    let middle = |a: Point, b: Point| [f64::midpoint(a[0], b[0]), f64::midpoint(a[1], b[1])];
    let [top, right, bottom, left] = [middle(a, b), middle(b, c), middle(c, d), middle(d, a)];
    [middle(top, bottom), top, right, bottom, left]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(left: f32, top: f32, width: f32, height: f32) -> TextBox {
        let (right, bottom) = (left + width, top + height);
        TextBox {
            corners: [[left, top], [right, top], [right, bottom], [left, bottom]],
            score: 0.9,
        }
    }

    fn of(frames: &[Vec<TextBox>]) -> Persistence {
        persistence(frames, &PersistenceOptions::default())
    }

    fn shares(found: Persistence, area: f64, frames: f64) -> bool {
        (found.area_share - area).abs() < 1e-9 && (found.frame_share - frames).abs() < 1e-9
    }

    #[test]
    fn a_logo_that_jitters_stays() {
        let frames: Vec<_> = (0..10u8)
            .map(|index| vec![line(500.0 + f32::from(index % 3), 20.0, 90.0, 30.0)])
            .collect();
        assert!(shares(of(&frames), 1.0, 1.0));
    }

    #[test]
    fn subtitles_stay_while_they_change() {
        // Centred at 320, then none, then starting at a margin.
        let centred =
            [400.0, 300.0, 240.0, 360.0].map(|w| vec![line(320.0 - w / 2.0, 440.0, w, 28.0)]);
        assert!(shares(of(&centred), 1.0, 1.0));
        let margin = [400.0, 300.0, 240.0].map(|w| vec![line(40.0, 440.0, w, 28.0)]);
        let mut frames = margin.to_vec();
        frames.extend([vec![], vec![], vec![]]);
        assert!(shares(of(&frames), 1.0, 0.5));
    }

    #[test]
    fn text_in_the_scene_moves() {
        let moving = |step: f32| -> Vec<Vec<TextBox>> {
            (0..10u8).map(|i| vec![line(40.0 + step * f32::from(i), 200.0, 300.0, 30.0)]).collect()
        };
        assert!(shares(of(&moving(60.0)), 0.0, 0.0));
        // By a tenth of its length a frame: most of it overlaps, yet no point stays.
        assert!(shares(of(&moving(15.0)), 0.0, 0.0));
        // Coming nearer, off the centre of the picture.
        let nearer: Vec<_> = (0..8u8)
            .map(|i| f32::from(i).mul_add(0.15, 1.0))
            .map(|zoom| vec![line(150.0 * zoom, 90.0 * zoom, 80.0 * zoom, 20.0 * zoom)])
            .collect();
        assert!(shares(of(&nearer), 0.0, 0.0));
        let once = vec![vec![], vec![line(9.0, 9.0, 90.0, 30.0)], vec![], vec![]];
        assert!(shares(of(&once), 0.0, 0.0));
    }

    #[test]
    fn a_mixture_is_weighted_by_area() {
        let frames: Vec<_> = (0..5u8)
            .map(|i| {
                vec![line(100.0, 440.0, 300.0, 20.0), line(80.0 * f32::from(i), 90.0, 100.0, 20.0)]
            })
            .collect();
        assert!(shares(of(&frames), 0.75, 1.0));
    }

    #[test]
    fn few_frames_say_little() {
        let text = || vec![line(100.0, 440.0, 300.0, 20.0)];
        assert!(shares(of(&[]), 0.0, 0.0));
        assert!(shares(of(&[text()]), 0.0, 0.0));
        assert!(shares(of(&[text(), text()]), 1.0, 1.0));
        assert!(shares(of(&[text(), text(), vec![]]), 0.0, 0.0));
        assert!(shares(of(&[vec![], vec![], vec![]]), 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn shares_are_shares_in_any_order(
            places in prop::collection::vec(
                prop::collection::vec((0u8..6, 0u8..6, 1u8..6), 0..5), 0..7,
            ),
        ) {
            let mut frames: Vec<Vec<TextBox>> = places
                .iter()
                .map(|places| {
                    places
                        .iter()
                        .map(|(x, y, w)| [x, y, w].map(|v| f32::from(*v) * 10.0))
                        .map(|[x, y, w]| line(x, y, w, 12.0))
                        .collect()
                })
                .collect();
            let found = of(&frames);
            prop_assert!((0.0..=1.0).contains(&found.area_share));
            prop_assert!((0.0..=1.0).contains(&found.frame_share));
            prop_assert_eq!(found.area_share > 0.0, found.frame_share > 0.0);
            frames.reverse();
            prop_assert!((of(&frames).area_share - found.area_share).abs() < 1e-9);
        }
    }
}
