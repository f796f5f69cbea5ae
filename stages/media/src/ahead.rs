//! Decoding on a thread of its own, just ahead of whoever looks at the frames.
//!
//! A codec of one thread stands still while the caller measures the frame before. Fed from here
//! it goes on, and both take a core. A codec with threads of its own works ahead without help:
//! there another thread would only be one more to wake for every frame, so none is started. Only
//! [`AHEAD`] frames wait: a frame may be a hundred megabytes, and more of them only push each other
//! out of the processor's caches.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use crate::{DecodeOptions, Decoder, Frame, MediaError, SourceInfo, Stats};

/// Frames that are decoded before they are asked for.
const AHEAD: usize = 1;

/// A [`Decoder`] that works ahead of its caller. Dropping it ends its thread.
#[derive(Debug)]
pub struct DecodeAhead {
    info: SourceInfo,
    feed: Feed,
}

#[derive(Debug)]
enum Feed {
    /// The codec has threads of its own.
    Here(Box<Decoder>),
    Thread {
        /// None once the thread is to end.
        frames: Option<Receiver<Result<Frame, MediaError>>>,
        thread: Option<JoinHandle<Stats>>,
    },
}

impl DecodeAhead {
    /// Opens a file and begins to decode it.
    ///
    /// # Errors
    /// Those of [`Decoder::open`], and `memory` if there can be no thread.
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Self, MediaError> {
        let decoder = Decoder::open(path, options)?;
        let info = decoder.info().clone();
        if decoder.works_ahead() {
            return Ok(Self { info, feed: Feed::Here(Box::new(decoder)) });
        }
        let (sender, frames) = sync_channel(AHEAD);
        let thread = Builder::new()
            .name("decode".to_owned())
            .spawn(move || feed(decoder, &sender))
            .map_err(|_error| MediaError::Memory { during: "starting a thread" })?;
        Ok(Self { info, feed: Feed::Thread { frames: Some(frames), thread: Some(thread) } })
    }

    /// What the file is.
    #[must_use]
    pub fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// The next frame in presentation order, or `None` at the end.
    ///
    /// # Errors
    /// Those of [`Decoder::next_frame`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        match &mut self.feed {
            Feed::Here(decoder) => decoder.next_frame(),
            // The sender is gone after the last frame and after an error.
            Feed::Thread { frames, .. } => {
                frames.as_ref().and_then(|frames| frames.recv().ok()).transpose()
            }
        }
    }

    /// Stops decoding; what it came to. Whole after [`next_frame`](Self::next_frame) gave `None`.
    ///
    /// # Panics
    /// When the decoder did.
    #[must_use]
    pub fn finish(mut self) -> Stats {
        match &mut self.feed {
            Feed::Here(decoder) => decoder.stats(),
            Feed::Thread { frames, thread } => {
                *frames = None;
                match thread.take().map(JoinHandle::join) {
                    Some(Ok(stats)) => stats,
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                    None => Stats::default(),
                }
            }
        }
    }
}

impl Drop for DecodeAhead {
    fn drop(&mut self) {
        if let Feed::Thread { frames, thread } = &mut self.feed {
            *frames = None;
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::debug!("a decoder panicked while it was given up");
            }
        }
    }
}

/// Decodes until the end, an error, or until nobody listens.
fn feed(mut decoder: Decoder, frames: &SyncSender<Result<Frame, MediaError>>) -> Stats {
    while let Some(next) = decoder.next_frame().transpose() {
        let is_last = next.is_err();
        if frames.send(next).is_err() || is_last {
            break;
        }
    }
    decoder.stats()
}
