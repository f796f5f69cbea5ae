//! Odd paths, unreadable files, deadlines and cancelling.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use curate_media::{Access, DecodeOptions, Decoder, Orientation, copy_clip, probe};
use curate_schemas::{Span, TimeBase};

use crate::support::make;

#[test]
fn any_path_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let plain = make(folder.path(), "a.mp4", "-f lavfi -i testsrc2=s=64x64:d=1");
    for name in [&b"caf\xe9 \xff.mp4"[..], b"http:x.mp4", b"a%03d.mp4", b"-i", b"pipe:0"] {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::copy(&plain, &path).unwrap();
        let info = probe(&path, &Access::default()).unwrap();
        assert_eq!((info.video.width, info.video.height), (64, 64));
        let span = Span { start: 0, end: 5120, time_base: info.video.time_base };
        copy_clip(&path, &span, &Access::default()).unwrap();
    }
}

#[test]
fn unreadable_files_have_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |path: &Path| probe(path, &Access::default()).unwrap_err().kind();
    assert_eq!(kind(&folder.path().join("absent.mp4")), "io");
    assert_eq!(kind(folder.path()), "io");
    let empty = folder.path().join("empty.mp4");
    fs::write(&empty, b"").unwrap();
    assert_eq!(kind(&empty), "open");
    let text = folder.path().join("text.mp4");
    fs::write(&text, b"this is not a video, whatever its name says\n").unwrap();
    assert_eq!(kind(&text), "open");
    let sound = make(folder.path(), "sound.mp4", "-f lavfi -i sine=d=1");
    assert_eq!(kind(&sound), "no_video");
    let cover = make(
        folder.path(),
        "cover.mp4",
        "-f lavfi -i sine=d=1 -f lavfi -i testsrc2=s=64x64:d=0.04 -map 0 -map 1 -c:v mjpeg \
         -disposition:v attached_pic",
    );
    assert_eq!(kind(&cover), "no_video");
}

#[test]
fn limits_stop_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "a.mp4", "-f lavfi -i testsrc2=s=64x64:d=2");
    let late = Access::within(Duration::ZERO);
    let cancel = Arc::new(AtomicBool::new(true));
    let cancelled = Access { cancel: Some(Arc::clone(&cancel)), ..Access::default() };
    let span = Span { start: 0, end: 5120, time_base: TimeBase { num: 1, den: 12_800 } };
    for (access, kind) in [(late, "timeout"), (cancelled, "cancelled")] {
        assert_eq!(probe(&path, &access).unwrap_err().kind(), kind);
        assert_eq!(copy_clip(&path, &span, &access).unwrap_err().kind(), kind);
        let options = DecodeOptions { access, ..DecodeOptions::default() };
        assert_eq!(Decoder::open(&path, &options).err().unwrap().kind(), kind);
    }

    cancel.store(false, std::sync::atomic::Ordering::Relaxed);
    let access = Access { cancel: Some(Arc::clone(&cancel)), ..Access::default() };
    let options = DecodeOptions { access, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(&path, &options).unwrap();
    assert!(decoder.next_frame().unwrap().is_some());
    cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(decoder.next_frame().err().unwrap().kind(), "cancelled");
}

#[test]
fn a_probe_says_what_the_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = make(
        folder.path(),
        "a.mp4",
        "-f lavfi -i testsrc2=s=128x72:r=30000/1001:d=2 -f lavfi -i sine=d=2 -c:v libx264 \
         -color_trc bt709 -colorspace bt709 -color_range tv",
    );
    let info = probe(&path, &Access::default()).unwrap();
    assert!(info.has_audio);
    assert!(info.container.contains("mp4"));
    assert!((info.duration_s.unwrap() - 2.0).abs() < 0.1);
    let video = &info.video;
    assert_eq!((video.width, video.height, &*video.codec), (128, 72, "h264"));
    assert!(video.decodable);
    assert_eq!(video.orientation, Orientation::default());
    assert!((video.avg_fps.unwrap() - 29.97).abs() < 0.001);
    assert_eq!(video.frames, Some(60));
    assert_eq!(video.time_base, TimeBase { num: 1, den: 30_000 });
    assert_eq!(video.duration, Some(60 * 1001));
    assert_eq!(video.pixel_format.as_deref(), Some("yuv420p"));
    assert_eq!(video.transfer.as_deref(), Some("bt709"));
    assert_eq!(video.color_space.as_deref(), Some("bt709"));
    assert_eq!(video.full_range, Some(false));

    let turned = folder.path().join("turned.mp4");
    crate::support::ffmpeg([
        "-i".as_ref(),
        path.as_os_str(),
        "-c".as_ref(),
        "copy".as_ref(),
        "-metadata:s:v".as_ref(),
        "rotate=90".as_ref(),
        turned.as_os_str(),
    ]);
    let video = probe(&turned, &Access::default()).unwrap().video;
    assert_eq!((video.display_width, video.display_height), (72, 128));
    assert_eq!(video.orientation.rotation % 180, 90);
}

#[test]
fn values_move_between_threads() {
    fn can_move<T: Send>() {}
    fn can_share<T: Sync>() {}
    can_move::<Decoder>();
    can_move::<curate_media::Converter>();
    can_move::<curate_media::Frame>();
    can_share::<curate_media::Frame>();
    can_move::<curate_media::MediaError>();
    can_share::<curate_media::MediaError>();
}
