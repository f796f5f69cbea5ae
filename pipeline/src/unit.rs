//! Units: the grain of work, of resume and of distribution.

use std::{path::PathBuf, sync::Arc};

use curate_schemas::{Micros, SourceId, UnitId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of pictures whose two fields were taken at different times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interlaced {
    /// One whole picture is made of each pair of fields.
    #[default]
    Deinterlace,
    /// The source is not used.
    Refuse,
    /// Pictures stay as they are.
    Keep,
}

/// How sources are read: what decides which pictures there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Number of the video track, from 0; `None` is the best one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u32>,
    /// What becomes of interlaced pictures.
    #[serde(skip_serializing_if = "is_default")]
    pub interlaced: Interlaced,
}

fn is_default(interlaced: &Interlaced) -> bool {
    *interlaced == Interlaced::default()
}

/// A source as the engine sees it: where it is and what came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRef {
    /// The source's id.
    pub id: SourceId,
    /// Canonical URI.
    pub uri: String,
    /// Where to open it.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Modification time, when known.
    pub mtime: Option<Micros>,
    /// How it is read.
    pub reading: Reading,
    /// A caption that came with the source.
    pub caption: Option<String>,
    /// The manifest's other columns, as a JSON object.
    pub extra: Option<String>,
}

/// A segment of a source that begins at an IDR frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The unit's id.
    pub id: UnitId,
    /// The source it belongs to.
    pub source: Arc<SourceRef>,
    /// How many units the source has.
    pub units_in_source: u32,
    /// PTS of the unit's first frame; `None` for the start of the source.
    pub start: Option<i64>,
    /// PTS after the unit's last frame; `None` for the end of the source.
    pub end: Option<i64>,
}

impl Unit {
    /// The unit's part of the source's bytes, for showing progress.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.source.bytes / u64::from(self.units_in_source.max(1))
    }
}

/// How a unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitStatus {
    /// Everything was decoded.
    Ok,
    /// The decodable part was kept; an error is stored.
    Partial,
    /// No clips came out of it.
    Empty,
    /// Nothing could be decoded.
    Failed,
    /// It timed out, or failed in passing ways, again and again.
    Quarantined,
}

impl UnitStatus {
    /// The word stored in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Empty => "empty",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}
