//! Interlaced pictures: two fields, taken one after the other, woven into one frame. Looked at as
//! they are, everything that moves has combs for edges, which sharpness, text and flow take for
//! detail.
//!
//! FFmpeg's `bwdif` makes one frame of the two fields of each, so times and numbers of frames stay
//! as they are, and leaves frames alone that the stream does not call interlaced. It looks at the
//! frame before and the one after; the first of a stretch has none before it.

use std::collections::VecDeque;

use crate::{Frame, Interlaced, MediaError, filter::Chain};

const DEINTERLACE: &str = "bwdif=mode=send_frame:parity=auto:deint=interlaced";

/// Frames on their way through the deinterlacer.
pub(crate) struct Fields {
    policy: Interlaced,
    chain: Option<Chain>,
    /// Frames that are in the chain.
    inside: VecDeque<Frame>,
    ready: VecDeque<Frame>,
    has_ended: bool,
}

impl Fields {
    pub(crate) fn new(policy: Interlaced) -> Self {
        let (inside, ready) = (VecDeque::new(), VecDeque::new());
        Self { policy, chain: None, inside, ready, has_ended: false }
    }

    /// The next frame that is ready.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// Whether [`end`](Self::end) was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes a frame in.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), MediaError> {
        let is_interlaced = frame.av().interlaced_frame != 0;
        if is_interlaced && self.policy == Interlaced::Refuse {
            return Err(MediaError::Interlaced);
        }
        if self.chain.as_ref().is_some_and(|chain| !chain.takes(frame.av())) {
            self.flush()?;
        }
        if self.chain.is_none() {
            if !is_interlaced || self.policy == Interlaced::Keep {
                self.ready.push_back(frame);
                return Ok(());
            }
            let about = (frame.time_base, frame.pixel_aspect);
            self.chain = Some(Chain::new(frame.av(), about, DEINTERLACE)?);
        }
        if let Some(chain) = &mut self.chain {
            chain.push(Some(frame.owner()))?;
        }
        self.inside.push_back(frame);
        self.take()
    }

    /// There are no more frames.
    pub(crate) fn end(&mut self) -> Result<(), MediaError> {
        self.has_ended = true;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), MediaError> {
        if let Some(chain) = &mut self.chain {
            chain.push(None)?;
            self.take()?;
            self.chain = None;
        }
        Ok(())
    }

    /// What comes out is what went in, in the same order, with other pixels.
    fn take(&mut self) -> Result<(), MediaError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        while let Some(pixels) = chain.pull()? {
            if let Some(frame) = self.inside.pop_front() {
                self.ready.push_back(frame.with_pixels(pixels));
            }
        }
        Ok(())
    }
}
