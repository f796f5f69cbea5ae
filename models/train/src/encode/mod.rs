//! Latents and text embeddings, made once and kept in the table.
//!
//! What `curate encode` does. Of the rows that a run would use, those that lack what it needs are read
//! in the table's order, encoded, and written as columns, some hundreds of megabytes at a time;
//! clip bytes are not touched. What is written is found by its key ([`crate::data::LatentsKey`],
//! [`crate::data::TextKey`]), so doing it again does only what is missing, and another VAE, size or
//! caption makes it missing.
//!
//! A row has room for one encoding. Decided against several side by side: latents are as large as the clips
//! themselves, and a training run has one VAE and one size.
//!
//! Lance writes a column of all rows of a fragment anew when some of them change. So rows are
//! written in few, large pieces.

mod hash;
mod latents;
mod open;
pub(crate) mod pieces;
mod texts;

use std::{collections::BTreeMap, sync::Arc};

use curate_store::{Changes, StoreError};

pub use self::{
    hash::{hash_text_encoder, hash_vae},
    open::{Text, Vae},
};
use crate::{
    TrainError,
    data::{DataConfig, DataError, RowSource, Rows, TextWanted, Unusable, Wanted},
    run::Stop,
};

/// What is encoded, and with what.
#[derive(Debug)]
pub struct Encoding<'a> {
    /// The rows.
    pub source: Arc<dyn RowSource>,
    /// Which of them, at which size: what a training run says.
    pub config: &'a DataConfig,
    /// Makes latents; `None`: none are wanted.
    pub vae: Option<&'a Vae>,
    /// Makes embeddings of captions; `None`: none are wanted.
    pub text: Option<&'a Text>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// `latents`, `captions` or `losses`.
    pub what: &'static str,
    /// Rows that were done.
    pub done: u64,
    /// Rows that lacked it.
    pub all: u64,
}

/// What encoding came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Rows whose latents were written.
    pub latents: u64,
    /// Rows whose embeddings were written.
    pub texts: u64,
    /// Rows that had latents of this VAE and size.
    pub had_latents: u64,
    /// Rows that had embeddings of this encoder.
    pub had_texts: u64,
    /// Rows that passed the filter and that a training run could not use.
    pub unusable: BTreeMap<Unusable, u64>,
    /// Clips that could not be read, with the reason.
    pub failures: BTreeMap<String, String>,
    /// Whether it ended early because it was asked to.
    pub is_stopped: bool,
}

/// Where results go.
pub type Write<'a> = &'a mut dyn FnMut(&Changes) -> Result<(), StoreError>;

/// Whom to tell.
pub type Tell<'a> = &'a mut dyn FnMut(Progress);

/// Encodes what is missing. What was written stays when it is stopped or fails.
///
/// # Errors
/// When the configuration is wrong or does not suit the VAE, rows cannot be read or written, or a network
/// fails. A clip that cannot be read is counted.
pub fn encode(
    what: &Encoding<'_>,
    write: Write<'_>,
    tell: Tell<'_>,
    stop: &Stop,
) -> Result<Encoded, TrainError> {
    let problems = what.config.problems();
    if !problems.is_empty() {
        return Err(DataError::Config { problems }.into());
    }
    let wanted = Wanted {
        captions: false,
        vae: what.vae.map(|vae| vae.hash.clone()),
        text: what.text.map(|text| TextWanted { encoder: text.hash.clone(), tokens: text.tokens }),
    };
    // A crop that is drawn anew each time cannot be encoded.
    let config = DataConfig {
        crop: crate::data::Crop::Center,
        random_ratio_crop: false,
        cache: crate::data::Cache::Auto,
        ..what.config.clone()
    };
    let rows = Arc::new(Rows::look(&*what.source, &config, &wanted)?);
    let mut encoded = Encoded { unusable: rows.unusable.clone(), ..Encoded::default() };
    let work = |missing| pieces::Work {
        source: &what.source,
        config: &config,
        rows: &rows,
        missing,
        tokens: 0,
        stop,
    };
    if let Some(vae) = what.vae {
        let missing = pieces::missing(&rows, |entry| rows.bucket(entry).has_latents);
        encoded.had_latents = (rows.entries.len() - missing.len()) as u64;
        let work = work(missing);
        encoded.latents =
            latents::encode(vae, &work, (&mut *write, &mut *tell), &mut encoded.failures)?;
    }
    if let Some(text) = what.text
        && !stop.is_asked()
    {
        let missing = pieces::missing(&rows, |entry| rows.bucket(entry).has_text);
        encoded.had_texts = (rows.entries.len() - missing.len()) as u64;
        let work = work(missing);
        encoded.texts = texts::encode(text, &work, (write, tell), &mut encoded.failures)?;
    }
    encoded.is_stopped = stop.is_asked();
    Ok(encoded)
}

#[cfg(test)]
mod tests;
