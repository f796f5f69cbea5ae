//! What a Slice VAE is made of: presets, and the `config.json` of published checkpoints.
//!
//! The widths are those of the released model: 100 million weights in the encoder, 146 million in the
//! decoder.

use super::{VaeError, published::Published};

/// The most channels, frames and groups, the most layers of a block and the most blocks. No network is as
/// large: what is above is a damaged header, and would overflow or ask for memory that no machine has.
const MOST: usize = 1 << 16;
const MOST_LAYERS: usize = 1 << 10;
const MOST_BLOCKS: usize = 16;

/// What a block does to the size of its input after its residual layers, or before the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// Halves or doubles height and width.
    Spatial,
    /// Halves or doubles the number of frames too.
    SpatialTemporal,
}

/// What the attention in the middle sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MidAttention {
    /// All positions of all frames at hand ("3d").
    Clip,
    /// The positions of one frame ("spatial"): what a frame is does not depend on how a video is cut.
    Frame,
}

/// What group norms take their mean and variance over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOver {
    /// All frames at hand.
    Clip,
    /// Each frame by itself.
    Frame,
}

/// How a video goes through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// The Slice VAE (paper, section 3.1): slices of `frames` frames with zeros around them, an odd
    /// first frame by itself. The decoder's first layers see `latents` latents of a slice and their
    /// neighbours on either side.
    Slice {
        /// Frames of a slice.
        frames: usize,
        /// Latents of a slice.
        latents: usize,
        /// Whether the decoder sees neighbours. It does in every released model.
        neighbours: bool,
    },
    /// MagViT, which the Slice VAE is initialised from: chunks of which the first frame stands by
    /// itself and is repeated before the chunk.
    MagVit {
        /// Frames of a chunk.
        frames: usize,
        /// Latents of a chunk.
        latents: usize,
    },
    /// Causal from the first frame to the last: each convolution keeps the last frames of its input
    /// for the next chunk. Chunks leave no seam, as the result is that of the whole video at once.
    Carried {
        /// Frames of a chunk, the first of a video apart.
        frames: usize,
        /// Latents of a chunk, the first of a video apart.
        latents: usize,
    },
}

/// How large pictures are cut into overlapping tiles. Sizes in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Side of a tile; pictures up to it are not cut. 384 in V3: memory for the decoder's last
    /// layers, and attention over 6 x 48 x 48 positions at most.
    pub side: usize,
    /// From one tile's corner to the next, three quarters of the side in V3.
    pub stride: usize,
}

impl Default for Tiling {
    fn default() -> Self {
        Self { side: 384, stride: 288 }
    }
}

/// A Slice VAE.
#[derive(Clone, Debug, PartialEq)]
pub struct VaeConfig {
    /// Channels of pictures, in and out.
    pub channels: usize,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Channels of the first block.
    pub width: usize,
    /// Width of each block, in multiples of the first.
    pub multipliers: Vec<usize>,
    /// Residual layers of a block of the encoder; the decoder has one more. One less is the number
    /// of attentions in the middle.
    pub layers: usize,
    /// Groups of group norms.
    pub groups: usize,
    /// Between blocks of the encoder, one fewer than blocks.
    pub down: Vec<Resample>,
    /// Between blocks of the decoder, one fewer than blocks.
    pub up: Vec<Resample>,
    /// Attention in the middle.
    pub attention: MidAttention,
    /// What norms see.
    pub norms: NormOver,
    /// How a video is cut in time.
    pub chunking: Chunking,
    /// How pictures are cut; `None`: never.
    pub tiling: Option<Tiling>,
    /// Latents are multiplied by it before the transformer sees them, so that they have about unit
    /// variance.
    pub scaling_factor: f64,
}

impl VaeConfig {
    /// The names of [`VaeConfig::preset`].
    pub const PRESETS: [&str; 4] = ["v3", "v3-carried", "tiny", "tiny-carried"];

