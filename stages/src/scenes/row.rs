//! What the split knows of a clip when it leaves: its row and its thumbnail.

use curate_media::{Filter, Picture, PixelFormat, SourceInfo, SourceKind, encode_jpeg, resize};
use curate_pipeline::{Frame, Unit};
use curate_schemas::{Clip, ClipId, Span, columns as c};

use super::pieces::Piece;
use crate::sample::fit;

const THUMB_SIDE: u32 = 320;
const THUMB_QUALITY: u8 = 85;

/// Where clips are cut from.
pub(super) struct Origin<'a> {
    pub(super) unit: &'a Unit,
    pub(super) info: &'a SourceInfo,
    pub(super) split_id: &'a str,
    /// Width and height as shown.
    pub(super) size: (u32, u32),
}

/// A JPEG of the middle grid frame.
pub(super) fn thumb(grid: &[Frame]) -> Option<Vec<u8>> {
    let frame = grid.get(grid.len() / 2)?;
    let picture = Picture {
        width: frame.width,
        height: frame.height,
        format: PixelFormat::Rgb8,
        data: frame.rgb.clone(),
    };
    let size = fit(picture.width, picture.height, THUMB_SIDE);
    let sized =
        if picture.size() == size { picture } else { resize(&picture, size, Filter::Area).ok()? };
    encode_jpeg(&sized, THUMB_QUALITY).ok()
}

/// The row of a clip, as far as the split knows it.
pub(super) fn clip(origin: &Origin<'_>, piece: &Piece, thumb: Option<Vec<u8>>) -> Clip {
    let Origin { unit, info, split_id, size: (width, height) } = origin;
    let (source, video) = (&unit.source, &info.video);
    let time_base = video.time_base;
    let span = Span { start: piece.start_pts, end: piece.end_pts, time_base };
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    let mut clip = Clip::default()
        .with(c::CLIP_ID, ClipId::new(&source.id, &span, split_id).to_string())
        .with(c::UNIT_ID, unit.id.to_string())
        .with(c::SOURCE_ID, source.id.to_string())
        .with(c::SOURCE_URI, source.uri.clone())
        .with(c::KIND, info.kind.as_str().to_owned())
        .with(c::START_PTS, span.start)
        .with(c::END_PTS, span.end)
        .with(c::TB_NUM, time_base.num)
        .with(c::TB_DEN, time_base.den)
        .with(c::START_S, span.start_s())
        .with(c::END_S, span.end_s())
        .with(c::NUM_FRAMES, i32::try_from(piece.end - piece.first).unwrap_or(i32::MAX))
        .with(c::WIDTH, side(*width))
        .with(c::HEIGHT, side(*height))
        .with(c::CODEC, video.codec.clone())
        .with(c::ROTATION, i32::from(video.orientation.rotation))
        .with(c::HAS_AUDIO, info.has_audio)
        .with(c::CUT_IN, piece.cut_in.as_str().to_owned())
        .with(c::CUT_OUT, piece.cut_out.as_str().to_owned())
        .with(c::FORCED_CUT, piece.cut_in.is_forced() || piece.cut_out.is_forced());
    clip.put(c::FPS, video.avg_fps.filter(|_| info.kind == SourceKind::Video));
    clip.put(c::TRANSFER, video.transfer.clone());
    clip.put(c::THUMB, thumb);
    clip.put(c::EXTRA, source.extra.clone());
    clip
}
