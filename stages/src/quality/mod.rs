//! `quality`: how good a clip looks, without a reference to compare it with.
//!
//! [`Brisque`] and [`Niqe`] are the published measures and give the published implementations'
//! numbers; [`measures`] and [`bars`] are simple ones that each name one fault.

mod aggd;
pub mod bars;
mod brisque;
mod gauss;
mod grey;
pub mod measures;
mod niqe;
mod resize;
mod stage;

pub use brisque::Brisque;
pub use grey::Grey;
pub use niqe::{Naturalness, Niqe};
pub use stage::{ENTRY, QualityConfig};

/// A model file that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file ends too early or goes on too long.
    #[error("the model file has {found} bytes instead of {wanted}: fetch it again")]
    Length {
        /// Bytes it should have.
        wanted: usize,
        /// Bytes it has.
        found: usize,
    },
    /// A matrix of the file is missing or has another shape.
    #[error("the model file lacks a proper matrix `{0}`: fetch it again")]
    Matrix(&'static str),
    /// The covariance is not positive definite.
    #[error("the model's covariance is not positive definite: fetch it again")]
    Covariance,
}
