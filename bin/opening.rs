//! The table of a run: opened before anything is decoded, or, where it is new, made meanwhile.
//!
//! Making a table is a dozen small commits, and nothing of it is needed before the first clips are
//! written. What is wrong with it is noticed at the next tick of the sink, and ends the run.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use curate_pipeline::Order;
use curate_store::{Lease, LedgerEntry, Store, StoreError, TableMeta};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    UsageError, backfill, cli::JudgeBy, commands::Options, differences, progress::say,
    recipe::Recipe, signals,
};

/// What a run works on.
pub(crate) struct Opened {
    pub(crate) table: Table,
    pub(crate) lease: Lease,
    pub(crate) ledger: Vec<LedgerEntry>,
    /// Clips that were in the table before and have failed or are not complete.
    pub(crate) unfinished: u64,
}

impl Opened {
    /// Opens the table of a recipe, which is made to follow it. The run listens to signals from here on.
    pub(crate) fn of(
        recipe: &mut Recipe,
        options: Options,
        run_id: &str,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        signals::release()?;
        let is_new = !recipe.out.join("clips.lance").exists();
        let is_plain = !options.backfill && !options.retry && options.judge.is_none();
        if is_new && is_plain {
            // The lease first: where no folder can be made, nobody waits for a table.
            let lease = Lease::acquire(&recipe.out, run_id);
            let lease = runtime.block_on(lease).map_err(cannot_make)?;
            let table = Table::make(recipe, runtime);
            return Ok(Self { table, lease, ledger: Vec::new(), unfinished: 0 });
        }
        let (store, unfinished) = runtime.block_on(open_table(recipe, options))?;
        let lease = runtime.block_on(Lease::acquire(&recipe.out, run_id))?;
        let (ledger, meta) = runtime.block_on(async {
            store.recover(Some(&lease)).await?;
            Ok::<_, StoreError>((store.ledger().await?, store.meta().await?))
        })?;
        // They may have been moved by whoever had the table until now.
        follow_judge(recipe, options.judge, &meta)?;
        Ok(Self { table: Table::open(store, runtime), lease, ledger, unfinished })
    }
}

/// A table that may still be in the making.
pub(crate) struct Table {
    runtime: Handle,
    store: OnceLock<Store>,
    making: Mutex<Option<JoinHandle<anyhow::Result<Store>>>>,
    failure: Mutex<Option<anyhow::Error>>,
}

/// The table could not be made; [`Table::into_store`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the table could not be made: {0}")]
pub(crate) struct NoTable(String);

impl Table {
    fn open(store: Store, runtime: &Handle) -> Self {
        Self { store: OnceLock::from(store), ..Self::empty(runtime, None) }
    }

    fn empty(runtime: &Handle, making: Option<JoinHandle<anyhow::Result<Store>>>) -> Self {
        let (store, making) = (OnceLock::new(), Mutex::new(making));
        Self { runtime: runtime.clone(), store, making, failure: Mutex::new(None) }
    }

    /// Begins to make the table. Another process may be faster; its table must then be this recipe's.
    fn make(recipe: &Recipe, runtime: &Handle) -> Self {
        let (out, meta): (PathBuf, TableMeta) = (recipe.out.clone(), meta(recipe));
        let making = runtime.spawn(async move {
            let made = Store::create_or_open(&out, &meta).await;
            let (store, created) = made.map_err(cannot_make)?;
            if !created {
                let found = store.meta().await?;
                check_split((&out, &meta), &found)?;
                check_judge((&out, &meta), &found)?;
            }
            Ok(store)
        });
        Self::empty(runtime, Some(making))
    }

    /// Whether [`Table::store`] would not wait.
    pub(crate) fn is_settled(&self) -> bool {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The table; waits until it is made.
    pub(crate) fn store(&self) -> Result<&Store, NoTable> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(making) = making.take() {
            let made = self.runtime.block_on(making);
            match made.map_err(anyhow::Error::from).and_then(|made| made) {
                Ok(store) => return Ok(self.store.get_or_init(|| store)),
                Err(error) => {
                    let words = format!("{error:#}");
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    *failure = Some(error);
                    return Err(NoTable(words));
                }
            }
        }
        self.store.get().ok_or_else(|| NoTable("it failed before".to_owned()))
    }

    /// The table, when a run is over.
    ///
    /// # Errors
    /// Why it could not be made.
    pub(crate) fn into_store(self) -> anyhow::Result<Store> {
        let missing = self.store().err();
        let failure = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (self.store.into_inner(), failure) {
            (Some(store), _) => Ok(store),
            (None, Some(error)) => Err(error),
            (None, None) => Err(missing.unwrap_or_else(|| NoTable(String::new())).into()),
        }
    }
}

