//! How adapters are shaped: rank, strength, dropout, and which layers have one.

use serde::{Deserialize, Serialize};

use super::LoraError;

/// The shape of adapters that are to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Inner width of each adapter. 128, as the published ones; 16 to 64 do for a style or a subject.
    pub rank: usize,
    /// Adapters are multiplied by `alpha / rank`. Half the rank by default, as published.
    pub alpha: f64,
    /// Share of an adapter's inputs that are zeroed in training. None by default.
    pub dropout: f64,
    /// Names of layers; `*` stands for anything: `*.attn1.*`, `*attn_temporal*`. All linear layers
    /// by default, as published.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 128, alpha: 64.0, dropout: 0.0, targets: vec!["*".to_owned()] }
    }
}

impl LoraConfig {
    /// That adapters can be made from it.
    ///
    /// # Errors
    /// [`LoraError::Config`] with all that is wrong.
    pub fn check(&self) -> Result<(), LoraError> {
        let mut problems = Vec::new();
        if self.rank == 0 {
            problems.push("`rank` is 0; it must be at least 1".to_owned());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            problems.push(format!("`alpha` is {}; it must be above 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            problems.push(format!("`dropout` is {}; it must be in 0..1", self.dropout));
        }
        if self.targets.is_empty() {
            problems.push("`targets` is empty; `[\"*\"]` is every layer".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(LoraError::Config { problems }) }
    }
}
