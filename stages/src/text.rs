//! `text`: drops clips that show too much text.
//!
//! The paper's filter (EasyAnimate, arXiv 2405.18991) drops clips in which text covers more than 1 %
//! of the frame; the released recipe takes 2 % (`preset = "easyanimate"`). Lines of text are found in
//! several frames, not in one, so that the judged value is a mean; the area is that of the union of
//! rotated boxes, not their sum. `text_persistence` tells subtitles and logos, which stay where they
//! are, from signs that pass by.
//!
//! PP-OCR's detector sees text where there is none, on a car or in noise; so each line is read, and
//! counts only if something of two characters or more can be read with some certainty.

use curate_media::{Filter, Size, resize};
use curate_models::{
    ModelError,
    hub::Hub,
    text::{
        Bgr, LineReader, PP_OCR, PersistenceOptions, SideLimit, TextBox, TextDetector, input_size,
        line_image, persistence, union_area,
    },
};
use curate_pipeline::{
    BuildContext, BuildError, Check, ClipError, Frame, FrameNeed, Grid, Item, Map, Problems, Shape,
    Stage, StageConfig, StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    Range,
    sample::{bgr_at_most, some_of},
};

/// The paper's threshold, and the released recipe's.
const PAPER_AREA: f64 = 0.01;
const RELEASED_AREA: f64 = 0.02;

/// Frames are picked from a grid of so many a second.
const PER_SECOND: f64 = 1.0;
/// Frames are looked at no larger than this, which small print on 1080p survives.
const MAX_SIDE: u32 = 1280;

/// What a line must be read with to count: so certainly, and so many characters. What was no text was
/// read with up to 0.6 on the clips at hand, and text with 0.96 and more.
const LEAST_SCORE: f32 = 0.8;
const LEAST_CHARACTERS: usize = 2;

/// A frame of more lines is a page; the largest ones say enough.
const MOST_LINES: usize = 64;

/// A named threshold; a threshold of its own overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The released EasyAnimate recipe: at most 2 % of the frame.
    EasyAnimate,
}

/// Settings of the `text` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// A named threshold.
    pub preset: Option<Preset>,
    /// Frames of each clip that are looked at, evenly spread.
    pub frames: usize,
    /// Longer side of the frame in the network, at most 1280; smaller frames stay as they are. 1280 is
    /// nearly what rapidocr makes of 720p, for three times the work.
    pub size: u32,
    /// Whether a line must be readable to count. PP-OCR reads Latin and Chinese letters and Japanese;
    /// lines in other scripts only count with `false`.
    pub read: bool,
    /// Share of the frame that is text, mean over the frames.
    pub area: Option<Range>,
    /// Share of the frame that is text, largest over the frames.
    pub area_max: Range,
    /// Share of the frames in which text stays where it is: subtitles, logos.
    pub persistence: Range,
}

impl Default for TextConfig {
    fn default() -> Self {
        let any = Range::default();
        Self {
            preset: None,
            frames: 3,
            size: 736,
            read: true,
            area: None,
            area_max: any,
            persistence: any,
        }
    }
}

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "text",
    summary: "drop clips that show too much text",
    parse: |table, problems| Box::new(read_table::<TextConfig>(table, problems)),
    schema: settings::<TextConfig>,
    example: "[[stage]]\nkind = \"text\"\n\
              area = { max = 0.01 }    # of the frame, as in the paper; the release has 0.02\n\
              # frames = 3\n\
              # persistence = { max = 0.5 }  # drops subtitles and logos, keeps signs that pass by\n",
};

impl TextConfig {
    fn area(&self) -> Range {
        let most = self.preset.map_or(PAPER_AREA, |Preset::EasyAnimate| RELEASED_AREA);
        self.area.unwrap_or(Range::at_most(most))
    }
}

