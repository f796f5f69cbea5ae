//! Pictures and videos that clips begin with, end with, or are made from.

use std::path::Path;

use curate_media::{Converter, DecodeOptions, Decoder, Filter, Frame, Picture, PixelFormat, Size};
use curate_models::generate::{Known, Settings, Tensor, from_rgb};

use super::{
    args::{Fit, GenerateArgs},
    record::{InputRecord, Record, blake3, check_file, check_there},
    usage,
};
use crate::UsageError;

/// What clips are made with beside prompts, and what is noted of it.
pub(super) struct Inputs {
    pub(super) known: Known,
    /// The first frame of `--start`, which CLIP looks at: RGB.
    pub(super) first: Option<Vec<u8>>,
    /// What CLIP makes of it, if the model has its tower: an embedding.
    pub(super) image: Option<Tensor>,
    /// The frames of `--video`.
    pub(super) source: Option<Tensor>,
    pub(super) start: Option<InputRecord>,
    pub(super) end: Option<InputRecord>,
    pub(super) video: Option<InputRecord>,
    pub(super) fit: Fit,
}

impl Inputs {
    /// By the arguments, or by a record, whose files must be as they were.
    pub(super) fn read(
        args: &GenerateArgs,
        record: Option<&Record>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let fit = record.map(|record| record.fit).or(args.fit).unwrap_or(Fit::Cover);
        let size = (settings.width, settings.height);
        let read = |argument, path: Option<&Path>, noted: Option<&InputRecord>, frames| {
            let path = path.or(noted.map(|noted| noted.file.as_path()));
            let Some(path) = path else { return anyhow::Ok((None, None, None)) };
            let frames = noted.map_or(frames, |noted| noted.frames);
            let (pictures, found) = pictures(Wanted { argument, path, noted, frames, size, fit })?;
            let frames = from_rgb(&pictures, size).map_err(usage)?;
            Ok((Some(frames), Some(found), pictures.into_iter().next()))
        };
        let of = |noted: fn(&Record) -> &Option<InputRecord>| {
            record.and_then(|record| noted(record).as_ref())
        };
        let (start_frames, start, first) =
            read("--start", args.start.as_deref(), of(|record| &record.start), args.start_frames)?;
        let (end_frames, end, _) = read("--end", args.end.as_deref(), of(|record| &record.end), 1)?;
        let (source, video, _) =
            read("--video", args.video.as_deref(), of(|record| &record.video), settings.frames)?;
        let known = Known { start: start_frames, end: end_frames };
        Ok(Self { known, first, image: None, source, start, end, video, fit })
    }
}

/// What is read of a file, and how.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    /// The argument, for messages.
    argument: &'static str,
    path: &'a Path,
    /// What it must be, if a record names it.
    noted: Option<&'a InputRecord>,
    /// Frames, from the first on, one after the other: the file's frame rate does not count.
    frames: usize,
    size: (usize, usize),
    fit: Fit,
}

/// The frames as RGB bytes, and what is noted of the file.
fn pictures(wanted: Wanted<'_>) -> anyhow::Result<(Vec<Vec<u8>>, InputRecord)> {
    let Wanted { argument, path, noted, frames, .. } = wanted;
    if noted.is_some() {
        check_there(path, argument)?;
    }
    let fault = |words: String| UsageError(format!("{argument}: {words}"));
    let path = std::fs::canonicalize(path)
        .map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
    let hash =
        blake3(&path).map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
    if let Some(noted) = noted {
        // Before decoding, which would complain of something else.
        check_file(&path, &noted.blake3, &hash)?;
    }
    let mut decoder = Decoder::open(&path, &DecodeOptions::default())
        .map_err(|error| fault(error.to_string()))?;
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let mut pictures = Vec::new();
    while pictures.len() < frames {
        let next = decoder.next_frame();
        let next =
            next.map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
        let Some(frame) = next else { break };
        let picture = fitted(&frame, &mut converter, wanted)
            .map_err(|error| fault(format!("{}: {error}", path.display())))?;
        pictures.push(picture);
    }
    if pictures.is_empty() {
        let reason = decoder.stats().first_error.clone();
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        return Err(fault(format!(
            "cannot read {}: it is cut off or damaged, and no picture of it can be decoded{reason}",
            path.display()
        ))
        .into());
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
