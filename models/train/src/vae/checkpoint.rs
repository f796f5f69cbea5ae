//! What of a run is kept, so that it goes on as if it had never stopped.

use std::collections::BTreeMap;

use candle_core::Tensor;
use curate_models::{
    params::Params,
    vae::{SliceVae, VaeConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{config::VaeTrainConfig, critics::Critics};
use crate::{
    TrainError,
    optim::{Ema, Optimizer},
    run::{Part, RunFolder, Saved},
};

/// All that is not a tensor. With the tensors of a checkpoint, a run goes on from it to the bit: noise
/// is drawn from a stream of its own for each batch of each step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) step: u64,
    /// Steps that discriminators made.
    pub(super) critic_steps: u64,
    /// The last steps that had no finite loss or gradient.
    pub(super) bad_steps: u64,
    /// Where the loader is, and in which version of the table.
    pub(super) data: Value,
    /// As it was measured last.
    pub(super) scaling_factor: f64,
}

/// What discriminators need to learn.
pub(super) struct Judges {
    pub(super) critics: Critics,
    pub(super) optimizer: Optimizer,
}

/// All weights of the network, averages in the place of those that are trained.
pub(super) fn whole<'a>(params: &'a Params, ema: Option<&'a Ema>) -> BTreeMap<String, &'a Tensor> {
    let mut all: BTreeMap<String, &Tensor> =
        params.iter().map(|(name, var, _)| (name.to_owned(), var.as_tensor())).collect();
    if let Some(ema) = ema {
        all.extend(ema.tensors().map(|(name, tensor)| (name.to_owned(), tensor)));
    }
    all
}

/// Writes a checkpoint.
pub(super) fn save(
    config: &VaeTrainConfig,
    (folder, state, vae): (&RunFolder, &State, &VaeConfig),
    (params, optimizer, ema): (&Params, &Optimizer, Option<&Ema>),
    judges: Option<&Judges>,
) -> Result<Saved, TrainError> {
    // Files that hold all weights can be used as they are.
    let json = vae.to_json();
    let part = |name, tensors, notes| Part { name, tensors, notes };
    let network = || vec![(SliceVae::CONFIG_NOTE, json.clone())];
    let all = |params, ema| whole(params, ema).into_iter().collect();
    let mut parts = vec![
        part("model", all(params, None), network()),
        part("optimizer", optimizer.tensors(), Vec::new()),
    ];
    if ema.is_some() {
        parts.push(part("ema", all(params, ema), network()));
    }
    if let Some(Judges { critics, optimizer }) = judges {
        parts.push(part("discriminators", all(&critics.params, None), Vec::new()));
        parts.push(part("discriminators-optimizer", optimizer.tensors(), Vec::new()));
    }
    folder.save(state.step, state, &parts, config.keep)
}

/// Takes up a checkpoint's tensors.
pub(super) fn restore(
    saved: &Saved,
    (params, optimizer, ema): (&Params, &mut Optimizer, Option<&mut Ema>),
    judges: Option<&mut Judges>,
) -> Result<(), TrainError> {
    params.restore(&saved.weights("model")?)?;
    optimizer.restore(&saved.weights("optimizer")?)?;
    if let Some(ema) = ema {
        ema.restore(&saved.weights("ema")?)?;
    }
    if let Some(judges) = judges {
        judges.critics.params.restore(&saved.weights("discriminators")?)?;
        judges.optimizer.restore(&saved.weights("discriminators-optimizer")?)?;
    }
    Ok(())
}
