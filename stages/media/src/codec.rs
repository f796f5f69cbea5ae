//! The owning side of FFmpeg's decoder: packets go in, frames come out.
//!
//! Kept apart from [`decode`](crate::decode), which decides what to do with failures; here they
//! are only named. Frame threads are FFmpeg's default and kept: they are what makes decoding use
//! more than one processor, at the price of a few frames of delay.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi;

use crate::{
    DecodeOptions, MediaError,
    error::describe,
    frame::AvFrame,
    input::Input,
    log::Tap,
    packet::Packet,
    probe::{codec_name, find_decoder},
};

/// What asking for a frame came to.
pub(crate) enum Received {
    Frame(AvFrame),
    /// The decoder wants packets first.
    NotYet,
    /// Everything is out.
    End,
    /// This packet was damaged; others may do.
    Failed(String),
}

/// An open decoder.
pub(crate) struct Codec {
    context: *mut ffi::AVCodecContext,
    tap: Tap,
}

// SAFETY: a decoder has no ties to the thread that opened it; it is used by one owner at a time.
unsafe impl Send for Codec {}

impl Codec {
    pub(crate) fn open(
        input: &Input,
        stream: usize,
        options: &DecodeOptions,
    ) -> Result<Self, MediaError> {
        let parameters = input.parameters(stream);
        let decoder = alpha_decoder(input.stream(stream)).or_else(|| find_decoder(parameters));
        let Some(decoder) = decoder else {
            return Err(MediaError::UnsupportedCodec { codec: codec_name(parameters) });
        };
        // SAFETY: a plain allocation for a decoder from FFmpeg's own table.
        let context = unsafe { ffi::avcodec_alloc_context3(decoder) };
        if context.is_null() {
            return Err(MediaError::Memory { during: "a decoder" });
        }
        let codec = Self { context, tap: Tap::new() };
        // SAFETY: the context is ours and not open yet, which is when these fields may be set.
        let code = unsafe {
            let code = ffi::avcodec_parameters_to_context(context, parameters);
            (*context).opaque = codec.tap.token();
            (*context).pkt_timebase = input.stream(stream).time_base;
            (*context).framerate = input.stream(stream).avg_frame_rate;
            (*context).max_pixels = options.most_pixels_aligned();
            (*context).thread_count = thread_count(options.threads);
            if options.motion_vectors {
                (*context).export_side_data |= ffi::AV_CODEC_EXPORT_DATA_MVS as c_int;
            }
            if code < 0 { code } else { ffi::avcodec_open2(context, decoder, std::ptr::null_mut()) }
        };
        if code < 0 {
            let reason = codec.tap.last().unwrap_or_else(|| describe(code));
            return Err(MediaError::Decode { during: "starting the decoder", reason });
        }
        Ok(codec)
    }

    /// Gives it a packet; `None` says that there are no more. The error is FFmpeg's reason.
    pub(crate) fn send(&mut self, packet: Option<&Packet>) -> Result<(), String> {
        let packet = packet.map_or(std::ptr::null(), Packet::as_ptr);
        // SAFETY: an open decoder, and null or a valid packet.
        let code = unsafe { ffi::avcodec_send_packet(self.context, packet) };
        if code < 0 && code != ffi::AVERROR_EOF { Err(describe(code)) } else { Ok(()) }
    }

    pub(crate) fn receive(&mut self) -> Result<Received, MediaError> {
        let mut frame = AvFrame::new()?;
        // SAFETY: an open decoder and a blank frame.
        let code = unsafe { ffi::avcodec_receive_frame(self.context, frame.as_mut_ptr()) };
        Ok(match code {
            0.. => Received::Frame(frame),
            ffi::AVERROR_EOF => Received::End,
            code if code == ffi::AVERROR(ffi::EAGAIN) => Received::NotYet,
            code => Received::Failed(describe(code)),
        })
    }

    /// Forgets what was fed, ready for another place in the stream.
    pub(crate) fn flush(&mut self) {
        // SAFETY: an open decoder.
        unsafe { ffi::avcodec_flush_buffers(self.context) };
    }

    /// Whether it gives out frames of packets that the container hides: FFmpeg before 7 forgets to
    /// drop them where the decoder takes its packets itself, as the one for AV1 does.
    pub(crate) fn shows_hidden(&self) -> bool {
        // SAFETY: an open decoder.
        unsafe { (*self.context).codec_id == ffi::AVCodecID::AV_CODEC_ID_AV1 }
    }

    /// Width and height that it refused to decode as too large, with an `x` between them.
    pub(crate) fn refused_size(&self) -> Option<String> {
        self.tap.refused_size().filter(|size| !size.split('x').any(|side| side == "0"))
    }

    /// How many error lines it logged.
    pub(crate) fn complaints(&self) -> u64 {
        self.tap.count()
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: allocated by us and freed once; joins the decoder's threads.
        unsafe { ffi::avcodec_free_context(&raw mut self.context) };
    }
}

/// libvpx for VP8 and VP9 with alpha, which comes beside the packets: FFmpeg's own decoders, which
/// are quicker, leave it out.
fn alpha_decoder(stream: &ffi::AVStream) -> Option<*const ffi::AVCodec> {
    // SAFETY: a valid stream's parameters and its metadata, and lookups in FFmpeg's own table; an
    // entry's value is a string that ends with a zero.
    unsafe {
        let name = match (*stream.codecpar).codec_id {
            ffi::AVCodecID::AV_CODEC_ID_VP8 => c"libvpx",
            ffi::AVCodecID::AV_CODEC_ID_VP9 => c"libvpx-vp9",
            _ => return None,
        };
        let key = c"alpha_mode".as_ptr();
        let stated = ffi::av_dict_get(stream.metadata, key, std::ptr::null(), 0);
        if stated.is_null() || CStr::from_ptr((*stated).value) != c"1" {
            return None;
        }
        let decoder = ffi::avcodec_find_decoder_by_name(name.as_ptr());
        (!decoder.is_null()).then_some(decoder)
    }
}

/// The number of threads as FFmpeg wants it.
fn thread_count(threads: usize) -> c_int {
    // Beyond 16 FFmpeg warns and frame threads only add delay.
    threads.min(16) as c_int
}
