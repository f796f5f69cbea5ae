//! Laws of adapters on a small transformer.

mod files;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use curate_ops::{GradSink, Gradients, Rng, gradients};

use super::{Lora, LoraConfig, LoraError};
use crate::{
    dit::{Clip, Config, Inputs, Motion, Transformer3d},
    params::{Params, Role},
    parity::numbers,
};

const CPU: Device = Device::Cpu;

/// That of `recipes/lora/peft_reference.py`.
fn small() -> Config {
    let motion = Some(Motion::hybrid(2));
    Config { heads: 2, head_width: 16, layers: 4, caption_channels: 24, motion, ..Config::tiny() }
}

/// A network whose every tensor has a say.
fn base() -> Params {
    let mut params = Params::seeded(3, &CPU);
    Transformer3d::new(&mut params, &small()).unwrap();
    stir(&params, 4);
    params
}

fn stir(params: &Params, seed: u64) {
    let mut rng = Rng::new(seed);
    for (_, var, _) in params.iter() {
        let noise = rng.normal_tensor(var.shape().clone(), DType::F32, &CPU).unwrap();
        var.set(&(var.as_tensor() + (noise * 0.05).unwrap()).unwrap()).unwrap();
    }
}

/// Adapters that do something.
fn stirred(network: &Params, config: &LoraConfig, seed: u64) -> Lora {
    let lora = Lora::fresh(config, network, seed).unwrap();
    stir(lora.params(), seed + 100);
    lora
}

fn of_rank(rank: usize) -> LoraConfig {
    LoraConfig { rank, alpha: 1.5 * rank as f64, ..LoraConfig::default() }
}

struct Batch(BTreeMap<&'static str, Tensor>);

impl Batch {
    fn new() -> Self {
        let mut rng = Rng::new(11);
        let mut normal = |shape: &[usize]| rng.normal_tensor(shape, DType::F32, &CPU).unwrap();
        Self(BTreeMap::from([
            ("latents", normal(&[2, 4, 2, 4, 4])),
            ("inpaint", normal(&[2, 8, 2, 4, 4])),
            ("text", normal(&[2, 5, 24])),
            ("embedding", normal(&[2, 768])),
            ("mask", Tensor::ones((2, 8), DType::F32, &CPU).unwrap()),
            ("times", Tensor::new(&[17.0_f32, 903.0], &CPU).unwrap()),
        ]))
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            latents: &self.0["latents"],
            inpaint: Some(&self.0["inpaint"]),
            times: &self.0["times"],
            text: &self.0["text"],
            text_mask: None,
            clip: Some(Clip { embedding: &self.0["embedding"], mask: &self.0["mask"] }),
            size: None,
        }
    }
}

