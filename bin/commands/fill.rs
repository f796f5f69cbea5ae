//! The first half of `curate run --backfill`: the run over clips that are in the table, before the
//! usual one over units that are not. What is lacking and how it is written is `bin/backfill.rs`.

use std::time::Instant;

use curate_pipeline::{Planned, Provenance, Stop};
use curate_store::{Lease, LedgerEntry, Store};
use tokio::runtime::Handle;

use crate::{
    backfill::{self, Filler},
    progress::{Progress, say},
    recipe::Recipe,
    shortage,
    units::{Done, Known, Scope, Units},
};

/// What a backfill works with.
pub(super) struct Filling<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) store: &'a Store,
    pub(super) lease: &'a Lease,
    pub(super) scope: Scope,
    pub(super) provenance: &'a Provenance,
    pub(super) progress: &'a Progress,
    pub(super) stop: &'a Stop,
    pub(super) runtime: &'a Handle,
}

impl Filling<'_> {
    /// Measures what the table's clips lack. How many have failed or are not complete afterwards.
    pub(super) fn fill(&self, ledger: &[LedgerEntry]) -> anyhow::Result<u64> {
        let (recipe, store) = (self.recipe, self.store);
        let needs = self.runtime.block_on(backfill::needs(store, &recipe.plan))?;
        // From here on new clips are judged by the recipe's new stages too.
        if self.runtime.block_on(store.meta())?.judge != recipe.plan.judge {
            self.runtime.block_on(store.set_judge(&recipe.plan.judge))?;
        }
        if needs.clips == 0 {
            say("backfill: every clip has been measured as the recipe says");
            return Ok(needs.failed);
        }
        say(&format!(
            "backfill: {} clips of {} units lack something:\n{}",
            needs.clips,
            needs.units.len(),
            needs.describe(&recipe.plan)
        ));
        let plan = backfill::plan(&recipe.plan, &needs, store, self.runtime);
        let done: Vec<LedgerEntry> =
            ledger.iter().filter(|entry| !needs.units.contains(&entry.unit_id)).cloned().collect();
        let known = Known { done: Done::new(&done), ..Known::default() };
        let sources = recipe.sources()?;
        let (units, _) = Units::new(sources, known, self.scope, self.stop.clone(), self.progress);
        let units = units.filter(
            |planned| matches!(planned, Planned::Unit(unit) if needs.units.contains(&unit.id)),
        );
        let mut sink = Filler::new(store, self.lease, self.runtime.clone(), &recipe.plan, &needs);
        let since = Instant::now();
        let ran = curate_pipeline::run(
            &plan,
            self.provenance,
            units,
            &mut sink,
            self.progress,
            self.stop,
        );
        if !(ran.is_ok() && self.stop.is_now()) {
            sink.commit()?;
        }
        let report = ran?;
        let written: u64 = sink.written.values().sum();
        let words: Vec<String> =
            sink.written.iter().map(|(status, count)| format!("{count} {status}")).collect();
        say(&format!(
            "backfill: {written} clips filled in ({}), {} frames decoded",
            if words.is_empty() { "none".to_owned() } else { words.join(", ") },
            report.frames_decoded
        ));
        if let Some(words) = shortage::told(recipe, &report, since.elapsed()) {
            say(&format!("backfill: {words}"));
        }
        for (uri, message) in &sink.damage {
            say(&format!("backfill: {uri}: {message}"));
        }
        if written < needs.clips && !self.stop.is_draining() && self.scope.is_whole() {
            say(&format!(
                "backfill: {} clips still lack something: their sources are not among this \
                 recipe's, or could not be read",
                needs.clips - written
            ));
        }
        let after = self.runtime.block_on(backfill::needs(store, &recipe.plan))?;
        Ok(after.clips + after.failed)
    }
}
