//! From a table's rows to [`ReportData`]: which values there are, which settings move their
//! thresholds, and what each clip has of them.
//!
//! Values come out of the stages' own checks, those that are derived from columns too, so nothing is
//! computed in two ways. A value without a threshold has no check; it is read through a stage that is
//! given one for that purpose (`limits.rs` knows which). Thresholds that cannot be moved without
//! measuring again, such as the longest clip of the split, count but have no slider.

use std::{collections::BTreeMap, sync::Arc};

use curate_pipeline::{Shape, StageConfig};
use curate_schemas::{Clip, Kind, Value, columns as c};
use curate_stages::dedup;
use serde_json::Value as Json;

use super::{
    ClipRow, Limit, ReportData, Score, StageLine, VerdictCount,
    limits::{bound, movable},
};
use crate::judges::measured;

/// A stage of the table, and how it is read from other settings.
pub(crate) struct Judged<'a> {
    pub(crate) kind: &'static str,
    pub(crate) config: Arc<dyn StageConfig>,
    /// What the table shows of it.
    pub(crate) line: StageLine,
    /// The stage with other judging settings; `None` where it refuses them.
    pub(crate) parse: &'a dyn Fn(&Json) -> Option<Arc<dyn StageConfig>>,
}

/// Where the values of some scores come from.
struct Reader {
    kind: &'static str,
    /// Whether the stage measures anything; if not, it judges every clip.
    measures: bool,
    from: Values,
}

