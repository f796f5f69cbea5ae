//! Where things are inside the output folder.
//!
//! Nothing of ours lies inside the two Lance folders: Lance's clean-up owns those trees.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Result, StoreError, error::At as _};

/// Paths inside an output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    out: PathBuf,
}

impl Layout {
    /// The layout of an output folder, which need not exist.
    ///
    /// # Errors
    /// When the current folder is needed to make the path absolute and cannot be read.
    pub fn new(out: &Path) -> Result<Self> {
        Ok(Self { out: std::path::absolute(out).at("resolve", out)? })
    }

    /// The output folder, absolute.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// The dataset of clips.
    #[must_use]
    pub fn clips(&self) -> PathBuf {
        self.out.join("clips.lance")
    }

    /// The dataset of units.
    #[must_use]
    pub fn units(&self) -> PathBuf {
        self.out.join("units.lance")
    }

    /// The folder of all runs.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.out.join("_runs")
    }

    /// The lock that keeps garbage collection and writers apart.
    pub(crate) fn gate(&self) -> PathBuf {
        self.runs().join("GATE")
    }

    /// The lock of whoever decides over the whole table.
    pub(crate) fn turn(&self) -> PathBuf {
        self.runs().join("TURN")
    }

    /// The lock of whoever merges fragments while runs go on.
    pub(crate) fn merging(&self) -> PathBuf {
        self.runs().join("MERGING")
    }

    /// A run's folder, which need not exist.
    ///
    /// # Errors
    /// [`StoreError::RunId`] when `run` cannot be the name of a folder.
    pub fn run(&self, run: &str) -> Result<RunDir> {
        let valid = (1..=100).contains(&run.len())
            && !run.starts_with('.')
            && run.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if valid {
            Ok(RunDir { path: self.runs().join(run), id: run.to_owned() })
        } else {
            Err(StoreError::RunId { run: run.to_owned() })
        }
    }

    /// Every run that has a folder, in order of name.
    ///
    /// # Errors
    /// When the folder cannot be read; that there is none yet is not an error.
    pub fn all_runs(&self) -> Result<Vec<RunDir>> {
        let mut runs = Vec::new();
        for entry in entries(&self.runs())? {
            if let Some(name) = entry.file_name().and_then(|name| name.to_str())
                && entry.is_dir()
                && let Ok(run) = self.run(name)
            {
                runs.push(run);
            }
        }
        Ok(runs)
    }
}

/// One run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    id: String,
}

impl RunDir {
    /// The run.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says who is working, while somebody is.
    #[must_use]
    pub fn lease(&self) -> PathBuf {
        self.path.join("LEASE")
    }

    /// Receipts of staged work that is not yet in both tables.
    #[must_use]
    pub fn receipts(&self) -> PathBuf {
        self.path.join("receipts")
    }

    /// Scratch space of the run; deleted when the run is dead.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// The run's event log.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The run's plan.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// The receipts that are there now, in order of name.
    ///
    /// # Errors
    /// When the folder cannot be read; that there is none is not an error.
    pub fn receipt_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = entries(&self.receipts())?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        Ok(files)
    }
}

/// What is in a folder, sorted; nothing when there is no such folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", folder)?,
    };
    let paths =
        listing.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.at("list", folder)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_cannot_leave_the_runs_folder() {
        let layout = Layout::new(Path::new("/tmp/out")).unwrap();
        for bad in ["", "..", "a/b", ".new-1", "a b", "ü"] {
            assert!(matches!(layout.run(bad), Err(StoreError::RunId { .. })), "{bad}");
        }
        assert_eq!(
            layout.run("20250101-1a").unwrap().path(),
            Path::new("/tmp/out/_runs/20250101-1a")
        );
    }
}
