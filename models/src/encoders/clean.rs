//! Captions as PixArt and EasyAnimate clean them before the text encoder.
//!
//! The published trainer tokenises captions as they are and the published pipeline cleans them;
//! this project does the same in both, so that a model sees at generation what it was trained on.
//! The rules are those of DeepFloyd IF, from which both took them: lower case, no addresses, tags,
//! nicks, file names, article numbers or CJK characters, one kind of quotes and dashes. They are
//! applied twice, because what one rule leaves is now and then another's.
//!
//! Decided against a port of `ftfy` (thousands of lines): text is lower case by then, which garbled
//! encodings do not survive, so that what it still does is to straighten quotes, undo ligatures and
//! wide letters, drop control characters and compose accents. Decided against an HTML parser: tags
//! are dropped by a scanner, entities are the numeric ones and those that occur in captions.

use std::sync::LazyLock;

use fancy_regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

use super::html;

/// A rule: what is found, and what takes its place.
struct Rule {
    pattern: Regex,
    replacement: &'static str,
}

fn rules(list: &[(&str, &'static str)]) -> Vec<Rule> {
    // Patterns are constants, and a test compiles them all.
    let compiled = list.iter().filter_map(|(pattern, replacement)| {
        Some(Rule { pattern: Regex::new(pattern).ok()?, replacement })
    });
    compiled.collect()
}

/// Addresses, before tags are dropped.
const ADDRESSES: &[(&str, &str)] = &[
    (r"<person>", "person"),
    (
        r"\b(?:https?:(?:/{1,3}|[a-zA-Z0-9%])|[a-zA-Z0-9.-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@))",
        "",
    ),
    (
        r"\b(?:www:(?:/{1,3}|[a-zA-Z0-9%])|[a-zA-Z0-9.-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@))",
        "",
    ),
];

/// Characters and numbers, after tags are dropped.
const CHARACTERS: &[(&str, &str)] = &[
    (r"@\w+\b", ""),
    // Strokes, phonetic extensions, enclosed and compatible forms, ideographs, hexagrams.
    (r"[\u{31c0}-\u{9fff}]+", ""),
    (
        r"[\-\u{58a}\u{5be}\u{1400}\u{1806}\u{2010}-\u{2015}\u{2e17}\u{2e1a}\u{2e3a}\u{2e3b}\u{2e40}\u{301c}\u{3030}\u{30a0}\u{fe31}\u{fe32}\u{fe58}\u{fe63}\u{ff0d}]+",
        "-",
    ),
    (r"[`´«»“”¨]", "\""),
    (r"[‘’]", "'"),
    (r"&quot;?", ""),
    (r"&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (r"\S+\.(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)", ""),
    (r#"["']{2,}"#, "\""),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
];

/// Codes, sizes and phrases of shops, once the text is plain.
const WORDS: &[(&str, &str)] = &[
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (r"\b(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    // Latin x, Cyrillic x, times.
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", "$1 "),
    (r"\s+", " "),
    (r#"^["']((?s:.)+)["']$"#, "$1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
];

static RULES: LazyLock<[Vec<Rule>; 3]> =
    LazyLock::new(|| [rules(ADDRESSES), rules(CHARACTERS), rules(WORDS)]);

/// A caption as the text encoder gets it.
#[must_use]
pub fn clean_caption(caption: &str) -> String {
    once(&once(caption))
}

fn once(caption: &str) -> String {
    let [addresses, characters, words] = &*RULES;
    let text = html::unquote_plus(caption).trim().to_lowercase();
    let text = html::text(&apply(addresses, text));
    let mut text = apply(characters, text);
    // this-is-my-cute-cat
    if text.matches(['-', '_']).count() > 3 {
        text = text.replace(['-', '_'], " ");
    }
    let text = html::unescape(&html::unescape(&straighten(&text)));
    apply(words, text).trim().to_owned()
}

fn apply(rules: &[Rule], text: String) -> String {
    rules.iter().fold(text, |text, rule| {
        // A search that gives up leaves the text as it is.
        match rule.pattern.try_replacen(&text, 0, rule.replacement) {
            Ok(replaced) => replaced.into_owned(),
            Err(_) => text.clone(),
        }
    })
}

/// What `ftfy` still does to lower-case text.
fn straighten(text: &str) -> String {
    let text = if text.contains('<') { text.to_owned() } else { html::unescape(text) };
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => plain.push('\''),
            '\u{201c}'..='\u{201f}' => plain.push('"'),
            // Ligatures, and forms of full and half width.
            '\u{fb00}'..='\u{fb06}'
            | '\u{ff01}'..='\u{ffef}'
            | '\u{132}'
            | '\u{133}'
            | '\u{149}'
            | '\u{1c4}'..='\u{1cc}'
            | '\u{1f1}'..='\u{1f3}' => plain.extend([letter].into_iter().nfkc()),
            '\u{3000}' => plain.push(' '),
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => plain.push('\n'),
            '\t' | '\n' | '\u{c}' => plain.push(letter),
            '\u{feff}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => {}
            _ if letter.is_control() => {}
            _ => plain.push(letter),
        }
    }
    plain.nfc().collect()
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;
    use proptest::prelude::{ProptestConfig, proptest};

    use super::{ADDRESSES, CHARACTERS, WORDS, clean_caption};

    #[test]
    fn every_pattern_compiles() {
        for (pattern, _) in [ADDRESSES, CHARACTERS, WORDS].concat() {
            Regex::new(pattern).unwrap();
        }
    }

    /// What `diffusers` 0.28.2 with `ftfy` and Beautiful Soup makes of them;
    /// `recipes/encoders/captions.py` writes the file.
    #[test]
    fn captions_are_cleaned_as_published() {
        let cases: Vec<[String; 2]> = serde_json::from_str(include_str!("captions.json")).unwrap();
        assert!(cases.len() > 40);
        let wrong: Vec<String> = cases
            .iter()
            .map(|[caption, expected]| (caption, clean_caption(caption), expected))
            .filter(|(_, found, expected)| found != *expected)
            .map(|(caption, found, expected)| format!("{caption:?}: {found:?}, not {expected:?}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_panics_and_the_edges_are_plain(caption in ".{0,80}") {
            let cleaned = clean_caption(&caption);
            assert_eq!(cleaned.trim(), cleaned);
        }
    }
}
