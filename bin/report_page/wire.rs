//! The data in the form in which the page carries it: columns instead of rows, words once, texts cut.
//!
//! Values of scores are little-endian floats in base64, 32 bits wide where that loses nothing. That is a
//! third of what they take as JSON text, and exact. Texts are cut to what their budget allows for each,
//! counted as they will stand in the file: a caption of `<` takes six bytes a character.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value as Json;

use super::{BadUnit, Limit, ModelLine, ReportData, RunLine, Score, StageLine, VerdictCount};

/// Bytes for all captions, sources and messages, and how many one of them gets at least and at most.
const CAPTIONS: Budget = Budget { all: 3_000_000, least: 120, most: 600 };
const SOURCES: Budget = Budget { all: 1_000_000, least: 60, most: 400 };
const MESSAGES: Budget = Budget { all: 400_000, least: 60, most: 400 };
/// Words of the program itself: stages, reasons, ids.
const WORD: usize = 160;
const RECIPE: usize = 60_000;
const SETTINGS: usize = 8_000;
/// Runs and units listed by name; the table has the others.
const MOST_RUNS: usize = 50;
const MOST_UNITS: usize = 100;

struct Budget {
    all: usize,
    least: usize,
    most: usize,
}

impl Budget {
    fn each(&self, count: usize) -> usize {
        (self.all / count.max(1)).clamp(self.least, self.most)
    }
}

/// Words once, and which one each clip has; 0 is none.
#[derive(Serialize)]
struct Words {
    words: Vec<String>,
    at: Vec<u32>,
}

impl Words {
    fn of<'a>(
        cells: impl Iterator<Item = Option<&'a str>>,
        cut: impl Fn(&str, usize) -> String,
    ) -> Self {
        let mut index: HashMap<&str, u32> = HashMap::new();
        let mut words = Vec::new();
        let at = cells
            .map(|cell| {
                let Some(cell) = cell else { return 0 };
                *index.entry(cell).or_insert_with(|| {
                    words.push(cell);
                    words.len() as u32
                })
            })
            .collect();
        let count = words.len();
        Self { words: words.into_iter().map(|word| cut(word, count)).collect(), at }
    }
}

/// A column of numbers.
#[derive(Serialize)]
struct Numbers {
    /// Bits of each: 32 or 64.
    bits: u8,
    /// Little-endian, in base64; NaN where there is none.
    data: String,
    /// Rows that do have a value, which is NaN: it passes no threshold.
    nan: Vec<usize>,
}

impl Numbers {
    fn of(values: &[Option<f64>], rows: usize) -> Self {
        let cell = |row: usize| values.get(row).copied().flatten();
        let nan = (0..rows).filter(|&row| cell(row).is_some_and(f64::is_nan)).collect();
        let numbers = (0..rows).map(|row| cell(row).unwrap_or(f64::NAN));
        let fits = |value: f64| value.is_nan() || f64::from(value as f32) == value;
        if numbers.clone().all(fits) {
            let bytes: Vec<u8> = numbers.flat_map(|value| (value as f32).to_le_bytes()).collect();
            return Self { bits: 32, data: STANDARD.encode(bytes), nan };
        }
        let bytes: Vec<u8> = numbers.flat_map(f64::to_le_bytes).collect();
        Self { bits: 64, data: STANDARD.encode(bytes), nan }
    }
}

#[derive(Serialize)]
struct WireScore<'a> {
    stage: &'a str,
    what: &'a str,
    about: &'a str,
    unit: &'a str,
    limits: &'a [Limit],
    values: Numbers,
}

#[derive(Serialize)]
struct Rows {
    ids: Vec<String>,
    /// In milliseconds.
    starts: Vec<i64>,
    ends: Vec<i64>,
    source: Words,
    status: Words,
    stage: Words,
    reason: Words,
    message: Words,
    caption: Words,
    caption_model: Words,
    /// Several words of a clip are separated by spaces.
    flags: Words,
    lacks: Words,
    /// Rows that thresholds do not judge.
    unjudged: Vec<usize>,
}

