//! Gradients of one batch, for the generator and for its discriminators.
//!
//! The weight of the adversarial loss depends on two gradients at the decoder's last convolution. The
//! graph is cut before it ([`curate_models::vae::Cut`]): both losses are run backward to the cut
//! alone, and what they leave there, added up, goes backward through the rest once.
//!
//! The released code runs the generator again, after its step, for the frames that discriminators
//! judge. Here they judge the frames that the generator's own gradients were made of, which spares a
//! third of the work; discriminators are one step behind.

use candle_core::{Result, Tensor, Var};
use curate_models::{
    params::Params,
    vae::{Cut, Join, SliceVae, VaeError, lpips::Lpips},
};
use curate_ops::{GradSink, Gradients, gradients};

use super::{
    critics::Critics,
    losses::{LossConfig, adaptive_weight, outliers, reconstruction},
};
use crate::{TrainError, run::Values};

/// The VAE as it is trained.
#[derive(Debug)]
pub(super) struct Generator {
    /// Cut, and running again what it does not keep, if asked to.
    vae: SliceVae,
    cut: Cut,
    sink: GradSink,
    /// What is trained, in the order of names.
    vars: Vec<Var>,
    last: Var,
    /// Whether the encoder learns too.
    is_whole: bool,
}

/// What counts in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Objective<'a> {
    pub(super) loss: &'a LossConfig,
    pub(super) lpips: Option<&'a Lpips>,
    /// The discriminators and what their weight is multiplied by, from the step on from which they
    /// count.
    pub(super) critics: Option<(&'a Critics, f64)>,
}

/// What a batch gives.
#[derive(Debug)]
pub(super) struct Step {
    /// For the generator.
    pub(super) gradients: Gradients,
    /// The frames that were made, off the graph.
    pub(super) made: Tensor,
    /// `loss` first.
    pub(super) values: Values,
}

impl Generator {
    /// Of a network that was built from `params`, with `recompute` run again in backward.
    pub(super) fn new(
        vae: &SliceVae,
        params: &Params,
        recompute: bool,
    ) -> std::result::Result<Self, TrainError> {
        let (cut, sink) = (Cut::new(), GradSink::new());
        let mut vae = vae.cut(&cut);
        if recompute {
            vae = vae.recomputing(params, &sink);
        }
        let is_whole = params.trained().any(|(name, _)| name.starts_with("encoder."));
        let vars = params.trained().map(|(_, var)| var.clone()).collect();
        let last = params.get(SliceVae::LAST_WEIGHT).cloned();
        // Every decoder has one.
        let last = last.ok_or(VaeError::Latents)?;
        Ok(Self { vae, cut, sink, vars, last, is_whole })
    }

    /// What is trained.
    pub(super) fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// Losses and gradients of clips `[B, 3, T, H, W]`; `noise` is what latents are drawn with.
    pub(super) fn step(
        &self,
        real: &Tensor,
        noise: &Tensor,
        objective: &Objective<'_>,
    ) -> std::result::Result<Step, TrainError> {
        let weights = objective.loss;
        let posterior = self.vae.encode(real)?;
        let divergence = posterior.divergence()?;
        let mut prior = (&divergence * weights.kl)?;
        let mut values = vec![("kl", scalar(&divergence)?)];
        if weights.outliers > 0.0 {
            let outliers = outliers(&posterior, weights.outlier_deviations)?;
            values.push(("outliers", scalar(&outliers)?));
            prior = (prior + (outliers * weights.outliers)?)?;
        }
        let mut latents = posterior.sample(noise)?;
        if !self.is_whole {
            // Nothing before the decoder is trained.
            latents = latents.detach();
            prior = prior.detach();
        }
        let made = self.vae.decode(&latents)?;
        let joins = self.cut.take();
        let found = reconstruction(real, &made, weights, objective.lpips)?;
        for (name, value) in [("l1", &found.l1), ("l2", &found.l2)] {
            values.push((name, scalar(value)?));
        }
        if let Some(lpips) = &found.lpips {
            values.push(("lpips", scalar(lpips)?));
        }
        let mut loss = scalar(&found.loss)? + scalar(&prior)?;
        values.push(("reconstruction", scalar(&found.loss)?));

        let behind = self.behind(&joins);
        let shown = made.detach();
        let at_cut = match objective.critics {
            None => gradients(found.loss, &behind, None)?,
            Some((critics, weight)) => {
                let adversarial = critics.generator(&made)?;
                let score = scalar(&adversarial)?;
                let at_cut = gradients(found.loss, &behind, None)?;
                let judged = gradients(adversarial, &behind, None)?;
                let last = std::slice::from_ref(&self.last);
                let weight = adaptive_weight(weight, at_cut.norm(last)?, judged.norm(last)?);
                loss += weight * score;
                values.extend([("adversarial", score), ("adversarial_weight", weight)]);
                weighted_sum(at_cut, &judged, weight, &behind)?
            }
        };
        // The graph of frames ends here; what is left is that before the cut.
        drop(made);
        let mut back = self.is_whole.then_some(prior);
        for join in &joins {
            let Some(gradient) = at_cut.get(&join.leaf) else { continue };
            let part = join.carry_back(gradient)?;
            back = Some(match back {
                None => part,
                Some(back) => (back + part)?,
            });
        }
        drop(joins);
        let mut all = match back {
            None => Gradients::new(),
            Some(back) => gradients(back, &self.vars, Some(&self.sink))?,
        };
        all.add_all(&self.vars, &at_cut)?;
        values.insert(0, ("loss", loss));
        Ok(Step { gradients: all, made: shown, values })
    }

    /// What lies behind the cut: the leaves, and what the last convolution has of its own.
    fn behind(&self, joins: &[Join]) -> Vec<Var> {
        let leaves = joins.iter().map(|join| join.leaf.clone());
        leaves.chain(self.vars.iter().cloned()).collect()
    }
}

/// `first + weight second`.
fn weighted_sum(
    mut first: Gradients,
    second: &Gradients,
    weight: f64,
    vars: &[Var],
) -> Result<Gradients> {
    for var in vars {
        if let Some(gradient) = second.get(var) {
            first.add(var, &(gradient * weight)?)?;
        }
    }
    Ok(first)
}

/// The discriminators' gradients of clips and of what was made of them.
pub(super) fn judge(
    critics: &Critics,
    vars: &[Var],
    real: &Tensor,
    made: &Tensor,
) -> std::result::Result<(Gradients, f64), TrainError> {
    let loss = critics.judge(real, made)?;
    let value = scalar(&loss)?;
    Ok((gradients(loss, vars, None)?, value))
}

/// A tensor of one number.
pub(super) fn scalar(tensor: &Tensor) -> Result<f64> {
    tensor.to_dtype(candle_core::DType::F64)?.flatten_all()?.get(0)?.to_scalar::<f64>()
}
