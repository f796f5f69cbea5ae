//! High dynamic range against FFmpeg's own filters, and pixels that are not square.

use curate_media::{Access, Converter, DecodeOptions, Decoder, Filter, Size, probe};

use crate::support::{apart_when_small, bgr_by_ffmpeg, make, shared_media};

/// FFmpeg's way from PQ or HLG to BT.709.
const CHAIN: &str = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
                     tonemap=tonemap=hable:desat=0:peak=PEAK,zscale=t=bt709,format=gbrp";

/// Mean difference in levels between our first frame at `size` and FFmpeg's, shrunk to it.
fn apart(path: &std::path::Path, size: Size, peak: &str) -> f64 {
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let frame = decoder.next_frame().unwrap().unwrap();
    let full = Size::new(frame.width(), frame.height());
    let mut converter = Converter::default();
    let ours = frame.picture(&mut converter, size, Filter::Area, false).unwrap();
    let chain = CHAIN.replace("PEAK", peak);
    let output = ["-map", "0:v:0", "-frames:v", "1"];
    let data = bgr_by_ffmpeg(&["-noautorotate"], path, &chain, &output);
    apart_when_small(&ours, full, data)
}

#[test]
fn pq_and_hlg_are_shown_as_ffmpegs_filters_show_them() {
    let folder = tempfile::tempdir().unwrap();
    // The most saturated colours there are, far from any film. FFmpeg lets samples pass that are
    // brighter than the largest, and gives HLG its gamma channel by channel where BT.2100 has it on
    // luminance.
    for (name, transfer, look, limit) in [
        ("pq.mkv", "smpte2084", "yuv444p10le -colorspace bt2020nc -color_range tv", 2.5),
        ("hlg.mkv", "arib-std-b67", "yuv444p10le -colorspace bt2020nc -color_range tv", 4.0),
        // Of which no planes are read.
        ("rgb_pq.mkv", "smpte2084", "gbrp10le -colorspace rgb -color_range pc", 2.5),
        ("rgb_hlg.mkv", "arib-std-b67", "gbrp10le -colorspace rgb -color_range pc", 4.0),
        ("grey_pq.mkv", "smpte2084", "gray10le -colorspace bt2020nc -color_range pc", 2.5),
    ] {
        let line = format!(
            "-f lavfi -i testsrc2=s=320x180:d=0.1 -c:v ffv1 -pix_fmt {look} \
             -color_trc {transfer} -color_primaries bt2020"
        );
        let path = make(folder.path(), name, &line);
        let off = apart(&path, Size::new(320, 180), "10");
        assert!(off < limit, "{name}: {off} levels away from ffmpeg");
    }
}

#[test]
fn real_hdr_clips_are_shown_as_ffmpegs_filters_show_them() {
    let Some(media) = shared_media() else { return };
    // The peak that each file's frames name, or else 1000 cd/m2.
    for (name, peak) in [
        ("ax_dolbyVision-hdr.MOV", "10"),
        ("ax_hdr10-video-with-sdr-container.mp4", "10"),
        ("ax_sample_with_colr_mdcv_and_clli.mp4", "10"),
        ("ax_sample_edit_list.mp4", "10"),
    ] {
        let path = media.join("clips").join(name);
        let (width, height) = {
            let info = probe(&path, &Access::default()).unwrap();
            (info.video.width, info.video.height)
        };
        // Shrinking samples is not shrinking light; where the picture is smooth it hardly shows.
        let off = apart(&path, Size::new(width / 4, height / 4), peak);
        assert!(off < 2.0, "{name}: {off} levels away from ffmpeg");
        eprintln!("{name}: {off:.2} levels");
    }
}

#[test]
fn pixels_that_are_not_square_are_shown_as_wide_as_players_do() {
    let folder = tempfile::tempdir().unwrap();
    let line = "-f lavfi -i testsrc2=s=720x576:d=0.2,setsar=64/45 -c:v libx264 -bf 0";
    let wanted = (1024, 576);
    for name in ["a.mp4", "a.mkv"] {
        let path = make(folder.path(), name, line);
        let info = probe(&path, &Access::default()).unwrap();
        assert_eq!((info.video.width, info.video.height), (720, 576));
        assert_eq!((info.video.display_width, info.video.display_height), wanted, "{name}");
        let mut decoder = Decoder::open(&path, &DecodeOptions::default()).unwrap();
        assert_eq!(decoder.next_frame().unwrap().unwrap().display_size(), wanted, "{name}");
    }
}
