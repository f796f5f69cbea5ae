//! What can go wrong in diffusion.

use thiserror::Error;

/// Why a training term or a sampling step could not be computed.
#[derive(Debug, Error)]
pub enum DiffusionError {
    /// A name that stands for nothing.
    #[error("there is no {what} `{name}`; there are {known}")]
    Unknown {
        /// What was named: a sampler, a prediction.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A sampler is given outputs of another kind of model.
    #[error("sampler `{sampler}` is not for models that predict `{prediction}`; use {alternative}")]
    Unsuited {
        /// Its name.
        sampler: &'static str,
        /// What the model predicts.
        prediction: &'static str,
        /// What would do.
        alternative: &'static str,
    },
    /// Too few or too many steps.
    #[error("{steps} steps of sampler `{sampler}`: it takes {least} to {most}")]
    Steps {
        /// Its name.
        sampler: &'static str,
        /// The number asked for.
        steps: usize,
        /// The least number that it takes.
        least: usize,
        /// The largest number that it takes.
        most: usize,
    },
    /// A strength that leaves too few of the steps.
    #[error(
        "`strength` {strength} leaves {used} of {steps} steps, and sampler `{sampler}` needs {least}: {}",
        more(.fewest)
    )]
    Weak {
        /// Its name.
        sampler: &'static str,
        /// Steps from pure noise.
        steps: usize,
        /// The strength asked for.
        strength: f64,
        /// Steps that are left.
        used: usize,
        /// The least number that it takes.
        least: usize,
        /// The fewest steps of which enough are left; `None` when all that there are do not do.
        fewest: Option<usize>,
    },
    /// A share that lies outside its range.
    #[error("`{key}` is {value}, and must lie above {low} and be at most {high}")]
    Range {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Lower bound, itself excluded.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// An option that has no meaning for the chosen prediction.
    #[error("{option} is not defined for models that predict `{prediction}`; leave it out")]
    Meaningless {
        /// The option.
        option: &'static str,
        /// What the model predicts.
        prediction: &'static str,
    },
    /// A tensor that does not fit what it is used with.
    #[error("{tensor} has shape {shape:?}, expected {expected}")]
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// A timestep outside the schedule.
    #[error("timestep {time} is outside the schedule of {steps} steps")]
    Time {
        /// The timestep.
        time: f64,
        /// The schedule's steps.
        steps: usize,
    },
    /// candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

fn more(fewest: &Option<usize>) -> String {
    fewest.map_or_else(
        || "give more strength".to_owned(),
        |steps| format!("give at least {steps} steps, or more strength"),
    )
}
