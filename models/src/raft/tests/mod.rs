//! Parity with torchvision, and what the network is given and gives back.

mod generated;

use super::*;
use crate::testing::{runtime, weights};

/// The largest difference in pixels between a result and torchvision's.
const TOLERANCE: f32 = 1e-3;

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(
        0.0,
        |largest, difference| {
            if difference.is_nan() { f32::INFINITY } else { largest.max(difference) }
        },
    )
}

fn raft(runtime: &Runtime, variant: Variant, weights: &Weights, updates: u32) -> Raft {
    Raft::load(runtime, variant, weights, RaftOptions { updates, threads: 2 }).unwrap()
}

/// The output of this name for images that are as the network wants them.
fn output(raft: &mut Raft, images: &[Vec<f32>; 2], size: (usize, usize), name: &str) -> Vec<f32> {
    let shape = [1, 3, size.1, size.0];
    let outputs = infer(&mut raft.session, images, shape, raft.updates).unwrap();
    outputs[name].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

#[test]
fn small_computes_what_torchvision_computes() {
    let Some(folder) = curate_testing::shared("fixtures/raft") else { return };
    let Some(runtime) = runtime() else { return };
    let weights = Weights::open(&folder.join("raft_small.weights.safetensors")).unwrap();
    let expected = Weights::open(&folder.join("raft_small.io.safetensors")).unwrap();
    for updates in [1, 12] {
        let mut raft = raft(&runtime, Variant::Small, &weights, updates);
        for key in ["a", "b"] {
            let images = [1, 2].map(|which| expected.f32(&format!("{key}.img{which}")).unwrap());
            let shape = expected.shape(&format!("{key}.img1")).unwrap();
            let flow = output(&mut raft, &images, (shape[3], shape[2]), "flow");
            let expected = expected.f32(&format!("{key}.flow{updates}")).unwrap();
            let difference = largest_difference(&flow, &expected);
            assert!(difference < TOLERANCE, "{key}, {updates} updates: {difference} px");
        }
    }
}

#[test]
fn large_computes_what_torchvision_computes() {
    let Some(runtime) = runtime() else { return };
    let shapes = serde_json::from_str(Variant::Large.graph().weights).unwrap();
    let generated = weights(&generated::weights(&shapes));
    let file = "models/tests/fixtures/raft_large.io.safetensors";
    let expected = Weights::open(&curate_testing::root().join(file)).unwrap();
    for updates in [1, 12] {
        let mut raft = raft(&runtime, Variant::Large, &generated, updates);
        for (key, width, height) in [("a", 160, 128), ("b", 200, 136)] {
            let pictures = [1, 2].map(|which| generated::picture(which, width, height));
            let [first, second] =
                [0, 1].map(|at| Rgb::new(&pictures[at], width as u32, height as u32).unwrap());
            let flow = raft.flow(&[PairRef { first, second }]).unwrap().remove(0);
            let both = [&flow.u[..], &flow.v].concat();
            let wanted = expected.f32(&format!("{key}.flow{updates}")).unwrap();
            let difference = largest_difference(&both, &wanted);
            assert!(difference < TOLERANCE, "{key}, {updates} updates: {difference} px");

            let mut low = Vec::new();
            let each = |_, view: FlowView<'_>| {
                assert_eq!((view.width, view.height), (width / 8, height / 8));
                low.extend(
                    [view.u, view.v].map(|plane| plane[..view.width * view.height].to_vec()),
                );
            };
            raft.each_flow(&[PairRef { first, second }], Resolution::Eighth, each).unwrap();
            let wanted = expected.f32(&format!("{key}.flow_low{updates}")).unwrap();
            let difference = largest_difference(&low.concat(), &wanted);
            assert!(difference < TOLERANCE, "{key}, low, {updates} updates: {difference} px");
        }
    }
}

/// RAFT-small with weights that were trained, if they are there.
fn trained(runtime: &Runtime) -> Option<Raft> {
    let path = curate_testing::shared("weights")?.join("raft_small.safetensors");
    Some(raft(runtime, Variant::Small, &Weights::open(&path).unwrap(), 6))
}

