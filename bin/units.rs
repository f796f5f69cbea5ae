//! From sources to units of work, leaving out what the ledger says is done.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use curate_media::{Access, MediaError, Segment, segments};
use curate_pipeline::{Planned, Reading, SourceRef, Stop, Unit, UnitError};
use curate_schemas::{Micros, SourceId, UnitId};
use curate_stages::sources::{Listing, Source, Sources};
use curate_store::{LedgerEntry, StoreError};
use serde_json::json;

use crate::progress::{Progress, say};

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

/// What is done already.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Whether each unit is bad.
    units: HashMap<UnitId, bool>,
    /// By source: units done, units in the source (0: not known).
    sources: HashMap<String, (i32, i32)>,
    /// By place: size and age when it was read.
    places: HashMap<String, (i64, Option<Micros>)>,
}

impl Done {
    pub(crate) fn new(ledger: &[LedgerEntry]) -> Self {
        let mut done = Self::default();
        for entry in ledger {
            let source = done.sources.entry(entry.unit_id.source().to_string()).or_default();
            source.0 += 1;
            source.1 = source.1.max(entry.units_in_source);
            done.units.insert(entry.unit_id.clone(), entry.is_bad());
            if entry.source_bytes > 0 {
                let about = (entry.source_bytes, entry.source_mtime);
                done.places.insert(entry.source_uri.clone(), about);
            }
        }
        done
    }

    /// Notes that clips of these units have failed since the ledger was written: a backfill leaves
    /// the ledger as it is.
    pub(crate) fn mark_bad(&mut self, units: impl IntoIterator<Item = UnitId>) {
        for unit in units {
            self.units.entry(unit).and_modify(|is_bad| *is_bad = true);
        }
    }

    /// Whether a source is not as it was when it was read.
    fn is_changed(&self, source: &Source) -> bool {
        let bytes = i64::try_from(source.bytes).unwrap_or(i64::MAX);
        self.places.get(&source.uri).is_some_and(|about| *about != (bytes, source.mtime))
    }
}

/// Takes a unit out of the table.
pub(crate) type Forget<'a> = &'a (dyn Fn(&UnitId) -> Result<(), StoreError> + Sync);

/// What is done, and whether bad units are to be done again.
pub(crate) struct Known<'a> {
    pub(crate) done: Done,
    /// How a unit is taken out of the table, just before it is handed to the engine.
    pub(crate) forget: Option<Forget<'a>>,
    /// Whether bad units are done again.
    pub(crate) retry: bool,
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
    known: Known<'a>,
    scope: Scope,
    stop: Stop,
    progress: &'a Progress,
    listed: Arc<Mutex<Listed>>,
    queue: std::collections::VecDeque<Planned>,
}

impl<'a> Units<'a> {
    pub(crate) fn new(
        sources: Sources,
        known: Known<'a>,
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
        let Some(is_bad) = self.known.done.units.get(unit).copied() else { return false };
        if is_bad && self.known.retry && self.forget(unit) {
            return false;
        }
        self.progress.skip(bytes);
        let mut listed = self.listed();
        listed.done += 1;
        listed.done_badly += u64::from(is_bad);
        true
    }

    /// Takes a unit out of the table; whether that worked.
    fn forget(&self, unit: &UnitId) -> bool {
        let Some(forget) = self.known.forget else { return false };
        let forgotten = forget(unit);
        if let Err(error) = &forgotten {
            say(&format!("cannot try unit {unit} again: {error}"));
        }
        forgotten.is_ok()
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
                Err(error)
                    if error.is_transient()
                        && attempt < self.scope.tries
                        && !self.stop.is_draining() =>
                {
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    fn source(&mut self, source: Source) {
        let id = source.id.clone();
        if self.known.done.is_changed(&source) {
            self.listed().changed += 1;
            self.progress.event(&json!({ "event": "source_changed", "uri": source.uri }));
        }
        // When it could not be read at all, it was recorded by its place alone.
        let unread = UnitId::new(&SourceId::from_location(&source.uri, 0, None), 0);
        if source.bytes > 0 && self.known.done.units.contains_key(&unread) {
            self.forget(&unread);
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
                        transient: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_that_failed_later_make_a_done_unit_bad_and_no_other() {
        let id = |name: String| UnitId::parse(&format!("{name}/0000")).unwrap();
        let (one, two) = (id("a".repeat(32)), id("b".repeat(32)));
        let mut done = Done::default();
        done.units.insert(one.clone(), false);
        done.mark_bad([one.clone(), two.clone()]);
        assert_eq!(done.units.get(&one), Some(&true));
        assert_eq!(done.units.get(&two), None, "a unit that is not done is done anyway");
    }
}
