//! Colours of real clips and of wide primaries: against frames that FFmpeg's zscale makes of what each
//! file says of itself.

use std::path::{Path, PathBuf};

use curate_media::{
    Access, Converter, DecodeOptions, Decoder, Encoding, Filter, Frame, Interlaced, Picture, Size,
    probe, transcode_clip,
};
use curate_schemas::Span;

use curate_testing::program;

use crate::support::{FIRST, apart, apart_when_small, bgr_by_ffmpeg, make, shared_media};

/// What the first frame says of its colours, by ffprobe: some codecs only say it there. `entry` is
/// `color_space` (the YUV matrix), `color_primaries` or `color_transfer`.
fn named(path: &Path, stream: usize, entry: &str) -> Option<String> {
    let mut command = program("ffprobe");
    command.args(["-v", "quiet", "-read_intervals", "%+#1", "-of", "csv=p=0"]);
    command.args(["-show_entries", &format!("frame={entry}")]);
    command.args(["-select_streams", &stream.to_string()]).arg(path);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let word = said.lines().next()?.trim_matches(',').to_owned();
    (!word.is_empty() && word != "unknown").then_some(word)
}

/// Mean difference in levels of the first frames, at a quarter of the size, where how chroma is
/// stretched hardly shows.
fn apart_from_zscale(path: &Path) -> f64 {
    let info = probe(path, &Access::default()).unwrap().video;
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let frame = decoder.next_frame().unwrap().unwrap();
    let full = Size::new(frame.width(), frame.height());
    let size = Size::new(full.width / 4, full.height / 4);
    let ours = frame.picture(&mut Converter::default(), size, Filter::Area, false).unwrap();
    let matrix = match named(path, info.index, "color_space").as_deref() {
        Some("bt709") => "709",
        Some("smpte170m") => "170m",
        Some("bt470bg") => "470bg",
        Some("bt2020nc") => "2020_ncl",
        None if full.width >= 1280 || full.height > 576 => "709",
        None => "170m",
        Some(other) => panic!("{other}"),
    };
    let format = info.pixel_format.unwrap_or_default();
    let is_full = info.full_range.unwrap_or(false) || format.starts_with("yuvj");
    let range = if is_full { "full" } else { "limited" };
    // What says nothing of its primaries is taken to have BT.709's, whatever its curve.
    let light = match named(path, info.index, "color_primaries") {
        Some(primaries) if primaries != "bt709" => format!("pin={primaries}:tin=709:p=709:t=709:"),
        _ => String::new(),
    };
    let filter = format!("zscale=min={matrix}:rin={range}:{light}m=gbr:r=full,format=gbrp");
    let output = ["-map", &format!("0:{}", info.index), "-frames:v", "1"];
    let data = bgr_by_ffmpeg(&["-noautorotate"], path, &filter, &output);
    apart_when_small(&ours, full, data)
}

#[test]
fn sdr_clips_have_the_colours_of_zscale() {
    let Some(media) = shared_media() else { return };
    let mut compared = 0;
    let mut files: Vec<_> = std::fs::read_dir(media.join("clips")).unwrap().collect();
    files.sort_by_key(|entry| entry.as_ref().unwrap().path());
    for entry in files {
        let path = entry.unwrap().path();
        let Ok(info) = probe(&path, &Access::default()) else { continue };
        let is_hdr = matches!(info.video.transfer.as_deref(), Some("smpte2084" | "arib-std-b67"));
        let format = info.video.pixel_format.unwrap_or_default();
        // zscale takes no RGB with a YUV matrix, and nothing can decode VVC here.
        if is_hdr || !info.video.decodable || !format.starts_with("yuv") {
            continue;
        }
        let off = apart_from_zscale(&path);
        eprintln!("{}: {off:.2} levels", path.display());
        // A made picture, 200 pixels wide, of colours as saturated as there are: how chroma is
        // stretched shows even at a quarter of that.
        let is_made = path.ends_with("torchcodec_h264_10bits.mp4");
        let limit = if is_made { 3.0 } else { 1.5 };
        assert!(off <= limit, "{}: {off} levels away from zscale", path.display());
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} clips were compared");
}

/// A file of patches of one colour each, as saturated as there are, whose samples mean these primaries.
fn patches(folder: &Path, (primaries, matrix, transfer): (&str, &str, &str)) -> PathBuf {
    let line = format!(
        "-f lavfi -i allrgb=d=0.04,scale=64:64:flags=area,scale=1024:1024:flags=neighbor,\
         format=gbrp,zscale=min=gbr:rin=full:m={matrix}:r=limited,format=yuv444p10le -c:v ffv1 \
         -color_primaries {primaries} -color_trc {transfer} -colorspace {matrix} -color_range tv"
    );
    make(folder, &format!("{primaries}-{transfer}.mkv"), &line)
}

fn first(path: &Path) -> Frame {
    Decoder::open(path, &DecodeOptions::default()).unwrap().next_frame().unwrap().unwrap()
}

