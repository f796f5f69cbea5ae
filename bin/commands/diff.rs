//! `curate diff`: what is different between two tables, or between two versions of one.
//!
//! Clips are matched by their ids. Of the first table only what is compared is kept in memory (verdict,
//! scores, caption), some hundred bytes a clip; the second one streams by.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    path::{Path, PathBuf},
};

use curate_schemas::{
    Clip, Kind, Value,
    columns::{self as c, CLIPS},
};
use curate_store::Store;
use serde_json::{Value as Json, json};

use crate::{Exit, UsageError};

/// Clips named for each kind of change.
const NAMED: usize = 5;

/// A table, or a version of one: `OUT`, `OUT@7`, `OUT@tag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    out: PathBuf,
    version: Option<String>,
}

impl Side {
    /// A folder may have an `@` in its name; then it is there.
    pub(crate) fn parse(text: &str) -> Self {
        match text.rsplit_once('@') {
            Some((out, version)) if !Path::new(text).exists() => {
                Self { out: out.into(), version: Some(version.to_owned()) }
            }
            _ => Self { out: text.into(), version: None },
        }
    }

    async fn open(&self) -> anyhow::Result<(Store, Option<u64>)> {
        let store = Store::open(&self.out).await?;
        let version = match &self.version {
            None => None,
            Some(word) => Some(store.version_of(word).await?),
        };
        Ok((store, version))
    }
}

/// Verdict in words: status, stage and reason.
type Verdict = String;

/// What is compared of a clip.
#[derive(Clone, Debug, PartialEq)]
struct Compared {
    verdict: Verdict,
    scores: Vec<Option<f64>>,
    caption: Option<String>,
    /// Who wrote it, what was asked, and what looks wrong about it.
    about_caption: String,
}

/// The columns that are numbers and measured by some stage.
fn score_columns() -> Vec<&'static str> {
    let is_score = |kind: Kind| matches!(kind, Kind::F32 | Kind::F64);
    let specs = CLIPS.columns.iter();
    specs
        .filter(|spec| is_score(spec.kind) && spec.writer != "split")
        .map(|spec| spec.name)
        .collect()
}

fn compared(clip: &Clip, scores: &[&'static str]) -> Compared {
    let word = |column| clip.get(column).map_or("", String::as_str);
    let verdict = [c::STATUS, c::DROP_STAGE, c::DROP_REASON].map(word).join(" ");
    let number = |name: &&str| match clip.row().cell(CLIPS.position(name)?)? {
        Value::F32(value) => Some(f64::from(*value)),
        Value::F64(value) => Some(*value),
        _ => None,
    };
    // What is no number equals nothing, not even itself.
    let number = |name: &&str| number(name).filter(|value| !value.is_nan());
    Compared {
        verdict: verdict.trim_end().to_owned(),
        scores: scores.iter().map(number).collect(),
        caption: clip.get(c::CAPTION).cloned(),
        about_caption: format!(
            "{} {} {:?}",
            word(c::CAPTION_MODEL),
            word(c::PROMPT_HASH),
            clip.get(c::CAPTION_FLAGS).map_or(&[][..], Vec::as_slice)
        ),
    }
}

/// How a score differs over all clips in which it does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Delta {
    changed: u64,
    sum: f64,
    largest: f64,
    /// Measured on one side only.
    appeared: u64,
    vanished: u64,
}

/// All differences.
#[derive(Clone, Debug, Default)]
struct Differences {
    before: u64,
    after: u64,
    added: u64,
    removed: u64,
    changed: u64,
    verdicts: BTreeMap<(Verdict, Verdict), u64>,
    scores: BTreeMap<&'static str, Delta>,
    captions: u64,
    /// Captions with the same text of which something else is different.
    about_captions: u64,
    named: BTreeMap<&'static str, Vec<String>>,
}

impl Differences {
    fn name(&mut self, kind: &'static str, words: impl FnOnce() -> String) {
        let named = self.named.entry(kind).or_default();
        if named.len() < NAMED {
            named.push(words());
        }
    }

