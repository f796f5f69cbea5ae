//! `curate run --backfill`: measuring what rows of an existing table lack.
//!
//! A row says under which key each stage measured it. What a recipe would measure otherwise, or
//! not at all, is found by comparing keys, and exactly those stages run again, on exactly those
//! clips: a unit is decoded once more only if one of them needs frames. What changes is written
//! column by column ([`Store::patch`]); only rows that get their bytes are written whole. Every
//! commit holds whole units, and a backfill that was killed goes on with what is still lacking.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

use curate_pipeline::{FrameNeed, Plan, RunError, Score, Sink, UnitResult};
use curate_schemas::{Clip, Kind, UnitId, UnitRow, columns as c};
use curate_stages::scenes::Replay;
use curate_store::{Changes, Lease, Store, StoreError};
use tokio::runtime::Handle;

use crate::{
    judges::measured,
    sink::{Batches, Cadence, Spooled},
};

/// The stage that writes bytes, with which every plan ends.
const BYTES: &str = "clip";

/// Columns that are written again with any measured value.
const ALWAYS: [&str; 8] = [
    c::STATUS.name(),
    c::DROP_STAGE.name(),
    c::DROP_REASON.name(),
    c::ERROR_KIND.name(),
    c::ERROR_MESSAGE.name(),
    c::STAGE_KEYS.name(),
    c::RUN_ID.name(),
    c::CURATE_VERSION.name(),
];

/// What a plan would measure of a table's rows.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// By stage, in the plan's order: clips measured with other settings, and clips never measured.
    pub(crate) stages: BTreeMap<usize, (u64, u64)>,
    /// Clips that lack something.
    pub(crate) clips: u64,
    /// Clips of the table that failed.
    pub(crate) failed: u64,
    /// Their units.
    pub(crate) units: HashSet<UnitId>,
}

/// The stages (by their place in the plan) that must measure a clip.
fn lacks(plan: &Plan, clip: &Clip) -> Vec<usize> {
    let keys = measured(clip);
    let last = plan.stages.len().saturating_sub(1);
    let text = |column| clip.get(column).map_or("", String::as_str);
    let status = text(c::STATUS);
    let fate = plan.stages.iter().position(|stage| stage.kind == text(c::DROP_STAGE));
    let reaches = match (status, fate) {
        ("failed", Some(stage)) => stage,
        ("dropped", Some(stage)) if plan.run.score == Score::Kept => stage,
        _ => last,
    };
    let wants_dropped = plan.stages.last().is_some_and(|stage| stage.config.wants_dropped());
    let stores = status == "kept" || (status == "dropped" && wants_dropped);
    let is_bare = plan.split["identity"]["form"] != "none"
        && clip.get(c::VIDEO_FORM).is_none_or(|form| form == "none");
    let lacking = plan.stages.iter().enumerate().skip(1).filter(|(place, stage)| {
        let differs = keys.get(stage.kind).is_none_or(|key| *key != stage.key);
        if stage.kind == BYTES {
            stores && (differs || is_bare)
        } else {
            // One that only judges has nothing to measure, but has not judged this clip.
            *place <= reaches && differs
        }
    });
    lacking.map(|(index, _)| index).collect()
}

/// Compares a table's rows with a plan.
pub(crate) async fn needs(store: &Store, plan: &Plan) -> Result<Needs, StoreError> {
    let names = [
        c::UNIT_ID.name(),
        c::STATUS.name(),
        c::DROP_STAGE.name(),
        c::VIDEO_FORM.name(),
        c::STAGE_KEYS.name(),
    ];
    let mut needs = Needs::default();
    let mut clips = store.clips(&names, None).await?;
    while let Some(batch) = clips.next_batch().await? {
        for mut clip in batch {
            forget_bytes(plan, &mut clip);
            let lacking = lacks(plan, &clip);
            needs.failed += u64::from(clip.get(c::STATUS).is_some_and(|word| word == "failed"));
            if lacking.is_empty() {
                continue;
            }
            needs.clips += 1;
            let keys = measured(&clip);
            for stage in lacking {
                let (stale, missing) = needs.stages.entry(stage).or_default();
                let key = keys.get(plan.stages[stage].kind);
                let count = if key.is_some() { stale } else { missing };
                *count += 1;
            }
            needs.units.extend(clip.get(c::UNIT_ID).and_then(|id| UnitId::parse(id).ok()));
        }
    }
    Ok(needs)
}

