//! What a trainer reads: rows of a table, in buckets, batch by batch.
//!
//! [`Loader`] is all that a trainer sees: it is opened over a [`RowSource`] (a pinned version of the
//! table), gives [`Batch`]es without end, and says at any time what is needed to go on from there
//! ([`LoaderState`]). What it gives depends on the rows, the [`DataConfig`] and the seed alone: not on
//! the number of threads, on timing, or on where a run was interrupted.
//!
//! ```text
//! rows that pass the filter -> usable ones, sorted by id, each with its bucket   (rows)
//!   -> a new order for each epoch -> batches of one bucket                       (order)
//!   -> threads that read, decode, crop                                           (work)
//!   -> batches in order                                                          (loader)
//! ```
//!
//! Every random choice is made with a stream of numbers named by epoch and clip, so a sample is the
//! same whoever makes it. Of the rows only ids and sizes are kept; a clip's bytes are read when its
//! turn comes and gone when its frames are made.

mod batch;
mod bucket;
mod config;
mod decode;
mod error;
pub mod estimate;
mod keys;
mod loader;
mod order;
mod rows;
mod sample;
mod source;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod work;

use serde::{Deserialize, Serialize};

pub use self::{
    batch::{Batch, ClipRef, Pixels, Report},
    bucket::{Bucket, nearest_size},
    config::{Cache, Crop, DataConfig, SIDE_STEP, Version},
    error::{ClipFault, DataError},
    keys::{LatentsKey, Number, Spacing, TextEntry, TextKey, text_hash},
    loader::Loader,
    rows::{Entry, Rows},
    source::{Listed, RowSource, TableRows, Want},
    state::{LoaderState, StreamState, Waiting},
};
pub(crate) use self::{
    keys::pack,
    order::Plan,
    rows::{caption_columns, captions},
    sample::Reader,
    work::{Content, Pool},
};

/// Why a row that passed the filter cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unusable {
    /// It has no bytes (the recipe says `form = "none"`, or they are not filled in).
    NoBytes,
    /// It does not say how large its frames are.
    NoSize,
    /// It has no caption in any of the columns.
    NoCaption,
    /// It does not say its frame rate, and `fps` is set.
    NoFrameRate,
    /// It has fewer frames a second than `fps`.
    FewFrames,
    /// It has fewer frames than the shortest bucket.
    TooShort,
    /// It is an image, and `image_share` is 0.
    Image,
    /// It is a video, and `image_share` is 1.
    Video,
    /// `cache = "require"`, and it has no latents as this run needs them.
    NotEncoded,
    /// `cache = "require"`, and it has no embeddings of its captions as this run needs them.
    NoTextTokens,
}

impl Unusable {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoBytes => "without bytes in the table",
            Self::NoSize => "without width and height",
            Self::NoCaption => "without a caption",
            Self::NoFrameRate => "without a frame rate",
            Self::FewFrames => "with fewer frames a second than data.fps",
            Self::TooShort => "shorter than the shortest bucket",
            Self::Image => "images, with data.image_share = 0",
            Self::Video => "videos, with data.image_share = 1",
            Self::NotEncoded => "without cached latents of this VAE and size",
            Self::NoTextTokens => "without cached embeddings of this text encoder",
        }
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// What a run needs beside the settings of its data: depends on what is trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Whether rows without captions are of no use.
    pub captions: bool,
    /// Hash of the VAE ([`crate::encode::hash_vae`]) whose cached latents may take the place of frames;
    /// `None`: frames are wanted.
    pub vae: Option<String>,
    /// The text encoder whose cached embeddings may be used.
    pub text: Option<TextWanted>,
}

/// A text encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextWanted {
    /// Its hash ([`crate::encode::hash_text_encoder`]).
    pub encoder: String,
    /// Tokens that a text is cut and padded to.
    pub tokens: usize,
}
