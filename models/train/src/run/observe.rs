//! What a loop tells whoever started it, and how it is asked to stop.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Point;

/// Sees a run go on. All methods but one may be left out.
pub trait Observer {
    /// A step was made, of `steps` in all.
    fn step(&mut self, point: &Point, steps: u64);

    /// Something worth a line: what the run is, a note on what is left out, a held-out loss.
    fn note(&mut self, _text: &str) {}

    /// A file was written.
    fn wrote(&mut self, _path: &Path) {}
}

/// A flag that asks a loop to save and end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that signal handlers set.
    #[must_use]
    pub const fn of(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After its last step.
    Complete,
    /// After this step, because it was asked to; the same command goes on.
    Stopped(u64),
}
