//! What a transformer is made of, and presets. `published.rs` reads the published `config.json`.

use serde::{Deserialize, Serialize};

use super::TransformerError;

/// Channels of a latent: what the model denoises.
pub const LATENT_CHANNELS: usize = 4;
/// Tokens made of one CLIP embedding.
pub const CLIP_TOKENS: usize = 8;
/// Width of a CLIP ViT-L/14 image embedding.
pub const CLIP_CHANNELS: usize = 768;
/// Groups of the motion module's norm.
pub(super) const NORM_GROUPS: usize = 32;
/// From this `sample_size` on, PixArt tells the model the picture's size.
const SIZE_CONDITION: usize = 128;
/// The most of anything but layers, and the most layers. No network is as large: what is above is a
/// damaged header, and would overflow or ask for memory that no machine has.
const MOST: usize = 1 << 16;
const MOST_LAYERS: usize = 1 << 10;

/// Over what an attention of the motion module looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MotionAttention {
    /// Over all frames, at one place.
    #[serde(rename = "Temporal_Self")]
    Temporal,
    /// Over all places of all frames.
    #[serde(rename = "Global_Self")]
    Global,
}

/// The motion modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Motion {
    /// Heads of their attentions.
    pub heads: usize,
    /// Attentions of layers 0, 2, 4, ...
    pub even: Vec<MotionAttention>,
    /// Attentions of layers 1, 3, 5, ...
    pub odd: Vec<MotionAttention>,
}

/// What a transformer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Heads of the spatial and cross attentions.
    pub heads: usize,
    /// Width of a head; the network's width is `heads * head_width`.
    pub head_width: usize,
    /// Channels that go in: 4, or 12 with the mask's and the masked video's latents.
    pub in_channels: usize,
    /// Channels that come out: 4, or 8 with the variance.
    pub out_channels: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of a text token.
    pub caption_channels: usize,
    /// Latent rows and columns that the network was made for; positions are scaled to them.
    pub sample_size: usize,
    /// Pixels of a latent along each edge of a token.
    pub patch: usize,
    /// `None`: each frame by itself, as PixArt.
    pub motion: Option<Motion>,
    /// Whether early layers are joined to late ones.
    pub has_long_skips: bool,
}

impl Config {
    /// Presets by name, smallest first.
    pub const PRESETS: [&str; 3] = ["tiny", "s", "xl2"];

    /// The paper's: PixArt-alpha XL/2 with hybrid motion modules; 1.54 billion parameters.
    #[must_use]
    pub fn xl2() -> Self {
        Self {
            heads: 16,
            head_width: 72,
            in_channels: 12,
            out_channels: 8,
            layers: 28,
            caption_channels: 4096,
            sample_size: 64,
            patch: 2,
            motion: Some(Motion::hybrid(16)),
            has_long_skips: true,
        }
    }

    /// DiT-S's size (arXiv 2212.09748, table 1) for text tokens of MiniLM: 70 million parameters,
    /// for one small GPU.
    #[must_use]
    pub fn s() -> Self {
        Self {
            heads: 6,
            head_width: 64,
            layers: 12,
            caption_channels: 384,
            sample_size: 32,
            motion: Some(Motion::hybrid(6)),
            ..Self::xl2()
        }
    }

