//! What a run is kept from: numbers of steps and batches that make no sense, and steps without a finite loss or
//! gradient (one is passed over, many in a row end the run).

use std::path::Path;

use super::Observer;
use crate::TrainError;

/// So many in a row.
const MOST_BAD_STEPS: u64 = 10;

/// Counts a step that moves no weight; `metrics` is where its values are logged.
pub(crate) fn pass_over(
    bad_steps: &mut u64,
    step: u64,
    metrics: &Path,
    observer: &mut (dyn Observer + Send),
) -> Result<(), TrainError> {
    *bad_steps += 1;
    observer.note(&format!("step {step} is passed over: its loss or gradient is no number"));
    if *bad_steps < MOST_BAD_STEPS {
        return Ok(());
    }
    Err(TrainError::NotFinite { steps: *bad_steps, step, metrics: metrics.to_owned() })
}

/// Batches of a step at most, so that none of their numbers is too large.
const MOST_BATCHES: u64 = 1_000_000;

/// What is wrong with so many batches a step.
pub(crate) fn batches_problem(accumulate: u64) -> Option<String> {
    let is_right = (1..=MOST_BATCHES).contains(&accumulate);
    let wrong = || {
        format!(
            "`accumulate` is {accumulate}, and must be from 1 (a batch for each step) to {MOST_BATCHES}"
        )
    };
    (!is_right).then(wrong)
}

/// That no fewer steps are asked for than were made: what is there cannot be taken back.
pub(crate) fn not_fewer(made: u64, asked: u64) -> Result<(), TrainError> {
    if made <= asked {
        return Ok(());
    }
    Err(TrainError::of_file(vec![format!(
        "`steps` is {asked}, and the run has made {made}: ask for as many or more, or give it another `out`"
    )]))
}
