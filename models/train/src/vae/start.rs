//! The network that is trained, and where its first weights come from.
//!
//! A checkpoint tells what it is made of; a preset or `config.json` does so for a network from
//! scratch or from a 2D autoencoder. How a video is cut is the stage's matter: no weight depends on
//! it, so a checkpoint of MagViT becomes the first of a Slice VAE by being opened as one.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use curate_models::{
    Weights,
    params::{Params, Role},
    vae::{Chunking, SliceVae, VaeConfig, VaeError, inflate::inflate},
};
use serde::{Deserialize, Serialize};

use super::{
    config::{Stage, VaeTrainConfig},
    initial::{Initial, delta_orthogonal},
};
use crate::TrainError;

/// The network and its first weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// A named configuration.
    pub preset: Option<String>,
    /// A `config.json`, as published checkpoints have it.
    pub config: Option<PathBuf>,
    /// A checkpoint to begin with: of MagViT or a Slice VAE, published or trained here. Without
    /// `preset` and `config` its own configuration counts, or the `config.json` beside it.
    pub checkpoint: Option<PathBuf>,
    /// A checkpoint of a 2D autoencoder to begin with, such as Stable Diffusion's; needs `preset` or
    /// `config`.
    pub inflate_from: Option<PathBuf>,
    /// Channels of the first block, in place of the preset's.
    pub width: Option<usize>,
    /// Widths of blocks in multiples of the first, in place of the preset's.
    pub multipliers: Option<Vec<usize>>,
    /// Residual layers of a block of the encoder, in place of the preset's 2; the decoder has one more.
    pub layers: Option<usize>,
    /// Groups of norms, in place of the preset's; they must divide all widths.
    pub groups: Option<usize>,
    /// Channels of latents, in place of the preset's 4.
    pub latent_channels: Option<usize>,
    /// How the weights of a network from scratch are drawn.
    pub initial: Initial,
    /// What the logarithm of the latents' variance starts at in a network from scratch. About 0 without
    /// it, as published: noise as large as the latents, which a long training overcomes. -4 lets the
    /// decoder see the encoder from the first step on.
    pub log_variance: Option<f64>,
}

impl ModelConfig {
    /// Whether it begins with trained weights.
    pub(super) const fn has_weights(&self) -> bool {
        self.checkpoint.is_some() || self.inflate_from.is_some()
    }

    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let presets = VaeConfig::PRESETS.join(", ");
        if let Some(name) = self.preset.as_deref().filter(|name| VaeConfig::preset(name).is_none())
        {
            problems.push(format!("`{key}.preset` is \"{name}\"; there are {presets}"));
        }
        if self.preset.is_some() && self.config.is_some() {
            problems.push(format!("`{key}.preset` and `{key}.config` are both there; leave one"));
        }
        if self.checkpoint.is_some() && self.inflate_from.is_some() {
            problems.push(format!(
                "`{key}.checkpoint` and `{key}.inflate_from` are both there; leave one"
            ));
        }
        if self.preset.is_none() && self.config.is_none() && self.checkpoint.is_none() {
            problems.push(format!(
                "`{key}` says nothing of the network: name a `preset` ({presets}), a `config`, or a \
                 `checkpoint` that has its own"
            ));
        }
        if let Some(value) = self.log_variance.filter(|value| !value.is_finite()) {
            problems.push(format!("`{key}.log_variance` is {value}, not a number"));
        }
        if self.has_weights() && (self.initial != Initial::default() || self.log_variance.is_some())
        {
            problems.push(format!(
                "`{key}.initial` and `{key}.log_variance` are for a network from scratch: this one \
                 begins with trained weights"
            ));
        }
        problems
    }

    /// What the network is made of, before the stage.
    fn base(&self) -> Result<VaeConfig, TrainError> {
        let mut config = match (&self.preset, &self.config, &self.checkpoint) {
            (Some(name), _, _) => VaeConfig::preset(name).ok_or(VaeError::Latents)?,
            (None, Some(path), _) => read_config(path)?,
            (None, None, Some(path)) => {
                let weights = Weights::open(path)?;
                match SliceVae::stored_config(&weights)? {
                    Some(config) => config,
                    None => read_config(&path.with_file_name("config.json"))?,
                }
            }
            (None, None, None) => return Err(VaeError::Latents.into()),
        };
        config.width = self.width.unwrap_or(config.width);
        config.layers = self.layers.unwrap_or(config.layers);
        config.groups = self.groups.unwrap_or(config.groups);
        config.latent_channels = self.latent_channels.unwrap_or(config.latent_channels);
        if let Some(multipliers) = &self.multipliers {
            config.multipliers.clone_from(multipliers);
        }
        Ok(config)
    }
}

