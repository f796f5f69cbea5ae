//! From a recipe to a plan: everything is checked before anything loads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use curate_schemas::{columns::CLIPS, fingerprint};
use serde_json::{Value as Json, json};

use crate::{
    Document, FrameNeed, Problems, RunConfig, Shape, StageConfig, StageEntry, Surroundings,
    config::read_table, suggest::closest,
};

/// One stage of a plan.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    /// The kind, as in the recipe and in the table's `drop_stage`.
    pub kind: &'static str,
    /// What the recipe says.
    pub config: Arc<dyn StageConfig>,
    /// Fingerprint of what the stage measures: kind, measuring settings, revision, and the
    /// fingerprints of what it reads.
    pub key: String,
    /// How many workers run it.
    pub workers: usize,
}

/// A recipe that has been checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `[run]`, with everything filled in.
    pub run: RunConfig,
    /// The stages in order; the first one splits.
    pub stages: Vec<PlannedStage>,
    /// Fingerprint of what decides which clips exist.
    pub split_id: String,
    /// What is behind `split_id`, so that a difference can be named.
    pub split: Json,
    /// The thresholds: a list of `{"stage", "settings"}` in the order in which they decide.
    pub judge: Json,
    /// Frames that the stages after the split need, merged.
    pub need: FrameNeed,
    /// The recipe's folder.
    pub base: PathBuf,
    /// The folder of models.
    pub models: PathBuf,
}

/// What a plan is compiled from, besides the recipe.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The kinds of stages there are.
    pub entries: &'a [StageEntry],
    /// A stage that every plan ends with (it writes the clip's bytes).
    pub last: Option<(&'static str, Arc<dyn StageConfig>)>,
    /// Settings outside the stages that decide which clips exist: ids, unit length, clip form.
    pub identity: Json,
    /// Cores of this machine.
    pub cores: usize,
    /// What stages may look up.
    pub around: Surroundings<'a>,
    /// The models there are.
    pub models: Models<'a>,
}

/// The models there are, as far as a plan must know.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// Their folder.
    pub dir: &'a Path,
    /// The checksum of one, which becomes part of the keys of the stages that use it; if it is not
    /// there, what to do.
    pub check: &'a dyn Fn(&str) -> Result<String, String>,
}

impl std::fmt::Debug for Models<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Plan {
    /// Checks a recipe as a whole. The plan is only meaningful when no problem was reported.
    pub fn compile(
        document: &Document,
        ingredients: Ingredients<'_>,
        problems: &mut Problems,
    ) -> Self {
        problems.enter("[run]");
        let mut run: RunConfig = read_table(&document.run, problems);
        run.resolve(ingredients.cores, problems);

        let mut stages = Vec::new();
        for (index, table) in document.stages.iter().enumerate() {
            stages.extend(parse_stage(index, table, &ingredients, problems));
        }
        if document.stages.is_empty() {
            problems.enter("");
            problems.report("stage", "the recipe has no stages").help =
                Some("start with:\n    [[stage]]\n    kind = \"scenes\"".to_owned());
        }
        // After a stage that cannot be read, what the others lack would only be noise.
        if stages.len() == document.stages.len() && !stages.is_empty() {
            stages.extend(ingredients.last);
            check_shapes(&stages, problems);
            check_columns(&stages, problems);
        }
        let mut models = Vec::with_capacity(stages.len());
        for (index, (kind, config)) in stages.iter().enumerate() {
            problems.enter(format!("stage {} ({kind})", index + 1));
            let mut hashes = Vec::new();
            for id in config.models() {
                match (ingredients.models.check)(id) {
                    Ok(hash) => hashes.push(hash),
                    Err(error) => {
                        problems.report("", error);
                    }
                }
            }
            hashes.retain(|hash| !hash.is_empty());
            models.push(hashes);
        }

        let split = json!({
            "identity": ingredients.identity,
            "split": stages.first().map(|(kind, config)| json!({
                "kind": kind, "revision": config.revision(), "settings": config.measuring(),
            })),
        });
        let split_id = fingerprint([canonical(&split).as_bytes()]);
        let keys = stage_keys(&stages, &models, &split_id);
        let judge: Vec<Json> = stages
            .iter()
            .map(|(kind, config)| json!({ "stage": kind, "settings": config.judging() }))
            .collect();
        let need = stages
            .iter()
            .skip(1)
            .fold(FrameNeed::default(), |need, (_, config)| need.merge(config.frames()));
        if let Some((kind, split)) = stages.first() {
            problems.enter(format!("stage 1 ({kind})"));
            split.validate_need(&need, problems);
        }
        let planned = stages.into_iter().zip(keys).map(|((kind, config), key)| {
            let workers = workers(&run, config.as_ref());
            PlannedStage { kind, config, key, workers }
        });
        Self {
            stages: planned.collect(),
            run,
            split_id,
            split,
            judge: json!(judge),
            need,
            base: ingredients.around.base.to_owned(),
            models: ingredients.models.dir.to_owned(),
        }
    }

    /// Puts the stages between the split and the last one into the order of `kinds`; those that are
    /// not named come after. A stage stays behind those whose columns it reads, so no key changes.
    pub fn reorder(&mut self, kinds: &[&str]) {
        let Some(last) = self.stages.len().checked_sub(1).filter(|last| *last > 1) else { return };
        let place = |kind: &str| kinds.iter().position(|name| *name == kind).unwrap_or(kinds.len());
        let mut waiting: Vec<PlannedStage> = self.stages.drain(1..last).collect();
        let mut at = 1;
        while !waiting.is_empty() {
            let is_ready = |stage: &PlannedStage| {
                let others = waiting.iter().filter(|other| other.kind != stage.kind);
                let mut pending = others.flat_map(|other| other.config.writes());
                !pending.any(|column| stage.config.looks_at(column))
            };
            let ready = waiting.iter().enumerate().filter(|(_, stage)| is_ready(stage));
            let next = ready.min_by_key(|(_, stage)| place(stage.kind)).map_or(0, |(i, _)| i);
            self.stages.insert(at, waiting.remove(next));
            at += 1;
        }
        let judges = self.stages.iter();
        self.judge = judges
            .map(|stage| json!({ "stage": stage.kind, "settings": stage.config.judging() }))
            .collect();
    }

