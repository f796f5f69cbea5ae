//! The `config.json` beside a published checkpoint.
//!
//! Keys are those of the constructor of `AutoencoderKLMagvit` (EasyAnimate V3). What this code has
//! beyond it goes under keys of its own, so that a published file is never read as something else.
//! Keys that are not listed here are ignored, since diffusers writes several that change nothing;
//! values that would change what is computed, and are not known here, are refused.

use serde::{Deserialize, Serialize};

use super::{
    VaeError,
    config::{Chunking, DEFAULT_SCALING, MidAttention, NormOver, Resample, Tiling, VaeConfig},
};

/// A `config.json`: keys and defaults are those of the published constructor, and below them ours.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Published {
    in_channels: usize,
    out_channels: usize,
    ch: usize,
    ch_mult: Vec<usize>,
    layers_per_block: usize,
    latent_channels: usize,
    norm_num_groups: usize,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    mid_block_type: String,
    mid_block_use_attention: bool,
    mid_block_attention_type: String,
    mid_block_num_attention_heads: usize,
    use_gc_blocks: Option<Vec<bool>>,
    act_fn: String,
    spatial_group_norm: bool,
    slice_compression_vae: bool,
    cache_compression_vae: bool,
    cache_mag_vae: bool,
    mini_batch_encoder: usize,
    mini_batch_decoder: usize,
    use_tiling: bool,
    scaling_factor: f64,
    /// Ours: [`Chunking::Carried`].
    carried_chunks: bool,
    /// Ours: [`Chunking::Slice`]'s `neighbours`.
    decoder_neighbours: bool,
    /// Ours: [`Tiling::side`].
    tile_side: usize,
    /// Ours: [`Tiling::stride`].
    tile_stride: usize,
}

impl Default for Published {
    fn default() -> Self {
        let types = |way: &str| {
            let kinds = ["Spatial", "SpatialTemporal", "SpatialTemporal", "SpatialTemporal"];
            kinds.iter().map(|kind| format!("{kind}{way}Block3D")).collect()
        };
        let tiling = Tiling::default();
        Self {
            in_channels: 3,
            out_channels: 3,
            ch: 128,
            ch_mult: vec![1, 2, 4, 4],
            layers_per_block: 2,
            latent_channels: 4,
            norm_num_groups: 32,
            down_block_types: types("Down"),
            up_block_types: types("Up"),
            mid_block_type: "MidBlock3D".to_owned(),
            mid_block_use_attention: true,
            mid_block_attention_type: "3d".to_owned(),
            mid_block_num_attention_heads: 1,
            use_gc_blocks: None,
            act_fn: "silu".to_owned(),
            spatial_group_norm: false,
            slice_compression_vae: false,
            cache_compression_vae: false,
            cache_mag_vae: false,
            mini_batch_encoder: 9,
            mini_batch_decoder: 3,
            use_tiling: false,
            scaling_factor: DEFAULT_SCALING,
            carried_chunks: false,
            decoder_neighbours: true,
            tile_side: tiling.side,
            tile_stride: tiling.stride,
        }
    }
}

impl Published {
    pub(super) fn of(config: &VaeConfig) -> Self {
        let types = |between: &[Resample], way: &str| {
            // The last block resamples nothing, whatever its name says.
            let last = between.last().copied().unwrap_or(Resample::Spatial);
            let name = |resample: &Resample| match resample {
                Resample::Spatial => format!("Spatial{way}Block3D"),
                Resample::SpatialTemporal => format!("SpatialTemporal{way}Block3D"),
            };
            between.iter().chain([&last]).map(name).collect()
        };
        let (frames, latents) = match config.chunking {
            Chunking::Slice { frames, latents, .. }
            | Chunking::MagVit { frames, latents }
            | Chunking::Carried { frames, latents } => (frames, latents),
        };
        let tiling = config.tiling.unwrap_or_default();
        let attention = match config.attention {
            MidAttention::Clip => "3d",
            MidAttention::Frame => "spatial",
        };
        Self {
            in_channels: config.channels,
            out_channels: config.channels,
            ch: config.width,
            ch_mult: config.multipliers.clone(),
            layers_per_block: config.layers,
            latent_channels: config.latent_channels,
            norm_num_groups: config.groups,
            down_block_types: types(&config.down, "Down"),
            up_block_types: types(&config.up, "Up"),
            mid_block_attention_type: attention.to_owned(),
            spatial_group_norm: config.norms == NormOver::Frame,
            slice_compression_vae: matches!(config.chunking, Chunking::Slice { .. }),
            mini_batch_encoder: frames,
            mini_batch_decoder: latents,
            use_tiling: config.tiling.is_some(),
            scaling_factor: config.scaling_factor,
            carried_chunks: matches!(config.chunking, Chunking::Carried { .. }),
            decoder_neighbours: !matches!(
                config.chunking,
                Chunking::Slice { neighbours: false, .. }
            ),
            tile_side: tiling.side,
            tile_stride: tiling.stride,
            ..Self::default()
        }
    }

