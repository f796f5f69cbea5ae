//! From a recipe to a plan: everything is checked before anything loads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use curate_schemas::fingerprint;
use serde_json::{Value as Json, json};

use self::recipe::Parsed;
use crate::{
    Document, FrameNeed, Problems, RunConfig, Shape, StageConfig, StageEntry, Surroundings, Unread,
    config::read_table,
};

mod recipe;

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
        let table = &document.run;
        let (mut run, unread): (RunConfig, Unread) =
            Unread::read(("[run]", table), problems, |problems| read_table(table, problems));
        run.held = ingredients.last.as_ref().map_or(0, |(_, last)| last.holds(run.memory));
        unread.check("[run]", problems, |problems| run.resolve(ingredients.cores, problems));

        let mut stages = recipe::read_stages(document, &ingredients, problems);
        if document.stages.is_empty() {
            problems.enter("");
            problems.report("stage", "the recipe has no stages").help =
                Some("start with:\n    [[stage]]\n    kind = \"scenes\"".to_owned());
        }
        recipe::check_places(&stages, problems);
        // After a stage that is not known, what the others lack would only be noise.
        let is_known = stages.len() == document.stages.len();
        if is_known && !stages.is_empty() {
            let number = stages.len() + 1;
            let last = ingredients.last;
            stages.extend(last.map(|(kind, config)| Parsed::whole(number, kind, config)));
            recipe::check_columns(&stages, problems);
        }
        let models = recipe::check_models(&stages, &ingredients.models, problems);

        let split = json!({
            "identity": ingredients.identity,
            "split": stages.first().map(|Parsed { kind, config, .. }| json!({
                "kind": kind, "revision": config.revision(), "settings": config.measuring(),
            })),
        });
        let split_id = fingerprint([canonical(&split).as_bytes()]);
        let keys = stage_keys(&stages, &models, &split_id);
        let judge: Vec<Json> = stages
            .iter()
            .map(|stage| json!({ "stage": stage.kind, "settings": stage.config.judging() }))
            .collect();
        let need = stages
            .iter()
            .skip(1)
            .fold(FrameNeed::default(), |need, stage| need.merge(stage.config.frames()));
        if let Some(first) = stages.first()
            && is_known
            && stages.iter().all(|stage| stage.is_whole)
        {
            problems.enter(first.place());
            first.config.validate_need(&need, problems);
        }
        let planned = stages.into_iter().zip(keys).map(|(Parsed { kind, config, .. }, key)| {
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

/// The key of each stage: its own settings and the keys of the stages whose columns it reads.
fn stage_keys(stages: &[Parsed], models: &[Vec<String>], split_id: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::with_capacity(stages.len());
    for (index, Parsed { kind, config, .. }) in stages.iter().enumerate() {
        let upstream: Vec<&str> = stages[..index]
            .iter()
            .zip(&keys)
            .filter(|(other, _)| other.config.writes().iter().any(|c| config.looks_at(c)))
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
