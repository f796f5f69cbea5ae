//! `probe`: keeps or drops clips by what their source is: resolution, rate, shape, length.
//!
//! It measures nothing itself: the values come from the split, so its thresholds can be moved
//! without decoding again. `preset = "easyanimate"` is the released recipe's 512 x 512 area.

use curate_pipeline::{
    Bound, BuildContext, BuildError, Check, ClipError, Item, Map, Problems, Resources, Shape,
    Stage, StageConfig, StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::scenes::{is_image, span};

/// A named set of thresholds; single settings override it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The released EasyAnimate recipe: an area of at least 512 x 512 pixels.
    EasyAnimate,
}

/// Settings of the `probe` stage. What is left out is not judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// A named set of thresholds.
    pub preset: Option<Preset>,
    /// Least width in pixels, as displayed.
    pub min_width: Option<f64>,
    /// Least height in pixels, as displayed.
    pub min_height: Option<f64>,
    /// Least area in pixels.
    pub min_area: Option<f64>,
    /// Least frames per second of the source.
    pub min_fps: Option<f64>,
    /// Most frames per second of the source.
    pub max_fps: Option<f64>,
    /// Least width divided by height.
    pub min_aspect: Option<f64>,
    /// Most width divided by height.
    pub max_aspect: Option<f64>,
    /// Least length of the clip in seconds.
    pub min_duration_s: Option<f64>,
    /// Most length of the clip in seconds.
    pub max_duration_s: Option<f64>,
}

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "probe",
    summary: "drop clips by resolution, frame rate, shape or length",
    parse: |table, problems| Box::new(read_table::<ProbeConfig>(table, problems)),
    schema: settings::<ProbeConfig>,
    example: "[[stage]]\nkind = \"probe\"\npreset = \"easyanimate\"  # at least 512 x 512 pixels\n\
              # min_fps = 12\n# min_aspect = 0.5\n# max_aspect = 2.4\n",
};

impl ProbeConfig {
    fn min_area(&self) -> Option<f64> {
        let preset = self.preset.map(|Preset::EasyAnimate| 512.0 * 512.0);
        self.min_area.or(preset)
    }
}

impl StageConfig for ProbeConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn reads(&self) -> &'static [&'static str] {
        &["width", "height", "fps", "start_pts", "end_pts", "tb_num", "tb_den"]
    }

    fn writes(&self) -> &'static [&'static str] {
        &[]
    }

    /// There is nothing to measure, so one worker is plenty.
    fn resources(&self) -> Resources {
        Resources { max_workers: 1, ..Resources::cpu(1) }
    }

    fn measuring(&self) -> Json {
        Json::Null
    }

    fn judging(&self) -> Json {
        json!(self)
    }

    fn validate(&self, problems: &mut Problems) {
        for (key, value) in [
            ("min_width", self.min_width),
            ("min_height", self.min_height),
            ("min_area", self.min_area),
            ("min_fps", self.min_fps),
            ("max_fps", self.max_fps),
            ("min_aspect", self.min_aspect),
            ("max_aspect", self.max_aspect),
            ("min_duration_s", self.min_duration_s),
            ("max_duration_s", self.max_duration_s),
        ] {
            if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                problems.report(key, "must be a number, 0 or more");
            }
        }
        let pairs = [
            ("min_fps", self.min_fps, self.max_fps),
            ("min_aspect", self.min_aspect, self.max_aspect),
            ("min_duration_s", self.min_duration_s, self.max_duration_s),
        ];
        for (key, min, max) in pairs {
            if let (Some(min), Some(max)) = (min, max)
                && min > max
            {
                problems
                    .report(key, format!("no clip could pass: {min} is above the maximum, {max}"));
            }
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let width = clip.get(c::WIDTH).map(|side| f64::from(*side));
        let height = clip.get(c::HEIGHT).map(|side| f64::from(*side));
        let both = width.zip(height);
        let fps = clip.get(c::FPS).copied();
        let aspect = both.filter(|(_, h)| *h > 0.0).map(|(w, h)| w / h);
        let seconds = span(clip).filter(|_| !is_image(clip)).map(|span| span.seconds());
        let at_least = |what, value, min: Option<f64>, reason| {
            min.map(|min| Check { what, value, bound: Bound::AtLeast(min), reason })
        };
        let at_most = |what, value, max: Option<f64>, reason| {
            max.map(|max| Check { what, value, bound: Bound::AtMost(max), reason })
        };
        [
            at_least("width", width, self.min_width, "too_small"),
            at_least("height", height, self.min_height, "too_small"),
            at_least("area", both.map(|(w, h)| w * h), self.min_area(), "too_small"),
            at_least("fps", fps, self.min_fps, "too_slow"),
            at_most("fps", fps, self.max_fps, "too_fast"),
            at_least("aspect", aspect, self.min_aspect, "too_narrow"),
            at_most("aspect", aspect, self.max_aspect, "too_wide"),
            at_least("length", seconds, self.min_duration_s, "too_short"),
            at_most("length", seconds, self.max_duration_s, "too_long"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn build(&self, _context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        Ok(Stage::Map(Box::new(Probe)))
    }
}

/// Nothing is left to measure: the split has written the values.
#[derive(Debug)]
struct Probe;

impl Map for Probe {
    fn map(&mut self, _item: &mut Item) -> Result<(), ClipError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use curate_pipeline::{Frames, Verdict, testing};

    use super::*;

    fn clip(width: i32, height: i32) -> Clip {
        Clip::default().with(c::WIDTH, width).with(c::HEIGHT, height).with(c::FPS, 25.0)
    }

    #[test]
    fn the_contract_holds() {
        testing::assert_stage_contract(&ENTRY, "preset = \"easyanimate\"", || {
            vec![
                testing::item(clip(640, 360), Frames::default()),
                testing::item(clip(1280, 720), Frames::default()),
            ]
        });
    }

    #[test]
    fn the_released_area_is_available_by_name() {
        let config = ProbeConfig { preset: Some(Preset::EasyAnimate), ..ProbeConfig::default() };
        assert_eq!(config.judge(&clip(512, 512)), Verdict::Keep);
        assert_eq!(config.judge(&clip(640, 360)), Verdict::Drop { reason: "too_small" });
        assert_eq!(ProbeConfig::default().judge(&clip(8, 8)), Verdict::Keep);
    }
}
