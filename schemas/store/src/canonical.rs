//! A form in which two tables can be compared.
//!
//! Two runs over the same data may store the same rows in another order, in other files, under
//! other versions and run ids. What must be equal is everything else: one line per row, sorted,
//! without the columns that differ by nature, and with bytes as hashes.

use std::{fmt::Write as _, sync::Arc};

use curate_schemas::{
    Row, Table, Value, batch,
    columns::{self, CLIPS, VIDEO},
    units::{self, UNITS},
};
use futures::TryStreamExt as _;

use crate::{Pending, Store, error::At as _, read::row_ids, schema::plain_columns};

/// Rows whose bytes are hashed together: few, since they are in memory together.
const BATCH_ROWS: usize = 16;

impl Store {
    /// The content of both tables, one line per row, in an order that does not depend on how the
    /// rows got there. Made for tests and `diff`: it reads every byte.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn canonical(&self) -> Pending<'_, Vec<String>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            let path = self.layout().clips();
            let clips = Arc::new(self.latest_clips().await?);
            let mut scan = clips.scan();
            scan.project(&plain_columns(&CLIPS)).at("read", &path)?;
            scan.with_row_id().batch_size(BATCH_ROWS);
            let mut batches = scan.try_into_stream().await.at("read", &path)?;
            while let Some(batch) = batches.try_next().await.at("read", &path)? {
                let rows = batch::to_rows(&CLIPS, &batch).at("read", &path)?;
                let blobs = self.blobs(&clips, &row_ids(&batch)).await?;
                for (row, blob) in rows.iter().zip(blobs) {
                    let mut line = line(&CLIPS, row, columns::PER_RUN);
                    if let Some(blob) = blob {
                        append(&mut line, VIDEO.name(), &Value::Bytes(blob));
                    }
                    lines.push(line);
                }
            }
            let names: Vec<&str> = UNITS.columns.iter().map(|spec| spec.name).collect();
            for row in self.read_units(&self.latest_units().await?, &names).await? {
                lines.push(line(&UNITS, row.row(), units::PER_RUN));
            }
            lines.sort_unstable();
            Ok(lines)
        })
    }
}

fn line(table: &'static Table, row: &Row, without: &[&str]) -> String {
    let mut line = table.name.to_owned();
    for (position, spec) in table.columns.iter().enumerate() {
        if let Some(value) = row.cell(position)
            && !without.contains(&spec.name)
        {
            append(&mut line, spec.name, value);
        }
    }
    line
}

fn append(line: &mut String, name: &str, value: &Value) {
    let text = match value {
        Value::Bytes(bytes) => format!("{} bytes {}", bytes.len(), blake3::hash(bytes)),
        other => format!("{other:?}"),
    };
    let written = write!(line, " {name}={text}");
    debug_assert!(written.is_ok(), "a String takes everything");
}
