//! Encoders: frames in, packets out.
//!
//! One thread and no trace of the time or of the machine, so that the same frames always give the
//! same bytes. Clips are encoded many at a time, which uses the processors better than many threads
//! on one clip would.

use std::{
    ffi::{CString, c_int},
    ptr,
};

use curate_schemas::TimeBase;
use ffmpeg_next::ffi;

use crate::{MediaError, error::describe, frame::AvFrame, log::Tap, packet::Packet};

/// What a clip is encoded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264 by x264: read by everything.
    #[default]
    H264,
    /// H.265 by x265: smaller, slower.
    H265,
    /// AV1 by SVT-AV1: smallest.
    Av1,
}

impl VideoCodec {
    /// FFmpeg's name of the encoder.
    #[must_use]
    pub const fn encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::H265 => "libx265",
            Self::Av1 => "libsvtav1",
        }
    }

    fn find(self) -> Option<*const ffi::AVCodec> {
        let name = CString::new(self.encoder()).ok()?;
        // SAFETY: a lookup by name.
        let codec = unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) };
        (!codec.is_null()).then_some(codec)
    }

    /// Whether this FFmpeg has the encoder.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.find().is_some()
    }
}

/// How clips are encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// The codec.
    pub codec: VideoCodec,
    /// Constant quality in the encoder's own scale: lower is better and larger.
    pub crf: f64,
    /// The encoder's own word for how much time it takes, such as `"medium"` (x264, x265) or `"8"`
    /// (SVT-AV1).
    pub preset: String,
    /// Frames from one key frame to the next: a reader that jumps to a frame decodes no more.
    pub key_every: u32,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// The shorter side in pixels; pictures that are smaller stay as they are. `None` keeps sizes.
    pub short_side: Option<u32>,
}

impl Default for Encoding {
    fn default() -> Self {
        Self {
            codec: VideoCodec::default(),
            crf: 18.0,
            preset: "medium".to_owned(),
            key_every: 16,
            pixel_format: "yuv420p".to_owned(),
            short_side: None,
        }
    }
}

impl Encoding {
    /// The pixel format, if FFmpeg knows it.
    pub(crate) fn format(&self) -> Option<ffi::AVPixelFormat> {
        let name = CString::new(self.pixel_format.as_str()).ok()?;
        // SAFETY: a lookup by name.
        let format = unsafe { ffi::av_get_pix_fmt(name.as_ptr()) };
        (format != ffi::AVPixelFormat::AV_PIX_FMT_NONE).then_some(format)
    }

    /// What is wrong with the settings: the key, and what to do.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !self.codec.is_available() {
            let encoder = self.codec.encoder();
            faults.push(("codec", format!("this FFmpeg has no encoder {encoder}: use \"h264\"")));
        }
        let most = if self.codec == VideoCodec::Av1 { 63.0 } else { 51.0 };
        if !(0.0..=most).contains(&self.crf) {
            faults.push(("crf", format!("must be from 0 (best) to {most} (worst)")));
        }
        let words = [
            "ultrafast",
            "superfast",
            "veryfast",
            "faster",
            "fast",
            "medium",
            "slow",
            "slower",
            "veryslow",
            "placebo",
        ];
        if self.codec == VideoCodec::Av1 {
            if !self.preset.parse().is_ok_and(|preset: u8| preset <= 13) {
                let advice = "for av1 a number from \"0\" (slowest) to \"13\" (fastest)";
                faults.push(("preset", advice.to_owned()));
            }
        } else if !words.contains(&self.preset.as_str()) {
            faults.push(("preset", format!("one of: {}", words.join(", "))));
        }
        if self.key_every == 0 || self.key_every > 10_000 {
            faults.push(("key_every", "must be from 1 to 10000 frames".to_owned()));
        }
        // SVT-AV1 takes no smaller pictures.
        let least = if self.codec == VideoCodec::Av1 { 64 } else { 16 };
        // Two pixels share their chroma.
        if self.short_side.is_some_and(|side| side % 2 == 1 || !(least..=16_384).contains(&side)) {
            let advice = format!("must be an even number of pixels, from {least} to 16384");
            faults.push(("short_side", advice));
        }
        if let Some(rest) = self.pixel_format.strip_prefix("yuvj") {
            let advice = format!("clips are in limited range: use \"yuv{rest}\"");
            faults.push(("pixel_format", advice));
        } else if !self.takes_format() {
            let advice = format!("{} does not take it: use \"yuv420p\"", self.codec.encoder());
            faults.push(("pixel_format", advice));
        }
        faults
    }

    fn takes_format(&self) -> bool {
        let Some(codec) = self.codec.find() else { return true };
        let Some(format) = self.format() else { return false };
        // SAFETY: an encoder of FFmpeg's table; its formats end with NONE.
        unsafe {
            let mut known = (*codec).pix_fmts;
            if known.is_null() {
                return true;
            }
            while *known != ffi::AVPixelFormat::AV_PIX_FMT_NONE {
                if *known == format {
                    return true;
                }
                known = known.add(1);
            }
        }
        false
    }

    /// The encoder's settings, as FFmpeg's options.
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("crf", self.crf.to_string()), ("preset", self.preset.clone())];
        match self.codec {
            // Its AVX-512 code for `mbtree` (seen in build 164) reads what nobody wrote, so that the
            // same pictures give other bytes now and then. AVX2 gives those that are right.
            #[cfg(target_arch = "x86_64")]
            VideoCodec::H264 if std::arch::is_x86_feature_detected!("avx512f") => {
                options.push(("x264-params", "asm=avx2".to_owned()));
            }
            VideoCodec::H264 => {}
            // Its own threads are not FFmpeg's.
            VideoCodec::H265 => options.push((
                "x265-params",
                "pools=none:frame-threads=1:wpp=0:open-gop=0:info=0:log-level=error".to_owned(),
            )),
            VideoCodec::Av1 => options.push(("svtav1-params", "lp=1".to_owned())),
        }
        options
    }
}

