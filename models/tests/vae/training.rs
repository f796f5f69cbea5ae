//! Gradients: that they reach what is trained, and nothing else.

use candle_core::Var;
use curate_models::{
    params::{Params, Role},
    vae::{Cut, SliceVae, parity},
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
fn a_graph_that_is_cut_gives_the_same_gradients() {
    for (preset, frames) in [("tiny", 17), ("tiny-carried", 17)] {
        let (vae, params) = made(&small(preset));
        let x = noise(&[1, 3, frames, 16, 16], 1);
        let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
        let latents = |vae: &SliceVae| vae.encode(&x).unwrap().mode().clone();
        let apart = |y: candle_core::Tensor| (y - &x).unwrap().sqr().unwrap().sum_all().unwrap();
        let wanted = apart(vae.decode(&latents(&vae)).unwrap());
        let wanted = gradients(wanted, &vars, None).unwrap();
        let sink = GradSink::new();
        for is_run_again in [false, true] {
            let cut = Cut::new();
            let vae = vae.cut(&cut);
            let vae = if is_run_again { vae.recomputing(&params, &sink) } else { vae };
            let y = vae.decode(&latents(&vae)).unwrap();
            let joins = cut.take();
            assert_eq!(joins.len(), 3);
            let last = params.get(SliceVae::LAST_WEIGHT).unwrap();
            let mut behind: Vec<Var> = joins.iter().map(|join| join.leaf.clone()).collect();
            behind.extend([last.clone(), params.get("decoder.conv_out.bias").unwrap().clone()]);
            let first = gradients(apart(y), &behind, None).unwrap();
            let mut back: Option<candle_core::Tensor> = None;
            for join in &joins {
                let part = join.carry_back(first.get(&join.leaf).unwrap()).unwrap();
                back = Some(match back {
                    None => part,
                    Some(back) => (back + part).unwrap(),
                });
            }
            let mut found = gradients(back.unwrap(), &vars, Some(&sink)).unwrap();
            assert!(found.get(last).is_none());
            found.add_all(&behind, &first).unwrap();
            for (name, var) in params.trained() {
                let (found, wanted) = (found.get(var).unwrap(), wanted.get(var).unwrap());
                let largest = difference(wanted, &wanted.zeros_like().unwrap());
                assert!(difference(found, wanted) <= 1e-6 * largest.max(1e-3), "{name}");
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
