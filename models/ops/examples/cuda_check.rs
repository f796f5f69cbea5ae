//! Compares the operations on a GPU with those on the CPU: results and gradients, in single
//! precision and bfloat16. `cuda.sh` builds it; run it before anything else on a new machine.

#![expect(clippy::print_stdout, reason = "this program is its output")]

use candle_core::{DType, Device, Result, Tensor, Var};
use curate_ops::{
    PadMode, Rng, attention, conv2d, conv3d, gelu_erf, gelu_tanh, gradients, group_norm_silu,
    interpolate_linear_t, keep_freed_memory, layer_norm, layer_norm_modulated, linear, max_pool2d,
    pad_time, rms_norm, sample_bilinear, silu, softmax_last_dim, upsample_nearest2d,
};

type Function = fn(&[Tensor]) -> Result<Tensor>;

/// Name, shapes of the inputs, and the operation.
const CASES: [(&str, &[&[usize]], Function); 17] = [
    ("conv3d", &[&[2, 8, 5, 12, 10], &[16, 8, 3, 3, 3], &[16]], |i| {
        conv3d(&i[0], &i[1], Some(&i[2]), [1; 3], [0, 1, 1])
    }),
    ("conv3d, stride 2", &[&[1, 8, 5, 13, 10], &[16, 8, 3, 3, 3], &[16]], |i| {
        conv3d(&i[0], &i[1], Some(&i[2]), [1, 2, 2], [1, 0, 0])
    }),
    ("conv2d", &[&[2, 8, 12, 10], &[16, 8, 3, 3], &[16]], |i| {
        conv2d(&i[0], &i[1], Some(&i[2]), [1; 2], [1; 2])
    }),
    ("linear", &[&[2, 33, 40], &[24, 40], &[24]], |i| linear(&i[0], &i[1], Some(&i[2]))),
    ("layer_norm", &[&[2, 33, 40], &[40], &[40]], |i| {
        layer_norm(&i[0], Some(&i[1]), Some(&i[2]), 1e-5)
    }),
    ("layer_norm_modulated", &[&[2, 33, 40], &[2, 40], &[2, 40]], |i| {
        layer_norm_modulated(&i[0], &i[1], &i[2], 1e-5)
    }),
    ("rms_norm", &[&[2, 33, 40], &[40]], |i| rms_norm(&i[0], Some(&i[1]), 1e-5)),
    ("group_norm_silu", &[&[2, 8, 3, 6, 5], &[8], &[8]], |i| {
        group_norm_silu(&i[0], 4, Some(&i[1]), Some(&i[2]), 1e-5)
    }),
    ("silu", &[&[3, 50]], |i| silu(&i[0])),
    ("gelu_tanh", &[&[3, 50]], |i| gelu_tanh(&i[0])),
    ("gelu_erf", &[&[3, 50]], |i| gelu_erf(&i[0])),
    ("softmax_last_dim", &[&[3, 50]], |i| softmax_last_dim(&i[0])),
    ("attention", &[&[2, 4, 70, 16], &[2, 4, 50, 16], &[2, 4, 50, 16], &[2, 1, 1, 50]], |i| {
        attention(&i[0], &i[1], &i[2], Some(&i[3].detach()), 0.25)
    }),
    ("upsample_nearest2d", &[&[2, 3, 5, 6]], |i| upsample_nearest2d(&i[0], 2)),
    ("interpolate_linear_t, pad_time", &[&[1, 2, 3, 4, 5]], |i| {
        interpolate_linear_t(&pad_time(&i[0], 2, 0, PadMode::Replicate)?)
    }),
    ("max_pool2d", &[&[2, 3, 9, 8]], |i| max_pool2d(&i[0], 3, 2)),
    ("sample_bilinear", &[&[2, 3, 9, 8], &[2, 20, 2]], |i| sample_bilinear(&i[0], &i[1])),
];

/// The result, and the gradient of each input that has one, in single precision on the CPU.
fn run(case: usize, dtype: DType, device: &Device) -> Result<Vec<Vec<f32>>> {
    let (_, shapes, function) = CASES[case];
    let mut vars = Vec::new();
    for (seed, shape) in shapes.iter().enumerate() {
        // Both sides start from the same rounded numbers.
        let values = Rng::new(seed as u64).normal_tensor(*shape, DType::BF16, &Device::Cpu)?;
        vars.push(Var::from_tensor(&values.to_dtype(dtype)?.to_device(device)?)?);
    }
    let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = function(&inputs)?;
    let weights = Rng::new(99).normal_tensor(y.shape(), DType::F32, &Device::Cpu)?;
    let loss = (y.to_dtype(DType::F32)? * weights.to_device(device)?)?.sum_all()?;
    let found = gradients(loss, &vars, None)?;
    let mut all = vec![y];
    all.extend(vars.iter().filter_map(|var| found.get(var).cloned()));
    all.iter()
        .map(|tensor| {
            tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()
        })
        .collect()
}

/// The largest difference relative to the largest value, over result and gradients.
fn difference(given: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    let of = |(given, wanted): (&Vec<f32>, &Vec<f32>)| {
        let largest = wanted.iter().fold(1e-6f32, |largest, value| largest.max(value.abs()));
        given.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
    };
    given.iter().zip(wanted).map(of).fold(0.0, f32::max)
}

fn main() -> Result<()> {
    let device = Device::new_cuda(0)?;
    keep_freed_memory(0)?;
    println!("{:<32}{:>12}{:>12}", "largest relative difference", "f32", "bf16");
    let mut failed = Vec::new();
    for (case, (name, ..)) in CASES.iter().enumerate() {
        let wanted = run(case, DType::F32, &Device::Cpu)?;
        let single = difference(&run(case, DType::F32, &device)?, &wanted);
        // Points between pixels need more than bfloat16 has.
        let half = match *name {
            "sample_bilinear" => 0.0,
            _ => difference(&run(case, DType::BF16, &device)?, &wanted),
        };
        println!("{name:<32}{single:>12.2e}{half:>12.2e}");
        // Tensor cores round single precision to 11 bits.
        if !(single < 3e-3 && half < 5e-2) {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    candle_core::bail!("too far from the CPU: {}", failed.join(", "))
}
