//! `curate report`: a table as one HTML file that shows what was kept and why, and what another
//! threshold would keep. The page itself is `bin/report_page/`; here it is filled from the table and from
//! what runs have left in `_runs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use arrow::{array::AsArray as _, datatypes::Int64Type};
use curate_media::{Filter, MediaError, Size, decode_jpeg, encode_jpeg, resize};
use curate_models::hub::Hub;
use curate_pipeline::{Report, StageConfig};
use curate_schemas::{Micros, columns as c};
use curate_stages::STAGES;
use curate_store::{Query, RunDir, Store, TableMeta};
use serde_json::{Value as Json, json};

use super::history::time;
use crate::{
    Exit, env,
    judges::judges,
    progress::say,
    recipe::stored_stage,
    report_page::{
        BadUnit, Gather, Judged, ModelLine, ReportData, RunLine, StageLine, StageTime, render,
        wanted_thumbnails,
    },
};

/// Thumbnails of the page fit into this, at this quality; they take 3 to 6 kB.
const ROOM: Size = Size::new(160, 120);
const QUALITY: u8 = 60;
/// Thumbnails read at once.
const AT_ONCE: usize = 200;
/// Units that are not whole, and runs, that the page names.
const BAD_UNITS: usize = 50;
const RUNS: usize = 20;

pub(crate) async fn report(out: &Path, file: Option<PathBuf>, now: Micros) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let meta = store.meta().await?;
    let query = Query::open(&store, None).await?;
    let mut runs = store.layout().all_runs()?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.events()));
    let plan = runs.iter().find_map(plan_of).unwrap_or_default();
    let mut data = gather(&store, &meta, &plan, count(&query).await?).await?;
    data.table = out.display().to_string();
    data.made_at = format!("{} UTC", time(now.0));
    data.curate_version = env!("CARGO_PKG_VERSION").to_owned();
    data.version = query.version();
    data.split_id = meta.split_id.clone();
    for entry in store.ledger().await? {
        *data.units.entry(entry.status.clone()).or_default() += 1;
    }
    data.bad_units = bad_units(&query).await?;
    data.runs = runs.iter().filter_map(run_line).take(RUNS).collect();
    data.recipe = runs
        .iter()
        .find_map(|run| fs::read_to_string(run.plan().with_file_name("recipe.toml")).ok());
    data.thumbs = thumbs(&store, &wanted_thumbnails(&data)).await?;
    let file = file.unwrap_or_else(|| out.join("report.html"));
    fs::write(&file, render(&data)).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("{} clips: {}", data.clips.len(), file.display()));
    Ok(Exit::Complete)
}

/// The plan that a run has left.
fn plan_of(run: &RunDir) -> Option<Json> {
    serde_json::from_str(&fs::read_to_string(run.plan()).ok()?).ok()
}

async fn gather(
    store: &Store,
    meta: &TableMeta,
    plan: &Json,
    count: u64,
) -> anyhow::Result<ReportData> {
    type Parse = Box<dyn Fn(&Json) -> Option<Arc<dyn StageConfig>>>;
    let judges = judges(meta)?;
    let entry = |kind: &str| STAGES.iter().find(|entry| entry.kind == kind);
    let parsers: Vec<Parse> = judges
        .iter()
        .map(|judge| {
            // As when judging: only the split's measuring settings are in the table.
            let split = &meta.split["split"];
            let is_split = split["kind"] == judge.kind;
            let measuring = if is_split { split["settings"].clone() } else { Json::Null };
            let entry = entry(judge.kind);
            Box::new(move |settings: &Json| stored_stage(entry?, &measuring, settings).ok())
                as Parse
        })
        .collect();
    let planned = |kind: &str| {
        let mut stages = plan["stages"].as_array().into_iter().flatten();
        stages.find(|stage| stage["stage"] == kind).cloned().unwrap_or_default()
    };
    let stages = judges.iter().zip(&parsers).map(|(judge, parse)| {
        let planned = planned(judge.kind);
        Judged {
            kind: judge.kind,
            config: Arc::clone(&judge.config),
            line: StageLine {
                kind: judge.kind.to_owned(),
                summary: entry(judge.kind).map_or("", |entry| entry.summary).to_owned(),
                key: planned["key"].as_str().unwrap_or_default().to_owned(),
                measuring: planned["measuring"].clone(),
                judging: judge.config.judging(),
            },
            parse: &**parse,
        }
    });
    let wants_bytes = meta.split["identity"]["form"] != "none";
    let mut gather = Gather::new(stages.collect(), count, wants_bytes);
    let columns = gather.columns().to_vec();
    let mut rows = store.clips(&columns, None).await?;
    while let Some(batch) = rows.next_batch().await? {
        batch.iter().for_each(|clip| gather.clip(clip));
    }
    let mut data = gather.finish();
    let hub = Hub::open(env::models_dir()?)?;
    for judge in &judges {
        for id in judge.config.models() {
            data.models.push(ModelLine {
                id: id.to_owned(),
                hash: hub.hash(id).unwrap_or_default(),
                used_by: judge.kind.to_owned(),
            });
        }
    }
    Ok(data)
}