fn shown(frame: &Frame) -> Picture {
    let size = Size::new(frame.width(), frame.height());
    frame.picture(&mut Converter::default(), size, Filter::Area, false).unwrap()
}

/// Primaries, matrix and curve, and the curve's name in zscale.
const FOREIGN: [((&str, &str, &str), &str); 6] = [
    (("bt2020", "bt2020nc", "bt2020-10"), "709"),
    (("smpte432", "bt709", "bt709"), "709"),
    (("smpte431", "bt709", "bt709"), "709"),
    (("smpte432", "bt709", "iec61966-2-1"), "iec61966-2-1"),
    (("smpte170m", "smpte170m", "smpte170m"), "709"),
    (("bt470bg", "bt470bg", "gamma28"), "bt470bg"),
];

#[test]
fn other_primaries_are_shown_as_zscale_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    for (colors, curve) in FOREIGN {
        let path = patches(folder.path(), colors);
        let (primaries, matrix, _) = colors;
        let chain = |light: String| {
            let filter = format!("zscale=min={matrix}:rin=limited:{light}m=gbr:r=full,format=gbrp");
            bgr_by_ffmpeg(&[], &path, &filter, FIRST)
        };
        let theirs = chain(format!("pin={primaries}:tin={curve}:p=709:t={curve}:"));
        let ours = shown(&first(&path)).data;
        let off = apart(&ours, &theirs);
        let unconverted = apart(&chain(String::new()), &theirs);
        eprintln!("{colors:?}: {off:.2} levels, unconverted {unconverted:.2}");
        assert!(off <= 1.0, "{colors:?}: {off} levels away from zscale");
        assert!(off < unconverted / 2.0, "{colors:?}: as if nothing were converted");
    }
}

#[test]
fn transcoded_clips_have_the_colours_that_are_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let hdr = [
        ("bt2020", "bt2020nc", "smpte2084"),
        ("bt709", "bt2020nc", "smpte2084"),
        ("unknown", "bt2020nc", "smpte2084"),
    ];
    let encoding = Encoding {
        crf: 1.0,
        preset: "veryfast".to_owned(),
        pixel_format: "yuv444p".to_owned(),
        ..Encoding::default()
    };
    for colors in FOREIGN.into_iter().map(|(colors, _)| colors).chain(hdr) {
        let path = patches(folder.path(), colors);
        let frame = first(&path);
        let time_base = probe(&path, &Access::default()).unwrap().video.time_base;
        let span = Span { start: frame.pts, end: frame.pts + frame.duration.max(1), time_base };
        let how = Interlaced::Deinterlace;
        let clip = transcode_clip(&path, &span, &encoding, how, &Access::default()).unwrap();
        let file = folder.path().join("clip.mp4");
        std::fs::write(&file, &clip.bytes).unwrap();
        let off = apart(&shown(&first(&file)).data, &shown(&frame).data);
        eprintln!("{colors:?}: {off:.2} levels");
        assert!(off <= 2.0, "{colors:?}: {off} levels away from what is analysed");
        // A reader that knows nothing of primaries sees the same, or nearly so.
        let said = named(&file, 0, "color_primaries");
        let is_near = matches!(colors.0, "smpte170m" | "bt470bg");
        assert_eq!(said.as_deref(), Some(if is_near { colors.0 } else { "bt709" }), "{colors:?}");
    }
}

#[test]
fn grey_of_limited_range_is_black_and_white() {
    let folder = tempfile::tempdir().unwrap();
    for (format, range, levels) in [
        ("gray", "tv", [(16, 0), (126, 128), (235, 255)]),
        ("gray10le", "tv", [(64, 0), (502, 128), (940, 255)]),
        ("gray16le", "tv", [(4096, 0), (32250, 128), (60160, 255)]),
        ("gray", "pc", [(0, 0), (128, 128), (255, 255)]),
    ] {
        for (sample, level) in levels {
            let line = format!(
                "-f lavfi -i color=black:s=66x50:r=10:d=0.2,format={format},geq=lum={sample} \
                 -c:v ffv1 -color_range {range}"
            );
            let path = make(folder.path(), "grey.mkv", &line);
            let frame = first(&path);
            let picture = shown(&frame).data;
            let near = |value: &u8| (i32::from(*value) - level).abs() <= 2;
            assert!(picture.iter().all(near), "{format} {range} {sample}: {}", picture[0]);
            let time_base = probe(&path, &Access::default()).unwrap().video.time_base;
            let span = Span { start: frame.pts, end: frame.pts + frame.duration.max(1), time_base };
            let encoding = Encoding { crf: 1.0, ..Encoding::default() };
            let how = Interlaced::Deinterlace;
            let clip = transcode_clip(&path, &span, &encoding, how, &Access::default()).unwrap();
            let file = folder.path().join("clip.mp4");
            std::fs::write(&file, &clip.bytes).unwrap();
            let off = apart(&shown(&first(&file)).data, &picture);
            assert!(off <= 2.0, "{format} {range} {sample}: the clip is {off} levels away");
        }
    }
}