    pub(super) fn config(&self) -> Result<VaeConfig, VaeError> {
        let mut problems = Vec::new();
        for (key, is_other) in [
            ("mid_block_type", self.mid_block_type != "MidBlock3D"),
            ("mid_block_use_attention", !self.mid_block_use_attention),
            ("mid_block_num_attention_heads", self.mid_block_num_attention_heads != 1),
            ("use_gc_blocks", self.use_gc_blocks.iter().flatten().any(|is_used| *is_used)),
            ("act_fn", self.act_fn != "silu"),
            ("out_channels", self.out_channels != self.in_channels),
            ("cache_compression_vae", self.cache_compression_vae),
            ("cache_mag_vae", self.cache_mag_vae),
        ] {
            if is_other {
                problems.push(format!(
                    "{key} has a value that no model of EasyAnimate V1 to V3 has, and that is not \
                     computed here"
                ));
            }
        }
        let attention = match self.mid_block_attention_type.as_str() {
            "3d" => MidAttention::Clip,
            "spatial" => MidAttention::Frame,
            other => {
                problems.push(format!("mid_block_attention_type is {other:?}, not 3d or spatial"));
                MidAttention::Clip
            }
        };
        let down = between("down_block_types", &self.down_block_types, "Down", &mut problems);
        let up = between("up_block_types", &self.up_block_types, "Up", &mut problems);
        let (frames, latents) = (self.mini_batch_encoder, self.mini_batch_decoder);
        let chunking = match (self.slice_compression_vae, self.carried_chunks) {
            (true, false) => {
                Chunking::Slice { frames, latents, neighbours: self.decoder_neighbours }
            }
            (false, false) => Chunking::MagVit { frames, latents },
            (false, true) => Chunking::Carried { frames, latents },
            (true, true) => {
                problems.push("slice_compression_vae and carried_chunks exclude each other".into());
                Chunking::Carried { frames, latents }
            }
        };
        let tiling = Tiling { side: self.tile_side, stride: self.tile_stride };
        let config = VaeConfig {
            channels: self.in_channels,
            latent_channels: self.latent_channels,
            width: self.ch,
            multipliers: self.ch_mult.clone(),
            layers: self.layers_per_block,
            groups: self.norm_num_groups,
            down,
            up,
            attention,
            norms: if self.spatial_group_norm { NormOver::Frame } else { NormOver::Clip },
            chunking,
            tiling: self.use_tiling.then_some(tiling),
            scaling_factor: self.scaling_factor,
        };
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(VaeError::Config { problems }) }
    }
}

/// What lies between blocks: the last block's type is not used.
fn between(key: &str, types: &[String], way: &str, problems: &mut Vec<String>) -> Vec<Resample> {
    let mut all = Vec::new();
    for name in types {
        match name.strip_suffix("Block3D").and_then(|name| name.strip_suffix(way)) {
            Some("Spatial") => all.push(Resample::Spatial),
            Some("SpatialTemporal") => all.push(Resample::SpatialTemporal),
            _ => problems.push(format!(
                "{key} has {name:?}, not Spatial{way}Block3D or SpatialTemporal{way}Block3D"
            )),
        }
    }
    all.pop();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_sound_and_survives_being_written() {
        for name in VaeConfig::PRESETS {
            let config = VaeConfig::preset(name).unwrap();
            config.check().unwrap();
            for config in [config.as_magvit(), VaeConfig { tiling: None, ..config }] {
                assert_eq!(VaeConfig::from_json(&config.to_json()).unwrap(), config);
            }
        }
        assert_eq!(VaeConfig::preset("v2"), None);
    }

    #[test]
    fn a_published_file_is_read_with_the_constructors_defaults() {
        let json = r#"{"_class_name": "AutoencoderKLMagvit", "slice_compression_vae": true,
            "mini_batch_encoder": 8, "mini_batch_decoder": 2, "use_tiling": true}"#;
        let config = VaeConfig::from_json(json).unwrap();
        assert_eq!(config, VaeConfig::preset("v3").unwrap());
        // With none of its keys it is MagViT.
        let magvit = VaeConfig { tiling: None, ..config.as_magvit() };
        assert_eq!(VaeConfig::from_json("{}").unwrap(), magvit);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let json = r#"{"act_fn": "gelu", "cache_mag_vae": true, "norm_num_groups": 48,
            "mini_batch_encoder": 10, "up_block_types": ["UpBlock3D"], "scaling_factor": 0}"#;
        let text = VaeConfig::from_json(json).unwrap_err().to_string();
        for wanted in [
            "act_fn",
            "cache_mag_vae",
            "norm_num_groups (48) must divide 128",
            "mini_batch_encoder (10) must be one more than 4 times",
            "up_block_types has \"UpBlock3D\"",
            "scaling_factor must be a positive number",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let text = VaeConfig::from_json(
            r#"{"carried_chunks": true, "mini_batch_encoder": 8,
            "mini_batch_decoder": 2}"#,
        );
        assert!(text.unwrap_err().to_string().contains("leaves seams"));
        assert!(VaeConfig::from_json(r#"{"ch": "wide"}"#).is_err());
    }

    #[test]
    fn numbers_of_a_damaged_header_are_refused_before_anything_is_reserved() {
        let refused = |json: &str, wanted: &str| {
            let text = VaeConfig::from_json(json).unwrap_err().to_string();
            assert!(text.contains(wanted), "{json}: {text}");
        };
        refused(r#"{"ch": 4611686018427387904}"#, "ch must be at most 65536");
        refused(r#"{"ch": 32768}"#, "ch (32768) times ch_mult (4) must be at most 65536");
        refused(r#"{"layers_per_block": 1000000000}"#, "layers_per_block must be at most 1024");
        refused(r#"{"in_channels": 1000000000000}"#, "in_channels must be at most 65536");
        let chunks = r#"{"mini_batch_encoder": 0, "mini_batch_decoder": 18446744073709551615}"#;
        refused(chunks, "mini_batch_encoder must be at least 1");
        let names = ["\"SpatialTemporalDownBlock3D\""; 80].join(", ");
        refused(&format!("{{\"down_block_types\": [{names}]}}"), "must have at most 16 entries");
    }
}
