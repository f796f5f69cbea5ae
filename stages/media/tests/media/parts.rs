//! The segments of a file give its frames exactly once.

use std::{path::Path, time::Duration};

use curate_media::{Access, Segment, segments};

use crate::support::{decode, decode_part, make, shared_media};

fn check(path: &Path, length: Duration, at_least: usize) {
    let parts = segments(path, length, &Access::default()).unwrap();
    assert!(parts.len() >= at_least, "{path:?}: {parts:?}");
    assert_eq!(parts.first().unwrap().start, None);
    assert_eq!(parts.last().unwrap().end, None);
    assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
    let whole = decode(path);
    let mut joined = Vec::new();
    for part in parts {
        let (frames, stats) = decode_part(path, Some(part));
        assert!(!frames.is_empty(), "{path:?}: nothing in {part:?}");
        assert_eq!(frames[0].pts, part.start.unwrap_or(frames[0].pts));
        println!("{path:?} {part:?}: {stats:?}");
        joined.extend(frames);
    }
    assert_eq!(joined.len(), whole.len(), "{path:?}");
    assert!(joined == whole, "{path:?}: other frames");
}

#[test]
fn segments_join_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=8";
    for (name, codec, at_least) in [
        ("a.mp4", "-c:v libx264 -g 25 -bf 3 -preset fast", 6),
        ("b.mkv", "-c:v libx264 -g 25 -bf 3 -preset fast", 6),
        ("c.ts", "-c:v libx264 -g 25 -bf 2 -preset fast", 6),
        ("d.mp4", "-c:v libx265 -preset fast -x265-params keyint=25:open-gop=0:log-level=none", 6),
        ("e.webm", "-c:v libvpx -g 25 -deadline realtime", 6),
        ("f.webm", "-c:v libvpx-vp9 -g 25 -deadline realtime -cpu-used 8", 6),
        ("g.avi", "-c:v mpeg4 -g 25 -bf 0", 6),
        // Open groups of pictures have no place to cut.
        ("h.mp4", "-c:v libx264 -g 25 -bf 3 -x264-params open-gop=1", 1),
        ("i.mp4", "-c:v libx265 -x265-params keyint=25:open-gop=1:log-level=none", 6),
        ("j.mpg", "-c:v mpeg2video -g 12 -bf 2", 1),
    ] {
        let path = make(folder.path(), name, &format!("{source} {codec}"));
        check(&path, Duration::from_secs(1), at_least);
    }
}

#[test]
fn a_short_file_is_one_segment() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "a.mp4", "-f lavfi -i testsrc2=s=64x64:d=3 -g 10");
    let parts = segments(&path, Duration::from_secs(60), &Access::default()).unwrap();
    assert_eq!(parts, [Segment::default()]);
}

#[test]
fn sample_files_in_segments() {
    let Some(media) = shared_media() else { return };
    for (name, seconds, at_least) in [
        ("scenes/compose_hard17_640x360_25.mp4", 8, 2),
        ("scenes/compose_hard17_vfr_drop3.mp4", 8, 2),
        ("scenes/compose_hard17_hevc.mp4", 10, 2),
        ("scenes/bbb_0_30.webm", 8, 2),
        ("clips/ax_bbb_2500ms.ts", 1, 1),
        ("clips/ax_sample_edit_list.mp4", 1, 1),
    ] {
        check(&media.join(name), Duration::from_secs(seconds), at_least);
    }
}
