//! `curate query`: SQL in, rows out.

use std::{fs::File, io::Write as _, path::Path};

use anyhow::Context as _;
use arrow::{array::RecordBatch, csv, json, util::pretty::pretty_format_batches};
use curate_store::{Query, Rows, Store};
use parquet::arrow::ArrowWriter;

use crate::{Exit, UsageError, cli::Format};

pub(crate) async fn query(
    out: &Path,
    sql: &str,
    format: Format,
    version: Option<u64>,
    output: Option<&Path>,
) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let query = Query::open(&store, version).await?;
    let rows = query.sql(sql).await.map_err(|error| UsageError(error.to_string()))?;
    match (format, output) {
        (Format::Parquet, None) => {
            return Err(UsageError(
                "Parquet is not text: say where to write it with --output".to_owned(),
            )
            .into());
        }
        (Format::Parquet, Some(path)) => parquet_file(rows, path).await?,
        (_, Some(path)) => {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            write(rows, format, file).await?;
        }
        (_, None) => write(rows, format, std::io::stdout()).await?,
    }
    Ok(Exit::Complete)
}

async fn write(mut rows: Rows, format: Format, mut to: impl std::io::Write) -> anyhow::Result<()> {
    match format {
        Format::Csv => {
            let mut writer = csv::Writer::new(&mut to);
            while let Some(batch) = rows.next_batch().await? {
                writer.write(&batch)?;
            }
        }
        Format::Json => {
            let mut writer = json::LineDelimitedWriter::new(&mut to);
            while let Some(batch) = rows.next_batch().await? {
                writer.write(&batch)?;
            }
            writer.finish()?;
        }
        Format::Table | Format::Parquet => {
            let batches = rows.collect().await?;
            writeln!(to, "{}", pretty_format_batches(&batches)?)?;
        }
    }
    Ok(())
}

pub(crate) fn print_table(batches: &[RecordBatch]) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", pretty_format_batches(batches)?)?;
    Ok(())
}

async fn parquet_file(mut rows: Rows, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None)?;
    while let Some(batch) = rows.next_batch().await? {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
