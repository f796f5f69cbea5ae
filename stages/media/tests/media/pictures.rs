//! Pixels: against the `ffmpeg` program's conversion, turned upright, small, as JPEG, as HSV.

use std::path::Path;

use curate_media::{
    Converter, DecodeOptions, Decoder, Filter, Frame, Picture, PixelFormat, Size, encode_jpeg, hsv,
    resize,
};

use crate::support::{FIRST, apart, bgr_by_ffmpeg, ffmpeg, make};

fn first_frame(path: &Path) -> Frame {
    Decoder::open(path, &DecodeOptions::default()).unwrap().next_frame().unwrap().unwrap()
}

/// The first frame by `ffmpeg`.
fn by_ffmpeg(path: &Path, filter: &str) -> Vec<u8> {
    bgr_by_ffmpeg(&[], path, filter, FIRST)
}

#[test]
fn every_layout_has_the_colours_of_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=320x180:d=0.2";
    for (name, pixels, extra, matrix, limit) in [
        ("a.mkv", "yuv420p", "-colorspace smpte170m", "bt601", 2.0),
        ("b.mkv", "yuv420p", "-colorspace bt709", "bt709", 2.0),
        ("c.mkv", "yuv422p", "", "bt601", 2.0),
        ("d.mkv", "yuv444p", "", "bt601", 1.0),
        ("e.mkv", "yuv420p10le", "", "bt601", 2.0),
        ("f.mkv", "yuv444p12le", "", "bt601", 1.0),
        ("g.mkv", "yuv444p", "-color_range pc", "bt601", 1.0),
        ("h.mkv", "gray", "", "bt601", 1.0),
        ("i.mkv", "bgr0", "", "bt601", 1.0),
        ("j.mkv", "yuva420p", "", "bt601", 2.0),
        ("k.mkv", "gbrp10le", "", "bt601", 1.0),
    ] {
        let line = format!("{source} -c:v ffv1 -pix_fmt {pixels} {extra}");
        let path = make(folder.path(), name, &line);
        let frame = first_frame(&path);
        let size = Size::new(frame.width(), frame.height());
        let mut converter = Converter::default();
        let ours = frame.picture(&mut converter, size, Filter::Linear, false).unwrap();
        let theirs = by_ffmpeg(&path, &format!("scale=in_color_matrix={matrix}"));
        let off = apart(&ours.data, &theirs);
        assert!(off < limit, "{pixels} {extra}: {off} levels away from ffmpeg");
        // The other order of bytes is the same picture.
        let mut converter = Converter::new(PixelFormat::Rgb8);
        let rgb = frame.picture(&mut converter, size, Filter::Linear, false).unwrap();
        assert_eq!(rgb.to_format(PixelFormat::Bgr8).unwrap(), ours, "{pixels}");
    }
}

#[test]
fn unlabelled_hd_is_bt709() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=1280x720:d=0.1 -c:v ffv1 -pix_fmt yuv444p";
    let path = make(folder.path(), "a.mkv", line);
    let frame = first_frame(&path);
    let size = Size::new(1280, 720);
    let ours = frame.picture(&mut Converter::default(), size, Filter::Linear, false).unwrap();
    let hd = by_ffmpeg(&path, "scale=in_color_matrix=bt709");
    let sd = by_ffmpeg(&path, "scale=in_color_matrix=bt601");
    assert!(apart(&ours.data, &hd) < 1.0);
    assert!(apart(&ours.data, &sd) > 2.0);
}

#[test]
fn pictures_are_turned_as_ffmpeg_turns_them() {
    let folder = tempfile::tempdir().unwrap();
    let plain = make(
        folder.path(),
        "a.mp4",
        "-f lavfi -i testsrc2=s=320x180:d=0.2 -c:v libx264 -qp 0 -pix_fmt yuv444p",
    );
    for degrees in [0, 90, 180, 270] {
        let path = folder.path().join(format!("{degrees}.mp4"));
        let turn = format!("rotate={degrees}");
        ffmpeg([
            "-i".as_ref(),
            plain.as_os_str(),
            "-c".as_ref(),
            "copy".as_ref(),
            "-metadata:s:v".as_ref(),
            turn.as_ref(),
            path.as_os_str(),
        ]);
        let frame = first_frame(&path);
        let (width, height) = frame.display_size();
        assert_eq!(width > height, degrees % 180 == 0);
        let size = Size::new(width, height);
        let mut converter = Converter::default();
        let ours = frame.picture(&mut converter, size, Filter::Linear, true).unwrap();
        let theirs = by_ffmpeg(&path, "scale=in_color_matrix=bt601");
        let off = apart(&ours.data, &theirs);
        assert!(off < 1.0, "{degrees} degrees: {off} levels away from ffmpeg");
    }
}

