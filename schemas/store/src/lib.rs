//! The table on disk: the only crate that names `lance`.
//!
//! A table is a directory with two Lance datasets, `clips.lance` (one row per clip; the truth for
//! units that have clips) and `units.lance` (the ledger of finished units), and `_runs/`, where
//! each run keeps its lease, its receipts and its logs.
//!
//! Work gets into the table in four steps, and a process may die between any two of them:
//!
//! 1. [`Store::stage`] writes data files that no version of the table refers to yet.
//! 2. [`Receipt::write`] notes what was staged. From here on the work survives the process.
//! 3. [`Store::commit`] makes the clips visible, each unit once, whoever else commits it too.
//! 4. [`Store::record`] writes the ledger rows, and [`Receipt::discard`] forgets the receipt.
//!
//! [`Store::finish`] does steps 3 and 4; [`Store::recover`] does them for runs that died. The
//! check for "is this unit there already?" and the commit are one serialisable step, so any
//! number of processes can work on one table without a coordinator and without locks around
//! commits. A unit that is done again is replaced in that same step ([`Receipt::replacing`]), so
//! its former rows stay until then. Locks guard one thing only: that [`Store::gc`], which deletes every file no version
//! refers to, never runs while somebody is between steps 1 and 3 ([`Lease`]).

#![warn(missing_docs)]

mod canonical;
mod commit;
mod error;
mod files;
mod fragments;
mod gate;
mod gc;
mod history;
mod layout;
mod lease;
mod ledger;
mod maintain;
mod meta;
mod open;
mod pinned;
mod query;
mod read;
mod receipt;
mod recover;
mod replace;
mod rewrite;
mod schema;
mod search;
mod stage;
#[cfg(test)]
mod testing;
mod upgrade;

pub use commit::Outcome;
pub use error::{Pending, Result, StoreError, remedy};
pub use gate::Turn;
pub use gc::{GcOptions, GcReport};
pub use history::VersionInfo;
pub use layout::{Layout, RunDir};
pub use lease::{Lease, LeaseInfo, live_leases};
pub use ledger::{LedgerEntry, Mode};
pub use maintain::{CompactOptions, Compacted};
pub use meta::TableMeta;
pub use open::Store;
pub use pinned::{Pinned, PinnedRows};
pub use query::{Query, Rows};
pub use receipt::{Receipt, StagedFile};
pub use recover::Recovered;
pub use replace::Former;
pub use rewrite::{Alone, Changes, Clips};
pub use search::{Hit, Search, Wanted};
pub use stage::Staged;
