//! Looking at the file system: one folder in a fixed order, one path with its links resolved.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, FileType},
    io,
    path::{Path, PathBuf},
    vec,
};

use super::Failure;

/// Names in a folder with their types, sorted by the names' bytes.
///
/// An error half way comes with the names read until then.
pub(super) fn children(folder: &Path) -> (Vec<(OsString, FileType)>, Option<io::Error>) {
    let mut names = Vec::new();
    let mut collect = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            names.push((entry.file_name(), entry.file_type()?));
        }
        Ok(())
    };
    let error = collect().err();
    // On Unix an `OsString` compares by its bytes, so a locale cannot change the order.
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    (names, error)
}

/// A folder being walked: the names not yet visited.
pub(super) struct Folder {
    path: PathBuf,
    canonical: PathBuf,
    entries: vec::IntoIter<(OsString, FileType)>,
    failure: Option<Failure>,
}

/// One thing in a folder.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) name: OsString,
    pub(super) file_type: FileType,
    /// With links resolved, unless the entry itself is a link.
    pub(super) canonical: PathBuf,
}

impl Folder {
    pub(super) fn open(path: PathBuf, canonical: PathBuf) -> Self {
        let (entries, error) = children(&path);
        let failure = error.map(|error| Failure::io(&path, &error));
        Self { path, canonical, entries: entries.into_iter(), failure }
    }

    /// The next entry; the failure to list the folder, if any, comes last.
    pub(super) fn next(&mut self) -> Option<Result<Entry, Failure>> {
        let Some((name, file_type)) = self.entries.next() else {
            return self.failure.take().map(Err);
        };
        let (path, canonical) = (self.path.join(&name), self.canonical.join(&name));
        Some(Ok(Entry { path, name, file_type, canonical }))
    }
}

/// What a path leads to once its links are followed.
pub(super) struct Found {
    pub(super) canonical: PathBuf,
    pub(super) file_type: FileType,
}

/// Follows a path's links.
pub(super) fn look(path: &Path) -> Result<Found, Failure> {
    let found = || -> io::Result<Found> {
        let canonical = fs::canonicalize(path)?;
        let file_type = fs::metadata(&canonical)?.file_type();
        Ok(Found { canonical, file_type })
    };
    found().map_err(|error| Failure::io(path, &error))
}

/// A path with its links resolved as far as it exists: the output folder may not be there yet.
pub(super) fn canonical_prefix(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(canonical) = fs::canonicalize(ancestor) {
            // `ancestor` is a prefix of `path`, so this always succeeds.
            return path.strip_prefix(ancestor).map_or(canonical.clone(), |rest| {
                if rest.as_os_str().is_empty() { canonical.clone() } else { canonical.join(rest) }
            });
        }
    }
    path.to_owned()
}

/// The extensions by which a video is known, lower-case and without the dot.
pub(super) struct Extensions(BTreeSet<String>);

impl Extensions {
    pub(super) fn new<'a>(extensions: impl IntoIterator<Item = &'a str>) -> Self {
        let plain = |text: &str| text.trim_start_matches('.').to_ascii_lowercase();
        Self(extensions.into_iter().map(plain).collect())
    }

    pub(super) fn matches(&self, path: &Path) -> bool {
        extension(path).is_some_and(|extension| self.0.contains(&extension))
    }
}

/// A path's extension in lower case, when it has one that is text.
pub(super) fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}