    /// The stage called `kind`.
    #[must_use]
    pub fn stage(&self, kind: &str) -> Option<&PlannedStage> {
        self.stages.iter().find(|stage| stage.kind == kind)
    }
}

type Parsed = (&'static str, Arc<dyn StageConfig>);

fn parse_stage(
    index: usize,
    table: &toml::Table,
    ingredients: &Ingredients<'_>,
    problems: &mut Problems,
) -> Option<Parsed> {
    let entries = ingredients.entries;
    let mut table = table.clone();
    problems.enter(format!("stage {}", index + 1));
    let kinds = || entries.iter().map(|entry| entry.kind);
    let known = || format!("known kinds: {}", kinds().collect::<Vec<_>>().join(", "));
    let kind = match table.remove("kind") {
        Some(toml::Value::String(kind)) => kind,
        Some(_) => {
            problems.report("kind", "must be a word in quotes").help = Some(known());
            return None;
        }
        None => {
            problems.report("kind", "every stage says its kind").help = Some(known());
            return None;
        }
    };
    let Some(entry) = entries.iter().find(|entry| entry.kind == kind) else {
        problems.report("kind", format!("there is no stage \"{kind}\"")).help =
            Some(match closest(&kind, kinds()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => known(),
            });
        return None;
    };
    problems.enter(format!("stage {} ({kind})", index + 1));
    let mut config = (entry.parse)(&mut table, problems);
    config.look_up(&ingredients.around, problems);
    config.validate(problems);
    Some((entry.kind, config.into()))
}

fn check_shapes(stages: &[Parsed], problems: &mut Problems) {
    for (index, (kind, config)) in stages.iter().enumerate() {
        problems.enter(format!("stage {} ({kind})", index + 1));
        if stages[..index].iter().any(|(other, _)| other == kind) {
            problems.report("kind", "this stage is there twice").help =
                Some("a column has one writer: remove one of the two".to_owned());
        }
        let splits = config.shape() == Shape::Split;
        if index == 0 && !splits {
            problems.report("kind", "the first stage must cut sources into clips").help =
                Some("put a stage of kind \"scenes\" first".to_owned());
        }
        if index > 0 && splits {
            problems.report("kind", "only the first stage may cut sources into clips");
        }
    }
}

fn check_columns(stages: &[Parsed], problems: &mut Problems) {
    let mut writers: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, (kind, config)) in stages.iter().enumerate() {
        problems.enter(format!("stage {} ({kind})", index + 1));
        for column in config.reads() {
            if !writers.contains_key(column) {
                let help = match stages[index..].iter().find(|(_, c)| c.writes().contains(column)) {
                    Some((later, _)) => {
                        format!("move \"{later}\", which writes it, before \"{kind}\"")
                    }
                    None => "no stage of this recipe writes it".to_owned(),
                };
                problems.report("kind", format!("reads `{column}` before it is written")).help =
                    Some(help);
            }
        }
        for column in config.writes() {
            if CLIPS.position(column).is_none() {
                problems
                    .report("kind", format!("writes `{column}`, which the table does not have"));
            }
            if let Some(other) = writers.insert(column, kind)
                && other != *kind
            {
                problems.report("kind", format!("writes `{column}`, as \"{other}\" does")).help =
                    Some("a column has one writer: remove one of the two".to_owned());
            }
        }
    }
}

/// The key of each stage: its own settings and the keys of the stages whose columns it reads.
fn stage_keys(stages: &[Parsed], models: &[Vec<String>], split_id: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::with_capacity(stages.len());
    for (index, (kind, config)) in stages.iter().enumerate() {
        let upstream: Vec<&str> = stages[..index]
            .iter()
            .zip(&keys)
            .filter(|((_, other), _)| other.writes().iter().any(|c| config.looks_at(c)))
            .map(|(_, key)| key.as_str())
            .collect();
        let mut own = json!({
            "kind": kind, "revision": config.revision(), "settings": config.measuring(),
            "upstream": upstream, "split": split_id,
        });
        if let Some(models) = models.get(index).filter(|models| !models.is_empty()) {
            own["models"] = json!(models);
        }
        keys.push(fingerprint([canonical(&own).as_bytes()]));
    }
    keys
}

/// JSON text that does not depend on the order in which keys were written: `serde_json`'s maps are
/// sorted unless a dependency switches that off, so they are sorted here in any case.
fn canonical(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let sorted: BTreeMap<&String, String> =
                map.iter().map(|(k, v)| (k, canonical(v))).collect();
            let inner: Vec<String> = sorted.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
            format!("{{{}}}", inner.join(","))
        }
        Json::Array(list) => {
            format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn workers(run: &RunConfig, config: &dyn StageConfig) -> usize {
    match config.shape() {
        Shape::Split => run.workers,
        Shape::Batch => 1,
        Shape::Map => {
            let resources = config.resources();
            (run.cpus / resources.threads.max(1)).clamp(1, resources.max_workers.max(1))
        }
    }
}

#[cfg(test)]
mod tests;
