//! The arguments of `curate generate`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::UsageError;

/// What to make, of what, and where to.
#[derive(Clone, Debug, Args)]
pub(crate) struct GenerateArgs {
    /// What is to be seen; several are several clips.
    #[arg(value_name = "PROMPT", conflicts_with = "from")]
    pub(super) words: Vec<String>,
    /// More prompts: a line each, or a JSON object a line with `prompt` and, if it likes, `negative` and
    /// `seed`.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(super) prompts: Option<PathBuf>,
    /// A model's folder, or `preset:tiny` for one with random weights, to try the command out.
    #[arg(long, value_name = "FOLDER", required_unless_present = "from")]
    pub(super) model: Option<String>,
    /// The seed of a preset's weights; default: 1.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(super) seed_weights: Option<u64>,
    /// A folder with the text encoder, instead of the one that the model names.
    #[arg(long, value_name = "FOLDER", conflicts_with = "from")]
    pub(super) text_encoder: Option<PathBuf>,
    /// Where to write: a folder, or the name of one file (.mp4, .gif, .png).
    #[arg(long, short, value_name = "PATH", default_value = "generated")]
    pub(super) output: PathBuf,
    /// What to write; default: by the output's name, PNG for a picture, else MP4.
    #[arg(long, value_enum, conflicts_with = "from")]
    pub(super) format: Option<Form>,
    /// Make a clip again as its JSON file says.
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// Replace files that are there and were made otherwise.
    #[arg(long)]
    pub(super) force: bool,
    /// What is not to be seen; default: what the model's card says.
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    pub(super) negative: Option<String>,
    /// The first prompt's seed; each later one's is one more.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        conflicts_with = "from"
    )]
    pub(super) seed: u64,
    /// Width and height in pixels; default: what the model was trained on.
    #[arg(long, value_name = "WxH", conflicts_with = "from")]
    pub(super) size: Option<Sides>,
    /// Frames, 1 for a picture; default: what the model was trained on.
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "from")]
    pub(super) frames: Option<usize>,
    /// Frames per second; default: those that the model was trained on.
    #[arg(long, value_name = "FPS", conflicts_with = "from")]
    pub(super) fps: Option<f64>,
    /// The sampler by name: euler, euler-a, dpm++2m, pndm, pndm-prk, ddim, flow-euler.
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub(super) sampler: Option<String>,
    /// Steps of the sampler.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(super) steps: Option<usize>,
    /// How strongly clips follow their text; 1: the negative prompt does not count, in half the time.
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true, conflicts_with = "from")]
    pub(super) guidance: Option<f64>,
    /// How far the steps of a flow are moved towards noise.
    #[arg(long, value_name = "SHIFT", allow_negative_numbers = true, conflicts_with = "from")]
    pub(super) shift: Option<f64>,
    /// A second pass over decoded frames that hides the seams of slices.
    #[arg(long, value_enum, default_value = "on", conflicts_with = "from")]
    pub(super) smoothing: Toggle,
    /// An image or video that clips begin with (models with 12 input channels).
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(super) start: Option<PathBuf>,
    /// How many first frames of the `--start` video clips begin with.
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "from")]
    pub(super) start_frames: usize,
    /// An image that clips end with (models with 12 input channels).
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(super) end: Option<PathBuf>,
    /// A video that clips are made from; see `--strength`.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(super) video: Option<PathBuf>,
    /// How little of the `--video` is left: above 0, hardly anything happens, up to 1, nothing is left.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.7,
        conflicts_with = "from",
        requires = "video"
    )]
    pub(super) strength: f64,
    /// How pictures of another shape are fitted to the clip's size; default: cover.
    #[arg(long, value_enum, conflicts_with = "from")]
    pub(super) fit: Option<Fit>,
    /// A LoRA file, and how strongly it counts (1); may be given again.
    #[arg(long, value_name = "FILE[=WEIGHT]", conflicts_with = "from")]
    pub(super) lora: Vec<LoraAt>,
    /// Compute LoRA beside the network instead of adding it to the weights.
    #[arg(long, conflicts_with = "from", requires = "lora")]
    pub(super) lora_at_run_time: bool,
    /// Clips that go through the network together.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) batch: u16,
    /// Where to compute: `cpu`, `cuda`, `cuda:1`; default: `cpu`, or as `--from` says.
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<String>,
    /// What to compute in: `f32` or `bf16`; default: `f32`, or as `--from` says.
    #[arg(long, value_name = "TYPE")]
    pub(super) dtype: Option<String>,
    /// A table that MP4 clips are appended to, with their prompts as captions.
    #[arg(long, value_name = "TABLE")]
    pub(super) append: Option<PathBuf>,
}

impl GenerateArgs {
    /// Whoever gives an option expects that it counts, so those that would change nothing are refused.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let has_picture = [&self.start, &self.end, &self.video].iter().any(|file| file.is_some());
        let words = if self.start_frames == 0 {
            "--start-frames must be at least 1"
        } else if self.start_frames > 1 && self.start.is_none() {
            "--start-frames says how many frames of --start are taken: give it, too"
        } else if self.fit.is_some() && !has_picture {
            "--fit says how pictures are fitted, and there is none: give --start, --end or --video, too"
        } else {
            return Ok(());
        };
        Err(UsageError(words.to_owned()))
    }
}

/// What clips are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// H.264 in yuv420p.
    Mp4,
    /// An animated GIF.
    Gif,
    /// A folder of pictures, or one picture.
    Png,
}

impl Form {
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Gif => "gif",
            Self::Png => "png",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Toggle {
    On,
    Off,
}

/// How a picture comes to a size of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fit {
    /// Scaled until it covers the size; what sticks out is cut off.
    Cover,
    /// Scaled each way by itself, as the published pipelines do.
    Stretch,
}

/// Width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sides(pub(super) usize, pub(super) usize);

impl FromStr for Sides {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sides = text.split_once(['x', 'X']);
        let sides = sides.and_then(|(w, h)| Some(Self(w.parse().ok()?, h.parse().ok()?)));
        sides.ok_or("write width and height in pixels, such as 384x672")
    }
}

/// A LoRA file and its weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoraAt {
    pub(super) file: PathBuf,
    pub(super) weight: f64,
}

impl FromStr for LoraAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (file, weight) = match text.rsplit_once('=') {
            None => (text, 1.0),
            Some((file, weight)) => {
                let number = weight.parse().ok().filter(|weight: &f64| weight.is_finite());
                (file, number.ok_or_else(|| format!("`{weight}` is no weight: FILE=0.8"))?)
            }
        };
        Ok(Self { file: file.into(), weight })
    }
}
