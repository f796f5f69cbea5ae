//! What a file is, without decoding it.
//!
//! Everything here comes from the container and the codec's parameters; it is what the file
//! claims, and decoding may find otherwise. One video stream is chosen for the whole program in
//! this module, so that probing, decoding and clip writing can never disagree on which.

use std::{
    ffi::{CStr, c_char, c_int},
    path::Path,
};

use curate_schemas::{TimeBase, rescale};
use ffmpeg_next::ffi;

use crate::{
    Access, DecodeOptions, MediaError, Orientation, PixelAspect, color, input::Input, still, webp,
};

/// What kind of thing a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Pictures that follow each other, animated GIF and WebP among them.
    #[default]
    Video,
    /// One still picture.
    Image,
}

impl SourceKind {
    /// The word stored in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
        }
    }
}

/// A file and its chosen video stream.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// FFmpeg's name of the container format, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Whether it is a film or a still picture.
    pub kind: SourceKind,
    /// Length of the whole file in seconds, as the container says.
    pub duration_s: Option<f64>,
    /// Whether there is an audio stream.
    pub has_audio: bool,
    /// The video stream that every function of this crate uses for this file.
    pub video: VideoInfo,
}

/// The chosen video stream.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoInfo {
    /// Index of the stream in the file.
    pub index: usize,
    /// FFmpeg's codec name, or the four-character code of a codec it does not know.
    pub codec: String,
    /// Whether this FFmpeg can decode it.
    pub decodable: bool,
    /// Width of the stored picture in pixels.
    pub width: u32,
    /// Height of the stored picture in pixels.
    pub height: u32,
    /// How the stored picture is turned for showing.
    pub orientation: Orientation,
    /// Shape of the stored pixels.
    pub pixel_aspect: PixelAspect,
    /// Width in square pixels after turning.
    pub display_width: u32,
    /// Height in square pixels after turning.
    pub display_height: u32,
    /// Seconds per tick of every PTS of this stream.
    pub time_base: TimeBase,
    /// PTS of the first frame in ticks, 0 if unknown.
    pub start_pts: i64,
    /// Length in ticks, from the stream or else the file.
    pub duration: Option<i64>,
    /// Frames per second: the average, or the base rate where the average is missing or absurd.
    pub avg_fps: Option<f64>,
    /// Number of frames, where the container counts them (it may be wrong).
    pub frames: Option<u64>,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: Option<String>,
    /// FFmpeg's name of the transfer function, such as `bt709` or `smpte2084`.
    pub transfer: Option<String>,
    /// FFmpeg's name of the YUV matrix.
    pub color_space: Option<String>,
    /// Whether the samples use all 256 levels; `None` if the file does not say.
    pub full_range: Option<bool>,
}

impl VideoInfo {
    /// Refuses a matrix that no conversion here knows: taken for another one, it gives wrong colours.
    pub(crate) fn check_colors(&self) -> Result<(), MediaError> {
        const UNKNOWN: [&str; 6] =
            ["ycgco", "smpte2085", "chroma-derived-nc", "chroma-derived-c", "ictcp", "bt2020c"];
        match self.color_space.as_deref().filter(|name| UNKNOWN.contains(name)) {
            Some(matrix) => Err(MediaError::UnsupportedColors { matrix: matrix.to_owned() }),
            None => Ok(()),
        }
    }

    /// Ticks for which a frame is shown, where neither its packet nor the codec says so.
    pub(crate) fn usual_duration(&self) -> i64 {
        self.avg_fps.map_or(1, |fps| self.time_base.ticks(1.0 / fps)).max(1)
    }
}

/// Reads what `path` is.
///
/// # Errors
/// `io` if the file cannot be read, `open` if FFmpeg does not know it, `no_video` if it has no
/// video stream, `timeout` and `cancelled` by `access`. An undecodable codec is no error here.
pub fn probe(path: &Path, access: &Access) -> Result<SourceInfo, MediaError> {
    if let Some(info) = webp::probe(path, access)? {
        return Ok(info);
    }
    open(path, access).map(|(_, info)| info)
}

/// Opens a file with its video stream selected.
pub(crate) fn open(path: &Path, access: &Access) -> Result<(Input, SourceInfo), MediaError> {
    select(Input::open(path, access)?, access)
}

