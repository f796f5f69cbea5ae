//! Reading a recipe so that every problem is found in one go.
//!
//! `serde` stops at the first error of a table. Here a table is read again without the offending
//! key until it parses, so a user sees all the wrong keys at once, each with a suggestion.

use serde::de::DeserializeOwned;

pub(crate) use self::run::MOST_DECODE_THREADS;
pub use self::run::{Order, RunConfig, Score, parse_bytes};
use crate::{ConfigError, suggest::closest};

mod run;

/// The problems found so far, and the place that is being read.
#[derive(Debug, Default)]
pub struct Problems {
    place: String,
    found: Vec<ConfigError>,
}

impl Problems {
    /// Starts reading another place, such as `[input]`.
    pub fn enter(&mut self, place: impl Into<String>) {
        self.place = place.into();
    }

    /// Reports a problem with `key` of the current place.
    pub fn report(&mut self, key: &str, message: impl Into<String>) -> &mut ConfigError {
        let key = format!("{} {key}", self.place).trim().to_owned();
        self.add(ConfigError::new(key, message))
    }

    /// Adds a problem from elsewhere.
    pub fn add(&mut self, problem: ConfigError) -> &mut ConfigError {
        self.found.push(problem);
        match self.found.last_mut() {
            Some(problem) => problem,
            None => unreachable!("one was just pushed"),
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems in the order in which they were found.
    #[must_use]
    pub fn into_errors(self) -> Vec<ConfigError> {
        self.found
    }
}

/// Reads a table into `T`, reporting every key that does not fit. Keys that do not fit are left
/// out, so the result is only meaningful when no problem was reported.
pub fn read_table<T: DeserializeOwned + Default>(
    table: &toml::Table,
    problems: &mut Problems,
) -> T {
    let mut table = table.clone();
    loop {
        let error =
            match serde_path_to_error::deserialize::<_, T>(toml::Value::Table(table.clone())) {
                Ok(value) => return value,
                Err(error) => error,
            };
        let path = error.path().to_string();
        let message = error.into_inner().message().to_owned();
        let (key, problem, help) = explain(&path, &message, &table);
        let entry = problems.report(&path_or(&path, &key), problem);
        if let Some(help) = help {
            entry.help = Some(help);
        }
        if !leave_out(&mut table, &key) {
            return T::default();
        }
    }
}

/// Takes a setting out of a table, such as `transcode.codec`; of a list the whole of it. Gives whether
/// there was one.
fn leave_out(table: &mut toml::Table, key: &str) -> bool {
    if table.remove(key).is_some() {
        return true;
    }
    if let Some((first, rest)) = key.split_once('.')
        && let Some(toml::Value::Table(inner)) = table.get_mut(first)
        && leave_out(inner, rest)
    {
        return true;
    }
    table.remove(key.split(['.', '[']).next().unwrap_or_default()).is_some()
}

/// Settings that were stored as JSON (see `StageConfig::measuring` and `judging`), as a recipe's
/// table. Later objects win; null means that a setting was left out.
#[must_use]
pub fn settings_table(stored: &[&serde_json::Value]) -> toml::Table {
    let objects = stored.iter().filter_map(|value| value.as_object());
    let fields = objects.flatten().filter_map(|(key, value)| Some((key.clone(), to_toml(value)?)));
    fields.collect()
}

fn to_toml(value: &serde_json::Value) -> Option<toml::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Json::Null => return None,
        Json::Bool(flag) => toml::Value::Boolean(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => toml::Value::Float(number.as_f64()?),
        },
        Json::String(text) => toml::Value::String(text.clone()),
        Json::Array(list) => toml::Value::Array(list.iter().filter_map(to_toml).collect()),
        Json::Object(_) => toml::Value::Table(settings_table(&[value])),
    })
}

fn path_or(path: &str, key: &str) -> String {
    if path == "." || path.is_empty() { key.to_owned() } else { path.to_owned() }
}

/// Turns serde's words into the key at fault, the problem and advice.
fn explain(path: &str, message: &str, table: &toml::Table) -> (String, String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((unknown, known)) = quoted.split_first()
    {
        let key =
            if table.contains_key(*unknown) { (*unknown).to_owned() } else { path.to_owned() };
        let help = match closest(unknown, known.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("known settings: {}", known.join(", ")),
        };
        // In a list or a table of a table the path does not say which key it was.
        let problem = if key.rsplit('.').next() == Some(*unknown) {
            "there is no such setting".to_owned()
        } else {
            format!("there is no setting `{unknown}` here")
        };
        return (key, problem, Some(help));
    }
    if message.starts_with("missing field")
        && let Some(missing) = quoted.first()
    {
        // In a list the path does not say which key it was.
        let problem = format!("`{missing}` is required");
        return ((*missing).to_owned(), problem, None);
    }
    if message.starts_with("unknown variant")
        && let Some((unknown, known)) = quoted.split_first()
    {
        let mut help = format!("one of: {}", known.join(", "));
        if let Some(word) = closest(unknown, known.iter().copied()) {
            help = format!("did you mean \"{word}\"? ({help})");
        }
        return (path.to_owned(), format!("\"{unknown}\" is not a choice"), Some(help));
    }
    (path.to_owned(), plain(&message.lines().collect::<Vec<_>>().join(" ")), None)
}

/// What was expected, in words instead of names of Rust's types.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once("expected ") else {
        return message.to_owned();
    };
    let words = match expected.trim() {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "usize" | "u64" => "a whole number that is not negative",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "f32" | "f64" => "a number",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}expected {words}")
}

/// A recipe, taken apart into its sections but not yet understood.
#[derive(Debug, Default)]
pub struct Document {
    /// `[input]`: what to read (understood by the sources).
    pub input: toml::Table,
    /// `[output]`: where to write and in which form.
    pub output: toml::Table,
    /// `[run]`: resources and limits.
    pub run: toml::Table,
    /// `[[stage]]` tables in order.
    pub stages: Vec<toml::Table>,
}

impl Document {
    /// Takes the text of a recipe apart; `None` when it is not TOML, so that nothing more can be
    /// said about it.
    #[must_use]
    pub fn parse(text: &str, problems: &mut Problems) -> Option<Self> {
        let mut root: toml::Table = match text.parse() {
            Ok(root) => root,
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                problems.report(&format!("line {line}"), error.message());
                return None;
            }
        };
        let mut document = Self::default();
        for (name, slot) in [
            ("input", &mut document.input),
            ("output", &mut document.output),
            ("run", &mut document.run),
        ] {
            match root.remove(name) {
                Some(toml::Value::Table(table)) => *slot = table,
                Some(_) => {
                    problems
                        .report(name, "this is a section: write `[section]` on a line of its own");
                }
                None => {}
            }
        }
        match root.remove("stage") {
            Some(toml::Value::Array(stages)) => {
                for stage in stages {
                    match stage {
                        toml::Value::Table(table) => document.stages.push(table),
                        _ => {
                            problems.report("stage", "each stage is a table: write `[[stage]]`");
                        }
                    }
                }
            }
            Some(_) => {
                problems.report("stage", "stages are a list: write `[[stage]]` with two brackets");
            }
            None => {}
        }
        for key in root.keys() {
            let known = ["input", "output", "run", "stage"];
            let entry = problems.report(key, "there is no such section");
            entry.help = Some(match closest(key, known) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known sections: {}", known.join(", ")),
            });
        }
        Some(document)
    }
}

#[cfg(test)]
mod tests;
