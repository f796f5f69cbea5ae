//! Cuts many spans out of the same files, opening each of them once.
//!
//! A reader of MP4 holds the file's whole index, and opening reads it: that is several MiB for an hour
//! of film, once for each clip, and as often at the same time as there are workers that write clips.
//! Here the workers share one reader, and whoever wants a clip of a file waits for the one before.
//!
//! That is for files where it cannot matter what a reader has read before
//! ([`Input::is_as_opened`], [`tell_of_every_sample`]), and whose clips need no decoding. With the first
//! clip that is otherwise a file becomes one that is opened anew for each clip, so that a span always
//! gives the same bytes.

use std::{
    mem,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use curate_schemas::Span;

use crate::{
    Access, CopiedClip, MediaError, SourceInfo,
    clip::{copy_clip, copy_image, cut, open_to_copy},
    input::Input,
    tables::tell_of_every_sample,
};

/// Files that clips are copied out of. Those used last stay open: as many as there are cores, since
/// so many are worked on at the same time.
#[derive(Debug, Default)]
pub struct Copier {
    /// The one used last is the last one.
    files: Mutex<Vec<Arc<File>>>,
}

struct File {
    path: PathBuf,
    version: Option<Version>,
    access: Access,
    reader: Mutex<Reader>,
}

enum Reader {
    Unopened,
    Open(Box<(Input, SourceInfo)>),
    /// A file that is opened anew for each clip.
    ForOne,
}

/// What tells a file from one that has taken its place, or was written over it.
#[derive(PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Version {
    /// `None` if it cannot be read: opening says why.
    fn of(path: &Path) -> Option<Self> {
        let about = path.metadata().ok()?;
        let modified = (about.mtime(), about.mtime_nsec());
        Some(Self { device: about.dev(), inode: about.ino(), bytes: about.len(), modified })
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

/// A reader is taken out while it is used, so that a panic leaves none behind that is half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copier {
    /// Does what [`copy_clip`] does, with the same bytes as its result. The deadline begins when the
    /// clip before is done.
    ///
    /// # Errors
    /// Those of [`copy_clip`].
    pub fn copy(
        &self,
        path: &Path,
        span: &Span,
        access: &Access,
    ) -> Result<CopiedClip, MediaError> {
        let file = self.file(path, access);
        let mut reader = lock(&file.reader);
        let (mut opened, may_stay) = match mem::replace(&mut *reader, Reader::Unopened) {
            Reader::Open(opened) => {
                opened.0.watch().arm();
                (opened, true)
            }
            Reader::Unopened => match open_to_copy(path, access)? {
                Some(opened) => {
                    let may_stay = opened.0.is_as_opened() && tell_of_every_sample(path);
                    (Box::new(opened), may_stay)
                }
                None => return copy_image(path),
            },
            Reader::ForOne => {
                *reader = Reader::ForOne;
                drop(reader);
                return copy_clip(path, span, access);
            }
        };
        let (input, info) = &mut *opened;
        if !may_stay {
            *reader = Reader::ForOne;
            drop(reader);
            return cut(input, info, span);
        }
        let clip = cut(input, info, span);
        let is_plain = clip.as_ref().is_ok_and(|clip| clip.decoded == 0) && input.is_as_opened();
        *reader = if is_plain { Reader::Open(opened) } else { Reader::ForOne };
        clip
    }

    fn file(&self, path: &Path, access: &Access) -> Arc<File> {
        let version = Version::of(path);
        let known = |file: &Arc<File>| {
            file.path == path && file.version == version && file.access.is_same(access)
        };
        let mut files = lock(&self.files);
        let file = match files.iter().position(known) {
            Some(index) => files.remove(index),
            None => Arc::new(File {
                path: path.to_owned(),
                version,
                access: access.clone(),
                reader: Mutex::new(Reader::Unopened),
            }),
        };
        let most = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        if files.len() >= most {
            files.remove(0);
        }
        files.push(Arc::clone(&file));
        file
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use curate_testing::make;

    use super::*;
    use crate::probe;

    /// A second of a file.
    fn second(path: &Path, from: f64) -> Span {
        let time_base = probe(path, &Access::default()).unwrap().video.time_base;
        Span { start: time_base.ticks(from), end: time_base.ticks(from + 1.0), time_base }
    }

    /// Where the open reader of the file used last lies.
    fn open(copier: &Copier) -> Option<*const Input> {
        let files = lock(&copier.files);
        match &*lock(&files.last()?.reader) {
            Reader::Open(opened) => Some(&raw const opened.0),
            Reader::Unopened | Reader::ForOne => None,
        }
    }

    #[test]
    fn mp4_stays_open_and_what_learns_while_it_reads_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let source = "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -c:v libx264 -g 10 -bf 2";
        for (name, how, stays) in [
            ("a.mp4", "", true),
            ("a.mkv", "", false),
            ("parts.mp4", "-movflags frag_keyframe+empty_moov", false),
            // A part of its index is in the header, the rest beside the pictures.
            ("half.mp4", "-movflags frag_keyframe+global_sidx", false),
        ] {
            let path = make(folder.path(), name, &format!("{source} {how}"));
            let (copier, access) = (Copier::default(), Access::default());
            for from in [0.4, 2.0] {
                copier.copy(&path, &second(&path, from), &access).ok();
            }
            let first = open(&copier);
            assert_eq!(first.is_some(), stays, "{name}");
            copier.copy(&path, &second(&path, 1.2), &access).ok();
            assert_eq!(open(&copier), first, "{name} was opened again");
        }
    }

    /// FFmpeg says nothing of such a file, and its packets' times depend on what was read before.
    #[test]
    fn a_file_with_too_few_presentation_times_does_not_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let source = "-f lavfi -i testsrc2=s=96x64:r=25:d=8 -c:v libx264 -g 24 -bf 1 \
                      -x264-params b-adapt=0:open-gop=0:b-pyramid=none";
        let path = make(folder.path(), "a.mp4", source);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == b"ctts").unwrap() + 8;
        let count = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&(count / 4).to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let (copier, access) = (Copier::default(), Access::default());
        let mut copied = 0;
        for from in [0.4, 5.0, 1.0, 3.4, 0.2, 6.0, 2.2, 5.0, 4.2] {
            let span = second(&path, from);
            let (used, new) =
                (copier.copy(&path, &span, &access), copy_clip(&path, &span, &access));
            copied += usize::from(new.is_ok());
            assert_eq!(used.ok(), new.ok(), "from {from}");
            assert_eq!(open(&copier), None);
        }
        assert!(copied > 0);
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, look: &str| {
            make(folder.path(), name, &format!("-f lavfi -i {look}=s=96x64:r=25:d=4 -g 10"))
        };
        let (path, other) = (file("a.mp4", "testsrc2"), file("b.mp4", "testsrc"));
        let (copier, access) = (Copier::default(), Access::default());
        let span = second(&path, 0.4);
        let before = copier.copy(&path, &span, &access).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let after = copier.copy(&path, &span, &access).unwrap();
        assert!(before != after && after == copy_clip(&path, &span, &access).unwrap());
    }

    #[test]
    fn as_many_files_stay_open_as_there_are_cores_and_each_clip_has_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let source = "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -g 10";
        let path = make(folder.path(), "a.mp4", source);
        let most = thread::available_parallelism().unwrap().get();
        let patience = Duration::from_secs(3);
        let (copier, access) = (Copier::default(), Access::within(patience));
        let span = second(&path, 0.4);
        let links: Vec<PathBuf> =
            (0..most + 2).map(|number| folder.path().join(format!("{number}.mp4"))).collect();
        for (number, link) in links.iter().enumerate() {
            std::fs::hard_link(&path, link).unwrap();
            copier.copy(link, &span, &access).unwrap();
            assert_eq!(lock(&copier.files).len(), most.min(number + 1));
        }
        let reader = open(&copier);
        thread::sleep(patience);
        copier.copy(&links[most + 1], &span, &access).unwrap();
        assert_eq!(open(&copier), reader, "its deadline begins with each clip");
    }
}
