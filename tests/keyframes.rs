//! The scan of key frames, through the real binary.

use std::fs;

use curate_testing::make;

use crate::{
    media::{SCENES, recipe, run},
    util::{Folder, curate, scenes_of},
};

#[test]
fn key_frames_alone_show_the_cuts() {
    let folder = Folder::new();
    // Key frames every second and wherever x264 sees a cut; still in between.
    let codec = "-c:v libx264 -preset veryfast -g 25 -bf 2";
    let line = scenes_of(&[4, 3, 5, 4], codec).replace("mandelbrot", "smptebars");
    make(&folder.path("videos"), "a.mp4", &line);
    let spans = "select start_pts, end_pts, num_frames, thumb is null from clips order by 1";
    run(&recipe(&folder, "full", "", "form = \"none\"", SCENES), 0);
    let keys = format!("{SCENES}\nscan = \"keyframes\"");
    let said = run(&recipe(&folder, "keys", "", "form = \"none\"", &keys), 0);
    assert_eq!(folder.rows("full", spans), folder.rows("keys", spans));
    let ratio = said.err.split("source frames: ").nth(1).unwrap();
    let ratio: f64 = ratio.split(" = ").nth(1).unwrap()[..4].parse().unwrap();
    assert!(ratio < 0.9, "not everything was decoded: {ratio}");

    let rest = format!("{keys}\n[[stage]]\nkind = \"motion\"");
    let path = recipe(&folder, "motion", "", "form = \"none\"", &rest);
    for verb in ["check", "run"] {
        let said = curate(&[verb, &path]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("scan = \"full\""), "{}", said.err);
    }
    let rest = format!("{keys}\ndetectors = [{{ kind = \"adaptive\" }}]");
    let said = run(&recipe(&folder, "adaptive", "", "form = \"none\"", &rest), 2);
    assert!(said.err.contains("\"keyframes\" works with"), "{}", said.err);
}

#[test]
fn key_frames_of_open_groups_and_of_fields_show_the_same_clips() {
    let folder = Folder::new();
    let videos = folder.path("videos");
    let open = "keyint=25:open-gop=1";
    let line = scenes_of(&[4, 3, 4], &format!("-c:v libx264 -x264-params {open} -bf 3"));
    make(&videos, "h264.mkv", &line);
    let line = scenes_of(&[4, 3, 4], &format!("-c:v libx265 -x265-params log-level=error:{open}"));
    make(&videos, "h265.mp4", &line);
    make(
        &videos,
        "fields.mp4",
        "-f lavfi -i testsrc2=s=320x240:r=50:d=4,interlace -c:v libx264 -g 25 -flags +ildct+ilme",
    );
    make(&videos, "a.webp", "-f lavfi -i testsrc2=s=64x48:r=10:d=4 -c:v libwebp_anim");
    if let Some(samples) = curate_testing::samples() {
        // Real groups of a few frames, of which FFmpeg's decoder does not give every picture.
        let film = samples.join("transnetv2_test.mp4");
        let how =
            "-c:v libx264 -preset veryfast -vf scale=480:-2 -x264-params open-gop=1:keyint=48";
        make(&videos, "film.mkv", &format!("-i {} -t 20 -an {how}", film.display()));
    }
    let spans = "select source_uri, start_pts, end_pts, num_frames from clips order by 1, 2";
    let output = "form = \"none\"\nunit_minutes = 0.05";
    run(&recipe(&folder, "full", "", output, SCENES), 0);
    let keys = format!("{SCENES}\nscan = \"keyframes\"");
    run(&recipe(&folder, "keys", "", output, &keys), 0);
    assert_eq!(folder.rows("full", spans), folder.rows("keys", spans));
    run(&recipe(&folder, "refused", "interlaced = \"refuse\"", output, &keys), 3);
    let failed = "select distinct source_uri, error_kind from units where status = 'failed'";
    let failed = folder.rows("refused", failed);
    assert!(failed.contains("fields.mp4,interlaced") && failed.lines().count() == 2, "{failed}");
}

