//! Which columns of a manifest mean what, and why a manifest cannot be used.

use std::io;

use thiserror::Error;

use curate_pipeline::suggest::closest;

use super::super::InputConfig;

const URI_COLUMNS: &[&str] =
    &["video", "path", "file", "url", "source", "uri", "filepath", "video_path", "file_path"];
const CAPTION_COLUMNS: &[&str] = &["caption", "text", "description", "prompt", "name"];

/// Why a manifest cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its header is not CSV.
    #[error("is not CSV: {0}")]
    Csv(#[from] ::csv::Error),
    /// It is not Parquet.
    #[error("is not Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// Its header is in another encoding.
    #[error("is not UTF-8 text in line 1, its header: save it as UTF-8")]
    NotUtf8,
    /// It has neither header nor rows.
    #[error("is empty")]
    Empty,
    /// None of its columns has one of the usual names for a path.
    #[error("no column is known to hold the path: it has {}; set `input.uri_column` to the right \
             one", list(.0))]
    NoPathColumn(Vec<String>),
    /// The configuration names a column that it does not have.
    #[error("there is no column `{name}` for `input.{key}`: it has {}{hint}", list(columns))]
    NoSuchColumn {
        /// `uri_column` or `caption_column`.
        key: &'static str,
        /// The name given.
        name: String,
        /// The columns there are.
        columns: Vec<String>,
        /// What may have been meant; empty or `; ...`.
        hint: String,
    },
    /// Two columns have the same name.
    #[error("two columns are called `{0}`: rename one")]
    TwiceTheSame(String),
    /// The path or caption is stored as bytes.
    #[error("column `{0}` holds bytes, not text: write it as a string")]
    Bytes(String),
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The columns that mean something.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) uri: String,
    pub(super) caption: Option<String>,
}

impl Columns {
    /// From the configuration, or by their usual names.
    pub(super) fn choose(
        columns: Vec<String>,
        config: &InputConfig,
    ) -> Result<Self, ManifestError> {
        if columns.is_empty() {
            return Err(ManifestError::Empty);
        }
        let given = |key: &'static str, name: &String| {
            let hint = || {
                let nearest = closest(name, columns.iter().map(String::as_str));
                nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
            };
            let found = columns.iter().find(|column| *column == name).cloned();
            found.ok_or_else(|| ManifestError::NoSuchColumn {
                key,
                name: name.clone(),
                columns: columns.clone(),
                hint: hint(),
            })
        };
        let usual = |names: &[&str], taken: Option<&String>| {
            let is = |column: &&String, name: &str| {
                column.trim().eq_ignore_ascii_case(name) && Some(*column) != taken
            };
            names.iter().find_map(|name| columns.iter().find(|column| is(column, name)).cloned())
        };
        let caption = match &config.caption_column {
            Some(name) => Some(given("caption_column", name)?),
            None => None,
        };
        let uri = match &config.uri_column {
            Some(name) => given("uri_column", name)?,
            None => match usual(URI_COLUMNS, caption.as_ref()) {
                Some(name) => name,
                None => return Err(ManifestError::NoPathColumn(columns)),
            },
        };
        let caption = caption.or_else(|| usual(CAPTION_COLUMNS, Some(&uri)));
        Ok(Self { uri, caption })
    }
}
