//! The lock between writers and garbage collection.
//!
//! A file that was staged and not yet committed looks exactly like garbage. Lance therefore waits
//! seven days before it deletes one; we want the space back at once, and so need to know that
//! nobody is in between. Every writer holds `_runs/GATE` shared while that is so (a run: for its
//! whole life, through its [`crate::Lease`]), and garbage collection holds it exclusively.
//!
//! An advisory lock rather than a file that says "locked": the system drops it with the process,
//! however the process ends. Writers never wait for each other here.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use crate::{Layout, Result, StoreError, error::At as _};

/// How long to wait for the other side. Garbage collection is short next to this, and so is
/// everything a writer does outside a lease.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to look again.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    _file: File,
}

impl Gate {
    /// Enters as a writer. Any number of writers may be inside.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when garbage collection does not end in time.
    pub(crate) async fn shared(layout: &Layout) -> Result<Self> {
        Self::wait(layout, File::try_lock_shared, PATIENCE).await
    }

    /// Enters alone.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when writers do not leave within `patience`.
    pub(crate) async fn exclusive(layout: &Layout, patience: Duration) -> Result<Self> {
        Self::wait(layout, File::try_lock, patience).await
    }

    async fn wait(
        layout: &Layout,
        lock: fn(&File) -> Result<(), TryLockError>,
        patience: Duration,
    ) -> Result<Self> {
        let path = layout.gate();
        let file = open(layout, &path)?;
        let deadline = Instant::now() + patience;
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::Busy { path });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn open(layout: &Layout, path: &Path) -> Result<File> {
    let runs = layout.runs();
    fs::create_dir_all(&runs).at("create", &runs)?;
    OpenOptions::new().create(true).append(true).open(path).at("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writers_share_and_the_collector_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        let first = Gate::shared(&layout).await.unwrap();
        let second = Gate::shared(&layout).await.unwrap();
        let busy = Gate::exclusive(&layout, Duration::ZERO).await.unwrap_err();
        assert!(matches!(busy, StoreError::Busy { .. }));
        drop((first, second));
        Gate::exclusive(&layout, Duration::ZERO).await.unwrap();
    }
}
