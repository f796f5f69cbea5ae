//! The dataset card: what an export holds, how it was chosen, and where it comes from.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use arrow::{
    array::AsArray as _,
    datatypes::{Float64Type, Int64Type},
};
use curate_models::hub::Hub;
use curate_schemas::ClipId;
use curate_store::{Query, Store};
use serde_json::Value as Json;

use super::Choice;
use crate::{cli::ExportForm, env, judges::judges};

/// Names under which manifests give licences.
const LICENCES: [&str; 3] = ["license", "licence", "rights"];
/// Licences and sources that are named.
const NAMED: usize = 20;

pub(super) async fn card(
    store: &Store,
    query: &Query,
    out: &Path,
    choice: &Choice,
    clips: &[(ClipId, Option<u64>)],
) -> anyhow::Result<String> {
    let meta = store.meta().await?;
    let mut card = String::new();
    if choice.form == ExportForm::Parquet {
        card += "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n---\n\n";
    }
    let name = out
        .file_name()
        .map_or_else(|| out.display().to_string(), |name| name.to_string_lossy().into_owned());
    writeln!(card, "# {name}\n")?;
    let seconds = sum(query, choice).await?;
    writeln!(
        card,
        "{} clips, {:.1} minutes, {:.1} MiB, from version {} of a table made by curate {}.\n\
         Chosen by: `{}`\n",
        clips.len(),
        seconds / 60.0,
        clips.iter().filter_map(|(_, bytes)| *bytes).sum::<u64>() as f64 / f64::from(1 << 20),
        query.version(),
        env!("CARGO_PKG_VERSION"),
        choice.filter
    )?;
    card += "## How clips were chosen\n\nAll clips of the table:\n\n| status | stage | reason | clips |\n|---|---|---|---|\n";
    let sql = "select status, coalesce(drop_stage, ''), coalesce(drop_reason, error_kind, ''), count(*) \
               from clips group by 1, 2, 3 order by 1 desc, 4 desc";
    for batch in query.sql(sql).await?.collect().await? {
        let text = |column: usize, row: usize| {
            batch.column(column).as_string::<i32>().value(row).to_owned()
        };
        for row in 0..batch.num_rows() {
            let clips = batch.column(3).as_primitive::<Int64Type>().value(row);
            writeln!(
                card,
                "| {} | {} | {} | {clips} |",
                cell(&text(0, row)),
                cell(&text(1, row)),
                cell(&text(2, row))
            )?;
        }
    }
    card += "\nThresholds:\n\n| stage | settings |\n|---|---|\n";
    let judges = judges(&meta)?;
    for judge in &judges {
        writeln!(card, "| {} | `{}` |", judge.kind, judge.config.judging())?;
    }
    card += "\n## Where it comes from\n\n";
    let (licences, captions) = origins(query, choice).await?;
    listed(&mut card, "Licences, as the manifests give them", &licences)?;
    listed(&mut card, "Captions by", &captions)?;
    card += "Models that measured:\n\n";
    let hub = Hub::open(env::models_dir()?)?;
    let mut models: BTreeMap<&str, String> = BTreeMap::new();
    for judge in &judges {
        for id in judge.config.models() {
            models.insert(
                id,
                hub.hash(id).unwrap_or_else(|_absent| "not on this machine".to_owned()),
            );
        }
    }
    for (id, hash) in &models {
        writeln!(card, "- {id}: sha256 {hash}")?;
    }
    if models.is_empty() {
        card += "- none\n";
    }
    writeln!(card, "\nSplit: `{}`, {}", meta.split_id, meta.split)?;
    Ok(card)
}

/// Text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn listed(card: &mut String, what: &str, counts: &BTreeMap<String, u64>) -> std::fmt::Result {
    writeln!(card, "{what}:\n")?;
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (name, count) in counts.iter().take(NAMED) {
        writeln!(card, "- {}: {count} clips", name.replace('\n', " "))?;
    }
    if counts.len() > NAMED {
        writeln!(card, "- and {} more", counts.len() - NAMED)?;
    }
    writeln!(card)
}

async fn sum(query: &Query, choice: &Choice) -> anyhow::Result<f64> {
    let sql =
        format!("select coalesce(sum(end_s - start_s), 0.0) from clips where ({})", choice.filter);
    let batches = query.sql(&sql).await?.collect().await?;
    Ok(batches.first().map_or(0.0, |batch| batch.column(0).as_primitive::<Float64Type>().value(0)))
}

/// Licences and caption writers of the chosen clips.
async fn origins(
    query: &Query,
    choice: &Choice,
) -> anyhow::Result<(BTreeMap<String, u64>, BTreeMap<String, u64>)> {
    let (mut licences, mut captions) = (BTreeMap::new(), BTreeMap::new());
    let sql = format!(
        "select extra, coalesce(caption_model, 'nobody (no caption)'), count(*) from clips where ({}) group by 1, 2",
        choice.filter
    );
    let mut rows = query.sql(&sql).await?;
    while let Some(batch) = rows.next_batch().await? {
        let (extra, models) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let counts = batch.column(2).as_primitive::<Int64Type>();
        for ((extra, model), count) in extra.iter().zip(models).zip(counts.values()) {
            let count = count.unsigned_abs();
            let extra: Json =
                extra.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let stated = LICENCES.iter().find_map(|name| extra[*name].as_str());
            let licence = stated.unwrap_or("not stated").to_owned();
            *licences.entry(licence).or_default() += count;
            *captions.entry(model.unwrap_or_default().to_owned()).or_default() += count;
        }
    }
    Ok((licences, captions))
}
