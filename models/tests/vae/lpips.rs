//! LPIPS against PyTorch (`fixtures/lpips.py`), and what it does where PyTorch gives no number.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{DType, Tensor, Var};
use curate_models::{hub::Hub, params::Params, vae::lpips::Lpips};
use curate_ops::gradients;

use super::{CPU, difference};

fn fixture() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lpips.safetensors");
    candle_core::safetensors::load(path, &CPU).unwrap()
}

fn network(tensors: &HashMap<String, Tensor>) -> Lpips {
    let weights: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_owned(), tensor.clone())))
        .collect();
    let mut params = Params::from_tensors("the fixture", weights, &CPU);
    let network = params.build_frozen(|scope| Lpips::new(scope, 4)).unwrap();
    assert_eq!(params.report().unexpected, Vec::<String>::new());
    assert_eq!(params.report().matched.len(), 2 * 13 + 5);
    network
}

#[test]
fn distances_and_gradients_are_those_of_pytorch() {
    let tensors = fixture();
    let network = network(&tensors);
    let b = Var::from_tensor(&tensors["b"]).unwrap();
    let y = network.forward(&tensors["a"], b.as_tensor()).unwrap();
    assert!(difference(&y, &tensors["y"]) < 1e-5, "{y} {}", tensors["y"]);
    let found = gradients(y.sum_all().unwrap(), std::slice::from_ref(&b), None).unwrap();
    let wanted = &tensors["grad.b"];
    let largest = difference(wanted, &wanted.zeros_like().unwrap());
    assert!(difference(found.get(&b).unwrap(), wanted) < 1e-4 * largest, "of {largest}");
}

#[test]
fn equal_pictures_are_at_no_distance_and_blind_features_give_no_nan() {
    let mut tensors = fixture();
    let a = tensors["a"].clone();
    let y = network(&tensors).forward(&a, &a).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(y, [0.0, 0.0]);
    // A layer that sees nothing: all its features are zero.
    for part in ["weight", "bias"] {
        let tensor = tensors.get_mut(&format!("w.features.5.{part}")).unwrap();
        *tensor = Tensor::full(-1.0_f32, tensor.shape(), &CPU).unwrap();
    }
    let b = Var::from_tensor(&tensors["b"]).unwrap();
    let y = network(&tensors).forward(&a, b.as_tensor()).unwrap();
    let found = gradients(y.sum_all().unwrap(), std::slice::from_ref(&b), None).unwrap();
    let sum =
        found.get(&b).unwrap().abs().unwrap().sum_all().unwrap().to_dtype(DType::F32).unwrap();
    assert!(sum.to_scalar::<f32>().unwrap().is_finite());
}

#[test]
fn a_hub_without_the_weights_says_how_to_pull_them() {
    let empty = tempfile::tempdir().unwrap();
    let hub = Hub::open(empty.path().join("hub")).unwrap();
    let missing = Lpips::from_hub(&hub, &CPU).unwrap().unwrap_err();
    let text = missing.to_string();
    assert!(text.contains("curate models pull lpips-vgg16"), "{text}");
}
