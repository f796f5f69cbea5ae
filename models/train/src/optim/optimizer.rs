//! Adam over everything that is trained, in groups of their own learning rates.

use candle_core::{Tensor, Var};
use curate_models::{
    Misfit, Weights,
    params::{Params, ParamsError, fits},
};
use curate_ops::{Adam, AdamStep, Gradients, Moments};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The optimiser's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The learning rate after its rise.
    pub learning_rate: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Share of each weight that a step takes away, times the learning rate. Biases, norms and other
    /// vectors are decayed too, as the published trainers do.
    pub weight_decay: f64,
    /// Tensors with a learning rate of their own.
    pub groups: Vec<Group>,
}

/// Tensors with a learning rate of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which, by name; `*` stands for anything. The first group that fits a tensor counts.
    pub pattern: String,
    /// Their learning rate as a share of [`OptimizerConfig::learning_rate`]: 0.1 for the modules that
    /// the published trainer lists under `trainable_modules_low_learning_rate`.
    pub rate: f64,
}

impl Default for OptimizerConfig {
    /// Of the published trainer of the transformer.
    fn default() -> Self {
        Self {
            learning_rate: 2e-5,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-10,
            weight_decay: 3e-2,
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: f64, is_right: bool, wanted: &str| {
            if !is_right {
                problems.push(format!("`{key}.{name}` is {value}, not {wanted}"));
            }
        };
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        let rate = self.learning_rate;
        check("learning_rate", rate, finite(rate) && rate > 0.0, "a number above 0");
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check(name, value, (0.0..1.0).contains(&value), "from 0 to less than 1");
        }
        for (name, value) in [("eps", self.eps), ("weight_decay", self.weight_decay)] {
            check(name, value, finite(value), "a number from 0 on");
        }
        for group in &self.groups {
            check("groups.rate", group.rate, finite(group.rate), "a number from 0 on");
        }
        problems
    }

    /// That each group names something that is trained, in one of several sets.
    ///
    /// # Errors
    /// [`TrainError::NothingTrained`].
    pub fn check_groups(&self, sets: &[&Params]) -> Result<(), TrainError> {
        for (number, Group { pattern, .. }) in self.groups.iter().enumerate() {
            let mut names = sets.iter().flat_map(|params| params.trained());
            // The first that fits counts, so one behind it may be left with nothing.
            let is_first = |name: &str| {
                self.groups.iter().position(|group| fits(&group.pattern, name)) == Some(number)
            };
            if !names.any(|(name, _)| is_first(name)) {
                let pattern = pattern.clone();
                return Err(TrainError::NothingTrained { key: "optimizer.groups", pattern });
            }
        }
        Ok(())
    }
}

/// A tensor and what Adam keeps of it.
#[derive(Debug)]
struct Slot {
    name: String,
    moments: Moments,
    rate: f64,
}

/// Adam with decoupled decay over named groups.
#[derive(Debug)]
pub struct Optimizer {
    adam: Adam,
    learning_rate: f64,
    vars: Vec<Var>,
    /// In the order of `vars`.
    slots: Vec<Slot>,
}

impl Optimizer {
    /// For everything that `params` trains. A group that fits nothing in it is passed over: see
    /// [`OptimizerConfig::check_groups`].
    ///
    /// # Errors
    /// When there is no memory for the moments.
    pub fn new(config: &OptimizerConfig, params: &Params) -> Result<Self, TrainError> {
        let adam = Adam {
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
        };
        let (mut vars, mut slots) = (Vec::new(), Vec::new());
        for (name, var) in params.trained() {
            let group = config.groups.iter().find(|group| fits(&group.pattern, name));
            let rate = group.map_or(1.0, |group| group.rate);
            slots.push(Slot { name: name.to_owned(), moments: Moments::zeros(var)?, rate });
            vars.push(var.clone());
        }
        Ok(Self { adam, learning_rate: config.learning_rate, vars, slots })
    }

    /// What is trained, sorted by name: the order of gradients.
    #[must_use]
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// How many numbers are trained.
    #[must_use]
    pub fn count(&self) -> usize {
        self.vars.iter().map(|var| var.elem_count()).sum()
    }

    /// One step; `number` is 1 for the first. `share` is that of the schedule, `scale` what the
    /// gradients are multiplied by. A tensor without a gradient stays as it is.
    ///
    /// # Errors
    /// When candle fails.
    pub fn step(
        &mut self,
        gradients: &Gradients,
        number: u64,
        (share, scale): (f64, f64),
    ) -> Result<(), TrainError> {
        for (var, slot) in self.vars.iter().zip(&self.slots) {
            let Some(gradient) = gradients.get(var) else { continue };
            let learning_rate = self.learning_rate * share * slot.rate;
            let step = AdamStep { number, learning_rate, gradient_scale: scale };
            self.adam.step(var, gradient, &slot.moments, &step)?;
        }
        Ok(())
    }

    /// The moments by name, for a checkpoint.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, &Tensor)> {
        let both = self.slots.iter().flat_map(|slot| {
            let name = |of: &str| format!("{of}.{}", slot.name);
            [(name("mean"), &slot.moments.mean), (name("square"), &slot.moments.square)]
        });
        both.collect()
    }

    /// Takes up moments that were stored.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn restore(&mut self, weights: &Weights) -> Result<(), TrainError> {
        for slot in &mut self.slots {
            let moments = &mut slot.moments;
            moments.mean = stored(weights, &format!("mean.{}", slot.name), &moments.mean)?;
            moments.square = stored(weights, &format!("square.{}", slot.name), &moments.square)?;
        }
        Ok(())
    }
}

/// A stored tensor in the place of another.
pub(crate) fn stored(weights: &Weights, name: &str, like: &Tensor) -> Result<Tensor, TrainError> {
    let found = weights.shape(name);
    if found != Some(like.dims()) {
        let problem = match found {
            None => Misfit::Missing(name.to_owned()),
            Some(found) => Misfit::Shape {
                name: name.to_owned(),
                found: found.to_vec(),
                wanted: like.dims().to_vec(),
            },
        };
        let origin = weights.origin().to_owned();
        return Err(ParamsError::Mismatch { origin, problems: vec![problem] }.into());
    }
    let tensor = Tensor::from_vec(weights.f32(name)?, like.shape(), like.device())?;
    Ok(tensor.to_dtype(like.dtype())?)
}
