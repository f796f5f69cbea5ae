//! A copied clip shows exactly the source's frames of its span.

use std::{fs, path::Path, time::Duration};

use curate_media::{
    Access, ClipForm, Encoding, Interlaced, Segment, copy_clip, probe, segments, shown_frames,
    transcode_clip,
};
use curate_schemas::{Span, rescale};

use crate::support::{Seen, decode, decode_part, frame_sums, make, shared_media};

/// Cuts the frames `from..to` of the file and compares; with `sums`, by `ffmpeg` as well.
fn check(path: &Path, whole: &[Seen], from: usize, to: usize, sums: Option<&[(i64, String)]>) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    println!("{name} {from}..{to}");
    let info = probe(path, &Access::default()).unwrap();
    let base = info.video.time_base;
    let last = whole[whole.len() - 1].pts;
    let end = whole.get(to).map_or(last + 1, |frame| frame.pts);
    let span = Span { start: whole[from].pts, end, time_base: base };
    let clip = copy_clip(path, &span, &Access::default()).unwrap();
    let again = copy_clip(path, &span, &Access::default()).unwrap();
    assert!(clip == again, "{name} {from}..{to}: other bytes the second time");
    assert_eq!(clip.frames as usize, to - from, "{name} {from}..{to}");
    let seen = shown_frames(path, &span, &Access::default()).unwrap();
    assert_eq!(seen.frames, clip.frames, "{name}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("clip.{}", clip.form.extension().unwrap()));
    fs::write(&file, &clip.bytes).unwrap();
    let shown = decode(&file);
    let is_exact = clip.form == ClipForm::Mp4 || info.video.codec == "vp8";
    let skip = if is_exact { 0 } else { clip.skip_frames as usize };
    let shown = &shown[skip..];
    let shown = if is_exact { shown } else { &shown[..to - from] };
    assert_eq!(shown.len(), to - from, "{name} {from}..{to}: number of frames");
    let about = probe(&file, &Access::default()).unwrap();
    assert_eq!(about.video.orientation, info.video.orientation);
    assert_eq!((about.video.width, about.video.height), (info.video.width, info.video.height));
    let zero = if is_exact { 0 } else { shown[0].pts };
    for (shown, source) in shown.iter().zip(&whole[from..to]) {
        assert_eq!(shown.hash, source.hash, "{name} {from}..{to}: pixels at {}", source.pts);
        let wanted = rescale(source.pts - span.start, base, about.video.time_base);
        // Matroska counts in milliseconds.
        let slack = if is_exact { 0 } else { 1 };
        let off = shown.pts - zero - wanted;
        assert!(off.abs() <= slack, "{name} {from}..{to}: off by {off} at {}", source.pts);
    }
    if let Some(sums) = sums {
        let wanted: Vec<&str> =
            sums.iter().filter(|(pts, _)| span.contains(*pts)).map(|(_, sum)| &**sum).collect();
        let got = frame_sums(&file, about.video.index);
        // FFmpeg before 7 shows the run-up of AV1, at negative times.
        let early = got.iter().take_while(|(pts, _)| *pts < 0).count();
        assert!(early == 0 || info.video.codec == "av1", "{name} {from}..{to}: {early} early");
        let got: Vec<&str> = got[skip.max(early)..].iter().map(|(_, sum)| &**sum).collect();
        assert_eq!(got, wanted, "{name} {from}..{to}: frames by ffmpeg");
    }
}

fn check_file(path: &Path, with_ffmpeg: bool) {
    let whole = decode(path);
    let n = whole.len();
    let stream = probe(path, &Access::default()).unwrap().video.index;
    let sums = with_ffmpeg.then(|| frame_sums(path, stream));
    check(path, &whole, n / 3 + 1, n * 2 / 3, sums.as_deref());
    check(path, &whole, 0, n / 5 + 1, None);
    check(path, &whole, n / 2 + 2, n / 2 + 7, None);
    check(path, &whole, n - n / 4, n, None);
}

#[test]
fn generated_files() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=4";
    for (name, codec) in [
        ("a.mp4", "-c:v libx264 -g 30 -bf 3"),
        ("b.mkv", "-c:v libx264 -g 30 -bf 3"),
        ("c.ts", "-c:v libx264 -g 30 -bf 2"),
        ("d.flv", "-c:v libx264 -g 30 -bf 2"),
        ("e.mp4", "-c:v libx264 -g 30 -bf 3 -x264-params open-gop=1"),
        ("f.mkv", "-c:v libx265 -x265-params keyint=30:open-gop=1:log-level=none"),
        ("g.webm", "-c:v libvpx -g 40 -auto-alt-ref 1 -lag-in-frames 16 -b:v 300k"),
        ("h.webm", "-c:v libvpx-vp9 -g 40 -cpu-used 8 -b:v 300k"),
        ("i.avi", "-c:v mpeg4 -g 30 -bf 0"),
        ("j.mpg", "-c:v mpeg2video -g 12 -bf 2"),
        ("k.mov", "-c:v prores"),
        ("l.mkv", "-c:v theora -g 30"),
        ("o.mov", "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le"),
        ("p.3gp", "-s 176x144 -c:v h263 -g 30"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {codec}"));
        check_file(&path, true);
    }
}

