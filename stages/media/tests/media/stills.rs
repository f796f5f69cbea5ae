//! Still pictures and what they may take, and files that were cut off where their demuxers do not tell.

use std::{fs, path::Path};

use curate_media::{Access, DecodeOptions, Decoder, MediaError, SourceKind, copy_clip, probe};
use curate_schemas::{Span, TimeBase};

use crate::support::make;

/// How many frames a file has, and whether it is damaged.
fn decoded(path: &Path) -> (usize, bool) {
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let mut frames = 0;
    while decoder.next_frame().unwrap().is_some() {
        frames += 1;
    }
    (frames, decoder.stats().errors > 0)
}

/// Opens a picture that may take so many bytes, and decodes it.
fn within(path: &Path, bytes: u64) -> Result<usize, MediaError> {
    let options = DecodeOptions { picture_bytes: Some(bytes), ..DecodeOptions::default() };
    let mut decoder = Decoder::open(path, &options)?;
    let mut frames = 0;
    while decoder.next_frame()?.is_some() {
        frames += 1;
    }
    Ok(frames)
}

#[test]
fn pictures_that_take_more_memory_than_they_may_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=400x300:r=5:d=1";
    // Of 120000 pixels: six bytes each, or twice what they are as decoded.
    for (name, how, bytes) in [
        ("a.png", "-frames:v 1", 720_000),
        ("deep.png", "-frames:v 1 -pix_fmt rgba64be", 1_920_000),
        ("a.jpg", "-frames:v 1", 720_000),
        ("a.bmp", "-frames:v 1", 720_000),
        ("still.webp", "-frames:v 1 -c:v libwebp", 720_000),
        ("film.webp", "-c:v libwebp_anim", 1_440_000),
    ] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        assert!(within(&path, bytes).unwrap() > 0, "{name}");
        let error = within(&path, bytes - 10).unwrap_err();
        assert_eq!(error.kind(), "too_large", "{name}");
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("400x300"), "{said}");
        assert!(said.contains("[run] memory"), "{said}");
    }
    // Refused before it is decoded at all, so that its size is known from the refusal only.
    let large = "-f lavfi -i color=s=4000x3000 -frames:v 1";
    for name in ["large.png", "large.jpg"] {
        let path = make(folder.path(), name, large);
        let error = within(&path, 720_000).unwrap_err();
        assert!(error.to_string().contains("4000x3000"), "{error}");
    }
    // One without pixels is damaged.
    let path = make(folder.path(), "none.png", &format!("{source} -frames:v 1"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..24].fill(0);
    fs::write(&path, bytes).unwrap();
    assert_ne!(within(&path, 720_000).err().map(|error| error.kind()), Some("too_large"));
    // A video's frames are another matter, and copying a picture does not decode it.
    let path = make(folder.path(), "a.mkv", &format!("{source} -c:v libx264"));
    assert_eq!(within(&path, 1).unwrap(), 5);
}

#[test]
fn a_gif_of_one_frame_is_a_picture_and_pictures_have_no_tracks() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=64x48:r=5:d=1";
    let kind = |path: &Path, track| {
        let access = Access { track, ..Access::default() };
        probe(path, &access).map(|info| info.kind).map_err(|error| error.kind())
    };
    let single = make(folder.path(), "single.gif", &format!("{source} -frames:v 1"));
    let many = make(folder.path(), "many.gif", source);
    let png = make(folder.path(), "a.png", &format!("{source} -frames:v 1"));
    for path in [&single, &png] {
        assert_eq!(kind(path, None), Ok(SourceKind::Image));
        assert_eq!(kind(path, Some(1)), Ok(SourceKind::Image));
        assert_eq!(decoded(path), (1, false));
        let span = Span { start: 0, end: 1, time_base: TimeBase { num: 1, den: 1 } };
        let clip = copy_clip(path, &span, &Access::default()).unwrap();
        assert_eq!(clip.bytes, fs::read(path).unwrap());
    }
    assert_eq!(kind(&many, None), Ok(SourceKind::Video));
    assert_eq!(kind(&many, Some(1)), Err("no_track"));
}

#[test]
fn files_that_were_cut_off_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=96x64:r=10:d=4";
    for (name, how) in [("a.gif", ""), ("a.ogv", "-c:v theora -q:v 3"), ("b.ogg", "-c:v theora")] {
        let path = make(folder.path(), name, &format!("{source} {how}"));
        assert_eq!(decoded(&path), (40, false), "{name}");
        let bytes = fs::read(&path).unwrap();
        let cut = folder.path().join(format!("cut-{name}"));
        for part in [40, 60, 80] {
            fs::write(&cut, &bytes[..bytes.len() * part / 100]).unwrap();
            let (frames, is_damaged) = decoded(&cut);
            assert!(frames > 0 && frames < 40 && is_damaged, "{name} {part}: {frames} frames");
        }
    }
}

#[test]
fn jpeg_in_tiff_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=64x48 -frames:v 1 -compression_algo raw";
    let path = make(folder.path(), "a.tiff", line);
    assert_eq!(decoded(&path), (1, false));
    // The entry that says how it is compressed: one number of 16 bits, 1 for "not".
    let entry = [3, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(12).position(|window| window == entry).unwrap();
    bytes[at + 8] = 7;
    fs::write(&path, bytes).unwrap();
    let error = Decoder::open(&path, &DecodeOptions::default()).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("tiff")), ("unsupported_codec", true));
}
