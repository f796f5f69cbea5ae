//! Sources: which videos a run reads, and what each one is called.
//!
//! Paths, folders, globs and manifests become one stream of [`Listing`]s. Everything about the
//! configuration is checked in [`open`], all problems together; what can only be found while
//! looking (a dangling link, a folder that cannot be read, a bad line of a manifest) is a
//! listing of its own, so that nothing is lost without a word.
//!
//! The stream is lazy and its order is fixed: `paths` as written but manifests first, names of a folder by their
//! bytes, rows of a manifest as they stand. Memory holds the names of the folders being walked
//! and 16 bytes for every source and folder seen (what it takes to list a file once), never the
//! list itself. Sorting a folder costs reading all of its names before the first is given; the
//! alternative, the file system's own order, would differ from machine to machine.

mod check;
mod config;
mod files;
mod glob;
mod listing;
mod manifest;
pub mod uri;

#[cfg(test)]
mod tests;

use std::{fmt, io, path::Path, path::PathBuf};

use curate_schemas::{Micros, SourceId};
use thiserror::Error;

pub use self::{
    config::{IMAGE_EXTENSIONS, IdFrom, InputConfig, Problem, SourceConfigError, VIDEO_EXTENSIONS},
    listing::{Sources, open},
    manifest::ManifestError,
};

/// One video to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Canonical `file://` URI: absolute, links resolved, bytes outside a small safe set escaped.
    pub uri: String,
    /// Where to open it: the path as it was found, its name (and so its extension) untouched.
    pub path: PathBuf,
    /// What names it in the table.
    pub id: SourceId,
    /// Size.
    pub bytes: u64,
    /// When it was last changed, where the file system tells. Recorded, not part of the id.
    pub mtime: Option<Micros>,
    /// The caption that came with it in a manifest.
    pub caption: Option<String>,
    /// The manifest's other columns as a JSON object with sorted keys.
    pub extra: Option<String>,
}

/// What became of one thing that the input names.
#[derive(Clone, Debug, PartialEq)]
pub enum Listing {
    /// A video to read.
    Source(Source),
    /// Left aside on purpose. To be counted, not an error.
    Skipped {
        /// What was left aside: a file or folder, or the manifest for one of its rows.
        path: PathBuf,
        /// Why.
        reason: Skip,
    },
    /// Meant to be read, but cannot be.
    Failed(Failure),
}

/// Why something was left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Skip {
    /// In a folder, with a name that does not end like a video's.
    OtherType,
    /// The same file was listed before: by another path, through a link, in another row; with
    /// ids from content, also another file with the same bytes.
    Duplicate,
    /// A folder whose files were listed before: reached again through a link, or a cycle.
    VisitedFolder,
    /// In the output folder.
    InsideOutput,
    /// In a folder, with a name that begins with a dot.
    Hidden,
    /// A folder in a folder, and `recursive` is off.
    Subfolder,
    /// A row of a manifest whose path is empty, null or absent.
    RowWithoutPath {
        /// The row (of JSON lines: the line), counted from 1.
        row: u64,
    },
}

impl Skip {
    /// A stable word for logs and counters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OtherType => "other_type",
            Self::Duplicate => "duplicate",
            Self::VisitedFolder => "visited_folder",
            Self::InsideOutput => "inside_output",
            Self::Hidden => "hidden",
            Self::Subfolder => "subfolder",
            Self::RowWithoutPath { .. } => "row_without_path",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherType => "not a video by its name",
            Self::Duplicate => "listed before",
            Self::VisitedFolder => "a folder whose files were listed before",
            Self::InsideOutput => "in the output folder",
            Self::Hidden => "hidden (its name begins with a dot)",
            Self::Subfolder => "a folder in a folder, and `input.recursive` is off",
            Self::RowWithoutPath { row } => return write!(f, "row {row} names no file"),
        })
    }
}

/// Something that was meant to be read and cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// Names it in the ledger: the URI that the file will have when it can be read. A row of a manifest
    /// is the manifest's URI with `#row=7`.
    pub uri: String,
    /// The file, or the manifest whose row is at fault.
    pub path: PathBuf,
    /// What kind of fault.
    pub kind: FailureKind,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// The id under which the failure is recorded: of its place alone, as there is no file.
    #[must_use]
    pub fn id(&self) -> SourceId {
        SourceId::from_location(&self.uri, 0, None)
    }

    fn new(path: &Path, kind: FailureKind, message: String) -> Self {
        // As the file's own URI will be, so that what is recorded of it now is found when it is there.
        let uri = uri::from_path(&files::canonical_place(path));
        Self { uri, path: path.to_owned(), kind, message }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        if let Ok(target) = path.read_link()
            && error.kind() == io::ErrorKind::NotFound
        {
            let message = format!(
                "`{shown}` is a link to `{}`, where nothing is: restore the file or remove the link",
                target.display()
            );
            return Self::new(path, FailureKind::DanglingLink, message);
        }
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                let message = format!("`{shown}` does not exist: check the path");
                Self::new(path, FailureKind::Missing, message)
            }
            _ => {
                let message = format!("cannot read `{shown}`: {error}; check its permissions");
                Self::new(path, FailureKind::Unreadable, message)
            }
        }
    }
}

/// What kind of fault kept a source from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// Nothing is there.
    Missing,
    /// A symbolic link to nothing.
    DanglingLink,
    /// The operating system refused to list or open it, or a manifest broke off while read.
    Unreadable,
    /// A folder, pipe, socket or device where a file is meant.
    NotAFile,
    /// A place that `curate` cannot read from, such as a URL.
    Unsupported,
    /// A row of a manifest that cannot be understood.
    BadRow,
}

impl FailureKind {
    /// The stable word that is stored in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::DanglingLink => "dangling_link",
            Self::Unreadable => "unreadable",
            Self::NotAFile => "not_a_file",
            Self::Unsupported => "unsupported",
            Self::BadRow => "bad_row",
        }
    }
}
