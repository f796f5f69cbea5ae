//! Everything that can go wrong with the table, and what a person can do about it.
//!
//! Lance's errors name source lines of Lance; a user needs the table's path and the next step. So
//! every Lance call goes through [`At`], which adds what was being done and to which path.

use std::{
    io,
    path::{Path, PathBuf},
};

use curate_schemas::{IdError, UnitId, batch::BatchError};
use datafusion::error::DataFusionError;
use futures::future::BoxFuture;
use thiserror::Error;

/// The crate's result.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What every call into the table returns: a boxed future, not an `async fn`.
///
/// The compiler generates an `async fn` where it is awaited, and with it everything it awaits: each
/// program that calls this crate would compile Lance's futures again (two minutes, measured). A
/// boxed future is compiled here, once.
pub type Pending<'a, T> = BoxFuture<'a, Result<T>>;

/// Any error that can travel between threads.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with the table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no table.
    #[error("there is no table in `{}`: `curate run` creates it", out.display())]
    NotFound {
        /// Where it was looked for.
        out: PathBuf,
    },
    /// What lies in a table's place is none.
    #[error("`{}` is no table: move it away, or name another output folder", path.display())]
    NotATable {
        /// The path.
        path: PathBuf,
    },
    /// The table has no such version.
    #[error(
        "`{}` has no version {version} (`curate gc` keeps only the newest): leave the version away \
         to read the latest", path.display()
    )]
    NoVersion {
        /// The dataset.
        path: PathBuf,
        /// The version asked for.
        version: u64,
    },
    /// The table has no such tag.
    #[error(
        "`{}` has no version `{tag}`; {}", path.display(),
        if known.is_empty() { "it has no tags".to_owned() } else { format!("its tags: {}", known.join(", ")) }
    )]
    NoTag {
        /// The dataset.
        path: PathBuf,
        /// The tag asked for.
        tag: String,
        /// The tags that there are, sorted.
        known: Vec<String>,
    },
    /// A name that cannot be a tag.
    #[error(
        "`{tag}` cannot be a tag: letters, digits, `.`, `-` and `_` can, a number alone is a version"
    )]
    BadTag {
        /// The name.
        tag: String,
    },
    /// The table was made by a `curate` whose columns differ.
    #[error(
        "`{}` has table schema {found}, this `curate` has {expected}: use the `curate` that made \
         the table, or another output folder", path.display()
    )]
    SchemaVersion {
        /// The dataset.
        path: PathBuf,
        /// The table's schema version.
        found: u32,
        /// The schema version of this build.
        expected: u32,
    },
    /// The dataset does not say how it was made.
    #[error(
        "`{}` has no readable `{key}` in its metadata, so `curate` did not make it: name another \
         output folder", path.display()
    )]
    Meta {
        /// The dataset.
        path: PathBuf,
        /// The missing or unreadable key.
        key: &'static str,
        /// Why it is unreadable; `None` when it is missing.
        source: Option<serde_json::Error>,
    },
    /// A path that Lance cannot express.
    #[error("`{}` is not UTF-8, which Lance requires: rename the folder", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`: {}, then run the same command again", path.display(), remedy(source.kind()))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A Lance operation failed.
    #[error(
        "cannot {action} `{}`: what was committed is safe, so {} and run the same command again",
        path.display(), remedy(kind_of(source.as_ref()))
    )]
    Lance {
        /// What was being done.
        action: &'static str,
        /// To which dataset.
        path: PathBuf,
        /// What Lance said.
        source: Box<lance::Error>,
    },
    /// The caller's rows ended with an error.
    #[error("the clips for `{}` could not be read to their end; none of them was staged", path.display())]
    Rows {
        /// The dataset.
        path: PathBuf,
        /// The caller's error.
        source: BoxError,
    },
    /// Rows and columns that do not fit together.
    #[error("rows of `{}` do not fit the table's columns", path.display())]
    Batch {
        /// The dataset.
        path: PathBuf,
        /// Where they do not fit.
        source: BatchError,
    },
    /// An id in the table that `curate` cannot have written.
    #[error("`{}` holds an id that `curate` did not write; delete that row or the table", path.display())]
    BadId {
        /// The dataset.
        path: PathBuf,
        /// The id.
        source: IdError,
    },
    /// The ledger rows of a receipt do not agree with its clips.
    #[error(
        "unit {unit} has {staged} staged clips, but its ledger row says {ledger}: the caller must \
         hand over exactly one row for every unit, with its number of clips"
    )]
    Mismatch {
        /// The unit.
        unit: UnitId,
        /// Clips that were staged.
        staged: usize,
        /// Clips its ledger row counts; -1 when there is no row or more than one.
        ledger: i64,
    },
    /// A receipt that cannot be read.
    #[error("`{}` is not a receipt of this `curate`: delete it, its units are then computed again", path.display())]
    Receipt {
        /// The receipt.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// A staged file is not there any more.
    #[error(
        "the staged file `{}` is gone or cut short: delete the receipt `{}`, its units are then \
         computed again", path.display(), receipt.display()
    )]
    StagedFileGone {
        /// The file.
        path: PathBuf,
        /// The receipt that names it.
        receipt: PathBuf,
    },
    /// Other writers won every time.
    #[error("gave up on `{}` after {attempts} conflicts with other writers: run the same command again", path.display())]
    Contention {
        /// The dataset.
        path: PathBuf,
        /// How often it was tried.
        attempts: u32,
    },
    /// A run is working on the table.
    #[error(
        "run `{run}` (process {pid} on {host}) is working on `{}`: wait for it or stop it, then try \
         again", out.display()
    )]
    LeaseLive {
        /// The table.
        out: PathBuf,
        /// The run.
        run: String,
        /// Its process.
        pid: u32,
        /// Its host.
        host: String,
    },
    /// Something short, such as a commit or `curate gc`, holds the table and does not let go.
    #[error("another process holds `{}`: wait for it (`curate gc` or a writer), then try again", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A run id that cannot be the name of a folder.
    #[error(
        "`{run}` cannot name a run: use 1 to 100 ASCII letters, digits, `-`, `_` or `.`, not starting with `.`"
    )]
    RunId {
        /// The id.
        run: String,
    },
    /// The user's SQL, or its execution.
    #[error("the query failed: {sql}")]
    Sql {
        /// The query.
        sql: String,
        /// What DataFusion said.
        source: Box<DataFusionError>,
    },
}

