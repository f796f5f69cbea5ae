//! Where clips come from: a loader over a table (`table.rs`), or whatever a test makes.
//!
//! The VAE needs pixels and nothing else of a batch. Decided against taking the loader itself: tests
//! of the loop would need a table with videos in it.

use candle_core::Tensor;
use serde_json::Value;

use crate::{TrainError, data::DataConfig};

/// Clips, batch by batch, without end.
pub trait Feed {
    /// The next clips, `[B, 3, T, H, W]` in [-1, 1], on the CPU.
    ///
    /// # Errors
    /// When they cannot be read.
    fn next(&mut self) -> Result<Tensor, TrainError>;

    /// What [`Feeds::open`] needs to go on behind the last batch.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn state(&self) -> Result<Value, TrainError>;

    /// Seconds for which batches were waited for so far.
    fn wait_s(&self) -> f64;

    /// The version of the table, where there is one: what is held out is of the same.
    fn version(&self) -> Option<u64> {
        None
    }

    /// What is worth telling about the data.
    fn notes(&self) -> Vec<String>;
}

/// Opens feeds.
pub trait Feeds: Send + Sync {
    /// A feed from its beginning, or from where `resume` left it.
    ///
    /// # Errors
    /// When there is nothing to read, or the data changed.
    fn open(
        &self,
        config: &DataConfig,
        seed: u64,
        resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError>;
}
