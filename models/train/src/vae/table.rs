//! Clips out of a table.

use std::sync::Arc;

use candle_core::Tensor;
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Feed, Feeds};
use crate::{
    TrainError,
    data::{DataConfig, DataError, Loader, LoaderState, Pixels, TableRows},
};

/// Feeds from tables.
#[derive(Clone, Debug)]
pub struct TableFeeds {
    /// The runtime on which tables are read.
    pub runtime: Handle,
}

impl Feeds for TableFeeds {
    fn open(
        &self,
        config: &DataConfig,
        seed: u64,
        resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError> {
        let state = resume.map(|value| serde_json::from_value::<LoaderState>(value.clone()));
        let state = state.transpose().map_err(std::io::Error::other);
        let state = state.map_err(TrainError::io("read", "state.json"))?;
        let rows = TableRows::open(config, state.as_ref(), &self.runtime)?;
        Ok(Box::new(Loader::open(Arc::new(rows), config, seed, state.as_ref())?))
    }
}

impl Feed for Loader {
    fn next(&mut self) -> Result<Tensor, TrainError> {
        match Self::next(self)?.pixels {
            Pixels::Frames(frames) => Ok(frames),
            // The configuration switches the cache off, so this is not met.
            Pixels::Moments(_) => Err(DataError::Config {
                problems: vec![
                    "data.cache: the VAE is trained on frames; set it to \"off\"".into(),
                ],
            }
            .into()),
        }
    }

    fn state(&self) -> Result<Value, TrainError> {
        let state = serde_json::to_value(Self::state(self)).map_err(std::io::Error::other);
        state.map_err(TrainError::io("write", "state.json"))
    }

    fn wait_s(&self) -> f64 {
        self.report().wait_s
    }

    fn version(&self) -> Option<u64> {
        Some(Self::state(self).version)
    }

    fn notes(&self) -> Vec<String> {
        let report = self.report();
        let unusable =
            report.unusable.iter().map(|(why, rows)| format!("{rows} rows are left out: {why}"));
        let mut notes = vec![format!("{} clips", report.rows)];
        notes.extend(unusable);
        notes
    }
}
