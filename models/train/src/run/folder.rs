//! The folder of a run: taken by one process at a time, and by one configuration.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Metrics, Part, PrunePolicy, Saved, checkpoint};
use crate::TrainError;

/// A run's folder, locked until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The newest checkpoint when the folder was opened.
    resumed: Option<Saved>,
    _lock: File,
}

impl RunFolder {
    /// Creates the folder, or opens it to go on. `config` is what the run is begun with, `made_of` the
    /// hashes of the files that it names; of its keys those in `free` may differ from what the folder
    /// was begun with (`steps`, or `checkpoint.minutes`).
    ///
    /// # Errors
    /// [`TrainError::Busy`], [`TrainError::OtherRun`], [`TrainError::Io`].
    pub fn open<C: Serialize + DeserializeOwned>(
        path: &Path,
        config: &C,
        (made_of, free): (&Value, &[&str]),
    ) -> Result<Self, TrainError> {
        let config = whole(config, made_of)
            .and_then(|config| serde_json::to_string_pretty(&config))
            .map_err(|error| TrainError::io("write", path)(error.into()))?;
        fs::create_dir_all(path).map_err(TrainError::io("create", path))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(TrainError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TrainError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => {
                return Err(TrainError::io("lock", &lock_path)(error));
            }
        }
        let resumed = checkpoint::list(&path.join("checkpoints"))?.pop();
        let config_path = path.join("config.json");
        if resumed.is_some() {
            let text = fs::read_to_string(&config_path);
            let text = text.map_err(TrainError::io("read", &config_path))?;
            // Both are read: JSON's numbers may come back changed in their last digit.
            let read = |text: &str| {
                completed::<C>(text)
                    .map_err(|error| TrainError::io("read", &config_path)(error.into()))
            };
            let mut keys = Vec::new();
            differences(&read(&text)?, &read(&config)?, "", free, &mut keys);
            if !keys.is_empty() {
                return Err(TrainError::OtherRun { folder: path.to_owned(), keys });
            }
        }
        let part = path.join("config.json.part");
        fs::write(&part, config).map_err(TrainError::io("write", &part))?;
        fs::rename(&part, &config_path).map_err(TrainError::io("write", &config_path))?;
        Ok(Self { path: path.to_owned(), resumed, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint to go on from.
    #[must_use]
    pub const fn resumed(&self) -> Option<&Saved> {
        self.resumed.as_ref()
    }

    /// The log, without what lies after the checkpoint that is resumed.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn metrics(&self) -> Result<Metrics, TrainError> {
        let done = self.resumed.as_ref().map_or(0, |saved| saved.step);
        Metrics::open(&self.path.join("metrics.jsonl"), done)
    }

    /// Writes a checkpoint after a step and prunes old ones.
    ///
    /// # Errors
    /// When it cannot be written; the one before is then still there.
    pub fn save<S: Serialize>(
        &self,
        step: u64,
        state: &S,
        parts: &[Part<'_>],
        policy: PrunePolicy,
    ) -> Result<Saved, TrainError> {
        checkpoint::write(&self.path.join("checkpoints"), step, (state, parts), policy)
    }

    /// A file among the samples, whose folder is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn sample(&self, name: &str) -> Result<PathBuf, TrainError> {
        let folder = self.path.join("samples");
        fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        Ok(folder.join(name))
    }
}

/// A configuration and what it was made of, as the folder keeps them.
fn whole(config: &impl Serialize, made_of: &Value) -> serde_json::Result<Value> {
    let mut config = serde_json::to_value(config)?;
    if let Value::Object(keys) = &mut config {
        keys.insert("made_of".to_owned(), made_of.clone());
    }
    Ok(config)
}

/// What a folder keeps, with the defaults of settings that came later: a run that an earlier version began
/// goes on.
fn completed<C: Serialize + DeserializeOwned>(text: &str) -> serde_json::Result<Value> {
    let begun: Value = serde_json::from_str(text)?;
    let mut config = begun.clone();
    let made_of = config.as_object_mut().and_then(|keys| keys.remove("made_of"));
    let read = serde_json::from_value::<C>(config);
    let written = read.and_then(|config| whole(&config, &made_of.unwrap_or_default()));
    Ok(written.unwrap_or(begun))
}

/// Lists where two configurations differ, as `optimizer.learning_rate: 0.1, now 0.2`.
fn differences(begun: &Value, now: &Value, at: &str, free: &[&str], found: &mut Vec<String>) {
    if free.contains(&at) || begun == now {
        return;
    }
    match (begun, now) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let inner = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(key).cloned().unwrap_or(Value::Null)
                };
                differences(&of(a), &of(b), &inner, free, found);
            }
        }
        _ => found.push(format!("`{at}` was {begun}, now {now}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::RunFolder;
    use crate::{TrainError, run::PrunePolicy};

    /// Opens a folder that was just left: other tests of this process start programs, which have its locks for
    /// a moment.
    fn again<T>(open: impl Fn() -> Result<T, TrainError>) -> Result<T, TrainError> {
        loop {
            match open() {
                Err(TrainError::Busy(_)) => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    #[test]
    fn a_run_goes_on_whatever_digits_its_numbers_have() {
        for rate in [9.791972253410967e-05, 1.1243246231482839e-05, 1e-25, 0.1 + 0.2] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run");
            let config = json!({ "rate": rate });
            let open = || again(|| RunFolder::open(&path, &config, (&json!({}), &[]))).unwrap();
            open().save(4, &"state", &[], PrunePolicy::default()).unwrap();
            for _ in 0..3 {
                assert_eq!(open().resumed().map(|saved| saved.step), Some(4), "{rate}");
            }
        }
    }

    #[test]
    fn a_run_of_an_earlier_version_goes_on() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Config {
            rate: f64,
            #[serde(default)]
            newer: u64,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let begun = RunFolder::open(&path, &json!({ "rate": 0.5 }), (&json!({}), &[])).unwrap();
        begun.save(4, &"state", &[], PrunePolicy::default()).unwrap();
        drop(begun);
        let open = |newer| {
            again(|| RunFolder::open(&path, &Config { rate: 0.5, newer }, (&json!({}), &[])))
        };
        let error = open(1).unwrap_err().to_string();
        assert!(error.contains("`newer` was 0, now 1"), "{error}");
        assert_eq!(open(0).unwrap().resumed().map(|saved| saved.step), Some(4));
    }

    #[test]
    fn a_folder_is_taken_once_and_goes_on_with_its_own_settings_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config = json!({ "steps": 10, "optimizer": { "learning_rate": 0.1 } });
        let run = RunFolder::open(&path, &config, (&json!({ "vae": "a" }), &["steps"])).unwrap();
        assert!(run.resumed().is_none());
        let error =
            RunFolder::open(&path, &config, (&json!({ "vae": "a" }), &["steps"])).unwrap_err();
        assert!(matches!(error, TrainError::Busy(_)), "{error}");
        run.save(4, &"state", &[], PrunePolicy::default()).unwrap();
        drop(run);

        let longer = json!({ "steps": 20, "optimizer": { "learning_rate": 0.1 } });
        let made_of = json!({ "vae": "a" });
        let run = again(|| RunFolder::open(&path, &longer, (&made_of, &["steps"]))).unwrap();
        assert_eq!(run.resumed().map(|saved| saved.step), Some(4));
        drop(run);
        let other = json!({ "steps": 20, "optimizer": { "learning_rate": 0.2 }, "ema": true });
        let made_of = json!({ "vae": "b" });
        let error = again(|| RunFolder::open(&path, &other, (&made_of, &["steps"])));
        let error = error.unwrap_err().to_string();
        for part in [
            "`optimizer.learning_rate` was 0.1, now 0.2",
            "`ema` was null, now true",
            "`made_of.vae` was \"a\", now \"b\"",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
