//! `curate refilter`: moves thresholds. Every clip is judged again from the values in its row; no
//! video is read and no model runs, and only the three verdict columns of clips whose verdict
//! changes are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
};

use curate_pipeline::{Bound, Check};
use curate_schemas::{Clip, columns as c};
use curate_store::{Changes, Store, TableMeta};

use serde_json::Value as Json;

use super::clips::values;
use crate::{
    Exit, UsageError,
    copies::{COMPARED, Candidates, Copies, SETTLED, bits_of, only_settled, without_dedup},
    judges::{Judge, checked, judges, rule, with_settings},
    progress::say,
};

/// The columns that a verdict is.
pub(crate) const VERDICT: [&str; 3] =
    [c::STATUS.name(), c::DROP_STAGE.name(), c::DROP_REASON.name()];

/// Clips named for each threshold, and clips named as incomplete.
const NAMED: usize = 5;

/// Clips of a verdict: status, stage and reason.
type Counts = BTreeMap<(String, String, String), u64>;

/// What judging a table again comes to.
struct Outcome {
    before: Counts,
    after: Counts,
    changed: Changes,
    newly_kept: u64,
    newly_dropped: u64,
    /// Newly kept clips that lack something, a few of them with what they lack.
    incomplete: u64,
    named: Vec<String>,
    /// By threshold: the clips whose value lies nearest to it.
    nearest: BTreeMap<String, Vec<(f64, String)>>,
}

pub(crate) async fn refilter(out: &Path, sets: &[String], dry_run: bool) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    // Held from before the thresholds are read: nobody may judge by old ones meanwhile.
    let alone = if dry_run { None } else { Some(store.alone().await?) };
    let meta = store.meta().await?;
    let mut judge = with_settings(&meta.judge, sets)?;
    let (old, new) = (judges(&meta)?, checked(&meta, &mut judge)?);
    let outcome = judge_all(&store, &meta, &judge, (&old, &new)).await?;
    print(&outcome, out)?;
    match alone {
        None => say("nothing was written (--dry-run)"),
        Some(_) if meta.judge == judge && outcome.changed.is_empty() => {
            say("these are the table's thresholds already; nothing was written");
        }
        Some(alone) => {
            let version = store.rejudge(&alone, &outcome.changed, &judge).await?;
            say(&format!(
                "wrote {} verdicts; the clips are at version {version}",
                outcome.changed.len()
            ));
        }
    }
    Ok(Exit::Complete)
}