fn read_config(path: &Path) -> Result<VaeConfig, TrainError> {
    let json = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    Ok(VaeConfig::from_json(&json)?)
}

impl VaeTrainConfig {
    /// What the network is made of, and how it cuts a video in this stage.
    ///
    /// # Errors
    /// When a file cannot be read, or clips of `data.frames` or `data.size` cannot be encoded.
    pub fn network(&self) -> Result<VaeConfig, TrainError> {
        let base = self.model.base()?;
        let config = match (self.stage, base.chunking) {
            (Stage::Magvit, _) => base.as_magvit(),
            (_, Chunking::MagVit { .. }) => {
                // Eight frames, as many latents as they make.
                let latents = (8 / base.temporal_factor()).max(1);
                let frames = latents * base.temporal_factor();
                let chunking = Chunking::Slice { frames, latents, neighbours: true };
                VaeConfig { chunking, ..base }
            }
            _ => base,
        };
        let size = self.data.size;
        let mut problems = Vec::new();
        // Of shorter clips too.
        for frames in self.data.lengths() {
            if let Err(error) = config.latents(frames) {
                problems.push(format!("`data.frames`: {error}"));
            }
        }
        let factor = config.spatial_factor();
        if !size.is_multiple_of(factor) {
            problems.push(format!("`data.size` is {size}, no multiple of the network's {factor}"));
        }
        if problems.is_empty() {
            return Ok(config);
        }
        Err(TrainError::of_file(problems))
    }
}

/// The network with its first weights, and notes on where they come from.
pub(super) fn network(
    config: &VaeTrainConfig,
    vae: &VaeConfig,
    device: &Device,
) -> Result<(SliceVae, Params, Vec<String>), TrainError> {
    let mut params = match (&config.model.checkpoint, &config.model.inflate_from) {
        (Some(path), _) => Params::from_weights(Weights::open(path)?, device),
        (None, Some(path)) => inflate(&Weights::open(path)?, vae, device)?.params,
        (None, None) => Params::seeded(config.seed, device),
    };
    if config.stage == Stage::SliceDecoder {
        params.set_role("encoder.*", Role::Frozen);
        params.set_role("quant_conv.*", Role::Frozen);
    }
    let network = params.build(|scope| SliceVae::new(vae, scope))?;
    let is_fresh = !config.model.has_weights();
    if is_fresh && config.model.initial == Initial::DeltaOrthogonal {
        delta_orthogonal(&params, vae, config.seed)?;
    }
    if let Some(log_variance) = config.model.log_variance.filter(|_| is_fresh) {
        start_at(&params, log_variance)?;
    }
    let count = |trained: bool| -> usize {
        let of = params.iter().filter(|(_, _, role)| (*role == Role::Trained) == trained);
        of.map(|(_, var, _)| var.elem_count()).sum()
    };
    let mut notes =
        vec![format!("{} weights are trained, {} are kept as they are", count(true), count(false))];
    let report = params.report();
    if !report.inflated.is_empty() {
        notes.push(format!("{} kernels were given a third dimension", report.inflated.len()));
    }
    if !report.unexpected.is_empty() {
        notes.push(format!(
            "{} tensors of the checkpoint are no part of the network, {} among them",
            report.unexpected.len(),
            report.unexpected[0]
        ));
    }
    Ok((network, params, notes))
}

