//! Animated WebP, which FFmpeg before version 8 does not read.
//!
//! It has no compressed packets that another container could hold, so such a clip can be
//! transcoded, but not copied.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    path::Path,
};

use curate_schemas::TimeBase;
use ffmpeg_next::ffi;
use image_webp::{DecodingError, WebPDecoder};

use crate::{
    Access, DecodeOptions, Frame, MediaError, Orientation, PixelAspect, Segment, SourceInfo,
    SourceKind, Stats, VideoInfo, access::Watch, frame::AvFrame, probe::ffmpeg_int,
};

/// Its clock.
const MILLISECONDS: TimeBase = TimeBase { num: 1, den: 1000 };
/// Frames that are shown for no longer than this are shown for [`USUAL_MS`], as in browsers.
const TOO_SHORT_MS: u32 = 10;
const USUAL_MS: u32 = 100;
/// The canvas and a frame at the largest size that the format allows take less.
const MOST_BYTES: usize = 3 << 30;

/// The frames of an animation.
pub(crate) struct Animation {
    decoder: WebPDecoder<BufReader<File>>,
    info: SourceInfo,
    watch: Watch,
    segment: Segment,
    pixels: Vec<u8>,
    now_ms: i64,
    stats: Stats,
}

/// Whether the file begins as an animated WebP does.
#[must_use]
pub fn is_animated(path: &Path) -> bool {
    const ANIMATED: u8 = 2; // a flag of the extended header
    // Opening a pipe would wait for its other end.
    if !path.is_file() {
        return false;
    }
    let mut head = [0; 21];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok()
        && head.starts_with(b"RIFF")
        && &head[8..16] == b"WEBPVP8X"
        && head[20] & ANIMATED != 0
}

/// What an animated WebP is; `None` for any other file.
pub(crate) fn probe(path: &Path, access: &Access) -> Result<Option<SourceInfo>, MediaError> {
    let options = DecodeOptions { access: access.clone(), ..DecodeOptions::default() };
    Ok(Animation::open(path, &options)?.map(|animation| animation.info))
}

impl Animation {
    pub(crate) fn open(path: &Path, options: &DecodeOptions) -> Result<Option<Self>, MediaError> {
        if !is_animated(path) {
            return Ok(None);
        }
        let file =
            File::open(path).map_err(|source| MediaError::Io { path: path.to_owned(), source })?;
        let refuse = |error: DecodingError| MediaError::Open {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut decoder = WebPDecoder::new(BufReader::new(file)).map_err(refuse)?;
        decoder.set_memory_limit(MOST_BYTES);
        let (width, height) = decoder.dimensions();
        let bytes =
            decoder.output_buffer_size().ok_or_else(|| refuse(DecodingError::ImageTooLarge))?;
        // The canvas, a copy of it, and a frame.
        options.check_picture(path, (width, height), bytes as u64 * 3 / 2)?;
        let duration_ms = decoder.loop_duration();
        let frames = u64::from(decoder.num_frames());
        let seconds = duration_ms as f64 / 1000.0;
        let info = SourceInfo {
            container: "webp".to_owned(),
            kind: SourceKind::Video,
            duration_s: Some(seconds),
            has_audio: false,
            video: VideoInfo {
                index: 0,
                codec: "webp".to_owned(),
                decodable: true,
                width,
                height,
                orientation: Orientation::default(),
                pixel_aspect: PixelAspect::SQUARE,
                display_width: width,
                display_height: height,
                time_base: MILLISECONDS,
                start_pts: 0,
                duration: i64::try_from(duration_ms).ok(),
                avg_fps: (seconds > 0.0).then(|| frames as f64 / seconds),
                frames: Some(frames),
                pixel_format: Some(if decoder.has_alpha() { "rgba" } else { "rgb24" }.to_owned()),
                transfer: None,
                color_space: None,
                full_range: Some(true),
            },
        };
        Ok(Some(Self {
            decoder,
            info,
            watch: Watch::new(options.access.clone()),
            segment: options.segment.unwrap_or_default(),
            pixels: vec![0; bytes],
            now_ms: 0,
            stats: Stats::default(),
        }))
    }

    pub(crate) fn info(&self) -> &SourceInfo {
        &self.info
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.clone()
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            self.watch.arm();
            self.watch.check()?;
            let shown_ms = match self.decoder.read_frame(&mut self.pixels) {
                Ok(shown_ms) => shown_ms,
                Err(DecodingError::NoMoreFrames) => return Ok(None),
                Err(error) => {
                    // Each frame is drawn over the one before: after a broken one all are wrong.
                    self.stats.errors += 1;
                    self.stats.first_error.get_or_insert(error.to_string());
                    return Ok(None);
                }
            };
            let duration = i64::from(if shown_ms <= TOO_SHORT_MS { USUAL_MS } else { shown_ms });
            let pts = self.now_ms;
            self.now_ms += duration;
            if self.segment.end.is_some_and(|end| pts >= end) {
                return Ok(None);
            }
            if self.segment.start.is_some_and(|start| pts < start) {
                self.stats.skipped += 1;
                continue;
            }
            let index = self.stats.frames;
            self.stats.frames += 1;
            let pixels = self.picture()?;
            return Frame::new(pixels, (pts, duration), index, &self.info.video).map(Some);
        }
    }

    /// The canvas as a frame of FFmpeg's.
    fn picture(&self) -> Result<AvFrame, MediaError> {
        use ffi::AVPixelFormat as F;
        let (width, height) = (self.info.video.width, self.info.video.height);
        let (format, bytes) = if self.decoder.has_alpha() {
            (F::AV_PIX_FMT_RGBA, 4)
        } else {
            (F::AV_PIX_FMT_RGB24, 3)
        };
        AvFrame::packed((ffmpeg_int(width)?, ffmpeg_int(height)?), format, bytes, &self.pixels)
    }
}
