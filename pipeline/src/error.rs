//! What can go wrong, by how far it reaches: the recipe, one clip, one unit, or the run.
//!
//! A filter that rejected a clip is not an error at all (see [`crate::Verdict`]).

use std::fmt;

use thiserror::Error;

/// A problem in the user's recipe. All of them are reported together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `[input] paths`, `stage 2 (motion) min`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, when that can be said.
    pub help: Option<String>,
}

impl ConfigError {
    /// A problem without advice.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n    {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A stage cannot be set up: a model is missing, a device is not there.
#[derive(Debug, Error)]
#[error("cannot set up stage `{stage}`: {message}")]
pub struct BuildError {
    /// The stage's kind.
    pub stage: String,
    /// What is missing and which command brings it.
    pub message: String,
}

/// One clip could not be processed. The row is stored as `failed`; the run goes on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{kind}: {message}")]
pub struct ClipError {
    /// A stable word: `decode`, `mux`, `panic`, `remote`.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
}

/// One unit could not be decoded, in whole or from some point on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{kind}: {message}")]
pub struct UnitError {
    /// A stable word: `open`, `decode`, `timeout`, `panic`.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
    /// Whether trying again may help (time-outs and I/O errors, not broken files).
    pub transient: bool,
}

impl UnitError {
    /// Damage was met by a decoder with several threads. What such a decoder fills in depends on which
    /// of its threads was first, so the unit is to be decoded again by one: `Emit::threads` says so then.
    #[must_use]
    pub fn one_thread() -> Self {
        let message = "damaged: decoded again with one thread".to_owned();
        Self { kind: ONE_THREAD, message, transient: true }
    }

    pub(crate) fn wants_one_thread(&self) -> bool {
        self.kind == ONE_THREAD
    }
}

const ONE_THREAD: &str = "one_thread";

/// A stage cannot go on at all: the device is lost, the service refuses.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct StageFault(pub String);

/// The run stops; what is whole has been committed and the same command resumes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A stage cannot be set up.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A stage cannot go on.
    #[error("stage `{stage}` cannot go on: {fault}")]
    Fault {
        /// The stage's kind.
        stage: String,
        /// Why.
        fault: StageFault,
    },
    /// Writing the results failed.
    #[error("cannot write results")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl RunError {
    /// Wraps an error of the sink.
    pub fn sink(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Sink(Box::new(error))
    }
}
