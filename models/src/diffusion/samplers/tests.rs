//! Laws that hold for every sampler.

use candle_core::{Device, Tensor};
use curate_ops::Rng;

use super::{Call, Prediction, SamplerConfig, SamplerKind, Schedule};
use crate::diffusion::NoiseSource as _;

fn noise(seed: u64) -> Tensor {
    let like = Tensor::zeros((1, 2, 2, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    Rng::new(seed).like(&like).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
}

fn predictions(kind: SamplerKind) -> &'static [Prediction] {
    match kind {
        SamplerKind::FlowEuler => &[Prediction::Flow],
        _ => &[Prediction::Epsilon, Prediction::Velocity],
    }
}

/// What a model that knows the clean sample says. Samplers differ in what their state is, so the
/// input tells the share of noise: it is worked out from the time.
fn oracle(config: &SamplerConfig, input: &Tensor, x0: &Tensor, time: f64) -> Tensor {
    let schedule = Schedule::default();
    let (signal, share) = match config.prediction {
        Prediction::Flow => (1.0 - time / 1000.0, time / 1000.0),
        _ => {
            let sigma = schedule.sigma(time);
            (sigma.hypot(1.0).recip(), sigma / sigma.hypot(1.0))
        }
    };
    let eps = ((input - (x0 * signal).unwrap()).unwrap() / share).unwrap();
    match config.prediction {
        Prediction::Epsilon => eps,
        Prediction::Velocity => ((eps * signal).unwrap() - (x0 * share).unwrap()).unwrap(),
        Prediction::Flow => (eps - x0).unwrap(),
    }
}

/// With a model that always names the same clean sample, every sampler arrives there, whatever the
/// model predicts, from noise and from half way.
#[test]
fn a_model_that_knows_the_sample_leads_to_it() {
    let schedule = Schedule::default();
    let x0 = noise(1);
    for kind in SamplerKind::ALL {
        for prediction in predictions(kind) {
            for strength in [1.0, 0.5] {
                let config = SamplerConfig {
                    kind,
                    steps: 20,
                    prediction: *prediction,
                    strength,
                    ..SamplerConfig::default()
                };
                let mut sampler = config.build(&schedule).unwrap();
                let times = sampler.times().to_vec();
                assert!(times.is_sorted_by(|a, b| a >= b), "{kind:?} {times:?}");
                let mut draws = Rng::new(2);
                let given = (strength < 1.0).then_some(&x0);
                let mut state = sampler.start(&noise(3), given).unwrap();
                for (call, time) in times.iter().enumerate() {
                    let input = sampler.input(call, &state).unwrap();
                    let output = oracle(&config, &input, &x0, *time);
                    state = sampler
                        .step(Call { index: call, output: &output, state: &state }, &mut draws)
                        .unwrap();
                }
                // PNDM ends at the schedule's first step, which keeps a hundredth of noise.
                let far = gap(&state, &x0);
                assert!(far < 0.05, "{kind:?} {prediction:?} {strength} {far}");
            }
        }
    }
}

/// Half the strength is half the steps, and they are the last ones.
#[test]
fn strength_leaves_out_the_first_steps() {
    let schedule = Schedule::default();
    for kind in
        [SamplerKind::Euler, SamplerKind::DpmPlusPlus2m, SamplerKind::Ddim, SamplerKind::FlowEuler]
    {
        let prediction = predictions(kind)[0];
        let config = SamplerConfig { kind, steps: 12, prediction, ..SamplerConfig::default() };
        let all = config.build(&schedule).unwrap().times().to_vec();
        let half = SamplerConfig { strength: 0.5, ..config }.build(&schedule).unwrap();
        assert_eq!(half.times(), &all[6..], "{kind:?}");
    }
}

/// As many steps as there are times: some times are then equal.
#[test]
fn the_most_steps_give_numbers() {
    let schedule = Schedule::default();
    let x0 = noise(1);
    for kind in SamplerKind::ALL {
        let steps = if kind == SamplerKind::PndmPrk { 500 } else { 1000 };
        for prediction in predictions(kind) {
            let config =
                SamplerConfig { kind, steps, prediction: *prediction, ..SamplerConfig::default() };
            let mut sampler = config.build(&schedule).unwrap();
            let mut draws = Rng::new(2);
            let mut state = sampler.start(&noise(3), None).unwrap();
            for (call, time) in sampler.times().to_vec().into_iter().enumerate() {
                let input = sampler.input(call, &state).unwrap();
                let output = oracle(&config, &input, &x0, time);
                let made = Call { index: call, output: &output, state: &state };
                state = sampler.step(made, &mut draws).unwrap();
            }
            let values = state.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{kind:?} {prediction:?}");
        }
    }
}

#[test]
fn a_strength_that_leaves_too_few_steps_is_refused() {
    let schedule = Schedule::default();
    let of = |kind, steps, strength| {
        SamplerConfig { kind, steps, strength, ..SamplerConfig::default() }.build(&schedule)
    };
    for (kind, steps, strength, fewest) in [
        (SamplerKind::PndmPrk, 4, 0.01, 400),
        (SamplerKind::PndmPrk, 12, 0.3, 14),
        (SamplerKind::Euler, 1, 0.3, 4),
        (SamplerKind::Euler, 1, 0.1, 10),
        (SamplerKind::Ddim, 1, 0.7, 2),
    ] {
        let text = of(kind, steps, strength).unwrap_err().to_string();
        assert!(text.contains(&format!("give at least {fewest} steps, or more")), "{text}");
        assert!(of(kind, fewest, strength).is_ok() && of(kind, fewest - 1, strength).is_err());
    }
    let text = of(SamplerKind::Euler, 1000, 1e-300).unwrap_err().to_string();
    assert!(text.ends_with("needs 1: give more strength"), "{text}");
}

#[test]
fn mistakes_are_named() {
    let schedule = Schedule::default();
    let text = "eluer".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(text.contains("`eluer`") && text.contains("`dpm++2m`"), "{text}");
    let of = |config: SamplerConfig| config.build(&schedule).unwrap_err().to_string();
    let plain = SamplerConfig::default();
    let text = of(SamplerConfig { prediction: Prediction::Flow, ..plain });
    assert!(text.contains("`flow-euler`"), "{text}");
    let text = of(SamplerConfig { strength: 0.0, ..plain });
    assert!(text.contains("`strength` is 0"), "{text}");
    let text = of(SamplerConfig { steps: 0, ..plain });
    assert!(text.contains("1 to 1000"), "{text}");
    let text = of(SamplerConfig { steps: 3, kind: SamplerKind::PndmPrk, ..plain });
    assert!(text.contains("4 to 500"), "{text}");
    for kind in SamplerKind::ALL {
        assert_eq!(kind.name().parse::<SamplerKind>().unwrap(), kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    // Every number of steps that is allowed works.
    for steps in [1, 2, 7, 333, 999, 1000] {
        for kind in
            [SamplerKind::Euler, SamplerKind::DpmPlusPlus2m, SamplerKind::Pndm, SamplerKind::Ddim]
        {
            let sampler = SamplerConfig { steps, kind, ..plain }.build(&schedule).unwrap();
            assert!(sampler.times().iter().all(|time| (0.0..1000.0).contains(time)));
        }
    }
}
