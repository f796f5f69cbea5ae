//! Laws of the network that need no reference.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor, Var};
use curate_ops::{GradSink, Gradients, Rng, gradients};

use super::{Clip, Config, Inputs, Transformer3d, TransformerError, config::Motion, load};
use crate::{
    Weights,
    params::{Params, Role},
    parity::numbers,
};

const CPU: Device = Device::Cpu;

/// A batch of two with everything that a network can be given.
struct Batch {
    latents: Tensor,
    inpaint: Tensor,
    times: Tensor,
    text: Tensor,
    text_mask: Tensor,
    embedding: Tensor,
    clip_mask: Tensor,
}

impl Batch {
    fn new(config: &Config, (frames, height, width): (usize, usize, usize)) -> Self {
        let mut rng = Rng::new(11);
        let mut normal = |shape: &[usize]| rng.normal_tensor(shape, DType::F32, &CPU).unwrap();
        Self {
            latents: normal(&[2, 4, frames, height, width]),
            inpaint: normal(&[2, 8, frames, height, width]),
            times: Tensor::new(&[17.0_f32, 903.0], &CPU).unwrap(),
            text: normal(&[2, 5, config.caption_channels]),
            text_mask: Tensor::new(&[[1.0_f32, 1.0, 1.0, 0.0, 0.0], [1.0; 5]], &CPU).unwrap(),
            embedding: normal(&[2, 768]),
            clip_mask: Tensor::ones((2, 8), DType::F32, &CPU).unwrap(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            latents: &self.latents,
            inpaint: Some(&self.inpaint),
            times: &self.times,
            text: &self.text,
            text_mask: Some(&self.text_mask),
            clip: Some(Clip { embedding: &self.embedding, mask: &self.clip_mask }),
            size: None,
        }
    }

    /// What plain PixArt takes.
    fn plain(&self) -> Inputs<'_> {
        Inputs { inpaint: None, clip: None, ..self.inputs() }
    }
}

fn small() -> Config {
    Config {
        heads: 2,
        caption_channels: 24,
        layers: 5,
        motion: Some(Motion::hybrid(2)),
        ..Config::tiny()
    }
}

/// Every tensor drawn, those that start as zero included, so that everything has a say.
fn stirred(config: &Config) -> (Transformer3d, Params) {
    let mut params = Params::seeded(3, &CPU);
    let network = Transformer3d::new(&mut params, config).unwrap();
    let mut rng = Rng::new(4);
    for (_, var, _) in params.iter() {
        let noise = rng.normal_tensor(var.shape().clone(), DType::F32, &CPU).unwrap();
        var.set(&(var.as_tensor() + (noise * 0.05).unwrap()).unwrap()).unwrap();
    }
    (network, params)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (numbers(a).unwrap(), numbers(b).unwrap());
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn saved(params: &Params) -> (tempfile::TempDir, Weights) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("network.safetensors");
    params.save(&path, &[]).unwrap();
    let weights = Weights::open(&path).unwrap();
    (folder, weights)
}

/// Section 2.7 of the recipe: what is added to PixArt starts as zero.
#[test]
fn a_fresh_network_is_pixart_on_each_frame() {
    let config = small();
    let (pixart, plain) = stirred(&config.without_additions());
    let (_folder, weights) = saved(&plain);
    let (network, _, report) = load(weights, &config, Some(1), &CPU).unwrap();
    assert_eq!(report.inflated, ["pos_embed.proj.weight"]);
    assert_eq!(report.matched.len() + 1, plain.iter().count());
    assert!(report.missing.iter().any(|name| name.starts_with("clip_projection.")));
    assert!(report.missing.iter().any(|name| name == "long_connect_fc.0.weight"));
    assert!(report.missing.iter().any(|name| name.contains("attn_temporal.temporal_transformer")));
    assert!(report.unexpected.is_empty(), "{report:?}");

    let batch = Batch::new(&config, (3, 4, 6));
    let clip = network.forward(&Inputs { clip: None, ..batch.inputs() }).unwrap();
    for frame in 0..3 {
        let latents = batch.latents.narrow(2, frame, 1).unwrap().contiguous().unwrap();
        let expected = pixart.forward(&Inputs { latents: &latents, ..batch.plain() }).unwrap();
        let far = gap(&clip.narrow(2, frame, 1).unwrap(), &expected);
        assert!(far < 1e-6, "frame {frame} is {far} off");
    }
    // And it stops being PixArt once the additions have values.
    let (trained, _) = stirred(&config);
    let clip = trained.forward(&Inputs { clip: None, ..batch.inputs() }).unwrap();
    let alone = batch.latents.narrow(2, 0, 1).unwrap().contiguous().unwrap();
    let inpaint = batch.inpaint.narrow(2, 0, 1).unwrap().contiguous().unwrap();
    let inputs = Inputs { latents: &alone, inpaint: Some(&inpaint), clip: None, ..batch.inputs() };
    let far = gap(&clip.narrow(2, 0, 1).unwrap(), &trained.forward(&inputs).unwrap());
    assert!(far > 1e-4, "frames do not see each other: {far}");
}

