//! `curate train dit` of a network that is given frames and images: it learns from both, and the finished
//! model has its image tower.

use std::{fs, path::Path};

use curate_models::{
    Weights,
    generate::{Place, Tensor},
    params::save_tensors,
};

use crate::{
    training::train,
    training_dit::set,
    util::{Folder, curate},
};

const WIDTH: usize = 16;

/// A CLIP tower of one layer over 32x32 pixels, with weights that differ from each other.
fn write_tower(folder: &Path) {
    let config = format!(
        "{{\"model_type\": \"clip_vision_model\", \"hidden_size\": {WIDTH}, \"intermediate_size\": 24, \
         \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"projection_dim\": 768, \
         \"image_size\": 32, \"patch_size\": 16}}"
    );
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("visual_projection.weight".into(), vec![768, WIDTH]),
        ("vision_model.embeddings.patch_embedding.weight".into(), vec![WIDTH, 3, 16, 16]),
        ("vision_model.embeddings.class_embedding".into(), vec![WIDTH]),
        ("vision_model.embeddings.position_embedding.weight".into(), vec![5, WIDTH]),
    ];
    let mut pair = |name: &str, shape: Vec<usize>| {
        shapes.push((format!("vision_model.{name}.bias"), vec![shape[0]]));
        shapes.push((format!("vision_model.{name}.weight"), shape));
    };
    for norm in ["pre_layrnorm", "post_layernorm"] {
        pair(norm, vec![WIDTH]);
    }
    for norm in ["layer_norm1", "layer_norm2"] {
        pair(&format!("encoder.layers.0.{norm}"), vec![WIDTH]);
    }
    for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        pair(&format!("encoder.layers.0.self_attn.{name}"), vec![WIDTH, WIDTH]);
    }
    pair("encoder.layers.0.mlp.fc1", vec![24, WIDTH]);
    pair("encoder.layers.0.mlp.fc2", vec![WIDTH, 24]);
    let device = Place::parse("cpu", "f32").unwrap().device;
    let tensors: Vec<(String, Tensor)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|at| (at as f32 * 0.7).sin() * 0.3).collect();
            let tensor = Tensor::from_vec(values, shape, &device).unwrap();
            (name, tensor)
        })
        .collect();
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    save_tensors(&folder.join("model.safetensors"), tensors, &[]).unwrap();
}

fn file(folder: &Folder, out: &str, more: &str, data: &str) -> String {
    let text = format!(
        "out = '{}'\nstage = 'full'\nsteps = 3\nseed = 5\nheld_out = 0.0\n\
         optimizer = {{ learning_rate = 1e-3 }}\nschedule = {{ warmup_steps = 0 }}\n\
         guidance = {{ known = 1.0, clip_dropout = 0.0 }}\n\
         data = {{ table = '{}', size = 64, frames = 8, batch = 2, {data} }}\n\
         [model]\npreset = 'tiny'\nlayers = 2\nsample_size = 8\nvae = '{}'\nfps = 8.0\n{more}",
        folder.text(out),
        folder.text("table"),
        folder.text("vae.safetensors"),
    );
    let path = folder.path(&format!("{out}.toml"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_network_of_twelve_channels_learns_from_images() {
    let Some(folder) = set() else { return };
    write_tower(&folder.path("clip"));
    let image = format!("image = '{}'", folder.text("clip"));
    let made = train("dit", &file(&folder, "dit", &image, "cache = 'off'"), 2);
    assert_eq!(made.code, Some(0), "{}", made.err);
    // Both begin as zero, and learn from nothing but what they are shown.
    let model = Weights::open(&folder.path("dit/model/transformer.safetensors")).unwrap();
    let moved = |name: &str| model.f32(name).unwrap().iter().any(|value| *value != 0.0);
    assert!(moved("clip_projection.linear_2.weight"), "no image was seen");
    assert!(folder.path("dit/model/image_encoder/config.json").exists());

    // The model is used with its tower, and going on from it needs no other word.
    let picture = folder.text("start.png");
    let clip = |name: &str, more: &[&str]| {
        let (model, out) = (folder.text("dit/model"), folder.text(name));
        let args = ["generate", "a circle", "--model", &model, "--steps", "2", "-o", &out];
        let made = curate(&[&args, more].concat());
        assert_eq!(made.code, Some(0), "{}", made.err);
        fs::read(folder.path(name)).unwrap()
    };
    let still = ["generate", "a square", "--model", &folder.text("dit/model"), "--frames", "1"];
    let still = curate(&[&still[..], &["--steps", "2", "-o", &picture]].concat());
    assert_eq!(still.code, Some(0), "{}", still.err);
    assert!(clip("shown.gif", &["--start", &picture]) != clip("plain.gif", &[]));

    let plain = train("dit", &file(&folder, "plain", "", "cache = 'off'"), 2);
    assert_eq!(plain.code, Some(0), "{}", plain.err);
    assert!(plain.err.contains("no image tower"), "{}", plain.err);
    let narrow = file(&folder, "narrow", &format!("in_channels = 4\n{image}"), "cache = 'off'");
    let narrow = train("dit", &narrow, 2);
    assert!(narrow.code == Some(2) && narrow.err.contains("narrow.toml"), "{}", narrow.err);
    let cached = train("dit", &file(&folder, "cached", "", "cache = 'auto'"), 2);
    assert!(cached.code == Some(2) && cached.err.contains("`guidance.known`"), "{}", cached.err);
}
