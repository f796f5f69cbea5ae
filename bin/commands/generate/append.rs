//! Generated clips as rows of a table (`--append`).
//!
//! They go the way of every other clip: staged, a receipt, one commit, so that a killed process or a
//! second one can neither lose nor double them; a clip that is there already is left as it is. A row
//! has the prompt as its caption and the record as its `extra`. Stages have not measured it, which
//! `curate run` on such a table says.
//!
//! A clip's name in the table is made of its bytes, so files are read, one at a time; those that are in the
//! table are let go before anything is decoded, and no more than a few others are in memory.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_media::{
    Converter, DecodeOptions, Decoder, Filter, PixelFormat, Size, VideoInfo, encode_jpeg,
};
use curate_schemas::{Clip, ClipId, SourceId, Span, UnitId, UnitRow, columns as c, units as u};
use curate_stages::sources::uri;
use curate_store::{Lease, Outcome, Receipt, Store, StoreError, TableMeta};
use tokio::runtime::Handle;

use super::record::Record;
use crate::{UsageError, commands::run::now};

/// The longer side of a thumbnail, as the split makes them.
const THUMB_SIDE: u32 = 320;
const THUMB_QUALITY: u8 = 85;
/// What decides which clips exist in a table of generated ones: each file is a clip.
const SPLIT_ID: &str = "generated";
/// Clips that are held and committed together.
const TOGETHER: usize = 16;

/// A table that clips are appended to.
pub(super) struct Table {
    store: Store,
    split_id: String,
    run_id: String,
    out: PathBuf,
    runtime: Handle,
    /// The units that were in the table when it was opened. What came since, a commit finds.
    present: BTreeSet<UnitId>,
}

/// A clip on its way into the table.
type Row = (UnitId, Clip, UnitRow);

impl Table {
    /// Opens a table of any recipe, or makes one.
    pub(super) fn open(out: &Path, runtime: &Handle) -> anyhow::Result<Self> {
        let split = serde_json::json!({ "kind": SPLIT_ID });
        let meta = TableMeta::new(SPLIT_ID, split, serde_json::json!([]));
        let (store, split_id, present) = runtime.block_on(async {
            let (store, _) = match Store::create_or_open(out, &meta).await {
                Err(error @ (StoreError::Io { .. } | StoreError::Lance { .. })) => {
                    return Err(UsageError(format!("--append: {error}")).into());
                }
                opened => opened?,
            };
            let split_id = store.meta().await?.split_id;
            let present = store.clip_unit_ids().await?;
            anyhow::Ok((store, split_id, present))
        })?;
        let chance = uuid::Uuid::new_v4().simple().to_string();
        let run_id = format!("{}-{}-{}", now().0 / 1_000_000, std::process::id(), &chance[..8]);
        let (out, runtime) = (out.to_owned(), runtime.clone());
        Ok(Self { store, split_id, run_id, out, runtime, present })
    }

    /// Appends clips that lie in files; how many were not there yet.
    pub(super) fn append(&self, clips: &[(PathBuf, Record)]) -> anyhow::Result<usize> {
        let lease = self.runtime.block_on(async {
            let lease = Lease::acquire(&self.out, &self.run_id).await?;
            self.store.recover(Some(&lease)).await?;
            anyhow::Ok(lease)
        })?;
        let mut seen = BTreeSet::new();
        let mut appended = 0;
        for some in clips.chunks(TOGETHER) {
            appended += self.commit(&lease, some, &mut seen)?;
        }
        Ok(appended)
    }

    /// Appends clips in one commit; how many. `seen` are units that are in the table by now, beside those
    /// that were there from the first.
    fn commit(
        &self,
        lease: &Lease,
        clips: &[(PathBuf, Record)],
        seen: &mut BTreeSet<UnitId>,
    ) -> anyhow::Result<usize> {
        loop {
            let (mut fresh, mut rows, mut units) = (Vec::new(), Vec::new(), Vec::new());
            for (path, record) in clips {
                // Two files with the same bytes are one source, and a commit takes each unit once.
                let is_there = |id: &UnitId| {
                    self.present.contains(id) || seen.contains(id) || fresh.contains(id)
                };
                if let Some((id, clip, unit)) = self.row(path, record, is_there)? {
                    fresh.push(id);
                    rows.push(clip);
                    units.push(unit);
                }
            }
            if rows.is_empty() {
                return Ok(0);
            }
            let outcome = self.runtime.block_on(async {
                let staged = self.store.stage(lease, [Ok::<_, std::io::Error>(rows)]).await?;
                let receipt = Receipt::write(lease, units, staged)?;
                self.store.finish(receipt).await
            })?;
            match outcome {
                // Another process was faster, which is rare: the others are read again.
                Outcome::Duplicate { present } => seen.extend(present),
                Outcome::Committed { .. } | Outcome::NoClips => {
                    let count = fresh.len();
                    seen.extend(fresh);
                    return Ok(count);
                }
            }
        }
    }

