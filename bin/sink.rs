//! From finished units to the table.
//!
//! A clip's bytes and thumbnail go to a scratch file of its unit as soon as the clip has ended, so
//! that only its row (a few hundred bytes) stays in memory. At a commit they are read back in batches
//! of bounded size and staged as one fragment for all units of the commit: few, large fragments
//! keep the table fast. Only at the start commits are smaller ([`Cadence`]).

mod cadence;
mod tidy;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Instant,
};

use curate_pipeline::{RunConfig, RunError, Sink, UnitResult, UnitStatus};
use curate_schemas::{Clip, Column, UnitId, UnitRow, columns as c};
use curate_store::{Former, Lease, Outcome, Receipt, StoreError, remedy};
use tokio::runtime::Handle;

pub(crate) use self::{cadence::Cadence, tidy::tidy};
use crate::{
    opening::{NoTable, Table},
    progress::say,
    units::Replaced,
};

/// Spooled bytes read back at a time, at least.
const BATCH_BYTES: u64 = 2 << 20;
/// Batches of a commit, about: Lance holds some 46 KB for each, whatever is in it, until the commit's
/// last one.
const MOST_BATCHES: u64 = 256;
/// Rows read back at a time.
const BATCH_ROWS: usize = 256;

/// The columns whose bytes wait on disk.
const SPOOLED: [Column<Vec<u8>>; 2] = [c::VIDEO, c::THUMB];

/// Where the bytes of each spooled column lie: offset and length.
type Parts = [Option<(u64, usize)>; SPOOLED.len()];

fn cannot_spool(folder: &Path, error: &std::io::Error) -> RunError {
    RunError::sink(std::io::Error::new(
        error.kind(),
        format!(
            "cannot write to {}: {error}; {}, then run the same command again",
            folder.display(),
            remedy(error.kind())
        ),
    ))
}

/// The clips of one attempt at a unit.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    clips: Vec<(Clip, Parts)>,
    file: Option<File>,
    path: PathBuf,
    length: u64,
}

impl Spooled {
    /// The clips, without their bytes.
    pub(crate) fn clips(&self) -> impl Iterator<Item = &Clip> {
        self.clips.iter().map(|(clip, _)| clip)
    }

    /// Bytes in the scratch file.
    pub(crate) fn bytes(&self) -> u64 {
        self.length
    }

    /// Adds a clip, whose bytes go to the attempt's scratch file.
    pub(crate) fn push(
        &mut self,
        folder: &Path,
        ticket: u64,
        mut clip: Clip,
    ) -> Result<(), RunError> {
        let mut parts = [None; SPOOLED.len()];
        for (part, column) in parts.iter_mut().zip(SPOOLED) {
            if let Some(bytes) = clip.take(column) {
                let written = self.append(folder, ticket, &bytes);
                *part = Some(written.map_err(|error| cannot_spool(folder, &error))?);
            }
        }
        self.clips.push((clip, parts));
        Ok(())
    }

    /// Writes bytes to the attempt's scratch file; where they lie.
    fn append(
        &mut self,
        folder: &Path,
        ticket: u64,
        bytes: &[u8],
    ) -> std::io::Result<(u64, usize)> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                self.path = folder.join(format!("{ticket}.clips"));
                let file =
                    File::options().create_new(true).read(true).write(true).open(&self.path)?;
                self.file.insert(file)
            }
        };
        file.write_all(bytes)?;
        let place = (self.length, bytes.len());
        self.length += bytes.len() as u64;
        Ok(place)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Left behind, it would only be swept up later.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

struct Ready {
    id: UnitId,
    row: UnitRow,
    spooled: Arc<Spooled>,
}

/// Why units cannot be committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    /// There is no table.
    #[error(transparent)]
    Table(#[from] NoTable),
    /// The table cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Commits whole units to the table.
pub(crate) struct TableSink<'a> {
    table: &'a Table,
    lease: &'a Lease,
    runtime: Handle,
    cadence: Cadence,
    replaced: Replaced,
    /// Clip bytes that may be in memory while fragments are merged: less than at a run's end, since
    /// the decoders have theirs meanwhile.
    merging: u64,
    open: HashMap<u64, Spooled>,
    ready: Vec<Arc<Ready>>,
    /// Whether the table is known to be there.
    is_checked: bool,
    /// Commits of clips.
    pub(crate) commits: u64,
    /// Receipts finished, with clips or without: each leaves a fragment at least in the ledger.
    pub(crate) finished: u64,
    /// Units that another process had committed first.
    pub(crate) duplicates: u64,
}

impl<'a> TableSink<'a> {
    pub(crate) fn new(
        table: &'a Table,
        lease: &'a Lease,
        runtime: Handle,
        run: &RunConfig,
        replaced: Replaced,
    ) -> Self {
        Self {
            replaced,
            merging: run.merging() / 4,
            table,
            lease,
            runtime,
            cadence: Cadence::new(run),
            open: HashMap::new(),
            ready: Vec::new(),
            is_checked: false,
            commits: 0,
            finished: 0,
            duplicates: 0,
        }
    }

