//! The table as others read it: with Python's `pylance`, without any of our code.

use std::path::Path;

use curate_media::{Access, probe};
use curate_schemas::{TimeBase, rescale};
use curate_testing::{frame_sums, make, python};

use crate::util::{Folder, curate, said, scenes_of};

/// The bytes that pylance's blob reader gives decode to exactly the source's frames of the span,
/// at the same times: for VP8, for H.264 with B-frames, and for a variable frame rate.
#[test]
fn blobs_decode_to_the_frames_of_their_span() {
    let Some(mut reader) = python("read_clips.py") else { return };
    let folder = Folder::new();
    folder.video("bframes.mp4", &[4, 12, 5]);
    let vp8 = scenes_of(&[4, 6], "-c:v libvpx -g 40 -b:v 300k -deadline realtime");
    make(&folder.path("videos"), "vp8.webm", &vp8);
    let thinned = "-vf select='mod(n,3)*mod(n,7)' -fps_mode vfr -c:v libx264 -bf 2 -g 60";
    let source = folder.path("videos/bframes.mp4");
    let line = format!("-i {} {thinned}", source.display());
    make(&folder.path("videos"), "vfr.mp4", &line);
    let recipe = folder.recipe("p.toml", "out", "");
    let ran = curate(&["run", &recipe]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);

    let clips = folder.path("clips");
    std::fs::create_dir(&clips).unwrap();
    let read = said(&reader.arg(folder.path("out")).arg(&clips).output().unwrap());
    assert_eq!(read.code, Some(0), "{}", read.err);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for line in read.out.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = row["source_uri"].as_str().unwrap().rsplit('/').next().unwrap();
        let file = clips.join(row["clip_id"].as_str().unwrap());
        let compared = compare(&folder.path("videos").join(name), &file, &row);
        *seen.entry(name.to_owned()).or_default() += compared;
    }
    let frames = |name: &str| seen.get(name).copied().unwrap_or(0);
    assert_eq!(frames("bframes.mp4"), 19 * 25, "{seen:?}");
    assert_eq!(frames("vp8.webm"), 10 * 25, "{seen:?}");
    assert!((200..525).contains(&frames("vfr.mp4")), "{seen:?}");
}

/// Compares a clip's file with its span of the source, frame by frame; how many there were.
fn compare(source: &Path, file: &Path, row: &serde_json::Value) -> usize {
    let number = |key: &str| row[key].as_i64().unwrap();
    let (start, end) = (number("start_pts"), number("end_pts"));
    let (num, den) = (number("tb_num") as i32, number("tb_den") as i32);
    let base = TimeBase::new(num, den).unwrap();
    let ticks = probe(file, &Access::default()).unwrap().video.time_base;
    let wanted: Vec<(i64, String)> = frame_sums(source, 0)
        .into_iter()
        .filter(|(pts, _)| (start..end).contains(pts))
        .map(|(pts, sum)| (rescale(pts - start, base, ticks), sum))
        .collect();
    assert_eq!(frame_sums(file, 0), wanted, "{row}");
    wanted.len()
}
