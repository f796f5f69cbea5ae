//! Where rows come from: a pinned version of the table.
//!
//! The store is asynchronous and this crate is not: the threads of a loader wait for the one runtime,
//! which the command owns. Behind a trait, so that tests of order and resume need no table.

use std::fmt;

use curate_schemas::{
    Clip,
    columns::{CLIP_ID, VIDEO},
};
use curate_store::{Pinned, Store};
use tokio::runtime::Handle;

use super::{ClipFault, DataConfig, DataError, LoaderState, Version};

/// A row of the table and what finds it again.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Names the row within its version.
    pub row: u64,
    /// The columns asked for.
    pub clip: Clip,
}

/// What is read of a row.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Columns beside the clip's own bytes.
    pub columns: &'a [&'a str],
    /// Whether the clip's bytes are read.
    pub bytes: bool,
}

/// Rows that do not change while they are read.
pub trait RowSource: Send + Sync + fmt::Debug {
    /// Which version of the table it is.
    fn version(&self) -> u64;

    /// Hands over the rows that pass an SQL condition, some at a time, with some of their columns.
    ///
    /// # Errors
    /// When they cannot be read, or the condition is wrong.
    fn scan(
        &self,
        filter: &str,
        columns: &[&str],
        each: &mut dyn FnMut(Vec<Listed>),
    ) -> Result<(), DataError>;

    /// One row, whose clip must be `clip_id`.
    ///
    /// # Errors
    /// When it cannot be read, or is another clip's.
    fn fetch(&self, row: u64, clip_id: &str, want: Want<'_>) -> Result<Clip, ClipFault>;
}

/// The rows of a table.
#[derive(Debug)]
pub struct TableRows {
    pinned: Pinned,
    runtime: Handle,
}

impl TableRows {
    /// Opens the table that a configuration names: at the version of `resume`, or the one that it
    /// names, or the newest. Not to be called on a thread of the runtime.
    ///
    /// # Errors
    /// When there is no such table, version or tag.
    pub fn open(
        config: &DataConfig,
        resume: Option<&LoaderState>,
        runtime: &Handle,
    ) -> Result<Self, DataError> {
        let pinned = runtime.block_on(async {
            let store = Store::open(&config.table).await?;
            let version = match (resume, &config.version) {
                (Some(state), _) => Some(state.version),
                (None, Some(Version::Number(number))) => Some(*number),
                (None, Some(Version::Tag(tag))) => Some(store.version_of(tag).await?),
                (None, None) => None,
            };
            store.pinned(version).await
        })?;
        Ok(Self { pinned, runtime: runtime.clone() })
    }

    /// The rows of a version that is open already.
    #[must_use]
    pub const fn new(pinned: Pinned, runtime: Handle) -> Self {
        Self { pinned, runtime }
    }
}

impl RowSource for TableRows {
    fn version(&self) -> u64 {
        self.pinned.version()
    }

    fn scan(
        &self,
        filter: &str,
        columns: &[&str],
        each: &mut dyn FnMut(Vec<Listed>),
    ) -> Result<(), DataError> {
        self.runtime.block_on(async {
            let mut rows = self.pinned.rows(columns, Some(filter)).await?;
            while let Some(batch) = rows.next_batch().await? {
                each(batch.into_iter().map(|(row, clip)| Listed { row, clip }).collect());
            }
            Ok(())
        })
    }

    fn fetch(&self, row: u64, clip_id: &str, want: Want<'_>) -> Result<Clip, ClipFault> {
        let mut columns = want.columns.to_vec();
        columns.push(CLIP_ID.name());
        let clip = self.runtime.block_on(async {
            let Some(mut clip) = self.pinned.cells(row, &columns).await? else { return Ok(None) };
            if want.bytes {
                clip.put(VIDEO, self.pinned.video(row).await?);
            }
            Ok::<_, ClipFault>(Some(clip))
        })?;
        clip.filter(|clip| clip.get(CLIP_ID).is_some_and(|found| found == clip_id))
            .ok_or(ClipFault::OtherRow)
    }
}
