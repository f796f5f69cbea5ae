//! PySceneDetect's `AdaptiveDetector`: a cut where the score stands out from those around it, which
//! forgives camera movement.

use std::collections::VecDeque;

use super::{Delta, Weights};

/// State of the `adaptive` detector.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    pub(super) threshold: f64,
    pub(super) min_frames: u64,
    pub(super) window: usize,
    pub(super) min_content: f64,
    pub(super) weights: Weights,
    pub(super) scores: VecDeque<f64>,
    /// The last cut; the first frame of all at the start.
    pub(super) last_cut: Option<u64>,
}

impl Adaptive {
    /// Below this mean of the neighbours a ratio says nothing.
    const ZERO: f64 = 0.00001;
    /// The largest ratio, also that of a change amid stillness.
    const MAX_RATIO: f64 = 255.0;

    pub(super) fn push(&mut self, frame: u64, delta: &Delta) -> Option<u64> {
        let last_cut = *self.last_cut.get_or_insert(frame);
        if self.scores.len() == 2 * self.window + 1 {
            self.scores.pop_front();
        }
        self.scores.push_back(self.weights.score(delta));
        if self.scores.len() < 2 * self.window + 1 {
            return None;
        }
        let target = frame - self.window as u64;
        let score = self.scores[self.window];
        let neighbours = self.scores.iter().enumerate().filter(|(i, _)| *i != self.window);
        let mean = neighbours.map(|(_, s)| s).sum::<f64>() / (2.0 * self.window as f64);
        let ratio = if mean.abs() >= Self::ZERO {
            (score / mean).min(Self::MAX_RATIO)
        } else if score >= self.min_content {
            Self::MAX_RATIO
        } else {
            0.0
        };
        let cut = ratio >= self.threshold
            && score >= self.min_content
            && target - last_cut >= self.min_frames;
        if cut {
            self.last_cut = Some(target);
        }
        cut.then_some(target)
    }
}