/// Opens a file for decoding: refuses still pictures that are too large before they are decoded, and
/// what would be decoded to something else.
pub(crate) fn open_to_decode(
    path: &Path,
    options: &DecodeOptions,
) -> Result<(Input, SourceInfo), MediaError> {
    let header = Input::open_header(path, &options.access)?;
    let is_still = header.is_still();
    let limits = if is_still { options.clone() } else { DecodeOptions::default() };
    let (input, info) = select(header.look(limits.most_pixels_aligned())?, &options.access)?;
    let video = &info.video;
    video.check_colors()?;
    if video.codec == "tiff" {
        still::refuse_jpeg_in_tiff(path)?;
    }
    if is_still && video.width > 0 {
        let size = (video.width, video.height);
        limits.check_picture(path, size, decoded_bytes(input.parameters(video.index)))?;
    }
    Ok((input, info))
}

/// Bytes of a decoded picture.
fn decoded_bytes(parameters: &ffi::AVCodecParameters) -> u64 {
    let format = color::pixel_format(parameters.format);
    // SAFETY: lookups in FFmpeg's constant table.
    let bits = format.and_then(|format| unsafe {
        let about = ffi::av_pix_fmt_desc_get(format);
        (!about.is_null()).then(|| ffi::av_get_bits_per_pixel(about))
    });
    let pixels = i64::from(parameters.width) * i64::from(parameters.height);
    pixels.unsigned_abs() * u64::from(bits.unwrap_or(0).unsigned_abs()) / 8
}

/// Goes on with a file of which only the header was read.
pub(crate) fn look(header: Input, access: &Access) -> Result<(Input, SourceInfo), MediaError> {
    select(header.look(DecodeOptions::default().most_pixels_aligned())?, access)
}

fn select(mut input: Input, access: &Access) -> Result<(Input, SourceInfo), MediaError> {
    let path = input.path();
    // A picture has no tracks.
    let index = match access.track.filter(|_| !input.is_still()) {
        None => best(&input),
        Some(track) => {
            let tracks: Vec<usize> = tracks(&input).collect();
            let found = tracks.get(track as usize).copied();
            if found.is_none() && !tracks.is_empty() {
                let path = path.to_owned();
                return Err(MediaError::NoTrack { path, track, tracks: tracks.len() });
            }
            found
        }
    };
    let index = index.ok_or_else(|| MediaError::NoVideo { path: input.path().to_owned() })?;
    let info = describe(&input, index);
    input.select(index);
    Ok((input, info))
}

/// The video streams that are no pictures of something else.
fn tracks(input: &Input) -> impl Iterator<Item = usize> {
    (0..input.streams()).filter(|index| {
        let is_picture = ffi::AV_DISPOSITION_ATTACHED_PIC | ffi::AV_DISPOSITION_TIMED_THUMBNAILS;
        input.parameters(*index).codec_type == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO
            && input.stream(*index).disposition & is_picture == 0
    })
}

/// The best video stream: decodable, of known format, more than a still (phones put one beside a
/// short film), marked as default, largest, first.
fn best(input: &Input) -> Option<usize> {
    let mut best = None;
    for index in tracks(input) {
        let stream = input.stream(index);
        let parameters = input.parameters(index);
        let area = i64::from(parameters.width) * i64::from(parameters.height);
        let rank = (
            find_decoder(parameters).is_some(),
            parameters.format >= 0 && area > 0,
            stream.nb_frames != 1,
            stream.disposition & ffi::AV_DISPOSITION_DEFAULT != 0,
            area,
        );
        if best.is_none_or(|(_, other)| rank > other) {
            best = Some((index, rank));
        }
    }
    best.map(|(index, _)| index)
}

/// The decoder that FFmpeg prefers for the stream.
pub(crate) fn find_decoder(parameters: &ffi::AVCodecParameters) -> Option<*const ffi::AVCodec> {
    // SAFETY: a lookup by number.
    let codec = unsafe { ffi::avcodec_find_decoder(parameters.codec_id) };
    (!codec.is_null()).then_some(codec)
}

