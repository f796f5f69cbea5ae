//! Cuts many spans out of the same files, opening each of them once.
//!
//! A reader of MP4 holds the file's whole index, and opening reads it: that is several MiB for an hour
//! of film, once for each clip, and as often at the same time as there are workers that write clips.
//! Here the workers share one reader, and whoever wants a clip of a file waits for the one before:
//! fetching packets takes little beside finding out which.
//!
//! That is for files where it cannot matter what a reader has read before
//! ([`Input::is_as_opened`]); others are opened anew for each clip, so that a span always gives the same bytes.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use curate_schemas::Span;

use crate::{
    Access, CopiedClip, MediaError, SourceInfo,
    clip::{copy_clip, copy_image, cut, open_to_copy},
    input::Input,
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
    access: Access,
    reader: Mutex<Reader>,
}

enum Reader {
    Unopened,
    Open(Box<(Input, SourceInfo)>),
    /// A file that is opened anew for each clip.
    ForOne,
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
    /// Does what [`copy_clip`] does, with the same bytes as its result.
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
        let mut opened = match mem::replace(&mut *reader, Reader::Unopened) {
            Reader::Open(opened) => {
                opened.0.watch().arm();
                opened
            }
            Reader::Unopened => match open_to_copy(path, access)? {
                Some(opened) => Box::new(opened),
                None => return copy_image(path),
            },
            Reader::ForOne => {
                *reader = Reader::ForOne;
                drop(reader);
                return copy_clip(path, span, access);
            }
        };
        let (input, info) = &mut *opened;
        if !input.is_as_opened() {
            *reader = Reader::ForOne;
            drop(reader);
            return cut(input, info, span);
        }
        let clip = cut(input, info, span)?;
        if input.is_as_opened() {
            *reader = Reader::Open(opened);
        }
        Ok(clip)
    }

    fn file(&self, path: &Path, access: &Access) -> Arc<File> {
        let mut files = lock(&self.files);
        let known = |file: &Arc<File>| file.path == path && file.access.is_same(access);
        let file = match files.iter().position(known) {
            Some(index) => files.remove(index),
            None => Arc::new(File {
                path: path.to_owned(),
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