/// An open encoder.
pub(crate) struct Encoder {
    context: *mut ffi::AVCodecContext,
    tap: Tap,
}

// SAFETY: an encoder has no ties to the thread that opened it; it is used by one owner at a time.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder for frames like `first`.
    pub(crate) fn open(
        encoding: &Encoding,
        first: &ffi::AVFrame,
        time_base: TimeBase,
        fps: Option<f64>,
    ) -> Result<Self, MediaError> {
        let refuse = |reason| MediaError::Encode { reason };
        let codec = encoding
            .codec
            .find()
            .ok_or_else(|| refuse(format!("no encoder {}", encoding.codec.encoder())))?;
        let format = encoding
            .format()
            .ok_or_else(|| refuse(format!("no pixel format {}", encoding.pixel_format)))?;
        // SAFETY: a plain allocation for an encoder from FFmpeg's own table.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        if context.is_null() {
            return Err(MediaError::Memory { during: "an encoder" });
        }
        let encoder = Self { context, tap: Tap::new() };
        // SAFETY: the context is ours and not open yet, which is when these fields may be set;
        // the dictionary is ours to free.
        let code = unsafe {
            let context = &mut *context;
            context.opaque = encoder.tap.token();
            context.width = first.width;
            context.height = first.height;
            context.pix_fmt = format;
            context.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
            context.time_base = ffi::AVRational { num: time_base.num, den: time_base.den };
            context.framerate = ffi::av_d2q(fps.unwrap_or(0.0), 1 << 20);
            // As bare numbers: a file may put any number there.
            let copy = |from: *const u32, to: *mut u32| to.write(from.read());
            copy((&raw const first.color_range).cast(), (&raw mut context.color_range).cast());
            let primaries = (&raw mut context.color_primaries).cast();
            copy((&raw const first.color_primaries).cast(), primaries);
            copy((&raw const first.color_trc).cast(), (&raw mut context.color_trc).cast());
            copy((&raw const first.colorspace).cast(), (&raw mut context.colorspace).cast());
            let place = (&raw mut context.chroma_sample_location).cast();
            copy((&raw const first.chroma_location).cast(), place);
            context.gop_size = c_int::try_from(encoding.key_every).unwrap_or(c_int::MAX);
            context.thread_count = 1;
            context.flags |=
                (ffi::AV_CODEC_FLAG_GLOBAL_HEADER | ffi::AV_CODEC_FLAG_BITEXACT) as c_int;
            let mut options = ptr::null_mut();
            for (name, value) in encoding.options() {
                if let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) {
                    ffi::av_dict_set(&raw mut options, name.as_ptr(), value.as_ptr(), 0);
                }
            }
            let code = ffi::avcodec_open2(context, codec, &raw mut options);
            ffi::av_dict_free(&raw mut options);
            code
        };
        encoder.check(code)?;
        Ok(encoder)
    }

    fn check(&self, code: c_int) -> Result<(), MediaError> {
        if code < 0 {
            let reason = self.tap.last().unwrap_or_else(|| describe(code));
            return Err(MediaError::Encode { reason });
        }
        Ok(())
    }

    /// Encodes one frame, to be shown at `pts`, or with `None` what is left; packets that are
    /// ready, in decode order, go to `out`.
    pub(crate) fn encode(
        &mut self,
        frame: Option<(&AvFrame, i64)>,
        out: &mut Vec<Packet>,
    ) -> Result<(), MediaError> {
        let mut reference = AvFrame::new()?;
        let frame = match frame {
            None => ptr::null(),
            Some((frame, pts)) => {
                reference.refer_to(frame)?;
                reference.set_for_encoding(pts);
                reference.as_ptr().cast_const()
            }
        };
        // SAFETY: an open encoder, and null or a frame in its format.
        self.check(unsafe { ffi::avcodec_send_frame(self.context, frame) })?;
        loop {
            let mut packet = Packet::new()?;
            // SAFETY: an open encoder and a blank packet.
            let code = unsafe { ffi::avcodec_receive_packet(self.context, packet.as_mut_ptr()) };
            if code == ffi::AVERROR(ffi::EAGAIN) || code == ffi::AVERROR_EOF {
                return Ok(());
            }
            self.check(code)?;
            out.push(packet);
        }
    }

    /// Describes the stream of packets to a muxer.
    ///
    /// # Safety
    /// `parameters` are valid.
    pub(crate) unsafe fn describe(
        &self,
        parameters: *mut ffi::AVCodecParameters,
    ) -> Result<(), MediaError> {
        // SAFETY: an open encoder, and parameters by the caller's word.
        self.check(unsafe { ffi::avcodec_parameters_from_context(parameters, self.context) })
    }

    /// Frames per second, as far as they are known.
    pub(crate) fn frame_rate(&self) -> ffi::AVRational {
        // SAFETY: an open encoder.
        unsafe { (*self.context).framerate }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: allocated by us and freed once.
        unsafe { ffi::avcodec_free_context(&raw mut self.context) };
    }
}
