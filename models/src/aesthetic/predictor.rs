//! The published predictors: which tower, which head, and where the hub has them.

use super::{
    head::Head,
    tower::{Embedder, Tower},
};
use crate::{ModelError, Runtime, Weights, hub::Hub};

/// A published aesthetic predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// LAION's `sac+logos+ava1-l14-linearMSE` on CLIP ViT-L/14.
    LaionV2,
    /// Aesthetic Predictor V2.5 on SigLIP so400m.
    SiglipV25,
}

impl Predictor {
    /// The hub's models: the tower's and the head's.
    #[must_use]
    pub const fn models(self) -> [&'static str; 2] {
        match self {
            Self::LaionV2 => ["clip-vit-l14", "laion-aesthetic-v2"],
            Self::SiglipV25 => ["siglip-so400m-384", "aesthetic-v2.5"],
        }
    }

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LaionV2 => "laion-v2",
            Self::SiglipV25 => "siglip-v2.5",
        }
    }

    const fn files(self) -> [&'static str; 2] {
        match self {
            Self::LaionV2 => ["model.safetensors", "sac_logos_ava1-l14-linearMSE.pth"],
            Self::SiglipV25 => ["model.safetensors", "aesthetic_predictor_v2_5.pth"],
        }
    }

    /// Its image tower.
    #[must_use]
    pub const fn tower(self) -> Tower {
        match self {
            Self::LaionV2 => Tower::ClipL14,
            Self::SiglipV25 => Tower::SiglipSo400m,
        }
    }

    /// Loads tower and head from the hub, to run on so many threads.
    ///
    /// # Errors
    /// [`ModelError::Missing`] when one has not been pulled, or what keeps it from loading.
    pub fn load(self, hub: &Hub, threads: usize) -> Result<(Embedder, Head), ModelError> {
        let open = |part: usize| -> Result<Weights, ModelError> {
            let content = hub.content(self.models()[part], self.files()[part])?;
            Ok(Weights::from_hub(&content)?)
        };
        let head = Head::from_weights(&open(1)?)?;
        let embedder = Embedder::open(&Runtime::open(hub)?, self.tower(), &open(0)?, threads)?;
        Ok((embedder, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_knows_every_file() {
        let hub = Hub::open("nowhere").unwrap();
        for predictor in [Predictor::LaionV2, Predictor::SiglipV25] {
            for (model, file) in predictor.models().into_iter().zip(predictor.files()) {
                let error = hub.content(model, file).unwrap_err().to_string();
                assert!(error.contains(&format!("curate models pull {model}")), "{error}");
            }
        }
    }
}
