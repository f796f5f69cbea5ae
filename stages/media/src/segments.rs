//! Where a long file can be cut into parts that decode on their own.
//!
//! The grain of resume and of distribution. A part must begin with a frame that depends on nothing
//! before it: an IDR picture (for H.264 and H.265 its NAL type is looked at, since containers flag
//! others as well), a flagged key packet otherwise, and in any case one where time is cut clean,
//! so that every packet before it is shown before it and every packet after it after it. The one
//! exception are the open key pictures of H.265, which x265 makes by default and which would leave
//! most such files whole: what leads up to them is marked, and is decoded with the part before.
//! Where time is cut is only known after reading all packets, so all are read
//! (not decoded); memory is one number per key frame. A file whose times are missing or run
//! backwards has no such place and stays whole.

use std::{path::Path, time::Duration};

use crate::{
    Access, MediaError, Segment,
    input::{Input, Read},
    nal::{Nal, Picture},
    packet::Packet,
    probe, webp,
};

/// Cuts a file into segments: at the first closed key frame at or after each multiple of
/// `max_length`. A file no longer than that is one segment, found without reading it.
///
/// # Errors
/// Those of [`probe`](crate::probe()), except what only shows when the streams of a short file are
/// looked at: decoding it says so.
pub fn segments(
    path: &Path,
    max_length: Duration,
    access: &Access,
) -> Result<Vec<Segment>, MediaError> {
    let whole = vec![Segment::default()];
    if webp::is_animated(path) {
        return Ok(whole);
    }
    // Most files are short and say so in their first bytes; looking at their streams as well would
    // take as long as decoding a second of them.
    let header = Input::open_header(path, access)?;
    if header.is_still() || header.states_at_most(max_length) {
        return Ok(whole);
    }
    drop(header);
    let (mut input, info) = probe::open(path, access)?;
    let video = &info.video;
    let step = video.time_base.ticks(max_length.as_secs_f64()).max(1);
    if video.duration.is_some_and(|ticks| ticks <= step) {
        return Ok(whole);
    }
    if !input.has_entries() {
        return Ok(whole);
    }
    let parameters = input.parameters(video.index);
    let nal = Nal::new(parameters);

    input.complete_times();
    let mut cuts = Vec::new(); // increasing
    let mut newest = None;
    let mut packet = Packet::new()?;
    while let Read::Packet = input.read(&mut packet)? {
        input.watch().arm();
        if packet.is_empty() || packet.is_hidden() {
            continue;
        }
        let Some(pts) = packet.pts() else { return Ok(whole) };
        let picture = match nal {
            Some(nal) => nal.picture(packet.data()),
            None if packet.is_key() => Picture::Closed,
            None => Picture::Other,
        };
        if picture == Picture::Leading {
            continue;
        }
        while cuts.last().is_some_and(|cut| *cut >= pts) {
            cuts.pop();
        }
        let is_entry = packet.is_key() && picture != Picture::Other;
        if is_entry && newest.is_some_and(|newest| newest < pts) {
            cuts.push(pts);
        }
        newest = newest.max(Some(pts));
    }

    let mut parts = Vec::new();
    let mut start = None;
    let mut target = video.start_pts.saturating_add(step);
    for cut in cuts {
        if cut < target {
            continue;
        }
        parts.push(Segment { start, end: Some(cut) });
        start = Some(cut);
        target = next_target(target, step, cut);
    }
    parts.push(Segment { start, end: None });
    Ok(parts)
}

/// The first of `target`, `target + step` and so on that is after `cut`. Not by adding: damaged files
/// have times that billions of steps lie between.
fn next_target(target: i64, step: i64, cut: i64) -> i64 {
    let (target, step, cut) = (i128::from(target), i128::from(step), i128::from(cut));
    let steps = if cut < target { 0 } else { (cut - target) / step + 1 };
    i64::try_from(target + steps * step).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_whole_steps_and_after_the_cut() {
        assert_eq!(next_target(10, 10, 9), 10);
        assert_eq!(next_target(10, 10, 10), 20);
        assert_eq!(next_target(10, 10, 49), 50);
        assert_eq!(next_target(-5, 3, -1), 1);
        assert_eq!(next_target(i64::MIN, 1, i64::MAX - 1), i64::MAX);
        assert_eq!(next_target(0, 2, i64::MAX), i64::MAX);
    }
}