/// Sets the bias that becomes the logarithm of the variance, which is the second half of the
/// encoder's output.
fn start_at(params: &Params, log_variance: f64) -> Result<(), TrainError> {
    if let Some(bias) = params.get("quant_conv.bias") {
        let half = bias.elem_count() / 2;
        let means = bias.as_detached_tensor().narrow(0, 0, half)?;
        let rest = Tensor::full(log_variance as f32, half, bias.device())?;
        bias.set(&Tensor::cat(&[means, rest.to_dtype(bias.dtype())?], 0)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> VaeTrainConfig {
        let mut small = "out = 'run'\nsteps = 10\ndata.table = 'set'\n".to_owned();
        if !more.contains("model.preset") {
            small.push_str("model.preset = 'tiny'\n");
        }
        VaeTrainConfig::parse(&format!("{small}{more}")).unwrap()
    }

    #[test]
    fn stages_cut_videos_their_own_way() {
        let magvit = config("stage = 'magvit'").network().unwrap();
        assert_eq!(magvit.chunking, Chunking::MagVit { frames: 9, latents: 3 });
        let slice = config("stage = 'slice'").network().unwrap();
        let wanted = Chunking::Slice { frames: 8, latents: 2, neighbours: true };
        assert_eq!(slice.chunking, wanted);
        let carried = config("stage = 'slice'\nmodel.preset = 'tiny-carried'\ndata.frames = 9");
        assert!(matches!(carried.network().unwrap().chunking, Chunking::Carried { .. }));
        // Its shorter clips have 12 frames.
        let wrong = config("stage = 'slice'\ndata.frames = 24\ndata.frame_step = 12").network();
        let text = wrong.unwrap_err().to_string();
        assert!(text.contains("`data.frames`") && text.contains("9 and 16 can"), "{text}");
    }

    #[test]
    fn a_magvit_becomes_a_slice_vae_and_its_decoder_learns_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("magvit.safetensors");
        let magvit =
            config("stage = 'magvit'\nmodel.width = 8\nmodel.groups = 8").network().unwrap();
        let mut params = Params::seeded(1, &Device::Cpu);
        params.build(|scope| SliceVae::new(&magvit, scope)).unwrap();
        SliceVae::save(&magvit, &params, &path).unwrap();
        let text = format!(
            "out = 'run'\nsteps = 1\nstage = 'slice-decoder'\ndata.table = 'set'\n\
             model.checkpoint = '{}'",
            path.display()
        );
        let run = VaeTrainConfig::parse(&text).unwrap();
        let vae = run.network().unwrap();
        assert!(matches!(vae.chunking, Chunking::Slice { frames: 8, latents: 2, .. }));
        let (_, again, notes) = network(&run, &vae, &Device::Cpu).unwrap();
        for (name, var, role) in again.iter() {
            let is_decoder = name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
            assert_eq!(role == Role::Trained, is_decoder, "{name}");
            let was = params.get(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(var.flatten_all().unwrap().to_vec1::<f32>().unwrap(), was, "{name}");
        }
        assert!(notes[0].contains("are trained"), "{notes:?}");
    }

    #[test]
    fn latents_start_as_sharp_as_the_file_says() {
        let small = "stage = 'slice'\nmodel.width = 8\nmodel.groups = 8\ndata.frames = 8\n";
        let run = config(&format!("{small}model.log_variance = -4.0"));
        let vae = run.network().unwrap();
        let (network, _, _) = network(&run, &vae, &Device::Cpu).unwrap();
        let video =
            Tensor::zeros((1, 3, 8, 16, 16), candle_core::DType::F32, &Device::Cpu).unwrap();
        let posterior = network.encode(&video).unwrap();
        let mean = posterior.log_variance().mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((mean + 4.0).abs() < 1.0, "{mean}");
    }

    #[test]
    fn a_network_must_be_named_once() {
        let problems = ModelConfig::default().problems("model");
        assert!(problems[0].contains("name a `preset` (v3,"), "{problems:?}");
        let both = ModelConfig {
            preset: Some("v4".into()),
            config: Some("config.json".into()),
            checkpoint: Some("a".into()),
            inflate_from: Some("b".into()),
            ..ModelConfig::default()
        };
        assert_eq!(both.problems("model").len(), 3);
    }
}
