//! Rows and child processes for the tests that need several processes.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
};

use curate_schemas::{
    Clip, ClipId, Micros, SourceId, Span, TimeBase, UnitId, UnitRow, columns, units,
};
use curate_store::{Store, TableMeta};

/// Units in the test's data set.
pub(crate) const UNITS: u32 = 120;

/// Clips in each.
pub(crate) const CLIPS: i64 = 3;

const SPLIT: &str = "split";

pub(crate) fn source() -> SourceId {
    SourceId::from_location("file:///race.mp4", 1, None)
}

pub(crate) fn unit(index: u32) -> UnitId {
    UnitId::new(&source(), index)
}

pub(crate) async fn open(out: &Path) -> Store {
    let meta = TableMeta::new(SPLIT, serde_json::Value::Null, serde_json::Value::Null);
    Store::create_or_open(out, &meta).await.unwrap().0
}

pub(crate) fn unit_row(index: u32, run: &str) -> UnitRow {
    UnitRow::default()
        .with(units::UNIT_ID, unit(index).to_string())
        .with(units::SOURCE_ID, source().to_string())
        .with(units::SOURCE_URI, "file:///race.mp4".to_owned())
        .with(units::UNITS_IN_SOURCE, UNITS as i32)
        .with(units::STATUS, "ok".to_owned())
        .with(units::CLIPS, CLIPS as i32)
        .with(units::KEPT, CLIPS as i32)
        .with(units::FAILED, 0)
        .with(units::FRAMES_DECODED, 30)
        .with(units::FRAMES_SOURCE, 30)
        .with(units::SOURCE_BYTES, 1)
        .with(units::SPLIT_ID, SPLIT.to_owned())
        .with(units::RUN_ID, run.to_owned())
        .with(units::FINISHED_AT, Micros(1))
}

pub(crate) fn clips(index: u32, run: &str) -> Vec<Clip> {
    let clip = |number: i64| {
        let start = i64::from(index) * 100 + number * 10;
        let time_base = TimeBase { num: 1, den: 25 };
        let span = Span { start, end: start + 10, time_base };
        Clip::default()
            .with(columns::CLIP_ID, ClipId::new(&source(), &span, SPLIT).to_string())
            .with(columns::UNIT_ID, unit(index).to_string())
            .with(columns::SOURCE_ID, source().to_string())
            .with(columns::SOURCE_URI, "file:///race.mp4".to_owned())
            .with(columns::KIND, "video".to_owned())
            .with(columns::START_PTS, start)
            .with(columns::END_PTS, start + 10)
            .with(columns::TB_NUM, 1)
            .with(columns::TB_DEN, 25)
            .with(columns::START_S, span.start_s())
            .with(columns::END_S, span.end_s())
            .with(columns::NUM_FRAMES, 10)
            .with(columns::STATUS, "kept".to_owned())
            .with(
                columns::VIDEO,
                vec![(index as u8) ^ (number as u8); 20_000 + 100 * index as usize],
            )
            .with(columns::SPLIT_ID, SPLIT.to_owned())
            .with(columns::STAGE_KEYS, "{}".to_owned())
            .with(columns::RUN_ID, run.to_owned())
            .with(columns::CURATE_VERSION, "0".to_owned())
            .with(columns::CREATED_AT, Micros(1))
    };
    (0..CLIPS).map(clip).collect()
}

/// What a child process is told to do.
pub(crate) const JOB: &str = "CURATE_STORE_TEST_JOB";

/// This process's job; `None` in the process that runs the tests.
#[expect(clippy::disallowed_methods, reason = "only so does a test tell its child what to do")]
pub(crate) fn job() -> Option<(String, u32, std::path::PathBuf)> {
    let job = env::var(JOB).ok()?;
    let mut parts = job.splitn(3, '|');
    let name = parts.next()?.to_owned();
    let number = parts.next()?.parse().ok()?;
    Some((name, number, parts.next()?.into()))
}

/// Starts this test program again as a child with a job.
#[expect(clippy::disallowed_methods, reason = "the test is about separate processes")]
pub(crate) fn spawn(name: &str, number: u32, out: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture"])
        .env(JOB, format!("{name}|{number}|{}", out.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
