//! The tables' columns as Lance stores them, and batches in that form.
//!
//! Two things differ from the Arrow schema in which rows travel. The clip's bytes become a blob
//! (format v2): small ones lie in the data file, larger ones packed together beside it, very large
//! ones in a file of their own, so that reading captions never reads video. And the ledger's key
//! is declared as Lance's "unenforced primary key", without which two processes that insert the
//! same unit at once both succeed.
//!
//! `clips` declares no such key: its commits bring their own exact filter, and a declared key
//! would make every later column rewrite carry a filter over another column, which Lance must
//! treat as a conflict with each commit.

use std::{num::NonZeroUsize, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, StructArray, new_null_array},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use curate_schemas::{
    Clip, Kind, Table,
    batch::{self, BatchError},
    columns::{CLIPS, VIDEO},
    units::{UNIT_ID, UNITS},
};
use lance::{BlobFieldOptions, Dataset, blob_field_with_options};

/// Blobs up to this size lie in the data file: fewer than a page read apart.
const INLINE_BYTES: usize = 16 << 10;

/// Blobs above this size get a file of their own; those between are packed. Clips of a few
/// seconds are packed, so a table has thousands of clips per file and not millions of files.
const DEDICATED_BYTES: NonZeroUsize = match NonZeroUsize::new(8 << 20) {
    Some(bytes) => bytes,
    None => NonZeroUsize::MIN,
};

/// Declares a column as the key by which concurrent inserts are compared.
const KEY: &str = "lance-schema:unenforced-primary-key";

/// The schema under which Lance stores a table.
pub(crate) fn lance_schema(table: &'static Table) -> SchemaRef {
    let fields = table.columns.iter().map(|spec| match spec.kind {
        Kind::Blob => {
            let options = BlobFieldOptions::default()
                .with_inline_size_threshold(INLINE_BYTES)
                .with_dedicated_size_threshold(DEDICATED_BYTES);
            blob_field_with_options(spec.name, !spec.required, options)
        }
        _ if std::ptr::eq(table, &UNITS) && spec.name == UNIT_ID.name() => {
            spec.field().with_metadata([(KEY.to_owned(), "true".to_owned())].into())
        }
        _ => spec.field(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

/// The names of a table's columns that are read with the row, in order.
pub(crate) fn plain_columns(table: &'static Table) -> Vec<&'static str> {
    let is_plain = |kind| !matches!(kind, Kind::Blob | Kind::Large);
    table.columns.iter().filter(|spec| is_plain(spec.kind)).map(|spec| spec.name).collect()
}

/// Those of some columns that a version has: one written by an earlier `curate` may lack the newest.
pub(crate) fn known<'a>(dataset: &Dataset, columns: &[&'a str]) -> Vec<&'a str> {
    columns.iter().copied().filter(|name| dataset.schema().field(name).is_some()).collect()
}

/// Clips as a batch for Lance. The bytes are moved into place, not copied again: a batch of clips
/// is the largest thing a run holds.
pub(crate) fn clip_batch(schema: &SchemaRef, clips: &[Clip]) -> Result<RecordBatch, BatchError> {
    let plain = batch::from_rows(&CLIPS, clips.iter().map(Clip::row))?;
    let rows = plain.num_rows();
    let mut columns = plain.columns().to_vec();
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        if field.name() == VIDEO.name() {
            *column = blob_array(field.data_type(), column)?;
        }
    }
    Ok(batch::record_batch(Arc::clone(schema), columns, rows)?)
}

/// Bytes in the form in which Lance takes blobs: a struct of the bytes or the URI they lie at.
fn blob_array(blob: &DataType, bytes: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = blob else {
        return Err(ArrowError::SchemaError(format!("a blob is a struct, not {blob}")));
    };
    let children = fields.iter().map(|field| {
        if field.data_type() == bytes.data_type() {
            Arc::clone(bytes)
        } else {
            new_null_array(field.data_type(), bytes.len())
        }
    });
    let array = StructArray::try_new(fields.clone(), children.collect(), bytes.nulls().cloned())?;
    Ok(Arc::new(array))
}
