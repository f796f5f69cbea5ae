//! Checkpoints: wrong ones, those of other networks, and the scaling factor that they keep.

use std::collections::BTreeMap;

use candle_core::Tensor;
use curate_models::{
    Weights,
    params::{Params, save_tensors},
    vae::{Chunking, ScalingMeter, SliceVae, VaeConfig, inflate::inflate},
};

use super::{CPU, difference, made, noise, small};

#[test]
fn a_wrong_checkpoint_names_tensor_and_shapes() {
    let config = small("tiny");
    let (_, params) = made(&config);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("vae.safetensors");
    SliceVae::save(&config, &params, &path).unwrap();
    let wider = VaeConfig { width: 32, ..config };
    let mut params = Params::from_weights(Weights::open(&path).unwrap(), &CPU);
    let error = params.build(|scope| SliceVae::new(&wider, scope)).unwrap_err().to_string();
    let wanted = "`encoder.conv_in.weight` has the shape [16, 3, 3, 3, 3], not [32, 3, 3, 3, 3]";
    assert!(error.contains(wanted), "{error}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Weights::open(&path).unwrap_err().to_string();
    assert!(error.contains("cut off in tensor `decoder.up_blocks."), "{error}");
}

#[test]
fn the_scaling_factor_is_measured_and_kept_in_the_checkpoint() {
    let (_, params) = made(&small("tiny"));
    let mut meter = ScalingMeter::new();
    assert!(meter.factor().is_err());
    for seed in 0..8 {
        let latents = noise(&[1, 4, 2, 32, 32], seed);
        meter.push(&((latents * 4.0).unwrap() + 7.0).unwrap()).unwrap();
    }
    let scaling_factor = meter.factor().unwrap();
    assert!((scaling_factor - 0.25).abs() < 0.002, "{scaling_factor}");
    let config = VaeConfig { scaling_factor, ..small("tiny") };
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("vae.safetensors");
    SliceVae::save(&config, &params, &path).unwrap();
    let weights = Weights::open(&path).unwrap();
    assert_eq!(SliceVae::stored_config(&weights).unwrap().unwrap(), config);
    let mut params = Params::from_weights(weights, &CPU);
    let vae = params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    let z = noise(&[1, 4, 1, 2, 2], 1);
    let scaled = vae.scale(&z).unwrap();
    assert!(difference(&scaled, &(&z * scaling_factor).unwrap()) < 1e-6);
    assert!(difference(&vae.unscale(&scaled).unwrap(), &z) < 1e-6);
}

/// A 2D autoencoder's checkpoint, with names in diffusers' layout or the original one.
fn flat_checkpoint(params: &Params, is_original: bool) -> BTreeMap<String, Tensor> {
    let mut flat = BTreeMap::new();
    for (name, var, _) in params.iter() {
        let tensor = var.as_detached_tensor();
        let tensor = match tensor.dims() {
            [_, _, frames, ..] => tensor.narrow(2, frames - 1, 1).unwrap().squeeze(2).unwrap(),
            [outs, ins] if is_original => tensor.reshape((*outs, *ins, 1, 1)).unwrap(),
            _ => tensor,
        };
        let renamed = if is_original { original_name(name) } else { diffusers_name(name) };
        flat.insert(renamed, tensor.contiguous().unwrap());
    }
    flat
}

fn diffusers_name(name: &str) -> String {
    name.replace(".convs.", ".resnets.")
        .replace(".shortcut.", ".conv_shortcut.")
        .replace(".downsampler.", ".downsamplers.0.")
        .replace(".upsampler.", ".upsamplers.0.")
        .replace(".to_out.", ".to_out.0.")
}

fn original_name(name: &str) -> String {
    let mut name = name
        .replace("mid_block.convs.0", "mid.block_1")
        .replace("mid_block.convs.1", "mid.block_2")
        .replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
        .replace("mid_block.attentions.0.to_out", "mid.attn_1.proj_out")
        .replace("mid_block.attentions.0.to_", "mid.attn_1.")
        .replace(".convs.", ".block.")
        .replace(".shortcut.", ".nin_shortcut.")
        .replace(".downsampler.", ".downsample.")
        .replace(".upsampler.", ".upsample.")
        .replace("down_blocks.", "down.")
        .replace("conv_norm_out", "norm_out");
    for index in 0..4 {
        name = name.replace(&format!("up_blocks.{index}"), &format!("up.{}", 3 - index));
    }
    format!("first_stage_model.{name}")
}

#[test]
fn a_2d_checkpoint_inflates_to_a_network_that_treats_frames_alike() {
    let config = small("tiny-carried");
    let (_, params) = made(&config);
    let folder = tempfile::TempDir::new().unwrap();
    let x = noise(&[1, 3, 9, 16, 16], 1);
    let mut images = Vec::new();
    for is_original in [false, true] {
        let path = folder.path().join(format!("{is_original}.safetensors"));
        let flat = flat_checkpoint(&params, is_original);
        let tensors = flat.iter().map(|(name, tensor)| (name.as_str(), tensor));
        save_tensors(&path, tensors, &[]).unwrap();
        let weights = Weights::open(&path).unwrap();
        let mut inflated = inflate(&weights, &config, &CPU).unwrap();
        let vae = inflated.params.build(|scope| SliceVae::new(&config, scope)).unwrap();
        assert_eq!(inflated.params.report().inflated, inflated.names);
        assert_eq!(inflated.params.report().matched.len(), params.iter().count());
        assert!(inflated.names.contains(&"decoder.up_blocks.0.upsampler.conv.weight".to_owned()));
        let video = vae.moments(&x).unwrap();
        for latent in 0..3 {
            // The frame that the latent stands at, by itself.
            let image = vae.moments(&x.narrow(2, 4 * latent, 1).unwrap()).unwrap();
            assert!(difference(&video.narrow(2, latent, 1).unwrap(), &image) < 1e-5);
            images.push(image);
        }
        // A slice's kernels hold the same in their middle, so an image is the same too.
        let chunking = Chunking::Slice { frames: 8, latents: 2, neighbours: true };
        let slice = VaeConfig { chunking, ..config.clone() };
        let mut inflated = inflate(&weights, &slice, &CPU).unwrap();
        let vae = inflated.params.build(|scope| SliceVae::new(&slice, scope)).unwrap();
        let image = vae.moments(&x.narrow(2, 0, 1).unwrap()).unwrap();
        assert!(difference(&image, &images[images.len() - 3]) < 1e-5);
    }
    assert_eq!(difference(&images[1], &images[4]), 0.0);
}

#[test]
fn a_magvit_checkpoint_opens_as_a_slice_vae_and_as_a_carried_one() {
    let magvit = small("tiny").as_magvit();
    let (_, params) = made(&magvit);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("magvit.safetensors");
    SliceVae::save(&magvit, &params, &path).unwrap();
    for preset in ["tiny", "tiny-carried"] {
        let mut opened = Params::from_weights(Weights::open(&path).unwrap(), &CPU);
        opened.build(|scope| SliceVae::new(&small(preset), scope)).unwrap();
        assert_eq!(opened.report().matched.len(), params.iter().count());
        assert_eq!(opened.report().unexpected, Vec::<String>::new());
    }
}
