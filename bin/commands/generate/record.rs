//! What made a clip, in a JSON file beside it: enough to make it again (`--from`), and to tell whether
//! a file that is there is the one that is wanted.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use curate_models::{
    diffusion::SamplerKind,
    generate::{ModelHashes, Settings, Task},
};
use serde::{Deserialize, Serialize};

use super::args::{Fit, Form};
use crate::UsageError;

/// A clip's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) prompt: String,
    pub(super) negative: String,
    pub(super) seed: u64,
    pub(super) model: ModelRecord,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) frames: usize,
    pub(super) fps: f64,
    pub(super) sampler: SamplerKind,
    pub(super) steps: usize,
    pub(super) guidance: f64,
    pub(super) shift: f64,
    pub(super) smoothing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<InputRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<InputRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) video: Option<InputRecord>,
    pub(super) strength: f64,
    pub(super) fit: Fit,
    pub(super) format: Form,
    pub(super) device: String,
    pub(super) dtype: String,
    pub(super) curate_version: String,
}

/// A model, where it was and what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelRecord {
    /// A folder, or `preset:NAME`.
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seed_weights: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text_encoder: Option<PathBuf>,
    /// SHA-256 of the weights.
    pub(super) transformer_sha256: String,
    pub(super) vae_sha256: String,
    pub(super) text_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image_sha256: Option<String>,
    /// SHA-256 of what says how the weights are used.
    pub(super) config_sha256: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) loras: Vec<LoraRecord>,
    #[serde(default)]
    pub(super) lora_at_run_time: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoraRecord {
    pub(super) file: PathBuf,
    pub(super) weight: f64,
    /// Of the tensors.
    pub(super) blake3: String,
    /// Of PEFT's `adapter_config.json`, which says how strongly they count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config_blake3: Option<String>,
}

impl LoraRecord {
    /// # Errors
    /// When the file is another one than the record's.
    pub(super) fn check(&self, found: &Self) -> anyhow::Result<()> {
        check_file(&self.file, &self.blake3, &found.blake3)?;
        let of = |record: &Self| record.config_blake3.clone().unwrap_or_default();
        let config = "adapter_config.json";
        let config = match self.file.is_dir() {
            true => self.file.join(config),
            false => self.file.with_file_name(config),
        };
        check_file(&config, &of(self), &of(found))
    }
}

/// A picture or video that a clip was made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputRecord {
    pub(super) file: PathBuf,
    /// Frames of it that were used.
    pub(super) frames: usize,
    pub(super) blake3: String,
}

impl Record {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--from: cannot read {shown}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| {
            UsageError(format!(
                "--from: {shown} is not a file that `curate generate` wrote beside a clip: {error}"
            ))
            .into()
        })
    }

    pub(super) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self).context("cannot write a record")? + "\n")
    }

    /// The same for another prompt.
    pub(super) fn of(&self, task: &Task) -> Self {
        let Task { prompt, negative, seed } = task.clone();
        Self { prompt, negative, seed, ..self.clone() }
    }

    /// Whether a file is a record, be it of another version's: it may be replaced, and no other JSON.
    pub(super) fn is_record(path: &Path) -> bool {
        let text = std::fs::read(path).unwrap_or_default();
        let keys: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).unwrap_or_default();
        let own = ["prompt", "seed", "model", "sampler", "curate_version"];
        own.iter().all(|key| keys.contains_key(*key))
    }

    /// Whether the clip that the file at `path` tells of is this one; which version wrote it does not
    /// matter.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let Ok(text) = std::fs::read_to_string(path) else { return false };
        let Ok(other) = serde_json::from_str::<Self>(&text) else { return false };
        Self { curate_version: self.curate_version.clone(), ..other } == *self
    }

    /// # Errors
    /// When it has the strength of a video, and no video.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        if self.strength < 1.0 && self.video.is_none() {
            return Err(UsageError(format!(
                "--from: the record's `strength` is {}, and it has no `video`, without which it must be 1",
                self.strength
            ))
            .into());
        }
        Ok(Settings {
            width: self.width,
            height: self.height,
            frames: self.frames,
            sampler: self.sampler,
            steps: self.steps,
            guidance: self.guidance,
            shift: self.shift,
            strength: self.strength,
            smoothing: self.smoothing,
            clip_ratio: CLIP_RATIO,
        })
    }
}

/// As published.
pub(super) const CLIP_RATIO: f64 = 0.5;

impl ModelRecord {
    /// # Errors
    /// When the model is another one than the record's.
    pub(super) fn check(&self, found: &ModelHashes) -> anyhow::Result<()> {
        let none = || "none".to_owned();
        let [wanted_image, found_image] =
            [&self.image_sha256, &found.image].map(|hash| hash.clone().unwrap_or_else(none));
        for (part, wanted, found) in [
            ("transformer", &self.transformer_sha256, &found.transformer),
            ("VAE", &self.vae_sha256, &found.vae),
            ("text encoder", &self.text_sha256, &found.text),
            ("image tower", &wanted_image, &found_image),
            (
                "configuration (the card, a config.json, a tokenizer)",
                &self.config_sha256,
                &found.config,
            ),
        ] {
            if wanted != found {
                return Err(UsageError(format!(
                    "--from: the {part} of {} is not the one that made the clip: SHA-256 {found}, not \
                     {wanted}; give the folder of the right one with --model",
                    self.path
                ))
                .into());
            }
        }
        Ok(())
    }
}

/// # Errors
/// When a file has another checksum than the record says.
pub(super) fn check_file(path: &Path, noted: &str, found: &str) -> anyhow::Result<()> {
    if noted == found {
        return Ok(());
    }
    let shown = path.display();
    let words =
        format!("--from: {shown} is not the file that made the clip: its content has changed");
    Err(UsageError(words).into())
}

/// # Errors
/// When a file that a record names has been moved.
pub(super) fn check_there(path: &Path, option: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let shown = path.display();
    let words =
        format!("--from: the record names {shown} for {option}, and it is not there: put it back");
    Err(UsageError(words).into())
}

/// The BLAKE3 of a file.
pub(super) fn blake3(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}
