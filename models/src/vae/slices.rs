//! How a video is cut in time.
//!
//! The released code cuts any length and may give back another: of 12 frames it makes 3 latents,
//! and of those 9 frames. Here such lengths are refused, and the message has those that fit.

use super::{
    VaeError,
    carry::Carry,
    config::{Chunking, VaeConfig},
    conv::Time,
};

/// What a pass of encoder or decoder is, in time; [`super::Time`] is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A frame by itself.
    Image,
    /// A slice.
    Slice,
    /// A chunk that begins by itself.
    Causal,
    /// A chunk that goes on where the one before ended.
    Carried,
}

impl Span {
    /// What a pass is to convolutions. `carry` is used by chunks that go on.
    pub(super) fn time(self, carry: &mut Carry) -> Time<'_> {
        match self {
            Self::Image => Time::Image,
            Self::Slice => Time::Slice,
            Self::Causal => Time::Causal,
            Self::Carried => {
                carry.rewind();
                Time::Carried(carry)
            }
        }
    }

    /// The same for layers behind those that [`Span::time`] was for.
    pub(super) fn later(self, carry: &mut Carry) -> Time<'_> {
        match self {
            Self::Carried => Time::Carried(carry),
            _ => self.time(carry),
        }
    }
}

/// A pass of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderPass {
    /// Frames that go in, behind those of the pass before.
    pub frames: usize,
    /// Latents that come out.
    pub latents: usize,
    /// What it is.
    pub span: Span,
}

/// A pass of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderPass {
    /// Latents before those that are decoded, which its first part sees.
    pub before: usize,
    /// Latents that are decoded, behind those of the pass before.
    pub latents: usize,
    /// Latents after them, which its first part sees.
    pub after: usize,
    /// Frames that come out.
    pub frames: usize,
    /// What it is.
    pub span: Span,
}

impl VaeConfig {
    /// How a video of this many frames is encoded.
    ///
    /// # Errors
    /// [`VaeError::Frames`] when its latents would not decode to as many frames.
    pub fn encoder_passes(&self, frames: usize) -> Result<Vec<EncoderPass>, VaeError> {
        self.encoding(frames).ok_or_else(|| {
            // Valid lengths are at most a slice apart.
            let (Chunking::Slice { frames: reach, .. }
            | Chunking::MagVit { frames: reach, .. }
            | Chunking::Carried { frames: reach, .. }) = self.chunking;
            let is_valid = |frames: &usize| self.encoding(*frames).is_some();
            let below = (frames.saturating_sub(reach)..frames).rev().find(is_valid);
            let above = (frames + 1..=frames + reach).find(is_valid);
            VaeError::Frames { frames, below, above }
        })
    }

    /// How this many latents are decoded.
    ///
    /// # Errors
    /// [`VaeError::Latents`] when there are none.
    pub fn decoder_passes(&self, latents: usize) -> Result<Vec<DecoderPass>, VaeError> {
        if latents == 0 {
            return Err(VaeError::Latents);
        }
        Ok(self.decoding(latents))
    }

    /// How many latents a video of this many frames has.
    ///
    /// # Errors
    /// Those of [`VaeConfig::encoder_passes`].
    pub fn latents(&self, frames: usize) -> Result<usize, VaeError> {
        Ok(self.encoder_passes(frames)?.iter().map(|pass| pass.latents).sum())
    }

    /// How many frames this many latents decode to.
    ///
    /// # Errors
    /// Those of [`VaeConfig::decoder_passes`].
    pub fn frames(&self, latents: usize) -> Result<usize, VaeError> {
        Ok(self.decoder_passes(latents)?.iter().map(|pass| pass.frames).sum())
    }

    fn encoding(&self, frames: usize) -> Option<Vec<EncoderPass>> {
        let factor = self.temporal_factor();
        let mut passes = Vec::new();
        let mut rest = frames;
        match self.chunking {
            Chunking::Slice { .. } if frames % 2 == 1 => {
                passes.push(EncoderPass { frames: 1, latents: 1, span: Span::Image });
                rest -= 1;
            }
            Chunking::Carried { .. } if frames > 0 => {
                passes.push(EncoderPass { frames: 1, latents: 1, span: Span::Carried });
                rest -= 1;
            }
            _ => {}
        }
        while rest > 0 {
            let (frames, latents, span) = match self.chunking {
                Chunking::Slice { frames, latents, .. } => (frames, latents, Span::Slice),
                Chunking::Carried { frames, .. } => {
                    let frames = frames.min(rest);
                    (frames, frames / factor, Span::Carried)
                }
                Chunking::MagVit { frames, .. } => {
                    let frames = frames.min(rest);
                    (frames, (frames - 1) / factor + 1, Span::Causal)
                }
            };
            rest = rest.checked_sub(frames)?;
            passes.push(EncoderPass { frames, latents, span });
        }
        let latents: usize = passes.iter().map(|pass| pass.latents).sum();
        let back: usize = self.decoding(latents).iter().map(|pass| pass.frames).sum();
        (frames > 0 && back == frames).then_some(passes)
    }

