//! One adapter of one layer, as the layer uses it.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, Var};
use curate_ops::{LowRank, Rng, adapted_linear, linear};

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

/// What a layer over frozen weights gives with its adapters, and without gradients for those weights, however
/// many there are: `x` is `[.., I]`, `weight` `[O, I]`, `bias` `[O]`, all of one type.
pub(crate) fn adapted(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    adapters: &[Adapter],
) -> Result<Tensor> {
    let cast = adapters.iter().map(|adapter| adapter.cast(x)).collect::<Result<Vec<Cast>>>()?;
    let parts: Vec<LowRank<'_>> = cast.iter().map(Cast::part).collect();
    adapted_linear(x, weight, bias, &parts)
}

/// An adapter in the type of what it is used on, with this step's mask.
struct Cast {
    down: Tensor,
    up: Tensor,
    factor: f64,
    mask: Option<Tensor>,
}

impl Cast {
    fn part(&self) -> LowRank<'_> {
        let mask = self.mask.as_ref();
        LowRank { down: &self.down, up: &self.up, factor: self.factor, mask }
    }
}

impl Adapter {
    fn cast(&self, x: &Tensor) -> Result<Cast> {
        let dtype = x.dtype();
        let seed = self.dropout.seed.get().filter(|_| self.dropout.rate > 0.0);
        let mask = |seed: u64| {
            let mut rng = Rng::with_stream(seed, self.dropout.stream);
            rng.dropout_mask(self.dropout.rate, x.shape().clone(), dtype, x.device())
        };
        Ok(Cast {
            down: self.down.to_dtype(dtype)?,
            up: self.up.to_dtype(dtype)?,
            factor: self.factor,
            mask: seed.map(mask).transpose()?,
        })
    }

    /// What it adds by itself, for layers whose own weights are trained as well: `x` is `[.., I]`, the result
    /// `[.., O]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let cast = self.cast(x)?;
        let masked = cast.mask.as_ref().map_or_else(|| Ok(x.clone()), |mask| x * mask)?;
        // Here and not behind `up`: there are fewer numbers to multiply.
        let inner = (linear(&masked, &cast.down, None)? * cast.factor)?;
        linear(&inner, &cast.up, None)
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
