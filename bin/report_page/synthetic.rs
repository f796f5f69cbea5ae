//! A made-up table of any size for the tests of the page: values in the shapes that real ones have,
//! verdicts that follow from them as a run gives them, and texts as hostile as texts can be.

use std::collections::BTreeMap;

use serde_json::json;

use crate::report_page::{
    BadUnit, ClipRow, Limit, ModelLine, ReportData, RunLine, Score, Side, StageLine, StageTime,
    VerdictCount, every,
};

/// SplitMix64 (Steele, Lea, Flood 2014): the same table from the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[(self.next() % words.len() as u64) as usize]
    }
}

/// What a score is like: stage, value, unit, minimum and maximum with their settings, reasons.
struct Shape {
    stage: &'static str,
    what: &'static str,
    unit: &'static str,
    min: Option<(&'static str, Option<f64>)>,
    max: Option<(&'static str, Option<f64>)>,
    reasons: (&'static str, &'static str),
    draw: fn(&mut Dice) -> f64,
}

const SHAPES: [Shape; 13] = [
    Shape {
        stage: "scenes",
        what: "length",
        unit: "seconds",
        min: Some(("min_s", Some(3.0))),
        max: Some(("max_s", Some(10.0))),
        reasons: ("too_short", "too_long"),
        draw: |dice| {
            if dice.share() < 0.3 { 10.0 } else { (0.3 + dice.share() * 9.7 * 30.0).ceil() / 30.0 }
        },
    },
    Shape {
        stage: "probe",
        what: "fps",
        unit: "frames/s",
        min: Some(("min_fps", Some(12.0))),
        max: Some(("max_fps", None)),
        reasons: ("too_slow", "too_fast"),
        draw: |dice| {
            [10.0, 15.0, 24.0, 24_000.0 / 1001.0, 25.0, 25.0, 30_000.0 / 1001.0, 30.0, 30.0, 60.0]
                [(dice.next() % 10) as usize]
        },
    },
    Shape {
        stage: "motion",
        what: "motion",
        unit: "frame diagonals/s",
        min: Some(("keep.min", Some(0.02))),
        max: Some(("keep.max", Some(0.8))),
        reasons: ("too_still", "too_much_motion"),
        draw: |dice| (dice.normal() * 1.1 - 2.6).exp(),
    },
    Shape {
        stage: "motion",
        what: "motion_px_mean",
        unit: "pixels",
        min: Some(("keep_px.min", None)),
        max: Some(("keep_px.max", None)),
        reasons: ("too_still", "too_much_motion"),
        draw: |dice| (dice.normal() * 0.9 + 0.4).exp(),
    },
    Shape {
        stage: "motion",
        what: "motion_camera",
        unit: "frame diagonals/s",
        min: None,
        max: None,
        reasons: ("", ""),
        draw: |dice| (dice.normal() - 3.2).exp(),
    },
    Shape {
        stage: "text",
        what: "text_area_mean",
        unit: "fraction of the frame",
        min: Some(("area.min", None)),
        max: Some(("area.max", Some(0.01))),
        reasons: ("too_little_text", "too_much_text"),
        draw: |dice| {
            if dice.share() < 0.72 { 0.0 } else { (dice.normal() * 1.2 - 4.6).exp().min(1.0) }
        },
    },
    Shape {
        stage: "text",
        what: "text_persistence",
        unit: "fraction of frames",
        min: Some(("persistence.min", None)),
        max: Some(("persistence.max", None)),
        reasons: ("no_lasting_text", "lasting_text"),
        draw: |dice| (dice.next() % 4) as f64 / 3.0,
    },
    Shape {
        stage: "quality",
        what: "technical_exposure",
        unit: "0-1",
        min: Some(("exposure.min", Some(0.05))),
        max: Some(("exposure.max", None)),
        reasons: ("badly_lit", "too_well_lit"),
        draw: |dice| (0.55 + 0.25 * dice.normal()).clamp(0.0, 1.0),
    },
    Shape {
        stage: "quality",
        what: "technical_bars",
        unit: "fraction of the frame",
        min: Some(("bars.min", None)),
        max: Some(("bars.max", Some(0.3))),
        reasons: ("no_bars", "black_bars"),
        draw: |dice| if dice.share() < 0.8 { 0.0 } else { 0.5 * dice.share() },
    },
    Shape {
        stage: "quality",
        what: "technical_sharpness",
        unit: "squared levels",
        min: Some(("sharpness.min", None)),
        max: Some(("sharpness.max", None)),
        reasons: ("blurred", "too_sharp"),
        draw: |dice| (dice.normal() * 1.3 + 5.5).exp(),
    },
    Shape {
        stage: "quality",
        what: "technical_brisque",
        unit: "0-100",
        min: Some(("brisque.min", None)),
        max: Some(("brisque.max", None)),
        reasons: ("low_brisque", "high_brisque"),
        draw: |dice| (32.0 + 12.0 * dice.normal()).clamp(0.0, 100.0),
    },
    Shape {
        stage: "aesthetic",
        what: "aesthetic_mean",
        unit: "1-10",
        min: Some(("keep.min", Some(4.5))),
        max: Some(("keep.max", None)),
        reasons: ("unaesthetic", "too_aesthetic"),
        draw: |dice| 5.1 + 0.6 * dice.normal(),
    },
    Shape {
        stage: "caption",
        what: "caption_similarity",
        unit: "cosine",
        min: Some(("similarity.min", Some(0.2))),
        max: Some(("similarity.max", None)),
        reasons: ("caption_mismatch", "caption_too_alike"),
        draw: |dice| 0.27 + 0.04 * dice.normal(),
    },
];

/// What would do harm if it were taken for markup.
pub(crate) const HOSTILE: [&str; 5] = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror=\"window.broken = 2\">",
    "<!--<script> ]]> &lt;b&gt; \u{2028}\u{2029}\0 '\"`${1}",
    "\u{202e}right to left \u{1f600} \u{4e00}\u{4e8c}\u{4e09}",
    "http://localhost:1/x.png style=\"background:url(http://localhost:1/y)\"",
];

const SCENES: [&str; 6] = [
    "A red car drives along a wet street at night while neon signs are mirrored in the puddles",
    "A woman in a yellow coat walks a small dog across a park covered in autumn leaves",
    "Waves roll onto a stony beach under a grey sky, seen from above by a slowly rising camera",
    "Two people cook together in a bright kitchen and laugh about something that has boiled over",
    "A close view of a bee that gathers pollen on a lavender flower, with a soft green background",
    "A crowded train arrives at a platform and people step out, some of them with suitcases",
];

/// A table of `clips` rows; `thumb` gives the picture of a row.
pub(crate) fn table(clips: usize, seed: u64, thumb: &dyn Fn(usize) -> Vec<u8>) -> ReportData {
    let mut dice = Dice(seed);
    let mut data = ReportData {
        table: "data/it's a table".to_owned(),
        made_at: "2026-02-03 04:05 UTC".to_owned(),
        curate_version: "0.1.0".to_owned(),
        every: every(clips as u64),
        stages: stages(),
        scores: SHAPES.iter().map(score).collect(),
        split_id: "8f14e45fceea167a5a36dedd4bea2543".to_owned(),
        version: 41,
        ..ReportData::default()
    };
    let mut verdicts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for row in 0..clips {
        let clip = clip(row, &mut data.scores, &mut dice);
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        *verdicts
            .entry((clip.status.clone(), word(&clip.stage), word(&clip.reason)))
            .or_default() += 1;
        data.thumbs.insert(clip.id.clone(), thumb(row));
        data.clips.push(clip);
    }
    data.verdicts = verdicts
        .into_iter()
        .map(|((status, stage, reason), clips)| VerdictCount { status, stage, reason, clips })
        .collect();
    data.units =
        [("ok".to_owned(), 1200), ("partial".to_owned(), 2), ("failed".to_owned(), 1)].into();
    data.bad_units = vec![BadUnit {
        status: "failed".to_owned(),
        kind: "open".to_owned(),
        source: "file:///videos/<b>broken</b>.mp4".to_owned(),
        message: "moov atom not found".to_owned(),
    }];
    data.runs = vec![run(clips as u64)];
    data.models = vec![ModelLine {
        id: "pp-ocr".to_owned(),
        hash: "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".to_owned(),
        used_by: "text".to_owned(),
    }];
    data.recipe = Some(format!(
        "[input]\npaths = [\"videos\"] # {}\n\n[output]\npath = \"out\"\n",
        HOSTILE[0]
    ));
    data
}

fn stages() -> Vec<StageLine> {
    let line = |kind: &str, summary: &str| StageLine {
        kind: kind.to_owned(),
        summary: summary.to_owned(),
        key: format!("{kind:0<8}3f79bb7b435b05321651daef"),
        measuring: json!({"frames": 3, "size": 1280}),
        judging: json!({"keep": {"min": 0.02, "max": null}}),
    };
    vec![
        line("scenes", "cut sources into clips where the picture changes"),
        line("probe", "drop clips by resolution, frame rate, shape or length"),
        line("motion", "drop clips that are too still or too wild"),
        line("text", "drop clips that show too much text"),
        line("quality", "drop clips with technical faults"),
        line("aesthetic", "drop clips that are not worth looking at"),
        line("caption", "say what is to be seen"),
    ]
}

fn score(shape: &Shape) -> Score {
    let limit = |side, setting: Option<(&str, Option<f64>)>| {
        setting.map(|(key, value)| Limit {
            key: (key != "max_s").then(|| format!("{}.{key}", shape.stage)),
            side,
            value,
            is_optional: key != "min_s",
        })
    };
    let limits = [limit(Side::AtLeast, shape.min), limit(Side::AtMost, shape.max)];
    Score {
        stage: shape.stage.to_owned(),
        what: shape.what.to_owned(),
        about: format!(
            "What the stage {} measures: a line about it, with its meaning.",
            shape.stage
        ),
        unit: shape.unit.to_owned(),
        values: Vec::new(),
        limits: limits.into_iter().flatten().collect(),
    }
}

fn clip(row: usize, scores: &mut [Score], dice: &mut Dice) -> ClipRow {
    let source = row / 8;
    let start_s = (row % 8) as f64 * 10.0;
    let mut clip = ClipRow {
        id: format!("{:032x}", u128::from(dice.next()) << 64 | row as u128),
        source: format!("file:///videos/part-{}/holiday-{source}.mp4", source % 7),
        start_s,
        end_s: start_s + 10.0,
        status: "kept".to_owned(),
        ..ClipRow::default()
    };
    let broken_in = (dice.share() < 0.008).then(|| dice.of(&["motion", "text"]));
    for (score, shape) in scores.iter_mut().zip(&SHAPES) {
        let is_out = clip.status != "kept" && clip.stage.as_deref() != Some(shape.stage);
        if clip.status == "kept" && broken_in == Some(shape.stage) {
            clip.status = "failed".to_owned();
            clip.stage = Some(shape.stage.to_owned());
            clip.reason = Some(dice.of(&["decode", "timeout"]).to_owned());
            clip.message = Some("corrupt data at 4.2 s <b>of the stream</b>".to_owned());
        }
        let drawn = (shape.draw)(dice);
        // As wide as the column: frame rates and lengths are wider than what is measured.
        let drawn =
            if matches!(shape.what, "length" | "fps") { drawn } else { f64::from(drawn as f32) };
        let value = (!is_out && clip.status != "failed").then_some(drawn);
        score.values.push(value);
        if is_out
            && clip.status == "dropped"
            && clip.lacks.last().is_none_or(|last| last != shape.stage)
        {
            clip.lacks.push(shape.stage.to_owned());
        }
        if clip.status != "kept" {
            continue;
        }
        if let Some(limit) = score.limits.iter().find(|limit| !limit.admits(value)) {
            let (below, above) = shape.reasons;
            clip.status = "dropped".to_owned();
            clip.stage = Some(shape.stage.to_owned());
            clip.reason = Some(if limit.side == Side::AtLeast { below } else { above }.to_owned());
        }
    }
    if clip.status == "dropped" {
        clip.lacks.push("bytes".to_owned());
    }
    if clip.status == "kept" || dice.share() < 0.2 {
        let scene = dice.of(&SCENES);
        let hostile = if dice.share() < 0.02 { dice.of(&HOSTILE) } else { "" };
        clip.caption = Some(format!("{scene}. {hostile} Shot {row} of the holiday."));
        clip.caption_model = Some("attributes".to_owned());
        if dice.share() < 0.05 {
            clip.flags.push(dice.of(&["refusal", "repetition", "truncated", "short"]).to_owned());
        }
    }
    clip
}

fn run(clips: u64) -> RunLine {
    let stage = |kind: &str, workers: u64, busy: f64, blocked: f64| {
        let whole = 1834.0 * workers as f64;
        StageTime {
            kind: kind.to_owned(),
            workers,
            clips,
            busy_s: whole * busy,
            waiting_s: whole * (1.0 - busy - blocked),
            blocked_s: whole * blocked,
        }
    };
    RunLine {
        id: "1770091500-4242-1b9d6bcd".to_owned(),
        started_at: "2026-02-03 03:34 UTC".to_owned(),
        took_s: Some(1834.0),
        curate_version: "0.1.0".to_owned(),
        clips,
        frames_decoded: Some(2_412_000),
        frames_source: Some(2_410_200),
        frames_again: Some(12_400),
        peak_memory_bytes: Some(1_913_000_000),
        stages: vec![
            stage("scenes", 4, 0.93, 0.02),
            stage("probe", 1, 0.001, 0.0),
            stage("motion", 8, 0.71, 0.05),
            stage("text", 8, 0.55, 0.31),
            stage("quality", 4, 0.22, 0.01),
            stage("aesthetic", 1, 0.41, 0.0),
            stage("caption", 1, 0.12, 0.0),
        ],
    }
}
