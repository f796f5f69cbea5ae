//! What is asked of a model: how clips are made, and whether they can be.

use candle_core::Tensor;

use super::{GenerateError, ModelCard, Problem};
use crate::{
    diffusion::{SamplerConfig, SamplerKind, Schedule},
    dit::Config,
    vae::{VaeConfig, VaeError},
};

/// The most frames that the transformer has positions for: 4096 latents, as published.
const MOST_LATENTS: usize = 4096;
/// The longest side and the most pixels of a clip: what is larger is a slip of the keyboard, and numbers
/// of no machine would be reserved for it.
const MOST_SIDE: usize = 1 << 16;
const MOST_PIXELS: u64 = 1 << 36;

/// How clips are made. The same for all prompts of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Frames; 1 is a picture.
    pub frames: usize,
    /// The sampler.
    pub sampler: SamplerKind,
    /// Its steps.
    pub steps: usize,
    /// How strongly a clip follows its text; 1 and less leave the negative prompt out, which takes
    /// half the time.
    pub guidance: f64,
    /// How far a flow's steps are moved towards noise.
    pub shift: f64,
    /// For a clip that is made from another one, the share of the steps that are gone: less stays
    /// closer to it. Without one it is 1.
    pub strength: f64,
    /// Whether frames go through the VAE once more with its slices moved by half of one, which hides
    /// their seams: as published, at about three times the cost of decoding.
    pub smoothing: bool,
    /// In the last share of the steps the network sees the CLIP embedding of the start image; half, as
    /// published.
    pub clip_ratio: f64,
}

impl Settings {
    /// Those of a model's card.
    #[must_use]
    pub fn of(card: &ModelCard) -> Self {
        Self {
            width: card.width,
            height: card.height,
            frames: card.frames,
            sampler: card.sampling.sampler,
            steps: card.sampling.steps,
            guidance: card.sampling.guidance,
            shift: card.sampling.shift,
            strength: 1.0,
            smoothing: true,
            clip_ratio: 0.5,
        }
    }

    /// The sampler's configuration.
    #[must_use]
    pub fn sampler(&self, card: &ModelCard) -> SamplerConfig {
        SamplerConfig {
            kind: self.sampler,
            steps: self.steps,
            prediction: card.prediction,
            strength: self.strength,
            shift: self.shift,
        }
    }

    /// # Errors
    /// [`GenerateError::Request`] with everything that this model cannot do, and what it can.
    pub(super) fn check(
        &self,
        card: &ModelCard,
        schedule: &Schedule,
        (transformer, vae): (&Config, &VaeConfig),
    ) -> Result<(), GenerateError> {
        let mut problems = Vec::new();
        let mut add = |what, problem: String| problems.push(Problem { what, problem });
        let multiple = vae.spatial_factor() * transformer.patch;
        let (width, height) = (self.width, self.height);
        let fits = |side: usize| side > 0 && side.is_multiple_of(multiple);
        if width.max(height) > MOST_SIDE {
            add("size", format!("{width}x{height} is too large: the longest side is {MOST_SIDE}"));
        } else if !(fits(width) && fits(height)) {
            let below = |side: usize| (side / multiple * multiple).max(multiple);
            let above = |side: usize| side.next_multiple_of(multiple).max(multiple);
            let smaller = format!("{}x{}", below(width), below(height));
            let larger = format!("{}x{}", above(width), above(height));
            let nearest = if smaller == larger {
                format!("is {smaller}")
            } else {
                format!("are {smaller} or {larger}")
            };
            add(
                "size",
                format!(
                    "{width}x{height} cannot be made: width and height must be multiples of \
                     {multiple}; the nearest {nearest}"
                ),
            );
        }
        // Before they are counted out in slices. No latent stands for more frames than this.
        let most = MOST_LATENTS.saturating_mul(vae.temporal_factor());
        match vae.latents(self.frames.min(most)) {
            _ if self.frames > most => {
                add("frames", format!("{} are too many: at most {most} can be made", self.frames));
            }
            Ok(latents) if latents > MOST_LATENTS => {
                add(
                    "frames",
                    format!("{} are too many: {latents} latents of {MOST_LATENTS}", self.frames),
                );
            }
            Ok(_) => {}
            Err(VaeError::Frames { frames, below, above }) => {
                let near: Vec<String> = [below.filter(|frames| *frames > 0), above]
                    .iter()
                    .flatten()
                    .map(ToString::to_string)
                    .collect();
                let verb = if near.len() == 1 { "is" } else { "are" };
                add(
                    "frames",
                    format!("{frames} cannot be made; the nearest {verb} {}", near.join(" and ")),
                );
            }
            Err(error) => add("frames", error.to_string()),
        }
        let pixels = [width, height, self.frames].map(|count| count as u64);
        let pixels = pixels.into_iter().fold(1_u64, u64::saturating_mul);
        if problems.is_empty() && pixels > MOST_PIXELS {
            let problem = format!(
                "{width}x{height} in {} frames are {pixels} pixels, and at most {MOST_PIXELS} can be made",
                self.frames
            );
            problems.push(Problem { what: "size", problem });
        }
        let mut add = |what, problem: String| problems.push(Problem { what, problem });
        // Below 1 a clip would be led away from its text; the published scripts take it for 1.
        if !(1.0..=100.0).contains(&self.guidance) {
            add("guidance", format!("{} is not between 1 (none) and 100", self.guidance));
        }
        if !(0.0..=1.0).contains(&self.clip_ratio) {
            add("clip ratio", format!("{} is not between 0 and 1", self.clip_ratio));
        }
        if let Err(error) = self.sampler(card).build(schedule) {
            add("sampler", error.to_string());
        }
        if problems.is_empty() { Ok(()) } else { Err(GenerateError::Request { problems }) }
    }
}

