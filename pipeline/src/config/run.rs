//! `[run]`: what a run may take of the machine, and how it goes about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

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
    /// (64 MiB of what it has for decoders for each).
    pub workers: usize,
    /// Decoder threads for each unit; 0 shares the cores out: one for each of many units, up to four
    /// for a single one.
    pub decode_threads: usize,
    /// Memory beside the program itself, such as `"1GiB"`: half for frames and clips in flight
    /// between the stages, the rest for decoders and the table. Where clips are transcoded, that
    /// has half and the others a quarter each. A model's weights come on top.
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

    /// The most bytes that the frames of one clip may take. What takes more fails, so this does not
    /// depend on how clips are written.
    #[must_use]
    pub fn one_clip(&self) -> u64 {
        self.memory / 2
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
