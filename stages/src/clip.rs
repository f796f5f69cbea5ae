//! `clip`: writes the bytes of kept clips. Every plan ends with it; `[output] form` chooses how.
//!
//! `copy` cuts the packets out of the source without decoding them again, so it is cheap and
//! loses nothing; `none` leaves the table without bytes.

use std::time::Duration;

use curate_media::{ClipForm, Limits, copy_clip};
use curate_pipeline::{BuildContext, BuildError, ClipError, Item, Map, Shape, Stage, StageConfig};
use curate_schemas::columns as c;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::scenes::span;

/// In which form a kept clip is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// No bytes.
    None,
    /// The source's packets, in MP4 where it can hold the codec and in Matroska elsewhere.
    #[default]
    Copy,
}

/// Settings of the last stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClipConfig {
    /// In which form a kept clip is stored.
    pub form: Form,
}

impl StageConfig for ClipConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn reads(&self) -> &'static [&'static str] {
        &["start_pts", "end_pts", "tb_num", "tb_den"]
    }

    fn writes(&self) -> &'static [&'static str] {
        &["video", "video_form", "video_skip_frames"]
    }

    fn measuring(&self) -> Json {
        json!(self)
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let limits = Limits {
            deadline: Some(Duration::from_secs_f64(context.run.stall_seconds)),
            cancel: Some(context.stop.flag()),
        };
        Ok(Stage::Map(Box::new(Writer { form: self.form, limits })))
    }
}

#[derive(Debug)]
struct Writer {
    form: Form,
    limits: Limits,
}

impl Map for Writer {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        if self.form == Form::None || item.dropped.is_some() {
            item.clip.set(c::VIDEO_FORM, "none".to_owned());
            return Ok(());
        }
        let span = span(&item.clip)
            .ok_or_else(|| ClipError { kind: "mux", message: "the clip has no span".to_owned() })?;
        let copied = copy_clip(&item.unit.source.path, &span, &self.limits)
            .map_err(|error| ClipError { kind: error.kind(), message: error.to_string() })?;
        let form = match copied.form {
            ClipForm::Mp4 => "copy",
            ClipForm::Matroska => "copy_mkv",
        };
        item.clip.set(c::VIDEO_FORM, form.to_owned());
        item.clip.set(c::VIDEO_SKIP_FRAMES, i32::try_from(copied.skip_frames).unwrap_or(i32::MAX));
        item.clip.set(c::VIDEO, copied.bytes);
        Ok(())
    }
}
