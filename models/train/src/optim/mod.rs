//! What moves weights: the optimiser over named groups, its schedule, clipping, averages.
//!
//! All of it can be stored and restored to the bit. Decided against a trait for optimisers: there is
//! one, Adam with decoupled decay, and its numbers are configuration.

mod clip;
mod ema;
mod optimizer;
mod schedule;

pub(crate) use self::optimizer::stored;
pub use self::{
    clip::{Clip, ClipConfig},
    ema::{Ema, EmaConfig},
    optimizer::{Group, Optimizer, OptimizerConfig},
    schedule::{Decay, ScheduleConfig},
};
