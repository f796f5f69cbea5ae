//! From checked paths to the stream of sources: what is listed once, and under which id.
//!
//! Ids from content are hashed here, one file after the other: BLAKE3 on one core reads faster
//! than many cores decode, and a single reader keeps disks streaming. Whoever asks for the next
//! source waits for it.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
    vec,
};

use curate_media::is_animated_webp;
use curate_schemas::{Micros, SourceId};

use super::{
    Failure, FailureKind, IMAGE_EXTENSIONS, IdFrom, InputConfig, Listing, Skip, Source,
    SourceConfigError, VIDEO_EXTENSIONS,
    check::{self, Root},
    files::{self, Entry, Extensions, Folder},
    glob::{Glob, Wanted},
    manifest::{Row, Rows},
    uri,
};

/// Checks the input and opens it.
///
/// Relative paths are taken from `base`, the configuration's folder; nothing in `output`, the
/// folder that the run writes, is ever listed.
///
/// # Errors
/// All problems of the configuration at once.
pub fn open(
    config: &InputConfig,
    base: &Path,
    output: &Path,
) -> Result<Sources, Vec<SourceConfigError>> {
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let output = files::canonical_place(&base.join(output));
    let roots = check::check(config, &base, &output)?;
    let extensions = match &config.extensions {
        Some(extensions) => Extensions::new(extensions.iter().map(String::as_str)),
        None => Extensions::new(VIDEO_EXTENSIONS.iter().copied()),
    };
    let images = if config.images { IMAGE_EXTENSIONS } else { &[] };
    Ok(Sources {
        recursive: config.recursive,
        id: config.id,
        extensions,
        images: Extensions::new(images.iter().copied()),
        output,
        roots: roots.into_iter(),
        cursors: Vec::new(),
        seen: HashSet::new(),
    })
}

/// The stream of everything that the input names, in its fixed order.
pub struct Sources {
    recursive: bool,
    id: IdFrom,
    extensions: Extensions,
    images: Extensions,
    output: PathBuf,
    roots: vec::IntoIter<Root>,
    /// What is being walked, innermost last.
    cursors: Vec<Cursor>,
    /// Hashes of the URIs (and contents) that were listed.
    seen: HashSet<[u8; 16]>,
}

enum Cursor {
    Folder(Folder),
    Glob(Glob),
    Manifest(Rows),
}

/// What comes with a file that is named in a manifest.
#[derive(Default)]
struct Carried {
    caption: Option<String>,
    extra: Option<String>,
}

impl Iterator for Sources {
    type Item = Listing;

    fn next(&mut self) -> Option<Listing> {
        loop {
            let listing = match self.cursors.last_mut() {
                None => {
                    let root = self.roots.next()?;
                    self.start(root)
                }
                Some(Cursor::Folder(folder)) => match folder.next() {
                    Some(Ok(entry)) => self.entry(entry),
                    Some(Err(failure)) => Some(self.failed(failure)),
                    None => self.leave(),
                },
                Some(Cursor::Glob(glob)) => match glob.next() {
                    Some(Ok(path)) => {
                        let wanted = glob.wanted;
                        self.matched(path, wanted)
                    }
                    Some(Err(failure)) => Some(self.failed(failure)),
                    None => self.leave(),
                },
                Some(Cursor::Manifest(rows)) => match rows.next() {
                    Some(row) => Some(self.row(row)),
                    None => self.leave(),
                },
            };
            if listing.is_some() {
                return listing;
            }
        }
    }
}

impl Sources {
    /// Whether a file of a folder is one to read, by its name.
    fn is_media(&self, path: &Path) -> bool {
        let is_webp = || path.extension().is_some_and(|end| end.eq_ignore_ascii_case("webp"));
        self.extensions.matches(path)
            || self.images.matches(path)
            || (is_webp() && is_animated_webp(path))
    }

    fn leave(&mut self) -> Option<Listing> {
        self.cursors.pop();
        None
    }

    fn start(&mut self, root: Root) -> Option<Listing> {
        match root {
            Root::Path(path) => self.matched(path, Wanted { any_file: true, folders: true }),
            Root::Glob(glob) => {
                self.cursors.push(Cursor::Glob(glob));
                None
            }
            Root::Manifest(manifest) => match manifest.rows() {
                Ok(rows) => {
                    self.cursors.push(Cursor::Manifest(rows));
                    None
                }
                Err(failure) => Some(self.failed(failure)),
            },
        }
    }

