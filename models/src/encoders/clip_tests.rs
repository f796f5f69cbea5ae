//! The image tower against transformers, and its files.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{ClipVision, ClipVisionConfig, Picture};
use crate::{
    Weights,
    aesthetic::preprocess::{Preprocess, Recipe},
    params::Params,
    parity::numbers,
    testing::{self, Tensors},
};

const CPU: Device = Device::Cpu;

/// `CLIP_TINY` of `recipes/vision_graphs/vit.py`.
fn tiny() -> ClipVisionConfig {
    ClipVisionConfig {
        image_size: 30,
        patch_size: 7,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        projection_dim: 20,
        ..ClipVisionConfig::default()
    }
}

/// The weights with which transformers made the reference, and some of the half that is passed over.
fn checkpoint() -> Tensors {
    let text = include_str!("../../tests/fixtures/clip_tiny.weights.json");
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(text).unwrap();
    let weight = |(name, shape): (String, Vec<usize>)| {
        let scale = if shape.len() == 2 { 4.0 } else { 1.0 };
        let values = testing::weight(&name, &shape);
        (name, (shape, values.into_iter().map(|value| scale * value).collect()))
    };
    let mut tensors: Tensors = shapes.into_iter().map(weight).collect();
    tensors.extend(testing::tensors(&[("text_model.encoder.layers.0.mlp.fc1.weight", &[3, 4])]));
    tensors
}

fn tower(dtype: DType) -> ClipVision {
    let weights = testing::weights(&checkpoint());
    ClipVision::from_weights(weights, &tiny(), &CPU, dtype).unwrap()
}

fn gap(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn pixels() -> Tensor {
    let values = (0..3).flat_map(|picture| {
        let values = testing::tensor(&format!("pixel_values/{picture}"), 3 * 30 * 30);
        values.into_iter().map(|value| value * 16.0)
    });
    Tensor::from_vec(values.collect(), (3, 3, 30, 30), &CPU).unwrap()
}

#[test]
fn embeddings_are_those_of_transformers() {
    let reference: &'static [u8] = include_bytes!("../../tests/fixtures/clip_tiny.io.safetensors");
    let reference = Weights::from_bytes("the fixture", reference).unwrap();
    let expected: Vec<f64> =
        reference.f32("image_embeds").unwrap().into_iter().map(f64::from).collect();
    let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));

    let found = tower(DType::F32).forward(&pixels()).unwrap();
    assert_eq!(found.dims(), [3, 20]);
    let far = gap(&numbers(&found).unwrap(), &expected);
    assert!(far <= 1e-5 * largest, "{far} of {largest}");
    let half = tower(DType::BF16).forward(&pixels()).unwrap();
    assert_eq!(half.dtype(), DType::BF16);
    let far = gap(&numbers(&half).unwrap(), &expected);
    assert!(far <= 0.05 * largest, "{far} of {largest}");
}

#[test]
fn pictures_are_prepared_and_do_not_see_each_other() {
    let tower = tower(DType::F32);
    let sizes = [(64, 40), (30, 30), (17, 90)];
    let bytes = sizes.map(|(width, height)| testing::picture(1, width, height));
    let pictures: Vec<Picture<'_>> = sizes
        .iter()
        .zip(&bytes)
        .map(|((width, height), rgb)| Picture { rgb, width: *width as u32, height: *height as u32 })
        .collect();
    let all = numbers(&tower.encode(&pictures).unwrap()).unwrap();
    for (index, ((width, height), rgb)) in sizes.into_iter().zip(&bytes).enumerate() {
        let recipe = Recipe { side: 30, ..Recipe::CLIP_224 };
        let mut preprocess = Preprocess::new(&recipe, width, height).unwrap();
        let mut planes = vec![0.0; preprocess.size()];
        preprocess.fill(rgb, &mut planes);
        let alone = tower.forward(&Tensor::from_vec(planes, (1, 3, 30, 30), &CPU).unwrap());
        let alone = numbers(&alone.unwrap()).unwrap();
        assert!(gap(&all[20 * index..20 * (index + 1)], &alone) < 1e-5);
    }
    let short = Picture { rgb: &bytes[0][1..], width: 64, height: 40 };
    let text = tower.encode(&[short]).unwrap_err().to_string();
    assert!(text.contains("are not an RGB picture of 64x40"), "{text}");
}

