//! `scenes`: cuts a source into clips where the picture changes.
//!
//! Cuts come from PySceneDetect's detectors (`detect/`) or from lists that are there already
//! (`cuts/`), several passes united on request. The paper's rule (EasyAnimate, arXiv 2405.18991)
//! makes clips of the scenes (`pieces.rs`): longer scenes are cut into pieces of at most `max_s`
//! seconds, and clips shorter than `min_s` are dropped by judgement. `split.rs` drives the one
//! analysis decode that serves every stage.

pub mod cuts;
mod detect;
mod guided;
mod pieces;
mod replay;
mod row;
mod score;
mod shots;
mod split;

use curate_media::SourceKind;
use curate_models::hub::Hub;
use curate_pipeline::{
    Bound, BuildContext, BuildError, Check, FrameNeed, Problems, Shape, Stage, StageConfig,
    StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, Span, TimeBase, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub use detect::{Delta, Detector, DetectorConfig, FadeTo, FlashFilter, Missing, Seen, Weights};
pub use replay::{ClipsOf, Replay};
pub use score::Scorer;
use split::THUMB_GRID;

/// Which pictures of a source are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// Every one.
    #[default]
    Full,
    /// Key frames, and all pictures between two that differ: quicker, less exact, and only for
    /// recipes whose other stages look at no pictures.
    Keyframes,
}

/// Settings of the `scenes` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScenesConfig {
    /// Which pictures are looked at.
    pub scan: Scan,
    /// Detection passes; their cuts are united.
    pub detectors: Vec<DetectorConfig>,
    /// Clips shorter than this many seconds are dropped (a threshold: moving it costs nothing).
    pub min_s: f64,
    /// Longer scenes are cut into consecutive clips of at most this many seconds.
    pub max_s: f64,
    /// Seconds taken off a clip at every edge that is a detected cut.
    pub trim_s: f64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self {
            scan: Scan::default(),
            detectors: vec![DetectorConfig::default()],
            min_s: 3.0,
            max_s: 10.0,
            trim_s: 0.0,
        }
    }
}

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "scenes",
    summary: "cut sources into clips where the picture changes",
    parse: |table, problems| Box::new(ScenesConfig::read(table, problems)),
    schema: settings::<ScenesConfig>,
    example: "[[stage]]\nkind = \"scenes\"\n\
              # PySceneDetect's detectors; several passes are united:\n\
              # scan = \"full\"  # \"keyframes\": quicker, less exact, for recipes of scenes alone\n\
              # detectors = [{ kind = \"content\", threshold = 27.0 }, { kind = \"adaptive\" }]\n\
              # (or threshold for fades, hash, histogram, fixed, keyframe; list reads the cuts from\n\
              # NAME-Scenes.csv or NAME.edl beside each video or in `folder`)\n\
              min_s = 3.0   # shorter clips are dropped\n\
              max_s = 10.0  # longer scenes are cut into consecutive clips\n\
              trim_s = 0.0  # taken off at detected cuts\n",
};

impl ScenesConfig {
    /// Reads the stage's table. Detection passes are read one by one, so that all that are wrong are
    /// found.
    fn read(table: &mut toml::Table, problems: &mut Problems) -> Self {
        let passes = table.remove("detectors");
        let mut config: Self = read_table(table, problems);
        match passes {
            Some(toml::Value::Array(passes)) => config.detectors = detect::read(&passes, problems),
            Some(other) => {
                let table = toml::Table::from_iter([("detectors".to_owned(), other)]);
                config.detectors = read_table::<Self>(&table, problems).detectors;
            }
            None => {}
        }
        config
    }

    fn shot_threshold(&self) -> Option<f64> {
        self.detectors.iter().find_map(DetectorConfig::shot_threshold)
    }
}

impl StageConfig for ScenesConfig {
    fn shape(&self) -> Shape {
        Shape::Split
    }

