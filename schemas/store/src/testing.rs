//! What the tests of this crate share: a table in a temporary folder and rows to put into it.

use std::collections::BTreeMap;

use curate_schemas::{
    Clip, ClipId, Kind, Micros, SourceId, Span, TimeBase, UnitId, UnitRow,
    columns::{self, CLIPS, EMBEDDING_LEN},
    units,
};
use tempfile::TempDir;

use crate::{Former, Lease, Outcome, Receipt, Staged, Store, TableMeta, ledger};

pub(crate) const SPLIT: &str = "split-1";

/// Clips per unit.
pub(crate) const CLIPS_PER_UNIT: i32 = 3;

pub(crate) struct Table {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

pub(crate) fn meta() -> TableMeta {
    TableMeta::new(SPLIT, serde_json::json!({"max_s": 10}), serde_json::json!({"motion": 0.1}))
}

pub(crate) fn source(name: &str) -> SourceId {
    SourceId::from_location(name, 1, None)
}

pub(crate) fn unit(source_name: &str, index: u32) -> UnitId {
    UnitId::new(&source(source_name), index)
}

pub(crate) fn clip_id(clip: &Clip) -> ClipId {
    ClipId::parse(clip.get(columns::CLIP_ID).unwrap()).unwrap()
}

pub(crate) fn unit_row(source_name: &str, index: u32, clips: i32) -> UnitRow {
    UnitRow::default()
        .with(units::UNIT_ID, unit(source_name, index).to_string())
        .with(units::SOURCE_ID, source(source_name).to_string())
        .with(units::SOURCE_URI, format!("file:///{source_name}.mp4"))
        .with(units::UNITS_IN_SOURCE, 3)
        .with(units::STATUS, if clips > 0 { "ok" } else { "empty" }.to_owned())
        .with(units::CLIPS, clips)
        .with(units::KEPT, clips)
        .with(units::FAILED, 0)
        .with(units::FRAMES_DECODED, 250)
        .with(units::FRAMES_SOURCE, 250)
        .with(units::SOURCE_BYTES, 1)
        .with(units::SOURCE_MTIME, Micros(1_700_000_000_123_456))
        .with(units::DURATION_S, 0.1 + f64::from(index))
        .with(units::SPLIT_ID, SPLIT.to_owned())
        .with(units::RUN_ID, "test".to_owned())
        .with(units::FINISHED_AT, Micros(1_700_000_000_000_000))
}

pub(crate) fn clip(source_name: &str, index: u32, number: i64) -> Clip {
    let span = Span {
        start: i64::from(index) * 1000 + number * 10,
        end: i64::from(index) * 1000 + number * 10 + 10,
        time_base: TimeBase { num: 1, den: 25 },
    };
    Clip::default()
        .with(columns::CLIP_ID, ClipId::new(&source(source_name), &span, SPLIT).to_string())
        .with(columns::UNIT_ID, unit(source_name, index).to_string())
        .with(columns::SOURCE_ID, source(source_name).to_string())
        .with(columns::SOURCE_URI, format!("file:///{source_name}.mp4"))
        .with(columns::KIND, "video".to_owned())
        .with(columns::START_PTS, span.start)
        .with(columns::END_PTS, span.end)
        .with(columns::TB_NUM, 1)
        .with(columns::TB_DEN, 25)
        .with(columns::START_S, span.start_s())
        .with(columns::END_S, span.end_s())
        .with(columns::NUM_FRAMES, 10)
        .with(columns::STATUS, if number == 2 { "dropped" } else { "kept" }.to_owned())
        .with(columns::SPLIT_ID, SPLIT.to_owned())
        .with(columns::STAGE_KEYS, "{}".to_owned())
        .with(columns::RUN_ID, "test".to_owned())
        .with(columns::CURATE_VERSION, "0".to_owned())
        .with(columns::CREATED_AT, Micros(1_700_000_000_000_000))
}

/// The clips of a unit: one with a blob inside the data file, one packed beside it, one without.
pub(crate) fn unit_clips(source_name: &str, index: u32) -> Vec<Clip> {
    let mut clips: Vec<Clip> =
        (0..i64::from(CLIPS_PER_UNIT)).map(|number| clip(source_name, index, number)).collect();
    clips[0].set(columns::VIDEO, vec![index as u8; 1000]);
    clips[1].set(columns::VIDEO, vec![index as u8 + 1; 100_000]);
    clips
}

impl Table {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("a table %20 é #1").tempdir().unwrap();
        let (store, created) = Store::create_or_open(dir.path(), &meta()).await.unwrap();
        assert!(created);
        Self { store, dir }
    }

    pub(crate) async fn lease(&self, run: &str) -> Lease {
        Lease::acquire(self.dir.path(), run).await.unwrap()
    }

