//! The `[input]` table of a configuration, and what can be wrong with it.

use std::{io, path::PathBuf};

use curate_pipeline::{Interlaced, Reading};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::manifest::ManifestError;

/// What a folder's files must end in to be read, unless `input.extensions` says otherwise.
pub const VIDEO_EXTENSIONS: &[&str] = &[
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "mts", "m2ts", "flv", "3gp", "3g2", "mpg",
    "mpeg", "wmv", "ogv", "mxf", "vob", "y4m", "h264", "hevc", "ivf", "gif", "apng",
];

/// What a folder's still pictures end in, which `input.images` adds. A `webp` is read without it
/// too if it is animated.
pub const IMAGE_EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp"];

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InputConfig {
    /// Files, folders, globs and manifests (`.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet`), in
    /// the order in which they are read, but manifests first; also `file://` URIs. Relative to this file's folder.
    /// A file named here is always tried, whatever its extension. Globs know `*`, `?`, `[..]` and
    /// `**`, but not braces.
    pub paths: Vec<String>,
    /// Whether folders are walked with their subfolders (the default).
    pub recursive: bool,
    /// What a source's id is made of: `"location"` (its place and size: fast) or `"content"`
    /// (its bytes: the same wherever it lies, but every run reads every file to list it).
    pub id: IdFrom,
    /// Which files of a folder are videos, by their extensions (case does not matter).
    /// Default: the common video extensions.
    pub extensions: Option<Vec<String>>,
    /// Whether the still pictures of a folder are read too, each as a clip of one frame. One that
    /// is named in `paths` or in a manifest always is.
    pub images: bool,
    /// The manifest column with the path. Default: the first of `video`, `path`, `file`, `url`,
    /// `source`, `uri`, `filepath`, `video_path`, `file_path` that a manifest has.
    pub uri_column: Option<String>,
    /// The manifest column with the caption. Default: the first of `caption`, `text`,
    /// `description`, `prompt`, `name` that a manifest has, or none.
    pub caption_column: Option<String>,
    /// The folder to which paths in a manifest are relative. Default: the manifest's own.
    pub base: Option<String>,
    /// Which video track is read, counted from 0 and without cover art. Default: the best one
    /// (decodable, marked as default, largest).
    pub track: Option<u32>,
    /// What becomes of interlaced video: `"deinterlace"`, `"refuse"` or `"keep"`.
    pub interlaced: Interlaced,
}

impl InputConfig {
    /// How sources are read.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading { track: self.track, interlaced: self.interlaced }
    }
}

impl Default for InputConfig {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            recursive: true,
            id: IdFrom::default(),
            extensions: None,
            images: false,
            uri_column: None,
            caption_column: None,
            base: None,
            track: None,
            interlaced: Interlaced::default(),
        }
    }
}

/// What a source's id is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdFrom {
    /// Canonical URI and size.
    #[default]
    Location,
    /// The hash of its bytes.
    Content,
}

/// A problem with the `[input]` table: which key, and what is wrong with it.
///
/// The messages are whole in themselves: there is no chain of causes to print after them.
#[derive(Debug, Error)]
#[error("`{key}`: {problem}")]
pub struct SourceConfigError {
    /// The key, such as `input.paths[2]`.
    pub key: String,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

/// What can be wrong with the `[input]` table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is nothing to read.
    #[error("no paths are given: name files, folders, globs or manifests")]
    NoPaths,
    /// An empty text where a path should be.
    #[error("an empty path: name a file, a folder or a pattern (`.` is the recipe's folder)")]
    Empty,
    /// Nothing is at a path.
    #[error("nothing is at `{}`{hint}", looked_at.display())]
    Missing {
        /// The absolute path that was tried.
        looked_at: PathBuf,
        /// What may have been meant; empty or `; ...`.
        hint: String,
    },
    /// The operating system refused.
    #[error("cannot look at `{}`: {error}; check its permissions", path.display())]
    Unreadable {
        /// What was looked at.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A URL.
    #[error("`{0}` is not on this machine: download it first, remote sources are not read yet")]
    Remote(String),
    /// A glob with a syntax error.
    #[error("`{pattern}` is not a pattern: {error}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        error: ::glob::PatternError,
    },
    /// A glob without a match.
    #[error("`{pattern}` matches nothing{hint}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// What may have been meant; empty or `; ...`.
        hint: String,
    },
    /// An input in the output folder.
    #[error(
        "`{}` lies in the output folder `{}`, whose contents are never read: put the output \
         somewhere else",
        path.display(), output.display()
    )]
    InsideOutput {
        /// The input.
        path: PathBuf,
        /// The output folder.
        output: PathBuf,
    },
    /// A list of rows in a form that is not read.
    #[error("`{}` is not a form of manifest that is read: use CSV, JSON lines (one object per \
             line, `.jsonl`) or Parquet", .0.display())]
    ManifestForm(PathBuf),
    /// A manifest that cannot be used.
    #[error("manifest `{}`: {error}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// `input.base` is not a folder.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// `input.extensions` has something else in it.
    #[error("`{0}` is not an extension: write it like \"mp4\"")]
    Extension(String),
}
