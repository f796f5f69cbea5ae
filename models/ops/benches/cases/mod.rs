//! What is measured: each operation beside the same expression in candle's own operations, both
//! forward and backward, in single precision.

use candle_core::{D, DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::Optimizer as _;
use curate_ops::{
    Adam, AdamStep, Moments, PadMode, Rng, attention, conv3d, gelu_erf, gelu_tanh, group_norm_silu,
    layer_norm, linear, max_pool2d, pad_time, softmax_last_dim, upsample_nearest2d,
};

/// One operation, and what it is compared with.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Values that go in, for throughput.
    pub(crate) elements: u64,
    pub(crate) ours: Box<dyn FnMut()>,
    pub(crate) candle: Box<dyn FnMut()>,
}

type Function = fn(&[Tensor]) -> Result<Tensor>;

fn var(seed: u64, shape: &[usize]) -> Var {
    let values = Rng::new(seed).normal_tensor(shape, DType::F32, &Device::Cpu).unwrap();
    Var::from_tensor(&values).unwrap()
}

fn backward(vars: &[Tensor], function: Function) -> GradStore {
    function(vars).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap()
}

/// Two cases: forward, and forward with backward.
fn pair(names: [&'static str; 2], shapes: &[&[usize]], [ours, candle]: [Function; 2]) -> [Case; 2] {
    let vars: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(seed, shape)| var(seed as u64, shape).as_tensor().clone())
        .collect();
    let plain: Vec<Tensor> = vars.iter().map(Tensor::detach).collect();
    let elements = vars[0].elem_count() as u64;
    let forward = |function: Function| -> Box<dyn FnMut()> {
        let inputs = plain.clone();
        Box::new(move || drop(function(&inputs).unwrap()))
    };
    let both = |function: Function| -> Box<dyn FnMut()> {
        let inputs = vars.clone();
        Box::new(move || drop(backward(&inputs, function)))
    };
    [
        Case { name: names[0], elements, ours: forward(ours), candle: forward(candle) },
        Case { name: names[1], elements, ours: both(ours), candle: both(candle) },
    ]
}

fn conv_by_frames(i: &[Tensor]) -> Result<Tensor> {
    let (b, c, t, h, w) = i[0].dims5()?;
    let o = i[1].dim(0)?;
    let padded = i[0].pad_with_same(2, 2, 0)?.transpose(1, 2)?.contiguous()?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..3 {
        let frames = padded.narrow(1, tap, t)?.reshape((b * t, c, h, w))?;
        let y = frames.conv2d(&i[1].narrow(2, tap, 1)?.squeeze(2)?.contiguous()?, 1, 1, 1, 1)?;
        sum = Some(match sum {
            None => y,
            Some(sum) => (sum + y)?,
        });
    }
    sum.unwrap().reshape((b, t, o, h, w))?.transpose(1, 2)
}