    pub(crate) async fn stage(&self, lease: &Lease, clips: Vec<Clip>) -> Staged {
        let batches = clips.chunks(2).map(|some| Ok::<_, std::io::Error>(some.to_vec()));
        self.store.stage(lease, batches.collect::<Vec<_>>()).await.unwrap()
    }

    /// A receipt for whole units, by a run that is dead when this returns.
    pub(crate) async fn receipt(&self, source_name: &str, indexes: &[u32]) -> Receipt {
        let lease = self.lease("test").await;
        let clips = indexes.iter().flat_map(|index| unit_clips(source_name, *index)).collect();
        let staged = self.stage(&lease, clips).await;
        let rows = indexes.iter().map(|index| unit_row(source_name, *index, CLIPS_PER_UNIT));
        Receipt::write(&lease, rows.collect(), staged).unwrap()
    }

    /// A receipt for a unit that is done again by another run than the first: with clips of another
    /// size, or without any. It takes the place of what the run `test` wrote.
    pub(crate) async fn again(&self, run: &str, index: u32, has_clips: bool) -> Receipt {
        let lease = self.lease(run).await;
        let mut clips = if has_clips { unit_clips("a", index) } else { Vec::new() };
        for clip in &mut clips {
            clip.set(columns::RUN_ID, run.to_owned());
            clip.set(columns::WIDTH, 640);
        }
        let row = unit_row("a", index, clips.len() as i32).with(units::RUN_ID, run.to_owned());
        let staged = self.stage(&lease, clips).await;
        let former = BTreeMap::from([(unit("a", index), Former::by(["test".to_owned()]))]);
        Receipt::replacing(&lease, vec![row], staged, former).unwrap()
    }

    /// A receipt for a unit without clips.
    pub(crate) async fn failed(&self, source_name: &str, index: u32) -> Receipt {
        let lease = self.lease("test").await;
        Receipt::write(&lease, vec![unit_row(source_name, index, 0)], Staged::default()).unwrap()
    }

    pub(crate) async fn add(&self, source_name: &str, indexes: &[u32]) {
        let receipt = self.receipt(source_name, indexes).await;
        let outcome = self.store.finish(receipt).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed { .. }));
    }

    pub(crate) async fn add_clips(&self, clips: Vec<Clip>) {
        let lease = self.lease("test").await;
        let rows = vec![unit_row("full", 0, clips.len() as i32)];
        let staged = self.stage(&lease, clips).await;
        self.store.finish(Receipt::write(&lease, rows, staged).unwrap()).await.unwrap();
    }

    /// Clips of one unit that between them have a value in every column, and every kind of blob.
    pub(crate) fn full_clips(&self) -> Vec<Clip> {
        let videos = [Some(0), None, Some(16 << 10), Some((16 << 10) + 1), Some((8 << 20) + 1)];
        let clips = videos.iter().zip(0_i64..).map(|(bytes, number)| {
            let mut clip = clip("full", 0, number)
                .with(columns::HAS_AUDIO, true)
                .with(columns::FPS, 29.97)
                .with(columns::WIDTH, -1)
                .with(columns::THUMB, vec![0xFF, 0xD8, number as u8])
                .with(columns::MOTION, f32::MIN_POSITIVE)
                .with(columns::PHASH, u64::MAX - number as u64)
                .with(columns::CAPTION_FLAGS, vec!["refusal".to_owned(), "ü".to_owned()])
                .with(columns::EMBEDDING, vec![0.5; EMBEDDING_LEN as usize])
                .with(columns::CAPTION, "it's a \"caption\"\n".to_owned())
                .with(columns::LATENTS, vec![number as u8; 40_000]);
            clip.put(
                columns::VIDEO,
                bytes.map(|bytes| (0..bytes).map(|i: usize| i as u8).collect()),
            );
            clip
        });
        let clips: Vec<Clip> = clips.collect();
        let kinds: Vec<Kind> = clips[0]
            .row()
            .written()
            .map(|name| CLIPS.columns[CLIPS.position(name).unwrap()].kind)
            .collect();
        assert!(
            CLIPS.columns.iter().all(|spec| kinds.contains(&spec.kind)),
            "a kind of column is not tested"
        );
        clips
    }

    /// Takes the clips of a unit out, and leaves its ledger row.
    pub(crate) async fn delete_clips(&self, source_name: &str, index: u32) {
        let clips = self.store.latest_clips().await.unwrap();
        let filter = format!("unit_id = '{}'", unit(source_name, index));
        ledger::delete(clips, &filter).await.unwrap();
    }

    /// Rows in both tables.
    pub(crate) async fn counts(&self) -> (usize, usize) {
        let clips = self.store.latest_clips().await.unwrap().count_rows(None).await.unwrap();
        (clips, self.store.ledger().await.unwrap().len())
    }
}
