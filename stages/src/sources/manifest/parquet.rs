//! Parquet manifests, read in small batches and turned into JSON objects by Arrow.
//!
//! Columns of raw bytes (embedded images, whole videos) are left out: what travels along is
//! text, and a batch of them would not be bounded.

use std::{fs::File, path::Path, vec};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
    json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited},
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use serde_json::Value;

use super::{Columns, Fields, ManifestError, RawRows, RowError};

const ROWS_PER_BATCH: usize = 256;

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, ManifestError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?)
}

fn is_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        DataType::Struct(fields) => fields.iter().any(|field| is_bytes(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => is_bytes(field.data_type()),
        DataType::Dictionary(_, values) => is_bytes(values),
        _ => false,
    }
}

pub(super) fn columns(path: &Path) -> Result<Vec<String>, ManifestError> {
    let builder = builder(path)?;
    Ok(builder.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Whether path and caption are text.
pub(super) fn check(path: &Path, columns: &Columns) -> Result<(), ManifestError> {
    let builder = builder(path)?;
    let schema: &Schema = builder.schema();
    for name in [Some(&columns.uri), columns.caption.as_ref()].into_iter().flatten() {
        if schema.field_with_name(name).is_ok_and(|field| is_bytes(field.data_type())) {
            return Err(ManifestError::Bytes(name.clone()));
        }
    }
    Ok(())
}

pub(super) fn rows(path: &Path, columns: Columns) -> Result<RawRows, ManifestError> {
    let builder = builder(path)?;
    let fields = builder.schema().fields().iter().enumerate();
    let text = fields.filter(|(_, field)| !is_bytes(field.data_type())).map(|(index, _)| index);
    let mask = ProjectionMask::roots(builder.parquet_schema(), text);
    let reader = builder.with_projection(mask).with_batch_size(ROWS_PER_BATCH).build()?;
    Ok(Box::new(ParquetRows {
        reader,
        columns,
        batch: Vec::new().into_iter(),
        row: 0,
        finished: false,
    }))
}

struct ParquetRows {
    reader: ParquetRecordBatchReader,
    columns: Columns,
    batch: vec::IntoIter<Value>,
    row: u64,
    finished: bool,
}

impl Iterator for ParquetRows {
    type Item = (u64, Result<Fields, RowError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(value) = self.batch.next() {
                self.row += 1;
                let Value::Object(object) = value else { continue };
                return Some((self.row, Fields::from_object(object, &self.columns)));
            }
            if self.finished {
                return None;
            }
            let objects = match self.reader.next()? {
                Ok(batch) => to_objects(&batch),
                Err(error) => Err(error.to_string()),
            };
            match objects {
                Ok(objects) => self.batch = objects.into_iter(),
                Err(message) => {
                    self.finished = true;
                    return Some((self.row + 1, Err(RowError::Broken(message))));
                }
            }
        }
    }
}

fn to_objects(batch: &RecordBatch) -> Result<Vec<Value>, String> {
    let mut writer: LineDelimitedWriter<Vec<u8>> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    serde_json::Deserializer::from_slice(&writer.into_inner())
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}
