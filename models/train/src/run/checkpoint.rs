//! Checkpoints: a folder each, written aside and renamed into place.
//!
//! Whatever happens while one is written, the one before stays; a folder with its final name is whole.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use curate_models::{Weights, params::save_tensors};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::TrainError;

/// The state's file.
const STATE: &str = "state.json";
/// What a checkpoint's name begins with.
const PREFIX: &str = "step-";

/// Tensors that go into one file of a checkpoint.
#[derive(Debug)]
pub struct Part<'a> {
    /// The file's name without its ending: `model`, `ema`, `optimizer`.
    pub name: &'a str,
    /// Tensors by name.
    pub tensors: Vec<(String, &'a Tensor)>,
    /// The file's header: a configuration, say.
    pub notes: Vec<(&'a str, String)>,
}

/// Which checkpoints stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrunePolicy {
    /// So many of the newest, at least one.
    pub last: usize,
    /// And those whose step is a multiple of this; 0: none of them.
    pub every: u64,
}

impl Default for PrunePolicy {
    fn default() -> Self {
        Self { last: 3, every: 0 }
    }
}

/// A checkpoint on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Steps that were made.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

impl Saved {
    /// What the trainer noted.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`].
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, TrainError> {
        let wrong = |problem: String| TrainError::Checkpoint { path: self.path.clone(), problem };
        let path = self.path.join(STATE);
        let text = fs::read_to_string(&path).map_err(|error| wrong(format!("{STATE}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| wrong(format!("{STATE}: {error}")))
    }

    /// The file of a part.
    #[must_use]
    pub fn file(&self, part: &str) -> PathBuf {
        self.path.join(format!("{part}.safetensors"))
    }

    /// The tensors of a part.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`].
    pub fn weights(&self, part: &str) -> Result<Weights, TrainError> {
        let wrong = |error: curate_models::WeightsError| TrainError::Checkpoint {
            path: self.path.clone(),
            problem: error.to_string(),
        };
        Weights::open(&self.file(part)).map_err(wrong)
    }
}

/// The checkpoints of a folder, oldest first. What was left half written is not among them.
pub(super) fn list(folder: &Path) -> Result<Vec<Saved>, TrainError> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).map_err(TrainError::io("list", folder))? {
        let entry = entry.map_err(TrainError::io("list", folder))?;
        let step =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        found.extend(step.map(|step| Saved { step, path: entry.path() }));
    }
    found.sort_by_key(|saved| saved.step);
    Ok(found)
}

/// Writes a checkpoint, then deletes what the policy does not keep.
pub(super) fn write<S: Serialize>(
    folder: &Path,
    step: u64,
    (state, parts): (&S, &[Part<'_>]),
    policy: PrunePolicy,
) -> Result<Saved, TrainError> {
    // Ten digits, so that listings are in order.
    let path = folder.join(format!("{PREFIX}{step:010}"));
    let aside = folder.join(format!(".{PREFIX}{step:010}.part"));
    remove(&aside)?;
    fs::create_dir_all(&aside).map_err(TrainError::io("create", &aside))?;
    for part in parts {
        let tensors = part.tensors.iter().map(|(name, tensor)| (name.as_str(), *tensor));
        let notes: Vec<(&str, &str)> =
            part.notes.iter().map(|(key, value)| (*key, value.as_str())).collect();
        save_tensors(&aside.join(format!("{}.safetensors", part.name)), tensors, &notes)?;
    }
    let file = aside.join(STATE);
    let text = serde_json::to_vec_pretty(state).map_err(std::io::Error::other);
    let text = text.map_err(TrainError::io("write", &file))?;
    fs::write(&file, text).map_err(TrainError::io("write", &file))?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&file).map_err(TrainError::io("write", &file))?;
    // Of a run that was resumed from an earlier step.
    remove(&path)?;
    fs::rename(&aside, &path).map_err(TrainError::io("rename", &aside))?;
    sync(folder).map_err(TrainError::io("write", folder))?;

    let all = list(folder)?;
    let newest = all.len().saturating_sub(policy.last.max(1));
    for saved in &all[..newest] {
        if policy.every == 0 || !saved.step.is_multiple_of(policy.every) {
            remove(&saved.path)?;
        }
    }
    Ok(Saved { step, path })
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Part, PrunePolicy, list, write};

    #[test]
    fn checkpoints_come_back_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap();
        for step in 1..=6 {
            let tensors = vec![("a.b".to_owned(), &tensor)];
            let part = Part { name: "model", tensors, notes: vec![("kind", "test".to_owned())] };
            let policy = PrunePolicy { last: 2, every: 3 };
            write(folder.path(), step, (&format!("state {step}"), &[part]), policy).unwrap();
        }
        // What a crash leaves is no checkpoint.
        std::fs::create_dir(folder.path().join(".step-0000000009.part")).unwrap();
        let found = list(folder.path()).unwrap();
        assert_eq!(found.iter().map(|saved| saved.step).collect::<Vec<_>>(), [3, 5, 6]);
        assert_eq!(found[2].state::<String>().unwrap(), "state 6");
        let weights = found[2].weights("model").unwrap();
        assert_eq!(weights.f32("a.b").unwrap(), [1.0, 2.0]);
        assert_eq!(weights.note("kind"), Some("test"));
        std::fs::write(found[2].file("model"), b"short").unwrap();
        let error = found[2].weights("model").unwrap_err().to_string();
        assert!(error.contains("step-0000000006") && error.contains("delete it"), "{error}");
    }
}
