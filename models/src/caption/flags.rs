//! What is suspicious about a caption, in words for the column `caption_flags`.
//!
//! Each check is a function of the text alone, so that flags can be set again without a model, and
//! says "look at this", not "throw this away". Phrases are matched in the languages that captioners
//! and data sets use most (English, German, French, Spanish, Russian, Chinese, Japanese), and only
//! where they mean what they say: a man in a clip may be sorry, a caption may not.
//!
//! Thresholds, and why: fewer than 5 words name a thing and no scene; more than 250 words fit into no
//! text encoder (EasyAnimate V3's T5 reads 120 tokens, some 90 words); a text in which 30 % of all runs
//! of three words have been there before goes in circles (the good examples in the tests have none).

use super::flags_words::{
    REFUSALS, REFUSALS_ANYWHERE, TEMPLATE_OBJECTS, TEMPLATE_VERBS, TEMPLATES,
};

/// The model would not describe the clip.
pub const REFUSAL: &str = "refusal";
/// It says the same again and again.
pub const REPETITION: &str = "repetition";
/// The end is missing.
pub const TRUNCATED: &str = "truncated";
/// Too few words.
pub const TOO_SHORT: &str = "too_short";
/// Too many words.
pub const TOO_LONG: &str = "too_long";
/// Another language than the wanted one.
pub const LANGUAGE: &str = "language";
/// It speaks of the video (`The video shows`) or to the reader (`Here is a caption`).
pub const TEMPLATE: &str = "template";

/// All of them.
pub const ALL: [&str; 7] =
    [REFUSAL, REPETITION, TRUNCATED, TOO_SHORT, TOO_LONG, LANGUAGE, TEMPLATE];

/// What a caption should be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Fewest words.
    pub min_words: usize,
    /// Most words.
    pub max_words: usize,
    /// Most of the runs of three words that may have been there before, as a share.
    pub max_repetition: f64,
    /// The wanted language by ISO 639-3 (`eng`, `cmn`); `None` takes any.
    pub language: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_words: 5, max_words: 250, max_repetition: 0.3, language: Some("eng".to_owned()) }
    }
}

/// All flags of a caption, in a fixed order. `is_cut` is what the server said about its end.
#[must_use]
pub fn flags(text: &str, is_cut: bool, limits: &Limits) -> Vec<&'static str> {
    let words = words(text);
    let is_foreign = match (&limits.language, language(text)) {
        (Some(wanted), Some(found)) => wanted != found,
        _ => false,
    };
    let checks = [
        (REFUSAL, refusal(text)),
        (REPETITION, repetition(text) > limits.max_repetition),
        (TRUNCATED, is_cut || truncated(text)),
        (TOO_SHORT, words < limits.min_words),
        (TOO_LONG, words > limits.max_words),
        (LANGUAGE, is_foreign),
        (TEMPLATE, template(text)),
    ];
    checks.into_iter().filter(|(_, is_so)| *is_so).map(|(flag, _)| flag).collect()
}

/// Lower case, straight quotes, single spaces, no markup, nothing but text at its ends.
fn plain(text: &str) -> String {
    let text = text.replace(['\u{2019}', '\u{2018}', '`'], "'").replace(['*', '#', '_'], "");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase().trim_matches(['"', '\'', '“', '”', ' ']).to_owned()
}

/// Sentences of a plain text.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split(['.', '!', '?', '。', '！', '？', '\n', ':', '：']).map(str::trim)
}

/// Whether the model excuses itself instead of describing something.
#[must_use]
pub fn refusal(text: &str) -> bool {
    let text = plain(text);
    REFUSALS.iter().any(|phrase| text.starts_with(phrase))
        || REFUSALS_ANYWHERE.iter().any(|phrase| text.contains(phrase))
}

/// Whether it speaks of the video or to the reader, instead of what is to be seen.
#[must_use]
pub fn template(text: &str) -> bool {
    let text = plain(text);
    if TEMPLATES.iter().any(|phrase| text.starts_with(phrase)) {
        return true;
    }
    sentences(&text).any(|sentence| {
        let rest = TEMPLATE_OBJECTS.iter().find_map(|object| sentence.strip_prefix(object));
        rest.is_some_and(|rest| {
            let next = rest.split([' ', ',']).find(|word| !word.is_empty()).unwrap_or_default();
            let is_in = sentence.starts_with("in ") || sentence.starts_with("throughout ");
            is_in || TEMPLATE_VERBS.contains(&next)
        })
    })
}

/// Whether the end of the text is missing: it stops in the middle of a sentence, or with dots.
///
/// A text of one short phrase without a full stop, as data sets have them, is whole.
#[must_use]
pub fn truncated(text: &str) -> bool {
    let text = text.trim();
    let closing = |c: char| matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '»' | '」' | '*');
    let end = text.trim_end_matches(closing);
    if end.ends_with("...") || end.ends_with('…') {
        return true;
    }
    let is_stop = |c: char| matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '．' | '।');
    if end.is_empty() || end.ends_with(is_stop) {
        return false;
    }
    let has_sentences = end.match_indices(is_stop).any(|(at, stop)| {
        // Not the dot of a number or an abbreviation.
        let rest = &end[at + stop.len()..];
        stop.len() > 1 || rest.starts_with(' ') && at > 20
    });
    has_sentences || words(end) > 30
}

fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{e00}'..='\u{e7f}')
}

/// Words, or single characters where words are not parted by spaces.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() && !is_unspaced(c) || matches!(c, '\'' | '\u{2019}') {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if is_unspaced(c) {
            tokens.push(c.to_string());
        }
    }
    tokens.extend(Some(word).filter(|word| !word.is_empty()));
    tokens
}

/// Number of words. Two characters count as one where words are not parted by spaces.
#[must_use]
pub fn words(text: &str) -> usize {
    let tokens = tokens(text);
    let single = tokens.iter().filter(|token| token.chars().all(is_unspaced)).count();
    tokens.len() - single + single.div_ceil(2)
}

/// Share of the runs of three words that have been there before; 1 when the text ends in a loop.
#[must_use]
pub fn repetition(text: &str) -> f64 {
    const RUN: usize = 3;
    let tokens = tokens(text);
    if ends_in_a_loop(&tokens) {
        return 1.0;
    }
    let mut runs: Vec<&[String]> = tokens.windows(RUN).collect();
    let total = runs.len();
    // Of few runs a single repeated one is a large share.
    if total < 8 {
        return 0.0;
    }
    runs.sort_unstable();
    runs.dedup();
    (total - runs.len()) as f64 / total as f64
}

/// Whether the end is the same few words at least three times over, and six words or more.
fn ends_in_a_loop(tokens: &[String]) -> bool {
    (1..=20).any(|period| {
        let times = 6_usize.div_ceil(period).max(3);
        let Some(start) = tokens.len().checked_sub(times * period) else { return false };
        let tail = &tokens[start..];
        tail[period..].iter().zip(tail).all(|(a, b)| a == b)
    })
}

/// The language by ISO 639-3, where the text is long enough to tell.
#[must_use]
pub fn language(text: &str) -> Option<&'static str> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let is_long = letters >= 25 || text.chars().filter(|c| is_unspaced(*c)).count() >= 6;
    let found = whatlang::detect(text).filter(|found| is_long && found.is_reliable())?;
    Some(found.lang().code())
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
