//! Grey video of limited range as YUV without colour: FFmpeg's converter takes grey for full range
//! whatever the file says, which leaves black grey and white pale.

use ffmpeg_next::ffi::{self, AVPixelFormat as F};

use crate::{MediaError, frame::AvFrame};

/// Grey formats with those that add chroma, and its neutral sample.
const FORMATS: [(F, F, u16); 4] = [
    (F::AV_PIX_FMT_GRAY8, F::AV_PIX_FMT_YUV420P, 128),
    (F::AV_PIX_FMT_GRAY10LE, F::AV_PIX_FMT_YUV420P10LE, 128 << 2),
    (F::AV_PIX_FMT_GRAY12LE, F::AV_PIX_FMT_YUV420P12LE, 128 << 4),
    (F::AV_PIX_FMT_GRAY16LE, F::AV_PIX_FMT_YUV420P16LE, 128 << 8),
];

/// Whether FFmpeg's number of a pixel format is one of grey alone.
pub(crate) fn is_grey(format: i32) -> bool {
    FORMATS.iter().any(|(grey, ..)| *grey as i32 == format)
}

/// Gives a grey picture that is said to be of limited range planes of neutral chroma; others stay.
pub(crate) fn add_chroma(mut frame: AvFrame) -> Result<AvFrame, MediaError> {
    let av = frame.get();
    // SAFETY: a field of a valid frame, read as the 32-bit number that C stores.
    let range = unsafe { (&raw const av.color_range).cast::<u32>().read() };
    let found = FORMATS.into_iter().find(|(grey, ..)| *grey as i32 == av.format);
    let Some((_, format, neutral)) = found else { return Ok(frame) };
    let half = |side: i32| usize::try_from(side).unwrap_or(0).div_ceil(2);
    let (width, height) = (half(av.width), half(av.height));
    let is_grey_alone = av.data[1].is_null() && av.buf[1].is_null();
    if range != ffi::AVColorRange::AVCOL_RANGE_MPEG as u32 || !is_grey_alone || width == 0 {
        return Ok(frame);
    }
    let sample = if neutral > 255 { 2 } else { 1 };
    // Rows end where FFmpeg's vector code may read on.
    let stride = (width * sample).next_multiple_of(64);
    let bytes = stride * height + 64;
    // SAFETY: a buffer of that many bytes, all of which are written; the second reference counts it.
    let planes = unsafe {
        let buffer = ffi::av_buffer_alloc(bytes);
        if buffer.is_null() {
            return Err(MediaError::Memory { during: "a frame" });
        }
        let data = std::slice::from_raw_parts_mut((*buffer).data, bytes);
        let neutral = neutral.to_le_bytes();
        data.chunks_exact_mut(sample).for_each(|to| to.copy_from_slice(&neutral[..sample]));
        let again = ffi::av_buffer_ref(buffer);
        if again.is_null() {
            ffi::av_buffer_unref(&mut { buffer });
            return Err(MediaError::Memory { during: "a frame" });
        }
        [buffer, again]
    };
    // SAFETY: a frame that is ours, whose second and third plane are not in use; the buffers become
    // the frame's, and both planes lie in them.
    unsafe {
        let av = &mut *frame.as_mut_ptr();
        for (plane, buffer) in (1..).zip(planes) {
            av.buf[plane] = buffer;
            av.data[plane] = (*buffer).data;
            av.linesize[plane] = stride as i32;
        }
        av.format = format as i32;
    }
    Ok(frame)
}