impl StoreError {
    /// Whether the system does not let this user write (or read) there, so that trying again changes
    /// nothing.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            Self::Lance { source, .. } => kind_of(source.as_ref()),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// What a person can do about an error of the file system.
#[must_use]
pub fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::StorageFull | Kind::QuotaExceeded => "make room on its disk",
        Kind::PermissionDenied => "give this user the right to write there",
        Kind::ReadOnlyFilesystem => "have its disk mounted so that it can be written",
        _ => "remove the cause",
    }
}

/// The kind of the error of the file system that an error goes back to.
fn kind_of(error: &(dyn std::error::Error + 'static)) -> io::ErrorKind {
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() != io::ErrorKind::Other => return error.kind(),
            // What such an error holds is not its source, whose turn would come next.
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    io::ErrorKind::Other
}

// Every call returns it, so it must not grow unnoticed.
const _: () = assert!(size_of::<StoreError>() <= 96);

/// Adds what was being done, and to which path, to a foreign error.
pub(crate) trait At<T> {
    /// Turns the error into a [`StoreError`].
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for lance::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::Lance {
            action,
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}

impl<T> At<T> for Result<T, BatchError> {
    fn at(self, _action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::Batch { path: path.to_owned(), source })
    }
}

impl<T> At<T> for Result<T, IdError> {
    fn at(self, _action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StoreError::BadId { path: path.to_owned(), source })
    }
}

/// Treats "there is no such file" as success: another process got there first.
pub(crate) fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_by_lances_errors_too() {
        let path = Path::new("/out/clips.lance");
        for (kind, words) in [
            (
                io::ErrorKind::StorageFull,
                "`/out/clips.lance`: what was committed is safe, so make room",
            ),
            (io::ErrorKind::PermissionDenied, "give this user the right"),
            (io::ErrorKind::BrokenPipe, "remove the cause"),
        ] {
            let deep = io::Error::other(io::Error::from(kind));
            let lance: lance::Result<()> = Err(lance::Error::io_source(Box::new(deep)));
            let error = lance.at("write clips to", path).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.is_forbidden(), kind == io::ErrorKind::PermissionDenied);
        }
    }
}
