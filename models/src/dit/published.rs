//! The published `config.json`.
//!
//! Such files have switches of V1 to V4 models. What this project builds is V3, and PixArt, which
//! is V3 without its additions. Any switch that asks for something else is refused by name rather
//! than ignored: a network that runs and is another one costs days. Keys that do not shape the
//! network, such as those of `diffusers`, are passed over.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{Config, Motion, MotionAttention, TransformerError};

impl Config {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// When it cannot be read, or asks for what is not built here.
    pub fn open(path: &Path) -> Result<Self, TransformerError> {
        let text = fs::read_to_string(path)
            .map_err(|source| TransformerError::Read { path: path.to_owned(), source })?;
        Self::from_json(&path.display().to_string(), &text)
    }

    /// Reads the text of a published `config.json`; `origin` names it in messages.
    ///
    /// # Errors
    /// When it is not valid, or asks for what is not built here.
    pub fn from_json(origin: &str, text: &str) -> Result<Self, TransformerError> {
        let published: Published = serde_json::from_str(text)
            .map_err(|source| TransformerError::Json { origin: origin.to_owned(), source })?;
        let (config, problems) = published.read();
        let problems = if problems.is_empty() { config.problems() } else { problems };
        if problems.is_empty() {
            return Ok(config);
        }
        Err(TransformerError::Config { origin: origin.to_owned(), problems })
    }

    /// The text of a `config.json` that [`Config::from_json`] and the published code read.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&Published::from(self)).unwrap_or_default()
    }
}

/// The published file.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    num_attention_heads: usize,
    attention_head_dim: usize,
    in_channels: usize,
    out_channels: usize,
    num_layers: usize,
    caption_channels: usize,
    sample_size: usize,
    patch_size: usize,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    activation_fn: Option<String>,
    #[serde(default)]
    norm_type: Option<String>,
    #[serde(default)]
    basic_block_type: Option<String>,
    #[serde(default)]
    enable_uvit: bool,
    #[serde(default)]
    motion_module_type: Option<String>,
    #[serde(default)]
    motion_module_kwargs: Option<Module>,
    #[serde(default)]
    motion_module_kwargs_even: Option<Module>,
    #[serde(default)]
    motion_module_kwargs_odd: Option<Module>,
    #[serde(default)]
    patch_3d: bool,
    #[serde(default)]
    fake_3d: bool,
    #[serde(default)]
    casual_3d: bool,
    #[serde(default)]
    qk_norm: bool,
    #[serde(default)]
    after_norm: bool,
    #[serde(default)]
    time_position_encoding_before_transformer: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Module {
    num_attention_heads: usize,
    num_transformer_block: usize,
    attention_block_types: Vec<MotionAttention>,
    #[serde(default = "yes")]
    temporal_position_encoding: bool,
    #[serde(default = "one")]
    temporal_attention_dim_div: usize,
    #[serde(default = "one")]
    block_size: usize,
    #[serde(default)]
    remove_time_embedding_in_photo: bool,
}

const fn yes() -> bool {
    true
}

const fn one() -> usize {
    1
}

