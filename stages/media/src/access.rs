//! How a file is opened: which of its tracks, how long a call may take, and how it is stopped from
//! outside.
//!
//! A damaged file or a dead network mount can hold a reader for ever. FFmpeg asks a callback
//! between reads whether to give up; the same test runs between packets here, so a stream of
//! packets that never becomes a frame ends too. The deadline is for progress and not for the
//! whole file: a long video may take hours, a single frame may not. What happens inside one call
//! of a codec cannot be interrupted; that needs a child process.

use std::{
    ffi::{c_int, c_void},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::MediaError;

/// Which track to open, and when to give up; the default takes the best one and never does.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Number of the video track, from 0 in the file's order; cover art does not count. `None`
    /// takes the best one: decodable, more than a still, marked as default, largest, first.
    pub track: Option<u32>,
    /// The longest time without progress: for [`probe`](crate::probe),
    /// [`copy_clip`](crate::copy_clip) and [`Decoder::open`](crate::Decoder::open) the whole
    /// call, for [`Decoder::next_frame`](crate::Decoder::next_frame) one frame, for
    /// [`segments`](crate::segments) one packet.
    pub deadline: Option<Duration>,
    /// Set to true by any thread to stop the call soon.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Access {
    /// The best track, with only a deadline.
    #[must_use]
    pub const fn within(deadline: Duration) -> Self {
        Self { track: None, deadline: Some(deadline), cancel: None }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Whether a file opened in one way is open in the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_cancel = match (&self.cancel, &other.cancel) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_cancel && self.track == other.track && self.deadline == other.deadline
    }
}

/// The running side of [`Access`]: what FFmpeg's interrupt callback looks at.
#[derive(Debug)]
pub(crate) struct Watch {
    access: Access,
    born: Instant,
    /// Microseconds after `born`; the maximum means no deadline.
    until_micros: AtomicU64,
}

impl Watch {
    pub(crate) fn new(access: Access) -> Self {
        let watch = Self { access, born: Instant::now(), until_micros: AtomicU64::new(u64::MAX) };
        watch.arm();
        watch
    }

    /// Starts the deadline again.
    pub(crate) fn arm(&self) {
        let until = self.access.deadline.map_or(u64::MAX, |deadline| {
            u64::try_from((self.born.elapsed() + deadline).as_micros()).unwrap_or(u64::MAX)
        });
        self.until_micros.store(until, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.access.is_cancelled()
    }

    fn is_late(&self) -> bool {
        let until = self.until_micros.load(Ordering::Relaxed);
        until != u64::MAX && self.born.elapsed().as_micros() >= u128::from(until)
    }

    /// The error to return if a limit was reached.
    pub(crate) fn check(&self) -> Result<(), MediaError> {
        if self.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
        if self.is_late() {
            return Err(MediaError::Timeout { after: self.access.deadline.unwrap_or_default() });
        }
        Ok(())
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The value for `AVIOInterruptCB`; `self` must not move while FFmpeg holds it.
    pub(crate) fn callback(self: &Arc<Self>) -> ffmpeg_next::ffi::AVIOInterruptCB {
        ffmpeg_next::ffi::AVIOInterruptCB {
            callback: Some(interrupt),
            opaque: Arc::as_ptr(self).cast_mut().cast(),
        }
    }
}

unsafe extern "C" fn interrupt(opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the `Watch` that the `Input` owning this context keeps alive.
    let watch = unsafe { &*opaque.cast::<Watch>() };
    c_int::from(watch.is_cancelled() || watch.is_late())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_and_is_armed_again() {
        let watch = Watch::new(Access::within(Duration::from_millis(500)));
        assert!(watch.check().is_ok());
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(watch.check().unwrap_err().kind(), "timeout");
        watch.arm();
        assert!(watch.check().is_ok());
    }

    #[test]
    fn cancelling_wins_over_time() {
        let cancel = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(Access {
            deadline: Some(Duration::ZERO),
            cancel: Some(Arc::clone(&cancel)),
            ..Access::default()
        });
        assert_eq!(watch.check().unwrap_err().kind(), "timeout");
        cancel.store(true, Ordering::Relaxed);
        assert_eq!(watch.check().unwrap_err().kind(), "cancelled");
    }
}
