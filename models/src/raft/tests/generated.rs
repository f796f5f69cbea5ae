//! Weights and pictures from a rule instead of a file: `recipes/raft_graphs/README.md` states it,
//! and its Python twin made what torchvision computed from them.

use std::collections::BTreeMap;

pub(super) use crate::testing::picture;
use crate::testing::{Tensors, fnv1a, hash, weight};

/// Weights of these names and shapes.
pub(super) fn weights(shapes: &BTreeMap<String, Vec<usize>>) -> Tensors {
    shapes
        .iter()
        .map(|(name, shape)| (name.clone(), (shape.clone(), tensor(name, shape))))
        .collect()
}

fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let gain = match name {
        _ if name.starts_with("update_block.flow_head.conv2.") => 0.25,
        _ if name.starts_with("mask_predictor.conv.") => 4.0,
        _ => 1.0,
    };
    weight(name, shape).into_iter().map(|value| gain * value).collect()
}

#[test]
fn the_rule_is_the_one_of_its_python_twin() {
    assert_eq!([hash(0, 0), hash(0, 1)], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    assert_eq!(fnv1a("feature_encoder.conv.weight"), 0x4a4f_700e_341a_28e4);
    let bits = |name: &str, shape: &[usize]| {
        let values = tensor(name, shape);
        [values[0], values[1], values[values.len() - 1]].map(f32::to_bits)
    };
    for (name, shape, expected) in [
        (
            "feature_encoder.convnormrelu.0.weight",
            &[64, 3, 7, 7][..],
            [0x3db0_587c, 0xbde4_5ee8, 0xbd65_8d6e],
        ),
        (
            "context_encoder.convnormrelu.1.running_var",
            &[64],
            [0x3f70_725b, 0x3f86_2b54, 0x3f58_1299],
        ),
        ("mask_predictor.conv.bias", &[576], [0x3ea7_870e, 0x3ed2_59f4, 0xbe60_892c]),
        (
            "update_block.flow_head.conv2.weight",
            &[2, 256, 3, 3],
            [0x3baf_1123, 0xbbd7_667b, 0xbc05_66c4],
        ),
    ] {
        assert_eq!(bits(name, shape), expected, "{name}");
    }
    let (first, second) = (picture(1, 160, 128), picture(2, 160, 128));
    let levels = |rgb: &[u8]| rgb.iter().step_by(3).take(6).copied().collect::<Vec<_>>();
    let sum = |rgb: &[u8]| rgb.iter().map(|level| u64::from(*level)).sum::<u64>();
    assert_eq!((levels(&first), sum(&first)), (vec![140, 137, 159, 149, 140, 167], 7_606_990));
    assert_eq!((levels(&second), sum(&second)), (vec![129, 113, 119, 134, 133, 144], 7_623_872));
}
