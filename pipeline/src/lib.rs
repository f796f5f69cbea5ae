//! The dataflow engine: what a stage may ask for, how a recipe is checked, and how clips flow.
//!
//! It knows nothing of videos, models or tables. A recipe (a TOML file) is compiled into a
//! [`Plan`], with every problem reported at once; [`run()`] then moves clips through the plan's
//! stages on named threads joined by channels that are bounded by bytes, and hands whole units to
//! a [`Sink`]. Read in this order: [`stage`], [`plan`], [`mod@run`].

#![warn(missing_docs)]

pub mod channel;
pub mod config;
pub mod error;
pub mod frame;
pub mod observer;
pub mod plan;
pub mod run;
pub mod schema;
pub mod stage;
mod stop;
pub mod suggest;
pub mod testing;
pub mod unit;
mod unread;

pub use config::{Document, Order, Problems, RunConfig, Score};
pub use error::{BuildError, ClipError, ConfigError, RunError, StageFault, UnitError};
pub use frame::{
    Chain, Frame, FrameNeed, FramePair, Frames, Grey, Grid, Later, Pairs, VectorNeed, Vectors,
};
pub use observer::{NoObserver, Observer, StageTimes};
pub use plan::{Plan, PlannedStage};
pub use run::{Planned, Provenance, Report, Shares, Sink, StageReport, UnitResult, run};
pub use stage::{
    BatchMap, Bound, BuildContext, Check, Emit, Item, Map, Resources, Shape, Split, SplitReport,
    Stage, StageConfig, StageEntry, Stopped, Surroundings, Verdict,
};
pub use stop::Stop;
pub use unit::{Interlaced, Reading, SourceRef, Unit, UnitStatus};
pub use unread::Unread;