    /// A path from the configuration, or one that matches its glob.
    fn matched(&mut self, path: PathBuf, wanted: Wanted) -> Option<Listing> {
        match files::look(&path) {
            Ok(found) if found.file_type.is_dir() => {
                if wanted.folders {
                    self.enter(path, found.canonical)
                } else {
                    None
                }
            }
            Ok(_) if !wanted.any_file && !self.is_media(&path) => {
                Some(Listing::Skipped { path, reason: Skip::OtherType })
            }
            Ok(found) => Some(self.file(path, &found.canonical, Carried::default())),
            Err(failure) => Some(self.failed(failure)),
        }
    }

    /// Something found in a folder.
    fn entry(&mut self, entry: Entry) -> Option<Listing> {
        let Entry { path, name, mut file_type, mut canonical } = entry;
        if name.as_encoded_bytes().starts_with(b".") {
            return Some(Listing::Skipped { path, reason: Skip::Hidden });
        }
        let is_media = self.is_media(&path);
        if file_type.is_symlink() {
            match files::look(&path) {
                Ok(found) => (file_type, canonical) = (found.file_type, found.canonical),
                // Without an extension it may have led to a folder of videos.
                Err(failure) if is_media || path.extension().is_none() => {
                    return Some(self.failed(failure));
                }
                Err(_) => return Some(Listing::Skipped { path, reason: Skip::OtherType }),
            }
        }
        if file_type.is_dir() {
            if self.recursive {
                return self.enter(path, canonical);
            }
            return Some(Listing::Skipped { path, reason: Skip::Subfolder });
        }
        if !is_media {
            return Some(Listing::Skipped { path, reason: Skip::OtherType });
        }
        Some(self.file(path, &canonical, Carried::default()))
    }

    fn enter(&mut self, path: PathBuf, canonical: PathBuf) -> Option<Listing> {
        if canonical.starts_with(&self.output) {
            return Some(Listing::Skipped { path, reason: Skip::InsideOutput });
        }
        // The slash keeps folders apart from files.
        if !self.first_time(&format!("{}/", uri::from_path(&canonical))) {
            return Some(Listing::Skipped { path, reason: Skip::VisitedFolder });
        }
        self.cursors.push(Cursor::Folder(Folder::open(path, canonical)));
        None
    }

    fn row(&mut self, row: Row) -> Listing {
        match row {
            Row::File { path, caption, extra } => match files::look(&path) {
                Ok(found) => self.file(path, &found.canonical, Carried { caption, extra }),
                Err(failure) => self.failed(failure),
            },
            Row::NoPath { manifest, row } => {
                Listing::Skipped { path: manifest, reason: Skip::RowWithoutPath { row } }
            }
            Row::Failed(failure) => self.failed(failure),
        }
    }

    fn file(&mut self, path: PathBuf, canonical: &Path, carried: Carried) -> Listing {
        if canonical.starts_with(&self.output) {
            return Listing::Skipped { path, reason: Skip::InsideOutput };
        }
        let uri = uri::from_path(canonical);
        if !self.first_time(&uri) {
            return Listing::Skipped { path, reason: Skip::Duplicate };
        }
        // Opening a pipe would wait for its other end, so look before.
        match fs::metadata(canonical) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let message = format!("`{}` is not a file: name files, one each", path.display());
                let kind = FailureKind::NotAFile;
                return Listing::Failed(Failure { uri, path, kind, message });
            }
            Err(error) => return Listing::Failed(Failure { uri, ..Failure::io(&path, &error) }),
        }
        match self.identify(&uri, canonical) {
            Ok((id, bytes, mtime)) => {
                if self.id == IdFrom::Content && !self.first_time(id.as_str()) {
                    return Listing::Skipped { path, reason: Skip::Duplicate };
                }
                let Carried { caption, extra } = carried;
                Listing::Source(Source { uri, path, id, bytes, mtime, caption, extra })
            }
            Err(error) => Listing::Failed(Failure { uri, ..Failure::io(&path, &error) }),
        }
    }

    fn identify(&self, uri: &str, path: &Path) -> io::Result<(SourceId, u64, Option<Micros>)> {
        // Opened even when only its size is wanted: a file that may not be read is found now.
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let id = match self.id {
            IdFrom::Location => SourceId::from_location(uri, metadata.len(), None),
            IdFrom::Content => {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(file)?;
                SourceId::from_content(hasher.finalize().as_bytes())
            }
        };
        Ok((id, metadata.len(), metadata.modified().ok().and_then(micros)))
    }

    fn failed(&mut self, failure: Failure) -> Listing {
        if self.first_time(&failure.uri) {
            Listing::Failed(failure)
        } else {
            Listing::Skipped { path: failure.path, reason: Skip::Duplicate }
        }
    }

    fn first_time(&mut self, name: &str) -> bool {
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
        self.seen.insert(key)
    }
}

fn micros(time: std::time::SystemTime) -> Option<Micros> {
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_micros()).ok()?,
    };
    Some(Micros(micros))
}
