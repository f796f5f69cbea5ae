//! Transcoded clips: every frame of the span and no other, upright, the same bytes every time.

use std::{fs, path::Path};

use curate_media::{
    Access, ClipForm, Converter, DecodeOptions, Decoder, Encoding, Filter, Frame, Interlaced,
    Picture, Size, VideoCodec, probe, sum_abs_diff, transcode_clip,
};
use curate_schemas::{Span, rescale};

use crate::support::{make, shared_media};

fn decoded(path: &Path) -> Vec<Frame> {
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        frames.push(frame);
    }
    frames
}

fn shown(frame: &Frame, size: Size) -> Picture {
    frame.picture(&mut Converter::default(), size, Filter::Area, true).unwrap()
}

fn quick() -> Encoding {
    Encoding { preset: "veryfast".to_owned(), ..Encoding::default() }
}

/// Transcodes frames `from..to` of a file twice and compares with the source.
fn check(path: &Path, from: usize, to: usize, encoding: &Encoding, limit: f64) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let base = probe(path, &Access::default()).unwrap().video.time_base;
    let source = decoded(path);
    let last = &source[source.len() - 1];
    let end = source.get(to).map_or(last.pts + last.duration, |frame| frame.pts);
    let span = Span { start: source[from].pts, end, time_base: base };
    let once = || {
        let how = Interlaced::Deinterlace;
        transcode_clip(path, &span, encoding, how, &Access::default()).unwrap()
    };
    let clip = once();
    let again = once();
    assert!(clip == again, "{name}: other bytes the second time");
    assert_eq!((clip.form, clip.skip_frames), (ClipForm::Mp4, 0), "{name}");
    assert_eq!(clip.frames as usize, to.min(source.len()) - from, "{name}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.mp4");
    fs::write(&file, &clip.bytes).unwrap();
    let info = probe(&file, &Access::default()).unwrap();
    let (length, wanted) = (info.duration_s.unwrap(), base.seconds(end - span.start));
    assert!((length - wanted).abs() < 2e-3, "{name}: shown for {length} s instead of {wanted}");
    let about = info.video;
    assert_eq!(about.orientation.rotation, 0, "{name}");
    assert_eq!(about.pixel_format.as_deref(), Some(encoding.pixel_format.as_str()), "{name}");
    assert!(!about.full_range.unwrap_or(false), "{name}");
    let wanted = source[from].display_size();
    let even = |side: u32| side & !1;
    if encoding.short_side.is_none() {
        assert_eq!((about.width, about.height), (even(wanted.0), even(wanted.1)), "{name}");
    }
    let frames = decoded(&file);
    assert_eq!(frames.len(), clip.frames as usize, "{name}");
    let size = Size::new(about.width / 2, about.height / 2);
    for (ours, source) in frames.iter().zip(&source[from..]) {
        assert_eq!(
            rescale(ours.pts, about.time_base, base),
            source.pts - span.start,
            "{name}: when a frame is shown"
        );
        let (a, b) = (shown(ours, size), shown(source, size));
        let off = sum_abs_diff(&a.data, &b.data) as f64 / a.data.len() as f64;
        assert!(off < limit, "{name}: {off} levels away from the source");
    }
}

#[test]
fn spans_of_made_files() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=2";
    for (name, how) in [
        ("plain.mp4", "-c:v libx264 -crf 10 -bf 3 -g 30"),
        ("odd.mkv", "-vf scale=161:121 -c:v ffv1 -pix_fmt yuv444p"),
        ("deep.mkv", "-c:v libx265 -crf 10 -pix_fmt yuv420p10le -x265-params log-level=error"),
        ("full.mkv", "-c:v ffv1 -pix_fmt yuv420p -vf scale=out_range=pc -color_range pc"),
        ("rgb.mkv", "-c:v ffv1 -pix_fmt bgr0"),
        ("alpha.mov", "-c:v png -pix_fmt rgba"),
        ("wide.mp4", "-vf setsar=4/3 -c:v libx264 -crf 10"),
        ("irregular.mkv", "-vf select=not(mod(n\\,3))+gt(n\\,20) -vsync vfr -c:v libx264 -crf 10"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        // An odd row is cut off, which moves what is shrunk by half a pixel.
        let limit = if name == "odd.mkv" { 7.0 } else { 4.0 };
        check(&path, 0, 1000, &quick(), limit);
        check(&path, 7, 19, &quick(), limit);
    }
}

#[test]
fn spans_that_end_among_open_groups() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=2";
    for (name, how) in [
        ("mpeg2.ts", "-c:v mpeg2video -q:v 2 -bf 2 -g 12"),
        ("mpeg4.mp4", "-c:v mpeg4 -q:v 2 -bf 2 -g 12"),
        ("h264.mp4", "-c:v libx264 -crf 10 -x264-params open-gop=1:keyint=12:bframes=3:scenecut=0"),
        ("h265.mkv", "-c:v libx265 -crf 10 -x265-params open-gop=1:keyint=12:log-level=error"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        for to in 20..=28 {
            check(&path, 14, to, &quick(), 4.0);
        }
    }
}

