//! PySceneDetect's `HashDetector` and `HistogramDetector`: a cut where a frame is unlike the one
//! before it, by perceptual hash or by brightness histogram.

use curate_media::{MediaError, Picture, correlation, luma_histogram, perceptual_hash};

/// What is remembered of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feature {
    /// Low frequencies of a square of `size * lowpass` pixels, as bits.
    Hash { size: u32, lowpass: u32 },
    /// How often each of so many levels of brightness occurs.
    Histogram { bins: u32 },
}

/// A feature of one frame.
#[derive(Clone, Debug)]
enum Print {
    Hash(Vec<bool>),
    Histogram(Vec<f32>),
}

/// State of the `hash` and `histogram` detectors.
#[derive(Clone, Debug)]
pub(super) struct Likeness {
    pub(super) feature: Feature,
    /// The least difference of a cut.
    pub(super) threshold: f64,
    pub(super) min_frames: u64,
    last: Option<Print>,
    /// The last cut; the first frame of all at the start.
    last_cut: Option<u64>,
}

impl Likeness {
    pub(super) fn new(feature: Feature, threshold: f64, min_frames: u64) -> Self {
        Self { feature, threshold, min_frames, last: None, last_cut: None }
    }

    pub(super) fn push(
        &mut self,
        frame: u64,
        picture: &Picture,
    ) -> Result<Option<u64>, MediaError> {
        let last_cut = *self.last_cut.get_or_insert(frame);
        let now = match self.feature {
            Feature::Hash { size, lowpass } => {
                Print::Hash(perceptual_hash(picture, size, lowpass)?)
            }
            Feature::Histogram { bins } => Print::Histogram(luma_histogram(picture, bins)?),
        };
        let differs = match (&self.last, &now) {
            (Some(Print::Hash(last)), Print::Hash(now)) => {
                let bits = last.iter().zip(now).filter(|(a, b)| a != b).count();
                bits as f64 / now.len() as f64 >= self.threshold
            }
            (Some(Print::Histogram(last)), Print::Histogram(now)) => {
                // The original compares the likeness, so that rounding falls as it does there.
                correlation(last, now)? <= (1.0 - self.threshold).clamp(0.0, 1.0)
            }
            _ => false,
        };
        self.last = Some(now);
        let cut = differs && frame - last_cut >= self.min_frames;
        if cut {
            self.last_cut = Some(frame);
        }
        Ok(cut.then_some(frame))
    }
}
