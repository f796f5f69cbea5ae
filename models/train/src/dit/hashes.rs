//! A run's files by content: what its folder keeps of them, and which cached columns they can use.

use curate_models::encoders::ClipVision;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::Parts;
use crate::{
    TrainError,
    data::{TextWanted, Wanted},
    encode::{hash_text_encoder, hash_vae},
};

/// Names of a run's files by content.
#[derive(Clone, Debug, Serialize)]
pub struct Hashes {
    vae: String,
    text: String,
    from: Option<String>,
    image: Option<String>,
    #[serde(skip)]
    tokens: usize,
}

impl Parts {
    /// What the files are, by content.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn hashes(&self) -> Result<Hashes, TrainError> {
        Ok(Hashes {
            vae: hash_vae(&self.vae_path)?,
            text: hash_text_encoder(&self.text_files, self.card.text.layers)?,
            from: self.checkpoint.as_deref().map(hash_vae).transpose()?,
            image: match &self.image {
                Some(folder) => Some(hash_vae(&ClipVision::weights(folder)?)?),
                None => None,
            },
            tokens: self.card.text.tokens,
        })
    }
}

impl Hashes {
    /// What a run's folder keeps of them.
    pub(super) fn made_of(&self) -> Value {
        json!(self)
    }

    /// What is wanted of rows.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let text = TextWanted { encoder: self.text.clone(), tokens: self.tokens };
        Wanted { captions: true, vae: Some(self.vae.clone()), text: Some(text) }
    }
}
