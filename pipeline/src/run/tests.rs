//! The engine's laws, with stages that fail at random.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use curate_schemas::{ClipId, SourceId, Span, TimeBase, UnitId, columns as c};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    BatchMap, BuildError, ClipError, Document, Emit, Frames, Map, NoObserver, Problems, Shape,
    SourceRef, Split, SplitReport, StageConfig, StageEntry, StageFault, Surroundings, Verdict,
    plan::Ingredients,
    stage::{Bound, Check},
};

/// A number that looks random and depends only on the text.
fn dice(text: &str) -> u64 {
    curate_schemas::stable_hash64(text)
}

#[derive(Debug)]
struct FakeSplit;
impl StageConfig for FakeSplit {
    fn shape(&self) -> Shape {
        Shape::Split
    }
    fn writes(&self) -> &'static [&'static str] {
        &["clip_id", "width"]
    }
    fn measuring(&self) -> Json {
        Json::Null
    }
    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = clip.get(c::WIDTH).map(|w| f64::from(*w));
        vec![Check { what: "width", value, bound: Bound::AtLeast(10.0), reason: "too_short" }]
    }
    fn build(&self, _context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        Ok(Stage::Split(Box::new(Self)))
    }
}
impl Split for FakeSplit {
    fn split(&mut self, unit: &Unit, out: &mut dyn Emit) -> Result<SplitReport, UnitError> {
        let seed = dice(unit.id.as_str());
        let clips = seed % 8;
        for index in 0..clips {
            let span = Span {
                start: index as i64,
                end: index as i64 + 1,
                time_base: TimeBase { num: 1, den: 25 },
            };
            let id = ClipId::new(&unit.source.id, &span, "");
            let width = (dice(id.as_str()) % 100) as i32;
            let clip = Clip::default()
                .with(c::CLIP_ID, id.to_string())
                .with(c::UNIT_ID, unit.id.to_string())
                .with(c::WIDTH, width);
            // Up to three kilobytes of pixels: less than a batch, or more than the whole bound.
            let bytes = 24 + (dice(id.as_str()) >> 8) as usize % 3000;
            let frame = crate::Frame { pts: 0, width: 1, height: 1, rgb: vec![0; bytes] };
            let frames = Frames { grid: vec![frame], ..Frames::default() };
            if out.clip(clip, frames).is_err() {
                break;
            }
        }
        if (seed >> 16).is_multiple_of(3) && out.threads() > 1 {
            return Err(UnitError::one_thread());
        }
        match (seed >> 8) % 6 {
            0 => panic!("the split fell over"),
            1 => Err(UnitError { kind: "decode", message: "broken".to_owned(), transient: false }),
            2 => Err(UnitError { kind: "timeout", message: "slow".to_owned(), transient: true }),
            3 => Ok(SplitReport {
                frames_decoded: clips,
                damage: Some(UnitError {
                    kind: "decode",
                    message: "half".to_owned(),
                    transient: false,
                }),
                ..SplitReport::default()
            }),
            _ => Ok(SplitReport { frames_decoded: clips, ..SplitReport::default() }),
        }
    }
}

#[derive(Debug)]
struct FakeMeasure {
    shape: Shape,
    writes: &'static [&'static str],
}
impl FakeMeasure {
    fn measure(&self, item: &mut Item) -> Result<(), ClipError> {
        let column = self.writes[0];
        let roll = dice(&format!("{column}{}", item.clip.get(c::CLIP_ID).unwrap()));
        match roll % 10 {
            0 if self.shape == Shape::Map => panic!("measuring fell over"),
            1 => Err(ClipError { kind: "decode", message: "no".to_owned() }),
            _ => {
                let value = (roll % 1000) as f32 / 1000.0;
                if column == "motion" {
                    item.clip.set(c::MOTION, value);
                } else {
                    item.clip.set(c::TEXT_AREA_MAX, value);
                }
                Ok(())
            }
        }
    }
}
impl StageConfig for FakeMeasure {
    fn shape(&self) -> Shape {
        self.shape
    }
    fn writes(&self) -> &'static [&'static str] {
        self.writes
    }
    fn frames(&self) -> crate::FrameNeed {
        let grid = Some(crate::Grid { per_second: 1.0, max_side: 1 });
        crate::FrameNeed { grid, ..crate::FrameNeed::default() }
    }
    fn measuring(&self) -> Json {
        Json::Null
    }
    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = clip.get(c::MOTION).map(|m| f64::from(*m));
        vec![Check { what: "motion", value, bound: Bound::AtLeast(0.3), reason: "too_still" }]
    }
    fn build(&self, _context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let own = Self { shape: self.shape, writes: self.writes };
        Ok(match self.shape {
            Shape::Map => Stage::Map(Box::new(own)),
            _ => Stage::Batch(Box::new(own)),
        })
    }
}
impl Map for FakeMeasure {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        self.measure(item)
    }
}
impl BatchMap for FakeMeasure {
    fn max_batch(&self) -> usize {
        3
    }
    fn map_batch(
        &mut self,
        items: &mut [&mut Item],
    ) -> Result<Vec<Result<(), ClipError>>, StageFault> {
        Ok(items.iter_mut().map(|item| self.measure(item)).collect())
    }
}

