//! Odd sources: interlaced, several tracks, transparent, animated pictures, stills.

use std::{fs, path::Path};

use curate_media::{
    Access, Converter, DecodeOptions, Decoder, Filter, Frame, Interlaced, Picture, Size,
    SourceKind, copy_clip, is_animated_webp, probe,
};
use curate_schemas::{Span, TimeBase};

use crate::support::{FIRST, apart, bgr_by_ffmpeg, make};

fn decoded(path: &Path, options: &DecodeOptions) -> Vec<Frame> {
    let mut decoder = Decoder::open(path, options).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        frames.push(frame);
    }
    frames
}

fn picture(frame: &Frame) -> Picture {
    let size = Size::from(frame.display_size());
    frame.picture(&mut Converter::default(), size, Filter::Linear, true).unwrap()
}

/// All frames by `ffmpeg`, one after the other.
fn by_ffmpeg(path: &Path, filter: &str) -> Vec<u8> {
    bgr_by_ffmpeg(&[], path, filter, &[])
}

/// Fields that are a fiftieth of a second apart, of a picture that moves.
const FIELDS: &str = "-f lavfi -i testsrc2=s=320x240:r=50:d=1,interlace=lowpass=off";

#[test]
fn fields_become_frames_as_ffmpegs_bwdif_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("{FIELDS} -c:v mpeg2video -q:v 2 -flags +ildct+ilme -bf 2");
    let path = make(folder.path(), "fields.ts", &line);
    let plain = decoded(&path, &DecodeOptions::default());
    let wanted = by_ffmpeg(&path, "bwdif=mode=send_frame:deint=interlaced");
    let size = 320 * 240 * 3;
    assert_eq!(plain.len(), wanted.len() / size);
    let keep = DecodeOptions { interlaced: Interlaced::Keep, ..DecodeOptions::default() };
    let combed = decoded(&path, &keep);
    let times = |frames: &[Frame]| frames.iter().map(|f| (f.pts, f.duration)).collect::<Vec<_>>();
    assert_eq!(times(&plain), times(&combed), "no frame comes, goes or moves");
    for (index, frame) in plain.iter().enumerate() {
        let theirs = &wanted[index * size..][..size];
        let off = apart(&picture(frame).data, theirs);
        assert!(off < 2.0, "frame {index}: {off} levels away from ffmpeg");
        let combs = apart(&picture(&combed[index]).data, theirs);
        assert!(combs > off, "frame {index}: combs are gone");
    }
}

#[test]
fn interlaced_video_can_be_refused_and_progressive_video_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("{FIELDS} -c:v libx264 -flags +ildct+ilme");
    let path = make(folder.path(), "fields.mp4", &line);
    let refuse = DecodeOptions { interlaced: Interlaced::Refuse, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(&path, &refuse).unwrap();
    assert_eq!(decoder.next_frame().unwrap_err().kind(), "interlaced");

    let path = make(folder.path(), "frames.mp4", "-f lavfi -i testsrc2=s=64x64:d=1");
    let ours = decoded(&path, &refuse);
    let keep = DecodeOptions { interlaced: Interlaced::Keep, ..DecodeOptions::default() };
    let same = ours.iter().zip(decoded(&path, &keep)).all(|(a, b)| picture(a) == picture(&b));
    assert!(same && ours.len() == 25);
}

