//! The column reference, written from the definitions themselves.

use std::fmt::Write as _;

use crate::{ColumnSpec, Kind, Table, columns, units};

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Utf8 => "text".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::I32 => "int32".to_owned(),
        Kind::I64 => "int64".to_owned(),
        Kind::U64 => "uint64".to_owned(),
        Kind::F32 => "float32".to_owned(),
        Kind::F64 => "float64".to_owned(),
        Kind::Binary => "bytes".to_owned(),
        Kind::Blob => "blob".to_owned(),
        Kind::Large => "large bytes, not in SQL".to_owned(),
        Kind::Utf8List => "list of text".to_owned(),
        Kind::Vector(len) => format!("vector of {len} float32"),
        Kind::Timestamp => "timestamp".to_owned(),
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table_markdown(out: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(out, "## Table `{}`\n\n{}\n", table.name, line(table.doc))?;
    writeln!(out, "| column | type | unit | written by | since | meaning |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for ColumnSpec { name, kind, required, doc, unit, writer, since } in table.columns {
        let kind = kind_name(*kind);
        let required = if *required { ", never null" } else { "" };
        writeln!(
            out,
            "| `{name}` | {kind}{required} | {unit} | {writer} | {since} | {} |",
            line(doc)
        )?;
    }
    writeln!(out)
}

/// The text of `docs/COLUMNS.md`.
#[must_use]
pub fn columns_markdown() -> String {
    let mut out = format!(
        "# Columns\n\nWritten from `schemas/src/columns.rs` and `schemas/src/units.rs` (schema version {}); \
         run `curate schema --markdown > docs/COLUMNS.md` after changing them.\n\n",
        columns::SCHEMA_VERSION
    );
    for table in [&columns::CLIPS, &units::UNITS] {
        table_markdown(&mut out, table).unwrap_or_default();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_column_is_documented_and_named_once() {
        for table in [&columns::CLIPS, &units::UNITS] {
            let mut names = HashSet::new();
            for spec in table.columns {
                assert!(names.insert(spec.name), "{} twice", spec.name);
                assert!(!spec.doc.trim().is_empty(), "{} has no meaning", spec.name);
                assert!(!spec.writer.is_empty(), "{} has no writer", spec.name);
                assert!((1..=columns::SCHEMA_VERSION).contains(&spec.since), "{}", spec.name);
            }
        }
    }

    #[test]
    fn the_page_is_up_to_date() {
        let page = include_str!("../../docs/COLUMNS.md");
        assert!(
            page == columns_markdown(),
            "docs/COLUMNS.md is stale: run `curate schema --markdown > docs/COLUMNS.md`"
        );
    }
}
