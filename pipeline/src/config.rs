//! Reading a recipe so that every problem is found in one go.
//!
//! `serde` stops at the first error of a table. Here a table is read again without the offending
//! key until it parses, so a user sees all the wrong keys at once, each with a suggestion.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{ConfigError, suggest::closest};

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

/// Which clips later stages measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// A clip leaves at the first stage that drops it.
    #[default]
    Kept,
    /// Dropped clips are measured by every stage too.
    All,
}

/// In which order filters see a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As the recipe says.
    #[default]
    File,
    /// What rejects most for its cost first, as measured on the first clips. Which clips are kept
    /// does not depend on it, only which filter drops the others.
    Cost,
}

/// `[run]`: resources and limits. Nothing here changes which clips there are; `score`, `tries` and the
/// time limits decide how much is measured of them, and when a unit is given up.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// CPU threads to use in all; 0 means every core.
    pub cpus: usize,
    /// Units decoded at the same time, at most; 0 means one for each core, as far as `memory` goes
    /// (64 MiB of its half for each decoder).
    pub workers: usize,
    /// Decoder threads for each unit; 0 shares the cores out: one for each of many units, up to four
    /// for a single one.
    pub decode_threads: usize,
    /// Memory beside the program itself, such as `"1GiB"`: half for frames and clips in flight
    /// between the stages, the rest for decoders and the table. Where clips are transcoded, encoders
    /// have half and the others a quarter each. A model's weights come on top.
    #[serde(deserialize_with = "bytes_text")]
    #[schemars(with = "Bytes")]
    pub memory: u64,
    /// No setting: what the last stage holds of it ([`StageConfig::holds`](crate::StageConfig::holds)).
    #[serde(skip)]
    #[schemars(skip)]
    pub held: u64,
    /// `"kept"`, or `"all"` to measure rejected clips too.
    pub score: Score,
    /// `"file"`, or `"cost"` to let the filters that reject most for their cost go first.
    pub order: Order,
    /// Commit at least this often, in seconds. At the start of a run commits come sooner.
    pub commit_seconds: f64,
    /// Commit at least every so many units.
    pub commit_units: usize,
    /// Give up on a unit when reading, decoding or copying makes no progress for so many seconds.
    pub stall_seconds: f64,
    /// Give up on a unit after so many seconds of decoding in all.
    pub unit_timeout_seconds: f64,
    /// How often a unit is tried when it fails for a passing reason (time-out, I/O).
    pub tries: u32,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            cpus: 0,
            workers: 0,
            decode_threads: 0,
            memory: 1 << 30,
            held: 0,
            score: Score::Kept,
            order: Order::File,
            commit_seconds: 30.0,
            commit_units: 64,
            stall_seconds: 60.0,
            // Twenty minutes of 8K film take an hour on a slow core; this is for files that never end.
            unit_timeout_seconds: 6.0 * 3600.0,
            tries: 3,
        }
    }
}

/// A thousand days: any time limit above is a slip.
const MOST_SECONDS: f64 = 1000.0 * 86_400.0;
/// Threads are made for each of them.
const MOST_THREADS: usize = 4096;
/// More frame threads make one decoder hardly any faster.
pub(crate) const MOST_DECODE_THREADS: usize = 4;
/// What a decoder of 1080p holds: twenty pictures of 3 MiB, its references and those under way.
const DECODER_BYTES: u64 = 64 << 20;

impl RunConfig {
    /// The part of [`memory`](Self::memory) for frames and clips in flight between the stages, half of
    /// what the last stage leaves. The rest is for what works beside them: decoders, models, and the table.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.free() / 2
    }

    fn free(&self) -> u64 {
        self.memory.saturating_sub(self.held)
    }

    /// Threads for what a worker does beside decoding.
    #[must_use]
    pub fn threads_each(&self) -> usize {
        match self.decode_threads {
            0 => (self.cpus / self.workers.max(1)).max(1),
            threads => threads,
        }
    }

    /// The part of [`memory`](Self::memory) for clip bytes when the table's files are merged, which
    /// are held about twice.
    #[must_use]
    pub fn merging(&self) -> u64 {
        self.memory / 16
    }

    /// Fills in what was left to the machine, which has `cores` cores, and reports impossible
    /// settings.
    pub fn resolve(&mut self, cores: usize, problems: &mut Problems) {
        if self.cpus == 0 {
            self.cpus = cores.max(1);
        }
        if self.workers == 0 {
            self.workers = if self.decode_threads == 0 {
                let decoders = usize::try_from(self.free() / 2 / DECODER_BYTES);
                // With less memory each has several threads, which no number of cores is without.
                let least = self.cpus.div_ceil(MOST_DECODE_THREADS);
                self.cpus.min(decoders.unwrap_or(usize::MAX).max(least))
            } else {
                self.cpus.div_ceil(self.decode_threads)
            };
        }
        for (key, value) in [
            ("cpus", self.cpus),
            ("workers", self.workers),
            ("decode_threads", self.decode_threads),
        ] {
            if value > MOST_THREADS {
                problems
                    .report(key, format!("no machine has so many cores: at most {MOST_THREADS}"));
            }
        }
        if self.memory < 32 << 20 {
            problems.report("memory", "less than 32 MiB cannot hold a batch of frames").help =
                Some("the default is \"1GiB\"".to_owned());
        }
        for (key, value) in [
            ("commit_seconds", self.commit_seconds),
            ("stall_seconds", self.stall_seconds),
            ("unit_timeout_seconds", self.unit_timeout_seconds),
        ] {
            if !(value > 0.0 && value <= MOST_SECONDS) {
                problems.report(
                    key,
                    "must be a positive number of seconds, and at most a thousand days",
                );
            }
        }
        for (key, value) in [("commit_units", self.commit_units), ("tries", self.tries as usize)] {
            if value == 0 {
                problems.report(key, "must be at least 1");
            }
        }
    }
}

/// A size, as it may be written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a size such as \"512MiB\", or a number of bytes")]
enum Bytes {
    Number(u64),
    Words(String),
}

/// Reads `"512MiB"`, `"2 GB"` or a plain number of bytes.
fn bytes_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Bytes::deserialize(deserializer)? {
        Bytes::Number(bytes) => Ok(bytes),
        Bytes::Words(text) => parse_bytes(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("\"{text}\" is not a size; write it like \"512MiB\""))
        }),
    }
}

/// A size in bytes from text such as `512MiB`, `2 GB` or `1000`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let factor: f64 = match text[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * factor;
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests;