/// Names and shapes of the published tower: those of the graph that the aesthetic scores run on.
#[test]
fn the_published_tower_has_a_place_for_each_tensor() {
    let shapes: BTreeMap<String, Vec<usize>> =
        serde_json::from_str(include_str!("../../graphs/clip_vit_l14.weights.json")).unwrap();
    let whole = ClipVisionConfig::vit_l14();
    // Narrow, since 300 million numbers are many for their names.
    let narrow = ClipVisionConfig {
        hidden_size: 16,
        intermediate_size: 24,
        projection_dim: 8,
        num_attention_heads: 1,
        ..whole.clone()
    };
    let widths = |config: &ClipVisionConfig| {
        [config.hidden_size, config.intermediate_size, config.projection_dim]
    };
    let narrowed = |size: &usize| {
        let found = widths(&whole).iter().position(|width| width == size);
        found.map_or(*size, |at| widths(&narrow)[at])
    };
    let expected: BTreeMap<String, Vec<usize>> = shapes
        .into_iter()
        .map(|(name, shape)| (name, shape.iter().map(narrowed).collect()))
        .collect();
    let mut params = Params::seeded(0, &CPU);
    params.build(|scope| ClipVision::new(scope, &narrow, &CPU)).unwrap();
    let own: BTreeMap<String, Vec<usize>> =
        params.iter().map(|(name, var, _)| (name.to_owned(), var.dims().to_vec())).collect();
    assert_eq!(own, expected);
}

#[test]
fn a_folder_is_opened_and_what_is_wrong_with_it_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let root = folder.path();
    let open = || ClipVision::open(root, &CPU, DType::F32);
    let text = open().unwrap_err().to_string();
    assert!(text.contains("has no `config.json`"), "{text}");

    let part = root.join("image_encoder");
    std::fs::create_dir(&part).unwrap();
    let tower = r#""hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "image_size": 30, "patch_size": 7, "hidden_act": "quick_gelu""#;
    let config = |text: String| std::fs::write(part.join("config.json"), text).unwrap();
    config(format!(r#"{{"model_type": "clip_vision_model", "projection_dim": 20, {tower}}}"#));
    std::fs::write(part.join("model.safetensors"), testing::checkpoint(&checkpoint())).unwrap();
    let expected = numbers(&self::tower(DType::F32).forward(&pixels()).unwrap()).unwrap();
    let values = |tower: &ClipVision| numbers(&tower.forward(&pixels()).unwrap()).unwrap();
    assert_eq!(values(&open().unwrap()), expected);
    // Of the whole of CLIP, as OpenAI's file is.
    config(format!(
        r#"{{"model_type": "clip", "projection_dim": 20, "vision_config": {{{tower}, "projection_dim": 9}}}}"#
    ));
    assert_eq!(values(&open().unwrap()), expected);

    config(format!(r#"{{"model_type": "clip_vision_model", {tower}}}"#));
    let text = open().unwrap_err().to_string();
    assert!(
        text.contains("`visual_projection.weight` has the shape [20, 24], not [512, 24]"),
        "{text}"
    );
    config(r#"{"model_type": "clip_vision_model", "hidden_act": "gelu"}"#.to_owned());
    let text = open().unwrap_err().to_string();
    assert!(text.contains("`hidden_act` is `gelu`"), "{text}");
    config(r#"{"model_type": "t5"}"#.to_owned());
    let text = open().unwrap_err().to_string();
    assert!(text.contains("`model_type` is `t5`"), "{text}");
}
