//! `clip`: writes the bytes of clips. Every plan ends with it; `[output]` says how.
//!
//! `copy` cuts the packets out of the source without decoding them again, so it is cheap and
//! loses nothing. `transcode` decodes the clip once more and encodes the pictures as they are shown,
//! for loaders that jump about in it. `none` leaves the table without bytes.

use std::sync::{Arc, OnceLock};

use curate_media::{
    Access, ClipForm, CopiedClip, Copier, Encoding, Room, Shortage, VideoCodec, shown_frames,
    transcode_clip,
};
use curate_pipeline::{
    BuildContext, BuildError, ClipError, Item, Map, Problems, Shape, Stage, StageConfig,
};
use curate_schemas::{Clip, Span, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    film::{access, interlaced},
    scenes::span,
};

/// In which form a clip is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// No bytes.
    None,
    /// The source's packets, in MP4 where it can hold the codec and in Matroska elsewhere.
    #[default]
    Copy,
    /// Encoded anew, in MP4.
    Transcode,
}

/// Which clips' bytes are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bytes {
    /// Those of kept clips.
    #[default]
    Kept,
    /// Those of dropped clips too: a moved threshold lets them in without another run.
    All,
    /// None.
    None,
}

/// `[output.transcode]`: how `form = "transcode"` encodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TranscodeConfig {
    /// `"h264"` (x264, the default), `"h265"` (x265) or `"av1"` (SVT-AV1).
    pub codec: Codec,
    /// Constant quality in the encoder's own scale: lower is better and larger.
    pub crf: f64,
    /// How much time the encoder takes: a word for x264 and x265 (`"veryfast"`, `"medium"`,
    /// `"slow"`), a number for SVT-AV1 (`"8"`). Default: `"medium"` or `"8"`.
    pub preset: Option<String>,
    /// Frames from one key frame to the next. Few make jumping quick, many make clips small.
    pub key_every: u32,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Pictures whose shorter side is larger are shrunk to it, in pixels. Default: sizes are kept.
    pub short_side: Option<u32>,
}

/// The codec of transcoded clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 by x264.
    #[default]
    H264,
    /// H.265 by x265.
    H265,
    /// AV1 by SVT-AV1.
    Av1,
}

impl Default for TranscodeConfig {
    fn default() -> Self {
        let Encoding { crf, key_every, pixel_format, .. } = Encoding::default();
        Self {
            codec: Codec::default(),
            crf,
            preset: None,
            key_every,
            pixel_format,
            short_side: None,
        }
    }
}

impl TranscodeConfig {
    fn encoding(&self) -> Encoding {
        let (codec, usual) = match self.codec {
            Codec::H264 => (VideoCodec::H264, "medium"),
            Codec::H265 => (VideoCodec::H265, "medium"),
            Codec::Av1 => (VideoCodec::Av1, "8"),
        };
        Encoding {
            codec,
            crf: self.crf,
            preset: self.preset.clone().unwrap_or_else(|| usual.to_owned()),
            key_every: self.key_every,
            pixel_format: self.pixel_format.clone(),
            short_side: self.short_side,
        }
    }
}

/// Settings of the last stage.
#[derive(Clone, Debug, Default)]
pub struct ClipConfig {
    /// In which form a clip is stored.
    pub form: Form,
    /// Whether dropped clips are stored too.
    pub all: bool,
    /// How clips are encoded, where they are.
    pub transcode: TranscodeConfig,
    /// No setting.
    pub common: Arc<Common>,
}

/// What the workers of a run have in common.
#[derive(Debug, Default)]
pub struct Common {
    /// The files that are copied from.
    copier: Copier,
    /// Memory for transcoding; made when the first worker is.
    room: OnceLock<Room>,
}

impl Common {
    /// What transcoding had too little memory for since this was last asked.
    #[must_use]
    pub fn shortage(&self) -> Shortage {
        self.room.get().map(Room::shortage).unwrap_or_default()
    }
}

