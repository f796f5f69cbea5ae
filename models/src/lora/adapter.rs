//! One adapter of one layer, as the layer uses it.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, Var};
use curate_ops::{Rng, linear};

/// The seed of this step's dropout masks, shared by all adapters of a [`Lora`](super::Lora). `None`:
/// nothing is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct DropoutSeed(Arc<Mutex<Option<u64>>>);

impl DropoutSeed {
    pub(super) fn set(&self, seed: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    }

    fn get(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropout of one layer. Masks are a function of the step's seed and the layer's name: a segment that
/// backward computes again draws the same ones.
#[derive(Clone, Debug)]
pub(super) struct Dropout {
    pub(super) rate: f64,
    pub(super) seed: DropoutSeed,
    /// The layer's sequence of random numbers.
    pub(super) stream: u64,
}

/// `factor * up(down(dropout(x)))`, which is added to what the layer gives.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    /// `[r, I]`.
    pub(super) down: Tensor,
    /// `[O, r]`.
    pub(super) up: Tensor,
    /// `alpha / r` times the weight that the adapter is given.
    pub(super) factor: f64,
    pub(super) dropout: Dropout,
    /// Of both, where they are trained.
    pub(super) vars: Vec<Var>,
}

impl Adapter {
    /// `x` is `[.., I]`, the result `[.., O]`, both in one type.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let seed = self.dropout.seed.get().filter(|_| self.dropout.rate > 0.0);
        let dropped = match seed {
            Some(seed) => {
                let mut rng = Rng::with_stream(seed, self.dropout.stream);
                let mask =
                    rng.dropout_mask(self.dropout.rate, x.shape().clone(), dtype, x.device())?;
                Some((x * mask)?)
            }
            None => None,
        };
        let inner = linear(dropped.as_ref().unwrap_or(x), &self.down.to_dtype(dtype)?, None)?;
        // Here and not behind `up`: there are fewer numbers to multiply.
        linear(&(inner * self.factor)?, &self.up.to_dtype(dtype)?, None)
    }

    /// The same without gradients for the adapter.
    pub(crate) fn detached(&self) -> Self {
        Self {
            down: self.down.detach(),
            up: self.up.detach(),
            vars: Vec::new(),
            dropout: self.dropout.clone(),
            factor: self.factor,
        }
    }

    /// The variables behind it, if they are trained.
    pub(crate) fn vars(&self) -> &[Var] {
        &self.vars
    }
}