    /// Commits everything that is whole. Units that others committed meanwhile are left to them.
    pub(crate) fn commit(&mut self) -> Result<(), SinkError> {
        self.cadence.committed(Instant::now());
        let store = self.table.store()?;
        let mut units = std::mem::take(&mut self.ready);
        while !units.is_empty() {
            let rows: Vec<UnitRow> = units.iter().map(|unit| unit.row.clone()).collect();
            let former = self.former(&units);
            let replacing: BTreeSet<UnitId> = former.keys().cloned().collect();
            let batches =
                Batches::new(units.iter().map(|unit| Arc::clone(&unit.spooled)).collect());
            let outcome = self.runtime.block_on(async {
                let staged = store.stage(self.lease, batches).await?;
                let receipt = Receipt::replacing(self.lease, rows, staged, former)?;
                store.finish(receipt).await
            })?;
            self.finished += 1;
            if self.finished.is_multiple_of(tidy::COMMITS_BETWEEN) {
                self.runtime.block_on(tidy::tidy_meanwhile(store, self.merging));
            }
            match outcome {
                Outcome::Committed { .. } => {
                    self.commits += 1;
                    break;
                }
                Outcome::NoClips => break,
                Outcome::Duplicate { present } => {
                    self.duplicates += present.len() as u64;
                    units.retain(|unit| {
                        let is_open =
                            !unit.spooled.clips.is_empty() || replacing.contains(&unit.id);
                        is_open && !present.contains(&unit.id)
                    });
                }
            }
        }
        Ok(())
    }
}

impl TableSink<'_> {
    /// What the rows of these units take the place of.
    fn former(&self, units: &[Arc<Ready>]) -> BTreeMap<UnitId, Former> {
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let former =
            |unit: &Arc<Ready>| Some((unit.id.clone(), replaced.with.get(&unit.id)?.clone()));
        units.iter().filter_map(former).collect()
    }

    /// Whether a unit was tried again in vain while it has clips: these are worth more than the
    /// knowledge that the file could not be read this time. Says so.
    fn is_in_vain(&self, result: &UnitResult) -> bool {
        if !matches!(result.status, UnitStatus::Failed | UnitStatus::Quarantined) {
            return false;
        }
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(clips) = replaced.clips.get(&result.unit.id) else { return false };
        let reason = result.error.as_ref().map_or_else(String::new, ToString::to_string);
        say(&format!(
            "unit {}: trying again failed ({reason}); its {clips} clips stay as they were",
            result.unit.id
        ));
        true
    }
}

impl Sink for TableSink<'_> {
    fn clip(&mut self, ticket: u64, clip: Clip) -> Result<(), RunError> {
        let folder = self.lease.dir().spool();
        self.open.entry(ticket).or_default().push(&folder, ticket, clip)
    }

    fn unit(&mut self, ticket: u64, result: &UnitResult, row: UnitRow) -> Result<(), RunError> {
        let mut spooled = self.open.remove(&ticket).unwrap_or_default();
        if self.is_in_vain(result) {
            return Ok(());
        }
        spooled.clips.sort_by_key(|(clip, _)| clip.get(c::START_PTS).copied());
        let spooled = Arc::new(spooled);
        self.ready.push(Arc::new(Ready { id: result.unit.id.clone(), row, spooled }));
        Ok(())
    }

    fn discard(&mut self, ticket: u64) {
        self.open.remove(&ticket);
    }

    fn tick(&mut self) -> Result<(), RunError> {
        // Nobody decodes for hours towards a table that cannot be.
        if !self.is_checked && self.table.is_settled() {
            self.table.store().map_err(RunError::sink)?;
            self.is_checked = true;
        }
        let bytes = self.ready.iter().map(|unit| unit.spooled.bytes()).sum();
        if self.cadence.is_due(self.ready.len(), bytes, Instant::now()) {
            self.commit().map_err(RunError::sink)?;
        }
        Ok(())
    }
}

/// Reads spooled clips back, a bounded batch at a time.
pub(crate) struct Batches {
    units: Vec<Arc<Spooled>>,
    unit: usize,
    clip: usize,
    /// Bytes of a batch, but for what its last clip has more.
    bytes: u64,
}

impl Batches {
    pub(crate) fn new(units: Vec<Arc<Spooled>>) -> Self {
        let all: u64 = units.iter().map(|unit| unit.bytes()).sum();
        Self { units, unit: 0, clip: 0, bytes: BATCH_BYTES.max(all / MOST_BATCHES) }
    }
}

impl Iterator for Batches {
    type Item = Result<Vec<Clip>, std::io::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < self.bytes && batch.len() < BATCH_ROWS {
            let Some(unit) = self.units.get(self.unit) else { break };
            let Some((clip, parts)) = unit.clips.get(self.clip) else {
                self.unit += 1;
                self.clip = 0;
                continue;
            };
            self.clip += 1;
            let mut clip = clip.clone();
            for (part, column) in parts.iter().zip(SPOOLED) {
                let (Some((offset, length)), Some(file)) = (part, &unit.file) else {
                    continue;
                };
                let mut read = vec![0; *length];
                if let Err(error) = file.read_exact_at(&mut read, *offset) {
                    return Some(Err(error));
                }
                bytes += *length as u64;
                clip.set(column, read);
            }
            batch.push(clip);
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}