/// A part of the generated texture, which is what a camera at this place would see.
fn seen_from(x: usize, y: usize, width: usize, height: usize) -> Vec<u8> {
    let world = generated::picture(1, 320, 240);
    let row = |row: usize| world[(row * 320 + x) * 3..(row * 320 + x + width) * 3].to_vec();
    (y..y + height).flat_map(row).collect()
}

#[test]
fn flow_points_where_the_picture_went_at_any_size() {
    let Some(runtime) = runtime() else { return };
    let Some(mut raft) = trained(&runtime) else { return };
    for (width, height) in [(200, 136), (131, 97), (90, 150)] {
        // The camera goes 5 right and 3 up, so the picture goes 5 left and 3 down.
        let (before, after) = (seen_from(40, 40, width, height), seen_from(45, 37, width, height));
        let rgb = |data| Rgb::new(data, width as u32, height as u32).unwrap();
        let pair = PairRef { first: rgb(&before), second: rgb(&after) };
        let flow = raft.flow(&[pair]).unwrap().remove(0);
        assert_eq!((flow.width, flow.height), (width, height));
        let median = |values: &[f32]| {
            let mut values = values.to_vec();
            values.sort_by(f32::total_cmp);
            values[values.len() / 2]
        };
        let (u, v) = (median(&flow.u), median(&flow.v));
        assert!((u + 5.0).abs() < 0.5 && (v - 3.0).abs() < 0.5, "{width}x{height}: {u}, {v}");

        let mut cells = Vec::new();
        let each = |_, view: FlowView<'_>| cells.extend(view.rows().flat_map(|(u, _)| u.to_vec()));
        raft.each_flow(&[pair], Resolution::Eighth, each).unwrap();
        assert!((median(&cells) + 5.0).abs() < 0.5, "{width}x{height}: {}", median(&cells));
    }
}

#[test]
fn a_batch_gives_what_its_pairs_give_alone() {
    let Some(runtime) = runtime() else { return };
    let Some(mut raft) = trained(&runtime) else { return };
    let pictures: Vec<Vec<u8>> =
        (0..4).map(|at| seen_from(20 + 6 * at, 30 + 2 * at, 150, 130)).collect();
    let rgb = |at: usize| Rgb::new(&pictures[at], 150, 130).unwrap();
    let pairs: Vec<PairRef<'_>> =
        (0..3).map(|at| PairRef { first: rgb(at), second: rgb(at + 1) }).collect();
    let together = raft.flow(&pairs).unwrap();
    assert_eq!(together.len(), 3);
    for (pair, together) in pairs.iter().zip(&together) {
        let alone = raft.flow(std::slice::from_ref(pair)).unwrap().remove(0);
        assert!(largest_difference(&alone.u, &together.u) < TOLERANCE);
        assert!(largest_difference(&alone.v, &together.v) < TOLERANCE);
    }
    assert!(raft.flow(&[]).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Rgb::new(&[0; 12], 2, 2).is_ok());
    for (bytes, width, height) in [(11, 2, 2), (0, 0, 5), (0, u32::MAX, u32::MAX)] {
        let error = Rgb::new(&[0; 12][..bytes], width, height).unwrap_err().to_string();
        assert!(error.contains("not an RGB picture"), "{error}");
    }
    let Some(runtime) = runtime() else { return };
    let Some(mut raft) = trained(&runtime) else { return };
    let (large, small) = (vec![0; 3 * 140 * 130], vec![0; 3 * 130 * 140]);
    let first = Rgb::new(&large, 140, 130).unwrap();
    let second = Rgb::new(&small, 130, 140).unwrap();
    let error = raft.flow(&[PairRef { first, second }]).unwrap_err().to_string();
    assert_eq!(error, "pictures of one batch must have one size, not (140, 130) and (130, 140)");

    let shapes = serde_json::from_str(Variant::Large.graph().weights).unwrap();
    let large = weights(&generated::weights(&shapes));
    let error = Raft::load(&runtime, Variant::Small, &large, RaftOptions::default()).unwrap_err();
    assert!(matches!(error, ModelError::Mismatch { network: "RAFT-small", .. }), "{error}");
}
