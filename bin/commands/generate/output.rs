//! Frames to files. A file appears whole or not at all, and the record before the clip. Until then it has a
//! name of its own, which goes when something fails: two processes can write to one folder.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_media::{ClipWriter, Encoding, FrameRate, Gif, Picture, PixelFormat, Size, encode_png};

use super::args::Form;
use crate::UsageError;

/// Takes a clip's frames one by one.
pub(super) struct Writer {
    size: Size,
    frames: usize,
    kind: Kind,
}

enum Kind {
    Mp4(ClipWriter, PathBuf),
    Gif(Gif, PathBuf),
    /// One picture.
    Picture(Option<Vec<u8>>, PathBuf),
    /// Pictures go into a folder.
    Pictures(Part),
}

impl Writer {
    pub(super) fn new(
        (form, is_picture): (Form, bool),
        target: &Path,
        (width, height): (usize, usize),
        rate: FrameRate,
    ) -> anyhow::Result<Self> {
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let size = Size::new(side(width), side(height));
        let target = target.to_owned();
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let kind = match form {
            Form::Mp4 => {
                Kind::Mp4(ClipWriter::new(Encoding::default(), rate.frame_time()?), target)
            }
            Form::Gif => {
                let scratch = tempfile::tempfile().context("cannot make a temporary file")?;
                Kind::Gif(Gif::new(size, rate, scratch)?, target)
            }
            Form::Png if is_picture => Kind::Picture(None, target),
            Form::Png => {
                let part = Part::of(&target);
                fs::create_dir(&part.0)
                    .with_context(|| format!("cannot make the folder {}", part.0.display()))?;
                Kind::Pictures(part)
            }
        };
        Ok(Self { size, frames: 0, kind })
    }

    /// Adds a frame of RGB bytes.
    pub(super) fn push(&mut self, rgb: Vec<u8>) -> anyhow::Result<()> {
        let Size { width, height } = self.size;
        let picture = Picture { width, height, format: PixelFormat::Rgb8, data: rgb };
        match &mut self.kind {
            Kind::Mp4(film, _) => film.push(&picture)?,
            Kind::Gif(gif, target) => {
                gif.push(&picture).with_context(|| format!("cannot write {}", target.display()))?
            }
            Kind::Picture(bytes, _) => *bytes = Some(encode_png(&picture)?),
            Kind::Pictures(folder) => {
                let path = folder.0.join(format!("{:04}.png", self.frames));
                fs::write(&path, encode_png(&picture)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        self.frames += 1;
        Ok(())
    }

    /// The whole clip, beside its place and under a name of its own: what is there stays until the clip takes
    /// its place, so that a full disk costs nothing.
    pub(super) fn finish(self) -> anyhow::Result<Part> {
        match self.kind {
            Kind::Mp4(film, target) => written(&target, &film.finish()?),
            Kind::Picture(bytes, target) => written(&target, &bytes.unwrap_or_default()),
            Kind::Gif(gif, target) => {
                let part = Part::of(&target);
                let write = || -> anyhow::Result<()> {
                    let mut file = BufWriter::new(fs::File::create(&part.0)?);
                    gif.finish(&mut file)?;
                    file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                    Ok(())
                };
                write().with_context(|| format!("cannot write {}", target.display()))?;
                Ok(part)
            }
            Kind::Pictures(part) => Ok(part),
        }
    }
}

/// A file or folder that is being written. What did not become its target is removed.
pub(super) struct Part(PathBuf);

impl Part {
    fn of(target: &Path) -> Self {
        let chance = uuid::Uuid::new_v4().simple().to_string();
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", &chance[..8]));
        Self(target.with_file_name(name))
    }

    /// Takes its place.
    pub(super) fn becomes(self, target: &Path) -> anyhow::Result<()> {
        fs::rename(&self.0, target).with_context(|| format!("cannot write {}", target.display()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is gone when it became its target, and whatever made it fail was reported.
        let removed =
            if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
        removed.unwrap_or_default();
    }
}

/// Makes the folders that files go to, and finds out whether they can be written there, under names as
/// long as theirs.
pub(super) fn prepare(files: impl Iterator<Item = PathBuf>) -> anyhow::Result<()> {
    let length = |file: &Path| file.file_name().map_or(0, OsStr::len);
    let mut longest: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for file in files {
        let Some(folder) = file.parent() else { continue };
        let known = longest.entry(folder.to_owned()).or_default();
        if length(&file) > length(known) {
            *known = file;
        }
    }
    for (folder, file) in &longest {
        // That of a name alone is empty.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let part = Part::of(file);
        let tried = fs::create_dir_all(folder).and_then(|()| fs::File::create_new(&part.0));
        tried.map_err(|error| {
            let (shown, name) = (folder.display(), file.file_name().unwrap_or_default().display());
            UsageError(format!(
                "--output: files cannot be written to {shown}: {error} (tried for {name})"
            ))
        })?;
    }
    Ok(())
}

/// # Errors
/// When it is a folder that has anything but the numbered frames of a clip in it.
pub(super) fn check_replaceable(target: &Path) -> anyhow::Result<()> {
    if !target.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let shown = target.display();
    for entry in fs::read_dir(target).with_context(|| format!("cannot read {shown}"))? {
        let path = entry.with_context(|| format!("cannot read {shown}"))?.path();
        let is_number = |stem: &str| stem.len() >= 4 && stem.bytes().all(|b| b.is_ascii_digit());
        let is_frame = path.extension().is_some_and(|ending| ending == "png")
            && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(is_number)
            && !path.is_dir();
        if !is_frame {
            return Err(UsageError(format!(
                "{shown} is a folder with {} in it, and is not replaced: give another --output",
                path.file_name().unwrap_or_default().display()
            ))
            .into());
        }
    }
    Ok(())
}

/// Takes a clip away, if there is one.
pub(super) fn remove(target: &Path) -> anyhow::Result<()> {
    check_replaceable(target)?;
    let removed = match target.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(target),
        Ok(_) => fs::remove_file(target),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", target.display()))
}

/// Writes a file beside its place, under a name of its own, until it [`Part::becomes`] what it is to be.
pub(super) fn written(target: &Path, bytes: &[u8]) -> anyhow::Result<Part> {
    let part = Part::of(target);
    fs::write(&part.0, bytes).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_at_their_full_length_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |letters: usize| folder.path().join("out").join("a".repeat(letters) + ".mp4");
        prepare([at(3), at(200)].into_iter()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
        let error = prepare([at(3), at(300)].into_iter()).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("aaa.mp4)"), "{error}");
        assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
    }
}
