//! Encoding and decoding piece by piece: frames go in as they come, latents come out as they are
//! ready, or the other way round. Memory is that of a slice, whatever the length of the video.
//!
//! Each direction is a [`Session`]: pieces are pushed, results are handed back. [`Stream`] makes an
//! iterator of a session and an iterator. The number of frames must be known before the first: an
//! odd one begins with an image.

use std::{collections::VecDeque, sync::Arc};

use candle_core::Tensor;

use super::{
    SliceVae, VaeError,
    carry::Carry,
    conv::Time,
    decoder::View,
    recompute,
    slices::{DecoderPass, EncoderPass},
};

/// Something that takes a video in pieces and hands back what is ready.
pub trait Session {
    /// Takes the next piece, `[B, C, T, H, W]` of any `T`, and gives what it completes, in order.
    ///
    /// # Errors
    /// When the piece does not fit, or is more than was announced; the session is then over.
    fn push(&mut self, piece: &Tensor) -> Result<Vec<Tensor>, VaeError>;

    /// Says that there is no more.
    ///
    /// # Errors
    /// When less came than was announced.
    fn finish(&mut self) -> Result<Vec<Tensor>, VaeError>;
}

/// What has come and is still needed.
#[derive(Debug)]
struct Queue {
    what: &'static str,
    announced: usize,
    came: usize,
    /// The first frame of `pieces`, counted from that of the video.
    first: usize,
    pieces: VecDeque<Tensor>,
}

impl Queue {
    const fn new(what: &'static str, announced: usize) -> Self {
        Self { what, announced, came: 0, first: 0, pieces: VecDeque::new() }
    }

    fn push(&mut self, piece: &Tensor) -> Result<(), VaeError> {
        self.came += piece.dim(2)?;
        self.pieces.push_back(piece.clone());
        if self.came > self.announced { Err(self.count()) } else { Ok(()) }
    }

    fn finish(&self) -> Result<(), VaeError> {
        if self.came == self.announced { Ok(()) } else { Err(self.count()) }
    }

    fn count(&self) -> VaeError {
        VaeError::Count { what: self.what, announced: self.announced, came: self.came }
    }

    /// Some frames, all of which have come and none of which was dropped.
    fn take(&self, start: usize, count: usize) -> Result<Tensor, VaeError> {
        let (mut parts, mut at) = (Vec::new(), self.first);
        for piece in &self.pieces {
            let length = piece.dim(2)?;
            let (from, to) = (start.max(at), (start + count).min(at + length));
            if from < to {
                parts.push(piece.narrow(2, from - at, to - from)?);
            }
            at += length;
        }
        Ok(Tensor::cat(&parts, 2)?)
    }

    /// Drops pieces that lie before a frame.
    fn drop_before(&mut self, frame: usize) -> Result<(), VaeError> {
        while let Some(piece) = self.pieces.front() {
            let length = piece.dim(2)?;
            if self.first + length > frame {
                break;
            }
            self.first += length;
            self.pieces.pop_front();
        }
        Ok(())
    }
}

/// One [`Carry`] for each tile.
#[derive(Debug, Default)]
pub(super) struct Carries(Vec<Carry>);

impl Carries {
    /// That of the tile with this number.
    fn of(&mut self, tile: usize) -> &mut Carry {
        if self.0.len() <= tile {
            self.0.resize_with(tile + 1, Carry::new);
        }
        &mut self.0[tile]
    }
}

/// Frames to moments.
#[derive(Debug)]
pub struct Encoding<'v> {
    vae: &'v SliceVae,
    passes: VecDeque<EncoderPass>,
    frames: Queue,
    done: usize,
    carries: Carries,
}

impl<'v> Encoding<'v> {
    pub(super) fn new(vae: &'v SliceVae, frames: usize) -> Result<Self, VaeError> {
        let passes = vae.config().encoder_passes(frames)?.into();
        let queue = Queue::new("frames", frames);
        Ok(Self { vae, passes, frames: queue, done: 0, carries: Carries::default() })
    }
}

