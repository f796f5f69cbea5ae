//! `curate query`: SQL in, rows out.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    csv,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    json,
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches_with_schema,
    },
};
use curate_store::{Query, Rows, Store};
use parquet::arrow::ArrowWriter;

use crate::{Exit, UsageError, cli::Format};

pub(crate) async fn query(
    out: &Path,
    sql: &str,
    format: Format,
    version: Option<&str>,
    output: Option<&Path>,
) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let version = match version {
        None => None,
        Some(word) => Some(store.version_of(word).await?),
    };
    let query = Query::open(&store, version).await?;
    let rows = query.sql(sql).await?;
    let create = |path: &Path| {
        File::create(path)
            .map_err(|error| UsageError(format!("cannot write {}: {error}", path.display())))
    };
    match (format, output) {
        (Format::Parquet, None) => {
            return Err(UsageError(
                "Parquet is not text: say where to write it with --output".to_owned(),
            )
            .into());
        }
        (Format::Parquet, Some(path)) => parquet_file(rows, create(path)?).await?,
        (_, Some(path)) => write(rows, format, create(path)?).await?,
        (_, None) => write(rows, format, std::io::stdout()).await?,
    }
    Ok(Exit::Complete)
}

/// A writer for which a reader that has left (`| head`) is no error: the rest is not wanted.
struct Piped<W> {
    to: W,
    is_closed: bool,
}

impl<W: Write> Write for Piped<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.to.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.is_closed { Ok(()) } else { self.to.flush() }
    }
}

pub(super) async fn write(mut rows: Rows, format: Format, to: impl Write) -> anyhow::Result<()> {
    let schema = rows.schema();
    let mut to = Piped { to, is_closed: false };
    match format {
        Format::Csv => {
            // An empty batch first: the names of the columns are due even without rows.
            let mut batch = Some(RecordBatch::new_empty(Arc::clone(&schema)));
            let mut with_header = true;
            while let Some(next) = batch.take() {
                csv::WriterBuilder::new()
                    .with_header(std::mem::take(&mut with_header))
                    .build(&mut to)
                    .write(&flat(&next)?)?;
                if !to.is_closed {
                    batch = rows.next_batch().await?;
                }
            }
        }
        Format::Json => {
            let mut writer = json::LineDelimitedWriter::new(&mut to);
            while let Some(batch) = rows.next_batch().await? {
                writer.write(&batch)?;
                if writer.get_ref().is_closed {
                    break;
                }
            }
            writer.finish()?;
        }
        Format::Table | Format::Parquet => {
            print(&schema, &rows.collect().await?, &mut to)?;
        }
    }
    to.flush()?;
    Ok(())
}

/// The same rows with lists, vectors and structs as text, since CSV has only values.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        }
        let text = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let cell =
            |row: usize| column.is_valid(row).then(|| text.value(row).try_to_string()).transpose();
        let cells: Result<StringArray, ArrowError> = (0..column.len()).map(cell).collect();
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new(cells?) as ArrayRef);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Writes a table for people; without rows it still shows the columns.
fn print(schema: &SchemaRef, batches: &[RecordBatch], mut to: impl Write) -> anyhow::Result<()> {
    writeln!(to, "{}", pretty_format_batches_with_schema(Arc::clone(schema), batches)?)?;
    Ok(())
}

/// Prints all rows as a table.
pub(crate) async fn print_table(rows: Rows) -> anyhow::Result<()> {
    let schema = rows.schema();
    print(&schema, &rows.collect().await?, std::io::stdout())
}

async fn parquet_file(mut rows: Rows, file: File) -> anyhow::Result<()> {
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None)?;
    while let Some(batch) = rows.next_batch().await? {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
