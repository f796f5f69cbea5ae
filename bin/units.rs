//! From sources to units of work, leaving out what the ledger says is done.

mod done;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use curate_media::{Access, MediaError, Segment, segments};
use curate_pipeline::{Planned, Reading, SourceRef, Stop, Unit, UnitError};
use curate_schemas::{SourceId, UnitId};
use curate_stages::sources::{Listing, Source, Sources};
use curate_store::Former;
use serde_json::json;

use self::done::Going;
pub(crate) use self::done::{Done, Known, Replaced};
use crate::progress::Progress;

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
    /// Sources that were read before at another size or age.
    pub(crate) changed: u64,
}

/// Which units this process works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) limit: Option<u64>,
    pub(crate) shard: Option<(u32, u32)>,
    pub(crate) unit_length: Duration,
    /// How sources are read.
    pub(crate) reading: Reading,
    /// How long reading a source may make no progress.
    pub(crate) deadline: Duration,
    /// How often a source is looked into when that fails for a passing reason.
    pub(crate) tries: u32,
}

impl Scope {
    /// Whether this process works on everything.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && self.shard.is_none()
    }
}

/// Lists the units that are still to be done.
pub(crate) struct Units<'a> {
    sources: Sources,
    known: Known,
    scope: Scope,
    stop: Stop,
    progress: &'a Progress,
    listed: Arc<Mutex<Listed>>,
    queue: std::collections::VecDeque<Planned>,
}

impl<'a> Units<'a> {
    pub(crate) fn new(
        sources: Sources,
        known: Known,
        scope: Scope,
        stop: Stop,
        progress: &'a Progress,
    ) -> (Self, Arc<Mutex<Listed>>) {
        let listed = Arc::new(Mutex::new(Listed::default()));
        let units = Self {
            sources,
            known,
            scope,
            stop,
            progress,
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

    /// Counts a unit of so many bytes that is done; `false` when it is to be worked on.
    fn count_done(&self, unit: &UnitId, bytes: u64) -> bool {
        let Some(state) = self.known.done.units.get(unit).copied() else { return false };
        if state.is_bad && self.known.retry {
            let runs = self.known.done.writers.get(unit).cloned().unwrap_or_default();
            let mut going = self.replaced();
            going.with.entry(unit.clone()).or_default().runs.extend(runs);
            if state.clips > 0 {
                going.clips.insert(unit.clone(), state.clips);
            }
            return false;
        }
        self.progress.skip(bytes);
        let mut listed = self.listed();
        listed.done += 1;
        listed.done_badly += u64::from(state.is_bad);
        true
    }

    fn replaced(&self) -> std::sync::MutexGuard<'_, Going> {
        self.known.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source that could not be read at all was recorded by its place alone. Once it can be read,
    /// that row goes with the first rows of the source: `planned` of its units are at the queue's end.
    fn replace_stand_in(&self, source: &SourceId, uri: &str, planned: usize) {
        let stand_in = UnitId::new(&SourceId::from_location(uri, 0, None), 0);
        let Some(runs) = self.known.done.writers.get(&stand_in) else { return };
        let former = Former { runs: runs.clone(), stand_ins: BTreeSet::from([stand_in]) };
        let mut going = self.replaced();
        for planned in self.queue.iter().rev().take(planned) {
            let (Planned::Unit(unit) | Planned::Failed(unit, _)) = planned;
            let with = going.with.entry(unit.id.clone()).or_default();
            with.runs.extend(former.runs.iter().cloned());
            with.stand_ins.extend(former.stand_ins.iter().cloned());
        }
        // Otherwise the process whose share the units are sees to it.
        if planned == 0 && self.known.done.has_all_of(source) {
            going.alone.push(former);
        }
    }

    /// The places where a source may be split. A passing fault is tried again, as a unit is.
    fn segments(&self, path: &Path) -> Result<Vec<Segment>, MediaError> {
        let access = Access {
            track: self.scope.reading.track,
            deadline: Some(self.scope.deadline),
            cancel: Some(self.stop.flag()),
        };
        let mut attempt = 1;
        loop {
            match segments(path, self.scope.unit_length, &access) {
                Err(error) if error.is_transient() && attempt < self.scope.tries => {
                    if self.stop.is_draining() {
                        return Err(MediaError::Cancelled);
                    }
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    fn source(&mut self, source: Source) {
        let (id, uri, can_be_read) = (source.id.clone(), source.uri.clone(), source.bytes > 0);
        let before = self.queue.len();
        self.queue_units(source);
        if can_be_read {
            self.replace_stand_in(&id, &uri, self.queue.len() - before);
        }
    }

    /// Puts those units of a source into the queue that are still to be done.
    fn queue_units(&mut self, source: Source) {
        let id = source.id.clone();
        if self.known.done.is_changed(&source) {
            self.listed().changed += 1;
            self.progress.event(&json!({ "event": "source_changed", "uri": source.uri }));
        }
        // A source whose units are all done is not looked into.
        if !self.known.retry
            && let Some((done, total)) = self.known.done.sources.get(id.as_str())
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
        let found = self.segments(&source.path);
        let source = Arc::new(source_ref(source, self.scope.reading));
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
            // Left for the next run, as everything that was not begun.
            Err(MediaError::Cancelled) => {}
            Err(error) => {
                let unit = unit(0, 1, None, None);
                if self.is_ours(&unit.id) && !self.count_done(&unit.id, unit.bytes()) {
                    let error = UnitError {
                        kind: error.kind(),
                        message: error.to_string(),
                        transient: error.is_transient(),
                    };
                    self.queue.push_back(Planned::Failed(unit, error));
                }
            }
        }
    }
}

/// A listed source as the engine sees it.
pub(crate) fn source_ref(source: Source, reading: Reading) -> SourceRef {
    SourceRef {
        id: source.id,
        uri: source.uri,
        path: source.path,
        bytes: source.bytes,
        mtime: source.mtime,
        reading,
        caption: source.caption,
        extra: source.extra,
    }
}

impl Iterator for Units<'_> {
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
                    self.progress.event(&json!({
                        "event": "left_aside", "path": path.to_string_lossy(), "reason": reason.word(),
                    }));
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
                        reading: self.scope.reading,
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
