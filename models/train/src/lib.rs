//! Training from the table: what is read, what is optimised, and how a run is kept.
//!
//! One readable loop for each trainer, and no framework around them.
#![warn(missing_docs)]

pub mod data;
pub mod dit;
pub mod encode;
mod error;
mod feed;
mod layers;
pub mod optim;
pub mod run;
pub mod shapes;
pub mod vae;

pub use error::TrainError;
pub use feed::{Feed, Feeds, Surroundings, TableFeeds};
pub use layers::{RunKind, data_of_run};