    /// For tests and for a first try on a CPU.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            heads: 4,
            head_width: 16,
            layers: 4,
            caption_channels: 384,
            sample_size: 16,
            motion: Some(Motion::hybrid(4)),
            ..Self::xl2()
        }
    }

    /// A preset.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn preset(name: &str) -> Result<Self, TransformerError> {
        match name {
            "xl2" => Ok(Self::xl2()),
            "s" => Ok(Self::s()),
            "tiny" => Ok(Self::tiny()),
            _ => Err(TransformerError::Preset {
                name: name.to_owned(),
                known: Self::PRESETS.join(", "),
            }),
        }
    }

    /// Plain PixArt of the same size: no motion modules, no long skips, no masked video.
    #[must_use]
    pub fn without_additions(&self) -> Self {
        Self { in_channels: LATENT_CHANNELS, motion: None, has_long_skips: false, ..self.clone() }
    }

    /// Checks that the numbers go together.
    ///
    /// # Errors
    /// With everything that does not.
    pub fn check(&self) -> Result<(), TransformerError> {
        match self.problems() {
            problems if problems.is_empty() => Ok(()),
            problems => {
                Err(TransformerError::Config { origin: "the configuration".into(), problems })
            }
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                problems.push(problem);
            }
        };
        for (key, value, most) in [
            ("num_attention_heads", self.heads, MOST),
            ("attention_head_dim", self.head_width, MOST),
            ("num_layers", self.layers, MOST_LAYERS),
            ("caption_channels", self.caption_channels, MOST),
            ("sample_size", self.sample_size, MOST),
            ("patch_size", self.patch, MOST),
        ] {
            check(value > 0, format!("`{key}` is 0"));
            check(value <= most, format!("`{key}` is {value}, and can be {most} at most"));
        }
        let ins = [LATENT_CHANNELS, 3 * LATENT_CHANNELS];
        check(
            ins.contains(&self.in_channels),
            format!("`in_channels` is {}, not 4 or 12", self.in_channels),
        );
        let outs = [LATENT_CHANNELS, 2 * LATENT_CHANNELS];
        check(
            outs.contains(&self.out_channels),
            format!("`out_channels` is {}, not 4 or 8", self.out_channels),
        );
        let width = self.heads.checked_mul(self.head_width).filter(|width| *width <= MOST);
        let Some(width) = width else {
            check(
                false,
                format!(
                    "the width, `num_attention_heads` ({}) times `attention_head_dim` ({}), can be \
                     {MOST} at most",
                    self.heads, self.head_width
                ),
            );
            return problems;
        };
        check(
            width.is_multiple_of(4),
            format!("the width {width} is no multiple of 4, which positions need"),
        );
        if let Some(motion) = &self.motion {
            check(
                width.is_multiple_of(NORM_GROUPS),
                format!(
                    "the width {width} is no multiple of {NORM_GROUPS}, which motion modules need"
                ),
            );
            check(
                motion.heads > 0 && width.is_multiple_of(motion.heads),
                format!(
                    "the width {width} is no multiple of the motion modules' {} heads",
                    motion.heads
                ),
            );
            check(
                motion.even.len().min(motion.odd.len()) > 0,
                "`attention_block_types` is empty".into(),
            );
        }
        if self.has_size_condition() {
            check(
                width.is_multiple_of(3),
                format!("the width {width} is no multiple of 3, which sizes need"),
            );
        }
        problems
    }

    /// Width of a token.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Whether CLIP tokens can be given.
    #[must_use]
    pub const fn has_clip(&self) -> bool {
        self.in_channels == 3 * LATENT_CHANNELS
    }

    /// Whether the picture's height and width in pixels must be given.
    #[must_use]
    pub const fn has_size_condition(&self) -> bool {
        self.sample_size == SIZE_CONDITION
    }

    /// How many long skips there are: layer `i` is joined to layer `layers - 1 - i`, save for the
    /// middle two (or three) layers. The published code has this for 28 layers only.
    #[must_use]
    pub const fn long_skips(&self) -> usize {
        if self.has_long_skips { (self.layers / 2).saturating_sub(1) } else { 0 }
    }

    /// The attentions of a layer's motion module.
    #[must_use]
    pub fn motion_of(&self, layer: usize) -> &[MotionAttention] {
        match &self.motion {
            Some(motion) if layer.is_multiple_of(2) => &motion.even,
            Some(motion) => &motion.odd,
            None => &[],
        }
    }
}

impl Motion {
    /// The paper's: temporal twice in even layers, temporal and global in odd ones.
    #[must_use]
    pub fn hybrid(heads: usize) -> Self {
        use MotionAttention::{Global, Temporal};
        Self { heads, even: vec![Temporal, Temporal], odd: vec![Temporal, Global] }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, MotionAttention};

    #[test]
    fn every_preset_is_sound_and_survives_its_file() {
        for name in Config::PRESETS {
            let config = Config::preset(name).unwrap();
            config.check().unwrap();
            assert_eq!(Config::from_json(name, &config.to_json()).unwrap(), config);
            let plain = config.without_additions();
            assert_eq!(Config::from_json(name, &plain.to_json()).unwrap(), plain);
        }
        let text = Config::preset("xxl").unwrap_err().to_string();
        assert!(text.contains("`xxl`") && text.contains("tiny, s, xl2"), "{text}");
    }

    #[test]
    fn all_that_cannot_be_built_is_said_at_once() {
        let text = Config::xl2()
            .to_json()
            .replace("\"patch_3d\": false", "\"patch_3d\": true")
            .replace("Vanilla", "VanillaGrid")
            .replace("global_motionmodule", "selfattentiontemporal");
        let error = Config::from_json("config.json", &text).unwrap_err().to_string();
        for part in
            ["config.json", "`patch_3d` is true", "`VanillaGrid`", "`selfattentiontemporal`"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        let odd = Config { heads: 5, head_width: 3, in_channels: 7, ..Config::tiny() };
        let error = odd.check().unwrap_err().to_string();
        for part in ["`in_channels` is 7", "multiple of 4", "multiple of 32"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn numbers_of_a_damaged_header_are_refused_before_anything_is_reserved() {
        let tiny = Config::tiny();
        for (config, part) in [
            (
                Config { heads: 1 << 62, ..tiny.clone() },
                "`num_attention_heads` is 4611686018427387904",
            ),
            (Config { head_width: 1_000_000_000_000, ..tiny.clone() }, "can be 65536 at most"),
            (Config { heads: 1024, head_width: 1024, ..tiny.clone() }, "the width, `num_"),
            (Config { layers: 1_000_000_000, ..tiny.clone() }, "can be 1024 at most"),
            (Config { caption_channels: usize::MAX, ..tiny.clone() }, "`caption_channels`"),
            (Config { sample_size: usize::MAX, ..tiny.clone() }, "`sample_size`"),
            (Config { patch: usize::MAX, ..tiny.clone() }, "`patch_size`"),
        ] {
            let error = Config::from_json("x", &config.to_json()).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn long_skips_pair_layers_from_the_outside_in() {
        let of = |layers| Config { layers, ..Config::tiny() }.long_skips();
        // 28 layers have thirteen, as published; the middle pair has none.
        assert_eq!([1, 2, 3, 4, 5, 6, 28].map(of), [0, 0, 0, 1, 1, 2, 13]);
        let config = Config::xl2();
        assert_eq!(config.motion_of(0)[1], MotionAttention::Temporal);
        assert_eq!(config.motion_of(27)[1], MotionAttention::Global);
    }
}