    fn writes(&self) -> &'static [&'static str] {
        &[
            "clip_id",
            "unit_id",
            "source_id",
            "source_uri",
            "kind",
            "start_pts",
            "end_pts",
            "tb_num",
            "tb_den",
            "start_s",
            "end_s",
            "num_frames",
            "width",
            "height",
            "fps",
            "codec",
            "rotation",
            "transfer",
            "has_audio",
            "thumb",
            "cut_in",
            "cut_out",
            "forced_cut",
            "extra",
        ]
    }

    fn measuring(&self) -> Json {
        let mut settings =
            json!({ "detectors": self.detectors, "max_s": self.max_s, "trim_s": self.trim_s });
        // Tables made before there was a choice go on.
        if self.scan != Scan::default() {
            settings["scan"] = json!(self.scan);
        }
        settings
    }

    fn judging(&self) -> Json {
        json!({ "min_s": self.min_s })
    }

    fn models(&self) -> Vec<&'static str> {
        match self.shot_threshold() {
            Some(_) => vec!["onnxruntime", shots::TRANSNET],
            None => Vec::new(),
        }
    }

    fn validate(&self, problems: &mut Problems) {
        if self.detectors.iter().filter_map(DetectorConfig::shot_threshold).count() > 1 {
            problems.report("detectors", "transnetv2 may be there once").help =
                Some("the lowest threshold finds what the others find".to_owned());
        }
        if self.detectors.is_empty() {
            problems.report("detectors", "at least one detection pass is needed").help =
                Some("leave the setting out for the default".to_owned());
        }
        for (index, detector) in self.detectors.iter().enumerate() {
            for fault in detector.faults() {
                problems.report(&format!("detectors[{index}]"), fault);
            }
        }
        let needs_all = |detector: &DetectorConfig| !detector.works_on_key_frames();
        if self.scan == Scan::Keyframes && self.detectors.iter().any(needs_all) {
            problems.report(
                "scan",
                "\"keyframes\" works with the detectors content (without `frame_skip`), fixed, \
                 keyframe and list only",
            );
        }
        for (key, value) in [("min_s", self.min_s), ("max_s", self.max_s), ("trim_s", self.trim_s)]
        {
            if !value.is_finite() || value < 0.0 {
                problems.report(key, "must be a number of seconds, 0 or more");
            }
        }
        if self.max_s == 0.0 {
            problems.report("max_s", "no clip could be kept: it must be above 0");
        } else if self.max_s < self.min_s {
            problems.report("max_s", "no clip could be kept: it must not be below `min_s`");
        }
    }

    fn validate_need(&self, need: &FrameNeed, problems: &mut Problems) {
        if self.scan == Scan::Keyframes && !guided::suffices(need) {
            problems
                .report(
                    "scan",
                    "\"keyframes\" leaves most pictures undecoded, and later stages need them",
                )
                .help = Some("write: scan = \"full\"".to_owned());
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        if is_image(clip) {
            return Vec::new();
        }
        let seconds = span(clip).map(|span| span.seconds());
        vec![
            Check {
                what: "length",
                value: seconds,
                bound: Bound::AtLeast(self.min_s),
                reason: "too_short",
            },
            // Only a single frame that is shown for longer than that cannot be cut.
            Check {
                what: "length",
                value: seconds,
                bound: Bound::AtMost(self.max_s),
                reason: "too_long",
            },
        ]
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        for folder in self.detectors.iter().filter_map(DetectorConfig::list_folder) {
            let folder = context.base.join(folder);
            if !folder.is_dir() {
                let message = format!(
                    "there is no folder {} for the cut lists of `detectors`; `curate cuts` makes \
                     one, and without `folder` lists are beside the videos",
                    folder.display()
                );
                return Err(BuildError { stage: ENTRY.kind.to_owned(), message });
            }
        }
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        let shots = match self.shot_threshold() {
            None => None,
            Some(threshold) => {
                let hub = Hub::open(context.models).map_err(|error| failed(error.to_string()))?;
                let shots = shots::Shots::load(&hub, context.run.threads_each(), threshold);
                Some(shots.map_err(|error| failed(error.to_string()))?)
            }
        };
        Ok(Stage::Split(Box::new(split::Scenes::new(self.clone(), shots, context))))
    }
}

/// Whether the clip is a still picture, which has no length and no motion.
#[must_use]
pub fn is_image(clip: &Clip) -> bool {
    clip.get(c::KIND).is_some_and(|kind| kind == SourceKind::Image.as_str())
}

/// The span of a clip, when its columns have been written.
#[must_use]
pub fn span(clip: &Clip) -> Option<Span> {
    let time_base = TimeBase::new(*clip.get(c::TB_NUM)?, *clip.get(c::TB_DEN)?)?;
    Some(Span { start: *clip.get(c::START_PTS)?, end: *clip.get(c::END_PTS)?, time_base })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(start: i64, end: i64) -> Clip {
        Clip::default()
            .with(c::TB_NUM, 1)
            .with(c::TB_DEN, 12_800)
            .with(c::START_PTS, start)
            .with(c::END_PTS, end)
    }

    #[test]
    fn three_seconds_exactly_are_long_enough() {
        let config = ScenesConfig::default();
        let judged = |start, end| config.judge(&clip(start, end));
        use curate_pipeline::Verdict::{Drop, Keep};
        assert_eq!(judged(512, 512 + 75 * 512), Keep);
        assert_eq!(judged(512, 512 + 74 * 512), Drop { reason: "too_short" });
        assert_eq!(judged(0, 251 * 512), Drop { reason: "too_long" });
    }

    #[test]
    fn wrong_passes_are_found_beside_other_wrong_settings() {
        let read = |text: &str| {
            let mut problems = Problems::default();
            let config = ScenesConfig::read(&mut text.parse().unwrap(), &mut problems);
            config.validate(&mut problems);
            (config, problems.into_errors().into_iter().map(|e| e.key).collect::<Vec<_>>())
        };
        let wrong = "min_s = 'x'\ndetectors = [{ kind = 'a' }, { kind = 'hash', threshold = 2.0 }]";
        assert_eq!(read(wrong).1, ["min_s", "detectors[0].kind", "detectors[1]"]);
        assert_eq!(read("detectors = 3").1, ["detectors"]);
        assert_eq!(read("detectors = []").1, ["detectors"]);
        assert_eq!(
            read("max_s = 4.0"),
            (ScenesConfig { max_s: 4.0, ..Default::default() }, vec![])
        );
    }

    #[test]
    fn moving_the_threshold_does_not_change_what_is_measured() {
        let moved = ScenesConfig { min_s: 1.0, ..ScenesConfig::default() };
        assert_eq!(moved.measuring(), ScenesConfig::default().measuring());
        assert_ne!(moved.judging(), ScenesConfig::default().judging());
    }
}
