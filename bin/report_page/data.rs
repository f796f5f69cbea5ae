//! What the report is made of, and what its thresholds make of a clip.
//!
//! The rows are given once, as they are in the table; everything that the page counts is counted from
//! `Score::values` in the way of `Check::passes`, so that the page, this module and `curate refilter`
//! agree to the last clip. Values are not rounded on their way for the same reason: rounding would
//! move clips that lie on a threshold, which are many where values are round (25 frames per second).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

/// Everything that the page shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportData {
    /// The table's folder as a person would type it; the commands on the page name it.
    pub(crate) table: String,
    /// When the report was made, for people: `2026-02-03 04:05 UTC`.
    pub(crate) made_at: String,
    /// The version of `curate` that made it.
    pub(crate) curate_version: String,
    /// How many clips have each verdict, over the whole table.
    pub(crate) verdicts: Vec<VerdictCount>,
    /// The stages of the table in the order in which they decide, the split first.
    pub(crate) stages: Vec<StageLine>,
    /// The clips, or every n-th of them where the table is larger than [`super::MOST_CLIPS`].
    pub(crate) clips: Vec<ClipRow>,
    /// What n is: see [`super::every`].
    pub(crate) every: u64,
    /// Values that were measured, in the order of the stages.
    pub(crate) scores: Vec<Score>,
    /// How many units have each status.
    pub(crate) units: BTreeMap<String, u64>,
    /// Units that are not whole, a few.
    pub(crate) bad_units: Vec<BadUnit>,
    /// Runs whose end was recorded, newest first.
    pub(crate) runs: Vec<RunLine>,
    /// Models that the stages used.
    pub(crate) models: Vec<ModelLine>,
    /// The recipe of the newest run, as written; shown, never read.
    pub(crate) recipe: Option<String>,
    /// Fingerprint of what decides which clips exist.
    pub(crate) split_id: String,
    /// The version of the clips that was read.
    pub(crate) version: u64,
    /// Small JPEGs by clip id: those of [`super::wanted_thumbnails`], as far as they are there.
    pub(crate) thumbs: BTreeMap<String, Vec<u8>>,
}

/// A line of the funnel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VerdictCount {
    /// `kept`, `dropped` or `failed`.
    pub(crate) status: String,
    /// The stage that dropped the clips or in which they failed; empty for kept ones.
    pub(crate) stage: String,
    /// Why: the reason of a drop, the kind of an error; empty for kept ones.
    pub(crate) reason: String,
    pub(crate) clips: u64,
}

/// A stage of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StageLine {
    pub(crate) kind: String,
    /// What it does, in a line.
    pub(crate) summary: String,
    /// Fingerprint of what it measures by, when it is known.
    pub(crate) key: String,
    /// The settings that it measures by.
    pub(crate) measuring: Json,
    /// The settings that it judges by.
    pub(crate) judging: Json,
}

/// A clip, as the table lists it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClipRow {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) start_s: f64,
    pub(crate) end_s: f64,
    /// `kept`, `dropped` or `failed`.
    pub(crate) status: String,
    pub(crate) stage: Option<String>,
    /// The reason of a drop, or the kind of an error.
    pub(crate) reason: Option<String>,
    /// An error's message.
    pub(crate) message: Option<String>,
    pub(crate) caption: Option<String>,
    pub(crate) caption_model: Option<String>,
    pub(crate) flags: Vec<String>,
    /// What the clip would lack if it were kept: stages that have not measured it, or `bytes`.
    pub(crate) lacks: Vec<String>,
    /// Whether the verdict is not one of thresholds and stays whatever they are, as that of a clip that
    /// repeats another one. A failed clip's does without being told.
    pub(crate) is_final: bool,
}

/// A measured value of all clips, and the thresholds on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// The stage that judges it, or that measured it where none does.
    pub(crate) stage: String,
    /// What is compared: a column, or a value derived from columns, as `Check::what` has it.
    pub(crate) what: String,
    /// A line about it, such as the column's documentation.
    pub(crate) about: String,
    /// Its unit, or nothing.
    pub(crate) unit: String,
    /// A value for each of `ReportData::clips`; `None` where it was not measured, or its stage is not
    /// among those that have measured the clip. Such clips pass.
    pub(crate) values: Vec<Option<f64>>,
    /// The thresholds that there are or may be; at most one for each side.
    pub(crate) limits: Vec<Limit>,
}

/// On which side of a threshold values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    AtLeast,
    AtMost,
}

/// A threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Limit {
    /// The setting as `curate refilter --set` names it: `motion.keep.min`. `None`: it takes measuring
    /// again to move it, so it has no slider.
    pub(crate) key: Option<String>,
    pub(crate) side: Side,
    /// Where it is now; `None` when the table has no such threshold.
    pub(crate) value: Option<f64>,
    /// Whether `none` takes it away.
    pub(crate) is_optional: bool,
}

/// A unit that is not whole.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BadUnit {
    pub(crate) status: String,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) message: String,
}

/// What a run did. Numbers that were not recorded are left out and not shown as 0.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RunLine {
    pub(crate) id: String,
    pub(crate) started_at: String,
    pub(crate) took_s: Option<f64>,
    pub(crate) curate_version: String,
    /// Clips whose rows it wrote.
    pub(crate) clips: u64,
    /// Frames decoded for analysis, and frames of the sources: their ratio is the decode amplification.
    pub(crate) frames_decoded: Option<u64>,
    pub(crate) frames_source: Option<u64>,
    /// Frames decoded again only to write clips.
    pub(crate) frames_again: Option<u64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) stages: Vec<StageTime>,
}

