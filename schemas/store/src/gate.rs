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
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Layout, Pending, Result, Store, StoreError, error::At as _};

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
        Self::wait(layout, layout.gate(), File::try_lock_shared, PATIENCE).await
    }

    /// Enters alone.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when writers do not leave within `patience`.
    pub(crate) async fn exclusive(layout: &Layout, patience: Duration) -> Result<Self> {
        Self::wait(layout, layout.gate(), File::try_lock, patience).await
    }

    async fn wait(
        layout: &Layout,
        path: PathBuf,
        lock: fn(&File) -> Result<(), TryLockError>,
        patience: Duration,
    ) -> Result<Self> {
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

/// How long to wait for others that decide over the whole table.
const TURN_PATIENCE: Duration = Duration::from_secs(600);

/// The right to decide something over the whole table, such as which clips are copies of which, held
/// until dropped. Who has it reads what all earlier holders have written; commits go on meanwhile.
#[derive(Debug)]
pub struct Turn {
    _gate: Gate,
}

impl Turn {
    /// The turn to merge while others may be merging, which nobody waits for.
    pub(crate) async fn to_merge(layout: &Layout) -> Result<Option<Self>> {
        match Gate::wait(layout, layout.merging(), File::try_lock, Duration::ZERO).await {
            Ok(gate) => Ok(Some(Self { _gate: gate })),
            Err(StoreError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Waits for the turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when others do not finish in ten minutes.
    pub fn turn(&self) -> Pending<'_, Turn> {
        Box::pin(async move {
            let path = self.layout().turn();
            let gate = Gate::wait(self.layout(), path, File::try_lock, TURN_PATIENCE).await?;
            Ok(Turn { _gate: gate })
        })
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
