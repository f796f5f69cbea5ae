//! CSV and TSV manifests. Paths are taken as bytes, so names that are not UTF-8 work; other
//! columns become JSON strings, and must be text.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt as _,
    path::Path,
};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Value;

use super::{Columns, Fields, ManifestError, RawRows, RowError, to_json};

fn reader(path: &Path, delimiter: u8) -> Result<Reader<CountQuotes<File>>, ManifestError> {
    // Flexible: a ragged row is reported under its number instead of ending the reading.
    let file = CountQuotes { inner: File::open(path)?, quotes: 0, ended: false };
    Ok(ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file))
}

fn header(reader: &mut Reader<CountQuotes<File>>) -> Result<Vec<String>, ManifestError> {
    let header = reader.byte_headers()?.iter();
    let names = header.map(|name| String::from_utf8(name.to_vec()));
    names.collect::<Result<_, _>>().map_err(|_bad| ManifestError::NotUtf8)
}

pub(super) fn columns(path: &Path, delimiter: u8) -> Result<Vec<String>, ManifestError> {
    let columns = header(&mut reader(path, delimiter)?)?;
    let mut sorted = columns.clone();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ManifestError::TwiceTheSame(pair[0].clone())),
        None => Ok(columns),
    }
}

pub(super) fn rows(path: &Path, delimiter: u8, columns: Columns) -> Result<RawRows, ManifestError> {
    let mut reader = reader(path, delimiter)?;
    let names = header(&mut reader)?;
    Ok(Box::new(CsvRows { reader, names, columns, row: 0, finished: false }))
}

struct CsvRows {
    reader: Reader<CountQuotes<File>>,
    names: Vec<String>,
    columns: Columns,
    row: u64,
    finished: bool,
}

impl Iterator for CsvRows {
    type Item = (u64, Result<Fields, RowError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let mut record = ByteRecord::new();
        self.row += 1;
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => {
                let fields = self.fields(&record);
                Some((self.row, fields))
            }
            Ok(false) => None,
            Err(error) => {
                self.finished = true;
                Some((self.row, Err(RowError::Broken(error.to_string()))))
            }
        }
    }
}

impl CsvRows {
    fn fields(&self, record: &ByteRecord) -> Result<Fields, RowError> {
        let line = record.position().map_or(0, csv::Position::line);
        // A quote that is never closed makes one row of everything after it, in silence. It
        // shows in a row that ends where the file does: an odd number of quotes up to there, and
        // line ends within.
        let file = self.reader.get_ref();
        if file.ended && file.quotes % 2 == 1 && record.iter().any(|field| field.contains(&b'\n')) {
            return Err(RowError::Bad(format!(
                "line {line} opens a quote that is never closed, and the rest of the file is in it"
            )));
        }
        if record.len() != self.names.len() {
            return Err(RowError::Bad(format!(
                "line {line} has {} fields where the header has {}",
                record.len(),
                self.names.len()
            )));
        }
        let mut fields = Fields::default();
        let mut extra = BTreeMap::new();
        for (name, field) in self.names.iter().zip(record) {
            if *name == self.columns.uri {
                fields.path = Some(OsString::from_vec(field.to_vec()));
                continue;
            }
            let text = String::from_utf8(field.to_vec()).map_err(|_bad| {
                RowError::Bad(format!("line {line} is not UTF-8 text in its column `{name}`"))
            })?;
            if Some(name) == self.columns.caption.as_ref() {
                fields.caption = Some(text);
            } else {
                extra.insert(name.clone(), Value::String(text));
            }
        }
        fields.extra = to_json(&extra);
        Ok(fields)
    }
}

/// Counts the quotes that go by, and sees the end.
struct CountQuotes<R> {
    inner: R,
    quotes: u64,
    ended: bool,
}

impl<R: Read> Read for CountQuotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.ended |= length == 0;
        self.quotes += buffer[..length].iter().filter(|byte| **byte == b'"').count() as u64;
        Ok(length)
    }
}
