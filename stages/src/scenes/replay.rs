//! Clips that a table has already, given their frames again: what a backfill runs in place of the
//! split.
//!
//! Nothing is detected. The spans come from the rows, and the frames of each are picked as they
//! were when it was cut out, since all sampling counts from a clip's first frame. A row leaves as
//! it is in the table, stage keys included, so the engine passes over what is measured already.
//! Decoding ends with the last clip, and does not begin when no stage needs frames.

use std::{fmt, sync::Arc};

use curate_pipeline::{
    BuildContext, BuildError, Check, Emit, FrameNeed, Frames, Shape, Split, SplitReport, Stage,
    StageConfig, Stopped, Unit, UnitError,
};
use curate_schemas::{Clip, UnitId, columns as c};
use serde_json::Value as Json;

use super::{THUMB_GRID, span};
use crate::{
    film::{Reader, unit_error},
    sample::{Sampler, Sampling},
};

/// Gives the clips of a unit that lack something, without their bytes.
pub type ClipsOf = Arc<dyn Fn(&UnitId) -> Result<Vec<Clip>, String> + Send + Sync>;

/// Stands in for the stage that split the sources: the same columns and thresholds.
pub struct Replay {
    /// The stage that made the clips.
    pub split: Arc<dyn StageConfig>,
    /// Where the clips come from.
    pub clips: ClipsOf,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("split", &self.split).finish_non_exhaustive()
    }
}

impl StageConfig for Replay {
    fn shape(&self) -> Shape {
        Shape::Split
    }

    fn writes(&self) -> &'static [&'static str] {
        self.split.writes()
    }

    fn measuring(&self) -> Json {
        self.split.measuring()
    }

    fn judging(&self) -> Json {
        self.split.judging()
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        self.split.checks(clip)
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let clips = Arc::clone(&self.clips);
        Ok(Stage::Split(Box::new(Again { clips, reader: Reader::new(context) })))
    }
}

struct Again {
    clips: ClipsOf,
    reader: Reader,
}

/// The row of a clip that is to be judged again.
fn unjudged(mut clip: Clip) -> Clip {
    let failed = clip.get(c::STATUS).is_some_and(|status| status == "failed");
    // The stage in which it failed has a key too, but measured nothing.
    if let (true, Some(stage), Some(keys)) =
        (failed, clip.get(c::DROP_STAGE), clip.get(c::STAGE_KEYS))
        && let Ok(Json::Object(mut keys)) = serde_json::from_str(keys)
    {
        keys.remove(stage);
        clip.set(c::STAGE_KEYS, Json::Object(keys).to_string());
    }
    for column in [c::STATUS, c::DROP_STAGE, c::DROP_REASON, c::ERROR_KIND, c::ERROR_MESSAGE] {
        clip.put(column, None);
    }
    clip
}

fn stopped(_: Stopped) -> UnitError {
    unit_error(&curate_media::MediaError::Cancelled)
}

impl Split for Again {
    fn split(&mut self, unit: &Unit, out: &mut dyn Emit) -> Result<SplitReport, UnitError> {
        let fail = |error| unit_error(&error);
        let table = |message| UnitError { kind: "table", message, transient: false };
        let mut clips = (self.clips)(&unit.id).map_err(table)?;
        clips.sort_by_key(|clip| clip.get(c::START_PTS).copied());
        let mut clips = clips.into_iter().map(unjudged).peekable();
        if self.reader.need == FrameNeed::default() {
            for clip in clips {
                out.clip(clip, Frames::default()).map_err(stopped)?;
            }
            return Ok(SplitReport::default());
        }
        let mut film = self.reader.open(unit, out)?;
        let video = &film.info().video;
        let mut sampler = Sampler::new(Sampling {
            need: self.reader.need,
            thumbs: THUMB_GRID,
            time_base: video.time_base,
            fps: video.avg_fps,
            chain_bytes: self.reader.memory,
        });
        let starts = |clip: Option<&Clip>| clip.and_then(span).map_or(i64::MAX, |span| span.start);
        sampler.finish(0, starts(clips.peek())).map_err(fail)?;
        let mut index = 0;
        let mut lost = 0_usize;
        // Frames of the clip under way.
        let mut found = 0_i32;
        while clips.peek().is_some() {
            let frame = film.next_frame(out);
            let pts = frame.as_ref().map_or(i64::MAX, |frame| frame.pts);
            while let Some(clip) = clips.next_if(|clip| span(clip).is_none_or(|s| s.end <= pts)) {
                sampler.place_before(index).map_err(fail)?;
                let picked = sampler.finish(index, starts(clips.peek())).map_err(fail)?;
                let counted = std::mem::take(&mut found);
                if picked.grid.is_empty() || clip.get(c::NUM_FRAMES) != Some(&counted) {
                    lost += 1;
                    continue;
                }
                let mut frames = picked.frames;
                if self.reader.need.grid.is_some() {
                    frames.grid = picked.grid;
                }
                out.clip(clip, frames).map_err(stopped)?;
            }
            let Some(frame) = frame else { break };
            found += i32::from(pts >= starts(clips.peek()));
            sampler.push(index, frame).map_err(fail)?;
            index += 1;
            // It lies before the end of the clip under way.
            sampler.place_before(index).map_err(fail)?;
        }
        let duration_s = film.info().duration_s;
        let (stats, mut damage) = film.finish(out)?;
        let left = lost + clips.count();
        if left > 0 {
            let message = format!(
                "{left} clips were not found in {}: it is not the file they were cut from",
                unit.source.uri
            );
            damage = Some(UnitError { kind: "source_changed", message, transient: false });
        }
        Ok(SplitReport {
            frames_decoded: stats.frames + stats.skipped,
            frames_source: stats.frames,
            duration_s,
            damage,
        })
    }
}
