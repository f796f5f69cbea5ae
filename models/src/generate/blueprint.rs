//! What a model is made of, before its weights are read: whether a clip can be made is known in a
//! moment, and not after gigabytes.

use super::{GenerateError, Known, ModelCard, ModelFolder, Settings};
use crate::{dit::Config, vae::VaeConfig};

/// A model without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// What it was trained to do.
    pub card: ModelCard,
    /// What the transformer is made of.
    pub transformer: Config,
    /// What the VAE is made of.
    pub vae: VaeConfig,
}

impl Blueprint {
    /// Of a model's folder.
    #[must_use]
    pub fn of(folder: &ModelFolder) -> Self {
        Self {
            card: folder.card().clone(),
            transformer: folder.transformer_config().clone(),
            vae: folder.vae_config().clone(),
        }
    }

    /// A transformer preset with the VAE that goes with it: `tiny` has the tiny one, the others the
    /// published one.
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn preset(name: &str) -> Result<Self, GenerateError> {
        let transformer = Config::preset(name)?;
        let vae = if name == "tiny" { "tiny" } else { "v3" };
        let vae = VaeConfig::preset(vae)
            .ok_or_else(|| GenerateError::Unfit { problem: format!("there is no VAE `{vae}`") })?;
        Ok(Self { card: ModelCard::preset(&transformer), transformer, vae })
    }

    /// Whether such clips can be made.
    ///
    /// # Errors
    /// [`GenerateError::Request`] with all that cannot be, and the nearest that can.
    pub fn check(&self, settings: &Settings, known: &Known) -> Result<(), GenerateError> {
        let schedule = self.card.noise();
        settings.check(&self.card, &schedule, (&self.transformer, &self.vae))?;
        known.check(settings, &self.transformer)
    }
}