/// The pictures that others need settle most groups; what a detector weighs decides.
#[test]
fn key_frames_and_what_lies_between_them_are_weighed_as_the_detector_does() {
    let folder = Folder::new();
    let videos = folder.path("videos");
    let grey = |level, seconds| format!("-f lavfi -i color=c=0x{level}:s=320x180:r=25:d={seconds}");
    let (dark, light) = (grey("505050", 2.2), grey("7d7d7d", 2.8));
    let how = "-filter_complex concat=n=2 -c:v libx264 -sc_threshold 0 -bf 3 -g";
    for every in [25, 250] {
        make(&videos, &format!("luma{every}.mp4"), &format!("{dark} {light} {how} {every}"));
    }
    let limited = format!("{how} 25 -pix_fmt gray -color_range tv");
    make(&videos, "grey.mkv", &format!("{dark} {light} {limited}"));
    if let Some(samples) = curate_testing::samples() {
        let film = samples.join("transnetv2_test.mp4");
        let closed = "libx265 -x265-params log-level=error:open-gop=0:keyint=48:bframes=3";
        for (name, codec) in [
            ("film.mp4", "libx264 -g 48 -bf 3"),
            ("intra.mp4", "libx264 -g 1"),
            ("closed.mp4", closed),
        ] {
            let how = format!("-preset veryfast -vf scale=480:-2 -c:v {codec}");
            make(&videos, name, &format!("-i {} -t 20 -an {how}", film.display()));
        }
    }
    let spans = "select source_uri, start_pts, end_pts, num_frames from clips order by 1, 2";
    let weights = "{ hue = 0.0, saturation = 0.0, value = 1.0 }";
    let rest = format!("{SCENES}\ndetectors = [{{ kind = \"content\", weights = {weights} }}]");
    run(&recipe(&folder, "full", "", "form = \"none\"", &rest), 0);
    let keys = format!("{rest}\nscan = \"keyframes\"");
    run(&recipe(&folder, "keys", "", "form = \"none\"", &keys), 0);
    let (full, keys) = (folder.rows("full", spans), folder.rows("keys", spans));
    assert_eq!(full, keys);
    assert!(full.contains("luma25.mp4,28160,64000,70\n"), "a cut after 55 frames: {full}");
}

/// Of MPEG-4 FFmpeg shows damaged pictures, and only marks some of them.
#[test]
fn key_frames_that_are_damaged_are_told() {
    let folder = Folder::new();
    let line = "-f lavfi -i testsrc2=s=320x240:r=25:d=6 -c:v mpeg4 -q:v 3 -g 1";
    let path = make(&folder.path("videos"), "a.avi", line);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    (length / 4..length * 3 / 4).step_by(4999).for_each(|at| bytes[at] ^= 0x5a);
    fs::write(&path, bytes).unwrap();
    for scan in ["full", "keyframes"] {
        let rest = format!("{SCENES}\nscan = \"{scan}\"");
        run(&recipe(&folder, scan, "", "form = \"none\"", &rest), 3);
        let units = folder.rows(scan, "select status, frames_source from units");
        assert_eq!(units, "status,frames_source\npartial,150\n", "{scan}");
    }
}

/// Packets that no picture comes of make no clip.
#[test]
fn key_frames_that_cannot_be_decoded_make_no_clip() {
    let folder = Folder::new();
    let how = "-c:v libx264 -g 25 -bf 2";
    let whole = make(&folder.path(""), "w.mp4", &format!("-f lavfi -i testsrc2=d=6:r=25 {how}"));
    let bytes = fs::read(&whole).unwrap();
    // All lengths of units within the media data are nonsense.
    let begin = bytes.windows(4).position(|kind| kind == b"mdat").unwrap() + 4;
    let end = bytes.windows(4).rposition(|kind| kind == b"moov").unwrap() - 4;
    let bad = bytes.iter().enumerate();
    let bad: Vec<u8> =
        bad.map(|(at, byte)| if (begin..end).contains(&at) { 0xff } else { *byte }).collect();
    fs::write(folder.path("videos/bad.mp4"), bad).unwrap();
    for scan in ["full", "keyframes"] {
        let rest = format!("{SCENES}\nscan = \"{scan}\"");
        run(&recipe(&folder, scan, "", "form = \"none\"", &rest), 3);
        let units = "select status, clips, frames_source from units";
        assert_eq!(folder.rows(scan, units), "status,clips,frames_source\nfailed,0,0\n", "{scan}");
    }
}
