//! The `[model]` of a run's file: the network, what it begins with, and what stands around it.

use std::path::PathBuf;

use curate_models::{dit::Config, generate::TextSpec};
use serde::{Deserialize, Serialize};

/// The network and what stands around it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// What training begins with: a model's folder, as `curate train` or the authors write it, or a
    /// transformer's checkpoint. PixArt's does too; what it lacks starts as zero.
    pub from: Option<PathBuf>,
    /// What the network is made of, where `from` does not say: `xl2` (the paper's), `s`, `tiny`.
    pub preset: Option<String>,
    /// Blocks, in place of the preset's.
    pub layers: Option<usize>,
    /// Heads, in place of the preset's; those of motion modules too.
    pub heads: Option<usize>,
    /// Width of a head, in place of the preset's.
    pub head_width: Option<usize>,
    /// 12: frames can be given; 4: text alone.
    pub in_channels: Option<usize>,
    /// 8: the variance is learned; 4: it is not.
    pub out_channels: Option<usize>,
    /// Latent rows and columns that positions are counted in.
    pub sample_size: Option<usize>,
    /// The VAE's checkpoint; without one, that of the folder `from`.
    pub vae: Option<PathBuf>,
    /// The text encoder; without one, that of the folder `from`, or MiniLM.
    pub text: Option<TextSpec>,
    /// The folder of CLIP's image tower, for networks of 12 channels; without one, that of the folder
    /// `from`, if it has one.
    pub image: Option<PathBuf>,
    /// Frames a second of the clips in the table, for the model's card, where `data.fps` does not
    /// set them; without it those of the folder `from`, or 24.
    pub fps: Option<f64>,
}

impl ModelConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(error)) = self.preset.as_deref().map(Config::preset) {
            problems.push(format!("`{key}.preset`: {error}"));
        }
        let is_folder = self.from.as_ref().is_some_and(|path| path.is_dir());
        if self.preset.is_none() && self.from.is_none() {
            let known = Config::PRESETS.join(", ");
            problems.push(format!("`{key}` names no network: give a `preset` ({known}) or `from`"));
        }
        if let Some(path) = self.from.as_ref().filter(|path| !path.exists()) {
            problems
                .push(format!("`{key}.from` is {}, and there is no such thing", path.display()));
        }
        if self.vae.is_none() && !is_folder {
            problems.push(format!(
                "`{key}.vae` names no VAE; `curate train vae` makes one, as vae.safetensors in its folder"
            ));
        }
        if let Some(path) = self.vae.as_ref().filter(|path| !path.is_file()) {
            problems.push(format!("`{key}.vae` is {}, and there is no such file", path.display()));
        }
        if let Some(fps) = self.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
            problems.push(format!("`{key}.fps` is {fps}, not a number above 0"));
        }
        problems
    }

    /// Whether it says anything of the network's own shape.
    pub(super) const fn is_reshaped(&self) -> bool {
        self.preset.is_some()
            || self.layers.is_some()
            || self.heads.is_some()
            || self.head_width.is_some()
            || self.in_channels.is_some()
            || self.out_channels.is_some()
            || self.sample_size.is_some()
    }

    /// The configuration of a preset with this file's own numbers.
    pub(super) fn shaped(&self, mut config: Config) -> Config {
        if let Some(heads) = self.heads {
            config.heads = heads;
            if let Some(motion) = &mut config.motion {
                motion.heads = heads;
            }
        }
        config.layers = self.layers.unwrap_or(config.layers);
        config.head_width = self.head_width.unwrap_or(config.head_width);
        config.in_channels = self.in_channels.unwrap_or(config.in_channels);
        config.out_channels = self.out_channels.unwrap_or(config.out_channels);
        config.sample_size = self.sample_size.unwrap_or(config.sample_size);
        config
    }
}