#[test]
fn a_track_is_the_best_one_or_the_one_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=64x64:d=1 -f lavfi -i testsrc2=s=128x96:d=1 \
                -map 0:v -map 1:v -c:v libx264";
    let second = format!("{line} -disposition:v:0 0 -disposition:v:1 default");
    let second = make(folder.path(), "second.mkv", &second);
    assert_eq!(probe(&second, &Access::default()).unwrap().video.width, 128, "the default");
    let path = make(folder.path(), "two.mkv", line);
    let width = |track| {
        let access = Access { track, ..Access::default() };
        probe(&path, &access).map(|info| info.video.width)
    };
    assert_eq!(width(Some(0)).unwrap(), 64);
    assert_eq!(width(Some(1)).unwrap(), 128);
    assert_eq!(width(None).unwrap(), 64, "the one that is marked as default");
    let error = width(Some(2)).unwrap_err();
    assert_eq!(error.kind(), "no_track");
    assert!(error.to_string().contains("no video track 2: it has 2"), "{error}");

    let access = Access { track: Some(0), ..Access::default() };
    let options = DecodeOptions { access: access.clone(), ..DecodeOptions::default() };
    assert!(decoded(&path, &options).iter().all(|frame| frame.width() == 64));
    let base = probe(&path, &access).unwrap().video.time_base;
    let span = Span { start: 0, end: base.ticks(0.4), time_base: base };
    let clip = copy_clip(&path, &span, &access).unwrap();
    let file = folder.path().join("clip.mp4");
    fs::write(&file, clip.bytes).unwrap();
    assert_eq!(probe(&file, &Access::default()).unwrap().video.width, 64);
}

#[test]
fn a_cover_is_no_video() {
    let folder = tempfile::tempdir().unwrap();
    let cover = make(folder.path(), "cover.png", "-f lavfi -i testsrc2=s=320x320 -frames:v 1");
    let cover = cover.to_str().unwrap();
    let film = "-f lavfi -i testsrc2=s=64x48:d=1";
    let as_cover = "-c:v:0 copy -disposition:v:0 attached_pic";
    // Larger than the film, and before it.
    let line = format!("-i {cover} {film} -map 0:v -map 1:v {as_cover} -c:v:1 libx264");
    let path = make(folder.path(), "film.mp4", &line);
    let info = probe(&path, &Access::default()).unwrap();
    assert_eq!((info.video.width, info.kind), (64, SourceKind::Video));
    assert_eq!(decoded(&path, &DecodeOptions::default()).len(), 25);
    let access = Access { track: Some(1), ..Access::default() };
    assert_eq!(probe(&path, &access).unwrap_err().kind(), "no_track", "covers are not counted");

    let line = format!("-i {cover} -f lavfi -i sine=d=1 -map 0:v -map 1:a {as_cover} -c:a aac");
    let song = make(folder.path(), "song.m4a", &line);
    assert_eq!(probe(&song, &Access::default()).unwrap_err().kind(), "no_video");
}

#[test]
fn transparent_pixels_are_shown_over_black() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=160x120:d=0.2,format=rgba,\
                  geq=r='r(X\\,Y)':g='g(X\\,Y)':b='b(X\\,Y)':a='255*X/W'";
    let over =
        "color=black:s=160x120:r=25[a];[a][0:v]overlay=format=gbrp:alpha=straight:shortest=1";
    for (name, how, limit) in [
        ("png.mov", "-c:v png", 1.0),
        ("ffv1.mkv", "-c:v ffv1 -pix_fmt yuva444p", 1.5),
        ("ffv1_10.mkv", "-c:v ffv1 -pix_fmt yuva420p10le", 2.5),
        ("qtrle.mov", "-c:v qtrle -pix_fmt argb", 1.0),
    ] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        let frame = decoded(&path, &DecodeOptions::default()).remove(0);
        let wanted = bgr_by_ffmpeg(&[], &path, over, FIRST);
        let ours = picture(&frame);
        let off = apart(&ours.data, &wanted);
        assert!(off < limit, "{name}: {off} levels away from ffmpeg");
        assert!(ours.data[..3].iter().all(|level| *level < 4), "{name}: the left edge is black");
        // What the detectors see is the same.
        let mut converter = Converter::default();
        let small = frame.small(&mut converter, Size::new(160, 120)).unwrap();
        assert_eq!(small.picture().unwrap(), ours, "{name}");
    }
}