impl StageConfig for TextConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn writes(&self) -> &'static [&'static str] {
        &["text_area_mean", "text_area_max", "text_persistence", "text_content"]
    }

    fn frames(&self) -> FrameNeed {
        let grid = Grid { per_second: PER_SECOND, max_side: MAX_SIDE };
        FrameNeed { grid: Some(grid), ..FrameNeed::default() }
    }

    fn models(&self) -> Vec<&'static str> {
        vec!["onnxruntime", PP_OCR]
    }

    fn measuring(&self) -> Json {
        json!({ "frames": self.frames, "size": self.size, "read": self.read })
    }

    fn judging(&self) -> Json {
        json!({ "area": self.area(), "area_max": self.area_max, "persistence": self.persistence })
    }

    fn validate(&self, problems: &mut Problems) {
        if !(1..=100).contains(&self.frames) {
            problems.report("frames", "must be 1 to 100").help =
                Some("the default is 3".to_owned());
        }
        if !(64..=MAX_SIDE).contains(&self.size) {
            problems.report("size", format!("must be 64 to {MAX_SIDE} pixels")).help =
                Some("the default is 736".to_owned());
        }
        let ranges =
            [("area", self.area()), ("area_max", self.area_max), ("persistence", self.persistence)];
        for (key, range) in ranges {
            range.validate(key, 1.0, problems);
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = |column| clip.get(column).map(|value| f64::from(*value));
        let amount = ("too_little_text", "too_much_text");
        let stays = ("no_lasting_text", "lasting_text");
        let mean = self.area().checks("text_area_mean", value(c::TEXT_AREA_MEAN), amount);
        let most = self.area_max.checks("text_area_max", value(c::TEXT_AREA_MAX), amount);
        let lasts = self.persistence.checks("text_persistence", value(c::TEXT_PERSISTENCE), stays);
        mean.chain(most).chain(lasts).collect()
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        let hub = Hub::open(context.models).map_err(|error| failed(error.to_string()))?;
        let text = Text::load(&hub, self).map_err(|error| failed(error.to_string()))?;
        Ok(Stage::Map(Box::new(text)))
    }
}

/// The running half. Clips are looked at side by side, so a network gets one thread.
struct Text {
    frames: usize,
    size: u32,
    detector: TextDetector,
    reader: Option<LineReader>,
}

/// The lines of a frame.
#[derive(Default)]
struct Lines {
    boxes: Vec<TextBox>,
    /// The share of the frame that they cover.
    area: f64,
}

impl Text {
    fn load(hub: &Hub, config: &TextConfig) -> Result<Self, ModelError> {
        Ok(Self {
            frames: config.frames,
            size: config.size,
            detector: TextDetector::load(hub, 1)?,
            reader: config.read.then(|| LineReader::load(hub, 1)).transpose()?,
        })
    }

    fn lines(&mut self, frame: &Frame, content: &mut Vec<String>) -> Result<Lines, ClipError> {
        let broken = |message: String| ClipError { kind: "convert", message };
        let picture = bgr_at_most(frame, MAX_SIDE)?;
        let (width, height) = (picture.width, picture.height);
        let size = input_size(width, height, SideLimit::AtMost(self.size));
        let input = resize(&picture, Size::new(size.0, size.1), Filter::Linear)
            .map_err(|error| broken(error.to_string()))?;
        let model = |error: ModelError| ClipError { kind: "model", message: error.to_string() };
        let mut boxes = self.detector.detect(&input.data, size, (width, height)).map_err(model)?;
        if let Some(reader) = &mut self.reader {
            boxes.sort_by(|a, b| area(b).total_cmp(&area(a)));
            boxes.truncate(MOST_LINES);
            let Some(bgr) = Bgr::new(&picture.data, width, height) else {
                return Err(broken("a frame without pixels".to_owned()));
            };
            let mut readable = Vec::with_capacity(boxes.len());
            for line in boxes {
                let Some(image) = line_image(&bgr, &line.corners) else { continue };
                let reading = reader.read(&image).map_err(model)?;
                let text = reading.text.trim();
                if reading.score >= LEAST_SCORE && text.chars().count() >= LEAST_CHARACTERS {
                    if !content.iter().any(|known| known == text) {
                        content.push(text.to_owned());
                    }
                    readable.push(line);
                }
            }
            boxes = readable;
        }
        let quads: Vec<_> = boxes.iter().map(|line| line.corners).collect();
        let area = union_area(&quads, width, height);
        Ok(Lines { boxes, area })
    }
}

/// Area of a box in square pixels.
fn area(line: &TextBox) -> f32 {
    let [a, b, c, _] = line.corners;
    (b[0] - a[0]).hypot(b[1] - a[1]) * (c[0] - b[0]).hypot(c[1] - b[1])
}

impl Map for Text {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let frames = some_of(item, PER_SECOND, self.frames)?;
        let (mut boxes, mut areas, mut content) = (Vec::new(), Vec::new(), Vec::new());
        for frame in frames {
            let lines = self.lines(frame, &mut content)?;
            boxes.push(lines.boxes);
            areas.push(lines.area);
        }
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        let most = areas.iter().copied().fold(0.0, f64::max);
        let stays = persistence(&boxes, &PersistenceOptions::default()).frame_share;
        let clip = &mut item.clip;
        clip.set(c::TEXT_AREA_MEAN, mean as f32);
        clip.set(c::TEXT_AREA_MAX, most as f32);
        clip.set(c::TEXT_PERSISTENCE, stays as f32);
        if self.reader.is_some() {
            clip.set(c::TEXT_CONTENT, content.join("\n"));
        }
        Ok(())
    }
}
