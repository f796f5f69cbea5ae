//! Globs: `*`, `?` and `[..]` within a name, `**` for any number of folders.
//!
//! Names are matched by the `glob` crate's patterns, but the walk is ours: the crate's own walk
//! passes over names that are not UTF-8 and folders it may not read without a word, and stays
//! out of linked folders. Here such names are matched with each broken byte as one odd
//! character, failures are reported, and links are followed once. A leading dot must be written
//! out. Matches of a folder come before those of its subfolders.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern, PatternError};

use super::{Failure, files};

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

#[derive(Clone)]
enum Part {
    Literal(String),
    Name(Pattern),
    Folders,
}

/// A pattern and how far its matches have been walked.
#[derive(Clone)]
pub(super) struct Glob {
    parts: Vec<Part>,
    /// What is still to be visited, last first: a path and the part that comes after it.
    todo: Vec<(PathBuf, usize)>,
    /// Folders that a `**` has been through, so that a cycle of links ends.
    walked: HashSet<(PathBuf, usize)>,
    /// What a match may be.
    pub(super) wanted: Wanted,
}

/// What a match may be.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// A file of any type: the pattern asks for names that end in one given extension. Whoever
    /// writes `*.dat` means those files, whoever writes `*` means the videos among them.
    pub(super) any_file: bool,
    /// A folder to be walked. Not for `**/*`, which matches the files in it as well.
    pub(super) folders: bool,
}

/// Whether a path is meant as a pattern.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Glob {
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self, PatternError> {
        let start = if text.starts_with('/') { Path::new("/") } else { base };
        let mut parts = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            parts.push(match part {
                "**" => Part::Folders,
                name if is_glob(name) => Part::Name(Pattern::new(name)?),
                name => Part::Literal(name.to_owned()),
            });
        }
        let extension = text.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
        Ok(Self {
            parts,
            todo: vec![(start.to_owned(), 0)],
            walked: HashSet::new(),
            wanted: Wanted {
                any_file: extension
                    .is_some_and(|(_, ending)| !ending.is_empty() && !is_glob(ending)),
                folders: !text.ends_with("**/*"),
            },
        })
    }

    /// The next match, or a folder that could not be listed.
    pub(super) fn next(&mut self) -> Option<Result<PathBuf, Failure>> {
        while let Some((path, at)) = self.todo.pop() {
            let result = match self.parts.get(at) {
                None => return Some(Ok(path)),
                Some(Part::Literal(name)) => {
                    let path = path.join(name);
                    if fs::symlink_metadata(&path).is_ok() {
                        self.todo.push((path, at + 1));
                    }
                    None
                }
                Some(Part::Name(pattern)) => {
                    let pattern = pattern.clone();
                    self.push(&path, at + 1, |name, _| {
                        pattern.matches_with(&name.to_string_lossy(), OPTIONS)
                    })
                }
                Some(Part::Folders) => {
                    let Ok(canonical) = fs::canonicalize(&path) else { continue };
                    if !self.walked.insert((canonical, at)) {
                        continue;
                    }
                    let failure = self.push(&path, at, |name, path| {
                        !name.as_encoded_bytes().starts_with(b".") && path.is_dir()
                    });
                    self.todo.push((path, at + 1));
                    failure
                }
            };
            if let Some(failure) = result {
                return Some(Err(failure));
            }
        }
        None
    }

    /// Remembers the children of `folder` that are wanted, so that they are visited in order.
    fn push(
        &mut self,
        folder: &Path,
        at: usize,
        wanted: impl Fn(&OsStr, &Path) -> bool,
    ) -> Option<Failure> {
        let (children, error) = files::children(folder);
        for (name, _) in children.into_iter().rev() {
            let path = folder.join(&name);
            if wanted(&name, &path) {
                self.todo.push((path, at));
            }
        }
        // A file where the pattern has a folder is simply no match.
        error
            .filter(|error| {
                !matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound)
            })
            .map(|error| Failure::io(folder, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt as _, fs::symlink};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/1.mp4", "a/b/2.mp4", "a/b/.h.mp4", "c/3.txt", "c/[x].mp4"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink("..", dir.path().join("a/b/up")).unwrap();
        fs::write(dir.path().join("a").join(OsStr::from_bytes(b"\xff.mp4")), "x").unwrap();
        dir
    }

    fn check(pattern: &str, expect: &[&str]) {
        let dir = tree();
        let mut glob = Glob::parse(pattern, dir.path()).unwrap();
        let mut found = Vec::new();
        while let Some(path) = glob.next() {
            let path = path.unwrap();
            found.push(path.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(found, expect, "{pattern}");
    }

    #[test]
    fn patterns() {
        check("a/*.mp4", &["a/1.mp4", "a/\u{fffd}.mp4"]);
        check("**/*.mp4", &["a/1.mp4", "a/\u{fffd}.mp4", "a/b/2.mp4", "c/[x].mp4"]);
        check("./*/?.txt", &["c/3.txt"]);
        check("c/[[]x].mp4", &["c/[x].mp4"]);
        check("a/b/.*.mp4", &["a/b/.h.mp4"]);
        check("*", &["a", "c"]);
        check("a/1.mp4/*", &[]);
        check("nowhere/*.mp4", &[]);
    }

    #[test]
    fn the_last_name_decides_whether_an_extension_is_asked_for() {
        let check = |pattern: &str, expect| {
            assert_eq!(Glob::parse(pattern, Path::new("/")).unwrap().wanted.any_file, expect);
        };
        check("a/*.dat", true);
        check("a.b/*", false);
        check("a/*.*", false);
        check("a/*.m?4", false);
    }
}
