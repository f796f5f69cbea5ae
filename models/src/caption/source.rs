//! Captions that came with the data: a text file beside the video, or a column of the manifest.
//!
//! WebVid keeps the caption in `name`, OpenVid in `caption`, Panda-70M a list of captions in `caption`
//! with a list of spans in `timestamp`, both written as Python does (`['A dog.', "A dog's tail."]`).
//! For such a list the caption of the span that the clip shares most with is taken.
//!
//! A text of the data is not touched but for white space: what it says is what people or models wrote
//! about it, and `caption_model` says that it is the source's.

use serde_json::{Map, Value as Json};

/// What `caption_model` says about these captions.
pub const MODEL: &str = "source";

/// Columns that hold captions in the data sets that are known, the more telling names first.
pub const COLUMNS: &[&str] = &["caption", "text", "description", "prompt", "name", "title"];

/// A caption of a span must be about so much of a clip.
const LEAST_SHARE: f64 = 0.5;

/// Columns with the spans of a list of captions.
const SPANS: &[&str] = &["timestamp", "timestamps", "timecode_list"];

/// The caption in a `.txt` file: its text in one line. `None` when it is empty.
#[must_use]
pub fn from_text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    tidy(text.trim_start_matches('\u{feff}'))
}

/// The caption in a row of a manifest, of a clip from `start_s` to `end_s` of its source: in the first
/// of the columns that has one.
#[must_use]
pub fn from_columns(
    row: &Map<String, Json>,
    columns: &[&str],
    (start_s, end_s): (f64, f64),
) -> Option<String> {
    let find = |name: &str| {
        let is_it = |(key, _): &(&String, &Json)| key.trim().eq_ignore_ascii_case(name);
        row.iter().find(is_it).map(|(_, value)| value)
    };
    columns.iter().find_map(|name| {
        let texts = texts(find(name)?);
        let spans: Vec<(f64, f64)> =
            SPANS.iter().find_map(|name| find(name)).map(spans).unwrap_or_default();
        if spans.len() != texts.len() {
            // Several captions of the same thing.
            return texts.iter().flatten().find_map(|text| tidy(text));
        }
        let shared = |(from, to): &(f64, f64)| to.min(end_s) - from.max(start_s);
        let best = spans.iter().map(shared).enumerate().max_by(|a, b| {
            // The earlier of equals.
            a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
        });
        // What says something about a smaller part of the clip may be about something else.
        let least = LEAST_SHARE * (end_s - start_s);
        let best = best.filter(|(_, shared)| *shared > 0.0 && *shared >= least);
        best.and_then(|(index, _)| tidy(texts[index].as_deref()?))
    })
}

/// Single spaces; nothing where data sets write that there is nothing.
fn tidy(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_none =
        ["nan", "null", "none", "n/a", "-"].iter().any(|no| text.eq_ignore_ascii_case(no));
    (!text.is_empty() && !is_none).then_some(text)
}

