//! A second pass over decoded frames that hides where slices meet.
//!
//! Slices are decoded one by one, so there may be a step between the last frame of one and the
//! first of the next. The released pipelines encode and decode all but the first and last half slice
//! once more: the grid then lies half a slice later, its steps fall on the middle of slices, and the
//! mean of the two has steps of half the size. It costs as much as decoding and encoding again.
//!
//! Here it is a session behind that of the decoder, so that it needs no more than a few slices of
//! memory either.
//!
//! What is left without the two half slices must be a length that the VAE encodes. With time by eight,
//! 16 frames would leave 8, which are none: such videos stay as they are.

use candle_core::Tensor;

use super::{
    Posterior, SliceVae, VaeError,
    config::Chunking,
    stream::{Decoding, Encoding, Session},
};

/// Decoded frames to smoothed ones.
#[derive(Debug)]
pub struct Smoothing<'v> {
    announced: usize,
    came: usize,
    /// `None` for videos that stay as they are: those of a slice or less, and those whose frames without
    /// a slice cannot be encoded.
    second: Option<Second<'v>>,
}

#[derive(Debug)]
struct Second<'v> {
    encoding: Encoding<'v>,
    decoding: Decoding<'v>,
    /// The frames that are decoded a second time, counted from the first of the video.
    from: usize,
    to: usize,
    /// Frames that wait for what they are averaged with, in order.
    waiting: Vec<Tensor>,
}

impl<'v> Smoothing<'v> {
    pub(super) fn new(vae: &'v SliceVae, frames: usize) -> Result<Self, VaeError> {
        let (Chunking::Slice { frames: slice, .. }
        | Chunking::MagVit { frames: slice, .. }
        | Chunking::Carried { frames: slice, .. }) = vae.config().chunking;
        let middle = frames.saturating_sub(slice);
        let mut second = None;
        // No frames at all are no valid length either.
        if let Ok(latents) = vae.config().latents(middle) {
            let (encoding, decoding) = (vae.encoding(middle)?, vae.decoding(latents)?);
            let (from, to) = (slice / 2, slice / 2 + middle);
            second = Some(Second { encoding, decoding, from, to, waiting: Vec::new() });
        }
        Ok(Self { announced: frames, came: 0, second })
    }

    fn count(&self) -> VaeError {
        VaeError::Count { what: "frames", announced: self.announced, came: self.came }
    }
}

impl Second<'_> {
    /// Takes frames of the first pass that begin with frame `start`.
    fn push(&mut self, piece: &Tensor, start: usize) -> Result<Vec<Tensor>, VaeError> {
        let end = start + piece.dim(2)?;
        let part = |from: usize, to: usize| -> Result<Option<Tensor>, VaeError> {
            let (from, to) = (from.max(start), to.min(end));
            Ok(if from < to { Some(piece.narrow(2, from - start, to - from)?) } else { None })
        };
        let mut ready: Vec<Tensor> = part(0, self.from)?.into_iter().collect();
        if let Some(middle) = part(self.from, self.to)? {
            self.waiting.push(middle.clone());
            for moments in self.encoding.push(&middle)? {
                for second in self.decoding.push(Posterior::new(&moments)?.mode())? {
                    ready.push(self.average(&second)?);
                }
            }
        }
        ready.extend(part(self.to, usize::MAX)?);
        Ok(ready)
    }

    /// The mean of frames and those that wait.
    fn average(&mut self, second: &Tensor) -> Result<Tensor, VaeError> {
        let count = second.dim(2)?;
        let all = Tensor::cat(&self.waiting, 2)?;
        let rest = all.dim(2)? - count;
        self.waiting.clear();
        if rest > 0 {
            self.waiting.push(all.narrow(2, count, rest)?.contiguous()?);
        }
        Ok(((all.narrow(2, 0, count)? + second)? * 0.5)?)
    }
}

impl Session for Smoothing<'_> {
    fn push(&mut self, piece: &Tensor) -> Result<Vec<Tensor>, VaeError> {
        let start = self.came;
        self.came += piece.dim(2)?;
        if self.came > self.announced {
            return Err(self.count());
        }
        match &mut self.second {
            Some(second) => second.push(piece, start),
            None => Ok(vec![piece.clone()]),
        }
    }

    fn finish(&mut self) -> Result<Vec<Tensor>, VaeError> {
        if self.came < self.announced {
            return Err(self.count());
        }
        Ok(Vec::new())
    }
}
