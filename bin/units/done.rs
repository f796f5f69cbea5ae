//! What the ledger says is done, and which rows go when some of it is done again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use curate_schemas::{Micros, SourceId, UnitId};
use curate_stages::sources::Source;
use curate_store::{Former, LedgerEntry};

/// What the ledger says of a unit that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_bad: bool,
    /// Clips that were cut out of it.
    pub(super) clips: i32,
}

/// What is done already.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(super) units: HashMap<UnitId, State>,
    /// By source: units done, units in the source (0: not known).
    pub(super) sources: HashMap<String, (i32, i32)>,
    /// By place: size and age whenever it was read.
    places: HashMap<String, BTreeSet<(i64, Option<Micros>)>>,
    /// The runs that wrote the rows of bad units.
    pub(super) writers: HashMap<UnitId, BTreeSet<String>>,
}

impl Done {
    pub(crate) fn new(ledger: &[LedgerEntry]) -> Self {
        let mut done = Self::default();
        for entry in ledger {
            let source = done.sources.entry(entry.unit_id.source().to_string()).or_default();
            source.0 += 1;
            source.1 = source.1.max(entry.units_in_source);
            let state = State { is_bad: entry.is_bad(), clips: entry.clips };
            done.units.insert(entry.unit_id.clone(), state);
            if entry.is_bad() {
                let writers = done.writers.entry(entry.unit_id.clone()).or_default();
                writers.insert(entry.run_id.clone());
            }
            if entry.source_bytes > 0 {
                let about = (entry.source_bytes, entry.source_mtime);
                done.places.entry(entry.source_uri.clone()).or_default().insert(about);
            }
        }
        done
    }

    /// Notes that clips of these units have failed since the ledger was written: a backfill leaves
    /// the ledger as it is.
    pub(crate) fn mark_bad(&mut self, units: impl IntoIterator<Item = UnitId>) {
        for unit in units {
            self.units.entry(unit).and_modify(|state| state.is_bad = true);
        }
    }

    /// The units that are bad.
    pub(crate) fn bad_units(&self) -> Vec<UnitId> {
        let bad = self.units.iter().filter(|(_, state)| state.is_bad);
        bad.map(|(unit, _)| unit.clone()).collect()
    }

    /// Notes which runs wrote rows of bad units: besides the ledger's, those that filled in columns.
    pub(crate) fn mark_writers(&mut self, writers: BTreeMap<UnitId, BTreeSet<String>>) {
        for (unit, runs) in writers {
            self.writers.entry(unit).or_default().extend(runs);
        }
    }

    /// Whether all units of a source are done.
    pub(super) fn has_all_of(&self, source: &SourceId) -> bool {
        self.sources.get(source.as_str()).is_some_and(|(done, total)| *total > 0 && done >= total)
    }

    /// Whether a source was read, but never as it is now.
    pub(super) fn is_changed(&self, source: &Source) -> bool {
        let bytes = i64::try_from(source.bytes).unwrap_or(i64::MAX);
        self.places.get(&source.uri).is_some_and(|read| !read.contains(&(bytes, source.mtime)))
    }
}

/// Rows that are to go. Until then they stay, so that whoever dies in between has lost none.
#[derive(Debug, Default)]
pub(crate) struct Going {
    /// In the commit that brings the new rows of a unit.
    pub(crate) with: HashMap<UnitId, Former>,
    /// Clips of those units, where they have some. A new attempt that fails does not take their place.
    pub(crate) clips: HashMap<UnitId, i32>,
    /// At any time: what stood for sources whose units are all done.
    pub(crate) alone: Vec<Former>,
}

/// Filled in while units are handed on.
pub(crate) type Replaced = Arc<Mutex<Going>>;

/// What is done, and whether bad units are to be done again.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) done: Done,
    /// Whether bad units are done again.
    pub(crate) retry: bool,
    /// What the rows of the units that are handed on take the place of.
    pub(crate) replaced: Replaced,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_changed_until_it_was_read_as_it_is() {
        let source = Source {
            uri: "file:///a.mp4".to_owned(),
            path: "/a.mp4".into(),
            id: SourceId::from_location("file:///a.mp4", 7, None),
            bytes: 7,
            mtime: None,
            caption: None,
            extra: None,
        };
        let mut done = Done::default();
        assert!(!done.is_changed(&source), "it was never read");
        let mut read = |bytes| {
            done.places.entry(source.uri.clone()).or_default().insert((bytes, source.mtime));
            done.is_changed(&source)
        };
        assert!(read(5));
        assert!(!read(7));
        assert!(!read(9));
    }

    #[test]
    fn clips_that_failed_later_make_a_done_unit_bad_and_no_other() {
        let id = |name: String| UnitId::parse(&format!("{name}/0000")).unwrap();
        let (one, two) = (id("a".repeat(32)), id("b".repeat(32)));
        let mut done = Done::default();
        done.units.insert(one.clone(), State { is_bad: false, clips: 2 });
        done.mark_bad([one.clone(), two.clone()]);
        assert_eq!(done.units.get(&one), Some(&State { is_bad: true, clips: 2 }));
        assert_eq!(done.units.get(&two), None, "a unit that is not done is done anyway");
    }
}
