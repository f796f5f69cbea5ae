//! What a table says about itself: how its clips were made and how they were judged.
//!
//! It is kept in Lance's table metadata, which every later version inherits and which other
//! readers see too (in Python: `lance.dataset("out/clips.lance").metadata`).

use std::{collections::HashMap, path::Path};

use curate_schemas::columns::SCHEMA_VERSION;
use serde_json::Value;

use crate::{Result, StoreError};

const SPLIT_ID: &str = "curate.split_id";
const SPLIT: &str = "curate.split";
pub(crate) const JUDGE: &str = "curate.judge";
const VERSION: &str = "curate.version";
pub(crate) const SCHEMA: &str = "curate.schema_version";

/// How the clips of a table were made and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct TableMeta {
    /// Fingerprint of what decides which clips exist.
    pub split_id: String,
    /// What lies behind `split_id`, readable, so that a difference can be named.
    pub split: Value,
    /// The thresholds by which the table's rows are judged.
    pub judge: Value,
    /// The version of `curate` that created the table.
    pub curate_version: String,
    /// The version of the table's columns.
    pub schema_version: u32,
}

impl TableMeta {
    /// What a table created by this build says.
    #[must_use]
    pub fn new(split_id: impl Into<String>, split: Value, judge: Value) -> Self {
        Self {
            split_id: split_id.into(),
            split,
            judge,
            curate_version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: SCHEMA_VERSION,
        }
    }

    pub(crate) fn entries(&self) -> [(&'static str, String); 5] {
        [
            (SPLIT_ID, self.split_id.clone()),
            (SPLIT, self.split.to_string()),
            (JUDGE, self.judge.to_string()),
            (VERSION, self.curate_version.clone()),
            (SCHEMA, self.schema_version.to_string()),
        ]
    }

    pub(crate) fn parse(path: &Path, entries: &HashMap<String, String>) -> Result<Self> {
        let text = |key: &'static str| {
            entries.get(key).ok_or_else(|| StoreError::Meta {
                path: path.to_owned(),
                key,
                source: None,
            })
        };
        let json = |key: &'static str| -> Result<Value> {
            serde_json::from_str(text(key)?).map_err(|source| StoreError::Meta {
                path: path.to_owned(),
                key,
                source: Some(source),
            })
        };
        let found = json(SCHEMA)?.as_u64().and_then(|found| u32::try_from(found).ok());
        let meta = Self {
            split_id: text(SPLIT_ID)?.clone(),
            split: json(SPLIT)?,
            judge: json(JUDGE)?,
            curate_version: text(VERSION)?.clone(),
            schema_version: found.unwrap_or(0),
        };
        if meta.schema_version == SCHEMA_VERSION {
            Ok(meta)
        } else {
            Err(StoreError::SchemaVersion {
                path: path.to_owned(),
                found: meta.schema_version,
                expected: SCHEMA_VERSION,
            })
        }
    }
}
