//! What moving a threshold costs on large tables, through the real binary.
//!
//! `make bench-refilter`. Two tables are made: 10,000 clips with 256 KiB of bytes each, and 100,000
//! without. On each a threshold is moved that changes half of the verdicts. Printed are the
//! seconds, the bytes that were written, whether any file that was there changed, and whether
//! anything but verdicts is different.

#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(clippy::disallowed_methods, reason = "it runs the real binary")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use curate_schemas::{
    Clip, ClipId, Micros, SourceId, Span, TimeBase, UnitId, UnitRow, columns as c, units,
};
use curate_store::{Lease, Receipt, Store, TableMeta};
use serde_json::json;

const CLIPS_PER_UNIT: i64 = 50;

fn clip(number: i64, bytes: usize) -> Clip {
    let source = SourceId::from_location("a", 1, None);
    let unit = UnitId::new(&source, u32::try_from(number / CLIPS_PER_UNIT).unwrap_or(0));
    let time_base = TimeBase { num: 1, den: 25 };
    let span = Span { start: number * 100, end: number * 100 + 100, time_base };
    let mut clip = Clip::default()
        .with(c::CLIP_ID, ClipId::new(&source, &span, "s").to_string())
        .with(c::UNIT_ID, unit.to_string())
        .with(c::SOURCE_ID, source.to_string())
        .with(c::SOURCE_URI, "file:///a.mp4".to_owned())
        .with(c::KIND, "video".to_owned())
        .with(c::START_PTS, span.start)
        .with(c::END_PTS, span.end)
        .with(c::TB_NUM, 1)
        .with(c::TB_DEN, 25)
        .with(c::START_S, span.start_s())
        .with(c::END_S, span.end_s())
        .with(c::NUM_FRAMES, 100)
        .with(c::STATUS, "kept".to_owned())
        .with(c::MOTION, 0.01 + (number % 100) as f32 / 100.0)
        .with(c::SPLIT_ID, "s".to_owned())
        .with(c::STAGE_KEYS, json!({"scenes": "1", "motion": "1", "clip": "1"}).to_string())
        .with(c::RUN_ID, "bench".to_owned())
        .with(c::CURATE_VERSION, "0".to_owned())
        .with(c::CREATED_AT, Micros(0));
    if bytes > 0 {
        clip.set(c::VIDEO_FORM, "copy".to_owned());
        clip.set(c::VIDEO, (0..bytes).map(|i| (i as i64 ^ number) as u8).collect());
    }
    clip
}

fn unit_row(index: i64) -> UnitRow {
    let source = SourceId::from_location("a", 1, None);
    let clips = i32::try_from(CLIPS_PER_UNIT).unwrap_or(0);
    UnitRow::default()
        .with(units::UNIT_ID, UnitId::new(&source, u32::try_from(index).unwrap_or(0)).to_string())
        .with(units::SOURCE_ID, source.to_string())
        .with(units::SOURCE_URI, "file:///a.mp4".to_owned())
        .with(units::UNITS_IN_SOURCE, 1)
        .with(units::STATUS, "ok".to_owned())
        .with(units::CLIPS, clips)
        .with(units::KEPT, clips)
        .with(units::FAILED, 0)
        .with(units::FRAMES_DECODED, 1)
        .with(units::FRAMES_SOURCE, 1)
        .with(units::SOURCE_BYTES, 1)
        .with(units::SPLIT_ID, "s".to_owned())
        .with(units::RUN_ID, "bench".to_owned())
        .with(units::FINISHED_AT, Micros(0))
}

async fn make(out: &Path, clips: i64, bytes: usize) -> anyhow::Result<()> {
    let form = if bytes > 0 { "copy" } else { "none" };
    let split = json!({
        "identity": {"form": form},
        "split": {"kind": "scenes", "settings": {}},
    });
    let judge = json!([
        {"stage": "scenes", "settings": {"min_s": 3.0}},
        {"stage": "motion", "settings": {"keep": {"min": 0.008, "max": null}, "keep_px": {}}},
        {"stage": "clip", "settings": null},
    ]);
    let (store, _) = Store::create_or_open(out, &TableMeta::new("s", split, judge)).await?;
    let lease = Lease::acquire(out, "bench").await?;
    // Commits of 64 units, as a run makes them.
    for first in (0..clips).step_by(64 * CLIPS_PER_UNIT as usize) {
        let last = clips.min(first + 64 * CLIPS_PER_UNIT);
        let batches = (first..last).step_by(64).map(move |start| {
            Ok::<_, std::io::Error>(
                (start..last.min(start + 64)).map(move |n| clip(n, bytes)).collect(),
            )
        });
        let staged = store.stage(&lease, batches).await?;
        let rows = (first / CLIPS_PER_UNIT..last / CLIPS_PER_UNIT).map(unit_row).collect();
        store.finish(Receipt::write(&lease, rows, staged)?).await?;
    }
    Ok(())
}

/// Every file below a folder, with its size and age.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            files(&entry.path(), found);
        } else if let Ok(age) = about.modified() {
            found.insert(entry.path(), (about.len(), age));
        }
    }
}

/// The measured columns of all rows, in the order of their ids.
async fn scores(out: &Path) -> anyhow::Result<Vec<String>> {
    let store = Store::open(out).await?;
    let names = ["clip_id", "motion", "stage_keys", "start_pts", "run_id"];
    let mut clips = store.clips(&names, None).await?;
    let mut rows = Vec::new();
    while let Some(batch) = clips.next_batch().await? {
        rows.extend(batch.iter().map(|clip| format!("{clip:?}")));
    }
    rows.sort_unstable();
    Ok(rows)
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (clips, bytes) in [(10_000, 256 << 10), (100_000, 0)] {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("out");
        runtime.block_on(make(&out, clips, bytes))?;
        let before_rows = runtime.block_on(scores(&out))?;
        let mut before = BTreeMap::new();
        files(&out, &mut before);
        let started = Instant::now();
        let done = Command::new(env!("CARGO_BIN_EXE_curate"))
            .args([
                "refilter".as_ref(),
                out.as_os_str(),
                "--set".as_ref(),
                "motion.min=0.5".as_ref(),
            ])
            .output()?;
        let took = started.elapsed().as_secs_f64();
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut after = BTreeMap::new();
        files(&out, &mut after);
        // All that holds rows or bytes; beside it lies a hint at the newest version, which moves on.
        let data = out.join("clips.lance/data");
        let mut data = before.iter().filter(|(path, _)| path.starts_with(&data));
        let kept = data.all(|(path, about)| after.get(path) == Some(about));
        let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
        let written: u64 = new.map(|(_, (bytes, _))| bytes).sum();
        let same = before_rows == runtime.block_on(scores(&out))?;
        println!(
            "{clips} clips of {} KiB: {took:.2} s, {:.2} MB written, data and blob files unchanged: \
             {kept}, all but verdicts unchanged: {same}",
            bytes >> 10,
            written as f64 / 1e6
        );
        print!("{}", String::from_utf8_lossy(&done.stdout));
    }
    Ok(())
}