#[derive(Serialize)]
struct Wire<'a> {
    table: &'a str,
    made_at: &'a str,
    curate_version: &'a str,
    version: u64,
    split_id: &'a str,
    every: u64,
    count: usize,
    verdicts: &'a [VerdictCount],
    stages: Vec<StageLine>,
    scores: Vec<WireScore<'a>>,
    rows: Rows,
    units: Vec<(&'a String, u64)>,
    bad_units: Vec<BadUnit>,
    runs: &'a [RunLine],
    models: &'a [ModelLine],
    recipe: Option<String>,
}

/// The data without pictures, as JSON that may stand inside of a `script` element.
pub(super) fn json(data: &ReportData) -> String {
    let count = data.clips.len();
    let wire = Wire {
        table: &data.table,
        made_at: &data.made_at,
        curate_version: &data.curate_version,
        version: data.version,
        split_id: &data.split_id,
        every: data.every.max(1),
        count,
        verdicts: &data.verdicts,
        stages: data.stages.iter().map(stage).collect(),
        scores: data.scores.iter().map(|score| wire_score(score, count)).collect(),
        rows: rows(data),
        units: data.units.iter().map(|(status, units)| (status, *units)).collect(),
        bad_units: data.bad_units.iter().take(MOST_UNITS).map(bad_unit).collect(),
        runs: &data.runs[..data.runs.len().min(MOST_RUNS)],
        models: &data.models,
        recipe: data.recipe.as_deref().map(|recipe| head(recipe, RECIPE)),
    };
    in_script(&serde_json::json!(wire).to_string())
}

fn wire_score(score: &Score, count: usize) -> WireScore<'_> {
    WireScore {
        stage: &score.stage,
        what: &score.what,
        about: &score.about,
        unit: &score.unit,
        limits: &score.limits,
        values: Numbers::of(&score.values, count),
    }
}

fn rows(data: &ReportData) -> Rows {
    let clips = &data.clips;
    let ms = |seconds: f64| (seconds * 1e3).round() as i64;
    let flags: Vec<String> = clips.iter().map(|clip| clip.flags.join(" ")).collect();
    let lacks: Vec<String> = clips.iter().map(|clip| clip.lacks.join(" ")).collect();
    let word = |word: &str, _: usize| head(word, WORD);
    Rows {
        ids: clips.iter().map(|clip| head(&clip.id, WORD)).collect(),
        starts: clips.iter().map(|clip| ms(clip.start_s)).collect(),
        ends: clips.iter().map(|clip| ms(clip.end_s)).collect(),
        source: Words::of(clips.iter().map(|clip| Some(clip.source.as_str())), |text, count| {
            tail(text, SOURCES.each(count))
        }),
        status: Words::of(clips.iter().map(|clip| Some(clip.status.as_str())), word),
        stage: Words::of(clips.iter().map(|clip| clip.stage.as_deref()), word),
        reason: Words::of(clips.iter().map(|clip| clip.reason.as_deref()), word),
        message: Words::of(clips.iter().map(|clip| clip.message.as_deref()), |text, count| {
            head(text, MESSAGES.each(count))
        }),
        caption: Words::of(clips.iter().map(|clip| clip.caption.as_deref()), |text, count| {
            head(text, CAPTIONS.each(count))
        }),
        caption_model: Words::of(clips.iter().map(|clip| clip.caption_model.as_deref()), word),
        flags: Words::of(flags.iter().map(|flags| some_text(flags)), word),
        unjudged: (0..clips.len()).filter(|row| !clips[*row].is_judged()).collect(),
        lacks: Words::of(lacks.iter().map(|lacks| some_text(lacks)), word),
    }
}

fn some_text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn stage(stage: &StageLine) -> StageLine {
    let settings = |settings: &Json| {
        let text = settings.to_string();
        if text.len() > SETTINGS { Json::String(head(&text, SETTINGS)) } else { settings.clone() }
    };
    StageLine {
        measuring: settings(&stage.measuring),
        judging: settings(&stage.judging),
        ..stage.clone()
    }
}