    /// The row of a file, or `None` when `is_there` says so of its unit.
    fn row(
        &self,
        path: &Path,
        record: &Record,
        is_there: impl Fn(&UnitId) -> bool,
    ) -> anyhow::Result<Option<Row>> {
        let about = || format!("cannot append {}", path.display());
        let path = std::fs::canonicalize(path).with_context(about)?;
        let bytes = std::fs::read(&path).with_context(about)?;
        // The file may be made anew under the same name: its content is the source.
        let source = SourceId::from_content(blake3::hash(&bytes).as_bytes());
        let unit = UnitId::new(&source, 0);
        if is_there(&unit) {
            return Ok(None);
        }
        let (video, thumb) = look(&path, record.frames).with_context(about)?;
        let size = bytes.len() as u64;
        let uri = uri::from_path(&path);
        let span = Span { start: 0, end: video.duration.unwrap_or(0), time_base: video.time_base };
        let int = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let clip = Clip::default()
            .with(c::CLIP_ID, ClipId::new(&source, &span, &self.split_id).to_string())
            .with(c::UNIT_ID, unit.to_string())
            .with(c::SOURCE_ID, source.to_string())
            .with(c::SOURCE_URI, uri.clone())
            .with(c::KIND, "video".to_owned())
            .with(c::START_PTS, span.start)
            .with(c::END_PTS, span.end)
            .with(c::TB_NUM, span.time_base.num)
            .with(c::TB_DEN, span.time_base.den)
            .with(c::START_S, span.start_s())
            .with(c::END_S, span.end_s())
            .with(c::NUM_FRAMES, int(record.frames))
            .with(c::WIDTH, int(record.width))
            .with(c::HEIGHT, int(record.height))
            .with(c::FPS, record.fps)
            .with(c::CODEC, video.codec.clone())
            .with(c::ROTATION, 0)
            .with(c::HAS_AUDIO, false)
            .with(c::CUT_IN, "source".to_owned())
            .with(c::CUT_OUT, "source".to_owned())
            .with(c::FORCED_CUT, false)
            .with(c::STATUS, "kept".to_owned())
            .with(c::VIDEO, bytes)
            .with(c::VIDEO_FORM, "transcode".to_owned())
            .with(c::VIDEO_SKIP_FRAMES, 0)
            .with(c::THUMB, thumb)
            .with(c::CAPTION, record.prompt.clone())
            .with(c::CAPTION_MODEL, "prompt".to_owned())
            .with(c::EXTRA, serde_json::to_string(record).with_context(about)?)
            .with(c::SPLIT_ID, self.split_id.clone())
            .with(c::STAGE_KEYS, "{}".to_owned())
            .with(c::RUN_ID, self.run_id.clone())
            .with(c::CURATE_VERSION, env!("CARGO_PKG_VERSION").to_owned())
            .with(c::CREATED_AT, now());
        let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let row = UnitRow::default()
            .with(u::UNIT_ID, unit.to_string())
            .with(u::SOURCE_ID, source.to_string())
            .with(u::SOURCE_URI, uri)
            .with(u::UNITS_IN_SOURCE, 1)
            .with(u::STATUS, "ok".to_owned())
            .with(u::CLIPS, 1)
            .with(u::KEPT, 1)
            .with(u::FAILED, 0)
            // Nobody looked at it.
            .with(u::FRAMES_DECODED, 0)
            .with(u::FRAMES_SOURCE, long(record.frames as u64))
            .with(u::SOURCE_BYTES, long(size))
            .with(u::DURATION_S, span.end_s())
            .with(u::SPLIT_ID, self.split_id.clone())
            .with(u::RUN_ID, self.run_id.clone())
            .with(u::FINISHED_AT, now());
        Ok(Some((unit, clip, row)))
    }
}

/// What a clip's file is, and a JPEG of its middle.
fn look(path: &Path, frames: usize) -> anyhow::Result<(VideoInfo, Vec<u8>)> {
    let mut decoder = Decoder::open(path, &DecodeOptions::default())?;
    let video = decoder.info().video.clone();
    let mut middle = None;
    while let Some(frame) = decoder.next_frame()? {
        let is_past = frame.index >= frames as u64 / 2;
        middle = Some(frame);
        if is_past {
            break;
        }
    }
    let frame = middle.context("it has no frame")?;
    let (width, height) = frame.display_size();
    let longer = width.max(height).max(THUMB_SIDE);
    let side = |side: u32| (side * THUMB_SIDE / longer.max(1)).max(1);
    let size = if longer > THUMB_SIDE {
        Size::new(side(width), side(height))
    } else {
        Size::new(width, height)
    };
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let picture = frame.picture(&mut converter, size, Filter::Area, true)?;
    Ok((video, encode_jpeg(&picture, THUMB_QUALITY)?))
}
