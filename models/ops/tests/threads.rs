//! The number of threads changes no bit.

use candle_core::{DType, Result, Tensor, Var};
use curate_ops::{
    attention, conv3d, gelu_erf, group_norm_silu, layer_norm, layer_norm_modulated, linear,
    max_pool2d, rms_norm, softmax_last_dim, upsample_nearest2d,
};

use crate::support::normal;

/// Bits of the result and of all gradients.
fn bits(
    threads: usize,
    shapes: &[&[usize]],
    function: fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let single =
            |(seed, shape): (usize, &&[usize])| normal(seed as u64, shape).to_dtype(DType::F32);
        let vars: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|input| Var::from_tensor(&single(input).unwrap()).unwrap())
            .collect();
        let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let y = function(&inputs).unwrap();
        let weights = normal(99, y.dims()).to_dtype(DType::F32).unwrap();
        // Not `gradients`, which leaves the pool.
        let store = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let mut all = vec![y];
        all.extend(vars.iter().map(|var| store.get(var).unwrap().clone()));
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.iter().flat_map(flat).map(f32::to_bits).collect()
    })
}

fn check(shapes: &[&[usize]], function: fn(&[Tensor]) -> Result<Tensor>) {
    let one = bits(1, shapes, function);
    for threads in [2, 5] {
        assert!(one == bits(threads, shapes, function), "{threads} threads, {shapes:?}");
    }
}

#[test]
fn products_are_the_same() {
    check(&[&[3, 257, 130], &[190, 130], &[190]], |i| linear(&i[0], &i[1], Some(&i[2])));
    check(&[&[2, 24, 3, 17, 19], &[20, 24, 3, 3, 3], &[20]], |i| {
        conv3d(&i[0], &i[1], Some(&i[2]), [1; 3], [1; 3])
    });
    check(&[&[2, 5, 3, 33, 19], &[20, 5, 3, 3, 3], &[20]], |i| {
        conv3d(&i[0], &i[1], Some(&i[2]), [1, 2, 2], [1; 3])
    });
    for heads in [2, 8] {
        let shape: &[usize] = &[1, heads, 300, 16];
        check(&[shape, shape, shape], |i| attention(&i[0], &i[1], &i[2], None, 0.25));
    }
}

#[test]
fn sums_are_the_same() {
    check(&[&[3, 301, 130], &[130], &[130]], |i| layer_norm(&i[0], Some(&i[1]), Some(&i[2]), 1e-5));
    check(&[&[3, 301, 130], &[3, 130], &[3, 130]], |i| {
        layer_norm_modulated(&i[0], &i[1], &i[2], 1e-5)
    });
    check(&[&[3, 301, 130], &[130]], |i| rms_norm(&i[0], Some(&i[1]), 1e-5));
    check(&[&[2, 12, 3, 41, 37], &[12], &[12]], |i| {
        group_norm_silu(&i[0], 4, Some(&i[1]), Some(&i[2]), 1e-5)
    });
    check(&[&[301, 130]], |i| softmax_last_dim(&i[0]));
    check(&[&[301, 130]], |i| gelu_erf(&i[0]));
    check(&[&[2, 12, 41, 37]], |i| max_pool2d(&upsample_nearest2d(&i[0], 2)?, 3, 2));
}