#[test]
fn spans_of_files_that_do_not_say_when_pictures_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=2";
    for (name, how) in [
        ("mpeg4.avi", "-c:v mpeg4 -q:v 2 -bf 2 -g 10"),
        ("short.avi", "-c:v mpeg4 -q:v 2 -bf 2 -g 3"),
        ("h264.avi", "-c:v libx264 -crf 10 -bf 3 -g 10"),
        ("raw.h264", "-c:v libx264 -crf 10 -bf 2 -g 10 -f h264"),
        ("plain.h264", "-c:v libx264 -crf 10 -bf 0 -g 10 -f h264"),
        ("pyramid.avi", "-c:v libx264 -crf 10 -bf 8 -b_strategy 0 -refs 8 -g 9"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        for from in 15..=27 {
            check(&path, from, from + 4, &quick(), 4.0);
        }
        check(&path, 40, 1000, &quick(), 4.0);
    }
}

#[test]
fn odd_sides_in_wide_colours() {
    let folder = tempfile::tempdir().unwrap();
    for (name, colors) in [
        ("pq.mkv", "-color_primaries bt2020 -colorspace bt2020nc -color_trc smpte2084"),
        ("wide.mkv", "-color_primaries bt2020 -colorspace bt2020nc -color_trc bt2020-10"),
    ] {
        let how = format!("-c:v ffv1 -pix_fmt yuv420p10le {colors}");
        let source = "-f lavfi -i testsrc2=s=321x241:r=25:d=1";
        let path = make(folder.path(), name, &format!("{source} {how}"));
        check(&path, 3, 12, &quick(), 8.0);
        check(&path, 3, 12, &Encoding { short_side: Some(120), ..quick() }, 8.0);
    }
}

#[test]
fn every_encoder_and_smaller_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=320x240:r=25:d=1 -c:v libx264 -crf 10";
    let path = make(folder.path(), "a.mp4", line);
    let small = Encoding { short_side: Some(120), key_every: 5, ..quick() };
    check(&path, 3, 20, &small, 6.0);
    for (codec, preset) in [(VideoCodec::H265, "veryfast"), (VideoCodec::Av1, "12")] {
        let encoding = Encoding { codec, preset: preset.to_owned(), ..Encoding::default() };
        assert_eq!(encoding.faults(), []);
        check(&path, 3, 20, &encoding, 6.0);
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let encoding = Encoding {
        crf: 99.0,
        preset: "quick".to_owned(),
        pixel_format: "yuv421p".to_owned(),
        key_every: 0,
        short_side: Some(3),
        ..Encoding::default()
    };
    let keys: Vec<&str> = encoding.faults().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["crf", "preset", "key_every", "short_side", "pixel_format"]);
    assert_eq!(Encoding::default().faults(), []);
    let keys = |encoding: Encoding| {
        encoding.faults().into_iter().map(|(key, _)| key).collect::<Vec<&str>>()
    };
    // Its samples would be of another range than the pictures are.
    let other = Encoding { pixel_format: "yuvj420p".to_owned(), ..Encoding::default() };
    assert_eq!(keys(other), ["pixel_format"]);
    let small = |codec, preset: &str, side| Encoding {
        codec,
        preset: preset.to_owned(),
        short_side: Some(side),
        ..Encoding::default()
    };
    assert_eq!(keys(small(VideoCodec::Av1, "12", 62)), ["short_side"]);
    assert!(keys(small(VideoCodec::Av1, "12", 64)).is_empty());
    assert!(keys(small(VideoCodec::H264, "fast", 62)).is_empty());
    assert_eq!(keys(small(VideoCodec::H264, "fast", 63)), ["short_side"]);
}

#[test]
fn spans_of_real_files() {
    let Some(media) = shared_media() else { return };
    for (name, limit) in [
        ("ax_sample_portrait.mp4", 4.0),
        ("ax_sample_rotate_and_reflect.mp4", 4.0),
        // Its last packets are decoded later than they are shown.
        ("ax_dolbyVision-hdr.MOV", 6.0),
        ("ax_bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4", 4.0),
        ("ax_bbb_2500ms.ts", 4.0),
        ("ax_sample.avi", 4.0),
        ("torchcodec_bt709_full_range.mp4", 4.0),
        ("torchcodec_h264_10bits.mp4", 4.0),
        ("ax_bear-vp9.webm", 4.0),
        // Tone-mapped at full size there, after shrinking here.
        ("ax_sample_with_colr_mdcv_and_clli.mp4", 6.0),
    ] {
        let path = media.join("clips").join(name);
        let frames = decoded(&path).len();
        check(&path, frames / 3, (frames / 3 + 20).min(frames), &quick(), limit);
    }
}
