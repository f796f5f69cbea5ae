//! Looking at the file system: one folder in a fixed order, one path with its links resolved.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, FileType},
    io, iter,
    path::{Component, Path, PathBuf},
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

/// As many links are followed to where nothing is: the system's own limit.
const MAX_LINKS: usize = 40;

/// The canonical path that a file will have when it is there: links are resolved as far as the path
/// exists, dangling ones too, and `.` and `..` are taken out of the rest. For what may not be there
/// yet, such as the output folder, or a file that is missing.
pub(super) fn canonical_place(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Some((canonical, rest)) = existing_part(&path) else { return path };
        let mut rest = rest.components();
        let Some(first) = rest.next() else { return canonical };
        let Ok(target) = canonical.join(first).read_link() else {
            return plainly_joined(canonical, iter::once(first).chain(rest));
        };
        path = canonical.join(target).join(rest);
    }
    path
}

/// The longest part of a path that is there, canonical, and what comes after it.
fn existing_part(path: &Path) -> Option<(PathBuf, PathBuf)> {
    path.ancestors().find_map(|ancestor| {
        let canonical = fs::canonicalize(ancestor).ok()?;
        Some((canonical, path.strip_prefix(ancestor).ok()?.to_owned()))
    })
}

/// A path below a folder, with `.` and `..` taken at their word, as nothing is there that could be a
/// link.
fn plainly_joined<'a>(mut folder: PathBuf, rest: impl Iterator<Item = Component<'a>>) -> PathBuf {
    for part in rest {
        match part {
            Component::ParentDir => {
                folder.pop();
            }
            Component::CurDir => {}
            name => folder.push(name),
        }
    }
    folder
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_missing_file_has_the_place_that_it_will_have() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("lists/deep")).unwrap();
        fs::create_dir(root.join("videos")).unwrap();
        let link = |target: &str, name: &str| symlink(target, root.join(name)).unwrap();
        link("lists/deep", "link");
        link("../videos/a.mp4", "lists/a.mp4");
        link("a.mp4", "lists/b.mp4");
        link("loop", "loop");
        let spelt = [
            "videos/a.mp4",
            "lists/../videos/./a.mp4",
            "link/../../videos/a.mp4",
            "none/../videos/a.mp4",
            "videos/none/../a.mp4",
            "lists/b.mp4",
        ];
        let place = |name: &str| canonical_place(&root.join(name));
        for name in spelt {
            assert_eq!(place(name), root.join("videos/a.mp4"), "{name}");
        }
        fs::write(root.join("videos/a.mp4"), "").unwrap();
        assert_eq!(place("lists/b.mp4"), root.join("videos/a.mp4"));
        // It has no place; any will do.
        place("loop/x");
    }
}
