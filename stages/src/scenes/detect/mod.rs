//! Cut detectors after PySceneDetect 0.7.2, equal to them on the same frames (`tests/scenes.rs`
//! compares them side by side): `content`, `adaptive`, `threshold`, `hash` and `histogram`; and three
//! that need no picture, `fixed`, `keyframe` and `list`.
//!
//! `content` and `adaptive` share a score, how much a frame differs from the one before it (mean
//! absolute difference of hue, saturation and value, in HSV as OpenCV computes it), computed once
//! per frame (`score.rs`).
//!
//! Unlike the original, a detector also says which frames are *settled*: no later frame can still
//! make a cut there. That is what lets clips leave while the source is still being decoded.

mod adaptive;
mod config;
mod content;
mod given;
mod likeness;
mod read;
mod threshold;

use curate_media::{MediaError, Picture};

pub(super) use self::read::read;
use self::{
    adaptive::Adaptive,
    content::Content,
    given::{Fixed, Keyframe, Listed},
    likeness::Likeness,
    threshold::Threshold,
};
pub use self::{
    config::{DetectorConfig, FlashFilter, Weights},
    given::Missing,
    threshold::FadeTo,
};

/// How much a frame differs from the one before it: mean absolute differences, 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delta {
    /// Of the hue (OpenCV's 8-bit hue, 0 to 179; not circular, as in the original).
    pub hue: f64,
    /// Of the saturation.
    pub saturation: f64,
    /// Of the value (brightness).
    pub value: f64,
    /// Of the edge maps; 0 unless some detector weighs edges.
    pub edges: f64,
}

/// A frame as detectors see it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The difference to the frame `skip + 1` before, for every `frame_skip` in use; only for
    /// those that look at this frame.
    pub deltas: Vec<(u64, Delta)>,
    /// The picture at analysis size, if some detector asks for it.
    pub picture: Option<Picture>,
    /// Presentation time in seconds.
    pub seconds: f64,
    /// Whether it is a key frame of the codec.
    pub is_key: bool,
}

impl Seen {
    fn delta(&self, skip: u64) -> Option<&Delta> {
        self.deltas.iter().find(|(other, _)| *other == skip).map(|(_, delta)| delta)
    }

    /// The mean of all samples of the picture, 0 to 255.
    fn level(&self) -> f64 {
        self.picture.as_ref().map_or(0.0, |picture| {
            let sum: u64 = picture.data.iter().map(|sample| u64::from(*sample)).sum();
            sum as f64 / picture.data.len().max(1) as f64
        })
    }
}

/// A detection pass under way. Frames are numbered from 0 in decode order.
#[derive(Clone, Debug)]
pub struct Detector(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// With its `frame_skip`.
    Content(Content, u64),
    Adaptive(Adaptive),
    Threshold(Threshold),
    Likeness(Likeness),
    Fixed(Fixed),
    Keyframe(Keyframe),
    Listed(Listed),
}

impl Detector {
    /// One that cuts at the first frame at or after each of these times, in seconds and in order.
    pub(in crate::scenes) fn at(times_s: Vec<f64>) -> Self {
        Self(Kind::Listed(Listed { times_s: times_s.into() }))
    }

    /// Takes the next frame; gives the first frame of a new scene when one was found (not
    /// necessarily this frame).
    ///
    /// # Errors
    /// When the picture is malformed.
    pub fn push(&mut self, frame: u64, seen: &Seen) -> Result<Option<u64>, MediaError> {
        Ok(match &mut self.0 {
            Kind::Content(content, skip) => {
                seen.delta(*skip).and_then(|delta| content.push(frame, delta))
            }
            Kind::Adaptive(adaptive) => seen.delta(0).and_then(|delta| adaptive.push(frame, delta)),
            Kind::Threshold(threshold) => threshold.push(frame, seen.level()),
            Kind::Likeness(likeness) => match &seen.picture {
                Some(picture) => likeness.push(frame, picture)?,
                None => None,
            },
            Kind::Fixed(fixed) => fixed.push(frame, seen.seconds),
            Kind::Keyframe(keyframe) => keyframe.push(frame, seen.is_key),
            Kind::Listed(listed) => listed.push(frame, seen.seconds),
        })
    }

    /// After `frame` was pushed: no frame before this one can become a cut any more.
    #[must_use]
    pub fn settled(&self, frame: u64) -> u64 {
        match &self.0 {
            Kind::Content(content, _) => content.settled(frame),
            Kind::Adaptive(adaptive) => (frame + 1).saturating_sub(adaptive.window as u64),
            Kind::Threshold(threshold) => threshold.settled(frame),
            Kind::Likeness(_) | Kind::Fixed(_) | Kind::Keyframe(_) | Kind::Listed(_) => frame + 1,
        }
    }

    /// The cut that the end of the source makes, if any; `frame` is its last one.
    #[must_use]
    pub fn finish(&self, frame: u64) -> Option<u64> {
        match &self.0 {
            Kind::Threshold(threshold) => threshold.finish(frame),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
