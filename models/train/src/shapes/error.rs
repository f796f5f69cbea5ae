//! What can go wrong with sets of shapes and with judging them.

use std::path::{Path, PathBuf};

use curate_media::MediaError;

/// Why a set was not written, or clips not judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapesError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A clip cannot be encoded or decoded.
    #[error("{}: {source}", .path.display())]
    Media {
        /// The clip.
        path: PathBuf,
        /// The reason.
        source: MediaError,
    },
    /// Pictures cannot be worked on.
    #[error(transparent)]
    Pictures(#[from] MediaError),
    /// A setting makes no sense.
    #[error("{key}: {problem}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The folder holds another set.
    #[error("{} lists other clips: give another folder, or delete this one", .0.display())]
    OtherSet(PathBuf),
    /// A line of a file of prompts is wrong.
    #[error("{} line {line}: {problem}", .path.display())]
    Prompt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The clips in a folder are not those of the prompts.
    #[error("{}: {problem}", .path.display())]
    Clips {
        /// The clip, or its folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl ShapesError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn media(path: &Path) -> impl Fn(MediaError) -> Self {
        let path = path.to_owned();
        move |source| Self::Media { path: path.clone(), source }
    }

    /// Whether what the user gave is at fault, so that trying again changes nothing.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        use std::io::ErrorKind as Kind;
        match self {
            Self::Setting { .. } | Self::OtherSet(_) | Self::Prompt { .. } | Self::Clips { .. } => {
                true
            }
            // Another file was meant.
            Self::Io { source, .. } => matches!(source.kind(), Kind::NotFound | Kind::IsADirectory),
            _ => false,
        }
    }
}
