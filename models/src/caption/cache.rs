//! Answers on disk, so that no question is paid for twice: not after a crash, a spent budget or a
//! moved threshold, and not for a copy of a clip.
//!
//! An entry is named after a hash of everything that decides the answer (content, prompt, model,
//! settings). It is written beside its place and renamed, so that it is there whole or not at all;
//! several runs may share a folder. An entry that cannot be read, or whose checksum is wrong, counts
//! as absent and is written anew. When the folder grows over its bound, the entries that were not
//! used for the longest time go.
//!
//! Entries hold the answer and what it cost, never the request: no picture, no key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::Usage;

/// Bumped when the meaning of an entry changes.
const FORM: u32 = 1;
/// A half-written file this old has been left by a process that is gone.
const STALE: Duration = Duration::from_secs(3600);

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the caption cache {path:?}: {source}; free space there, or choose another folder")]
pub struct CacheError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    form: u32,
    key: String,
    pub(super) text: String,
    pub(super) model: String,
    pub(super) truncated: bool,
    pub(super) confirmed: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
    check: String,
}

impl Entry {
    pub(super) fn new(text: &str, model: &str, usage: Usage) -> Self {
        Self {
            form: FORM,
            key: String::new(),
            text: text.to_owned(),
            model: model.to_owned(),
            truncated: false,
            confirmed: false,
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            check: String::new(),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { prompt: self.prompt_tokens, completion: self.completion_tokens }
    }

    fn checksum(&self) -> String {
        let unsigned = Self { check: String::new(), ..self.clone() };
        // Plain fields: this cannot fail, and if it did, no entry would ever match.
        let bytes = serde_json::to_vec(&unsigned).unwrap_or_default();
        blake3::hash(&bytes).to_hex()[..16].to_owned()
    }
}

/// A folder of answers. See the module.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    most_bytes: u64,
    bytes: Mutex<u64>,
}