/// The file with another display matrix: `a b c d` map a stored point to a shown one.
fn with_matrix(mp4: &[u8], [a, b, c, d]: [i32; 4]) -> Vec<u8> {
    let one = 1 << 16;
    let matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30];
    let mut bytes = mp4.to_vec();
    // Behind the name of the track's header: version and flags, times and id, layer and volume.
    let at = bytes.windows(4).position(|name| name == b"tkhd").unwrap() + 4 + 4 + 20 + 8 + 8;
    let matrix: Vec<u8> = matrix.iter().flat_map(|number: &i32| number.to_be_bytes()).collect();
    bytes[at..at + matrix.len()].copy_from_slice(&matrix);
    bytes
}

#[test]
fn mirrored_video_is_shown_as_ffmpeg_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=160x90:d=0.2 -c:v libx264 -qp 0 -pix_fmt yuv444p";
    let plain = make(folder.path(), "a.mp4", line);
    let mp4 = std::fs::read(&plain).unwrap();
    let stored = first_frame(&plain);
    let stored =
        stored.picture(&mut Converter::default(), Size::new(160, 90), Filter::Linear, false);
    let stored = stored.unwrap();
    for (matrix, is_turned) in [
        ([-1, 0, 0, 1], false),
        ([1, 0, 0, -1], false),
        ([0, 1, 1, 0], true),
        ([0, -1, -1, 0], true),
    ] {
        let path = folder.path().join("mirrored.mp4");
        std::fs::write(&path, with_matrix(&mp4, matrix)).unwrap();
        let frame = first_frame(&path);
        let (width, height) = frame.display_size();
        assert_eq!(width < height, is_turned, "{matrix:?}");
        let size = Size::new(width, height);
        let ours = frame.picture(&mut Converter::default(), size, Filter::Linear, true).unwrap();
        let off = apart(&ours.data, &by_ffmpeg(&path, "scale=in_color_matrix=bt601"));
        assert!(off < 1.0, "{matrix:?}: {off} levels away from ffmpeg");
        assert!(ours.data != stored.data, "{matrix:?} does something");
    }
}

#[test]
fn smaller_pictures_keep_the_mean() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(
        folder.path(),
        "a.mkv",
        "-f lavfi -i testsrc2=s=641x361:d=0.1 -c:v ffv1 -pix_fmt yuv420p",
    );
    let frame = first_frame(&path);
    let mut converter = Converter::default();
    let mean = |picture: &Picture| {
        picture.data.iter().map(|value| f64::from(*value)).sum::<f64>() / picture.data.len() as f64
    };
    let full = frame.picture(&mut converter, Size::new(641, 361), Filter::Linear, false).unwrap();
    for filter in [Filter::Linear, Filter::Area] {
        for size in [Size::new(256, 144), Size::new(64, 36), Size::new(1, 1), Size::new(900, 20)] {
            let small = frame.picture(&mut converter, size, filter, false).unwrap();
            assert_eq!(small.size(), size);
            assert_eq!(small.data.len(), (size.width * size.height * 3) as usize);
            if filter == Filter::Area && size.width > 1 && size.width < 641 {
                assert!((mean(&small) - mean(&full)).abs() < 3.0, "{size:?}");
                let after = resize(&full, size, filter).unwrap();
                assert!(apart(&after.data, &small.data) < 3.0, "{size:?}");
            }
        }
    }
    assert!(frame.picture(&mut converter, Size::new(0, 5), Filter::Area, false).is_err());
    assert!(resize(&full, Size::new(5, 0), Filter::Area).is_err());
}

#[test]
fn jpeg_and_hsv_of_either_order() {
    let data = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]].concat();
    let bgr = Picture { width: 4, height: 1, format: PixelFormat::Bgr8, data };
    let rgb = bgr.to_format(PixelFormat::Rgb8).unwrap();
    let planes = hsv(&bgr).unwrap();
    assert_eq!(planes.hue, [120, 60, 0, 0]);
    assert_eq!(planes.saturation, [255, 255, 255, 0]);
    assert_eq!(planes.value, [255, 255, 255, 128]);
    assert_eq!(hsv(&rgb).unwrap(), planes);
    let jpeg = encode_jpeg(&bgr, 90).unwrap();
    assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]));
    assert_eq!(encode_jpeg(&rgb, 90).unwrap(), jpeg);
    let short = Picture { data: vec![0; 5], ..bgr };
    assert!(hsv(&short).is_err() && encode_jpeg(&short, 90).is_err());
}
