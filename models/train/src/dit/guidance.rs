//! Known frames in training.
//!
//! A network of 12 channels is told which frames of a clip it is given (section 3.2 of the paper). A
//! third of the clips have none, a third their first frames, a third first and last. Where the
//! released trainer draws the mask on the whole clip and cuts both afterwards, so that known last
//! frames are mostly lost, the mask is drawn here on the frames that are used.

use candle_core::Tensor;
use curate_ops::Rng;
use serde::{Deserialize, Serialize};

/// Share of clips with known frames in the released trainer.
const PUBLISHED: f64 = 2.0 / 3.0;

/// How often frames are known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceConfig {
    /// Share of clips of which frames are known; half of them first ones, half first and last. Without
    /// it two thirds, as published, where frames are read (`data.cache = "off"`), and none where latents
    /// may come from the cache, which are of whole clips.
    pub known: Option<f64>,
    /// The most frames that are known at an end; from 1 to so many. 4 as published.
    pub most_frames: u64,
    /// Share of batches in which the network is not shown CLIP's embedding of a frame; half, as published.
    /// Of any frame of the clip, so that it says what is to be seen and not how it begins.
    pub clip_dropout: f64,
}

impl Default for GuidanceConfig {
    fn default() -> Self {
        Self { known: None, most_frames: 4, clip_dropout: 0.5 }
    }
}

impl GuidanceConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(known) = self.known.filter(|known| !(0.0..=1.0).contains(known)) {
            problems.push(format!("`{key}.known` is {known}, not a share from 0 to 1"));
        }
        if !(0.0..=1.0).contains(&self.clip_dropout) {
            let dropout = self.clip_dropout;
            problems.push(format!("`{key}.clip_dropout` is {dropout}, not a share from 0 to 1"));
        }
        if self.most_frames == 0 {
            problems.push(format!("`{key}.most_frames` is 0; 1 is an image"));
        }
        problems
    }

    /// How many first and last frames of a clip of `frames` are known, drawn on a clip whose frames are
    /// there.
    pub(super) fn draw(&self, rng: &mut Rng, frames: usize) -> (usize, usize) {
        let known = self.known.unwrap_or(PUBLISHED);
        let (share, count) = (rng.uniform(), rng.below(self.most_frames) as usize + 1);
        // Of an image nothing is known; of a clip never all.
        let most = (frames.saturating_sub(1)) / 2;
        let count = count.min(most);
        if frames <= 1 || share >= known {
            (0, 0)
        } else if share < known / 2.0 {
            (count, 0)
        } else {
            (count, count)
        }
    }
}

/// The known frames of a clip, `[3, T, H, W]`.
pub(super) fn known(
    clip: &Tensor,
    (first, last): (usize, usize),
) -> candle_core::Result<curate_models::generate::Known> {
    let frames = clip.dim(1)?;
    let part = |from: usize, count: usize| {
        (count > 0).then(|| clip.narrow(1, from, count)?.contiguous()).transpose()
    };
    Ok(curate_models::generate::Known { start: part(0, first)?, end: part(frames - last, last)? })
}

#[cfg(test)]
mod tests {
    use curate_ops::Rng;

    use super::GuidanceConfig;

    #[test]
    fn a_third_is_free_a_third_begins_and_a_third_ends_too() {
        let config = GuidanceConfig::default();
        let mut rng = Rng::new(1);
        let mut kinds = [0_u32; 3];
        let mut counts = [0_u32; 5];
        for _ in 0..30_000 {
            let (first, last) = config.draw(&mut rng, 16);
            assert!(last == 0 || last == first, "{first} {last}");
            kinds[usize::from(first > 0) + usize::from(last > 0)] += 1;
            counts[first] += 1;
        }
        assert!(kinds.iter().all(|count| (9_600..10_400).contains(count)), "{kinds:?}");
        assert!(counts[1..].iter().all(|count| (4_700..5_300).contains(count)), "{counts:?}");
        assert_eq!(config.draw(&mut rng, 1), (0, 0));
        for _ in 0..100 {
            let (first, last) = config.draw(&mut rng, 4);
            assert!(first + last < 4, "{first} {last}");
        }
    }
}
