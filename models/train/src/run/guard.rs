//! Steps without a finite loss or gradient: one is passed over, many in a row end the run.

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
