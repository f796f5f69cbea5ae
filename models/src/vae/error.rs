//! What can be wrong with a Slice VAE, or with what it is given.

use crate::params::ParamsError;

/// Why a Slice VAE cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaeError {
    /// The configuration is no JSON of the right shape.
    #[error("the VAE's config.json cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    /// The configuration contradicts itself, or asks for what is not computed here.
    #[error("the VAE's configuration is wrong: {}", .problems.join("; "))]
    Config {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// The checkpoint cannot be read, or is another network's.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// A video of this length has no latents that decode to as many frames.
    #[error("a video of {frames} frames cannot be encoded; {} can", lengths(.below, .above))]
    Frames {
        /// Frames given.
        frames: usize,
        /// The nearest shorter length that can be, if any.
        below: Option<usize>,
        /// The nearest longer one.
        above: Option<usize>,
    },
    /// There are no latents to decode.
    #[error("there are no latents to decode")]
    Latents,
    /// Pictures are not of a size that the network halves without rest.
    #[error(
        "frames of {width}x{height} cannot be encoded: both must be multiples of {factor}; the \
         nearest smaller size is {}x{}",
        width / factor * factor, height / factor * factor
    )]
    Size {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// What both must be multiples of.
        factor: usize,
    },
    /// A tensor has another number of axes or channels than it should.
    #[error("{what} must be [batch, {channels}, time, height, width], not {found:?}")]
    Shape {
        /// What the tensor is.
        what: &'static str,
        /// Channels that it should have.
        channels: usize,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A stream gave another number of frames or latents than was announced.
    #[error("{announced} {what} were announced, and {came} came")]
    Count {
        /// Frames or latents.
        what: &'static str,
        /// How many were announced.
        announced: usize,
        /// How many came.
        came: usize,
    },
    /// Latents of which the scaling factor is wanted do not vary, or are none.
    #[error("{count} latents with standard deviation {std} give no scaling factor")]
    Scaling {
        /// Numbers seen.
        count: u64,
        /// Their standard deviation.
        std: f64,
    },
    /// candle failed, usually for want of memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

fn lengths(below: &Option<usize>, above: &Option<usize>) -> String {
    let both: Vec<String> = [below, above].into_iter().flatten().map(ToString::to_string).collect();
    both.join(" and ")
}
