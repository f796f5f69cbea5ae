//! From sources to units of work, leaving out what the ledger says is done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use curate_media::{Limits, segments};
use curate_pipeline::{Planned, SourceRef, Stop, Unit, UnitError};
use curate_schemas::UnitId;
use curate_stages::sources::{Listing, Source, Sources};
use curate_store::LedgerEntry;

use crate::progress::Total;

/// What listing the sources came to; filled in while the run goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// Sources that are videos, or should be.
    pub(crate) sources: u64,
    /// Files left aside, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Units that were done before this run.
    pub(crate) done: u64,
    /// Done units that are failed, partial or quarantined, or have failed clips.
    pub(crate) done_badly: u64,
    /// Units handed to the engine.
    pub(crate) units: u64,
}

/// What is done already.
#[derive(Debug, Default)]
pub(crate) struct Done {
    units: HashMap<UnitId, (String, i32)>,
    /// By source: units done, units in the source (0: not known).
    sources: HashMap<String, (i32, i32)>,
}

impl Done {
    pub(crate) fn new(ledger: &[LedgerEntry]) -> Self {
        let mut done = Self::default();
        for entry in ledger {
            let source = done.sources.entry(entry.unit_id.source().to_string()).or_default();
            source.0 += 1;
            source.1 = source.1.max(entry.units_in_source);
            done.units.insert(entry.unit_id.clone(), (entry.status.clone(), entry.failed));
        }
        done
    }
}

/// Which units this process works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) limit: Option<u64>,
    pub(crate) shard: Option<(u32, u32)>,
    pub(crate) unit_length: Duration,
    pub(crate) deadline: Duration,
}

/// Lists the units that are still to be done.
pub(crate) struct Units {
    sources: Sources,
    done: Done,
    scope: Scope,
    stop: Stop,
    total: Arc<Total>,
    listed: Arc<Mutex<Listed>>,
    queue: std::collections::VecDeque<Planned>,
}

impl Units {
    pub(crate) fn new(
        sources: Sources,
        done: Done,
        scope: Scope,
        stop: Stop,
        total: Arc<Total>,
    ) -> (Self, Arc<Mutex<Listed>>) {
        let listed = Arc::new(Mutex::new(Listed::default()));
        let units = Self {
            sources,
            done,
            scope,
            stop,
            total,
            listed: Arc::clone(&listed),
            queue: Default::default(),
        };
        (units, listed)
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, unit: &UnitId) -> bool {
        self.scope.shard.is_none_or(|(index, count)| unit.shard(count) == index)
    }

    /// Counts a unit of so many bytes that is done; `false` when it is not.
    fn count_done(&self, unit: &UnitId, bytes: u64) -> bool {
        let Some((status, failed)) = self.done.units.get(unit) else { return false };
        self.total.done_before.fetch_add(bytes, Ordering::Relaxed);
        let mut listed = self.listed();
        listed.done += 1;
        if *failed > 0 || !matches!(status.as_str(), "ok" | "empty") {
            listed.done_badly += 1;
        }
        true
    }

    fn source(&mut self, source: Source) {
        let id = source.id.clone();
        // A source whose units are all done is not even opened.
        if let Some((done, total)) = self.done.sources.get(id.as_str())
            && *total > 0
            && done >= total
        {
            for index in 0..*total {
                let unit = UnitId::new(&id, index.unsigned_abs());
                if self.is_ours(&unit) {
                    self.count_done(&unit, source.bytes / u64::from(total.unsigned_abs()));
                }
            }
            return;
        }
        let limits = Limits { deadline: Some(self.scope.deadline), cancel: Some(self.stop.flag()) };
        let found = segments(&source.path, self.scope.unit_length, &limits);
        let source = Arc::new(SourceRef {
            id: id.clone(),
            uri: source.uri,
            path: source.path,
            bytes: source.bytes,
            mtime: source.mtime,
            caption: source.caption,
            extra: source.extra,
        });
        let unit = |index: usize, total: usize, start, end| Unit {
            id: UnitId::new(&id, u32::try_from(index).unwrap_or(u32::MAX)),
            source: Arc::clone(&source),
            units_in_source: u32::try_from(total).unwrap_or(u32::MAX),
            start,
            end,
        };
        match found {
            Ok(segments) => {
                let total = segments.len();
                for (index, segment) in segments.into_iter().enumerate() {
                    let unit = unit(index, total, segment.start, segment.end);
                    if self.is_ours(&unit.id) && !self.count_done(&unit.id, unit.bytes()) {
                        self.queue.push_back(Planned::Unit(unit));
                    }
                }
            }
            Err(error) => {
                let unit = unit(0, 1, None, None);
                if self.is_ours(&unit.id) && !self.count_done(&unit.id, unit.bytes()) {
                    let error = UnitError {
                        kind: error.kind(),
                        message: error.to_string(),
                        transient: false,
                    };
                    self.queue.push_back(Planned::Failed(unit, error));
                }
            }
        }
    }
}

impl Iterator for Units {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        loop {
            if let Some(planned) = self.queue.pop_front() {
                self.listed().units += 1;
                return Some(planned);
            }
            if self.scope.limit.is_some_and(|limit| self.listed().sources >= limit) {
                return None;
            }
            match self.sources.next()? {
                Listing::Skipped { path, reason } => {
                    tracing::info!(path = %path.display(), %reason, "left aside");
                    *self.listed().skipped.entry(reason.word()).or_default() += 1;
                }
                Listing::Source(source) => {
                    self.listed().sources += 1;
                    self.source(source);
                }
                Listing::Failed(failure) => {
                    self.listed().sources += 1;
                    let id = failure.id();
                    let source = SourceRef {
                        id: id.clone(),
                        uri: failure.uri.clone(),
                        path: failure.path.clone(),
                        bytes: 0,
                        mtime: None,
                        caption: None,
                        extra: None,
                    };
                    let unit = Unit {
                        id: UnitId::new(&id, 0),
                        source: Arc::new(source),
                        units_in_source: 1,
                        start: None,
                        end: None,
                    };
                    if self.is_ours(&unit.id) && !self.count_done(&unit.id, unit.bytes()) {
                        let error = UnitError {
                            kind: failure.kind.word(),
                            message: failure.message,
                            transient: false,
                        };
                        self.queue.push_back(Planned::Failed(unit, error));
                    }
                }
            }
        }
    }
}