const ENTRIES: &[StageEntry] = &[
    StageEntry {
        kind: "scenes",
        summary: "",
        parse: |_, _| Box::new(FakeSplit),
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "motion",
        summary: "",
        parse: |_, _| Box::new(FakeMeasure { shape: Shape::Map, writes: &["motion"] }),
        schema: || Json::Null,
        example: "",
    },
    StageEntry {
        kind: "text",
        summary: "",
        parse: |_, _| Box::new(FakeMeasure { shape: Shape::Batch, writes: &["text_area_max"] }),
        schema: || Json::Null,
        example: "",
    },
];

#[derive(Default)]
struct Memory {
    open: BTreeMap<u64, Vec<Clip>>,
    clips: BTreeMap<String, (String, Option<f32>)>,
    units: BTreeMap<String, (String, u64)>,
    split: u64,
}
impl Sink for Memory {
    fn clip(&mut self, ticket: u64, clip: Clip) -> Result<(), RunError> {
        self.open.entry(ticket).or_default().push(clip);
        Ok(())
    }
    fn unit(&mut self, ticket: u64, result: &UnitResult, row: UnitRow) -> Result<(), RunError> {
        let clips = self.open.remove(&ticket).unwrap_or_default();
        assert_eq!(result.kept + result.dropped + result.failed, clips.len() as u64);
        assert_eq!(row.get(curate_schemas::units::CLIPS), Some(&(clips.len() as i32)));
        self.split += clips.len() as u64;
        for clip in clips {
            let outcome = (clip.get(c::STATUS).unwrap().clone(), clip.get(c::MOTION).copied());
            let id = clip.get(c::CLIP_ID).unwrap().clone();
            assert!(self.clips.insert(id, outcome).is_none(), "a clip came twice");
        }
        let entry = (result.status.as_str().to_owned(), result.kept);
        assert!(
            self.units.insert(result.unit.id.to_string(), entry).is_none(),
            "a unit came twice"
        );
        Ok(())
    }
    fn discard(&mut self, ticket: u64) {
        self.open.remove(&ticket);
    }
    fn tick(&mut self) -> Result<(), RunError> {
        Ok(())
    }
}

fn units(count: u32) -> Vec<Planned> {
    (0..count)
        .map(|n| {
            let id = SourceId::from_location(&format!("file:///{n}.mp4"), 1, None);
            let source = SourceRef {
                id: id.clone(),
                uri: String::new(),
                path: "x".into(),
                bytes: 1,
                mtime: None,
                reading: crate::Reading::default(),
                caption: None,
                extra: None,
            };
            let unit = Unit {
                id: UnitId::new(&id, 0),
                source: Arc::new(source),
                units_in_source: 1,
                start: None,
                end: None,
            };
            Planned::Unit(unit)
        })
        .collect()
}

fn run_fake(count: u32, workers: usize, memory: u64, score: &str, stop: &Stop) -> (Memory, Report) {
    run_watched(count, workers, memory, score, stop, &NoObserver)
}