impl Session for Encoding<'_> {
    fn push(&mut self, piece: &Tensor) -> Result<Vec<Tensor>, VaeError> {
        self.vae.check_frames(piece)?;
        self.frames.push(piece)?;
        let mut ready = Vec::new();
        while let Some(pass) = self.passes.front().copied() {
            if self.done + pass.frames > self.frames.came {
                break;
            }
            let x = self.frames.take(self.done, pass.frames)?;
            self.done += pass.frames;
            self.frames.drop_before(self.done)?;
            let carries = &mut self.carries;
            let moments = self.vae.encoder_tiles().run(&x, |tile, x| {
                let encoder = Arc::clone(&self.vae.encoder);
                let carry = carries.of(tile);
                recompute::pass(
                    self.vae.recompute.as_ref(),
                    x,
                    (pass.span, carry),
                    move |x, time| encoder.forward(x, time),
                )
            })?;
            ready.push(moments);
            self.passes.pop_front();
        }
        Ok(ready)
    }

    fn finish(&mut self) -> Result<Vec<Tensor>, VaeError> {
        self.frames.finish().map(|()| Vec::new())
    }
}

/// Latents to frames.
#[derive(Debug)]
pub struct Decoding<'v> {
    vae: &'v SliceVae,
    passes: VecDeque<DecoderPass>,
    latents: Queue,
    done: usize,
    carries: Carries,
}

impl<'v> Decoding<'v> {
    pub(super) fn new(vae: &'v SliceVae, latents: usize) -> Result<Self, VaeError> {
        let passes = vae.config().decoder_passes(latents)?.into();
        let queue = Queue::new("latents", latents);
        Ok(Self { vae, passes, latents: queue, done: 0, carries: Carries::default() })
    }
}

impl Session for Decoding<'_> {
    fn push(&mut self, piece: &Tensor) -> Result<Vec<Tensor>, VaeError> {
        self.vae.check_latents(piece)?;
        self.latents.push(piece)?;
        let mut ready = Vec::new();
        while let Some(pass) = self.passes.front().copied() {
            let DecoderPass { before, latents, after, span, .. } = pass;
            if self.done + latents + after > self.latents.came {
                break;
            }
            let z = self.latents.take(self.done - before, before + latents + after)?;
            let view = View { before, count: latents };
            let carries = &mut self.carries;
            let frames = self.vae.decoder_tiles().run(&z, |tile, z| {
                let decoder = Arc::clone(&self.vae.decoder);
                let carry = carries.of(tile);
                let recompute = self.vae.recompute.as_ref();
                let Some(cut) = &self.vae.cut else {
                    return recompute::pass(recompute, z, (span, carry), move |z, time| {
                        decoder.forward(z, view, time)
                    });
                };
                let run = move |z: &Tensor, time: &mut Time<'_>| decoder.features(z, view, time);
                let features = recompute::pass(recompute, z, (span, &mut *carry), run)?;
                self.vae.decoder.last(&cut.at(features)?, &mut span.later(carry))
            })?;
            ready.push(frames);
            self.done += latents;
            self.passes.pop_front();
            let next = self.passes.front().map_or(0, |pass| pass.before);
            self.latents.drop_before(self.done - next)?;
        }
        Ok(ready)
    }

    fn finish(&mut self) -> Result<Vec<Tensor>, VaeError> {
        self.latents.finish().map(|()| Vec::new())
    }
}

/// A session fed from an iterator. Asks for a piece only when nothing is ready. After an error it
/// ends.
#[derive(Debug)]
pub struct Stream<S, I> {
    session: S,
    /// `None` once it has ended.
    pieces: Option<I>,
    ready: VecDeque<Tensor>,
}

impl<S, I> Stream<S, I> {
    pub(super) const fn new(session: S, pieces: I) -> Self {
        Self { session, pieces: Some(pieces), ready: VecDeque::new() }
    }
}

impl<S, I, E> Iterator for Stream<S, I>
where
    S: Session,
    I: Iterator<Item = Result<Tensor, E>>,
    E: From<VaeError>,
{
    type Item = Result<Tensor, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(Ok(ready));
            }
            let more = match self.pieces.as_mut()?.next() {
                Some(Ok(piece)) => self.session.push(&piece).map_err(E::from),
                Some(Err(error)) => Err(error),
                None => {
                    self.pieces = None;
                    self.session.finish().map_err(E::from)
                }
            };
            match more {
                Ok(more) => self.ready.extend(more),
                Err(error) => {
                    self.pieces = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
