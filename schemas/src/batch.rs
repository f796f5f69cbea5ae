//! Rows to Arrow record batches and back.
//!
//! `RecordBatch::try_new` cannot tell how many rows an empty projection has and does not know
//! which columns a table requires, so batches are only built here (a lint bans it elsewhere).

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BinaryBuilder, BooleanBuilder, FixedSizeListBuilder,
        Float32Builder, Float64Builder, Int32Builder, Int64Builder, LargeBinaryBuilder,
        ListBuilder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
        UInt64Builder,
    },
    datatypes::{
        DataType, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
        TimestampMicrosecondType, UInt64Type,
    },
    error::ArrowError,
};
use thiserror::Error;

use crate::{ColumnSpec, Kind, Row, Table, Value, column::Micros};

/// Rows and columns that do not fit together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A required column has no value.
    #[error("row {row} of `{table}` has no `{column}`, which every row must have")]
    Missing {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Index of the row in the batch.
        row: usize,
    },
    /// A cell holds another type than its column.
    #[error("row {row}: `{column}` holds a value of another type")]
    Type {
        /// The column.
        column: &'static str,
        /// Index of the row in the batch.
        row: usize,
    },
    /// A column has another Arrow type than the table says.
    #[error("column `{column}` is {found}, but the table says {expected}")]
    ColumnType {
        /// The column.
        column: &'static str,
        /// What the batch has.
        found: DataType,
        /// What the table says.
        expected: DataType,
    },
    /// Arrow refused the batch.
    #[error("cannot build the record batch")]
    Arrow(#[from] ArrowError),
}

/// Builds a record batch from columns, keeping the number of rows when there are no columns.
///
/// # Errors
/// When columns and schema do not match.
pub fn record_batch(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new_with_options(
        schema,
        columns,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
}

/// Rows of `table` as one record batch in the table's schema.
///
/// # Errors
/// When a required cell is missing or a cell has the wrong type.
pub fn from_rows<'a>(
    table: &'static Table,
    rows: impl IntoIterator<Item = &'a Row>,
) -> Result<RecordBatch, BatchError> {
    let all: Vec<&str> = table.columns.iter().map(|spec| spec.name).collect();
    from_rows_of(table, &all, rows)
}

/// Some columns of rows of `table` as one record batch, in the table's order.
///
/// # Errors
/// As [`from_rows`].
pub fn from_rows_of<'a>(
    table: &'static Table,
    names: &[&str],
    rows: impl IntoIterator<Item = &'a Row>,
) -> Result<RecordBatch, BatchError> {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let mut columns = Vec::with_capacity(names.len());
    let mut fields = Vec::with_capacity(names.len());
    for (position, spec) in table.columns.iter().enumerate() {
        if !names.contains(&spec.name) {
            continue;
        }
        if spec.required
            && let Some(row) = rows.iter().position(|row| row.cell(position).is_none())
        {
            return Err(BatchError::Missing { table: table.name, column: spec.name, row });
        }
        columns.push(column_array(spec, rows.iter().map(|row| row.cell(position)))?);
        fields.push(spec.field());
    }
    Ok(record_batch(Arc::new(Schema::new(fields)), columns, rows.len())?)
}

