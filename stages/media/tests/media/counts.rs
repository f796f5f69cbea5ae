//! As many frames as the `ffmpeg` program of the same version.

use std::{fs, path::Path};

use curate_media::{Access, DecodeOptions, Decoder, MediaError, Stats, probe};

use crate::support::{ffmpeg_frames, make, shared_media};

fn count(path: &Path, threads: usize) -> Result<Stats, MediaError> {
    let options = DecodeOptions { threads, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(path, &options)?;
    let mut newest = None;
    while let Some(frame) = decoder.next_frame()? {
        assert!(newest.is_none_or(|newest| newest < frame.pts), "{path:?}: time runs backwards");
        assert!(frame.duration > 0);
        assert_eq!(frame.index + 1, decoder.stats().frames);
        newest = Some(frame.pts);
    }
    assert!(decoder.next_frame()?.is_none(), "the end stays the end");
    Ok(decoder.stats())
}

fn compare(folder: &Path) {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut differences = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_none_or(|end| end != "json")) {
        let found = probe(path, &Access::default());
        let name = path.file_name().unwrap().to_string_lossy();
        let ours = count(path, 2);
        match &ours {
            Ok(stats) => println!("{name}: {stats:?}"),
            Err(error) => println!("{name}: {} {error}", error.kind()),
        }
        let theirs = match &found {
            Ok(info) => ffmpeg_frames(path, info.video.index),
            Err(_) => ffmpeg_frames(path, 0),
        };
        let ours = ours.map_or(0, |stats| stats.frames);
        if ours != theirs {
            differences.push(format!("{name}: {ours} here, {theirs} by ffmpeg"));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn sample_clips_have_ffmpegs_frames() {
    if let Some(media) = shared_media() {
        compare(&media.join("clips"));
    }
}

#[test]
fn broken_files_have_ffmpegs_frames() {
    if let Some(media) = shared_media() {
        compare(&media.join("broken"));
    }
}

#[test]
fn scene_and_text_files_have_ffmpegs_frames() {
    if let Some(media) = shared_media() {
        compare(&media.join("scenes"));
        compare(&media.join("text"));
    }
}

#[test]
fn generated_files_have_ffmpegs_frames() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=192x108:r=25:d=3";
    for (name, codec) in [
        ("a.mp4", "-c:v libx264 -g 20 -bf 3"),
        ("b.ts", "-c:v libx264 -g 20 -bf 2"),
        ("c.mkv", "-c:v libx265 -x265-params log-level=none"),
        ("d.webm", "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16"),
        ("e.avi", "-c:v mpeg4 -bf 2"),
        ("f.mpg", "-c:v mpeg2video -bf 2"),
        ("g.mov", "-c:v qtrle"),
        ("h.mkv", "-c:v ffv1 -pix_fmt yuv422p10le"),
    ] {
        let path = make(folder.path(), name, &format!("{source} {codec}"));
        let stats = count(&path, 2).unwrap();
        assert_eq!(stats.frames, ffmpeg_frames(&path, 0), "{name}");
        assert_eq!(stats.errors, 0, "{name}: {stats:?}");
        assert_eq!(count(&path, 1).unwrap().frames, stats.frames, "{name} with one thread");
    }
}

#[test]
fn a_truncated_file_gives_its_beginning_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let whole =
        make(folder.path(), "a.mp4", "-f lavfi -i testsrc2=s=192x108:d=4 -movflags +faststart");
    let bytes = fs::read(&whole).unwrap();
    let cut = folder.path().join("cut.mp4");
    fs::write(&cut, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let stats = count(&cut, 2).unwrap();
    assert_eq!(stats.frames, ffmpeg_frames(&cut, 0));
    assert!(stats.frames > 10 && stats.frames < 100, "{stats:?}");
    assert!(stats.errors > 0 && stats.first_error.is_some(), "{stats:?}");
}