/// What is asked for one clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative: String,
    /// Where its noise comes from: the same seed gives the same clip, whatever else is in its batch.
    pub seed: u64,
}

/// Frames that a clip must begin or end with, each `[3, n, height, width]` in [-1, 1]. For networks of
/// 12 channels.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The first ones.
    pub start: Option<Tensor>,
    /// The last ones.
    pub end: Option<Tensor>,
}

impl Known {
    /// Whether no frame is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start.is_none() && self.end.is_none()
    }

    /// # Errors
    /// [`GenerateError::Request`] when they do not fit the clip or the network.
    pub(super) fn check(
        &self,
        settings: &Settings,
        transformer: &Config,
    ) -> Result<(), GenerateError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut problems = Vec::new();
        let mut add = |what, problem: String| problems.push(Problem { what, problem });
        if !transformer.has_clip() {
            add(
                "start and end",
                format!(
                    "this model's transformer has {} input channels, and only those with 12 can be \
                     told frames; leave them out",
                    transformer.in_channels
                ),
            );
        }
        let mut known = 0;
        for (what, frames) in [("start", &self.start), ("end", &self.end)] {
            let Some(frames) = frames else { continue };
            match *frames.dims() {
                [3, count, height, width]
                    if count > 0 && (width, height) == (settings.width, settings.height) =>
                {
                    known += count;
                }
                _ => add(
                    what,
                    format!(
                        "the frames are {:?}, not [3, n, {}, {}]",
                        frames.dims(),
                        settings.height,
                        settings.width
                    ),
                ),
            }
        }
        if known >= settings.frames {
            add(
                "frames",
                format!("{known} of {} are given: nothing is left to be made", settings.frames),
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(GenerateError::Request { problems }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Blueprint;

    #[test]
    fn enormous_requests_are_refused_before_anything_is_reserved() {
        let blueprint = Blueprint::preset("tiny").unwrap();
        let usual = Settings { width: 64, height: 64, ..Settings::of(&blueprint.card) };
        let refused = |settings: Settings| {
            blueprint.check(&settings, &Known::default()).unwrap_err().to_string()
        };
        blueprint.check(&usual, &Known::default()).unwrap();
        let text = refused(Settings { frames: usize::MAX, ..usual.clone() });
        assert!(text.contains("are too many: at most "), "{text}");
        let text = refused(Settings { width: usize::MAX, ..usual.clone() });
        assert!(text.contains("the longest side is 65536"), "{text}");
        let text = refused(Settings { width: 65536, height: 65536, frames: 256, ..usual.clone() });
        assert!(text.contains("1099511627776 pixels"), "{text}");
        // The most frames of either kind of slice are counted, and one more is not.
        let most = MOST_LATENTS * blueprint.vae.temporal_factor();
        blueprint.check(&Settings { frames: most, ..usual.clone() }, &Known::default()).unwrap();
        let text = refused(Settings { frames: most + 1, ..usual });
        assert!(text.contains(&format!("at most {most}")), "{text}");
    }
}
