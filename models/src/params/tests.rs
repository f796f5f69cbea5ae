//! Names, shapes, roles, and what is written and read again.

use std::path::PathBuf;

use super::*;

const CPU: Device = Device::Cpu;

/// A network of two layers and a counter.
fn network(scope: &mut Scope<'_>) -> Result<[Tensor; 3], ParamsError> {
    let first = scope.at("first").get("weight", &[2, 3], Init::torch(3))?;
    let second = scope.at("second").get("weight", &[4], Init::Normal { mean: 0.0, std: 0.5 })?;
    let seen = scope.at("second").buffer("seen", &[1], Init::Zeros)?;
    Ok([first, second, seen.as_tensor().clone()])
}

fn saved(params: &Params) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("network.safetensors");
    params.save(&path, &[("made", "by a test")]).unwrap();
    (folder, path)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_seed_gives_the_same_values_whatever_else_is_asked_for() {
    let mut params = Params::seeded(7, &CPU);
    let [_, second, _] = params.build(network).unwrap();
    let mut other = Params::seeded(7, &CPU);
    let alone = other.build(|scope| {
        scope.at("second").get("weight", &[4], Init::Normal { mean: 0.0, std: 0.5 })
    });
    assert_eq!(values(&second), values(&alone.unwrap()));
    let mut third = Params::seeded(8, &CPU);
    assert_ne!(values(&second), values(&third.build(network).unwrap()[1]));
    let names: Vec<&str> = params.iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["first.weight", "second.seen", "second.weight"]);
    let trained: Vec<&str> = params.trained().map(|(name, _)| name).collect();
    assert_eq!(trained, ["first.weight", "second.weight"]);
}

#[test]
fn drawn_numbers_have_the_moments_that_they_should() {
    let moments = |init: Init| {
        let values = values(&init.tensor(3, "a", &[200_000]).unwrap());
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / 2e5;
        let square = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / 2e5;
        (mean, square.sqrt())
    };
    let (mean, std) = moments(Init::Normal { mean: 0.0, std: 2.0 });
    assert!(mean.abs() < 0.02 && (std - 2.0).abs() < 0.02, "{mean} {std}");
    let (mean, std) = moments(Init::Uniform { bound: 3.0 });
    assert!(mean.abs() < 0.02 && (std - 3.0 / 3.0_f64.sqrt()).abs() < 0.02, "{mean} {std}");
}

#[test]
fn what_is_saved_is_read_again_and_reported() {
    let mut params = Params::seeded(7, &CPU);
    let made = params.build(network).unwrap();
    let (_folder, path) = saved(&params);
    let mut read = Params::from_weights(Weights::open(&path).unwrap(), &CPU);
    let again = read.build(network).unwrap();
    for (made, again) in made.iter().zip(&again) {
        assert_eq!(values(made), values(again));
    }
    assert_eq!(read.report().matched.len(), 3);
    assert_eq!(read.report().unexpected, Vec::<String>::new());

    // A larger network: what is missing is drawn if that was asked for, and an error otherwise.
    let larger = |scope: &mut Scope<'_>| {
        scope.ignore("second.seen");
        scope.at("first").get("weight", &[2, 3], Init::Zeros)?;
        scope.at("third").get("weight", &[5], Init::Ones)
    };
    let mut read = Params::from_weights(Weights::open(&path).unwrap(), &CPU).or_seeded(1);
    assert_eq!(values(&read.build(larger).unwrap()), [1.0; 5]);
    let report = read.report();
    assert_eq!(report.missing, ["third.weight"]);
    assert_eq!(report.unexpected, ["second.weight"]);
    let mut read = Params::from_weights(Weights::open(&path).unwrap(), &CPU);
    let error = read.build(larger).unwrap_err().to_string();
    assert!(error.contains("`third.weight` is missing"), "{error}");
}

#[test]
fn every_misfit_is_named_with_both_shapes() {
    let mut params = Params::seeded(7, &CPU);
    params.build(network).unwrap();
    let (_folder, path) = saved(&params);
    let mut read = Params::from_weights(Weights::open(&path).unwrap(), &CPU);
    let wrong = |scope: &mut Scope<'_>| {
        scope.at("first").get("weight", &[3, 3], Init::Zeros)?;
        scope.at("second").get("weight", &[5], Init::Zeros)
    };
    let error = read.build(wrong).unwrap_err().to_string();
    assert!(error.contains("`first.weight` has the shape [2, 3], not [3, 3]"), "{error}");
    assert!(error.contains("`second.weight` has the shape [4], not [5]"), "{error}");
    assert!(error.contains("network.safetensors"), "{error}");
    // A name that two parts of a network share must have one shape.
    let error = params.build(wrong).unwrap_err().to_string();
    assert!(error.contains("`first.weight` has the shape [2, 3], not [3, 3]"), "{error}");
}

#[test]
fn a_file_that_is_cut_off_names_the_tensor() {
    let mut params = Params::seeded(7, &CPU);
    params.build(network).unwrap();
    let (_folder, path) = saved(&params);
    let bytes = std::fs::read(&path).unwrap();
    // The last of the file is the last by name.
    std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let error = Weights::open(&path).unwrap_err().to_string();
    assert!(error.contains("cut off") && error.contains("`second.weight`"), "{error}");
    assert!(error.contains("[4]"), "{error}");
}

#[test]
fn frozen_tensors_get_no_gradient_and_are_still_set() {
    let mut params = Params::seeded(7, &CPU);
    params.set_role("first.*", Role::Frozen);
    params.set_role("*.weight", Role::Frozen);
    params.set_role("second*", Role::Trained);
    let [first, second, _] = params.build(network).unwrap();
    params.check_patterns().unwrap();
    let trained: Vec<&str> = params.trained().map(|(name, _)| name).collect();
    assert_eq!(trained, ["second.weight"]);
    let loss = (first.sum_all().unwrap() * second.sum_all().unwrap()).unwrap();
    let gradients = loss.backward().unwrap();
    assert!(gradients.get(params.get("second.weight").unwrap()).is_some());
    assert!(gradients.get(params.get("first.weight").unwrap()).is_none());

    // Networks see what is restored, frozen or not.
    let mut other = Params::seeded(8, &CPU);
    let [wanted, ..] = other.build(network).unwrap();
    let (_folder, path) = saved(&other);
    params.restore(&Weights::open(&path).unwrap()).unwrap();
    assert_eq!(values(&first), values(&wanted));

    params.set_role("thrid.*", Role::Frozen);
    let error = params.check_patterns().unwrap_err().to_string();
    assert!(error.contains("`thrid.*`") && error.contains("first, second"), "{error}");
}

#[test]
fn what_a_network_asks_for_is_known_without_a_tensor() {
    let mut params = Params::seeded(7, &CPU);
    params.build(network).unwrap();
    let made = params.iter().map(|(name, var, _)| (name.to_owned(), var.dims().to_vec()));
    assert_eq!(Params::asked(network).unwrap(), made.collect());
}

#[test]
fn patterns_fit_whole_names() {
    for (pattern, name, wanted) in [
        ("a.b", "a.b", true),
        ("a.b", "a.bc", false),
        ("*", "anything", true),
        ("a.*", "a.b.c", true),
        ("*.c", "a.b.c", true),
        ("a*c", "ac", true),
        ("a*b*c", "a.c.b.c", true),
        ("*b*", "a.c", false),
        ("ab*ba", "aba", false),
    ] {
        assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
    }
}