fn norm(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    centred.broadcast_div(&(centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?)
}

fn norm_of_groups(i: &[Tensor]) -> Result<Tensor> {
    let (b, c, t, h, w) = i[0].dims5()?;
    let y = norm(&i[0].reshape((b, 32, ()))?)?.reshape((b, c, t, h, w))?;
    let along = |given: &Tensor| given.reshape((1, c, 1, 1, 1));
    y.broadcast_mul(&along(&i[1])?)?.broadcast_add(&along(&i[2])?)?.silu()
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(x, D::Minus1)
}

fn attention_at_once(i: &[Tensor]) -> Result<Tensor> {
    softmax(&(i[0].matmul(&i[1].t()?)? * 0.125)?)?.matmul(&i[2])
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(pair(
        ["conv3d", "conv3d with backward"],
        &[&[1, 64, 9, 64, 64], &[64, 64, 3, 3, 3]],
        [
            |i| conv3d(&pad_time(&i[0], 2, 0, PadMode::Replicate)?, &i[1], None, [1; 3], [0, 1, 1]),
            conv_by_frames,
        ],
    ));
    cases.extend(pair(
        ["narrow conv3d", "narrow conv3d with backward"],
        &[&[4, 16, 8, 32, 32], &[16, 16, 3, 3, 3]],
        [
            |i| conv3d(&pad_time(&i[0], 2, 0, PadMode::Replicate)?, &i[1], None, [1; 3], [0, 1, 1]),
            conv_by_frames,
        ],
    ));
    cases.extend(pair(
        ["linear", "linear with backward"],
        &[&[2, 1024, 512], &[1024, 512], &[1024]],
        [
            |i| linear(&i[0], &i[1], Some(&i[2])),
            |i| i[0].broadcast_matmul(&i[1].t()?)?.broadcast_add(&i[2]),
        ],
    ));
    cases.extend(pair(
        ["layer_norm", "layer_norm with backward"],
        &[&[2, 1024, 1152], &[1152], &[1152]],
        [
            |i| layer_norm(&i[0], Some(&i[1]), Some(&i[2]), 1e-5),
            |i| norm(&i[0])?.broadcast_mul(&i[1])?.broadcast_add(&i[2]),
        ],
    ));
    cases.extend(pair(
        ["group_norm_silu", "group_norm_silu with backward"],
        &[&[1, 128, 5, 64, 64], &[128], &[128]],
        [|i| group_norm_silu(&i[0], 32, Some(&i[1]), Some(&i[2]), 1e-5), norm_of_groups],
    ));
    cases.extend(pair(
        ["softmax", "softmax with backward"],
        &[&[8, 512, 512]],
        [|i| softmax_last_dim(&i[0]), |i| softmax(&i[0])],
    ));
    cases.extend(pair(
        ["gelu_tanh", "gelu_tanh with backward"],
        &[&[1024, 2304]],
        [|i| gelu_tanh(&i[0]), |i| i[0].gelu()],
    ));
    cases.extend(pair(
        ["gelu_erf", "gelu_erf with backward"],
        &[&[1024, 2304]],
        [|i| gelu_erf(&i[0]), |i| i[0].gelu_erf()],
    ));
    cases.extend(pair(
        ["attention", "attention with backward"],
        &[&[1, 16, 1024, 64], &[1, 16, 1024, 64], &[1, 16, 1024, 64]],
        [|i| attention(&i[0], &i[1], &i[2], None, 0.125), attention_at_once],
    ));
    cases.extend(pair(
        ["upsample", "upsample with backward"],
        &[&[4, 128, 32, 32]],
        [
            |i| upsample_nearest2d(&i[0], 2),
            |i| i[0].upsample_nearest2d(2 * i[0].dim(2)?, 2 * i[0].dim(3)?),
        ],
    ));
    cases.extend(pair(
        ["max_pool2d", "max_pool2d with backward"],
        &[&[4, 64, 128, 128]],
        [|i| max_pool2d(&i[0], 2, 2), |i| i[0].max_pool2d(2)],
    ));
    cases.push(adam());
    cases
}

fn adam() -> Case {
    let shapes: [&[usize]; 4] = [&[1024, 1024], &[1024, 4096], &[1024], &[4096]];
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(seed, shape)| var(seed as u64, shape)).collect();
    let grads: Vec<Tensor> =
        shapes.iter().map(|shape| var(9, shape).as_tensor().detach()).collect();
    let elements = vars.iter().map(|var| var.elem_count() as u64).sum();
    let moments: Vec<Moments> = vars.iter().map(|var| Moments::zeros(var).unwrap()).collect();
    // candle's takes gradients only from a backward pass.
    let own = shapes.iter().enumerate().map(|(seed, shape)| var(seed as u64, shape));
    let own: Vec<Var> = own.collect();
    let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
    for (var, gradient) in own.iter().zip(&grads) {
        sum = (sum + (var.as_tensor() * gradient).unwrap().sum_all().unwrap()).unwrap();
    }
    let store = sum.backward().unwrap();
    let mut theirs = candle_nn::AdamW::new_lr(own, 1e-4).unwrap();
    let mut number = 0;
    let step = move || {
        number += 1;
        let step = AdamStep { number, learning_rate: 1e-4, gradient_scale: 1.0 };
        for ((var, gradient), moments) in vars.iter().zip(&grads).zip(&moments) {
            Adam::default().step(var, gradient, moments, &step).unwrap();
        }
    };
    Case {
        name: "adamw",
        elements,
        ours: Box::new(step),
        candle: Box::new(move || theirs.step(&store).unwrap()),
    }
}
