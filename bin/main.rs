//! `curate`: turns raw video into a training set.
//!
//! The binary joins the crates: it reads the command line, makes the one tokio runtime, and
//! adapts the engine to the table (`sink.rs`), the sources to the engine (`units.rs`) and the
//! engine's calls to a person's eyes (`progress.rs`). stdout is data, stderr is everything else.

mod backfill;
mod cli;
mod commands;
mod copies;
mod differences;
mod env;
mod judges;
mod opening;
mod order;
mod progress;
mod recipe;
mod report;
mod report_page;
mod shortage;
mod signals;
mod sink;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

/// How a command ended; the numbers are public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Complete.
    Complete = 0,
    /// Stopped early; the same command resumes.
    Stopped = 1,
    /// The user's file or arguments, or a missing model.
    Usage = 2,
    /// Finished, but some units or clips failed or are partial.
    Partial = 3,
}

/// An error in what the user wrote: exit code 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn main() -> ExitCode {
    let args = match cli::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap's own words: help goes to stdout with 0, mistakes to stderr with 2.
            error.print().unwrap_or_default();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    env::start_logging();
    match commands::run(args) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say(&format!("error: {}", words(error.as_ref())));
            ExitCode::from(if is_usage(&error) { Exit::Usage } else { Exit::Stopped } as u8)
        }
    }
}

/// An error and its causes, from the outermost on. Many say their cause themselves, so each is said once.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

/// Whether the user's file or arguments are at fault, so that running again changes nothing.
fn is_usage(error: &anyhow::Error) -> bool {
    use curate_pipeline::RunError;
    use curate_store::StoreError as E;
    error.downcast_ref::<UsageError>().is_some()
        // A stage says what the recipe or the models lack.
        || matches!(error.downcast_ref::<RunError>(), Some(RunError::Build(_)))
        || error.downcast_ref::<E>().is_some_and(E::is_forbidden)
        || matches!(
            error.downcast_ref::<E>(),
            Some(
                E::NotFound { .. }
                    | E::NotATable { .. }
                    | E::NoVersion { .. }
                    | E::NoTag { .. }
                    | E::BadTag { .. }
                    | E::SchemaVersion { .. }
                    | E::Meta { .. }
                    | E::NotUtf8 { .. }
                    | E::Sql { .. }
            )
        )
}

/// `curate query ... | head` must not end with an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
