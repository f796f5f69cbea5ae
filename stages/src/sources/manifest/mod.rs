//! Manifests: lists of videos with captions and whatever else is known about them.
//!
//! Three forms share one contract: a column holds the path, another may hold the caption, and
//! the rest travels along as JSON. A row at fault fails alone, under its number; only a file
//! that breaks off ends the reading.

mod columns;
mod csv;
mod json_lines;
mod parquet;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::Value;

use self::columns::Columns;
pub use self::columns::ManifestError;
use super::{
    Failure, FailureKind, InputConfig, files,
    uri::{self, Reference, reference},
};

/// What manifests end in.
pub(super) const EXTENSIONS: &[&str] = &["csv", "tsv", "jsonl", "ndjson", "parquet"];

#[derive(Clone, Copy, Debug)]
enum Form {
    Csv { delimiter: u8 },
    JsonLines,
    Parquet,
}

/// A manifest that has been looked at: it opens, and its columns are known.
pub(super) struct Manifest {
    path: PathBuf,
    form: Form,
    columns: Columns,
    base: PathBuf,
}

impl Manifest {
    /// Opens a manifest by its extension, one of [`EXTENSIONS`].
    pub(super) fn open(
        path: &Path,
        extension: &str,
        config: &InputConfig,
        base: Option<&Path>,
    ) -> Result<Self, ManifestError> {
        let form = match extension {
            "csv" => Form::Csv { delimiter: b',' },
            "tsv" => Form::Csv { delimiter: b'\t' },
            "parquet" => Form::Parquet,
            _ => Form::JsonLines,
        };
        let columns = match form {
            Form::Csv { delimiter } => csv::columns(path, delimiter)?,
            Form::JsonLines => json_lines::columns(path)?,
            Form::Parquet => parquet::columns(path)?,
        };
        let columns = Columns::choose(columns, config)?;
        if let Form::Parquet = form {
            parquet::check(path, &columns)?;
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let base = base.unwrap_or(folder).to_owned();
        Ok(Self { path: path.to_owned(), form, columns, base })
    }

    /// Its rows, in order.
    pub(super) fn rows(self) -> Result<Rows, Failure> {
        let rows = match self.form {
            Form::Csv { delimiter } => csv::rows(&self.path, delimiter, self.columns),
            Form::JsonLines => json_lines::rows(&self.path, self.columns),
            Form::Parquet => parquet::rows(&self.path, self.columns),
        };
        let rows = rows.map_err(|error| {
            let message = format!("manifest `{}` {error}", self.path.display());
            Failure::new(&self.path, FailureKind::Unreadable, message)
        })?;
        Ok(Rows { manifest: self.path, base: self.base, rows })
    }
}

/// The rows of one form: their number, and what they hold or what is wrong.
type RawRows = Box<dyn Iterator<Item = (u64, Result<Fields, RowError>)> + Send>;

/// What a row holds.
#[derive(Debug, Default)]
struct Fields {
    path: Option<OsString>,
    caption: Option<String>,
    extra: Option<String>,
}

/// What is wrong with a row.
#[derive(Debug)]
enum RowError {
    /// This row alone.
    Bad(String),
    /// Nothing after it can be read.
    Broken(String),
}

impl Fields {
    /// From a row as a JSON object.
    fn from_object(
        object: serde_json::Map<String, Value>,
        columns: &Columns,
    ) -> Result<Self, RowError> {
        let mut fields = Self::default();
        let mut extra = BTreeMap::new();
        for (name, mut value) in object {
            if name == columns.uri {
                fields.path = match value {
                    Value::String(text) => Some(text.into()),
                    Value::Null => None,
                    other => {
                        let message = format!("`{name}` holds {}, not a path", kind(&other));
                        return Err(RowError::Bad(message));
                    }
                };
            } else if Some(&name) == columns.caption.as_ref() {
                fields.caption = match value {
                    Value::String(text) => Some(text),
                    // One for each of several spans (Panda-70M).
                    Value::Array(list) => Some(Value::Array(list).to_string()),
                    Value::Null => None,
                    other => {
                        let message = format!("`{name}` holds {}, not a caption", kind(&other));
                        return Err(RowError::Bad(message));
                    }
                };
            } else {
                value.sort_all_objects();
                extra.insert(name, value);
            }
        }
        fields.extra = to_json(&extra);
        Ok(fields)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The other columns as JSON. A `BTreeMap` sorts whatever features `serde_json` is built with.
fn to_json(extra: &BTreeMap<String, Value>) -> Option<String> {
    if extra.is_empty() { None } else { serde_json::to_string(extra).ok() }
}

/// A row, with its path resolved.
pub(super) enum Row {
    File { path: PathBuf, caption: Option<String>, extra: Option<String> },
    NoPath { manifest: PathBuf, row: u64 },
    Failed(Failure),
}

/// The rows of a manifest.
pub(super) struct Rows {
    manifest: PathBuf,
    base: PathBuf,
    rows: RawRows,
}

impl Rows {
    pub(super) fn next(&mut self) -> Option<Row> {
        let (row, content) = self.rows.next()?;
        let fields = match content {
            Ok(fields) => fields,
            Err(RowError::Bad(message)) => {
                let shown = self.manifest.display();
                let message = format!("manifest `{shown}`, row {row}: {message}; correct the row");
                return Some(self.failed(row, FailureKind::BadRow, message));
            }
            Err(RowError::Broken(message)) => {
                let message = format!(
                    "manifest `{}` cannot be read from row {row} on: {message}",
                    self.manifest.display()
                );
                return Some(self.failed(row, FailureKind::Unreadable, message));
            }
        };
        let Fields { path, caption, extra } = fields;
        let Some(text) = path.filter(|text| !text.as_encoded_bytes().trim_ascii().is_empty())
        else {
            return Some(Row::NoPath { manifest: self.manifest.clone(), row });
        };
        let shown = without_secrets(&text.to_string_lossy());
        Some(match reference(text) {
            Reference::Local(path) => {
                let caption = caption.filter(|caption| !caption.trim().is_empty());
                Row::File { path: self.base.join(path), caption, extra }
            }
            Reference::Remote => {
                let message = format!(
                    "`{shown}` (row {row} of `{}`) is not on this machine: download it first, \
                     remote sources are not read yet",
                    self.manifest.display()
                );
                self.failed(row, FailureKind::Unsupported, message)
            }
        })
    }

    fn failed(&self, row: u64, kind: FailureKind, message: String) -> Row {
        let manifest = files::canonical_place(&self.manifest);
        let uri = format!("{}#row={row}", uri::from_path(&manifest));
        Row::Failed(Failure { uri, path: self.manifest.clone(), kind, message })
    }
}

/// A URL without what may be a password or a signature.
fn without_secrets(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, ""), |(place, _)| (place, "?..."));
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() + query };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}{query}")
}
