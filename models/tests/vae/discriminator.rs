//! The discriminators: that of pictures against PyTorch (`fixtures/patch_discriminator.py`), and
//! gradients of both. That of clips is compared with the released code in `parity.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{DType, Device, Tensor, Var};
use curate_models::{
    params::{Params, ParamsError},
    vae::discriminator::{BatchStats, Discriminator3d, PatchDiscriminator},
};
use curate_ops::{Rng, gradients};

fn fixture() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/patch_discriminator.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn close(found: &Tensor, wanted: &Tensor, what: &str) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    let largest = |tensor: &Tensor| -> f32 {
        tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    };
    let difference = largest(&(found - wanted).unwrap());
    assert!(difference <= 1e-5 * largest(wanted).max(1.0), "{what}: {difference}");
}

#[test]
fn pictures_are_judged_as_pytorch_judges_them() {
    let tensors = fixture();
    let weights: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_owned(), tensor.clone())))
        .collect();
    let mut params = Params::from_tensors("the fixture", weights, &Device::Cpu);
    let network = params.build(|scope| PatchDiscriminator::new(scope, 3, 4)).unwrap();
    assert_eq!(params.report().unexpected, Vec::<String>::new());
    let x = Var::from_tensor(&tensors["x"]).unwrap();
    let y = network.forward(x.as_tensor(), BatchStats::Batch).unwrap();
    close(&y, &tensors["y"], "y");
    let mut vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    assert_eq!(vars.len(), 5 + 2 + 6);
    vars.push(x.clone());
    let loss = y.sqr().unwrap().mean_all().unwrap();
    let found = gradients(loss, &vars, None).unwrap();
    close(found.get(&x).unwrap(), &tensors["grad.x"], "x");
    for (name, var) in params.trained() {
        close(found.get(var).unwrap(), &tensors[&format!("grad.{name}")], name);
    }
    for place in [3, 6, 9] {
        for kind in ["mean", "var"] {
            let name = format!("model.{place}.running_{kind}");
            close(params.get(&name).unwrap(), &tensors[&format!("after.{name}")], &name);
        }
    }
    let y = network.forward(&tensors["x"], BatchStats::Running).unwrap();
    close(&y, &tensors["running"], "with running statistics");
}

#[test]
fn a_frozen_twin_hands_gradients_to_its_input_alone() {
    let mut params = Params::seeded(1, &Device::Cpu);
    let make = |scope: &mut curate_models::params::Scope<'_>| -> Result<_, ParamsError> {
        Discriminator3d::new(scope, 3, &[32, 64])
    };
    let trained = params.build(make).unwrap();
    let frozen = params.build_frozen(make).unwrap();
    let x = Rng::new(2).normal_tensor((1, 3, 4, 16, 16), DType::F32, &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let mut vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let of_params = vars.len();
    vars.push(x.clone());
    let found = |network: &Discriminator3d| {
        let loss = network.forward(x.as_tensor()).unwrap().mean_all().unwrap();
        gradients(loss, &vars, None).unwrap()
    };
    let (of_trained, of_frozen) = (found(&trained), found(&frozen));
    assert!(vars.iter().all(|var| of_trained.get(var).is_some()));
    assert!(vars[..of_params].iter().all(|var| of_frozen.get(var).is_none()));
    close(of_frozen.get(&x).unwrap(), of_trained.get(&x).unwrap(), "x");
    // What is trained is seen by the twin.
    for var in &vars[..of_params] {
        var.set(&(var.as_detached_tensor() * 1.1).unwrap()).unwrap();
    }
    let (a, b) = (trained.forward(&x).unwrap(), frozen.forward(&x).unwrap());
    close(&b, &a, "after a step");
}
