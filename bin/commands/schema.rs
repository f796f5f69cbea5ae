//! `curate schema`: what a table's columns are, and what a recipe may say.

use std::io::Write as _;

use curate_pipeline::schema::{self, settings, with_required};
use curate_stages::{STAGES, sources::InputConfig};

use crate::{Exit, recipe::OutputConfig};

/// Prints the columns of both tables, for people or as the page `docs/COLUMNS.md`.
pub(crate) fn columns(markdown: bool) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    if markdown {
        write!(out, "{}", curate_schemas::columns_markdown())?;
        return Ok(Exit::Complete);
    }
    for table in [&curate_schemas::columns::CLIPS, &curate_schemas::units::UNITS] {
        writeln!(out, "{}", table.name)?;
        for spec in table.columns {
            writeln!(
                out,
                "  {:<24} {:<28} {}",
                spec.name,
                spec.kind.data_type().to_string(),
                spec.unit
            )?;
        }
    }
    Ok(Exit::Complete)
}

/// Prints the schema of recipes: the page `docs/pipeline.schema.json`.
pub(crate) fn recipe() -> anyhow::Result<Exit> {
    let input = with_required(settings::<InputConfig>(), &["paths"]);
    let output = with_required(settings::<OutputConfig>(), &["path"]);
    let schema = schema::recipe(&input, &output, STAGES);
    writeln!(std::io::stdout(), "{schema:#}")?;
    Ok(Exit::Complete)
}
