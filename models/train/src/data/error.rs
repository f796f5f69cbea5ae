//! Why data cannot be read. A clip that cannot be is no error of the loader's: it is counted, and
//! another takes its place.

use std::{io, path::PathBuf};

use curate_media::MediaError;
use curate_schemas::batch::BatchError;
use curate_store::StoreError;

/// Why data cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The configuration is wrong.
    #[error("{}", .problems.join("; "))]
    Config {
        /// Everything that is wrong, each with its key.
        problems: Vec<String>,
    },
    /// The table cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to train on.
    #[error(
        "no row of version {version} of {} is of use with `where = \"{filter}\"`{}; `curate buckets` shows \
         what is dropped and why", .table.display(), reasons(.unusable)
    )]
    NoRows {
        /// The table.
        table: PathBuf,
        /// The version.
        version: u64,
        /// The filter.
        filter: String,
        /// How many rows passed the filter and cannot be used, by reason.
        unusable: Vec<(String, u64)>,
    },
    /// Only images or only videos are of use, and both were asked for.
    #[error(
        "data.image_share is {share}, but no {lacking} passes `where` and is of use; `curate buckets` \
         shows why, or leave image_share away"
    )]
    OneKind {
        /// The share.
        share: f64,
        /// What there is none of.
        lacking: &'static str,
    },
    /// A loader's state is of other rows or other settings.
    #[error(
        "the run cannot go on where it was: {what} not as it was when it began; put it back, or begin \
         a new run"
    )]
    Changed {
        /// What differs.
        what: String,
    },
    /// No clip can be read any more.
    #[error(
        "{batches} batches in a row had no clip that can be read, the last {clip_id}: {reason}; look \
         at it with `curate extract`"
    )]
    AllFailed {
        /// How many batches.
        batches: u64,
        /// The last clip that was tried.
        clip_id: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// What was made does not fit the table's columns, which is a fault of this program.
    #[error("what was made does not fit the table: {0}; please report this")]
    Rows(#[from] BatchError),
    /// Batches cannot be put together, usually for want of memory.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread that reads data: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The threads that read data are gone, which is a fault of this program.
    #[error("the threads that read data have ended; please report this")]
    Ended,
    /// A file that says how something is encoded cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataError {
    /// Whether the user's file or arguments are at fault, so that running again changes nothing.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::NoRows { .. }
            | Self::OneKind { .. }
            | Self::Changed { .. }
            | Self::Read { .. } => true,
            // A filter that is wrong is told by the table.
            Self::Store(_) => true,
            _ => false,
        }
    }
}

/// Why one clip cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipFault {
    /// The table cannot be read there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is another clip's, or gone.
    #[error("the row is another clip's")]
    OtherRow,
    /// The row has no bytes.
    #[error("the row has no bytes")]
    NoBytes,
    /// The clip cannot be decoded.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The clip has fewer frames than its row says.
    #[error("frame {wanted} is not there, the clip has {found}")]
    Short {
        /// The frame that was wanted.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Its bytes cannot be put into a file for the decoder.
    #[error("cannot write a file for the decoder: {0}")]
    Scratch(#[from] io::Error),
    /// What is cached does not fit its key.
    #[error("the cached {what} have {found} bytes, their key says {expected}")]
    Cached {
        /// Latents or embeddings.
        what: &'static str,
        /// Bytes in the row.
        found: usize,
        /// Bytes by the key.
        expected: usize,
    },
    /// Reading it panicked.
    #[error("a fault of this program: {what}")]
    Panic {
        /// What it said.
        what: String,
    },
}

fn reasons(unusable: &[(String, u64)]) -> String {
    let list: Vec<String> = unusable.iter().map(|(why, rows)| format!("{rows} {why}")).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}
