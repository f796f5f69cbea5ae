//! What a trainer reads: rows of a table, in buckets, batch by batch.
