//! Asking a run to stop: politely first, at once the second time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

/// Shared between the signal handler, the engine and whoever waits inside a native library.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    level: Arc<AtomicU8>,
    now: Arc<AtomicBool>,
}

impl Stop {
    /// Take no new units; finish and commit what is in flight.
    pub fn drain(&self) {
        self.level.fetch_max(1, Ordering::SeqCst);
    }

    /// Leave at once; units in flight are abandoned (they were not committed and will be redone).
    pub fn now(&self) {
        self.level.store(2, Ordering::SeqCst);
        self.now.store(true, Ordering::SeqCst);
    }

    /// Whether the run takes no new units.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.level.load(Ordering::SeqCst) >= 1
    }

    /// Whether units in flight are to be abandoned.
    #[must_use]
    pub fn is_now(&self) -> bool {
        self.now.load(Ordering::SeqCst)
    }

    /// The flag behind [`Stop::is_now`], for interrupting calls into native libraries.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.now)
    }
}