/// What a new table of this recipe says of itself.
fn meta(recipe: &Recipe) -> TableMeta {
    let plan = &recipe.plan;
    TableMeta::new(plan.split_id.clone(), plan.split.clone(), plan.judge.clone())
}

/// Where the folder cannot be made the recipe names the wrong place.
fn cannot_make(error: StoreError) -> anyhow::Error {
    let is_place = matches!(error, StoreError::Io { .. });
    let error = anyhow::Error::new(error);
    if is_place { UsageError(format!("[output] path: {error:#}")).into() } else { error }
}

/// The table, and how many of its clips have failed or are not complete.
async fn open_table(recipe: &mut Recipe, options: Options) -> anyhow::Result<(Store, u64)> {
    let made = Store::create_or_open(&recipe.out, &meta(recipe)).await;
    let (store, created) = made.map_err(cannot_make)?;
    if created {
        return Ok((store, 0));
    }
    let mut unfinished = 0;
    let table = store.meta().await?;
    check_split((&recipe.out, &meta(recipe)), &table)?;
    follow_order(recipe, &table);
    follow_judge(recipe, options.judge, &table)?;
    if !options.backfill {
        let needs = backfill::needs(&store, &recipe.plan).await?;
        if needs.is_another_recipe(&recipe.plan, &table.judge) {
            let words = backfill::refusal(&needs, &recipe.plan, &recipe.out);
            return Err(UsageError(words).into());
        }
        if needs.clips > 0 {
            say(&format!(
                "{} clips have not been through every stage:\n{}\n\
                 run with --backfill to fill them in, if their sources are still there",
                needs.clips,
                needs.describe(&recipe.plan)
            ));
        }
        if table.judge != recipe.plan.judge {
            store.set_judge(&recipe.plan.judge).await?;
        }
        unfinished = needs.clips + needs.failed;
    }
    Ok((store, unfinished))
}

/// Has the recipe judge as it is to: by the table's thresholds, by its own, or by its own if they
/// are the table's.
fn follow_judge(recipe: &mut Recipe, by: Option<JudgeBy>, table: &TableMeta) -> anyhow::Result<()> {
    match by {
        Some(JudgeBy::Table) => recipe.judge_by(&table.judge),
        Some(JudgeBy::File) => Ok(()),
        None => check_judge((&recipe.out, &meta(recipe)), table),
    }
}

/// An order that was found by measuring is the one that the table was made in.
pub(crate) fn follow_order(recipe: &mut Recipe, table: &TableMeta) {
    if recipe.plan.run.order == Order::Cost {
        let stages = table.judge.as_array().map_or(&[][..], Vec::as_slice);
        let kinds: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
        recipe.plan.reorder(&kinds);
    }
}

/// A table is only written by the recipe that made it.
pub(crate) fn check_table(recipe: &Recipe, table: &TableMeta) -> anyhow::Result<()> {
    let ours = (recipe.out.as_path(), &meta(recipe));
    check_split(ours, table)?;
    check_judge(ours, table)
}

/// The thresholds of stages that the table knows must be the table's. What a new stage would do is
/// for a backfill.
fn check_judge((out, ours): (&Path, &TableMeta), table: &TableMeta) -> anyhow::Result<()> {
    let stages = |judge: &serde_json::Value| judge.as_array().cloned().unwrap_or_default();
    let known = stages(&table.judge);
    let mut ours = stages(&ours.judge);
    ours.retain(|stage| known.iter().any(|other| other["stage"] == stage["stage"]));
    if known == ours {
        return Ok(());
    }
    Err(UsageError(format!(
        "the thresholds of this recipe are not those of {}:\n{}\n\
         move the table's with `curate refilter`, set the recipe back, or judge new clips by the \
         table (`--judge table`) or by the recipe (`--judge file`); rows that are there keep their \
         verdict",
        out.display(),
        differences::of_thresholds(&known, &ours)
    ))
    .into())
}

fn check_split((out, ours): (&Path, &TableMeta), table: &TableMeta) -> anyhow::Result<()> {
    if table.split_id == ours.split_id {
        return Ok(());
    }
    Err(UsageError(format!(
        "{} was made by another recipe; its clips are other clips:\n{}\n\
         choose another [output] path, or set the recipe back",
        out.display(),
        differences::of_splits(&table.split, &ours.split)
    ))
    .into())
}
