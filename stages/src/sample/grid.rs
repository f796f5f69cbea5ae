//! What a stage takes of a clip's grid: its own frames of a grid that several stages share, at its own
//! size.

use curate_media::{Filter, MediaError, Picture, PixelFormat, resize};
use curate_pipeline::{ClipError, Frame, Item, frame};
use curate_schemas::{TimeBase, columns as c};

use super::{fit, slot};

/// A frame whose longer side is at most `max_side`: stages share a grid, and another one may have asked
/// for larger frames.
pub(crate) fn rgb_at_most(frame: &Frame, max_side: u32) -> Result<Picture, ClipError> {
    let (width, height) = (frame.width, frame.height);
    let picture = Picture { width, height, format: PixelFormat::Rgb8, data: frame.rgb.clone() };
    let size = fit(width, height, max_side);
    if picture.size() == size {
        return Ok(picture);
    }
    resize(&picture, size, Filter::Area).map_err(|error| unusable(&error))
}

/// As [`rgb_at_most`], in blue, green and red.
pub(crate) fn bgr_at_most(frame: &Frame, max_side: u32) -> Result<Picture, ClipError> {
    let picture = rgb_at_most(frame, max_side)?;
    picture.to_format(PixelFormat::Bgr8).map_err(|error| unusable(&error))
}

fn unusable(error: &MediaError) -> ClipError {
    ClipError { kind: error.kind(), message: error.to_string() }
}

/// The frames of a clip that a grid of so many a second has: another stage may have asked for more, and
/// what is measured must not depend on that. (It still does where neither rate is a multiple of the
/// other; all of ours are powers of two.)
pub(crate) fn grid_of(item: &Item, per_second: f64) -> Vec<&Frame> {
    let part = |column| item.clip.get(column).copied().unwrap_or(1);
    let base = TimeBase { num: part(c::TB_NUM), den: part(c::TB_DEN) };
    let mut next = 0;
    let first = item.frames.grid.first().map_or(0, |frame| frame.pts);
    let is_on = |frame: &&Frame| {
        let slot = slot(base.seconds(frame.pts - first), per_second);
        let is_new = slot >= next;
        next = next.max(slot + 1);
        is_new
    };
    item.frames.grid.iter().filter(is_on).collect()
}

/// So many frames of a grid, evenly spread.
pub(crate) fn some_of(
    item: &Item,
    per_second: f64,
    count: usize,
) -> Result<Vec<&Frame>, ClipError> {
    let frames = grid_of(item, per_second);
    if frames.is_empty() {
        return Err(no_frames());
    }
    Ok(frame::spread(frames.len(), count).map(|index| frames[index]).collect())
}

/// A clip has no frame to look at.
pub(crate) fn no_frames() -> ClipError {
    ClipError { kind: "no_frames", message: "no frame was sampled".to_owned() }
}

#[cfg(test)]
mod tests {
    use curate_pipeline::{Frames, testing};
    use curate_schemas::Clip;

    use super::*;

    #[test]
    fn what_another_stage_asked_for_changes_nothing() {
        // 29.97 frames a second, in ticks of 1/30000.
        let pts: Vec<i64> = (0..200).map(|frame| 5005 + 1001 * frame).collect();
        let item = |per_second: f64| {
            let (mut grid, mut next) = (Vec::new(), 0);
            for pts in &pts {
                let slot = slot((pts - 5005) as f64 / 30_000.0, per_second);
                if slot >= next {
                    next = slot + 1;
                    grid.push(Frame { pts: *pts, width: 1, height: 1, rgb: vec![0; 3] });
                }
            }
            let clip = Clip::default().with(c::TB_NUM, 1).with(c::TB_DEN, 30_000);
            testing::item(clip, Frames { grid, ..Frames::default() })
        };
        let picked = |item: &Item| {
            let frames = some_of(item, 1.0, 3).unwrap();
            frames.iter().map(|frame| frame.pts).collect::<Vec<_>>()
        };
        let alone = item(1.0);
        assert_eq!(alone.frames.grid.len(), 7);
        for per_second in [2.0, 4.0] {
            let shared = item(per_second);
            assert!(shared.frames.grid.len() > 12);
            assert_eq!(picked(&shared), picked(&alone));
            assert_eq!(grid_of(&shared, 1.0), alone.frames.grid.iter().collect::<Vec<_>>());
        }
    }
}
