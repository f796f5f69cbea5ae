//! What filling columns has in common, be it with latents, texts or losses: rows in the table's order, read
//! ahead, written in large pieces.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use curate_schemas::Clip;
use curate_store::Changes;

use super::{Progress, Tell, Write};
use crate::{
    TrainError,
    data::{
        Bucket, DataConfig, DataError, Entry, LoaderState, Plan, Pool, Reader, RowSource, Rows,
        Waiting,
    },
    run::Stop,
};

/// Bytes that are encoded before they are written.
const PIECE_BYTES: usize = 256 << 20;

/// Seconds after which they are written all the same, so that little is lost when a process dies.
const PIECE_TIME: Duration = Duration::from_secs(120);

/// What is to be done.
pub(crate) struct Work<'a> {
    pub(crate) source: &'a Arc<dyn RowSource>,
    pub(crate) config: &'a DataConfig,
    pub(crate) rows: &'a Arc<Rows>,
    /// Entries that lack it, in the table's order.
    pub(crate) missing: Vec<u32>,
    /// What cached embeddings are padded to, where they are read.
    pub(crate) tokens: usize,
    pub(crate) stop: &'a Stop,
}

/// The entries that lack something, in the order in which the table has them.
pub(crate) fn missing(rows: &Rows, has: impl Fn(&Entry) -> bool) -> Vec<u32> {
    let all = rows.entries.iter().enumerate();
    let mut missing: Vec<(u64, u32)> = all
        .filter(|(_, entry)| !has(entry))
        .map(|(number, entry)| (entry.row, number as u32))
        .collect();
    missing.sort_unstable();
    missing.into_iter().map(|(_, number)| number).collect()
}

/// Batches of rows of one bucket, in order; what is left of a bucket comes last.
pub(crate) fn plans(
    rows: &Rows,
    missing: &[u32],
    count: usize,
    shape: impl Fn(&Bucket) -> Bucket,
) -> Vec<Plan> {
    let mut waiting: BTreeMap<Bucket, Vec<Waiting>> = BTreeMap::new();
    let mut plans = Vec::new();
    let mut plan = |shape: Bucket, rows: Vec<Waiting>| {
        let (number, state) = (plans.len() as u64, LoaderState::default());
        plans.push(Plan { number, epoch: 0, bucket: 0, shape, rows, state });
    };
    for row in missing {
        let shape = shape(&rows.bucket(&rows.entries[*row as usize]));
        let others = waiting.entry(shape).or_default();
        others.push(Waiting { row: *row, epoch: 0 });
        if others.len() == count {
            plan(shape, std::mem::take(others));
        }
    }
    for (shape, rest) in waiting {
        if !rest.is_empty() {
            plan(shape, rest);
        }
    }
    plans
}

/// What was encoded and is not written yet.
pub(super) struct Pieces<'a> {
    columns: &'static [&'static str],
    changes: Changes,
    bytes: usize,
    began: Instant,
    write: Write<'a>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(columns: &'static [&'static str], write: Write<'a>) -> Self {
        let changes = Changes::of(columns);
        Self { columns, changes, bytes: 0, began: Instant::now(), write }
    }

    /// Takes encoded rows, and writes when there are enough.
    pub(super) fn push(&mut self, clips: &[Clip], bytes: usize) -> Result<(), TrainError> {
        self.changes.push(clips).map_err(DataError::from)?;
        self.bytes += bytes;
        if self.bytes >= PIECE_BYTES || self.began.elapsed() >= PIECE_TIME {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is there.
    pub(super) fn flush(&mut self) -> Result<(), TrainError> {
        if !self.changes.is_empty() {
            (self.write)(&self.changes).map_err(DataError::from)?;
            self.changes = Changes::of(self.columns);
        }
        self.bytes = 0;
        self.began = Instant::now();
        Ok(())
    }
}

impl Work<'_> {
    /// Reads rows ahead and hands each batch to `each`, which gives the rows to be written. How many those
    /// were.
    pub(crate) fn run(
        &self,
        (name, columns, has_pixels): (&'static str, &'static [&'static str], bool),
        plans: Vec<Plan>,
        (write, tell): (Write<'_>, Tell<'_>),
        failures: &mut BTreeMap<String, String>,
        mut each: impl FnMut(&Plan, crate::data::Content) -> Result<(Vec<Clip>, usize), TrainError>,
    ) -> Result<u64, TrainError> {
        let reader = Reader {
            source: Arc::clone(self.source),
            rows: Arc::clone(self.rows),
            config: self.config.clone(),
            seed: None,
            has_pixels,
            cancel: Arc::new(AtomicBool::new(false)),
        };
        let (mut done, all) = (0, self.missing.len() as u64);
        tell(Progress { what: name, done, all });
        if plans.is_empty() {
            return Ok(0);
        }
        let mut pool = Pool::new(&reader, self.tokens)?;
        let mut pieces = Pieces::new(columns, write);
        let mut plans = plans.into_iter().peekable();
        while !self.stop.is_asked() {
            while let Some(plan) = plans.next_if(|plan| pool.has_room(plan)) {
                pool.push(plan)?;
            }
            if pool.is_idle() {
                break;
            }
            let ready = pool.pop()?;
            failures.extend(ready.faults);
            if let Some(content) = ready.content {
                let made = each(&ready.plan, content);
                // What was made before a fault is kept.
                let (clips, bytes) = match made {
                    Ok(made) => made,
                    Err(error) => {
                        pieces.flush()?;
                        return Err(error);
                    }
                };
                done += clips.len() as u64;
                pieces.push(&clips, bytes)?;
                tell(Progress { what: name, done, all });
            }
        }
        pieces.flush()?;
        Ok(done)
    }
}
