//! The `units` ledger: one row for every unit of work that is done, with clips or without.
//!
//! The `clips` table is the truth for units that have clips; the ledger is what makes units
//! without clips (failed, empty) stay done, and what `curate status` reads.

use crate::column::{Kind, Micros, table};

table! {
    /// One row for every unit that was finished: a segment of a source that begins at an IDR frame.
    UNITS = "units";

    /// The unit: `source_id/0007`.
    #[required true]
    UNIT_ID: String = "unit_id", Kind::Utf8, unit "", by "engine", since 1;
    /// The source it is a segment of.
    #[required true]
    SOURCE_ID: String = "source_id", Kind::Utf8, unit "", by "engine", since 1;
    /// Where the source was found, as a canonical URI.
    #[required true]
    SOURCE_URI: String = "source_uri", Kind::Utf8, unit "", by "engine", since 1;
    /// How many units the source has: when that many are done, the source need not be opened.
    #[required true]
    UNITS_IN_SOURCE: i32 = "units_in_source", Kind::I32, unit "units", by "engine", since 1;
    /// `ok`, `partial` (the decodable part was kept), `empty` (no clips), `failed`, or
    /// `quarantined` (timed out or broke the process repeatedly).
    #[required true]
    STATUS: String = "status", Kind::Utf8, unit "", by "engine", since 1;
    /// What kind of error: a stable word such as `open`, `decode` or `timeout`.
    ERROR_KIND: String = "error_kind", Kind::Utf8, unit "", by "engine", since 1;
    /// The error's message.
    ERROR_MESSAGE: String = "error_message", Kind::Utf8, unit "", by "engine", since 1;
    /// Clips that were cut out of the unit: kept + dropped + failed.
    #[required true]
    CLIPS: i32 = "clips", Kind::I32, unit "clips", by "engine", since 1;
    /// Clips kept when the unit was written (judging again does not change it).
    #[required true]
    KEPT: i32 = "kept", Kind::I32, unit "clips", by "engine", since 1;
    /// Clips that failed.
    #[required true]
    FAILED: i32 = "failed", Kind::I32, unit "clips", by "engine", since 1;
    /// Frames decoded for analysis.
    #[required true]
    FRAMES_DECODED: i64 = "frames_decoded", Kind::I64, unit "frames", by "engine", since 1;
    /// Frames of the source that lie in this unit.
    #[required true]
    FRAMES_SOURCE: i64 = "frames_source", Kind::I64, unit "frames", by "engine", since 1;
    /// Size of the source when it was read.
    #[required true]
    SOURCE_BYTES: i64 = "source_bytes", Kind::I64, unit "bytes", by "engine", since 1;
    /// Modification time of the source when it was read: recorded, not part of its id.
    SOURCE_MTIME: Micros = "source_mtime", Kind::Timestamp, unit "UTC", by "engine", since 1;
    /// Length of the source file as its container says.
    DURATION_S: f64 = "duration_s", Kind::F64, unit "seconds", by "engine", since 1;
    /// Fingerprint of what decides which clips exist.
    #[required true]
    SPLIT_ID: String = "split_id", Kind::Utf8, unit "", by "engine", since 1;
    /// The run that finished the unit.
    #[required true]
    RUN_ID: String = "run_id", Kind::Utf8, unit "", by "engine", since 1;
    /// When the unit was finished.
    #[required true]
    FINISHED_AT: Micros = "finished_at", Kind::Timestamp, unit "UTC", by "engine", since 1;
}

/// Columns that differ between two runs over the same data, and so say nothing about it.
pub const PER_RUN: &[&str] = &["run_id", "finished_at", "source_mtime"];
