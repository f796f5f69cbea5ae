//! What a span's packets are, as one hash: the same for copies of a file, in whatever container the
//! codec's packets are written the same way (MP4, MOV and Matroska; not MPEG-TS for H.264).
//!
//! Only packets that are shown in the span count, in the order in which they lie in the file. Times do
//! not: a remuxed copy may begin at another one.

use std::path::Path;

use curate_schemas::Span;

use crate::{
    Access, MediaError, SourceKind, clip::PACKETS_PAST_THE_SPAN, input::Read, packet::Packet,
    probe, webp,
};

/// The BLAKE3 hash of the packets of `span` (ticks of the stream's time base), or of a still picture's
/// whole file; `None` where the file has no packets of such a span.
///
/// # Errors
/// Those of [`probe`](crate::probe()).
pub fn packet_hash(
    path: &Path,
    span: &Span,
    access: &Access,
) -> Result<Option<blake3::Hash>, MediaError> {
    let io = |source| MediaError::Io { path: path.to_owned(), source };
    if webp::is_animated(path) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&std::fs::read(path).map_err(io)?);
        hasher.update(&span.start.to_le_bytes());
        hasher.update(&span.end.to_le_bytes());
        return Ok(Some(hasher.finalize()));
    }
    let (mut input, info) = probe::open(path, access)?;
    if info.kind == SourceKind::Image {
        return Ok(Some(blake3::hash(&std::fs::read(path).map_err(io)?)));
    }
    if span.time_base != info.video.time_base {
        return Ok(None);
    }
    input.complete_times();
    let mut next = input.seek_before(span.start)?;
    let mut hasher = blake3::Hasher::new();
    let (mut hashed, mut past) = (0_u64, 0);
    while past <= PACKETS_PAST_THE_SPAN {
        let packet = match next.take() {
            Some(packet) => packet,
            None => {
                let mut packet = Packet::new()?;
                match input.read(&mut packet)? {
                    Read::Packet => packet,
                    Read::End | Read::Failed(_) => break,
                }
            }
        };
        let Some(time) = packet.time() else { continue };
        past = if time >= span.end { past + 1 } else { 0 };
        if span.contains(time) && !packet.is_empty() {
            // With its length, so that no two rows of packets read the same.
            hasher.update(&(packet.data().len() as u64).to_le_bytes());
            hasher.update(packet.data());
            hashed += 1;
        }
    }
    Ok((hashed > 0).then(|| hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use curate_schemas::TimeBase;
    use curate_testing::make;

    use super::*;

    fn hash(path: &Path, start: i64, end: i64, base: TimeBase) -> Option<blake3::Hash> {
        packet_hash(path, &Span { start, end, time_base: base }, &Access::default()).unwrap()
    }

    #[test]
    fn copies_of_a_span_have_one_hash_and_other_spans_have_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let look = "-f lavfi -i testsrc2=s=64x64:r=25 -t 3 -c:v libx264 -bf 2 -g 25";
        make(folder, "a.mp4", look);
        let film = folder.join("a.mp4");
        make(folder, "b.mkv", &format!("-i {} -c copy", film.display()));
        make(folder, "c.mp4", &format!("-i {} -c:v libx264 -crf 30", film.display()));
        let base = TimeBase { num: 1, den: 12_800 };
        let tick = 512;
        let whole = hash(&film, 0, 75 * tick, base);
        assert!(whole.is_some());
        assert_eq!(whole, hash(&film, 0, 75 * tick, base));
        let matroska = TimeBase { num: 1, den: 1000 };
        assert_eq!(whole, hash(&folder.join("b.mkv"), 0, 3000, matroska));
        assert_ne!(whole, hash(&folder.join("c.mp4"), 0, 75 * tick, base));
        // A part, from between key frames, and its neighbour.
        let part = hash(&film, 10 * tick, 30 * tick, base);
        assert!(part.is_some());
        assert_eq!(part, hash(&folder.join("b.mkv"), 400, 1200, matroska));
        assert_ne!(part, hash(&film, 11 * tick, 31 * tick, base));
        assert_eq!(hash(&film, 76 * tick, 99 * tick, base), None);
        assert_eq!(hash(&film, 0, 75, matroska), None);
    }
}
