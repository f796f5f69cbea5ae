//! Where a trainer's batches come from: a loader over a table, or whatever a test makes.
//!
//! Decided against taking the loader itself: tests of the loops would need a table with videos in it.

use std::sync::Arc;

use candle_core::Device;
use curate_models::hub::Hub;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::{
    TrainError,
    data::{Batch, DataConfig, Loader, LoaderState, TableRows, Wanted},
    run::Stop,
};

/// What a run needs besides its configuration.
pub struct Surroundings<'a> {
    /// Where batches come from.
    pub feeds: &'a dyn Feeds,
    /// Where text encoders, and LPIPS' weights if they were pulled, are.
    pub hub: &'a Hub,
    /// What it runs on.
    pub device: &'a Device,
    /// How it is asked to save and end.
    pub stop: &'a Stop,
}

/// Batches without end.
pub trait Feed {
    /// The next one.
    ///
    /// # Errors
    /// When clips cannot be read.
    fn next(&mut self) -> Result<Batch, TrainError>;

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
        wanted: &Wanted,
        seed: u64,
        resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError>;
}

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
        wanted: &Wanted,
        seed: u64,
        resume: Option<&Value>,
    ) -> Result<Box<dyn Feed>, TrainError> {
        let state = resume.map(|value| serde_json::from_value::<LoaderState>(value.clone()));
        let state = state.transpose().map_err(std::io::Error::other);
        let state = state.map_err(TrainError::io("read", "state.json"))?;
        let rows = Arc::new(TableRows::open(config, state.as_ref(), &self.runtime)?);
        Ok(Box::new(Loader::open_for(rows, config, wanted, seed, state.as_ref())?))
    }
}

impl Feed for Loader {
    fn next(&mut self) -> Result<Batch, TrainError> {
        Ok(Self::next(self)?)
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
        self.report().notes()
    }
}
