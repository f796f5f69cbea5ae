//! Activations forgotten in forward and computed again in backward (Chen et al., "Training deep
//! nets with sublinear memory cost", 2016).

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};

use crate::{
    gradients::{GradSink, backward},
    node::{Value, node},
};

/// A part of a network that can be computed twice: the same inputs give the same result, so noise
/// and dropout masks are inputs, or drawn from a generator that is copied in.
pub type Segment = Arc<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// Runs `segment` on `inputs` and keeps only inputs and result; backward runs it again. Gradients
/// are the same, bit for bit, as without.
///
/// Gradients flow to all `inputs` that are on the graph. Those of `vars`, the variables used inside
/// the segment, go to `sink`, from where [`crate::gradients`] takes them.
///
/// If no input is on the graph (a first block on plain data), nothing would call for the recompute;
/// then the segment is simply run on the graph.
///
/// # Errors
/// When the segment fails.
pub fn checkpoint(
    segment: &Segment,
    inputs: &[&Tensor],
    vars: &[Var],
    sink: &GradSink,
) -> Result<Tensor> {
    let plain: Vec<Tensor> = inputs.iter().map(|input| input.detach()).collect();
    if inputs.iter().all(|input| !input.track_op()) {
        return segment(&plain);
    }
    let value = segment(&plain)?.detach();
    let (segment, vars, sink) = (Arc::clone(segment), vars.to_vec(), sink.clone());
    node(
        "checkpoint",
        inputs,
        Value::Tensor(value),
        Box::new(move |_, gradient, wanted| {
            let mut again = plain.clone();
            let mut leaves = vec![None; again.len()];
            for index in (0..again.len()).filter(|index| wanted[*index]) {
                let leaf = Var::from_tensor(&again[index])?;
                again[index] = leaf.as_tensor().clone();
                leaves[index] = Some(leaf);
            }
            let product = (segment(&again)? * gradient)?.sum_all()?;
            let mut sought = vars.clone();
            sought.extend(leaves.iter().flatten().cloned());
            let found = backward(&product, &sought)?;
            sink.add(&vars, &found)?;
            let of = |leaf: &Option<Var>| leaf.as_ref().and_then(|leaf| found.get(leaf)).cloned();
            Ok(leaves.iter().map(of).collect())
        }),
    )
}