#[test]
fn alpha_beside_the_packets_of_vp9_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i color=white:s=160x120:d=0.4,format=rgba,\
                  geq=r='255':g='255':b='255':a='255*X/W'";
    let how = "-c:v libvpx-vp9 -pix_fmt yuva420p -b:v 0 -crf 10";
    let path = make(folder.path(), "a.webm", &format!("{source} {how}"));
    let ours = picture(&decoded(&path, &DecodeOptions::default())[3]);
    for x in (8..160).step_by(8) {
        let level = f64::from(ours.data[(60 * 160 + x) * 3]);
        let wanted = 255.0 * x as f64 / 160.0;
        assert!((level - wanted).abs() < 8.0, "at {x}: {level}, not {wanted}");
    }
}

#[test]
fn animated_gif_and_webp_are_video() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=64x48:r=10:d=1";
    let gif = make(folder.path(), "a.gif", source);
    let webp = make(
        folder.path(),
        "a.webp",
        &format!("{source} -pix_fmt bgra -c:v libwebp_anim -lossless 1"),
    );
    let wanted = format!("{source} -pix_fmt bgra -c:v ffv1");
    let wanted = by_ffmpeg(&make(folder.path(), "a.mkv", &wanted), "null");
    assert!(is_animated_webp(&webp) && !is_animated_webp(&gif));
    for path in [&gif, &webp] {
        let info = probe(path, &Access::default()).unwrap();
        assert_eq!(info.kind, SourceKind::Video, "{path:?}");
        assert_eq!((info.video.width, info.video.height), (64, 48));
        let frames = decoded(path, &DecodeOptions::default());
        assert_eq!(frames.len(), 10, "{path:?}");
        let base = info.video.time_base;
        let times: Vec<f64> = frames.iter().map(|frame| base.seconds(frame.pts)).collect();
        let even = times.iter().enumerate().all(|(i, time)| (time - i as f64 / 10.0).abs() < 1e-3);
        assert!(even, "{path:?}: {times:?}");
    }
    for (index, frame) in decoded(&webp, &DecodeOptions::default()).iter().enumerate() {
        let off = apart(&picture(frame).data, &wanted[index * 64 * 48 * 3..][..64 * 48 * 3]);
        assert!(off < 0.5, "frame {index}: {off} levels away");
    }
    let span = Span { start: 0, end: 500, time_base: TimeBase { num: 1, den: 1000 } };
    let error = copy_clip(&webp, &span, &Access::default()).unwrap_err();
    assert!(error.to_string().contains("form = \"transcode\""), "{error}");
    let error = copy_clip(&gif, &span, &Access::default()).unwrap_err();
    assert!(error.to_string().contains("form = \"transcode\""), "{error}");
    // Damaged in its middle: what came before stays.
    let mut bytes = fs::read(&webp).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 400].fill(0xff);
    let broken = folder.path().join("broken.webp");
    fs::write(&broken, bytes).unwrap();
    let mut decoder = Decoder::open(&broken, &DecodeOptions::default()).unwrap();
    let mut frames = 0;
    while decoder.next_frame().unwrap().is_some() {
        frames += 1;
    }
    assert!((1..10).contains(&frames) && decoder.stats().errors == 1, "{frames}");
}

/// A JPEG with an EXIF block that says how it is to be turned.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [
        b"MM\0*\0\0\0\x08".as_slice(),
        b"\0\x01",
        b"\x01\x12\0\x03\0\0\0\x01\0",
        &[orientation],
        b"\0\0\0\0\0\0",
    ]
    .concat();
    let length = u16::try_from(tiff.len() + 8).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, b"Exif\0\0", &tiff, &jpeg[2..]].concat()
}

