//! Averages of weights over steps, which make better pictures than the weights of any one step.

use std::collections::BTreeMap;

use candle_core::Tensor;
use curate_models::{Weights, params::Params};
use curate_ops::ema_update;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How weights are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// How much of the average a step leaves, in the long run. 0.9999 in the published trainer; 0: no
    /// average is kept.
    pub decay: f64,
    /// Whether the average follows more quickly at first: after n steps the decay is at most
    /// (1 + n) / (10 + n), so that a short run is not an average of its first weights.
    pub ramp: bool,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.9999, ramp: true }
    }
}

impl EmaConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        if (0.0..1.0).contains(&self.decay) {
            return Vec::new();
        }
        vec![format!("`{key}.decay` is {}, not from 0 to less than 1", self.decay)]
    }
}

/// The averages of what is trained.
#[derive(Debug)]
pub struct Ema {
    config: EmaConfig,
    averages: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Begins with the weights as they are; `None` when the configuration wants no average.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(config: EmaConfig, params: &Params) -> Result<Option<Self>, TrainError> {
        if config.decay <= 0.0 {
            return Ok(None);
        }
        let mut averages = BTreeMap::new();
        for (name, var) in params.trained() {
            averages.insert(name.to_owned(), var.as_detached_tensor().copy()?);
        }
        Ok(Some(Self { config, averages }))
    }

    /// Takes the weights after a step, the first being 1.
    ///
    /// # Errors
    /// When candle fails.
    pub fn update(&mut self, params: &Params, step: u64) -> Result<(), TrainError> {
        let step = step as f64;
        let ramp = if self.config.ramp { (1.0 + step) / (10.0 + step) } else { 1.0 };
        for (name, var) in params.trained() {
            if let Some(average) = self.averages.get(name) {
                ema_update(average, &var.as_detached_tensor(), self.config.decay.min(ramp))?;
            }
        }
        Ok(())
    }

    /// Runs something with the averages in place of the weights, then puts the weights back.
    ///
    /// # Errors
    /// Those of `run`, and when candle fails.
    pub fn applied<T, E: From<candle_core::Error>>(
        &self,
        params: &Params,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut kept = Vec::new();
        for (name, average) in &self.averages {
            if let Some(var) = params.get(name) {
                kept.push((var, var.as_detached_tensor().copy()?));
                var.set(average)?;
            }
        }
        let made = run();
        for (var, weights) in kept {
            var.set(&weights)?;
        }
        made
    }

    /// The averages by name, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.averages.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Takes up averages that were stored.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn restore(&mut self, weights: &Weights) -> Result<(), TrainError> {
        for (name, average) in &mut self.averages {
            *average = super::optimizer::stored(weights, name, average)?;
        }
        Ok(())
    }
}
