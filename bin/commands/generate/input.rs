//! Pictures and videos that clips begin with, end with, or are made from.

use std::path::Path;

use curate_media::{Converter, DecodeOptions, Decoder, Filter, Frame, Picture, PixelFormat, Size};

use super::{
    args::Fit,
    record::{InputRecord, blake3},
};
use crate::UsageError;

/// What is read of a file, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The argument, for messages.
    pub(super) argument: &'static str,
    pub(super) path: &'a Path,
    /// Frames, from the first on.
    pub(super) frames: usize,
    pub(super) size: (usize, usize),
    pub(super) fit: Fit,
}

/// The frames as RGB bytes, and what is noted of the file.
pub(super) fn read(wanted: Wanted<'_>) -> anyhow::Result<(Vec<Vec<u8>>, InputRecord)> {
    let Wanted { argument, path, frames, .. } = wanted;
    let fault = |words: String| UsageError(format!("{argument}: {words}"));
    let path = std::fs::canonicalize(path)
        .map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
    let hash =
        blake3(&path).map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
    let mut decoder = Decoder::open(&path, &DecodeOptions::default())
        .map_err(|error| fault(error.to_string()))?;
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let mut pictures = Vec::new();
    while pictures.len() < frames {
        let next = decoder.next_frame().map_err(|error| fault(error.to_string()))?;
        let Some(frame) = next else { break };
        let picture = fitted(&frame, &mut converter, wanted)
            .map_err(|error| fault(format!("{}: {error}", path.display())))?;
        pictures.push(picture);
    }
    if pictures.len() < frames {
        return Err(fault(format!(
            "{} has {} frames, and {frames} are needed",
            path.display(),
            pictures.len()
        ))
        .into());
    }
    Ok((pictures, InputRecord { file: path, frames, blake3: hash }))
}

fn fitted(
    frame: &Frame,
    converter: &mut Converter,
    wanted: Wanted<'_>,
) -> Result<Vec<u8>, curate_media::MediaError> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(wanted.size.0), side(wanted.size.1));
    if wanted.fit == Fit::Stretch {
        return Ok(frame.picture(converter, Size::new(width, height), Filter::Area, true)?.data);
    }
    let (from_width, from_height) = frame.display_size();
    // Whichever side needs the larger scale fits exactly, the other sticks out.
    let (u_width, u_height) = (u64::from(from_width), u64::from(from_height));
    let is_wide = u_width * u64::from(height) >= u_height * u64::from(width);
    let scaled = |side: u64, to: u32, of: u64| {
        u32::try_from((side * u64::from(to) + of / 2) / of.max(1)).unwrap_or(u32::MAX).max(1)
    };
    let covering = if is_wide {
        Size::new(scaled(u_width, height, u_height).max(width), height)
    } else {
        Size::new(width, scaled(u_height, width, u_width).max(height))
    };
    let picture = frame.picture(converter, covering, Filter::Area, true)?;
    Ok(middle(&picture, (width, height)))
}

/// The middle of a picture that is at least of this size.
fn middle(picture: &Picture, (width, height): (u32, u32)) -> Vec<u8> {
    let (left, top) = ((picture.width - width) / 2, (picture.height - height) / 2);
    let rows = picture.data.chunks_exact(picture.width as usize * 3);
    let rows = rows.skip(top as usize).take(height as usize);
    let (from, to) = (left as usize * 3, (left + width) as usize * 3);
    rows.flat_map(|row| &row[from..to]).copied().collect()
}
