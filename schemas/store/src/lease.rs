//! Who is working on the table.
//!
//! A run holds a [`Lease`] from before it stages its first file until it ends. It is a file,
//! `_runs/<run>/LEASE`, that says who holds it, and a lock on that file, that says whether the
//! holder still lives. The lock disappears with its process, so a crashed run never delays its
//! rerun on the same machine. A machine elsewhere may not see the lock (not every network file
//! system passes locks on), so it also looks at the file's age: the holder touches it every ten
//! seconds, and after a minute without a touch the lease is dead for everybody.
//!
//! Two machines are the same when the kernel's boot id is: containers have made-up host names.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    process,
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Layout, Result, RunDir, StoreError,
    error::{At as _, gone_is_fine},
    gate::Gate,
};

/// How often a holder touches its lease.
const BEAT: Duration = Duration::from_secs(10);

/// How old the last touch may be before other machines take the holder for dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The run.
    pub run: String,
    /// Its process.
    pub pid: u32,
    /// Its host, for people.
    pub host: String,
    /// The boot id of its kernel; empty where there is none.
    pub boot: String,
    /// When it began, in seconds since the Unix epoch.
    pub started: u64,
}

/// The right to stage files, held until dropped.
#[derive(Debug)]
pub struct Lease {
    dir: RunDir,
    _file: File,
    _gate: Gate,
    stop: Option<SyncSender<()>>,
    beat: Option<JoinHandle<()>>,
}

impl Lease {
    /// Takes the lease of a run, making the run's folders. The run id must be new or its former
    /// holder dead.
    ///
    /// # Errors
    /// [`StoreError::LeaseLive`] when the run is alive, [`StoreError::Busy`] while garbage is
    /// collected, [`StoreError::RunId`] for a bad id.
    pub async fn acquire(out: &Path, run: &str) -> Result<Self> {
        let layout = Layout::new(out)?;
        let dir = layout.run(run)?;
        let gate = Gate::shared(&layout).await?;
        for folder in [dir.receipts(), dir.spool()] {
            fs::create_dir_all(&folder).at("create", &folder)?;
        }
        if let Some(holder) = holder(&dir)? {
            return Err(live(&layout, holder));
        }
        let info = LeaseInfo {
            run: run.to_owned(),
            pid: process::id(),
            host: host(),
            boot: boot(),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        };
        let file = publish(&dir, &info)?;
        let (stop, beat) = heart(&dir, &file)?;
        Ok(Self { dir, _file: file, _gate: gate, stop: Some(stop), beat: Some(beat) })
    }

    /// The run's folder.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &str {
        self.dir.id()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(beat) = self.beat.take()
            && beat.join().is_err()
        {
            tracing::warn!(run = self.dir.id(), "the lease's heartbeat panicked");
        }
        if let Err(error) = gone_is_fine(fs::remove_file(self.dir.lease())) {
            tracing::warn!(run = self.dir.id(), %error, "could not remove the lease; it is unlocked anyway");
        }
    }
}

/// Writes and locks the lease under another name first, so that it appears whole and locked.
fn publish(dir: &RunDir, info: &LeaseInfo) -> Result<File> {
    let draft = dir.path().join(format!("LEASE.{}", Uuid::new_v4().simple()));
    let mut file = File::create_new(&draft).at("create", &draft)?;
    let text = serde_json::to_string(info).map_err(std::io::Error::from).at("write", &draft)?;
    file.write_all(text.as_bytes()).at("write", &draft)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error).at("lock", &draft),
        Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { path: draft }),
    }
    fs::rename(&draft, dir.lease()).at("rename", &draft)?;
    Ok(file)
}

