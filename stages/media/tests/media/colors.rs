//! Colours of real clips: against frames that FFmpeg's zscale makes of what each file says of itself.

use std::path::Path;

use curate_media::{Access, Converter, DecodeOptions, Decoder, Filter, Size, probe};

use curate_testing::program;

use crate::support::{apart_when_small, bgr_by_ffmpeg, shared_media};

/// The YUV matrix that the first frame names, by ffprobe: some codecs only say it there.
fn named_matrix(path: &Path, stream: usize) -> Option<String> {
    let mut command = program("ffprobe");
    command.args(["-v", "quiet", "-read_intervals", "%+#1", "-show_entries", "frame=color_space"]);
    command.args(["-of", "csv=p=0", "-select_streams", &stream.to_string()]).arg(path);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let word = said.lines().next()?.trim_matches(',').to_owned();
    (!word.is_empty() && word != "unknown").then_some(word)
}

/// Mean difference in levels of the first frames, at a quarter of the size, where how chroma is
/// stretched hardly shows.
fn apart(path: &Path) -> f64 {
    let info = probe(path, &Access::default()).unwrap().video;
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    let frame = decoder.next_frame().unwrap().unwrap();
    let full = Size::new(frame.width(), frame.height());
    let size = Size::new(full.width / 4, full.height / 4);
    let ours = frame.picture(&mut Converter::default(), size, Filter::Area, false).unwrap();
    let matrix = match named_matrix(path, info.index).as_deref() {
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
    let filter = format!("zscale=min={matrix}:rin={range}:m=gbr:r=full,format=gbrp");
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
        let off = apart(&path);
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