fn column_array<'a>(
    spec: &'static ColumnSpec,
    cells: impl ExactSizeIterator<Item = Option<&'a Value>> + Clone,
) -> Result<ArrayRef, BatchError> {
    macro_rules! build {
        ($builder:expr, $variant:ident, $value:ident => $convert:expr) => {{
            let mut builder = $builder;
            for (row, cell) in cells.enumerate() {
                match cell {
                    None => builder.append_null(),
                    Some(Value::$variant($value)) => builder.append_value($convert),
                    Some(_) => return Err(BatchError::Type { column: spec.name, row }),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    Ok(match spec.kind {
        Kind::Utf8 => build!(StringBuilder::new(), Utf8, v => v),
        Kind::Bool => build!(BooleanBuilder::new(), Bool, v => *v),
        Kind::I32 => build!(Int32Builder::new(), I32, v => *v),
        Kind::I64 => build!(Int64Builder::new(), I64, v => *v),
        Kind::U64 => build!(UInt64Builder::new(), U64, v => *v),
        Kind::F32 => build!(Float32Builder::new(), F32, v => *v),
        Kind::F64 => build!(Float64Builder::new(), F64, v => *v),
        Kind::Binary => build!(BinaryBuilder::new(), Bytes, v => v),
        Kind::Blob | Kind::Large => {
            // These hold videos: a builder that doubles as it grows would take twice their size.
            let bytes = cells.clone().flatten().map(|cell| match cell {
                Value::Bytes(bytes) => bytes.len(),
                _ => 0,
            });
            let builder = LargeBinaryBuilder::with_capacity(cells.len(), bytes.sum());
            build!(builder, Bytes, v => v)
        }
        Kind::Timestamp => build!(
            TimestampMicrosecondBuilder::new().with_timezone("UTC"), Timestamp, v => v.0
        ),
        Kind::Utf8List => build!(
            ListBuilder::new(StringBuilder::new()), Utf8List, v => v.iter().map(Some)
        ),
        Kind::Vector(len) => {
            let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), len);
            for (row, cell) in cells.enumerate() {
                match cell {
                    None => {
                        builder.values().append_nulls(len as usize);
                        builder.append(false);
                    }
                    Some(Value::Vector(v)) if v.len() == len as usize => {
                        builder.values().append_slice(v);
                        builder.append(true);
                    }
                    Some(_) => return Err(BatchError::Type { column: spec.name, row }),
                }
            }
            Arc::new(builder.finish())
        }
    })
}

/// Rows of `table` from a record batch. Columns are found by name; those that the batch lacks stay
/// null, and those that the table does not know are left aside.
///
/// # Errors
/// When a column has another type than the table says.
pub fn to_rows(table: &'static Table, batch: &RecordBatch) -> Result<Vec<Row>, BatchError> {
    let mut rows = vec![Row::new(table); batch.num_rows()];
    for (position, spec) in table.columns.iter().enumerate() {
        let Some(array) = batch.column_by_name(spec.name) else { continue };
        let expected = spec.kind.data_type();
        if !array.data_type().equals_datatype(&expected) {
            return Err(BatchError::ColumnType {
                column: spec.name,
                found: array.data_type().clone(),
                expected,
            });
        }
        for (index, row) in rows.iter_mut().enumerate() {
            if array.is_valid(index) {
                row.set_cell(position, Some(cell(spec.kind, array, index)));
            }
        }
    }
    Ok(rows)
}

/// The value at `index` of an array whose type has been checked against `kind`.
fn cell(kind: Kind, array: &ArrayRef, index: usize) -> Value {
    match kind {
        Kind::Utf8 => Value::Utf8(array.as_string::<i32>().value(index).to_owned()),
        Kind::Bool => Value::Bool(array.as_boolean().value(index)),
        Kind::I32 => Value::I32(array.as_primitive::<Int32Type>().value(index)),
        Kind::I64 => Value::I64(array.as_primitive::<Int64Type>().value(index)),
        Kind::U64 => Value::U64(array.as_primitive::<UInt64Type>().value(index)),
        Kind::F32 => Value::F32(array.as_primitive::<Float32Type>().value(index)),
        Kind::F64 => Value::F64(array.as_primitive::<Float64Type>().value(index)),
        Kind::Binary => Value::Bytes(array.as_binary::<i32>().value(index).to_vec()),
        Kind::Blob | Kind::Large => Value::Bytes(array.as_binary::<i64>().value(index).to_vec()),
        Kind::Timestamp => {
            Value::Timestamp(Micros(array.as_primitive::<TimestampMicrosecondType>().value(index)))
        }
        Kind::Utf8List => {
            let words = array.as_list::<i32>().value(index);
            let words = words.as_string::<i32>();
            Value::Utf8List(words.iter().map(|word| word.unwrap_or_default().to_owned()).collect())
        }
        Kind::Vector(_) => {
            let values = array.as_fixed_size_list().value(index);
            Value::Vector(values.as_primitive::<Float32Type>().values().to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::{columns::CLIPS, units::UNITS};

    fn value(kind: Kind) -> BoxedStrategy<Value> {
        match kind {
            Kind::Utf8 => "\\PC{0,12}".prop_map(Value::Utf8).boxed(),
            Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            Kind::I32 => any::<i32>().prop_map(Value::I32).boxed(),
            Kind::I64 => any::<i64>().prop_map(Value::I64).boxed(),
            Kind::U64 => any::<u64>().prop_map(Value::U64).boxed(),
            Kind::F32 => any::<f32>().prop_map(Value::F32).boxed(),
            Kind::F64 => any::<f64>().prop_map(Value::F64).boxed(),
            Kind::Binary | Kind::Blob | Kind::Large => {
                vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed()
            }
            Kind::Timestamp => any::<i64>().prop_map(|t| Value::Timestamp(Micros(t))).boxed(),
            Kind::Utf8List => vec("\\PC{0,6}", 0..4).prop_map(Value::Utf8List).boxed(),
            Kind::Vector(len) => {
                any::<f32>().prop_map(move |v| Value::Vector(vec![v; len as usize])).boxed()
            }
        }
    }

    fn rows(table: &'static Table) -> impl Strategy<Value = Vec<Row>> {
        let row = table
            .columns
            .iter()
            .map(|spec| {
                let value = value(spec.kind);
                if spec.required { value.prop_map(Some).boxed() } else { option::of(value).boxed() }
            })
            .collect::<Vec<_>>()
            .prop_map(move |cells| {
                let mut row = Row::new(table);
                for (position, cell) in cells.into_iter().enumerate() {
                    row.set_cell(position, cell);
                }
                row
            });
        vec(row, 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn clips_survive_the_round_trip(rows in rows(&CLIPS)) {
            let batch = from_rows(&CLIPS, &rows).unwrap();
            prop_assert_eq!(batch.num_rows(), rows.len());
            prop_assert_eq!(to_rows(&CLIPS, &batch).unwrap(), rows);
        }

        #[test]
        fn units_survive_the_round_trip(rows in rows(&UNITS)) {
            let batch = from_rows(&UNITS, &rows).unwrap();
            prop_assert_eq!(to_rows(&UNITS, &batch).unwrap(), rows);
        }
    }

    #[test]
    fn a_missing_required_cell_is_named() {
        let error = from_rows(&CLIPS, &[Row::new(&CLIPS)]).unwrap_err();
        assert!(error.to_string().contains("`clip_id`"), "{error}");
    }

    #[test]
    fn a_projection_gives_partial_rows() {
        let batch = record_batch(Arc::new(arrow::datatypes::Schema::empty()), vec![], 3).unwrap();
        assert_eq!(to_rows(&CLIPS, &batch).unwrap(), vec![Row::new(&CLIPS); 3]);
    }
}