impl Published {
    /// The configuration, and every switch that is set otherwise than here.
    fn read(&self) -> (Config, Vec<String>) {
        let mut problems = Vec::new();
        for (key, value) in [
            ("patch_3d", self.patch_3d),
            ("fake_3d", self.fake_3d),
            ("casual_3d", self.casual_3d),
            ("qk_norm", self.qk_norm),
            ("after_norm", self.after_norm),
            (
                "time_position_encoding_before_transformer",
                self.time_position_encoding_before_transformer,
            ),
            ("attention_bias", self.attention_bias == Some(false)),
        ] {
            if value {
                let value = key != "attention_bias";
                problems.push(format!("`{key}` is {value}"));
            }
        }
        let basic = self.basic_block_type.as_deref().unwrap_or("basic");
        for (key, value, known) in [
            ("activation_fn", &self.activation_fn, "gelu-approximate"),
            ("norm_type", &self.norm_type, "ada_norm_single"),
            ("motion_module_type", &self.motion_module_type, "Vanilla"),
        ] {
            if let Some(value) = value.as_ref().filter(|value| *value != known) {
                problems.push(format!("`{key}` is `{value}`, not `{known}`"));
            }
        }
        let motion = match basic {
            "basic" => None,
            "motionmodule" => {
                self.modules(&mut problems, "motion_module_kwargs", "motion_module_kwargs")
            }
            "global_motionmodule" => {
                self.modules(&mut problems, "motion_module_kwargs_even", "motion_module_kwargs_odd")
            }
            other => {
                let known = "`basic`, `motionmodule` or `global_motionmodule`";
                problems.push(format!("`basic_block_type` is `{other}`, not {known}"));
                None
            }
        };
        let config = Config {
            heads: self.num_attention_heads,
            head_width: self.attention_head_dim,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            layers: self.num_layers,
            caption_channels: self.caption_channels,
            sample_size: self.sample_size,
            patch: self.patch_size,
            motion,
            has_long_skips: self.enable_uvit,
        };
        (config, problems)
    }

    fn modules(&self, problems: &mut Vec<String>, even: &str, odd: &str) -> Option<Motion> {
        let mut of = |key: &str| {
            let module = match key {
                "motion_module_kwargs" => &self.motion_module_kwargs,
                "motion_module_kwargs_even" => &self.motion_module_kwargs_even,
                _ => &self.motion_module_kwargs_odd,
            };
            let Some(module) = module else {
                problems.push(format!("`{key}` is missing"));
                return None;
            };
            let sizes = [
                ("num_transformer_block", module.num_transformer_block),
                ("temporal_attention_dim_div", module.temporal_attention_dim_div),
                ("block_size", module.block_size),
            ];
            for (name, value) in sizes.into_iter().filter(|(_, value)| *value != 1) {
                problems.push(format!("`{key}.{name}` is {value}, not 1"));
            }
            if !module.temporal_position_encoding {
                problems.push(format!("`{key}.temporal_position_encoding` is false"));
            }
            if module.remove_time_embedding_in_photo {
                problems.push(format!("`{key}.remove_time_embedding_in_photo` is true"));
            }
            Some(module)
        };
        let (even, odd) = (of(even)?, of(odd)?);
        if even.num_attention_heads != odd.num_attention_heads {
            problems.push("`num_attention_heads` of even and odd motion modules differ".into());
        }
        Some(Motion {
            heads: even.num_attention_heads,
            even: even.attention_block_types.clone(),
            odd: odd.attention_block_types.clone(),
        })
    }
}

impl From<&Config> for Published {
    fn from(config: &Config) -> Self {
        let module = |types: &Vec<MotionAttention>, heads| Module {
            num_attention_heads: heads,
            num_transformer_block: 1,
            attention_block_types: types.clone(),
            temporal_position_encoding: true,
            temporal_attention_dim_div: 1,
            block_size: 1,
            remove_time_embedding_in_photo: false,
        };
        let motion = config.motion.as_ref();
        let block = if motion.is_some() { "global_motionmodule" } else { "basic" };
        Self {
            num_attention_heads: config.heads,
            attention_head_dim: config.head_width,
            in_channels: config.in_channels,
            out_channels: config.out_channels,
            num_layers: config.layers,
            caption_channels: config.caption_channels,
            sample_size: config.sample_size,
            patch_size: config.patch,
            attention_bias: Some(true),
            activation_fn: Some("gelu-approximate".into()),
            norm_type: Some("ada_norm_single".into()),
            basic_block_type: Some(block.into()),
            enable_uvit: config.has_long_skips,
            motion_module_type: Some("Vanilla".into()),
            motion_module_kwargs: None,
            motion_module_kwargs_even: motion.map(|motion| module(&motion.even, motion.heads)),
            motion_module_kwargs_odd: motion.map(|motion| module(&motion.odd, motion.heads)),
            patch_3d: false,
            fake_3d: false,
            casual_3d: false,
            qk_norm: false,
            after_norm: false,
            time_position_encoding_before_transformer: false,
        }
    }
}