    /// A configuration by name: `v3` is the released model's; `tiny` is for tests and examples;
    /// `-carried` are the same widths with [`Chunking::Carried`] and nothing that looks across frames
    /// except convolutions.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let (width, is_carried) = match name {
            "v3" => (128, false),
            "v3-carried" => (128, true),
            "tiny" => (32, false),
            "tiny-carried" => (32, true),
            _ => return None,
        };
        let between = vec![Resample::Spatial, Resample::SpatialTemporal, Resample::SpatialTemporal];
        let slice = Self {
            channels: 3,
            latent_channels: 4,
            width,
            multipliers: if width == 128 { vec![1, 2, 4, 4] } else { vec![1, 1, 2, 2] },
            layers: 2,
            groups: 32,
            down: between.clone(),
            up: between,
            attention: MidAttention::Clip,
            norms: NormOver::Clip,
            chunking: Chunking::Slice { frames: 8, latents: 2, neighbours: true },
            tiling: Some(Tiling::default()),
            scaling_factor: DEFAULT_SCALING,
        };
        Some(if is_carried {
            Self {
                attention: MidAttention::Frame,
                norms: NormOver::Frame,
                chunking: Chunking::Carried { frames: 8, latents: 2 },
                ..slice
            }
        } else {
            slice
        })
    }

    /// The same network as MagViT, in chunks of nine frames.
    #[must_use]
    pub fn as_magvit(&self) -> Self {
        Self { chunking: Chunking::MagVit { frames: 9, latents: 3 }, ..self.clone() }
    }

    /// Reads the `config.json` beside a checkpoint.
    ///
    /// # Errors
    /// [`VaeError::Config`] with every key that is wrong.
    pub fn from_json(json: &str) -> Result<Self, VaeError> {
        let published: Published = serde_json::from_str(json).map_err(VaeError::Json)?;
        published.config()
    }

    /// Writes what [`VaeConfig::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and names always become JSON.
        serde_json::to_string_pretty(&Published::of(self)).unwrap_or_default()
    }

    /// Channels of each block.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        self.multipliers.iter().map(|multiple| multiple * self.width).collect()
    }

    /// Pixels to one latent, along height and width.
    #[must_use]
    pub fn spatial_factor(&self) -> usize {
        1 << self.down.len()
    }

    /// Frames to one latent.
    #[must_use]
    pub fn temporal_factor(&self) -> usize {
        let halvings = self.down.iter().filter(|down| **down == Resample::SpatialTemporal);
        1 << halvings.count()
    }

    /// All that is wrong, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let blocks = self.multipliers.len();
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                problems.push(problem);
            }
        };
        let (Chunking::Slice { frames: chunk, .. }
        | Chunking::MagVit { frames: chunk, .. }
        | Chunking::Carried { frames: chunk, .. }) = self.chunking;
        for (key, value, most) in [
            ("in_channels", self.channels, MOST),
            ("latent_channels", self.latent_channels, MOST),
            ("ch", self.width, MOST),
            ("layers_per_block", self.layers, MOST_LAYERS),
            ("norm_num_groups", self.groups, MOST),
            ("mini_batch_encoder", chunk, MOST),
            ("the number of ch_mult", blocks, MOST_BLOCKS),
        ] {
            check(value > 0, format!("{key} must be at least 1"));
            check(value <= most, format!("{key} must be at most {most}, and is {value}"));
        }
        if self.down.len().max(self.up.len()) >= MOST_BLOCKS {
            // What time and space are divided by could not be counted.
            check(
                false,
                format!(
                    "down_block_types and up_block_types must have at most {MOST_BLOCKS} entries"
                ),
            );
            return problems;
        }
        let between = blocks.saturating_sub(1);
        for (key, list) in [("down_block_types", &self.down), ("up_block_types", &self.up)] {
            check(list.len() == between, format!("{key} must have one entry for each of ch_mult"));
        }
        let temporal =
            |list: &[Resample]| list.iter().filter(|r| **r == Resample::SpatialTemporal).count();
        check(
            temporal(&self.down) == temporal(&self.up),
            "down_block_types and up_block_types must halve and double time equally often"
                .to_owned(),
        );
        for multiple in &self.multipliers {
            let width = multiple.checked_mul(self.width).filter(|width| *width <= MOST);
            let Some(width) = width else {
                check(
                    false,
                    format!(
                        "ch ({}) times ch_mult ({multiple}) must be at most {MOST}",
                        self.width
                    ),
                );
                continue;
            };
            let divides = self.groups > 0 && width > 0 && width.is_multiple_of(self.groups);
            check(divides, format!("norm_num_groups ({}) must divide {width}", self.groups));
        }
        let factor = self.temporal_factor();
        match self.chunking {
            Chunking::Slice { frames, latents, .. } | Chunking::Carried { frames, latents } => {
                check(
                    latents > 0 && frames == latents.saturating_mul(factor),
                    format!(
                        "mini_batch_encoder ({frames}) must be {factor} times mini_batch_decoder \
                     ({latents})"
                    ),
                )
            }
            Chunking::MagVit { frames, latents } => check(
                latents > 0 && frames == (latents - 1).saturating_mul(factor).saturating_add(1),
                format!(
                    "mini_batch_encoder ({frames}) must be one more than {factor} times one less \
                     than mini_batch_decoder ({latents})"
                ),
            ),
        }
        if let Chunking::Carried { .. } = self.chunking {
            check(
                self.attention == MidAttention::Frame && self.norms == NormOver::Frame,
                "carried chunks need mid_block_attention_type \"spatial\" and spatial_group_norm: \
                 what looks across the frames of a chunk leaves seams"
                    .to_owned(),
            );
        }
        if let Some(Tiling { side, stride }) = self.tiling {
            let factor = self.spatial_factor();
            check(
                stride > 0
                    && stride <= side
                    && side.is_multiple_of(factor)
                    && stride.is_multiple_of(factor),
                format!(
                    "tiles of {side} every {stride} must be multiples of {factor} that overlap"
                ),
            );
        }
        check(
            self.scaling_factor.is_finite() && self.scaling_factor > 0.0,
            "scaling_factor must be a positive number".to_owned(),
        );
        problems
    }

    /// # Errors
    /// [`VaeError::Config`] with everything that is wrong.
    pub(super) fn check(&self) -> Result<(), VaeError> {
        match self.problems() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(VaeError::Config { problems }),
        }
    }
}

/// The default in the released code, where Stable Diffusion has 0.18215.
pub(super) const DEFAULT_SCALING: f64 = 0.1825;