/// Units that hold clips that failed, be it in the run or in a backfill.
pub(crate) async fn units_with_failed_clips(store: &Store) -> Result<HashSet<UnitId>, StoreError> {
    let failed = format!("{} = 'failed'", c::STATUS.name());
    let mut found = HashSet::new();
    let names = [c::UNIT_ID.name()];
    let mut clips = store.clips(&names, Some(&failed)).await?;
    while let Some(batch) = clips.next_batch().await? {
        let ids = batch.iter().filter_map(|clip| clip.get(c::UNIT_ID));
        found.extend(ids.filter_map(|id| UnitId::parse(id).ok()));
    }
    Ok(found)
}

impl Needs {
    /// In words, a line for each stage; `judged` names the stages that the table knows.
    pub(crate) fn describe(&self, plan: &Plan) -> String {
        let lines = self.stages.iter().map(|(index, (stale, missing))| {
            let stage = &plan.stages[*index];
            let columns = match stage.config.writes() {
                [] => "it only judges".to_owned(),
                columns => columns.join(", "),
            };
            let mut words = Vec::new();
            if *stale > 0 {
                words.push(format!("{stale} clips measured with other settings"));
            }
            if *missing > 0 {
                words.push(format!("{missing} clips not measured"));
            }
            format!("  {}: {} ({columns})", stage.kind, words.join(", "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether a run must not go on without a backfill: some stage is new or measures otherwise.
    /// Clips that a moved threshold let in are merely incomplete.
    pub(crate) fn is_another_recipe(&self, plan: &Plan, table: &serde_json::Value) -> bool {
        self.stages.iter().any(|(index, (stale, _))| {
            let kind = plan.stages[*index].kind;
            let stages = table.as_array().map_or(&[][..], Vec::as_slice);
            *stale > 0 || !stages.iter().any(|stage| stage["stage"] == kind)
        })
    }
}

/// The plan that fills in what is lacking: clips come from the table, and only the stages that
/// must measure anything ask for frames.
pub(crate) fn plan(plan: &Plan, needs: &Needs, store: &Store, runtime: &Handle) -> Plan {
    let mut filling = plan.clone();
    filling.need = needs
        .stages
        .keys()
        .fold(FrameNeed::default(), |need, index| need.merge(plan.stages[*index].config.frames()));
    let (whole, store, runtime) = (plan.clone(), store.clone(), runtime.clone());
    let clips = move |unit: &UnitId| {
        let found = runtime.block_on(clips_of(&store, unit));
        let mut clips = found.map_err(|error| error.to_string())?;
        clips.retain(|clip| !lacks(&whole, clip).is_empty());
        clips.iter_mut().for_each(|clip| forget_bytes(&whole, clip));
        Ok(clips)
    };
    if let Some(first) = filling.stages.first_mut() {
        let split = Arc::clone(&first.config);
        first.config = Arc::new(Replay { split, clips: Arc::new(clips) });
    }
    filling
}

async fn clips_of(store: &Store, unit: &UnitId) -> Result<Vec<Clip>, StoreError> {
    let columns = curate_schemas::columns::CLIPS.columns.iter();
    let columns: Vec<&str> = columns
        .filter(|spec| !matches!(spec.kind, Kind::Blob | Kind::Large))
        .map(|spec| spec.name)
        .collect();
    let filter = format!("{} = '{unit}'", c::UNIT_ID.name());
    let mut found = Vec::new();
    let mut clips = store.clips(&columns, Some(&filter)).await?;
    while let Some(batch) = clips.next_batch().await? {
        found.extend(batch);
    }
    Ok(found)
}

/// A clip that was measured although it was dropped has a key of the stage that writes bytes, and
/// no bytes.
fn forget_bytes(plan: &Plan, clip: &mut Clip) {
    let is_without = plan.split["identity"]["form"] == "none";
    if is_without {
        return; // nobody's bytes are missing
    }
    if clip.get(c::VIDEO_FORM).is_some_and(|form| form != "none") {
        return;
    }
    let mut keys = measured(clip);
    if keys.remove(BYTES).is_some() {
        clip.set(c::STAGE_KEYS, serde_json::Value::Object(keys).to_string());
    }
}

/// Writes what was filled in.
pub(crate) struct Filler<'a> {
    store: &'a Store,
    lease: &'a Lease,
    runtime: Handle,
    columns: Vec<&'static str>,
    cadence: Cadence,
    open: HashMap<u64, Filled>,
    ready: Vec<Filled>,
    /// Clips written, by status.
    pub(crate) written: BTreeMap<String, u64>,
    /// What was wrong with units, by URI.
    pub(crate) damage: BTreeMap<String, String>,
    /// Commits made.
    pub(crate) commits: u64,
}

/// The clips of one attempt at a unit.
#[derive(Default)]
struct Filled {
    /// Without bytes: only the columns that change.
    patched: Vec<Clip>,
    /// With bytes: whole rows.
    whole: Spooled,
}

impl<'a> Filler<'a> {
    pub(crate) fn new(
        store: &'a Store,
        lease: &'a Lease,
        runtime: Handle,
        plan: &Plan,
        needs: &Needs,
    ) -> Self {
        let mut columns: BTreeSet<&'static str> = ALWAYS.into();
        for index in needs.stages.keys() {
            columns.extend(plan.stages[*index].config.writes());
        }
        columns.remove(c::VIDEO.name());
        Self {
            store,
            lease,
            runtime,
            columns: columns.into_iter().collect(),
            cadence: Cadence::new(&plan.run),
            open: HashMap::new(),
            ready: Vec::new(),
            written: BTreeMap::new(),
            damage: BTreeMap::new(),
            commits: 0,
        }
    }

    /// Commits what is whole.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        self.cadence.committed(Instant::now());
        let units = std::mem::take(&mut self.ready);
        let mut patched = Vec::new();
        let mut whole = Vec::new();
        for mut unit in units {
            let statuses = unit.patched.iter().chain(unit.whole.clips());
            for status in statuses.filter_map(|clip| clip.get(c::STATUS)) {
                *self.written.entry(status.clone()).or_default() += 1;
            }
            patched.append(&mut unit.patched);
            whole.push(Arc::new(unit.whole));
        }
        if !patched.is_empty() {
            let mut changes = Changes::of(&self.columns);
            let path = self.store.layout().clips();
            changes.push(&patched).map_err(|source| StoreError::Batch { path, source })?;
            self.runtime.block_on(self.store.patch(&changes))?;
            self.commits += 1;
        }
        for batch in Batches::new(whole) {
            let batch = batch.map_err(|error| StoreError::Io {
                action: "read back from",
                path: self.lease.dir().spool(),
                source: error,
            })?;
            self.runtime.block_on(self.store.replace(&batch))?;
            self.commits += 1;
        }
        Ok(())
    }
}

impl Sink for Filler<'_> {
    fn clip(&mut self, ticket: u64, mut clip: Clip) -> Result<(), RunError> {
        let filled = self.open.entry(ticket).or_default();
        if clip.get(c::VIDEO).is_some() {
            return filled.whole.push(&self.lease.dir().spool(), ticket, clip);
        }
        let written: Vec<&str> = clip.row().written().collect();
        let keep = |name: &str| name == c::CLIP_ID.name() || self.columns.contains(&name);
        for name in written.into_iter().filter(|name| !keep(name)) {
            clip.clear(name);
        }
        filled.patched.push(clip);
        Ok(())
    }

    fn unit(&mut self, ticket: u64, result: &UnitResult, _row: UnitRow) -> Result<(), RunError> {
        self.ready.extend(self.open.remove(&ticket));
        if let Some(error) = &result.error
            // Damage that leaves every frame in place is in the ledger since the first run.
            && !matches!(error.kind, "decode" | "concealed" | "inexact_times")
        {
            self.damage.insert(result.unit.source.uri.clone(), error.message.clone());
        }
        Ok(())
    }

    fn discard(&mut self, ticket: u64) {
        self.open.remove(&ticket);
    }

    fn tick(&mut self) -> Result<(), RunError> {
        let bytes = self.ready.iter().map(|unit| unit.whole.bytes()).sum();
        if self.cadence.is_due(self.ready.len(), bytes, Instant::now()) {
            self.commit().map_err(RunError::sink)?;
        }
        Ok(())
    }
}

/// What to say where a run would mix two ways of measuring.
pub(crate) fn refusal(needs: &Needs, plan: &Plan, out: &Path) -> String {
    format!(
        "this recipe measures otherwise than the clips in {} were measured:\n{}\n\
         run it with --backfill to measure exactly this, or set the recipe back",
        out.display(),
        needs.describe(plan)
    )
}