/// Where a stage's time went: seconds over all its workers, as `StageReport` has them.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StageTime {
    pub(crate) kind: String,
    pub(crate) workers: u64,
    pub(crate) clips: u64,
    pub(crate) busy_s: f64,
    pub(crate) waiting_s: f64,
    pub(crate) blocked_s: f64,
}

/// A model that a stage used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelLine {
    pub(crate) id: String,
    pub(crate) hash: String,
    pub(crate) used_by: String,
}

impl Limit {
    /// Whether a value is on the right side. What was not measured is.
    pub(crate) fn admits(&self, value: Option<f64>) -> bool {
        match (value, self.value, self.side) {
            (None, ..) | (_, None, _) => true,
            (Some(value), Some(limit), Side::AtLeast) => value >= limit,
            (Some(value), Some(limit), Side::AtMost) => value <= limit,
        }
    }
}

impl ClipRow {
    /// Whether thresholds decide what becomes of it.
    pub(crate) fn is_judged(&self) -> bool {
        self.status != "failed" && !(self.is_final && self.status != "kept")
    }
}

impl ReportData {
    /// How many thresholds each clip fails. A kept clip fails none; a failed one is not judged.
    pub(crate) fn failures(&self) -> Vec<u32> {
        let fails = |row: usize| {
            let of = |score: &Score| {
                let value = score.values.get(row).copied().flatten();
                score.limits.iter().filter(|limit| !limit.admits(value)).count()
            };
            self.scores.iter().map(of).sum::<usize>() as u32
        };
        (0..self.clips.len()).map(fails).collect()
    }

    /// Clips of `clips` that the thresholds keep.
    #[cfg(test)]
    pub(crate) fn passing(&self) -> usize {
        let judged = self.clips.iter().zip(self.failures());
        judged.filter(|(clip, fails)| clip.is_judged() && *fails == 0).count()
    }
}

/// Nearest clips shown on each side of a threshold.
const NEAREST: usize = 10;
/// Clips spread over the values of a score, so that a threshold that was moved has pictures too.
const SPREAD: usize = 32;
/// At most so many pictures are asked for; how many fit is decided by their bytes.
const MOST_THUMBS: usize = 1200;

/// The ids of the clips whose thumbnails the page has a place for, the most useful first: those
/// nearest to each threshold, then some over the range of each judged value, then clips of each verdict
/// from all over the table.
///
/// A clip is shown above a threshold when everything keeps it, and below when this threshold alone
/// drops it: a clip that another threshold drops as well is not decided here.
pub(crate) fn wanted_thumbnails(data: &ReportData) -> Vec<String> {
    let fails = data.failures();
    let mut wanted = Wanted { data, seen: BTreeSet::new(), ids: Vec::new() };
    let judged = |row: &usize| data.clips[*row].is_judged();
    for score in &data.scores {
        let value = |row: usize| score.values.get(row).copied().flatten().filter(|v| v.is_finite());
        for limit in &score.limits {
            let Some(at) = limit.value else { continue };
            for (admits, others) in [(true, 0), (false, 1)] {
                let rows = (0..data.clips.len()).filter(judged);
                let mut near: Vec<(f64, usize)> = rows
                    .filter(|&row| fails[row] == others)
                    .filter_map(|row| Some((value(row)?, row)))
                    .filter(|(value, _)| limit.admits(Some(*value)) == admits)
                    .map(|(value, row)| ((value - at).abs(), row))
                    .collect();
                near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                near.iter().take(NEAREST).for_each(|(_, row)| wanted.add(*row));
            }
        }
    }
    for score in data.scores.iter().filter(|score| !score.limits.is_empty()) {
        let mut rows: Vec<(f64, usize)> = (0..data.clips.len())
            .filter(judged)
            .filter(|&row| fails[row] <= 1)
            .filter_map(|row| Some((score.values.get(row).copied().flatten()?, row)))
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for_spread(rows.len(), SPREAD, |at| wanted.add(rows[at].1));
    }
    let mut by_verdict: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (row, clip) in data.clips.iter().enumerate() {
        by_verdict.entry((&clip.status, &clip.stage, &clip.reason)).or_default().push(row);
    }
    let room = MOST_THUMBS.saturating_sub(wanted.ids.len()) / by_verdict.len().max(1);
    for rows in by_verdict.values() {
        for_spread(rows.len(), room, |at| wanted.add(rows[at]));
    }
    wanted.ids
}

/// Calls with at most `most` indices, evenly over `0..len`.
fn for_spread(len: usize, most: usize, mut each: impl FnMut(usize)) {
    let count = len.min(most);
    (0..count).for_each(|step| each(step * len / count));
}

struct Wanted<'a> {
    data: &'a ReportData,
    seen: BTreeSet<usize>,
    ids: Vec<String>,
}

impl Wanted<'_> {
    fn add(&mut self, row: usize) {
        if self.ids.len() < MOST_THUMBS && self.seen.insert(row) {
            self.ids.push(self.data.clips[row].id.clone());
        }
    }
}