fn backward(
    (network, params): (&Transformer3d, &Params),
    batch: &Batch,
    is_checkpointed: bool,
) -> (f64, Gradients) {
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let sink = GradSink::new();
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
fn every_trained_tensor_gets_a_gradient_with_and_without_checkpoints() {
    let config = small();
    let (network, params) = stirred(&config);
    let batch = Batch::new(&config, (2, 4, 4));
    let (loss, whole) = backward((&network, &params), &batch, false);
    let (again, parts) = backward((&network, &params), &batch, true);
    assert!((loss - again).abs() < 1e-12);
    assert!(params.trained().count() > 150);
    for (name, var) in params.trained() {
        let gradient = whole.get(var).unwrap_or_else(|| panic!("`{name}` has no gradient"));
        let largest = numbers(gradient).unwrap().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        // Keys' biases move all scores of a query alike, which softmax does not see.
        let is_mute = name.ends_with("to_k.bias");
        assert!(is_mute || largest > 0.0, "`{name}` has a gradient of zero");
        let far = gap(gradient, parts.get(var).unwrap_or_else(|| panic!("`{name}` lost it")));
        assert!(far <= 1e-6 * largest.max(1e-3), "`{name}` is {far} off, largest {largest}");
    }
}

/// In a stage that trains motion modules only, nothing else gets a gradient.
#[test]
fn what_is_frozen_gets_no_gradient() {
    let config = small();
    let (_, mut params) = stirred(&config);
    params.set_role("*", Role::Frozen);
    params.set_role("*attn_temporal*", Role::Trained);
    params.check_patterns().unwrap();
    let network = Transformer3d::new(&mut params, &config).unwrap();
    let batch = Batch::new(&config, (2, 4, 4));
    for is_checkpointed in [false, true] {
        let (_, found) = backward((&network, &params), &batch, is_checkpointed);
        for (name, var, role) in params.iter() {
            let expected = name.contains("attn_temporal");
            assert_eq!(role == Role::Trained, expected);
            assert_eq!(found.get(var).is_some(), expected, "{name} {is_checkpointed}");
        }
    }
}

#[test]
fn hidden_tokens_have_no_say() {
    let config = small();
    let (network, _) = stirred(&config);
    let batch = Batch::new(&config, (2, 4, 4));
    let output = |inputs: &Inputs<'_>| network.forward(inputs).unwrap();
    // Another text behind the mask of the first example.
    let tail = batch.text.narrow(1, 3, 2).unwrap();
    let text =
        Tensor::cat(&[&batch.text.narrow(1, 0, 3).unwrap(), &(tail * -3.0).unwrap()], 1).unwrap();
    let before = output(&batch.inputs());
    let after = output(&Inputs { text: &text, ..batch.inputs() });
    let of = |tensor: &Tensor, example| tensor.narrow(0, example, 1).unwrap();
    assert!(gap(&of(&before, 0), &of(&after, 0)) < 1e-6);
    assert!(gap(&of(&before, 1), &of(&after, 1)) > 1e-4);
    // A hidden image is none.
    let hidden = batch.clip_mask.zeros_like().unwrap();
    let clip = Some(Clip { embedding: &batch.embedding, mask: &hidden });
    let (hidden, none) = (
        output(&Inputs { clip, ..batch.inputs() }),
        output(&Inputs { clip: None, ..batch.inputs() }),
    );
    assert!(gap(&hidden, &none) < 1e-6 && gap(&before, &none) > 1e-4);
    // A mask of ones is none.
    let ones = batch.text_mask.ones_like().unwrap();
    let plain = Inputs { clip: None, ..batch.inputs() };
    let (all, none) = (
        output(&Inputs { text_mask: Some(&ones), ..plain }),
        output(&Inputs { text_mask: None, ..plain }),
    );
    assert!(gap(&all, &none) < 1e-6);
}

/// Examples of a batch, and places under a change of what lies elsewhere, as attention allows.
#[test]
fn examples_do_not_see_each_other() {
    let config = small();
    let (network, _) = stirred(&config);
    let batch = Batch::new(&config, (2, 4, 4));
    let both = network.forward(&batch.inputs()).unwrap();
    let of = |tensor: &Tensor| tensor.narrow(0, 1, 1).unwrap().contiguous().unwrap();
    let alone = Batch {
        latents: of(&batch.latents),
        inpaint: of(&batch.inpaint),
        times: of(&batch.times),
        text: of(&batch.text),
        text_mask: of(&batch.text_mask),
        embedding: of(&batch.embedding),
        clip_mask: of(&batch.clip_mask),
    };
    assert!(gap(&of(&both), &network.forward(&alone.inputs()).unwrap()) < 1e-5);
}

/// The paper's size: section 2.1 of the recipe. Counted without making the tensors.
#[test]
fn the_largest_preset_has_the_published_number_of_parameters() {
    let d = 1152_usize;
    let linear = |ins: usize, outs: usize| ins * outs + outs;
    // Widths that matter, from a network small enough to make: tensors are linear or quadratic in
    // the width, so three sizes tell every coefficient.
    let count = |heads: usize, layers: usize| {
        let config =
            Config { heads, head_width: 32, layers, caption_channels: 4096, ..Config::xl2() };
        let config = Config { motion: Some(Motion::hybrid(1)), ..config };
        let mut params = Params::seeded(0, &CPU);
        Transformer3d::new(&mut params, &config).unwrap();
        params.count() as f64
    };
    // count(d, layers) = a + b d + c d^2 for fixed layers; fit through widths 32, 64, 96.
    let fit = |layers: usize| {
        let (x, y) = ([32.0, 64.0, 96.0], [1, 2, 3].map(|heads| count(heads, layers)));
        let at = d as f64;
        (0..3_usize)
            .map(|i| {
                let others = (0..3).filter(|j| *j != i);
                others.fold(y[i], |value, j| value * (at - x[j]) / (x[i] - x[j]))
            })
            .sum::<f64>()
    };
    // Layers add the same each; skips are counted beside.
    let skip = linear(d, d) as f64;
    let (two, four) = (fit(2), fit(4) - skip);
    let all = two + (four - two) / 2.0 * 26.0 + 13.0 * skip;
    assert!((all / 1.538e9 - 1.0).abs() < 1e-3, "{all}");
}

#[test]
fn mistakes_are_named() {
    let config = small();
    let (network, params) = stirred(&config);
    let batch = Batch::new(&config, (2, 4, 4));
    let of = |inputs: &Inputs<'_>| network.forward(inputs).unwrap_err().to_string();
    let text = of(&Inputs { inpaint: None, ..batch.inputs() });
    assert!(text.contains("`inpaint` is missing"), "{text}");
    let odd = batch.latents.narrow(4, 0, 3).unwrap();
    let text = of(&Inputs { latents: &odd, ..batch.inputs() });
    assert!(text.contains("`latents`") && text.contains("multiples of 2"), "{text}");
    let text = of(&Inputs { text: &batch.embedding.unsqueeze(1).unwrap(), ..batch.inputs() });
    assert!(text.contains("`text` has shape [2, 1, 768]") && text.contains("[2, 1, 24]"), "{text}");

    // Tensors of another network are named with both shapes, and so are those that are missing.
    let (_folder, weights) = saved(&params);
    let wide = Config { heads: 4, motion: Some(Motion::hybrid(4)), ..config.clone() };
    let text = load(weights, &wide, None, &CPU).unwrap_err().to_string();
    assert!(
        text.contains("`pos_embed.proj.weight` has the shape [32, 12, 2, 2], not [64, 12, 2, 2]"),
        "{text}"
    );
    let (_, plain) = stirred(&config.without_additions());
    let (_folder, weights) = saved(&plain);
    let error = load(weights, &config, None, &CPU).unwrap_err();
    assert!(matches!(error, TransformerError::Params(_)));
    assert!(error.to_string().contains("`clip_projection.linear_1.weight` is missing"), "{error}");
}

/// Size conditioning: PixArt for 1024 pixels, `sample_size` 128.
#[test]
fn sizes_have_a_say_where_the_network_knows_them() {
    let config = Config { sample_size: 128, heads: 6, motion: Some(Motion::hybrid(6)), ..small() };
    let (network, params) = stirred(&config);
    let names: BTreeSet<&str> = params.iter().map(|(name, _, _)| name).collect();
    assert!(names.contains("adaln_single.emb.aspect_ratio_embedder.linear_2.weight"));
    let batch = Batch::new(&config, (1, 4, 4));
    let error = network.forward(&batch.inputs()).unwrap_err().to_string();
    assert!(error.contains("`size` is missing"), "{error}");
    let output = |size: [f32; 2]| {
        let size = Tensor::new(&[size, size], &CPU).unwrap();
        network.forward(&Inputs { size: Some(&size), ..batch.inputs() }).unwrap()
    };
    assert!(gap(&output([1024.0, 1024.0]), &output([768.0, 1280.0])) > 1e-5);
}

/// Half precision is close to single.
#[test]
fn half_precision_is_near() {
    let config = small();
    let (network, _) = stirred(&config);
    let batch = Batch::new(&config, (2, 4, 4));
    let single = network.forward(&batch.inputs()).unwrap();
    let latents = batch.latents.to_dtype(DType::BF16).unwrap();
    let half = network.forward(&Inputs { latents: &latents, ..batch.inputs() }).unwrap();
    assert_eq!(half.dtype(), DType::BF16);
    let largest = numbers(&single).unwrap().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(gap(&single, &half) < 0.05 * largest.max(1.0), "{}", gap(&single, &half));
}