/// The texts of a cell: one, or those of a list, in which some may be missing.
fn texts(cell: &Json) -> Vec<Option<String>> {
    match list(cell) {
        Some(items) => items
            .into_iter()
            .map(|item| match item {
                Json::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        None => cell.as_str().map(|text| Some(text.to_owned())).into_iter().collect(),
    }
}

/// A list, as JSON or as a text of JSON or Python.
fn list(cell: &Json) -> Option<Vec<Json>> {
    match cell {
        Json::Array(items) => Some(items.clone()),
        Json::String(text) if text.trim_start().starts_with('[') => {
            let parsed = serde_json::from_str(text).ok().or_else(|| python_list(text));
            parsed.and_then(|parsed: Json| parsed.as_array().cloned())
        }
        _ => None,
    }
}

/// Spans in seconds, from pairs of seconds or of `H:MM:SS.mmm`.
fn spans(cell: &Json) -> Vec<(f64, f64)> {
    let seconds = |value: &Json| match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text
            .split(':')
            .try_fold(0.0, |sum, part| Some(sum * 60.0 + part.trim().parse::<f64>().ok()?)),
        _ => None,
    };
    let span = |pair: &Json| Some((seconds(pair.get(0)?)?, seconds(pair.get(1)?)?));
    let spans: Option<Vec<_>> = list(cell).unwrap_or_default().iter().map(span).collect();
    spans.unwrap_or_default()
}

/// Lists of strings, numbers and lists in Python's notation.
fn python_list(text: &str) -> Option<Json> {
    let mut rest = text.trim();
    let value = python_value(&mut rest, 0)?;
    rest.trim().is_empty().then_some(value)
}

fn python_value(rest: &mut &str, depth: usize) -> Option<Json> {
    *rest = rest.trim_start();
    let first = rest.chars().next()?;
    match first {
        '[' | '(' if depth < 4 => {
            let close = if first == '[' { ']' } else { ')' };
            *rest = &rest[1..];
            let mut items = Vec::new();
            loop {
                *rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix(close) {
                    *rest = after;
                    return Some(Json::Array(items));
                }
                items.push(python_value(rest, depth + 1)?);
                *rest = rest.trim_start();
                match rest.strip_prefix(',') {
                    Some(after) => *rest = after,
                    None if rest.starts_with(close) => {}
                    None => return None,
                }
            }
        }
        '\'' | '"' => python_string(rest, first),
        _ => {
            let end = rest.find([',', ']', ')']).unwrap_or(rest.len());
            let word = rest[..end].trim();
            let value = match word {
                "None" => Json::Null,
                _ => word.parse::<f64>().ok()?.into(),
            };
            *rest = &rest[end..];
            Some(value)
        }
    }
}

fn python_string(rest: &mut &str, quote: char) -> Option<Json> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, escaped) = chars.next()?;
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                if digits > 0 {
                    let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    text.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                    continue;
                }
                text.push(match escaped {
                    'n' | 't' | 'r' => ' ',
                    other => other,
                });
            }
            c if c == quote => {
                *rest = &rest[at + 1..];
                return Some(Json::String(text));
            }
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pick(row: &Json, span: (f64, f64)) -> Option<String> {
        from_columns(row.as_object().unwrap(), COLUMNS, span)
    }

    #[test]
    fn text_files_are_taken_as_they_are() {
        let text = from_text("\u{feff}A dog runs.\r\n It barks.\n".as_bytes());
        assert_eq!(text.as_deref(), Some("A dog runs. It barks."));
        assert_eq!(from_text(b" \n"), None);
    }

    #[test]
    fn the_columns_of_known_data_sets_are_found() {
        let webvid = json!({ "videoid": 7, "name": "Dog on beach", "page_dir": "1_2" });
        assert_eq!(pick(&webvid, (0.0, 1.0)).as_deref(), Some("Dog on beach"));
        let openvid = json!({ "video": "a.mp4", "Caption": "A dog runs.", "name": "a" });
        assert_eq!(pick(&openvid, (0.0, 1.0)).as_deref(), Some("A dog runs."));
        let empty = json!({ "caption": "nan", "text": " ", "name": "A dog" });
        assert_eq!(pick(&empty, (0.0, 1.0)).as_deref(), Some("A dog"));
        assert_eq!(pick(&json!({ "url": "x" }), (0.0, 1.0)), None);
    }

    #[test]
    fn a_list_gives_the_caption_of_the_span() {
        let panda = json!({
            "caption": r#"['A dog runs.', "It's a cat, or two.", 'A \'bird\'.']"#,
            "timestamp": "[['0:00:00.0', '0:00:04.5'], ['0:00:04.5', '0:01:00.0'], ['0:01:00.0', '0:01:10.0']]",
        });
        assert_eq!(pick(&panda, (0.2, 4.0)).as_deref(), Some("A dog runs."));
        assert_eq!(pick(&panda, (3.0, 9.0)).as_deref(), Some("It's a cat, or two."));
        assert_eq!(pick(&panda, (61.0, 65.0)).as_deref(), Some("A 'bird'."));
        assert_eq!(pick(&panda, (100.0, 110.0)), None);
        let numbers = json!({ "caption": ["one", "two"], "timestamps": [[0, 1.5], [1.5, 3]] });
        assert_eq!(pick(&numbers, (1.4, 3.0)).as_deref(), Some("two"));
        // One span, and one without a text; and a caption of a small part of a clip.
        let one = json!({ "caption": ["far"], "timestamp": [[50, 60]] });
        assert_eq!(pick(&one, (0.0, 5.0)), None);
        assert_eq!(pick(&one, (51.0, 56.0)).as_deref(), Some("far"));
        let holes = json!({
            "caption": "['first', None, 'th\\xefrd']", "timestamp": "[[0, 4], [4, 8], [8, 12]]",
        });
        assert_eq!(pick(&holes, (5.0, 7.0)), None);
        assert_eq!(pick(&holes, (8.5, 11.0)).as_deref(), Some("thïrd"));
        assert_eq!(pick(&holes, (3.5, 8.0)), None);
        let several = json!({ "caption": ["", "two", "three"] });
        assert_eq!(pick(&several, (0.0, 1.0)).as_deref(), Some("two"));
    }

    #[test]
    fn what_is_no_list_is_a_text() {
        for text in ["[music] A dog barks.", "['A dog", "[1, 2"] {
            let row = json!({ "caption": text });
            assert_eq!(pick(&row, (0.0, 1.0)).as_deref(), Some(text));
        }
        assert_eq!(python_list("[[1, (2, 'x')], None]"), Some(json!([[1.0, [2.0, "x"]], null])));
        assert_eq!(python_list("[[[[[[1]]]]]]"), None);
        assert_eq!(python_list("['a'] b"), None);
    }
}