enum Values {
    /// Checks of a stage: a score's number and its `Check::what`.
    Checks(Arc<dyn StageConfig>, Vec<(usize, &'static str)>),
    /// A column of numbers.
    Column(usize, &'static str),
}

/// Takes in clips, one after the other.
pub(crate) struct Gather {
    data: ReportData,
    readers: Vec<Reader>,
    stages: Vec<(&'static str, bool)>,
    columns: Vec<&'static str>,
    verdicts: BTreeMap<(String, String, String), u64>,
    wants_bytes: bool,
    seen: u64,
}

/// Columns that every row of the report shows.
const SHOWN: [&str; 16] = [
    c::DUP_OF.name(),
    c::DUP_DISTANCE.name(),
    c::CLIP_ID.name(),
    c::SOURCE_URI.name(),
    c::START_S.name(),
    c::END_S.name(),
    c::STATUS.name(),
    c::DROP_STAGE.name(),
    c::DROP_REASON.name(),
    c::ERROR_KIND.name(),
    c::ERROR_MESSAGE.name(),
    c::CAPTION.name(),
    c::CAPTION_MODEL.name(),
    c::CAPTION_FLAGS.name(),
    c::STAGE_KEYS.name(),
    c::VIDEO_FORM.name(),
];

/// Columns that are never read for it.
const LARGE: [&str; 4] =
    [c::VIDEO.name(), c::THUMB.name(), c::EMBEDDING.name(), c::TEXT_CONTENT.name()];

impl Gather {
    /// For a table of `clips` rows that these stages judge, in the order in which they decide.
    /// `wants_bytes`: whether kept clips have bytes in the table.
    pub(crate) fn new(stages: Vec<Judged<'_>>, clips: u64, wants_bytes: bool) -> Self {
        let data = ReportData { every: super::every(clips), ..ReportData::default() };
        let mut gather = Self {
            data,
            readers: Vec::new(),
            stages: Vec::new(),
            columns: SHOWN.to_vec(),
            verdicts: BTreeMap::new(),
            wants_bytes,
            seen: 0,
        };
        for stage in stages {
            gather.stage(stage);
        }
        gather.columns.sort_unstable();
        gather.columns.dedup();
        gather.columns.retain(|name| !LARGE.contains(name));
        gather
    }

    /// The columns that clips must come with.
    pub(crate) fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    fn stage(&mut self, stage: Judged<'_>) {
        let Judged { kind, config, line, parse } = stage;
        let measures = !config.writes().is_empty();
        self.stages.push((kind, measures));
        self.columns.extend(config.reads().iter().chain(config.writes()));
        let none = Clip::default();
        let now = config.checks(&none);
        // Who is whose copy is settled over the table; the page cannot do that, so no slider moves it.
        let settings = if kind == dedup::ENTRY.kind {
            Vec::new()
        } else {
            movable(kind, &line.judging, &|settings| {
                parse(settings).map(|config| config.checks(&none))
            })
        };
        // Values that are judged now, then those that might be.
        let mut whats: Vec<&'static str> = Vec::new();
        for what in now.iter().map(|check| check.what).chain(settings.iter().map(|s| s.what)) {
            if !whats.contains(&what) {
                whats.push(what);
            }
        }
        let mut judged = Vec::new();
        for what in whats {
            let of_this = || settings.iter().filter(move |setting| setting.what == what);
            let mut limits: Vec<Limit> = of_this().map(|setting| setting.limit.clone()).collect();
            for (side, value) in now.iter().filter(|check| check.what == what).map(bound) {
                if limits.iter().all(|limit| limit.side != side) {
                    let value = Some(value);
                    limits.push(Limit { key: None, side, value, is_optional: false });
                }
            }
            let score = self.score(kind, what, limits);
            if now.iter().any(|check| check.what == what) {
                judged.push((score, what));
            } else if let Some(config) = of_this().find_map(|setting| parse(&setting.witness)) {
                let from = Values::Checks(config, vec![(score, what)]);
                self.readers.push(Reader { kind, measures, from });
            }
        }
        if config.shape() != Shape::Split {
            for spec in c::CLIPS.columns.iter().filter(|spec| config.writes().contains(&spec.name))
            {
                let is_known = self.data.scores.iter().any(|score| score.what == spec.name);
                if matches!(spec.kind, Kind::F32 | Kind::F64) && !is_known {
                    let score = self.score(kind, spec.name, Vec::new());
                    let from = Values::Column(score, spec.name);
                    self.readers.push(Reader { kind, measures, from });
                }
            }
        }
        self.readers.push(Reader { kind, measures, from: Values::Checks(config, judged) });
        self.data.stages.push(line);
    }

    /// A new score; its number.
    fn score(&mut self, kind: &str, what: &str, limits: Vec<Limit>) -> usize {
        let spec = c::CLIPS.columns.iter().find(|spec| spec.name == what);
        let (about, unit) = match (spec, what) {
            (Some(spec), _) => (spec.doc.trim(), spec.unit),
            (None, "length") => ("Length of the clip.", "seconds"),
            (None, "area") => ("Width times height, as displayed.", "pixels"),
            (None, "aspect") => ("Width divided by height, as displayed.", ""),
            _ => ("", ""),
        };
        self.data.scores.push(Score {
            stage: kind.to_owned(),
            what: what.to_owned(),
            about: about.to_owned(),
            unit: unit.to_owned(),
            values: Vec::new(),
            limits,
        });
        self.data.scores.len() - 1
    }

    /// Takes in the next clip; in a large table most are only counted.
    pub(crate) fn clip(&mut self, clip: &Clip) {
        let text = |column| clip.get(column).cloned();
        let status = text(c::STATUS).unwrap_or_default();
        let reason = text(c::DROP_REASON).or_else(|| text(c::ERROR_KIND));
        let stage = text(c::DROP_STAGE);
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        *self.verdicts.entry((status.clone(), word(&stage), word(&reason))).or_default() += 1;
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.data.every) {
            return;
        }
        let keys = measured(clip);
        let has = |kind: &str, measures: bool| !measures || keys.contains_key(kind);
        let mut lacks: Vec<String> = self
            .stages
            .iter()
            .filter(|(kind, measures)| !has(kind, *measures))
            .map(|(kind, _)| (*kind).to_owned())
            .collect();
        if self.wants_bytes && clip.get(c::VIDEO_FORM).is_none_or(|form| form == "none") {
            lacks.push("bytes".to_owned());
        }
        for score in &mut self.data.scores {
            score.values.push(None);
        }
        let row = self.data.clips.len();
        for reader in self.readers.iter().filter(|reader| has(reader.kind, reader.measures)) {
            match &reader.from {
                Values::Checks(config, scores) => {
                    let checks = config.checks(clip);
                    for (score, what) in scores {
                        let check = checks.iter().find(|check| check.what == *what);
                        self.data.scores[*score].values[row] = check.and_then(|check| check.value);
                    }
                }
                Values::Column(score, name) => {
                    self.data.scores[*score].values[row] = match clip.row().by_name(name) {
                        Some(Value::F32(value)) => Some(f64::from(*value)),
                        Some(Value::F64(value)) => Some(*value),
                        _ => None,
                    };
                }
            }
        }
        let is_copy = stage.as_deref() == Some(dedup::ENTRY.kind);
        self.data.clips.push(ClipRow {
            id: text(c::CLIP_ID).unwrap_or_default(),
            source: text(c::SOURCE_URI).unwrap_or_default(),
            start_s: clip.get(c::START_S).copied().unwrap_or_default(),
            end_s: clip.get(c::END_S).copied().unwrap_or_default(),
            status,
            stage,
            reason,
            message: text(c::ERROR_MESSAGE),
            caption: text(c::CAPTION),
            caption_model: text(c::CAPTION_MODEL),
            flags: clip.get(c::CAPTION_FLAGS).cloned().unwrap_or_default(),
            lacks,
            is_final: is_copy,
        });
    }

    /// The report so far: stages, scores, clips and verdicts. The rest is for the caller to fill in.
    pub(crate) fn finish(mut self) -> ReportData {
        let count =
            |((status, stage, reason), clips)| VerdictCount { status, stage, reason, clips };
        self.data.verdicts = self.verdicts.into_iter().map(count).collect();
        self.data
    }
}

#[cfg(test)]
mod tests {
    use curate_pipeline::{Bound, BuildContext, BuildError, Check, Stage};
    use serde_json::json;

    use super::*;
    use crate::report_page::Side;

    /// A stage that judges what it measures, an area, and a length whose maximum is not a threshold.
    #[derive(Debug)]
    struct Fake(Json);

    impl StageConfig for Fake {
        fn shape(&self) -> Shape {
            Shape::Map
        }

        fn reads(&self) -> &'static [&'static str] {
            &["width", "height"]
        }

        fn writes(&self) -> &'static [&'static str] {
            &["motion", "motion_camera", "motion_method"]
        }

        fn measuring(&self) -> Json {
            Json::Null
        }

        fn checks(&self, clip: &Clip) -> Vec<Check> {
            let limit = |key: &str| self.0.pointer(key).and_then(Json::as_f64);
            let sides = clip.get(c::WIDTH).zip(clip.get(c::HEIGHT));
            let area = sides.map(|(w, h)| f64::from(*w) * f64::from(*h));
            let motion = clip.get(c::MOTION).copied().map(f64::from);
            let length = clip.get(c::END_S).zip(clip.get(c::START_S)).map(|(e, s)| e - s);
            let checks = [
                ("motion", motion, limit("/keep/min").map(Bound::AtLeast)),
                ("area", area, limit("/min_area").map(Bound::AtLeast)),
                ("length", length, Some(Bound::AtMost(10.0))),
            ];
            let check = |(what, value, bound): (_, _, Option<Bound>)| {
                Some(Check { what, value, bound: bound?, reason: "why" })
            };
            checks.into_iter().filter_map(check).collect()
        }

        fn build(&self, _: &BuildContext<'_>) -> Result<Stage, BuildError> {
            Err(BuildError { stage: "motion".to_owned(), message: "not here".to_owned() })
        }
    }

    fn clip(id: u32, motion: Option<f32>) -> Clip {
        let mut clip = Clip::default()
            .with(c::CLIP_ID, format!("{id:032x}"))
            .with(c::STATUS, "kept".to_owned())
            .with(c::START_S, 1.0)
            .with(c::END_S, 6.0)
            .with(c::WIDTH, 64)
            .with(c::HEIGHT, 48)
            .with(c::STAGE_KEYS, "{\"motion\": \"key\"}".to_owned());
        clip.put(c::MOTION, motion);
        clip.put(c::MOTION_CAMERA, motion.map(|motion| motion / 2.0));
        clip
    }

    fn gather(clips: u64) -> Gather {
        let judging = json!({"keep": {"min": 0.5}, "min_area": null});
        let line = StageLine { judging: judging.clone(), ..StageLine::default() };
        let parse = |settings: &Json| -> Option<Arc<dyn StageConfig>> {
            Some(Arc::new(Fake(settings.clone())))
        };
        let config = Arc::new(Fake(judging));
        Gather::new(vec![Judged { kind: "motion", config, line, parse: &parse }], clips, true)
    }

    #[test]
    fn values_come_from_checks_and_columns() {
        let mut gather = gather(3);
        assert!(
            ["width", "motion", "stage_keys"].iter().all(|name| gather.columns().contains(name))
        );
        gather.clip(&clip(1, Some(0.75)));
        gather.clip(&clip(2, Some(0.25)).with(c::VIDEO_FORM, "copy".to_owned()));
        // Its stage has not measured it, whatever stands in the row.
        gather.clip(&clip(3, Some(0.5)).with(c::STAGE_KEYS, "{}".to_owned()));
        let data = gather.finish();
        let score = |what: &str| data.scores.iter().find(|score| score.what == what).unwrap();
        assert_eq!(score("motion").values, [Some(0.75), Some(0.25), None]);
        assert_eq!(score("motion_camera").values, [Some(0.375), Some(0.125), None]);
        assert_eq!(score("area").values, [Some(3072.0), Some(3072.0), None]);
        assert_eq!(score("length").values, [Some(5.0), Some(5.0), None]);
        assert_eq!(data.scores.len(), 4);
        assert_eq!(score("motion").unit, "frame diagonals/s");
        let keys = |what: &str| {
            let limits = score(what).limits.iter();
            limits.map(|l| (l.key.as_deref(), l.side, l.value)).collect::<Vec<_>>()
        };
        assert_eq!(keys("motion"), [(Some("motion.keep.min"), Side::AtLeast, Some(0.5))]);
        assert_eq!(keys("area"), [(Some("motion.min_area"), Side::AtLeast, None)]);
        assert_eq!(keys("length"), [(None, Side::AtMost, Some(10.0))]);
        assert_eq!(keys("motion_camera"), []);
        let lacks: Vec<String> = data.clips.iter().map(|clip| clip.lacks.join(" ")).collect();
        assert_eq!(lacks, ["bytes", "", "motion bytes"]);
        assert_eq!(data.passing(), 2);
    }

    #[test]
    fn a_large_table_is_counted_whole_and_shown_in_part() {
        let mut gather = gather(3 * super::super::MOST_CLIPS);
        (0..10).for_each(|id| gather.clip(&clip(id, Some(1.0))));
        let data = gather.finish();
        assert_eq!((data.every, data.clips.len(), data.verdicts[0].clips), (3, 4, 10));
        assert!(data.scores.iter().all(|score| score.values.len() == 4));
    }
}
