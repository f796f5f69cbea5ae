//! What tests of the loader and of encoding share: films of one colour, rows in memory, and a table.

use std::{path::PathBuf, sync::Arc};

use curate_schemas::{
    Clip, ClipId, Micros, SourceId, Span, TimeBase, UnitId, UnitRow, columns as c, units as u,
};
use curate_store::{Changes, Lease, Receipt, Store, TableMeta};
use curate_testing::make;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{ClipFault, DataConfig, DataError, Listed, RowSource, TableRows, Want};

/// Colours, by the word that is the caption.
pub(crate) const COLORS: [(&str, [f32; 3]); 4] = [
    ("red", [255.0, 0.0, 0.0]),
    ("lime", [0.0, 255.0, 0.0]),
    ("blue", [0.0, 0.0, 255.0]),
    ("white", [255.0, 255.0, 255.0]),
];

/// Films of one colour each, 64x64, of this many frames at 25 a second.
pub(crate) fn films(frames: usize) -> Vec<(String, Vec<u8>)> {
    let folder = TempDir::new().unwrap();
    let film = |(color, _): &(&str, [f32; 3])| {
        let line = format!(
            "-f lavfi -i color={color}:size=64x64:rate=25 -frames:v {frames} -c:v libx264 -qp 10 \
             -pix_fmt yuv444p"
        );
        let path = make(folder.path(), &format!("{color}.mp4"), &line);
        ((*color).to_owned(), std::fs::read(path).unwrap())
    };
    COLORS.iter().map(film).collect()
}

/// A row whose caption is its colour.
pub(crate) fn clip(number: usize, (color, film): &(String, Vec<u8>), frames: usize) -> Clip {
    let source = SourceId::from_location(&format!("file:///{number}"), 1, None);
    let span = Span { start: 0, end: frames as i64, time_base: TimeBase { num: 1, den: 25 } };
    Clip::default()
        .with(c::CLIP_ID, ClipId::new(&source, &span, "split").to_string())
        .with(c::UNIT_ID, UnitId::new(&source, 0).to_string())
        .with(c::SOURCE_ID, source.to_string())
        .with(c::SOURCE_URI, format!("file:///{number}"))
        .with(c::KIND, "video".to_owned())
        .with(c::START_PTS, span.start)
        .with(c::END_PTS, span.end)
        .with(c::TB_NUM, 1)
        .with(c::TB_DEN, 25)
        .with(c::START_S, span.start_s())
        .with(c::END_S, span.end_s())
        .with(c::NUM_FRAMES, frames as i32)
        .with(c::WIDTH, 64)
        .with(c::HEIGHT, 64)
        .with(c::FPS, 25.0)
        .with(c::STATUS, "kept".to_owned())
        .with(c::VIDEO_FORM, "copy".to_owned())
        .with(c::VIDEO_SKIP_FRAMES, 0)
        .with(c::CAPTION, color.clone())
        .with(c::SPLIT_ID, "split".to_owned())
        .with(c::STAGE_KEYS, "{}".to_owned())
        .with(c::RUN_ID, "test".to_owned())
        .with(c::CURATE_VERSION, "0".to_owned())
        .with(c::CREATED_AT, Micros(0))
        .with(c::VIDEO, film.clone())
}

/// Rows of which each has the next colour.
pub(crate) fn clips(count: usize, frames: usize) -> Vec<Clip> {
    let films = films(frames);
    (0..count).map(|number| clip(number, &films[number % films.len()], frames)).collect()
}

/// A configuration for them.
pub(crate) fn config() -> DataConfig {
    DataConfig { table: "t".into(), size: 32, frames: 8, batch: 2, ..DataConfig::default() }
}

/// Rows in memory; every filter lets all through.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) Vec<Clip>);

impl RowSource for Memory {
    fn version(&self) -> u64 {
        1
    }

    fn scan(
        &self,
        _filter: &str,
        _columns: &[&str],
        each: &mut dyn FnMut(Vec<Listed>),
    ) -> Result<(), DataError> {
        let rows = self.0.iter().enumerate();
        let rows = rows.map(|(row, clip)| Listed { row: row as u64, clip: clip.clone() });
        each(rows.collect());
        Ok(())
    }

    fn fetch(&self, row: u64, clip_id: &str, _want: Want<'_>) -> Result<Clip, ClipFault> {
        let clip = self.0[row as usize].clone();
        if clip.get(c::CLIP_ID).unwrap() == clip_id { Ok(clip) } else { Err(ClipFault::OtherRow) }
    }
}

/// A table on disk.
pub(crate) struct Table {
    folder: TempDir,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
}

impl Table {
    pub(crate) fn new(clips: &[Clip]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let meta = TableMeta::new("split", serde_json::json!({}), serde_json::json!({}));
        let (store, _) = runtime.block_on(Store::create_or_open(folder.path(), &meta)).unwrap();
        let table = Self { folder, store, runtime };
        table.add(clips);
        table
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Commits clips, each a unit of its own.
    pub(crate) fn add(&self, clips: &[Clip]) {
        let unit = |clip: &Clip| {
            UnitRow::default()
                .with(u::UNIT_ID, clip.get(c::UNIT_ID).unwrap().clone())
                .with(u::SOURCE_ID, clip.get(c::SOURCE_ID).unwrap().clone())
                .with(u::SOURCE_URI, clip.get(c::SOURCE_URI).unwrap().clone())
                .with(u::UNITS_IN_SOURCE, 1)
                .with(u::STATUS, "ok".to_owned())
                .with(u::CLIPS, 1)
                .with(u::KEPT, 1)
                .with(u::FAILED, 0)
                .with(u::FRAMES_DECODED, 1)
                .with(u::FRAMES_SOURCE, 1)
                .with(u::SOURCE_BYTES, 1)
                .with(u::SOURCE_MTIME, Micros(0))
                .with(u::DURATION_S, 1.0)
                .with(u::SPLIT_ID, "split".to_owned())
                .with(u::RUN_ID, "test".to_owned())
                .with(u::FINISHED_AT, Micros(0))
        };
        self.runtime.block_on(async {
            let lease = Lease::acquire(&self.path(), "test").await.unwrap();
            let batches = vec![Ok::<_, std::io::Error>(clips.to_vec())];
            let staged = self.store.stage(&lease, batches).await.unwrap();
            let rows = clips.iter().map(unit).collect();
            let receipt = Receipt::write(&lease, rows, staged).unwrap();
            self.store.finish(receipt).await.unwrap();
        });
    }

    /// Its newest version.
    pub(crate) fn rows(&self) -> Arc<TableRows> {
        let pinned = self.runtime.block_on(self.store.pinned(None)).unwrap();
        Arc::new(TableRows::new(pinned, self.runtime.handle().clone()))
    }

    /// Writes columns.
    pub(crate) fn patch(&self, changes: &Changes) -> Result<(), curate_store::StoreError> {
        self.runtime.block_on(self.store.patch(changes)).map(drop)
    }
}
