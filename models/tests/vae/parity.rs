//! The Slice VAE against the released code, and what the comparison sees when something is broken.

use std::path::PathBuf;

use curate_models::{
    params::Params,
    parity::Row,
    vae::{Chunking, MidAttention, NormOver, VaeConfig, parity},
};

fn folder() -> Option<PathBuf> {
    curate_testing::shared("fixtures/easyanimate_v3")
}

fn all_hold(rows: &[Row]) {
    let failing: Vec<&Row> = rows.iter().filter(|row| !row.passes()).collect();
    assert!(failing.is_empty(), "{failing:#?}");
}

/// The names of rows that a change of the configuration breaks.
fn broken(change: impl FnOnce(&mut VaeConfig)) -> Vec<String> {
    let folder = folder().unwrap();
    let (mut config, mut params): (VaeConfig, Params) = parity::reference(&folder).unwrap();
    change(&mut config);
    let mut rows = parity::videos(&folder, &config, &mut params).unwrap();
    rows.extend(parity::magvit(&folder, &config, &mut params).unwrap());
    // Broken, and not merely absent.
    let is_broken = |row: &Row| row.difference.is_finite() && row.difference > 5.0 * row.bound;
    rows.iter().filter(|row| is_broken(row)).map(|row| row.name.clone()).collect()
}

#[test]
fn outputs_are_those_of_the_released_code() {
    let Some(folder) = folder() else { return };
    let (config, mut params) = parity::reference(&folder).unwrap();
    let rows = parity::outputs(&folder, &config, &mut params).unwrap();
    assert_eq!(rows.len(), 20);
    all_hold(&rows);
    let report = params.report();
    assert_eq!(report.matched.len(), 244);
    assert_eq!((report.missing.len(), report.unexpected.len()), (0, 0));
}

#[test]
fn gradients_and_training_steps_are_those_of_the_released_code() {
    let Some(folder) = folder() else { return };
    let (config, mut params) = parity::reference(&folder).unwrap();
    let rows = parity::gradient_rows(&folder, &config, &mut params).unwrap();
    assert_eq!(rows.len(), 106);
    all_hold(&rows);
    all_hold(&parity::step_rows(&folder, &config, &mut params).unwrap());
}

#[test]
fn the_comparison_sees_attention_over_single_frames() {
    if folder().is_none() {
        return;
    }
    let broken = broken(|config| config.attention = MidAttention::Frame);
    // A single frame is attended to as before; whatever has two is not.
    for name in ["encode T=8", "encode T=25", "decode F=2", "decode F=7"] {
        assert!(broken.contains(&format!("slice_vae {name}")), "{name}: {broken:?}");
    }
    assert!(broken.contains(&"magvit decode T=9".to_owned()), "{broken:?}");
    assert!(!broken.contains(&"slice_vae decode F=1".to_owned()), "{broken:?}");
}

#[test]
fn the_comparison_sees_that_neighbours_are_missing() {
    if folder().is_none() {
        return;
    }
    let broken = broken(|config| {
        config.chunking = Chunking::Slice { frames: 8, latents: 2, neighbours: false };
    });
    assert_eq!(broken, ["slice_vae decode F=4", "slice_vae decode F=7"]);
}

#[test]
fn the_comparison_sees_causal_padding_in_place_of_zeros() {
    if folder().is_none() {
        return;
    }
    let broken = broken(|config| *config = config.as_magvit());
    for name in ["encode T=1", "encode T=9", "decode F=1", "decode F=3"] {
        assert!(broken.contains(&format!("slice_vae {name}")), "{name}: {broken:?}");
    }
    assert!(!broken.iter().any(|name| name.starts_with("magvit")), "{broken:?}");
}

#[test]
fn the_comparison_sees_norms_over_single_frames() {
    if folder().is_none() {
        return;
    }
    let broken = broken(|config| config.norms = NormOver::Frame);
    assert!(broken.contains(&"slice_vae encode T=8".to_owned()), "{broken:?}");
}