    fn decoding(&self, latents: usize) -> Vec<DecoderPass> {
        let factor = self.temporal_factor();
        let mut passes = Vec::new();
        let mut rest = latents;
        let single = |span| DecoderPass { before: 0, latents: 1, after: 0, frames: 1, span };
        match self.chunking {
            Chunking::Slice { .. } if latents % 2 == 1 => {
                passes.push(single(Span::Image));
                rest -= 1;
            }
            Chunking::Carried { .. } if latents > 0 => {
                passes.push(single(Span::Carried));
                rest -= 1;
            }
            _ => {}
        }
        // The latent of an odd first frame is no neighbour.
        let mut before = 0;
        while rest > 0 {
            let pass = match self.chunking {
                Chunking::Slice { latents, neighbours, .. } => {
                    let latents = latents.min(rest);
                    let after = if neighbours { latents.min(rest - latents) } else { 0 };
                    let pass = DecoderPass {
                        before,
                        latents,
                        after,
                        frames: latents * factor,
                        span: Span::Slice,
                    };
                    before = if neighbours { latents } else { 0 };
                    pass
                }
                Chunking::MagVit { latents, .. } => {
                    let latents = latents.min(rest);
                    let frames = (latents - 1) * factor + 1;
                    DecoderPass { latents, frames, ..single(Span::Causal) }
                }
                Chunking::Carried { latents, .. } => {
                    let latents = latents.min(rest);
                    let frames = latents * factor;
                    DecoderPass { latents, frames, ..single(Span::Carried) }
                }
            };
            rest -= pass.latents;
            passes.push(pass);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(config: &VaeConfig, frames: usize) -> (usize, usize) {
        let latents = config.latents(frames).unwrap();
        (latents, config.frames(latents).unwrap())
    }

    #[test]
    fn lengths_map_as_the_recipe_says() {
        let slice = VaeConfig::preset("v3").unwrap();
        for (frames, latents) in [(1, 1), (8, 2), (9, 3), (16, 4), (25, 7), (144, 36)] {
            assert_eq!(lengths(&slice, frames), (latents, frames));
        }
        let magvit = slice.as_magvit();
        for (frames, latents) in [(1, 1), (5, 2), (9, 3), (18, 6), (144, 48)] {
            assert_eq!(lengths(&magvit, frames), (latents, frames));
        }
        let carried = VaeConfig::preset("v3-carried").unwrap();
        for (frames, latents) in [(1, 1), (5, 2), (9, 3), (13, 4), (145, 37)] {
            assert_eq!(lengths(&carried, frames), (latents, frames));
        }
        // Time by eight: a slice is one latent, and clips of 33 frames train it.
        let eighth = VaeConfig {
            down: vec![super::super::config::Resample::SpatialTemporal; 3],
            up: vec![super::super::config::Resample::SpatialTemporal; 3],
            chunking: Chunking::Slice { frames: 8, latents: 1, neighbours: true },
            ..slice
        };
        eighth.check().unwrap();
        assert_eq!(lengths(&eighth, 33), (5, 33));
        assert_eq!(lengths(&eighth, 16), (2, 16));
        // Eight frames would be one latent, which is an image.
        assert!(eighth.latents(8).is_err());
    }

    #[test]
    fn lengths_that_do_not_come_back_are_refused_with_those_that_do() {
        let slice = VaeConfig::preset("v3").unwrap();
        let text = slice.latents(12).unwrap_err().to_string();
        assert_eq!(text, "a video of 12 frames cannot be encoded; 9 and 16 can");
        let text = slice.latents(0).unwrap_err().to_string();
        assert_eq!(text, "a video of 0 frames cannot be encoded; 1 can");
        let text = slice.latents(27).unwrap_err().to_string();
        assert_eq!(text, "a video of 27 frames cannot be encoded; 25 and 32 can");
        let text = slice.as_magvit().latents(12).unwrap_err().to_string();
        assert_eq!(text, "a video of 12 frames cannot be encoded; 10 and 14 can");
        let text = VaeConfig::preset("tiny-carried").unwrap().latents(8).unwrap_err().to_string();
        assert_eq!(text, "a video of 8 frames cannot be encoded; 5 and 9 can");
        assert!(slice.frames(0).is_err());
        for frames in 1..200 {
            for config in [slice.clone(), slice.as_magvit()] {
                let Ok(latents) = config.latents(frames) else { continue };
                assert_eq!(config.frames(latents).unwrap(), frames);
            }
        }
    }

    #[test]
    fn a_slice_sees_the_latents_beside_it_and_never_the_image() {
        let slice = VaeConfig::preset("v3").unwrap();
        let seen = |latents| -> Vec<[usize; 3]> {
            let passes = slice.decoder_passes(latents).unwrap();
            passes.iter().map(|pass| [pass.before, pass.latents, pass.after]).collect()
        };
        assert_eq!(seen(1), [[0, 1, 0]]);
        assert_eq!(seen(7), [[0, 1, 0], [0, 2, 2], [2, 2, 2], [2, 2, 0]]);
        assert_eq!(seen(4), [[0, 2, 2], [2, 2, 0]]);
    }
}