async fn bad_units(query: &Query) -> anyhow::Result<Vec<BadUnit>> {
    let sql = format!(
        "select status, coalesce(error_kind, ''), source_uri, coalesce(error_message, '') from units \
         where status not in ('ok', 'empty') order by 1, 3 limit {BAD_UNITS}"
    );
    let mut found = Vec::new();
    for batch in query.sql(&sql).await?.collect().await? {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| column.as_string::<i32>()).collect();
        for row in 0..batch.num_rows() {
            let text = |column: usize| columns[column].value(row).to_owned();
            found.push(BadUnit {
                status: text(0),
                kind: text(1),
                source: text(2),
                message: text(3),
            });
        }
    }
    Ok(found)
}

async fn count(query: &Query) -> anyhow::Result<u64> {
    let batches = query.sql("select count(*) from clips").await?.collect().await?;
    let count =
        batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    Ok(count.unsigned_abs())
}

/// What a run says of itself in its log, for the report: see [`run_line`].
pub(crate) fn run_ended(report: &Report, took_s: f64) -> Json {
    let stages = report.stages.iter().map(|stage| {
        json!({
            "kind": stage.kind, "workers": stage.workers, "clips": stage.clips,
            "busy_s": stage.busy_s, "waiting_s": stage.waiting_s, "blocked_s": stage.blocked_s,
        })
    });
    json!({
        "took_s": took_s, "clips": report.clips, "frames_decoded": report.frames_decoded,
        "frames_source": report.frames_source, "frames_again": report.frames_again,
        "peak_memory_bytes": env::peak_memory(), "stages": stages.collect::<Vec<_>>(),
    })
}

/// A run whose end is in its log.
fn run_line(run: &RunDir) -> Option<RunLine> {
    let events = fs::read_to_string(run.events()).ok()?;
    let ended = events.lines().rev().find_map(|line| {
        let event: Json = serde_json::from_str(line).ok()?;
        (event["event"] == "run_ended").then(|| event["report"].clone())
    })?;
    let plan = plan_of(run).unwrap_or_default();
    let id = run.path().file_name()?.to_str()?.to_owned();
    let seconds: i64 = id.split('-').next()?.parse().ok()?;
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let stage = |stage: &Json| StageTime {
        kind: text(&stage["kind"]),
        workers: stage["workers"].as_u64().unwrap_or_default(),
        clips: stage["clips"].as_u64().unwrap_or_default(),
        busy_s: stage["busy_s"].as_f64().unwrap_or_default(),
        waiting_s: stage["waiting_s"].as_f64().unwrap_or_default(),
        blocked_s: stage["blocked_s"].as_f64().unwrap_or_default(),
    };
    Some(RunLine {
        id,
        started_at: format!("{} UTC", time(seconds.saturating_mul(1_000_000))),
        took_s: ended["took_s"].as_f64(),
        curate_version: text(&plan["curate_version"]),
        clips: ended["clips"].as_u64().unwrap_or_default(),
        frames_decoded: ended["frames_decoded"].as_u64(),
        frames_source: ended["frames_source"].as_u64(),
        frames_again: ended["frames_again"].as_u64(),
        peak_memory_bytes: ended["peak_memory_bytes"].as_u64(),
        stages: ended["stages"].as_array().into_iter().flatten().map(stage).collect(),
    })
}

/// Small pictures of these clips; what has none, or none that can be read, is left out.
async fn thumbs(store: &Store, ids: &[String]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut thumbs = BTreeMap::new();
    let names = [c::CLIP_ID.name(), c::THUMB.name()];
    for ids in ids.chunks(AT_ONCE) {
        // Ids are hashes: nothing to escape.
        let filter = format!("{} in ('{}')", c::CLIP_ID.name(), ids.join("', '"));
        let mut rows = store.clips(&names, Some(&filter)).await?;
        while let Some(batch) = rows.next_batch().await? {
            for clip in &batch {
                if let (Some(id), Some(jpeg)) = (clip.get(c::CLIP_ID), clip.get(c::THUMB))
                    && let Ok(small) = small(jpeg)
                {
                    thumbs.insert(id.clone(), small);
                }
            }
        }
    }
    Ok(thumbs)
}

fn small(jpeg: &[u8]) -> Result<Vec<u8>, MediaError> {
    let picture = decode_jpeg(jpeg)?;
    let share = (f64::from(ROOM.width) / f64::from(picture.width))
        .min(f64::from(ROOM.height) / f64::from(picture.height))
        .min(1.0);
    let side = |side: u32| ((f64::from(side) * share).round() as u32).max(1);
    let size = Size::new(side(picture.width), side(picture.height));
    encode_jpeg(&resize(&picture, size, Filter::Area)?, QUALITY)
}