/// Starts the thread that touches the lease. A thread and not a task: it must go on beating when
/// the runtime is busy.
fn heart(dir: &RunDir, file: &File) -> Result<(SyncSender<()>, JoinHandle<()>)> {
    let path = dir.lease();
    let file = file.try_clone().at("duplicate", &path)?;
    let (stop, stopped) = sync_channel::<()>(0);
    let thread_path = path.clone();
    let beat = thread::Builder::new()
        .name("curate-lease".to_owned())
        .spawn(move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = file.set_modified(SystemTime::now()) {
                    tracing::warn!(path = %thread_path.display(), %error, "could not touch the lease");
                }
            }
        })
        .at("start a heartbeat for", &path)?;
    Ok((stop, beat))
}

/// Every run that is alive, this process's included.
///
/// # Errors
/// When a lease cannot be examined.
pub fn live_leases(out: &Path) -> Result<Vec<LeaseInfo>> {
    let layout = Layout::new(out)?;
    let mut alive = Vec::new();
    for run in layout.all_runs()? {
        alive.extend(holder(&run)?);
    }
    Ok(alive)
}

/// The living holder of a run's lease.
pub(crate) fn holder(dir: &RunDir) -> Result<Option<LeaseInfo>> {
    let path = dir.lease();
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", &path)?,
    };
    let unreadable = || LeaseInfo {
        run: dir.id().to_owned(),
        pid: 0,
        host: "an unknown host".to_owned(),
        boot: String::new(),
        started: 0,
    };
    let text = fs::read_to_string(&path).unwrap_or_default();
    let info: LeaseInfo = serde_json::from_str(&text).unwrap_or_else(|_unreadable| unreadable());
    // Shared, so that two processes that look at the same moment do not see each other.
    let locked = match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error).at("examine the lock of", &path),
    };
    let here = !info.boot.is_empty() && info.boot == boot();
    let touched = file.metadata().and_then(|meta| meta.modified()).at("examine", &path)?;
    let fresh = touched.elapsed().map_or(true, |age| age < DEAD_AFTER);
    Ok((locked || (!here && fresh)).then_some(info))
}

/// The error that names a living run.
pub(crate) fn live(layout: &Layout, holder: LeaseInfo) -> StoreError {
    StoreError::LeaseLive {
        out: layout.out().to_owned(),
        run: holder.run,
        pid: holder.pid,
        host: holder.host,
    }
}

fn host() -> String {
    first_line("/proc/sys/kernel/hostname").unwrap_or_else(|| "an unnamed host".to_owned())
}

fn boot() -> String {
    first_line("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(PathBuf::from(path)).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_lives_exactly_as_long_as_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let lease = Lease::acquire(dir.path(), "run-1").await.unwrap();
        let alive = live_leases(dir.path()).unwrap();
        assert_eq!((alive.len(), alive[0].run.as_str()), (1, "run-1"));
        assert_eq!(alive[0].pid, process::id());
        let second = Lease::acquire(dir.path(), "run-1").await.unwrap_err();
        assert!(second.to_string().contains("run-1"), "{second}");
        drop(lease);
        assert_eq!(live_leases(dir.path()).unwrap(), []);
        Lease::acquire(dir.path(), "run-1").await.unwrap();
    }

    /// What a killed process leaves: the file, without its lock.
    fn dead_lease(dir: &RunDir, boot: String) -> File {
        fs::create_dir_all(dir.path()).unwrap();
        let info = LeaseInfo {
            run: dir.id().to_owned(),
            pid: 1,
            host: "elsewhere".to_owned(),
            boot,
            started: 0,
        };
        fs::write(dir.lease(), serde_json::to_string(&info).unwrap()).unwrap();
        File::options().append(true).open(dir.lease()).unwrap()
    }

    #[test]
    fn a_dead_process_here_is_dead_at_once_and_elsewhere_after_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let run = Layout::new(dir.path()).unwrap().run("dead").unwrap();
        dead_lease(&run, boot());
        assert_eq!(holder(&run).unwrap(), None);
        let file = dead_lease(&run, "another boot".to_owned());
        assert_eq!(holder(&run).unwrap().unwrap().host, "elsewhere");
        file.set_modified(SystemTime::now() - DEAD_AFTER).unwrap();
        assert_eq!(holder(&run).unwrap(), None);
    }
}