fn describe(input: &Input, index: usize) -> SourceInfo {
    let context = input.context();
    let stream = input.stream(index);
    let parameters = input.parameters(index);
    let known = |time: i64| (time != ffi::AV_NOPTS_VALUE).then_some(time);
    let micros = TimeBase { num: 1, den: ffi::AV_TIME_BASE };
    let time_base = TimeBase::new(stream.time_base.num, stream.time_base.den).unwrap_or(micros);
    let file_duration = known(context.duration).filter(|ticks| *ticks > 0);
    let width = u32::try_from(parameters.width).unwrap_or(0);
    let height = u32::try_from(parameters.height).unwrap_or(0);
    let container = input.container();
    let is_still = input.is_still();
    let orientation = if is_still { still::orientation(input.path()) } else { orientation(stream) };
    let pixel_aspect = PixelAspect::of(stream, parameters);
    let shown = pixel_aspect.shown(width);
    let (display_width, display_height) =
        if orientation.swaps_sides() { (height, shown) } else { (shown, height) };
    let colors = color::of_parameters(parameters);
    SourceInfo {
        container,
        kind: if is_still { SourceKind::Image } else { SourceKind::Video },
        duration_s: file_duration.map(|ticks| micros.seconds(ticks)),
        has_audio: (0..input.streams()).any(|index| {
            input.parameters(index).codec_type == ffi::AVMediaType::AVMEDIA_TYPE_AUDIO
        }),
        video: VideoInfo {
            index,
            codec: codec_name(parameters),
            decodable: find_decoder(parameters).is_some(),
            width,
            height,
            orientation,
            pixel_aspect,
            display_width,
            display_height,
            time_base,
            start_pts: known(stream.start_time).unwrap_or(0),
            duration: known(stream.duration)
                .filter(|ticks| *ticks > 0)
                .or_else(|| file_duration.map(|ticks| rescale(ticks, micros, time_base))),
            avg_fps: frame_rate(stream),
            frames: u64::try_from(stream.nb_frames).ok().filter(|frames| *frames > 0),
            pixel_format: color::pixel_format(parameters.format)
                // SAFETY: a lookup of a constant string by number.
                .and_then(|format| text(unsafe { ffi::av_get_pix_fmt_name(format) })),
            transfer: colors.transfer,
            color_space: colors.space,
            full_range: colors.full_range,
        },
    }
}

/// Frames per second. Some containers (FLV, Matroska) state their tick as the average, which no
/// camera shoots; beyond 480 per second the base rate is the better guess.
fn frame_rate(stream: &ffi::AVStream) -> Option<f64> {
    let per_second = |rate: ffi::AVRational| {
        (rate.num > 0 && rate.den > 0).then(|| f64::from(rate.num) / f64::from(rate.den))
    };
    let average = per_second(stream.avg_frame_rate);
    let base = per_second(stream.r_frame_rate);
    match (average, base) {
        (Some(average), Some(base)) if average > 480.0 && base < average => Some(base),
        (Some(average), _) => Some(average),
        (None, base) => base,
    }
}

fn orientation(stream: &ffi::AVStream) -> Orientation {
    let mut size = 0;
    // SAFETY: side data belongs to the stream; 36 bytes are nine 32-bit numbers, copied out.
    unsafe {
        let data = ffi::av_stream_get_side_data(
            stream,
            ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX,
            &raw mut size,
        );
        if data.is_null() || size < size_of::<[i32; 9]>() {
            return Orientation::default();
        }
        Orientation::from_matrix(&data.cast::<[i32; 9]>().read_unaligned())
    }
}

/// FFmpeg's codec name, or the container's four-character code where FFmpeg knows none.
pub(crate) fn codec_name(parameters: &ffi::AVCodecParameters) -> String {
    if parameters.codec_id == ffi::AVCodecID::AV_CODEC_ID_NONE {
        let tag = parameters.codec_tag.to_le_bytes();
        if tag.iter().all(u8::is_ascii_graphic) {
            return tag.iter().map(|byte| char::from(*byte)).collect();
        }
        return "unknown".to_owned();
    }
    // SAFETY: always answers with a constant string.
    text(unsafe { ffi::avcodec_get_name(parameters.codec_id) }).unwrap_or_default()
}

/// A constant string of FFmpeg's.
pub(crate) fn text(string: *const c_char) -> Option<String> {
    // SAFETY: callers pass null or one of FFmpeg's static, zero-ended strings.
    (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned())
}

/// The number of a stream, as FFmpeg's calls want it.
pub(crate) fn ffmpeg_int(value: u32) -> Result<c_int, MediaError> {
    c_int::try_from(value).map_err(|error| MediaError::Convert {
        during: "checking sizes",
        reason: format!("{value} pixels: {error}"),
    })
}