    fn pair(&mut self, id: &str, names: &[&'static str], old: &Compared, new: &Compared) {
        if old == new {
            return;
        }
        self.changed += 1;
        if old.verdict != new.verdict {
            let key = (old.verdict.clone(), new.verdict.clone());
            *self.verdicts.entry(key).or_default() += 1;
            self.name("verdict", || format!("{id}  {} -> {}", old.verdict, new.verdict));
        }
        for ((name, old), new) in names.iter().zip(&old.scores).zip(&new.scores) {
            if old == new {
                continue;
            }
            let delta = self.scores.entry(name).or_default();
            match (old, new) {
                (Some(old), Some(new)) => {
                    let step = new - old;
                    delta.changed += 1;
                    delta.sum += step;
                    if step.abs() > delta.largest.abs() {
                        delta.largest = step;
                    }
                }
                (None, _) => delta.appeared += 1,
                (_, None) => delta.vanished += 1,
            }
        }
        self.about_captions +=
            u64::from(old.caption == new.caption && old.about_caption != new.about_caption);
        if old.caption != new.caption {
            self.captions += 1;
            let text = |caption: &Option<String>| match caption {
                None => "(none)".to_owned(),
                Some(caption) => caption.chars().take(120).collect::<String>(),
            };
            self.name("caption", || {
                format!("{id}  {}\n    -> {}", text(&old.caption), text(&new.caption))
            });
        }
    }
}

async fn compare(a: &Side, b: &Side) -> anyhow::Result<Differences> {
    let scores = score_columns();
    let mut columns = vec![
        c::CLIP_ID.name(),
        c::STATUS.name(),
        c::DROP_STAGE.name(),
        c::DROP_REASON.name(),
        c::CAPTION.name(),
        c::CAPTION_MODEL.name(),
        c::PROMPT_HASH.name(),
        c::CAPTION_FLAGS.name(),
    ];
    columns.extend(&scores);
    let mut old: HashMap<String, Compared> = HashMap::new();
    let mut found = Differences::default();
    let (store, version) = a.open().await?;
    let mut clips = store.clips_of(version, &columns, None).await?;
    while let Some(batch) = clips.next_batch().await? {
        for clip in batch {
            let Some(id) = clip.get(c::CLIP_ID) else { continue };
            old.insert(id.clone(), compared(&clip, &scores));
            found.before += 1;
        }
    }
    let (store, version) = b.open().await?;
    let mut clips = store.clips_of(version, &columns, None).await?;
    while let Some(batch) = clips.next_batch().await? {
        for clip in batch {
            let Some(id) = clip.get(c::CLIP_ID) else { continue };
            found.after += 1;
            let new = compared(&clip, &scores);
            match old.remove(id) {
                Some(old) => found.pair(id, &scores, &old, &new),
                None => {
                    found.added += 1;
                    found.name("added", || format!("{id}  {}", new.verdict));
                }
            }
        }
    }
    found.removed = old.len() as u64;
    let mut gone: Vec<(String, Verdict)> =
        old.into_iter().map(|(id, clip)| (id, clip.verdict)).collect();
    gone.sort();
    for (id, verdict) in gone.into_iter().take(NAMED) {
        found.name("removed", || format!("{id}  {verdict}"));
    }
    Ok(found)
}

pub(crate) async fn diff(a: &str, b: &str, as_json: bool) -> anyhow::Result<Exit> {
    let (a, b) = (Side::parse(a), Side::parse(b));
    if a == b {
        let words = "both sides are the same; a version is named as in OUT@7 or OUT@tag";
        return Err(UsageError(words.to_owned()).into());
    }
    let found = compare(&a, &b).await?;
    let mut stdout = std::io::stdout().lock();
    if as_json {
        writeln!(stdout, "{}", to_json(&found))?;
    } else {
        write!(stdout, "{}", in_words(&found))?;
    }
    Ok(Exit::Complete)
}

fn to_json(found: &Differences) -> Json {
    let verdicts = found
        .verdicts
        .iter()
        .map(|((from, to), clips)| json!({ "from": from, "to": to, "clips": clips }));
    let scores = found.scores.iter().map(|(name, delta)| {
        json!({
            "column": name, "changed": delta.changed, "mean": mean(delta),
            "largest": delta.largest, "appeared": delta.appeared, "vanished": delta.vanished,
        })
    });
    json!({
        "before": found.before, "after": found.after, "added": found.added,
        "removed": found.removed, "changed": found.changed, "captions": found.captions,
        "about_captions": found.about_captions,
        "verdicts": verdicts.collect::<Vec<_>>(), "scores": scores.collect::<Vec<_>>(),
        "examples": found.named,
    })
}

fn mean(delta: &Delta) -> f64 {
    delta.sum / delta.changed.max(1) as f64
}

fn in_words(found: &Differences) -> String {
    let Differences { before, after, added, removed, changed, .. } = found;
    let mut text =
        format!("clips {before} -> {after}: {added} added, {removed} removed, {changed} changed\n");
    if !found.verdicts.is_empty() {
        text += "verdicts\n";
        for ((from, to), clips) in &found.verdicts {
            text += &format!("  {clips:>8}  {from} -> {to}\n");
        }
    }
    if !found.scores.is_empty() {
        let head = ["changed", "mean step", "largest", "appeared", "vanished"];
        text += &format!(
            "{:<26}{:>9}{:>12}{:>12}{:>10}{:>10}\n",
            "scores", head[0], head[1], head[2], head[3], head[4]
        );
        for (name, delta) in &found.scores {
            text += &format!(
                "  {name:<24}{:>9}{:>12.4}{:>12.4}{:>10}{:>10}\n",
                delta.changed,
                mean(delta),
                delta.largest,
                delta.appeared,
                delta.vanished
            );
        }
    }
    if found.captions > 0 {
        text += &format!("captions  {} changed\n", found.captions);
    }
    if found.about_captions > 0 {
        text += &format!(
            "captions  {} with the same text are by another model, prompt, or flagged otherwise\n",
            found.about_captions
        );
    }
    for (kind, clips) in &found.named {
        text += &format!("{kind}, for example\n");
        for clip in clips {
            text += &format!("  {clip}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(motion: Option<f32>, status: &str, caption: &str) -> Compared {
        let mut clip =
            Clip::default().with(c::STATUS, status.to_owned()).with(c::CAPTION, caption.to_owned());
        clip.put(c::MOTION, motion);
        compared(&clip, &score_columns())
    }

    #[test]
    fn each_kind_of_change_is_counted_once() {
        let names = score_columns();
        assert!(names.contains(&"motion") && !names.contains(&"start_s"), "{names:?}");
        let mut found = Differences::default();
        let old = clip(Some(0.25), "kept", "a dog");
        found.pair("1", &names, &old, &old);
        assert_eq!(found.changed, 0);
        found.pair("2", &names, &old, &clip(Some(0.75), "kept", "a dog"));
        found.pair("3", &names, &old, &clip(Some(0.0), "dropped", "a cat"));
        found.pair("4", &names, &old, &clip(None, "kept", "a dog"));
        assert_eq!((found.changed, found.captions), (3, 1));
        assert_eq!(found.verdicts.values().sum::<u64>(), 1);
        let motion = found.scores["motion"];
        assert_eq!((motion.changed, motion.vanished, motion.appeared), (2, 1, 0));
        assert_eq!((mean(&motion), motion.largest), (0.125, 0.5));
        let words = in_words(&found);
        assert!(words.contains("3 changed") && words.contains("kept -> dropped"), "{words}");
        assert_eq!(to_json(&found)["scores"][0]["column"], "motion");
    }

    #[test]
    fn a_version_is_named_behind_an_at() {
        let side = Side::parse("out@7");
        assert_eq!((side.out, side.version), ("out".into(), Some("7".to_owned())));
        assert_eq!(Side::parse("out").version, None);
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("a@b");
        std::fs::create_dir(&there).unwrap();
        assert_eq!(Side::parse(there.to_str().unwrap()).version, None);
    }
}
