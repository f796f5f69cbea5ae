//! PySceneDetect's `ContentDetector` and its flash filter: a cut where the score reaches a fixed
//! threshold.

use super::{Delta, FlashFilter, Weights};

/// State of the `content` detector with its flash filter.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) threshold: f64,
    pub(super) weights: Weights,
    pub(super) filter: FlashFilter,
    pub(super) min_frames: u64,
    /// The last frame at or above the threshold; the first frame of all at the start.
    pub(super) last_above: Option<u64>,
    /// The frame at which cuts began to follow each other too quickly.
    pub(super) merge_from: Option<u64>,
    /// Merging begins only after a first cut.
    pub(super) merging_allowed: bool,
}

impl Content {
    pub(super) fn push(&mut self, frame: u64, delta: &Delta) -> Option<u64> {
        let above = self.weights.score(delta) >= self.threshold;
        if self.min_frames == 0 {
            return above.then_some(frame);
        }
        let last_above = *self.last_above.get_or_insert(frame);
        let long_enough = frame - last_above >= self.min_frames;
        match self.filter {
            FlashFilter::Suppress => {
                let cut = above && long_enough;
                if cut {
                    self.last_above = Some(frame);
                }
                cut.then_some(frame)
            }
            FlashFilter::Merge => self.merge(frame, above, long_enough),
        }
    }

    fn merge(&mut self, frame: u64, above: bool, long_enough: bool) -> Option<u64> {
        if above {
            self.last_above = Some(frame);
        }
        if self.merge_from.is_some() {
            if long_enough && !above && self.merged_long_enough() {
                self.merge_from = None;
                return self.last_above;
            }
            return None;
        }
        if !above {
            return None;
        }
        if long_enough {
            self.merging_allowed = true;
            return Some(frame);
        }
        if self.merging_allowed {
            self.merge_from = Some(frame);
        }
        None
    }

    /// Whether the merged stretch is itself as long as a scene, so that it ends with a cut.
    fn merged_long_enough(&self) -> bool {
        match (self.merge_from, self.last_above) {
            (Some(from), Some(last)) => last - from >= self.min_frames,
            _ => false,
        }
    }

    pub(super) fn settled(&self, frame: u64) -> u64 {
        // While merging, a later frame may still put the cut at the last frame above the threshold
        // (if the stretch is long enough by now; otherwise the cut can only be at a later one).
        match self.last_above {
            Some(last) if self.merged_long_enough() => last,
            _ => frame + 1,
        }
    }
}
