//! Checkpointing and taking gradients.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use candle_core::{Result, Tensor, Var};
use curate_ops::{
    GradSink, Gradients, Segment, checkpoint, gradients, linear, on_deep_stack, silu,
};

use crate::support::{normal, values};

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&normal(seed, shape)).unwrap()
}

/// A block of four inputs and one weight.
fn block(weight: &Var) -> Segment {
    let weight = weight.clone();
    Arc::new(move |inputs: &[Tensor]| {
        let y = silu(&linear(&inputs[0], &weight, None)?)?;
        let y = y.broadcast_mul(&inputs[1])?.broadcast_add(&inputs[2])?;
        (y + &inputs[3])? + &inputs[0]
    })
}

/// Two blocks, the second on the first, with the conditioning shared by both.
fn two_blocks(vars: &[Var], again: bool, sink: &GradSink) -> Result<Tensor> {
    let [x, scale, shift, other, first, second] = vars else { panic!("six") };
    let mut y = (x.as_tensor() * 2.0)?;
    for weight in [first, second] {
        let inputs = [&y, scale.as_tensor(), shift.as_tensor(), other.as_tensor()];
        let segment = block(weight);
        y = if again {
            checkpoint(&segment, &inputs, std::slice::from_ref(weight), sink)?
        } else {
            segment(&inputs.map(Clone::clone))?
        };
    }
    y.sqr()?.sum_all()
}

#[test]
fn gradients_are_the_same_bit_for_bit() {
    let vars = [
        var(1, &[3, 4]),
        var(2, &[4]),
        var(3, &[4]),
        var(4, &[3, 4]),
        var(5, &[4, 4]),
        var(6, &[4, 4]),
    ];
    let sink = GradSink::new();
    let plain = gradients(two_blocks(&vars, false, &sink).unwrap(), &vars, None).unwrap();
    let again = gradients(two_blocks(&vars, true, &sink).unwrap(), &vars, Some(&sink)).unwrap();
    for (index, var) in vars.iter().enumerate() {
        let (plain, again) = (plain.get(var).unwrap(), again.get(var).unwrap());
        assert_eq!(values(plain), values(again), "variable {index}");
        assert!(!again.track_op());
    }
    // The sink is empty again: nothing is counted twice.
    let empty = gradients(vars[0].sum_all().unwrap(), &vars, Some(&sink)).unwrap();
    assert!(empty.get(&vars[5]).is_none());
}

#[test]
fn segments_run_once_forward_and_once_backward() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let segment: Segment = Arc::new(move |inputs: &[Tensor]| {
        counted.fetch_add(1, Ordering::SeqCst);
        inputs[0].sqr()
    });
    let x = var(1, &[3]);
    let sink = GradSink::new();
    let y = checkpoint(&segment, &[x.as_tensor()], &[], &sink).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let found = gradients(y.sum_all().unwrap(), std::slice::from_ref(&x), Some(&sink)).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(values(found.get(&x).unwrap()), values(&(x.as_tensor() * 2.0).unwrap()));
}

#[test]
fn without_a_tracked_input_weights_still_learn() {
    let weight = var(5, &[4, 4]);
    let plain = [normal(1, &[3, 4]), normal(2, &[4]), normal(3, &[4]), normal(4, &[3, 4])];
    let sink = GradSink::new();
    let vars = std::slice::from_ref(&weight);
    let y = checkpoint(&block(&weight), &plain.each_ref(), vars, &sink).unwrap();
    let found = gradients(y.sum_all().unwrap(), vars, Some(&sink)).unwrap();
    assert!(found.get(&weight).is_some());
}

#[test]
fn nested_checkpoints_add_up() {
    let weight = var(5, &[4, 4]);
    let x = var(1, &[3, 4]);
    let sink = GradSink::new();
    let inner: Segment = {
        let weight = weight.clone();
        Arc::new(move |inputs: &[Tensor]| silu(&linear(&inputs[0], &weight, None)?))
    };
    let outer: Segment = {
        let (inner, weight, sink) = (Arc::clone(&inner), weight.clone(), sink.clone());
        Arc::new(move |inputs: &[Tensor]| {
            let y = checkpoint(&inner, &[&inputs[0]], std::slice::from_ref(&weight), &sink)?;
            linear(&y, &weight, None)
        })
    };
    let vars = [x.clone(), weight.clone()];
    let y = checkpoint(&outer, &[x.as_tensor()], &vars[1..], &sink).unwrap();
    let nested = gradients(y.sum_all().unwrap(), &vars, Some(&sink)).unwrap();
    let plain = linear(&inner(&[x.as_tensor().clone()]).unwrap(), &weight, None).unwrap();
    let plain = gradients(plain.sum_all().unwrap(), &vars, None).unwrap();
    for var in &vars {
        let (nested, plain) = (nested.get(var).unwrap(), plain.get(var).unwrap());
        assert!(crate::support::difference(nested, plain) < 1e-14);
    }
}

#[test]
fn deep_graphs_fit_on_the_stack() {
    let x = var(1, &[1]);
    let found = on_deep_stack(|| {
        let mut y = x.as_tensor().clone();
        for _ in 0..20_000 {
            y = (y + 1e-4).unwrap();
        }
        gradients(y.sum_all().unwrap(), std::slice::from_ref(&x), None)
    });
    assert_eq!(values(found.unwrap().unwrap().get(&x).unwrap()), [1.0]);
}

#[test]
fn the_norm_is_over_all_variables() {
    let vars = [var(1, &[2, 3]), var(2, &[4]), var(3, &[1])];
    let mut all = Gradients::new();
    all.add(&vars[0], &Tensor::full(2f32, (2, 3), &candle_core::Device::Cpu).unwrap()).unwrap();
    all.add(&vars[1], &Tensor::full(1f32, 4, &candle_core::Device::Cpu).unwrap()).unwrap();
    all.add(&vars[1], &Tensor::full(2f32, 4, &candle_core::Device::Cpu).unwrap()).unwrap();
    assert!((all.norm(&vars).unwrap() - 60f64.sqrt()).abs() < 1e-12);
}
