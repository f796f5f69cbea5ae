//! Passes that are run again in backward instead of being kept (see [`curate_ops::checkpoint`]).
//!
//! A training clip of 25 frames is three slices and an image, twice. Kept whole, their activations
//! are many times what one slice needs; of a pass that is run again only frames and latents stay.
//! Decided against doing so block by block: it saves more, and costs the same time, but a slice is
//! what has to fit anyway when the network is used.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, Var};
use curate_ops::{GradSink, Segment, checkpoint};

use super::{carry::Carry, conv::Time, slices::Span};
use crate::params::Params;

/// Where gradients of passes go.
#[derive(Clone, Debug)]
pub(super) struct Recompute {
    vars: Vec<Var>,
    sink: GradSink,
}

/// One pass of a network, as something that can be run twice.
type Run = Arc<dyn Fn(&Tensor, &mut Time<'_>) -> Result<Tensor> + Send + Sync>;

impl Recompute {
    pub(super) fn new(params: &Params, sink: &GradSink) -> Self {
        let vars = params.trained().map(|(_, var)| var.clone()).collect();
        Self { vars, sink: sink.clone() }
    }

    /// Runs `run` on `x`; in a pass that goes on, `carry` moves on as it would without.
    fn run(&self, x: &Tensor, span: Span, carry: &mut Carry, run: Run) -> Result<Tensor> {
        let before = carry.clone();
        let after = Arc::new(Mutex::new(Carry::new()));
        let left = Arc::clone(&after);
        let segment: Segment = Arc::new(move |inputs: &[Tensor]| {
            let mut carry = before.clone();
            let y = run(&inputs[0], &mut span.time(&mut carry))?;
            *left.lock().unwrap_or_else(PoisonError::into_inner) = carry;
            // The value of a node begins where its storage does.
            y.contiguous()
        });
        // Frames are not on the graph, and what no input leads to is not run again: any variable
        // serves as an input that is.
        let mut inputs = vec![x];
        inputs.extend(self.vars.first().map(Var::as_tensor));
        let y = checkpoint(&segment, &inputs, &self.vars, &self.sink)?;
        *carry = std::mem::take(&mut *after.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(y)
    }
}

/// Runs a pass, to be kept or to be run again.
pub(super) fn pass(
    recompute: Option<&Recompute>,
    x: &Tensor,
    (span, carry): (Span, &mut Carry),
    run: impl Fn(&Tensor, &mut Time<'_>) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    match recompute {
        None => run(x, &mut span.time(carry)),
        Some(recompute) => recompute.run(x, span, carry, Arc::new(run)),
    }
}
