//! Cuts the end of an MP4's edit list, in the finished bytes.
//!
//! FFmpeg's muxer writes an edit that begins where time is zero but always ends with the last
//! sample. A span of a stream with reordered frames needs packets that are shown after its end,
//! so the edit's length has to be made shorter by hand, together with the lengths of the track
//! and the movie, which promise the same. Only fields of known place and width are written; a
//! file that looks otherwise than expected is refused, not guessed at.

use crate::MediaError;

/// A box: where its contents begin and end.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

fn malformed(what: &str) -> MediaError {
    MediaError::mux(format!("the written MP4 has an unexpected {what}"))
}

fn number(bytes: &[u8], at: usize, width: usize) -> Result<u64, MediaError> {
    let bytes = bytes.get(at..at + width).ok_or_else(|| malformed("end"))?;
    Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// The box named `name` inside `within`.
fn find(bytes: &[u8], within: Place, name: &[u8; 4]) -> Result<Place, MediaError> {
    let mut at = within.start;
    while at + 8 <= within.end {
        let (size, header) = match number(bytes, at, 4)? {
            1 => (number(bytes, at + 8, 8)?, 16),
            size => (size, 8),
        };
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size));
        let end = end.filter(|end| *end <= within.end && *end >= at + header);
        let Some(end) = end else { return Err(malformed("box size")) };
        if &bytes[at + 4..at + 8] == name {
            return Ok(Place { start: at + header, end });
        }
        at = end;
    }
    Err(malformed(&format!("lack of {}", String::from_utf8_lossy(name))))
}

fn find_path(bytes: &[u8], path: &[&[u8; 4]]) -> Result<Place, MediaError> {
    let all = Place { start: 0, end: bytes.len() };
    path.iter().try_fold(all, |within, name| find(bytes, within, name))
}

/// Writes `value` into a field that is 4 bytes wide in version 0 of its box and 8 in version 1.
fn set(
    bytes: &mut [u8],
    place: Place,
    offsets: (usize, usize),
    value: u64,
) -> Result<(), MediaError> {
    let (offset, width) = match number(bytes, place.start, 1)? {
        0 => (offsets.0, 4),
        1 => (offsets.1, 8),
        _ => return Err(malformed("box version")),
    };
    let at = place.start + offset;
    if at + width > place.end || width == 4 && value > u64::from(u32::MAX) {
        return Err(malformed("field width"));
    }
    bytes[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    Ok(())
}

/// Makes the only edit of the only track show `duration` ticks of the movie's time base.
pub(crate) fn shorten_edit(bytes: &mut [u8], duration: u64) -> Result<(), MediaError> {
    let elst = find_path(bytes, &[b"moov", b"trak", b"edts", b"elst"])?;
    if number(bytes, elst.start + 4, 4)? != 1 {
        return Err(malformed("number of edits"));
    }
    // After version and flags: count, then duration, media time, rate.
    set(bytes, elst, (8, 8), duration)?;
    // Two times of day, the track's number, four reserved bytes, duration.
    let tkhd = find_path(bytes, &[b"moov", b"trak", b"tkhd"])?;
    set(bytes, tkhd, (20, 28), duration)?;
    // Two times of day, time scale, duration.
    let mvhd = find_path(bytes, &[b"moov", b"mvhd"])?;
    set(bytes, mvhd, (16, 24), duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let mut bytes = (contents.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend(name);
        bytes.extend(contents);
        bytes
    }

    fn movie(version: u8, edits: u8) -> Vec<u8> {
        let wide = usize::from(version);
        let head = |length: usize| {
            let mut contents = vec![0; length];
            contents[0] = version;
            contents
        };
        let mut elst = head(8 + 12 + 8 * wide);
        elst[7] = edits;
        let trak = [boxed(b"tkhd", &head(84 + 12 * wide)), boxed(b"edts", &boxed(b"elst", &elst))];
        let moov = [boxed(b"mvhd", &head(100 + 12 * wide)), boxed(b"trak", &trak.concat())];
        [boxed(b"ftyp", b"isom"), boxed(b"moov", &moov.concat())].concat()
    }

    #[test]
    fn all_three_lengths_are_set_in_both_versions() {
        for (version, value) in [(0, 0x0102_0304), (1, 0x01_0203_0405)] {
            let mut bytes = movie(version, 1);
            shorten_edit(&mut bytes, value).unwrap();
            let width = if version == 0 { 4 } else { 8 };
            let needle = &value.to_be_bytes()[8 - width..];
            assert_eq!(bytes.windows(width).filter(|window| *window == needle).count(), 3);
        }
    }

    #[test]
    fn surprises_are_refused() {
        assert!(shorten_edit(&mut movie(0, 2), 5).is_err());
        assert!(shorten_edit(&mut movie(2, 1), 5).is_err());
        assert!(shorten_edit(&mut movie(0, 1), 1 << 33).is_err());
        assert!(shorten_edit(&mut [0; 40], 5).is_err());
        let mut cut = movie(0, 1);
        cut.truncate(60);
        assert!(shorten_edit(&mut cut, 5).is_err());
    }
}
