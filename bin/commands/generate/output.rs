//! Frames to files. A file appears whole or not at all, and the record after the clip.

use std::{
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_media::{ClipWriter, Encoding, FrameRate, Gif, Picture, PixelFormat, Size, encode_png};

use super::args::Form;

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
    /// Pictures go into the first folder, which becomes the second.
    Pictures(PathBuf, PathBuf),
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
                let part = part(&target);
                if part.exists() {
                    fs::remove_dir_all(&part)
                        .with_context(|| format!("cannot remove {}", part.display()))?;
                }
                fs::create_dir(&part)
                    .with_context(|| format!("cannot make the folder {}", part.display()))?;
                Kind::Pictures(part, target)
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
            Kind::Gif(gif, _) => gif.push(&picture)?,
            Kind::Picture(bytes, _) => *bytes = Some(encode_png(&picture)?),
            Kind::Pictures(folder, _) => {
                let path = folder.join(format!("{:04}.png", self.frames));
                fs::write(&path, encode_png(&picture)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        self.frames += 1;
        Ok(())
    }

    /// Puts the clip in place of what is there.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self.kind {
            Kind::Mp4(film, target) => whole(&target, &film.finish()?),
            Kind::Picture(bytes, target) => whole(&target, &bytes.unwrap_or_default()),
            Kind::Gif(gif, target) => {
                let part = part(&target);
                let file = fs::File::create(&part)
                    .with_context(|| format!("cannot write {}", part.display()))?;
                let mut file = BufWriter::new(file);
                gif.finish(&mut file)?;
                file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                fs::rename(&part, &target)
                    .with_context(|| format!("cannot write {}", target.display()))
            }
            Kind::Pictures(part, target) => fs::rename(&part, &target)
                .with_context(|| format!("cannot write {}", target.display())),
        }
    }
}

fn part(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}

/// Takes a clip away, if there is one.
pub(super) fn remove(target: &Path) -> anyhow::Result<()> {
    let removed = match target.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(target),
        Ok(_) => fs::remove_file(target),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", target.display()))
}

/// Writes a file that appears whole or not at all.
pub(super) fn whole(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = part(target);
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, target))
        .with_context(|| format!("cannot write {}", target.display()))
}