#[test]
fn stills_are_one_frame_and_upright() {
    let folder = tempfile::tempdir().unwrap();
    // Blurred, as how chroma is stretched shows at sharp edges of colour.
    let source = "-f lavfi -i testsrc2=s=120x80,gblur=sigma=3 -frames:v 1";
    for name in ["a.png", "a.bmp", "a.tiff", "a.jpg", "a.webp"] {
        // TIFF would be YUV otherwise, of which FFmpeg and the file think differently.
        let pixels = if name == "a.tiff" { " -pix_fmt rgb24" } else { "" };
        let path = make(folder.path(), name, &format!("{source}{pixels}"));
        let info = probe(&path, &Access::default()).unwrap();
        assert_eq!(info.kind, SourceKind::Image, "{name}");
        let frames = decoded(&path, &DecodeOptions::default());
        assert_eq!(frames.len(), 1, "{name}");
        let off = apart(&picture(&frames[0]).data, &by_ffmpeg(&path, "null"));
        assert!(off < 1.5, "{name}: {off} levels away from ffmpeg");
        let span = Span { start: 0, end: 1, time_base: info.video.time_base };
        let clip = copy_clip(&path, &span, &Access::default()).unwrap();
        assert_eq!(clip.bytes, fs::read(&path).unwrap(), "{name}: a still is its own clip");
    }
    let jpeg = fs::read(folder.path().join("a.jpg")).unwrap();
    let upright = folder.path().join("a.jpg");
    for (number, filter) in [
        (1, "null"),
        (2, "hflip"),
        (3, "hflip,vflip"),
        (4, "vflip"),
        (5, "transpose=cclock_flip"),
        (6, "transpose=clock"),
        (7, "transpose=clock_flip"),
        (8, "transpose=cclock"),
    ] {
        let path = folder.path().join(format!("turned{number}.jpg"));
        fs::write(&path, turned(&jpeg, number)).unwrap();
        let frames = decoded(&path, &DecodeOptions::default());
        let off = apart(&picture(&frames[0]).data, &by_ffmpeg(&upright, filter));
        // Turned, chroma of 4:2:0 is stretched along the other side.
        assert!(off < 2.5, "orientation {number}: {off} levels away from ffmpeg's {filter}");
    }
}

#[test]
fn a_jpeg_of_printing_inks_has_its_colours() {
    // 24x16, by Pillow: a third each of cyan, magenta and yellow, the lower half with black at a half.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inks.jpg");
    fs::write(&path, include_bytes!("cmyk.jpg")).unwrap();
    assert_eq!(probe(&path, &Access::default()).unwrap().kind, SourceKind::Image);
    let ours = picture(&decoded(&path, &DecodeOptions::default())[0]);
    for (third, bgr) in [[255, 255, 0], [255, 0, 255], [0, 255, 255]].into_iter().enumerate() {
        for (y, share) in [(4, 1.0), (12, 0.5)] {
            let seen = &ours.data[(y * 24 + third * 8 + 4) * 3..][..3];
            let is_near = seen
                .iter()
                .zip(bgr)
                .all(|(seen, pure)| (f64::from(*seen) - share * f64::from(pure)).abs() <= 3.0);
            assert!(is_near, "{seen:?}, not {share} of {bgr:?}");
        }
    }
}

#[test]
fn avif_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        "-f lavfi -i testsrc2=s=96x64 -frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1";
    let path = make(folder.path(), "a.avif", line);
    let error = probe(&path, &Access::default()).unwrap_err();
    assert_eq!(error.kind(), "open");
    assert!(error.to_string().contains("convert it to PNG"), "{error}");
}

#[test]
fn colours_that_are_not_converted_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let how = "-pix_fmt yuv444p -c:v libx264 -colorspace ycgco";
    let path = make(folder.path(), "a.mp4", &format!("-f lavfi -i testsrc2=s=64x64:d=0.2 {how}"));
    let error = Decoder::open(&path, &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), "unsupported_colors");
    assert!(error.to_string().contains("ycgco"), "{error}");
}

#[test]
fn a_picture_that_claims_to_be_enormous_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "a.png", "-f lavfi -i color=s=64x64 -frames:v 1");
    let mut bytes = fs::read(&path).unwrap();
    // Width and height in the header, and its checksum.
    bytes[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let sum = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let mut decoder = Decoder::open(&path, &DecodeOptions::default()).unwrap();
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(error.kind(), "too_large");
    let said = error.to_string();
    assert!(said.contains("a.png") && said.contains("100000x100000"), "{said}");
}

/// The checksum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}
