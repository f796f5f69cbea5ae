//! What a clip *is*: ids, spans in integer time, typed columns and their Arrow form.
//!
//! Everything else in the workspace speaks in these types, so this crate knows nothing about
//! pixels, models or the store. The table's columns are defined once, in [`columns`]; the Arrow
//! schema, `docs/COLUMNS.md` and `curate schema` all come from that definition.

#![warn(missing_docs)]

pub mod batch;
mod column;
pub mod columns;
mod docs;
mod ids;
mod row;
mod span;
pub mod units;

pub use column::{Cell, Column, ColumnSpec, Kind, Micros, Table, Value};
pub use docs::columns_markdown;
pub use ids::{ClipId, IdError, SourceId, UnitId, fingerprint, stable_hash64};
pub use row::{Clip, Row, UnitRow};
pub use span::{Span, TimeBase, rescale};
