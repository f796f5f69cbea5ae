//! What detectors get to see of each frame, computed once for all of them.

use std::sync::Arc;

use curate_media::{Hsv, MediaError, Picture, Size, SmallFrame, edges, hsv, sum_abs_diff};

use super::detect::{Delta, DetectorConfig, Seen};

/// Scores a stream of equally large pictures.
#[derive(Debug)]
pub struct Scorer {
    with_edges: bool,
    with_picture: bool,
    /// For every `frame_skip` in use, the frame that the next one is compared with.
    last: Vec<(u64, Option<Arc<Planes>>)>,
    /// Planes that nobody needs any more, to be written over.
    spare: Planes,
    seen: Seen,
}

/// What is compared of a picture.
#[derive(Debug, Default)]
struct Planes {
    hsv: Hsv,
    edges: Vec<u8>,
}

impl Scorer {
    /// Computes what these detectors ask for, and no more.
    #[must_use]
    pub fn new(detectors: &[DetectorConfig]) -> Self {
        let mut skips: Vec<u64> = detectors.iter().filter_map(DetectorConfig::frame_skip).collect();
        skips.sort_unstable();
        skips.dedup();
        Self {
            // Edges cost more than all the rest.
            with_edges: detectors.iter().filter_map(DetectorConfig::weights).any(|w| w.edges > 0.0),
            with_picture: detectors.iter().any(DetectorConfig::wants_picture),
            last: skips.into_iter().map(|skip| (skip, None)).collect(),
            spare: Planes::default(),
            seen: Seen::default(),
        }
    }

    /// Whether some detector looks at the picture of frame number `index`.
    #[must_use]
    pub fn looks_at(&self, index: u64) -> bool {
        self.with_picture || self.is_compared(index)
    }

    /// What detectors see of a frame whose picture none of them looks at; that costs nothing.
    pub fn pass(&mut self, (seconds, is_key): (f64, bool)) -> &Seen {
        self.seen.deltas.clear();
        self.seen.picture = None;
        (self.seen.seconds, self.seen.is_key) = (seconds, is_key);
        &self.seen
    }

    /// The next frame does not follow the last one: there is nothing to compare it with.
    pub fn forget(&mut self) {
        for (_, last) in &mut self.last {
            *last = None;
        }
    }

    /// What detectors see of frame number `index`. A difference is zero for the first frame and
    /// after a change of size.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn push(
        &mut self,
        index: u64,
        frame: &SmallFrame,
        (seconds, is_key): (f64, bool),
    ) -> Result<&Seen, MediaError> {
        if self.is_compared(index) {
            let mut planes = std::mem::take(&mut self.spare);
            frame.hsv(&mut planes.hsv)?;
            self.compare(index, planes)?;
        } else {
            self.seen.deltas.clear();
        }
        self.seen.picture = if self.with_picture { Some(frame.picture()?) } else { None };
        (self.seen.seconds, self.seen.is_key) = (seconds, is_key);
        Ok(&self.seen)
    }

    /// As [`Scorer::push`], for a frame that is a picture already and no key frame.
    ///
    /// # Errors
    /// When the picture is malformed.
    pub fn push_picture(&mut self, index: u64, picture: &Picture) -> Result<&Seen, MediaError> {
        if self.is_compared(index) {
            let hsv = hsv(picture)?;
            self.compare(index, Planes { hsv, edges: vec![] })?;
        } else {
            self.seen.deltas.clear();
        }
        self.seen.picture = self.with_picture.then(|| picture.clone());
        Ok(&self.seen)
    }

    fn is_compared(&self, index: u64) -> bool {
        self.last.iter().any(|(skip, _)| index.is_multiple_of(skip + 1))
    }

    fn compare(&mut self, index: u64, mut now: Planes) -> Result<(), MediaError> {
        if self.with_edges {
            let size = Size::new(now.hsv.width, now.hsv.height);
            now.edges = edges(&now.hsv.value, size, None)?;
        }
        let now = Arc::new(now);
        self.seen.deltas.clear();
        for (skip, last) in &mut self.last {
            if !index.is_multiple_of(*skip + 1) {
                continue;
            }
            let delta = last.as_ref().map_or_else(Delta::default, |last| difference(&now, last));
            self.seen.deltas.push((*skip, delta));
            if let Some(done) = last.replace(Arc::clone(&now)).and_then(Arc::into_inner) {
                self.spare = done;
            }
        }
        Ok(())
    }
}

/// The mean absolute differences of two frames; zero if their sizes differ.
fn difference(now: &Planes, last: &Planes) -> Delta {
    let (width, height) = (now.hsv.width, now.hsv.height);
    if (last.hsv.width, last.hsv.height) != (width, height) {
        return Delta::default();
    }
    let pixels = f64::from(width) * f64::from(height);
    let mean = |a: &[u8], b: &[u8]| sum_abs_diff(a, b) as f64 / pixels;
    Delta {
        hue: mean(&now.hsv.hue, &last.hsv.hue),
        saturation: mean(&now.hsv.saturation, &last.hsv.saturation),
        value: mean(&now.hsv.value, &last.hsv.value),
        edges: if now.edges.is_empty() { 0.0 } else { mean(&now.edges, &last.edges) },
    }
}
