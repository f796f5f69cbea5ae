//! Files of adapters, and what `peft` made of the same layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor};

use super::{CPU, base, bits, gap, largest, of_rank, output, stirred};
use crate::{
    Weights,
    lora::{Format, Lora, LoraConfig},
    params::save_tensors,
};

#[test]
fn both_formats_come_back_as_they_were() {
    let mut params = base();
    let targets = vec!["*attn1*".to_owned(), "proj_out".to_owned(), "long_connect_fc.*".to_owned()];
    let lora = stirred(&params, &LoraConfig { targets, ..of_rank(3) }, 1);
    params.adapt(&lora, 1.0).unwrap();
    let expected = output(&mut params);
    let folder = tempfile::TempDir::new().unwrap();
    for (format, name) in [(Format::Kohya, "lora.safetensors"), (Format::Peft, "lora")] {
        let path = folder.path().join(name);
        lora.save(&path, format, DType::F32).unwrap();
        let (again, report) = Lora::open(&path, &params).unwrap();
        assert_eq!((report.format, report.layers), (format, lora.layers().count()));
        assert!(report.silent.is_empty());
        assert!(bits(again.params()) == bits(lora.params()));
        assert!(again.layers().eq(lora.layers()));
        // What was read is not trained until it is said so.
        assert_eq!(again.params().trained().count(), 0);
        params.remove_adapters();
        params.adapt(&again, 1.0).unwrap();
        assert_eq!(gap(&output(&mut params), &expected), 0.0, "{format:?}");
    }
    let keys: Vec<String> = Weights::open(&folder.path().join("lora.safetensors"))
        .unwrap()
        .names()
        .map(str::to_owned)
        .collect();
    assert_eq!(keys[0], "lora_unet__long_connect_fc_0.alpha");
    assert!(
        keys.contains(&"lora_unet__transformer_blocks_0_attn1_to_q.lora_down.weight".to_owned())
    );
    // `proj_out` is the end of other layers' names as well, so PEFT is told by a regular expression.
    let text = std::fs::read_to_string(folder.path().join("lora/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(config["target_modules"].as_str().unwrap().contains(r"|proj_out|"), "{text}");
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(3), Some(4.5)));
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft")
}

/// Adapters that `peft` 0.21 saved: the same layers, shapes, scales and results.
#[test]
fn what_peft_saved_is_read_as_peft_means_it() {
    let params = base();
    let text = std::fs::read_to_string(fixture().join("layers.json")).unwrap();
    let layers: BTreeMap<String, (usize, usize)> = serde_json::from_str(&text).unwrap();
    let own: BTreeMap<String, (usize, usize)> =
        params.layers().map(|(name, sizes)| (name.to_owned(), sizes)).collect();
    assert_eq!(own, layers);

    let (lora, report) = Lora::open(&fixture(), &params).unwrap();
    assert_eq!((report.format, report.layers), (Format::Peft, 18));
    assert!(report.silent.is_empty());
    let io = Weights::open(&fixture().join("io.safetensors")).unwrap();
    let tensor = |name: &str| {
        Tensor::from_vec(io.f32(name).unwrap(), io.shape(name).unwrap(), &CPU).unwrap()
    };
    let adapters: BTreeMap<_, _> = lora.adapters(&params, 1.0).unwrap().into_iter().collect();
    let before = bits(&params);
    let weight =
        |name: &str| params.get(&format!("{name}.weight")).unwrap().as_tensor().copy().unwrap();
    let compared: Vec<&str> = io.names().filter_map(|name| name.strip_suffix(".x")).collect();
    assert_eq!(compared.len(), 4);
    for name in &compared {
        let (x, change) = (tensor(&format!("{name}.x")), tensor(&format!("{name}.change")));
        let far = gap(&adapters[*name].forward(&x).unwrap(), &change);
        assert!(far <= 1e-5 * largest(&change).max(1.0), "{name}: {far}");
        let was = weight(name);
        let merged = lora.merge(&params, 1.0).unwrap();
        let far = gap(&(weight(name) - was).unwrap(), &tensor(&format!("{name}.delta")));
        assert!(far <= 1e-6, "{name}: {far}");
        merged.undo().unwrap();
    }
    assert!(bits(&params) == before);

    // Written again, names and shapes are those of `peft`.
    let folder = tempfile::TempDir::new().unwrap();
    lora.save(folder.path(), Format::Peft, DType::F32).unwrap();
    let shapes = |folder: &Path| -> BTreeMap<String, Vec<usize>> {
        let weights = Weights::open(&folder.join("adapter_model.safetensors")).unwrap();
        weights
            .names()
            .map(|name| (name.to_owned(), weights.shape(name).unwrap().to_vec()))
            .collect()
    };
    assert_eq!(shapes(folder.path()), shapes(&fixture()));
    // And so is the form of what stands beside them.
    let keys = |folder: &Path| -> BTreeSet<String> {
        let text = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
        let config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        config.keys().cloned().collect()
    };
    assert!(keys(folder.path()).is_subset(&keys(&fixture())));
}

