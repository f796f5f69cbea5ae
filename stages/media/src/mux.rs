//! Writes packets of one stream to a container in memory.
//!
//! Bytes must depend on the packets alone: no dates, no random ids, no version strings, so that
//! the same span of the same file is the same clip wherever and whenever it is cut. Memory and
//! not a file, because a clip is a value of a table row; it is as long as the
//! span and what leads up to it from the key frame before.

use std::{ffi::c_int, ptr};

use curate_schemas::{TimeBase, rescale};
use ffmpeg_next::ffi;

use crate::{MediaError, encode::Encoder, error::describe, input::Input, log::Tap, packet::Packet};

/// A packet on its way into a clip: its times in ticks of the clip.
pub(crate) struct Placed {
    pub(crate) packet: Packet,
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) duration: i64,
}

/// Where the packets of a clip come from, which describes its stream.
#[derive(Clone, Copy)]
pub(crate) enum Like<'a> {
    /// A stream of a file.
    Input(&'a Input, usize),
    /// An encoder.
    Encoder(&'a Encoder),
}

/// What to write.
pub(crate) struct Plan<'a> {
    pub(crate) like: Like<'a>,
    /// FFmpeg's name of the container.
    pub(crate) format: &'static std::ffi::CStr,
    /// Seconds per tick of the packets' times.
    pub(crate) time_base: TimeBase,
    /// Decoder configuration to use instead of the stream's.
    pub(crate) configuration: Option<&'a [u8]>,
}

/// The muxer and the buffer it writes to.
struct Output {
    context: *mut ffi::AVFormatContext,
    tap: Tap,
}

impl Output {
    fn new(format: &std::ffi::CStr) -> Result<Self, MediaError> {
        let mut context = ptr::null_mut();
        // SAFETY: allocates a muxer by name, and its buffer.
        let code = unsafe {
            let code = ffi::avformat_alloc_output_context2(
                &raw mut context,
                ptr::null(),
                format.as_ptr(),
                ptr::null(),
            );
            if code < 0 { code } else { ffi::avio_open_dyn_buf(&raw mut (*context).pb) }
        };
        let output = Self { context, tap: Tap::new() };
        if code < 0 {
            return Err(output.failure(code));
        }
        // SAFETY: allocated above.
        unsafe {
            (*context).opaque = output.tap.token();
            (*context).flags |= ffi::AVFMT_FLAG_BITEXACT;
            (*context).avoid_negative_ts = ffi::AVFMT_AVOID_NEG_TS_DISABLED;
        }
        Ok(output)
    }

    fn failure(&self, code: c_int) -> MediaError {
        MediaError::mux(self.tap.last().unwrap_or_else(|| describe(code)))
    }

    fn check(&self, code: c_int) -> Result<(), MediaError> {
        if code < 0 { Err(self.failure(code)) } else { Ok(()) }
    }

    /// Takes what was written.
    fn into_bytes(self) -> Vec<u8> {
        let mut data = ptr::null_mut();
        // SAFETY: closes the buffer opened in `new`, which hands over its memory; the context is
        // told, so that dropping does not close it again.
        unsafe {
            let size = ffi::avio_close_dyn_buf((*self.context).pb, &raw mut data);
            (*self.context).pb = ptr::null_mut();
            let size = usize::try_from(size).unwrap_or(0);
            let bytes = if data.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(data, size).to_vec()
            };
            ffi::av_free(data.cast());
            bytes
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.context.is_null() {
            return;
        }
        // SAFETY: the buffer, if still open, and then the context, each freed once.
        unsafe {
            if !(*self.context).pb.is_null() {
                let mut data = ptr::null_mut();
                ffi::avio_close_dyn_buf((*self.context).pb, &raw mut data);
                ffi::av_free(data.cast());
            }
            ffi::avformat_free_context(self.context);
        }
    }
}