fn bad_unit(unit: &BadUnit) -> BadUnit {
    BadUnit {
        status: head(&unit.status, WORD),
        kind: head(&unit.kind, WORD),
        source: tail(&unit.source, SOURCES.most),
        message: head(&unit.message, MESSAGES.most),
    }
}

/// JSON in which nothing can end the element around it or begin another.
pub(super) fn in_script(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// Bytes of a character in the file.
fn cost(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '<' | '>' | '&' | '\0'..='\x1f' => 6,
        _ => letter.len_utf8(),
    }
}

/// The beginning of a text that takes at most `most` bytes, its cut shown.
fn head(text: &str, most: usize) -> String {
    match fitting(text.chars(), most) {
        None => text.to_owned(),
        Some(count) => text.chars().take(count).chain(['\u{2026}']).collect(),
    }
}

/// The end of a text: that of an address says more than its beginning.
fn tail(text: &str, most: usize) -> String {
    match fitting(text.chars().rev(), most) {
        None => text.to_owned(),
        Some(count) => {
            let skip = text.chars().count() - count;
            ['\u{2026}'].into_iter().chain(text.chars().skip(skip)).collect()
        }
    }
}

/// How many characters fit beside the sign of a cut; `None` when all do.
fn fitting(letters: impl Iterator<Item = char>, most: usize) -> Option<usize> {
    let (mut bytes, mut kept) = (0, 0);
    for letter in letters {
        bytes += cost(letter);
        if bytes > most {
            return Some(kept);
        }
        if bytes + '\u{2026}'.len_utf8() <= most {
            kept += 1;
        }
    }
    None
}

/// As many pictures as fit into `room` bytes, in the order of `wanted`, as JSON from a clip's row to
/// the picture in base64.
pub(super) fn thumbs(data: &ReportData, wanted: &[String], room: usize) -> String {
    let rows: HashMap<&str, usize> =
        data.clips.iter().enumerate().map(|(row, clip)| (clip.id.as_str(), row)).collect();
    let mut text = String::from("{");
    for id in wanted {
        let (Some(row), Some(jpeg)) = (rows.get(id.as_str()), data.thumbs.get(id)) else {
            continue;
        };
        let entry = format!("\"{row}\":\"{}\",", STANDARD.encode(jpeg));
        if text.len() + entry.len() < room {
            text.push_str(&entry);
        }
    }
    if text.ends_with(',') {
        text.pop();
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_what_they_take_in_the_file() {
        assert_eq!(head("short", 5), "short");
        assert_eq!(head("longer", 5), "lo\u{2026}");
        assert_eq!(tail("longer", 5), "\u{2026}er");
        assert_eq!(head("\u{e4}\u{e4}\u{e4}", 5), "\u{e4}\u{2026}");
        for text in [
            "<<<<<<<<<<<<<<",
            "\0\0\0\0\0\0\0\0",
            "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"",
            "\u{1f600}\u{1f600}\u{1f600}\u{1f600}",
        ] {
            for cut in [head(text, 15), tail(text, 15)] {
                let stands = in_script(&serde_json::to_string(&cut).unwrap());
                assert!(stands.len() - 2 <= 15, "{stands}");
                assert!(cut.contains('\u{2026}'));
            }
        }
    }

    #[test]
    fn numbers_are_exact_whatever_their_width() {
        let read = |numbers: &Numbers| -> Vec<f64> {
            let bytes = STANDARD.decode(&numbers.data).unwrap();
            match numbers.bits {
                32 => bytes
                    .chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()).into())
                    .collect(),
                _ => bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            }
        };
        let short = Numbers::of(&[Some(0.25), None, Some(f64::NAN), Some(f64::INFINITY)], 5);
        assert_eq!((short.bits, &short.nan), (32, &vec![2]));
        let values = read(&short);
        assert_eq!((values[0], values[3]), (0.25, f64::INFINITY));
        assert!(values[1].is_nan() && values[2].is_nan() && values[4].is_nan());
        let long = Numbers::of(&[Some(0.1), Some(1e300)], 2);
        assert_eq!((long.bits, read(&long)), (64, vec![0.1, 1e300]));
    }
}
