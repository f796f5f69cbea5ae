//! What of a run is kept, so that it goes on as if it had never stopped.

use candle_core::Tensor;
use curate_models::params::Params;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::DitTrainConfig;
use crate::{
    TrainError,
    optim::{Ema, Optimizer, stored},
    run::{Part, RunFolder, Saved},
};

/// All that is not a tensor. With the tensors of a checkpoint, a run goes on from it to the bit:
/// numbers are drawn from a stream of its own for each batch of each step.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) step: u64,
    /// The last steps that had no finite loss or gradient.
    pub(super) bad_steps: u64,
    /// Where the loader is, and in which version of the table.
    pub(super) data: Value,
}

/// Writes a checkpoint: what is trained, and no more. The rest is in the files that the run began
/// with.
pub(super) fn save(
    config: &DitTrainConfig,
    (folder, state): (&RunFolder, &State),
    (trained, optimizer, ema): (&Params, &Optimizer, Option<&Ema>),
) -> Result<Saved, TrainError> {
    let part = |name, tensors| Part { name, tensors, notes: Vec::new() };
    let weights: Vec<(String, &Tensor)> =
        trained.trained().map(|(name, var)| (name.to_owned(), var.as_tensor())).collect();
    let mut parts = vec![part("model", weights), part("optimizer", optimizer.tensors())];
    if let Some(ema) = ema {
        let tensors = ema.tensors().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        parts.push(part("ema", tensors));
    }
    folder.save(state.step, state, &parts, config.keep)
}

/// Takes up a checkpoint's tensors.
pub(super) fn restore(
    saved: &Saved,
    trained: &Params,
    (optimizer, ema): (&mut Optimizer, Option<&mut Ema>),
) -> Result<(), TrainError> {
    let weights = saved.weights("model")?;
    for (name, var) in trained.trained() {
        var.set(&stored(&weights, name, var.as_tensor())?)?;
    }
    optimizer.restore(&saved.weights("optimizer")?)?;
    if let Some(ema) = ema {
        ema.restore(&saved.weights("ema")?)?;
    }
    Ok(())
}