/// Writes the packets, in the order given, and returns the file.
pub(crate) fn write(plan: &Plan<'_>, packets: Vec<Placed>) -> Result<Vec<u8>, MediaError> {
    let output = Output::new(plan.format)?;
    let stream = add_stream(&output, plan)?;
    let scale = c_int::from(plan.time_base.num == 1) * plan.time_base.den;
    // SAFETY: the muxer's calls in their documented order; the dictionary is ours to free.
    unsafe {
        let mut options = ptr::null_mut();
        if scale > 0 && plan.format == c"mp4" {
            for name in [c"video_track_timescale", c"movie_timescale"] {
                ffi::av_dict_set_int(&raw mut options, name.as_ptr(), i64::from(scale), 0);
            }
        }
        let code = ffi::avformat_write_header(output.context, &raw mut options);
        ffi::av_dict_free(&raw mut options);
        output.check(code)?;
    }
    // SAFETY: the stream lives as long as the muxer, which may have changed its time base.
    let base = unsafe { (*stream).time_base };
    let base = TimeBase::new(base.num, base.den)
        .ok_or_else(|| MediaError::mux("the muxer chose no time base"))?;
    for Placed { mut packet, pts, dts, duration } in packets {
        let tick = |time| rescale(time, plan.time_base, base);
        packet.set_times(tick(pts), tick(dts), tick(duration));
        // SAFETY: a valid packet for stream 0; the muxer takes its own reference.
        let code = unsafe { ffi::av_write_frame(output.context, packet.as_mut_ptr()) };
        output.check(code)?;
    }
    // SAFETY: the header was written.
    output.check(unsafe { ffi::av_write_trailer(output.context) })?;
    Ok(output.into_bytes())
}

/// Adds the stream that the packets are of.
fn add_stream(output: &Output, plan: &Plan<'_>) -> Result<*mut ffi::AVStream, MediaError> {
    // SAFETY: adds a stream to our muxer, which owns it.
    let stream = unsafe { ffi::avformat_new_stream(output.context, ptr::null()) };
    if stream.is_null() {
        return Err(MediaError::Memory { during: "a stream" });
    }
    match plan.like {
        Like::Input(input, index) => copy_description(output, stream, plan, input.stream(index))?,
        // SAFETY: a new stream has parameters of its own.
        Like::Encoder(encoder) => unsafe {
            encoder.describe((*stream).codecpar)?;
            (*stream).avg_frame_rate = encoder.frame_rate();
            (*stream).sample_aspect_ratio = (*(*stream).codecpar).sample_aspect_ratio;
        },
    }
    // SAFETY: as above.
    unsafe {
        (*stream).time_base = ffi::AVRational { num: plan.time_base.num, den: plan.time_base.den };
        (*stream).disposition = ffi::AV_DISPOSITION_DEFAULT;
    }
    Ok(stream)
}

/// Describes a stream as that of a file is described.
fn copy_description(
    output: &Output,
    stream: *mut ffi::AVStream,
    plan: &Plan<'_>,
    source: &ffi::AVStream,
) -> Result<(), MediaError> {
    // SAFETY: copies what describes the input's stream into our muxer's; all copies are FFmpeg's
    // own allocations, owned by the new stream.
    unsafe {
        let parameters = (*stream).codecpar;
        output.check(ffi::avcodec_parameters_copy(parameters, source.codecpar))?;
        if let Some(bytes) = plan.configuration {
            set_configuration(parameters, bytes)?;
        }
        // The source's four-character code, if this container has it for this codec, or none: Matroska
        // says by it which ProRes it is.
        let tags = (*(*output.context).oformat).codec_tag;
        let codec = (*parameters).codec_id;
        let is_fitting = !tags.is_null()
            && (ffi::av_codec_get_id(tags, (*parameters).codec_tag) == codec
                || ffi::av_codec_get_tag(tags, codec) == 0);
        if !is_fitting {
            (*parameters).codec_tag = 0;
        }
        (*stream).avg_frame_rate = source.avg_frame_rate;
        // The container's word on the shape of pixels goes before the codec's, as in players.
        if source.sample_aspect_ratio.num > 0 {
            (*parameters).sample_aspect_ratio = source.sample_aspect_ratio;
        }
        (*stream).sample_aspect_ratio = (*parameters).sample_aspect_ratio;
        for index in 0..usize::try_from(source.nb_side_data).unwrap_or(0) {
            let data = &*source.side_data.add(index);
            let copy = ffi::av_stream_new_side_data(stream, data.type_, data.size);
            if copy.is_null() {
                return Err(MediaError::Memory { during: "a stream" });
            }
            ptr::copy_nonoverlapping(data.data, copy, data.size);
        }
        Ok(())
    }
}

/// Replaces the decoder configuration.
///
/// # Safety
/// `parameters` are valid and owned by the caller.
unsafe fn set_configuration(
    parameters: *mut ffi::AVCodecParameters,
    bytes: &[u8],
) -> Result<(), MediaError> {
    // SAFETY: the old block is FFmpeg's and freed by it; the new one has the padding it wants.
    unsafe {
        ffi::av_freep((&raw mut (*parameters).extradata).cast());
        (*parameters).extradata_size = 0;
        let padded = bytes.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        let copy = ffi::av_mallocz(padded).cast::<u8>();
        if copy.is_null() {
            return Err(MediaError::Memory { during: "a stream" });
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        (*parameters).extradata = copy;
        (*parameters).extradata_size = bytes.len() as c_int;
    }
    Ok(())
}