impl StageConfig for ClipConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn reads(&self) -> &'static [&'static str] {
        &["start_pts", "end_pts", "tb_num", "tb_den", "num_frames"]
    }

    fn may_read(&self) -> &'static [&'static str] {
        &["kind", "width", "height"]
    }

    fn writes(&self) -> &'static [&'static str] {
        &["video", "video_form", "video_skip_frames"]
    }

    fn wants_dropped(&self) -> bool {
        self.all && self.form != Form::None
    }

    fn holds(&self, memory: u64) -> u64 {
        match self.form {
            Form::None | Form::Copy => 0,
            Form::Transcode => memory / TRANSCODING_PART,
        }
    }

    fn measuring(&self) -> Json {
        match self.form {
            Form::None | Form::Copy => json!({ "form": self.form }),
            Form::Transcode => json!({ "form": self.form, "transcode": self.transcode }),
        }
    }

    fn validate(&self, problems: &mut Problems) {
        problems.enter("[output.transcode]");
        if self.form == Form::Transcode {
            for (key, fault) in self.transcode.encoding().faults() {
                problems.report(key, fault);
            }
        }
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let make: Make = match self.form {
            Form::None => Box::new(|_, _, _| Ok(None)),
            Form::Copy => {
                let common = Arc::clone(&self.common);
                Box::new(move |item, span, access| {
                    common.copier.copy(&item.unit.source.path, span, access).map(Some)
                })
            }
            Form::Transcode => {
                let encoding = self.transcode.encoding();
                let common = Arc::clone(&self.common);
                let memory = self.holds(context.run.memory);
                Box::new(move |item, span, access| {
                    let room = common.room.get_or_init(|| Room::new(memory));
                    let taken = room.take(needed(&item.clip, &encoding), access)?;
                    item.blocked += taken.waited;
                    let source = &item.unit.source;
                    let interlaced = interlaced(source.reading);
                    transcode_clip(&source.path, span, &encoding, interlaced, access).map(Some)
                })
            }
        };
        let writer = Writer { make, form: self.form, all: self.all, access: access(context, None) };
        Ok(Stage::Map(Box::new(writer)))
    }
}

/// Transcoding has one part in so many of `[run] memory`.
pub const TRANSCODING_PART: u64 = 2;

/// Bytes that transcoding a clip takes; none for a picture, which stays as it is.
fn needed(clip: &Clip, encoding: &Encoding) -> u64 {
    if clip.get(c::KIND).is_some_and(|kind| kind == "image") {
        return 0;
    }
    let number = |value: Option<&i32>| value.map_or(0, |value| value.unsigned_abs());
    let size = (number(clip.get(c::WIDTH)), number(clip.get(c::HEIGHT)));
    encoding.memory(size, number(clip.get(c::NUM_FRAMES)))
}

/// Makes the bytes of a span.
type Make = Box<
    dyn Fn(&mut Item, &Span, &Access) -> Result<Option<CopiedClip>, curate_media::MediaError>
        + Send,
>;

struct Writer {
    make: Make,
    form: Form,
    all: bool,
    access: Access,
}

impl Map for Writer {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let broken = |kind, message: String| ClipError { kind, message };
        let none = |item: &mut Item| {
            item.clip.set(c::VIDEO_FORM, "none".to_owned());
            Ok(())
        };
        if item.dropped.is_some() && !self.all {
            return none(item);
        }
        let span =
            span(&item.clip).ok_or_else(|| broken("mux", "the clip has no span".to_owned()))?;
        self.access.track = item.unit.source.reading.track;
        let made = (self.make)(item, &span, &self.access)
            .map_err(|error| broken(error.kind(), error.to_string()))?;
        let Some(made) = made else { return none(item) };
        item.frames_again += made.decoded;
        let frames = i64::from(item.clip.get(c::NUM_FRAMES).copied().unwrap_or_default());
        let mut found = i64::from(made.frames);
        // Packets that give no frame: damaged ones, and those that say that nothing has changed.
        if self.form == Form::Copy && found > frames {
            let shown = shown_frames(&item.unit.source.path, &span, &self.access);
            let shown = shown.map_err(|error| broken(error.kind(), error.to_string()))?;
            item.frames_again += shown.decoded;
            found = i64::from(shown.frames);
        }
        if found != frames {
            let message = format!(
                "{found} frames were found where the clip has {frames}: the file is damaged, or its times \
                 are out of order; mend it (ffmpeg -fflags +genpts -i FILE ...), or use form = \"none\""
            );
            return Err(broken("decode", message));
        }
        let form = match (self.form, made.form) {
            (_, ClipForm::Image) => "image",
            (Form::Transcode, _) => "transcode",
            (_, ClipForm::Mp4) => "copy",
            (_, ClipForm::Matroska) => "copy_mkv",
        };
        item.clip.set(c::VIDEO_FORM, form.to_owned());
        item.clip.set(c::VIDEO_SKIP_FRAMES, i32::try_from(made.skip_frames).unwrap_or(i32::MAX));
        item.clip.set(c::VIDEO, made.bytes);
        Ok(())
    }
}
