//! The graph cut before the decoder's last convolution.
//!
//! The adaptive weight of an adversarial loss (Esser et al., "Taming transformers for high-resolution
//! image synthesis", 2021, section 3.1) compares gradients of two losses at the last layer. With the
//! graph in one piece each of them costs a backward pass through the whole decoder. Cut here, both
//! end at the last convolution: what they leave at its input is added up with the weight that came
//! out, and the decoder is run backward once.
//!
//! Decided against handing out the layer's input and calling the layer from the trainer: slices,
//! tiles and what chunks carry would have to be walked through there again.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, Var};

/// One pass of the decoder, cut.
#[derive(Clone, Debug)]
pub struct Join {
    /// What goes into the last convolution, on the graph of all that is before.
    pub before: Tensor,
    /// The same values, from which the last convolution goes on: a leaf of the graph of frames.
    pub leaf: Var,
}

impl Join {
    /// A loss whose gradients are those that `gradient`, found at the leaf, leads to before the cut:
    /// `sum(before gradient)`.
    ///
    /// # Errors
    /// When the gradient is of another shape.
    pub fn carry_back(&self, gradient: &Tensor) -> Result<Tensor> {
        (&self.before * gradient.detach())?.sum_all()
    }
}

/// Collects the passes of a network that is cut (see [`super::SliceVae::cut`]). Clones share what
/// they hold.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    joins: Arc<Mutex<Vec<Join>>>,
}

impl Cut {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The passes since the last call, in their order.
    #[must_use]
    pub fn take(&self) -> Vec<Join> {
        std::mem::take(&mut *self.joins.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cuts: the values, as a leaf.
    pub(super) fn at(&self, before: Tensor) -> Result<Tensor> {
        let leaf = Var::from_tensor(&before.detach())?;
        let after = leaf.as_tensor().clone();
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).push(Join { before, leaf });
        Ok(after)
    }
}
