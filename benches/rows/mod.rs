//! Tables of made-up rows for benches of commands.

use std::path::Path;

use curate_schemas::{
    Clip, ClipId, Micros, SourceId, Span, TimeBase, UnitId, UnitRow, columns as c, units,
};
use curate_store::{Lease, Receipt, Store, TableMeta};
use serde_json::json;

const CLIPS_PER_UNIT: i64 = 50;

/// Clip `number`, with so many bytes.
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

/// Makes a table of clips with so many bytes each; `more` adds what a bench needs beside.
pub(crate) async fn make(
    out: &Path,
    clips: i64,
    bytes: usize,
    more: fn(i64, Clip) -> Clip,
) -> anyhow::Result<()> {
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
                (start..last.min(start + 64)).map(move |n| more(n, clip(n, bytes))).collect(),
            )
        });
        let staged = store.stage(&lease, batches).await?;
        let rows = (first / CLIPS_PER_UNIT..last / CLIPS_PER_UNIT).map(unit_row).collect();
        store.finish(Receipt::write(&lease, rows, staged)?).await?;
    }
    Ok(())
}