#[test]
fn sample_files() {
    let Some(media) = shared_media() else { return };
    for (name, with_ffmpeg) in [
        ("clips/mdn_flower.mp4", true),
        ("clips/skv_bigbuckbunny.mp4", true),
        ("scenes/compose_hard17_640x360_25.mp4", true),
        ("scenes/compose_hard17_vfr_drop3.mp4", true),
        ("scenes/compose_hard17_hevc.mp4", true),
        ("scenes/compose_hard17_av1_10bit.mkv", true),
        ("scenes/bbb_0_30.webm", true),
        ("clips/ax_sample_av1.mp4", false),
        ("clips/ax_bbb_642x642_768kbps_30fps_vp9.webm", true),
        ("clips/ax_bear-vp9.webm", false),
        ("clips/ax_bbb_2500ms.ts", true),
        ("clips/ax_sample.avi", true),
        ("clips/ax_sample.flv", true),
        ("clips/ax_sample_with_srt.mkv", false),
        ("clips/ax_bbb_176x144_128kbps_15fps_h263.3gp", false),
        ("clips/ax_bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4", false),
        ("clips/ax_bt601.mov", false),
        ("clips/ax_sample_portrait.mp4", false),
        ("clips/ax_sample_rotate_and_reflect.mp4", false),
        ("clips/mdn_stream-of-water.webm", false),
        ("clips/torchcodec_h264_10bits.mp4", false),
    ] {
        check_file(&media.join(name), with_ffmpeg);
    }
}

#[test]
fn spans_that_are_in_the_file_twice_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Recordings of 4 s of which the second begins 0.8 s before the end of the first.
    let part = |name, look: &str, offset: f64| {
        let how = "-c:v libx264 -preset veryfast -g 5 -bf 2 -bsf:v dump_extra";
        let line = format!("-f lavfi -i {look}=s=96x64:r=25:d=4 {how} -output_ts_offset {offset}");
        fs::read(make(folder.path(), name, &line)).unwrap()
    };
    let both = [part("a.ts", "testsrc2", 0.0), part("b.ts", "testsrc", 3.2)].concat();
    let path = folder.path().join("both.ts");
    fs::write(&path, both).unwrap();
    let whole = decode(&path);
    let twice = whole.iter().skip(1).zip(&whole).filter(|(b, a)| b.pts == a.pts + 1).count();
    assert!((15..25).contains(&twice), "{twice} frames have times of others");
    let base = probe(&path, &Access::default()).unwrap().video.time_base;
    let first = whole[0].pts;
    for (start, is_twice) in [(0.0, false), (2.4, false), (3.4, true), (4.2, false), (6.0, false)] {
        let start = first + base.ticks(start);
        let span = Span { start, end: start + base.ticks(0.4), time_base: base };
        let copied = copy_clip(&path, &span, &Access::default());
        let made = transcode_clip(
            &path,
            &span,
            &Encoding { preset: "veryfast".to_owned(), ..Encoding::default() },
            Interlaced::Keep,
            &Access::default(),
        );
        for made in [copied, made] {
            let kind = made.map(|clip| clip.frames).map_err(|error| error.kind());
            assert_eq!(kind, if is_twice { Err("times") } else { Ok(10) }, "{start}");
        }
    }
}

#[test]
fn times_that_are_those_of_decoding_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=3 -c:v mpeg4 -q:v 2 -bf 2 -g 10";
    let avi = make(folder.path(), "b.avi", source);
    let path = make(folder.path(), "b.mp4", &format!("-i {} -c copy", avi.display()));
    let base = probe(&path, &Access::default()).unwrap().video.time_base;
    let span = Span { start: base.ticks(0.8), end: base.ticks(1.6), time_base: base };
    let error = copy_clip(&path, &span, &Access::default()).unwrap_err().to_string();
    assert!(error.contains("form = \"transcode\""), "{error}");
    // Matroska has no decode times beside them.
    let with = source.replace("mpeg4 -q:v 2 -bf 2", "libx264 -bf 2");
    let right = make(folder.path(), "right.mp4", &with);
    let line = format!("-i {} -c copy -bsf:v setts=pts=DTS", right.display());
    let path = make(folder.path(), "wrong.mkv", &line);
    let base = probe(&path, &Access::default()).unwrap().video.time_base;
    let span = Span { start: base.ticks(0.8), end: base.ticks(1.6), time_base: base };
    let error = copy_clip(&path, &span, &Access::default()).unwrap_err().to_string();
    assert!(error.contains("not those at which"), "{error}");
    // Where nothing is reordered they are right.
    let plain = make(folder.path(), "p.mp4", &source.replace("-bf 2", "-bf 0"));
    let base = probe(&plain, &Access::default()).unwrap().video.time_base;
    let span = Span { start: base.ticks(0.8), end: base.ticks(1.6), time_base: base };
    assert_eq!(copy_clip(&plain, &span, &Access::default()).unwrap().frames, 20);
}

