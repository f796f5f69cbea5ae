//! Gradients: that they reach what is trained, and nothing else.

use candle_core::Var;
use curate_models::{
    params::{Params, Role},
    vae::{SliceVae, parity},
};
use curate_ops::{GradSink, gradients};

use super::{CPU, difference, made, noise, small};

#[test]
fn every_trained_tensor_gets_a_gradient() {
    for (preset, frames) in [("tiny", 17), ("tiny-carried", 17)] {
        for config in [small(preset), small("tiny").as_magvit()] {
            let frames = if config.latents(frames).is_ok() { frames } else { 18 };
            let (vae, params) = made(&config);
            let x = noise(&[1, 3, frames, 16, 16], 1);
            let posterior = vae.encode(&x).unwrap();
            let z = posterior.sample(&noise(posterior.mode().dims(), 2)).unwrap();
            let loss = (vae.decode(&z).unwrap() - &x).unwrap().sqr().unwrap().mean_all().unwrap();
            let loss = (loss + (posterior.divergence().unwrap() * 1e-3).unwrap()).unwrap();
            let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
            assert_eq!(vars.len(), params.iter().count());
            let found = gradients(loss, &vars, None).unwrap();
            for (name, var) in params.trained() {
                let gradient = found.get(var).unwrap_or_else(|| panic!("{name} has none"));
                let largest: f32 = gradient
                    .abs()
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .max(0)
                    .unwrap()
                    .to_scalar()
                    .unwrap();
                // Softmax does not see what is added to all keys.
                assert!(
                    largest.is_finite() && (largest > 0.0 || name.ends_with("to_k.bias")),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn passes_that_are_run_again_give_the_same_gradients() {
    for (preset, frames) in [("tiny", 17), ("tiny-carried", 17)] {
        let (vae, params) = made(&small(preset));
        let x = noise(&[1, 3, frames, 16, 16], 1);
        let n = noise(&[1, 4, vae.config().latents(frames).unwrap(), 2, 2], 2);
        let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
        let sink = GradSink::new();
        let kept = gradients(parity::loss(&vae, &x, &n, 1e-3).unwrap(), &vars, None).unwrap();
        let again = vae.recomputing(&params, &sink);
        let loss = parity::loss(&again, &x, &n, 1e-3).unwrap();
        let again = gradients(loss, &vars, Some(&sink)).unwrap();
        for (name, var) in params.trained() {
            let (kept, again) = (kept.get(var).unwrap(), again.get(var).unwrap());
            let size = kept.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(difference(kept, again) <= 1e-5 * size.max(1e-3), "{preset} {name}");
        }
    }
}

#[test]
fn a_frozen_encoder_gets_no_gradient_and_the_decoder_does() {
    let config = small("tiny");
    let mut params = Params::seeded(5, &CPU);
    for pattern in ["encoder.*", "quant_conv.*"] {
        params.set_role(pattern, Role::Frozen);
    }
    let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    params.check_patterns().unwrap();
    assert!(
        params.trained().all(|(name, _)| {
            name.starts_with("decoder.") || name.starts_with("post_quant_conv.")
        })
    );
    let x = noise(&[1, 3, 1, 16, 16], 1);
    let posterior = vae.encode(&x).unwrap();
    assert!(!posterior.mode().track_op());
    let loss = vae.decode(posterior.mode()).unwrap().sqr().unwrap().mean_all().unwrap();
    let vars: Vec<Var> = params.iter().map(|(_, var, _)| var.clone()).collect();
    let found = gradients(loss, &vars, None).unwrap();
    for (name, var, role) in params.iter() {
        assert_eq!(found.get(var).is_some(), role == Role::Trained, "{name}");
    }
}