fn output(params: &mut Params) -> Tensor {
    let network = Transformer3d::new(params, &small()).unwrap();
    network.forward(&Batch::new().inputs()).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (numbers(a).unwrap(), numbers(b).unwrap());
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn largest(tensor: &Tensor) -> f64 {
    numbers(tensor).unwrap().iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

fn bits(params: &Params) -> BTreeMap<String, Vec<u32>> {
    let of = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bits = |var| of(var).into_iter().map(f32::to_bits).collect();
    params.iter().map(|(name, var, _)| (name.to_owned(), bits(var))).collect()
}

/// A network over frozen weights with adapters of weight 1, and loss and gradients of a batch: of all
/// variables, the network's own included.
fn backward(params: &mut Params, lora: &Lora, is_checkpointed: bool) -> (f64, Gradients) {
    params.set_role("*", Role::Frozen);
    params.remove_adapters();
    params.adapt(lora, 1.0).unwrap();
    let network = Transformer3d::new(params, &small()).unwrap();
    let all = params.iter().chain(lora.params().iter());
    let vars: Vec<Var> = all.map(|(_, var, _)| var.clone()).collect();
    let (batch, sink) = (Batch::new(), GradSink::new());
    let output = if is_checkpointed {
        network.forward_checkpointed(&batch.inputs(), &sink).unwrap()
    } else {
        network.forward(&batch.inputs()).unwrap()
    };
    let loss = output.sqr().unwrap().mean_all().unwrap();
    let value = f64::from(loss.to_scalar::<f32>().unwrap());
    (value, gradients(loss, &vars, Some(&sink)).unwrap())
}

#[test]
fn a_fresh_adapter_changes_nothing_and_a_trained_one_does() {
    let mut params = base();
    let plain = output(&mut params);
    let lora = Lora::fresh(&of_rank(4), &params, 1).unwrap();
    assert_eq!(lora.layers().count(), params.layers().count());
    params.adapt(&lora, 1.0).unwrap();
    assert_eq!(gap(&output(&mut params), &plain), 0.0);
    for (name, var, role) in lora.params().iter() {
        assert_eq!(role, Role::Trained);
        let bound = 1.0 / (var.dims()[1] as f64).sqrt();
        let is_up = name.ends_with("lora_up.weight");
        let most = largest(var);
        assert!(if is_up { most == 0.0 } else { most <= bound && most > 0.8 * bound }, "{name}");
    }
    stir(lora.params(), 9);
    // Handles are shared: the network that is there sees a step of the optimiser.
    assert!(gap(&output(&mut params), &plain) > 1e-2);
    params.remove_adapters();
    assert_eq!(gap(&output(&mut params), &plain), 0.0);
}

#[test]
fn merged_weights_give_what_adapters_give_and_are_undone_to_the_bit() {
    let mut params = base();
    let before = bits(&params);
    let plain = output(&mut params);
    let one = stirred(&params, &of_rank(4), 1);
    let targets = vec!["*attn_temporal*".to_owned(), "proj_out".to_owned()];
    let two = stirred(&params, &LoraConfig { targets, ..of_rank(3) }, 2);

    params.adapt(&one, 0.7).unwrap();
    params.adapt(&two, -0.4).unwrap();
    let at_run_time = output(&mut params);
    params.remove_adapters();
    assert!(gap(&at_run_time, &plain) > 1e-2, "{}", gap(&at_run_time, &plain));

    let first = one.merge(&params, 0.7).unwrap();
    let second = two.merge(&params, -0.4).unwrap();
    assert_eq!(first.layers(), params.layers().count());
    let merged = output(&mut params);
    let far = gap(&merged, &at_run_time);
    assert!(far <= 1e-5 * largest(&plain).max(1.0), "{far}");
    assert_ne!(bits(&params), before);
    second.undo().unwrap();
    first.undo().unwrap();
    assert!(bits(&params) == before, "weights are not what they were");
    assert_eq!(gap(&output(&mut params), &plain), 0.0);
}

#[test]
fn weights_in_half_precision_come_back_to_the_bit_too() {
    let mut params = Params::seeded(3, &CPU).with_dtype(DType::BF16);
    Transformer3d::new(&mut params, &small()).unwrap();
    let values = |params: &Params| -> Vec<Vec<f64>> {
        params.iter().map(|(_, var, _)| numbers(var).unwrap()).collect()
    };
    let before = values(&params);
    let lora = stirred(&params, &of_rank(2), 1);
    let merged = lora.merge(&params, 1.0).unwrap();
    assert!(values(&params) != before);
    merged.undo().unwrap();
    assert!(values(&params) == before);
}

#[test]
fn gradients_reach_every_adapter_and_nothing_else() {
    let mut params = base();
    for targets in ["*", "transformer_blocks.*"] {
        let config = LoraConfig { targets: vec![targets.to_owned()], ..of_rank(2) };
        let lora = stirred(&params, &config, 1);
        let (loss, whole) = backward(&mut params, &lora, false);
        let (again, parts) = backward(&mut params, &lora, true);
        assert_eq!(loss.to_bits(), again.to_bits());
        for (name, var, _) in params.iter() {
            assert!(whole.get(var).is_none() && parts.get(var).is_none(), "{name}");
        }
        for (name, var) in lora.params().trained() {
            let gradient = whole.get(var).unwrap_or_else(|| panic!("`{name}` has no gradient"));
            let most = largest(gradient);
            assert!(most > 0.0, "`{name}` has a gradient of zero");
            let far = gap(gradient, parts.get(var).unwrap_or_else(|| panic!("`{name}` lost it")));
            assert!(far <= 1e-6 * most.max(1e-3), "`{name}` is {far} off, largest {most}");
        }
    }
}

/// By the slope of the loss along each of some adapters' gradient, with and without dropout.
#[test]
fn gradients_are_those_of_finite_differences() {
    const STEP: f64 = 1e-2;
    let mut params = base();
    for dropout in [0.0, 0.3] {
        let lora = stirred(&params, &LoraConfig { dropout, ..of_rank(4) }, 1);
        lora.set_dropout_seed(Some(5));
        let (_, found) = backward(&mut params, &lora, true);
        for name in [
            "transformer_blocks.0.attn1.to_q.lora_down.weight",
            "transformer_blocks.3.ff.net.2.lora_up.weight",
            "transformer_blocks.1.attn_temporal.temporal_transformer.proj_out.lora_down.weight",
            "proj_out.lora_up.weight",
        ] {
            let var = lora.params().get(name).unwrap();
            let gradient = found.get(var).unwrap();
            let norm = numbers(gradient).unwrap().iter().map(|x| x * x).sum::<f64>().sqrt();
            let along = (gradient * (STEP / norm)).unwrap();
            let at = var.as_tensor().copy().unwrap();
            let mut loss_at = |sign: f64| {
                var.set(&(&at + (&along * sign).unwrap()).unwrap()).unwrap();
                backward(&mut params, &lora, false).0
            };
            let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * STEP);
            var.set(&at).unwrap();
            assert!((slope / norm - 1.0).abs() < 0.03, "{name}: {slope}, not {norm}");
        }
    }
}

#[test]
fn dropout_follows_its_seed_and_survives_recomputation() {
    let mut params = base();
    let lora = stirred(&params, &LoraConfig { dropout: 0.5, ..of_rank(4) }, 1);
    let (sure, _) = backward(&mut params, &lora, false);
    lora.set_dropout_seed(Some(1));
    let (one, whole) = backward(&mut params, &lora, false);
    let (same, parts) = backward(&mut params, &lora, true);
    assert_eq!(one.to_bits(), same.to_bits());
    for (name, var) in lora.params().trained() {
        let (whole, parts) = (whole.get(var).unwrap(), parts.get(var).unwrap());
        assert!(gap(whole, parts) <= 1e-6 * largest(whole).max(1e-3), "{name}");
    }
    lora.set_dropout_seed(Some(2));
    let (two, _) = backward(&mut params, &lora, false);
    assert!((one - two).abs() > 1e-9 && (one - sure).abs() > 1e-9, "{sure} {one} {two}");
    lora.set_dropout_seed(None);
    assert_eq!(backward(&mut params, &lora, false).0.to_bits(), sure.to_bits());
}

/// Section 3.6 of the recipe: 637 modules and 257.8 million numbers at rank 128. Counted without making
/// them: adapters grow with inputs and outputs, which are linear in the network's width.
#[test]
fn the_largest_preset_has_as_many_adapters_as_published() {
    let count = |heads: usize, layers: usize| {
        let motion = Some(Motion::hybrid(1));
        let config = Config {
            heads,
            head_width: 32,
            layers,
            caption_channels: 4096,
            motion,
            ..Config::xl2()
        };
        let mut params = Params::seeded(0, &CPU);
        Transformer3d::new(&mut params, &config).unwrap();
        let sizes = params.layers().map(|(_, (ins, outs))| (ins + outs) as f64);
        (params.layers().count(), sizes.sum::<f64>())
    };
    let wide = |layers: usize| {
        let ((layers_of, one), (_, two)) = (count(1, layers), count(2, layers));
        (layers_of, one + (two - one) * (1152.0 / 32.0 - 1.0))
    };
    // Two layers more are two blocks and a skip.
    let ((few, small), (more, large)) = (wide(2), wide(4));
    assert_eq!(few + (more - few) * 13, 637);
    let all = (small + (large - small) * 13.0) * 128.0;
    assert!((all / 257.8e6 - 1.0).abs() < 1e-3, "{all}");
}

#[test]
fn mistakes_of_a_configuration_are_named() {
    let params = base();
    let wrong = LoraConfig { rank: 0, alpha: -1.0, dropout: 1.0, targets: Vec::new() };
    let text = Lora::fresh(&wrong, &params, 0).unwrap_err().to_string();
    for key in ["`rank`", "`alpha`", "`dropout`", "`targets`"] {
        assert!(text.contains(key), "{text}");
    }
    let nowhere = LoraConfig { targets: vec!["*.attn9.*".to_owned()], ..of_rank(2) };
    let text = Lora::fresh(&nowhere, &params, 0).unwrap_err().to_string();
    assert!(text.contains("`*.attn9.*`") && text.contains("`adaln_single."), "{text}");
    let unbuilt = Params::seeded(0, &CPU);
    assert!(matches!(Lora::fresh(&of_rank(2), &unbuilt, 0), Err(LoraError::NoLayers)));
    // Of a wider network.
    let mut wide = Params::seeded(0, &CPU);
    Transformer3d::new(&mut wide, &Config { heads: 4, ..small() }).unwrap();
    let lora = Lora::fresh(&of_rank(2), &wide, 0).unwrap();
    let mut params = base();
    let text = params.adapt(&lora, 1.0).unwrap_err().to_string();
    assert!(text.contains("[64, 256], not [32, 256]"), "{text}");
    assert!(lora.merge(&params, 1.0).is_err());
    assert!(serde_json::from_str::<LoraConfig>(r#"{"rnk": 4}"#).is_err());
}
