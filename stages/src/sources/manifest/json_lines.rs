//! JSON lines: one object per line. Rows are numbered by their lines, blank ones included.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use serde_json::Value;

use super::{Columns, Fields, ManifestError, RawRows, RowError};

/// How many lines are looked at to learn the columns: objects may leave some out.
const LOOK_AT: usize = 100;

/// A line longer than this is refused instead of being read into memory.
const MAX_LINE_BYTES: u64 = 16 << 20;

pub(super) fn columns(path: &Path) -> Result<Vec<String>, ManifestError> {
    let mut columns = BTreeSet::new();
    let mut first_fault = None;
    for (number, line) in Lines::open(path)?.take(LOOK_AT) {
        match line {
            Ok(object) => columns.extend(object.into_iter().map(|(name, _)| name)),
            // Reported with its number when the rows are read, if there are any.
            Err(RowError::Bad(message)) => {
                first_fault.get_or_insert(format!("line {number}: {message}"));
            }
            Err(RowError::Broken(message)) => return Err(io::Error::other(message).into()),
        }
    }
    if let (true, Some(fault)) = (columns.is_empty(), first_fault) {
        return Err(io::Error::other(fault).into());
    }
    Ok(columns.into_iter().collect())
}

pub(super) fn rows(path: &Path, columns: Columns) -> Result<RawRows, ManifestError> {
    Ok(Box::new(Lines::open(path)?.map(move |(number, line)| {
        (number, line.and_then(|object| Fields::from_object(object, &columns)))
    })))
}

struct Lines {
    reader: BufReader<File>,
    number: u64,
    finished: bool,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), number: 0, finished: false })
    }

    /// The next line; `None` at the end. A line that is too long is passed over.
    fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, RowError>>> {
        let mut line = Vec::new();
        let length = (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        if length as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n')?;
            let message = format!("the line is longer than {} MiB", MAX_LINE_BYTES >> 20);
            return Ok(Some(Err(RowError::Bad(message))));
        }
        if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        Ok(Some(Ok(line)))
    }
}

impl Iterator for Lines {
    type Item = (u64, Result<serde_json::Map<String, Value>, RowError>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let line = match self.line() {
                Ok(Some(Ok(line))) => line,
                Ok(Some(Err(error))) => return Some((self.number, Err(error))),
                Ok(None) => break,
                Err(error) => {
                    self.finished = true;
                    return Some((self.number + 1, Err(RowError::Broken(error.to_string()))));
                }
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Ok(text) = str::from_utf8(&line) else {
                let message = "the line is not UTF-8 text".to_owned();
                return Some((self.number, Err(RowError::Bad(message))));
            };
            let object = match serde_json::from_str(text) {
                Ok(Value::Object(object)) => Ok(object),
                Ok(other) => Err(RowError::Bad(format!(
                    "the line holds {} where an object is meant",
                    super::kind(&other)
                ))),
                // The error's own line number counts within the line.
                Err(error) => Err(RowError::Bad(format!(
                    "not JSON at column {}: {}",
                    error.column(),
                    error.to_string().split(" at line ").next().unwrap_or_default()
                ))),
            };
            return Some((self.number, object));
        }
        None
    }
}