#[test]
fn what_fits_no_layer_is_an_error_that_names_it() {
    let params = base();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("lora.safetensors");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU).unwrap();
    let open = |tensors: &[(&str, Tensor)]| {
        save_tensors(&path, tensors.iter().map(|(name, tensor)| (*name, tensor)), &[]).unwrap();
        Lora::open(&path, &params)
    };
    let text = |tensors: &[(&str, Tensor)]| open(tensors).unwrap_err().to_string();
    let (down, up) = ("lora_unet__proj_out.lora_down.weight", "lora_unet__proj_out.lora_up.weight");
    let good = [(down, zeros(&[2, 32])), (up, zeros(&[32, 2]))];

    // Zeros are no error, and are said.
    let (lora, report) = open(&good).unwrap();
    assert!(report.is_silent() && report.silent == ["proj_out"]);
    // Without an alpha, kohya's files mean the rank.
    assert_eq!(lora.layers().next(), Some(("proj_out", 2, 2.0)));

    let far = ("lora_unet__elsewhere.lora_down.weight", zeros(&[2, 32]));
    let found = text(&[&good[..], &[far]].concat());
    assert!(found.contains("`lora_unet__elsewhere.lora_down.weight` is unknown"), "{found}");
    let found = text(&[&good[..], &[("lora_unet__proj_out.dora_scale", zeros(&[1]))]].concat());
    assert!(found.contains("dora_scale` is unknown"), "{found}");
    let found = text(&good[..1]);
    assert!(found.contains(&format!("`{up}` is missing")), "{found}");
    let found = text(&[(down, zeros(&[2, 31])), (up, zeros(&[32, 3]))]);
    assert!(found.contains(&format!("`{down}` has the shape [2, 31], not [2, 32]")), "{found}");
    assert!(found.contains(&format!("`{up}` has the shape [32, 3], not [32, 2]")), "{found}");
    let found = text(&[("x", zeros(&[1]))]);
    assert!(found.contains("is no LoRA"), "{found}");
    let found = text(&[("base_model.model.proj_out.lora_A.weight", zeros(&[2, 32]))]);
    assert!(found.contains("adapter_config.json") && found.contains("copy it"), "{found}");

    // PEFT's configuration must be of plain adapters, and agree with the tensors.
    let folder = tempfile::TempDir::new().unwrap();
    let with = |from: &str, to: &str| {
        let name = "adapter_config.json";
        let text = std::fs::read_to_string(fixture().join(name)).unwrap();
        assert!(text.contains(from));
        std::fs::write(folder.path().join(name), text.replace(from, to)).unwrap();
        let tensors = "adapter_model.safetensors";
        std::fs::copy(fixture().join(tensors), folder.path().join(tensors)).unwrap();
        Lora::open(folder.path(), &params).unwrap_err().to_string()
    };
    let found = with("\"use_dora\": false", "\"use_dora\": true");
    assert!(found.contains("`use_dora` is set"), "{found}");
    let found = with("\"r\": 2", "\"r\": 4");
    assert!(found.contains("is 4 here, its tensors' 2"), "{found}");
    let found = with("\"LORA\"", "\"LOHA\"");
    assert!(found.contains("`LOHA`, not `LORA`"), "{found}");
}
