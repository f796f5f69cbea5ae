//! Encoders, each with the name that what it makes is found by.

use std::path::Path;

use candle_core::{DType, Device};
use curate_models::{
    Weights,
    encoders::{TextEncoder, TextFiles, TextOptions},
    params::{Params, Role},
    vae::{SliceVae, VaeConfig},
};

use super::{hash_text_encoder, hash_vae};
use crate::TrainError;

/// A Slice VAE.
#[derive(Debug)]
pub struct Vae {
    /// The network, frozen, in f32.
    pub network: SliceVae,
    /// Its name by content.
    pub hash: String,
    /// Where it computes.
    pub device: Device,
}

impl Vae {
    /// Opens a checkpoint: one of this program's, which says what it is made of, or a published one with
    /// its `config.json` beside it.
    ///
    /// # Errors
    /// When it cannot be read, or is another network's.
    pub fn open(path: &Path, device: &Device) -> Result<Self, TrainError> {
        let weights = Weights::open(path)?;
        let config = match SliceVae::stored_config(&weights)? {
            Some(config) => config,
            None => {
                let beside = path.with_file_name("config.json");
                let text =
                    std::fs::read_to_string(&beside).map_err(TrainError::io("read", &beside))?;
                VaeConfig::from_json(&text)?
            }
        };
        let mut params = Params::from_weights(weights, device).with_dtype(DType::F32);
        params.set_role("*", Role::Frozen);
        let network = params.build_frozen(|scope| SliceVae::new(&config, scope))?;
        Ok(Self { network, hash: hash_vae(path)?, device: device.clone() })
    }
}

/// A text encoder.
#[derive(Debug)]
pub struct Text {
    /// The network.
    pub network: TextEncoder,
    /// Its name by content.
    pub hash: String,
    /// Tokens that texts are cut to.
    pub tokens: usize,
}

impl Text {
    /// Opens an encoder.
    ///
    /// # Errors
    /// When a file cannot be read or does not fit the others.
    pub fn open(files: &TextFiles, options: &TextOptions) -> Result<Self, TrainError> {
        let network = TextEncoder::open(files, options)?;
        let hash = hash_text_encoder(files, options.layers)?;
        Ok(Self { network, hash, tokens: options.tokens })
    }
}