/// The columns that judging and reporting read.
fn columns(judges: &[Judge], written: &[&'static str]) -> Vec<&'static str> {
    let mut names: BTreeSet<&str> = written.iter().copied().chain(COMPARED).collect();
    names.extend([
        c::CLIP_ID.name(),
        c::SOURCE_URI.name(),
        c::START_S.name(),
        c::END_S.name(),
        c::STAGE_KEYS.name(),
        c::VIDEO_FORM.name(),
    ]);
    for judge in judges {
        names.extend(judge.config.reads());
        names.extend(judge.config.writes());
    }
    let bytes = [c::VIDEO.name(), c::THUMB.name(), c::EMBEDDING.name()];
    names.into_iter().filter(|name| !bytes.contains(name)).collect()
}

async fn judge_all(
    store: &Store,
    meta: &TableMeta,
    judge: &Json,
    (old, new): (&[Judge], &[Judge]),
) -> anyhow::Result<Outcome> {
    let written: &[&str] = if bits_of(judge).is_some() { &SETTLED } else { &VERDICT };
    let names = columns(new, written);
    let wants_bytes = meta.split["identity"]["form"] != "none";
    let copies = match bits_of(judge) {
        Some(bits) => find_copies(store, &names, new, bits).await?,
        None => Copies::default(),
    };
    let mut outcome = Outcome {
        before: Counts::new(),
        after: Counts::new(),
        changed: Changes::of(written),
        newly_kept: 0,
        newly_dropped: 0,
        incomplete: 0,
        named: Vec::new(),
        nearest: BTreeMap::new(),
    };
    let mut clips = store.clips(&names, None).await?;
    while let Some(mut batch) = clips.next_batch().await? {
        let judged = batch.iter_mut().filter_map(|clip| {
            let is_news = written.len() == SETTLED.len() && copies.note(clip);
            outcome.clip(clip, (old, new), wants_bytes, is_news)
        });
        let changed: Vec<Clip> = judged.collect();
        outcome.changed.push(&changed)?;
    }
    Ok(outcome)
}

/// The copies among the clips that pass everything else.
async fn find_copies(
    store: &Store,
    names: &[&str],
    judges: &[Judge],
    bits: u32,
) -> anyhow::Result<Copies> {
    let others = without_dedup(judges);
    let mut candidates = Candidates::default();
    let mut clips = store.clips(names, None).await?;
    while let Some(batch) = clips.next_batch().await? {
        for clip in &batch {
            let is_failed = clip.get(c::STATUS).is_some_and(|status| status == "failed");
            if !is_failed && rule(&others, clip).dropped.is_none() {
                candidates.push(clip);
            }
        }
    }
    Ok(candidates.copies(bits))
}

fn verdict(clip: &Clip) -> (String, String, String) {
    let word = |column| clip.get(column).cloned().unwrap_or_default();
    (word(c::STATUS), word(c::DROP_STAGE), word(c::DROP_REASON))
}

/// A clip in a line, for people.
fn line(clip: &Clip) -> String {
    format!(
        "{} {} {:.2}-{:.2} s",
        clip.get(c::CLIP_ID).map_or("", String::as_str),
        clip.get(c::SOURCE_URI).map_or("", |uri| uri.rsplit('/').next().unwrap_or(uri)),
        clip.get(c::START_S).copied().unwrap_or_default(),
        clip.get(c::END_S).copied().unwrap_or_default()
    )
}

impl Outcome {
    /// Judges a clip again; its id and new verdict, when that is another one or what it is a copy of is
    /// news.
    fn clip(
        &mut self,
        clip: &Clip,
        (old, new): (&[Judge], &[Judge]),
        wants_bytes: bool,
        is_news: bool,
    ) -> Option<Clip> {
        let before = verdict(clip);
        *self.before.entry(before.clone()).or_default() += 1;
        for (judge, former) in new.iter().zip(old) {
            self.near(judge, former, clip);
        }
        // A clip that could not be measured has no values to judge.
        if before.0 == "failed" {
            *self.after.entry(before).or_default() += 1;
            return is_news.then(|| only_settled(clip));
        }
        let ruling = rule(new, clip);
        let after = match ruling.dropped {
            None => ("kept".to_owned(), String::new(), String::new()),
            Some((stage, reason)) => ("dropped".to_owned(), stage.to_owned(), reason.to_owned()),
        };
        *self.after.entry(after.clone()).or_default() += 1;
        if before == after {
            return is_news.then(|| only_settled(clip));
        }
        if before.0 != "kept" && after.0 == "kept" {
            self.newly_kept += 1;
            let mut lacks = ruling.missing;
            if wants_bytes && clip.get(c::VIDEO_FORM).is_none_or(|form| form == "none") {
                lacks.push("bytes");
            }
            if !lacks.is_empty() {
                self.incomplete += 1;
                if self.named.len() < NAMED {
                    self.named.push(format!("{} lacks {}", line(clip), lacks.join(", ")));
                }
            }
        } else if before.0 == "kept" {
            self.newly_dropped += 1;
        }
        let mut row = only_settled(clip);
        row.set(c::STATUS, after.0);
        row.put(c::DROP_STAGE, ruling.dropped.map(|(stage, _)| stage.to_owned()));
        row.put(c::DROP_REASON, ruling.dropped.map(|(_, reason)| reason.to_owned()));
        Some(row)
    }

    /// Remembers a clip whose value lies near a threshold that was moved.
    fn near(&mut self, judge: &Judge, former: &Judge, clip: &Clip) {
        let before = former.config.checks(clip);
        for check in judge.config.checks(clip) {
            let Check { what, value: Some(value), bound, .. } = check else { continue };
            if before.iter().any(|other| other.what == what && other.bound == bound) {
                continue;
            }
            let (side, Bound::AtLeast(limit) | Bound::AtMost(limit)) =
                (if matches!(bound, Bound::AtLeast(_)) { "at least" } else { "at most" }, bound);
            let named =
                self.nearest.entry(format!("{} {what} {side} {limit}", judge.kind)).or_default();
            let distance = (value - limit).abs();
            if named.len() < NAMED || named.last().is_some_and(|(most, _)| distance < *most) {
                named.push((distance, format!("{}  {}", line(clip), values(&check))));
                named.sort_by(|a, b| a.0.total_cmp(&b.0));
                named.truncate(NAMED);
            }
        }
    }
}

fn print(outcome: &Outcome, out: &Path) -> Result<(), std::io::Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{:<32}{:>10}{:>10}", "", "before", "after")?;
    let verdicts: BTreeSet<_> = outcome.before.keys().chain(outcome.after.keys()).collect();
    // Kept first, then in the order of the words.
    let mut verdicts: Vec<_> = verdicts.into_iter().collect();
    verdicts.sort_by_key(|verdict| verdict.0 != "kept");
    for verdict in verdicts {
        let count = |counts: &Counts| counts.get(verdict).copied().unwrap_or(0);
        let words = format!("{} {} {}", verdict.0, verdict.1, verdict.2);
        writeln!(
            stdout,
            "{:<32}{:>10}{:>10}",
            words.trim_end(),
            count(&outcome.before),
            count(&outcome.after)
        )?;
    }
    writeln!(
        stdout,
        "{} verdicts change: {} newly kept, {} newly dropped",
        outcome.changed.len(),
        outcome.newly_kept,
        outcome.newly_dropped
    )?;
    for (threshold, clips) in &outcome.nearest {
        writeln!(stdout, "nearest to {threshold}:")?;
        for (_, clip) in clips {
            writeln!(stdout, "  {clip}")?;
        }
    }
    if outcome.incomplete > 0 {
        writeln!(
            stdout,
            "newly kept clips that are not complete: {} (`curate run RECIPE --backfill --judge table` \
             fills them in)",
            outcome.incomplete
        )?;
        for clip in &outcome.named {
            writeln!(stdout, "  {clip}")?;
        }
        if outcome.incomplete > outcome.named.len() as u64 {
            writeln!(stdout, "  ... `curate query {} ...` shows the others", out.display())?;
        }
    }
    Ok(())
}

/// A refilter without settings would do nothing.
pub(crate) fn some(sets: Vec<String>) -> anyhow::Result<Vec<String>> {
    if sets.is_empty() {
        let words = "say which threshold to move, such as --set motion.min=0.03";
        return Err(UsageError(words.to_owned()).into());
    }
    Ok(sets)
}