fn run_watched(
    count: u32,
    workers: usize,
    memory: u64,
    score: &str,
    stop: &Stop,
    watch: &dyn Observer,
) -> (Memory, Report) {
    let recipe = format!(
        "[run]\nworkers = {workers}\ncpus = {workers}\nscore = \"{score}\"\n[[stage]]\nkind = \"scenes\"\n\
         [[stage]]\nkind = \"motion\"\n[[stage]]\nkind = \"text\"\n"
    );
    let mut problems = Problems::default();
    let document = Document::parse(&recipe, &mut problems).unwrap_or_default();
    let ingredients = Ingredients {
        entries: ENTRIES,
        last: None,
        identity: json!({}),
        cores: 2,
        around: Surroundings { base: Path::new("."), variable: |_| None },
        models: crate::plan::Models { dir: Path::new("."), check: &|_| Ok(String::new()) },
    };
    let mut plan = Plan::compile(&document, ingredients, &mut problems);
    plan.run.memory = memory;
    assert!(problems.is_empty(), "{:?}", problems.into_errors());
    let provenance =
        Provenance { run_id: "r".to_owned(), curate_version: "0".to_owned(), now: || Micros(0) };
    let mut sink = Memory::default();
    let report = run(&plan, &provenance, units(count).into_iter(), &mut sink, watch, stop).unwrap();
    (sink, report)
}

/// Panics are part of these tests; their traces would bury everything else.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let expected = info
                .payload()
                .downcast_ref::<&str>()
                .is_some_and(|text| text.ends_with("fell over"));
            if !expected {
                usual(info);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn clips_are_conserved_and_independent_of_workers(
        count in 0..40_u32, workers in 1..5_usize, memory in 1..10_000_u64, all in any::<bool>(),
    ) {
        quiet();
        let score = if all { "all" } else { "kept" };
        let (reference, _) = run_fake(count, 1, 1 << 30, score, &Stop::default());
        let (sink, report) = run_fake(count, workers, memory, score, &Stop::default());
        prop_assert!(sink.open.is_empty());
        prop_assert_eq!(sink.units.len(), count as usize);
        prop_assert_eq!(report.clips, sink.split);
        prop_assert_eq!(report.kept + report.dropped + report.failed, sink.split);
        prop_assert_eq!(&sink.clips, &reference.clips);
        let funnel: u64 = report.stages.iter().map(|s| s.dropped.values().chain(s.failed.values()).sum::<u64>()).sum();
        prop_assert_eq!(funnel, report.dropped + report.failed);
        prop_assert_eq!(report.stages[0].clips, report.clips);
        prop_assert_eq!(&sink.units, &reference.units);
    }
}

#[test]
fn every_outcome_of_a_unit_occurs() {
    quiet();
    let (sink, report) = run_fake(200, 2, 1 << 20, "kept", &Stop::default());
    let seen: std::collections::BTreeSet<&str> =
        sink.units.values().map(|(status, _)| status.as_str()).collect();
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["empty", "failed", "ok", "partial", "quarantined"]
    );
    let motion = &report.stages[1];
    assert!(!motion.failed.is_empty() && motion.dropped["too_still"] > 0);
    assert_eq!(report.stages[0].dropped.keys().collect::<Vec<_>>(), [&"too_short"]);
}

#[test]
fn a_stopped_run_hands_over_whole_units_only() {
    quiet();
    let (whole, _) = run_fake(60, 1, 1 << 20, "kept", &Stop::default());
    for abandon in [false, true] {
        for after in [0, 1, 7, 40] {
            let stop = Stop::default();
            let watch = StopAfter { clips: AtomicU64::new(after), stop: stop.clone(), abandon };
            let (sink, report) = run_watched(60, 2, 5000, "kept", &stop, &watch);
            assert!(report.stopped);
            assert!(sink.units.len() < 60, "it stopped before the end");
            for (unit, fate) in &sink.units {
                assert_eq!(whole.units.get(unit), Some(fate), "a unit is whole or not there");
            }
            assert!(sink.clips.iter().all(|(id, fate)| whole.clips.get(id) == Some(fate)));
        }
    }
}

/// Stops the run after so many clips, politely or at once.
struct StopAfter {
    clips: AtomicU64,
    stop: Stop,
    abandon: bool,
}
impl Observer for StopAfter {
    fn clip_split(&self) {
        if self.clips.fetch_sub(1, Ordering::SeqCst) == 0 {
            if self.abandon {
                self.stop.now();
            }
            self.stop.drain();
        }
    }
}

#[test]
fn verdicts_only_read() {
    let clip = Clip::default().with(c::WIDTH, 5);
    assert_eq!(FakeSplit.judge(&clip), Verdict::Drop { reason: "too_short" });
    assert_eq!(FakeSplit.judge(&Clip::default()), Verdict::Keep);
}