/// No picture is whole by itself, and a decoder that begins anywhere makes some of what is not there.
#[test]
fn pictures_that_are_renewed_bit_by_bit_are_never_shown_half() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=5,noise=alls=20:allf=t -c:v libx264";
    for (name, how) in [
        ("a.ts", "intra-refresh=1:keyint=15"),
        ("b.mp4", "intra-refresh=1:keyint=25"),
        ("c.mkv", "intra-refresh=1:keyint=15:bframes=0"),
    ] {
        let path = make(folder.path(), name, &format!("{source} -x264-params {how}"));
        let whole = decode(&path);
        let time_base = probe(&path, &Access::default()).unwrap().video.time_base;
        for (index, frame) in whole.iter().enumerate().step_by(7) {
            let part = Segment { start: Some(frame.pts), end: None };
            let seen = decode_part(&path, Some(part)).0;
            let wrong = whole[index..].iter().filter(|frame| !seen.contains(frame)).count();
            assert!(seen == whole[index..], "{name} from {index}: {wrong} of {}", seen.len());
            let end = whole.get(index + 20).map_or(whole[whole.len() - 1].pts + 1, |end| end.pts);
            let span = Span { start: frame.pts, end, time_base };
            match copy_clip(&path, &span, &Access::default()) {
                Ok(clip) => assert_eq!((clip.frames, clip.skip_frames), (20, index as u32)),
                Err(error) => assert!(error.to_string().contains("intra refresh"), "{error}"),
            }
        }
    }
}

/// FFmpeg takes every packet of these for a key packet, or hands out a palette with the first one only.
#[test]
fn what_can_only_be_decoded_from_its_beginning_is() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=176x144:r=25:d=4 -g 30 -c:v";
    for (name, codec) in [
        ("a.avi", "h263"),
        ("b.mkv", "h263p"),
        ("c.avi", "h261"),
        ("d.mov", "rpza"),
        ("e.mov", "smc"),
        ("f.mov", "qtrle -pix_fmt gray"),
        ("g.avi", "rawvideo -pix_fmt pal8"),
        ("h.mov", "rawvideo -pix_fmt pal8"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {codec}"));
        let whole = decode(&path);
        let time_base = probe(&path, &Access::default()).unwrap().video.time_base;
        for index in [1, 17, 40, 77] {
            let part = Segment { start: Some(whole[index].pts), end: None };
            assert!(decode_part(&path, Some(part)).0 == whole[index..], "{name} from {index}");
            let span = Span { start: whole[index].pts, end: whole[index + 10].pts, time_base };
            let error = copy_clip(&path, &span, &Access::default()).unwrap_err().to_string();
            assert!(error.contains("form = \"transcode\""), "{error}");
        }
        let parts = segments(&path, Duration::from_secs(1), &Access::default()).unwrap();
        assert_eq!(parts, [Segment::default()], "{name}");
    }
}

#[test]
fn what_cannot_be_cut_truly_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "a.mp4", "-f lavfi -i testsrc2=s=64x64:d=2");
    let base = probe(&path, &Access::default()).unwrap().video.time_base;
    let kind = |start, end, time_base| {
        copy_clip(&path, &Span { start, end, time_base }, &Access::default()).unwrap_err().kind()
    };
    assert_eq!(kind(10, 10, base), "mux");
    assert_eq!(kind(1 << 40, 1 << 41, base), "mux");
    assert_eq!(kind(0, 100, curate_schemas::TimeBase { num: 1, den: 7 }), "mux");
    let mpeg1 = make(folder.path(), "a.mpg", "-f lavfi -i testsrc2=s=64x64:d=2 -c:v mpeg1video");
    let base = probe(&mpeg1, &Access::default()).unwrap().video.time_base;
    let span = Span { start: base.ticks(1.0), end: base.ticks(1.5), time_base: base };
    let error = copy_clip(&mpeg1, &span, &Access::default()).unwrap_err().to_string();
    assert!(error.contains("MPEG-1") && error.contains("form = \"transcode\""), "{error}");
}