impl Cache {
    /// Opens or makes a folder of answers that may take up so many bytes. Looks at every entry's
    /// size once.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, most_bytes: u64) -> Result<Self, CacheError> {
        fs::create_dir_all(folder)
            .map_err(|source| CacheError { path: folder.to_owned(), source })?;
        let cache = Self { folder: folder.to_owned(), most_bytes, bytes: Mutex::new(0) };
        let bytes = cache.files()?.iter().map(|(_, _, bytes)| bytes).sum();
        *cache.bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(cache)
    }

    fn error(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        let path = path.to_owned();
        move |source| CacheError { path, source }
    }

    fn path(&self, key: &str) -> PathBuf {
        let (folder, name) = key.split_at_checked(2).unwrap_or(("00", key));
        self.folder.join(folder).join(format!("{name}.json"))
    }

    /// All entries: last use, path, bytes. Removes what a dead process left half-written.
    fn files(&self) -> Result<Vec<(SystemTime, PathBuf, u64)>, CacheError> {
        let mut files = Vec::new();
        let now = SystemTime::now();
        for folder in fs::read_dir(&self.folder).map_err(Self::error(&self.folder))? {
            let folder = folder.map_err(Self::error(&self.folder))?.path();
            if !folder.is_dir() {
                continue;
            }
            for file in fs::read_dir(&folder).map_err(Self::error(&folder))? {
                let path = file.map_err(Self::error(&folder))?.path();
                // Another run may have removed it since.
                let Ok(data) = fs::metadata(&path) else { continue };
                let used = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                if path.extension().is_some_and(|kind| kind == "json") {
                    files.push((used, path, data.len()));
                } else if now.duration_since(used).is_ok_and(|age| age > STALE) {
                    fs::remove_file(&path).unwrap_or_default();
                }
            }
        }
        Ok(files)
    }

    /// The answer of this key, if there is a whole one.
    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        let path = self.path(key);
        let bytes = fs::read(&path).ok()?;
        let entry: Option<Entry> = serde_json::from_slice(&bytes).ok();
        let entry = entry.filter(|entry| {
            entry.form == FORM && entry.key == key && entry.check == entry.checksum()
        });
        if entry.is_some() {
            // Used now; if the disk does not want to know, it only goes earlier.
            let used = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            used.unwrap_or_default();
        }
        entry
    }

    /// Keeps an answer.
    pub(super) fn put(&self, key: &str, entry: &Entry) -> Result<(), CacheError> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(Self::error(folder))?;
        let mut entry = Entry { key: key.to_owned(), ..entry.clone() };
        entry.check = entry.checksum();
        let bytes =
            serde_json::to_vec(&entry).map_err(io::Error::from).map_err(Self::error(&path))?;
        let replaced = fs::metadata(&path).map_or(0, |data| data.len());
        let file = tempfile::NamedTempFile::new_in(folder).map_err(Self::error(folder))?;
        fs::write(file.path(), &bytes).map_err(Self::error(&path))?;
        file.persist(&path).map_err(|error| error.error).map_err(Self::error(&path))?;
        let mut total = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *total = (*total + bytes.len() as u64).saturating_sub(replaced);
        if *total > self.most_bytes {
            *total = self.evict()?;
        }
        Ok(())
    }

    /// Makes room for a tenth of the bound; gives what is left.
    fn evict(&self) -> Result<u64, CacheError> {
        let mut files = self.files()?;
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let wanted = self.most_bytes / 10 * 9;
        for (_, path, bytes) in files {
            if total <= wanted {
                break;
            }
            // Another run that shares the folder may have been quicker.
            fs::remove_file(&path).unwrap_or_default();
            total -= bytes;
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: usize) -> String {
        blake3::hash(&index.to_le_bytes()).to_hex()[..32].to_owned()
    }

    fn entry(text: &str) -> Entry {
        Entry::new(text, "m", Usage { prompt: 3, completion: 4 })
    }

    #[test]
    fn an_answer_survives_and_is_replaced() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(cache.get(&key(1)), None);
        cache.put(&key(1), &entry("A dog \"runs\".\n狗")).unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        let found = cache.get(&key(1)).unwrap();
        assert_eq!((found.text.as_str(), found.usage().completion), ("A dog \"runs\".\n狗", 4));
        cache.put(&key(1), &entry("A cat.")).unwrap();
        assert_eq!(cache.get(&key(1)).unwrap().text, "A cat.");
        assert_eq!(cache.files().unwrap().len(), 1);
    }

    #[test]
    fn damaged_entries_are_ignored_and_written_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        cache.put(&key(1), &entry("A dog.")).unwrap();
        let path = cache.path(&key(1));
        let whole = fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let other = text.replace("A dog.", "A cat.");
        let cases = [&b""[..], &whole[..whole.len() / 2], b"\xff{}", b"{}", other.as_bytes()];
        for damaged in cases {
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.get(&key(1)), None, "{}", String::from_utf8_lossy(damaged));
        }
        // Another question's answer in its place.
        cache.put(&key(2), &entry("A bird.")).unwrap();
        fs::copy(cache.path(&key(2)), &path).unwrap();
        assert_eq!(cache.get(&key(1)), None);
        cache.put(&key(1), &entry("A dog.")).unwrap();
        assert_eq!(cache.get(&key(1)).unwrap().text, "A dog.");
    }

    #[test]
    fn the_folder_stays_within_its_bound_and_keeps_what_is_used() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::open(folder.path(), 20_000).unwrap();
        let text = "x".repeat(500);
        let old = SystemTime::now() - Duration::from_secs(1000);
        for index in 0..100 {
            cache.put(&key(index), &entry(&text)).unwrap();
            if let Ok(file) = fs::File::open(cache.path(&key(index))) {
                file.set_modified(old + Duration::from_secs(index as u64)).unwrap();
            }
            // Used all the time.
            assert!(cache.get(&key(0)).is_some(), "{index}");
            let bytes: u64 = cache.files().unwrap().iter().map(|file| file.2).sum();
            assert!(bytes <= 20_000, "{bytes}");
            assert_eq!(bytes, *cache.bytes.lock().unwrap());
        }
        assert!(cache.get(&key(99)).is_some() && cache.get(&key(1)).is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Cache::open(&file.path().join("cache"), 1).unwrap_err();
        assert!(error.to_string().contains("caption cache"), "{error}");
    }
}
