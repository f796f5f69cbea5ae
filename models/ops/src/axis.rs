//! Linear maps along one axis: padding, enlarging, interpolating and blurring are all tables of
//! which inputs make an output, with which weights; backward is the same table read the other way.
//!
//! candle composes these of slices and sums, whose backward makes a tensor of zeros of the full size
//! for each slice.

use candle_core::{Result, Tensor};

use crate::{
    math::Real,
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{GRAIN, if_wanted},
};
use rayon::prelude::*;

/// For each output along an axis, the inputs and their weights.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// How many inputs there are.
    inputs: usize,
    outputs: Vec<Vec<(usize, f64)>>,
}

impl Table {
    pub(crate) fn new(inputs: usize, outputs: Vec<Vec<(usize, f64)>>) -> Self {
        Self { inputs, outputs }
    }

    /// Outputs that are one input each, or zero.
    pub(crate) fn picks(inputs: usize, picks: impl Iterator<Item = Option<usize>>) -> Self {
        let outputs = picks.map(|pick| pick.map(|input| (input, 1.0)).into_iter().collect());
        Self::new(inputs, outputs.collect())
    }

    /// From outputs to inputs.
    fn turned(&self) -> Self {
        let mut outputs = vec![Vec::new(); self.inputs];
        for (output, taps) in self.outputs.iter().enumerate() {
            for (input, weight) in taps {
                outputs[*input].push((output, *weight));
            }
        }
        Self { inputs: self.outputs.len(), outputs }
    }

    /// Maps a tensor along an axis, whose length is that of the table's inputs.
    pub(crate) fn apply(&self, name: &'static str, x: &Tensor, axis: usize) -> Result<Tensor> {
        if !has_kernel(x) {
            return self.composed(x, axis);
        }
        by_dtype!(x, on_cpu(name, x, axis, self))
    }

    /// A sum over taps of picked slices.
    fn composed(&self, x: &Tensor, axis: usize) -> Result<Tensor> {
        let x = x.contiguous()?;
        let most = self.outputs.iter().map(Vec::len).max().unwrap_or(0);
        let mut sum: Option<Tensor> = None;
        for tap in 0..most.max(1) {
            let taps =
                || self.outputs.iter().map(|taps| taps.get(tap).copied().unwrap_or_default());
            let picks: Vec<u32> = taps().map(|(input, _)| input as u32).collect();
            let picked = x.index_select(&Tensor::new(picks, x.device())?, axis)?;
            let mut shape = vec![1; x.rank()];
            shape[axis] = self.outputs.len();
            let weights: Vec<f32> = taps().map(|(_, weight)| weight as f32).collect();
            let weights = Tensor::from_vec(weights, shape, x.device())?.to_dtype(x.dtype())?;
            let part = picked.broadcast_mul(&weights)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
        sum.ok_or_else(|| candle_core::Error::msg("a table without taps"))
    }
}

fn on_cpu<T: Real>(name: &'static str, x: &Tensor, axis: usize, table: &Table) -> Result<Tensor> {
    let kept = x.detach().contiguous()?;
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let mut shape = x.dims().to_vec();
    shape[axis] = table.outputs.len();
    let y = map::<T>(&Values::of(&kept)?, inner, table);
    let back = table.turned();
    let x_shape = x.dims().to_vec();
    node(
        name,
        &[x],
        value(y, shape),
        Box::new(move |_, gradient, wanted| {
            let run = || {
                let gradient = gradient.contiguous()?;
                tensor(map::<T>(&Values::of(&gradient)?, inner, &back), x_shape.as_slice())
            };
            Ok(vec![if_wanted(wanted[0], run)?])
        }),
    )
}

/// Maps each stretch of `table.inputs` times `inner` values.
fn map<T: Real>(x: &[T], inner: usize, table: &Table) -> Vec<T> {
    let (from, to) = (table.inputs * inner, table.outputs.len() * inner);
    if from == 0 || to == 0 {
        return Vec::new();
    }
    let taps: Vec<Vec<(usize, T)>> = table
        .outputs
        .iter()
        .map(|taps| taps.iter().map(|(input, weight)| (*input, T::of(*weight))).collect())
        .collect();
    let outer = x.len() / from;
    let mut y = vec![T::zero(); outer * to];
    if inner == 1 {
        let rows = (GRAIN / to).max(1);
        let work = y.par_chunks_mut(to * rows).zip(x.par_chunks(from * rows));
        work.for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
                for (y, taps) in y.iter_mut().zip(&taps) {
                    for (input, weight) in taps {
                        *y += x[*input] * *weight;
                    }
                }
            }
        });
        return y;
    }
    let rows = (GRAIN / inner).max(1);
    let outputs = table.outputs.len();
    y.par_chunks_mut(inner * rows).enumerate().for_each(|(piece, y)| {
        for (index, y) in y.chunks_exact_mut(inner).enumerate() {
            let row = piece * rows + index;
            let x = &x[row / outputs * from..][..from];
            for (input, weight) in &taps[row % outputs] {
                let x = &x[input * inner..][..inner];
                if *weight == T::one() && taps[row % outputs].len() == 1 {
                    y.copy_from_slice(x);
                    continue;
                }
                for (y, x) in y.iter_mut().zip(x) {
                    *y += *x * *weight;
                }
            }
        }
    });
    y
}
