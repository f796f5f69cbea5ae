//! Encodes a span of a file as a clip of its own.
//!
//! For clips that a training loader reads often: every frame of the span and no other, each at its
//! own time, with short ways from key frame to key frame. The pictures are those that the analysis
//! saw: upright, deinterlaced, in square pixels and ordinary range (`render.rs`). Audio is left out.

use std::path::Path;

use curate_schemas::Span;

use crate::{
    Access, ClipForm, CopiedClip, DecodeOptions, Decoder, Encoding, Interlaced, MediaError,
    Segment, Stats,
    clip::{copy_image, in_one_file},
    encode::Encoder,
    input::Input,
    mux::Like,
    packet::Packet,
    probe,
    render::Renderer,
    restart::refuse_restart,
    webp::is_animated,
};

/// Decodes the frames of `span` (ticks of the stream's time base) and encodes them as an MP4 in
/// memory. The same span of the same file always gives the same bytes.
///
/// # Errors
/// `encode`, `filter` and `mux` with their reasons; otherwise those of [`Decoder`].
pub fn transcode_clip(
    path: &Path,
    span: &Span,
    encoding: &Encoding,
    interlaced: Interlaced,
    access: &Access,
) -> Result<CopiedClip, MediaError> {
    let segment = Segment { start: Some(span.start), end: Some(span.end) };
    let options = DecodeOptions {
        threads: 1,
        access: access.clone(),
        interlaced,
        segment: Some(segment),
        ..DecodeOptions::default()
    };
    if !is_animated(path) && Input::open_header(path, access)?.is_still() {
        return copy_image(path);
    }
    let mut decoder = Decoder::open(path, &options)?;
    let base = decoder.time_base();
    if span.time_base != base {
        let other = span.time_base;
        return Err(MediaError::mux(format!("the span counts in {other}, the stream in {base}")));
    }
    if !is_animated(path) {
        let (mut input, _) = probe::open(path, access)?;
        refuse_restart(&mut input, span)?;
    }
    let fps = decoder.info().video.avg_fps;
    let mut packets: Vec<Packet> = Vec::new();
    let mut running: Option<(Renderer, Encoder)> = None;
    let mut frames = 0_u32;
    while let Some(frame) = decoder.next_frame()? {
        if frames == 0 && frame.pts != span.start {
            return Err(MediaError::mux(
                "the first frame of the span is not at its time in the file",
            ));
        }
        let (renderer, encoder, shown) = match running.take() {
            Some((mut renderer, encoder)) => {
                let shown = renderer.render(&frame)?;
                (renderer, encoder, shown)
            }
            None => {
                let mut renderer = Renderer::new(&frame, encoding)?;
                let shown = renderer.render(&frame)?;
                let encoder = Encoder::open(encoding, shown.get(), base, fps)?;
                (renderer, encoder, shown)
            }
        };
        let (_, encoder) = running.insert((renderer, encoder));
        encoder.encode(Some((&shown, frame.pts - span.start)), &mut packets)?;
        frames += 1;
    }
    let Some((_, mut encoder)) = running else {
        return Err(MediaError::mux("no frame lies in the span"));
    };
    encoder.encode(None, &mut packets)?;
    show_until(&mut packets, span.end - span.start);
    let Stats { frames: given, skipped, .. } = decoder.stats();
    let like = Like::Encoder(&encoder);
    let length = Span { start: 0, end: span.end - span.start, time_base: base };
    let bytes = in_one_file(like, packets, &length)?;
    Ok(CopiedClip { bytes, form: ClipForm::Mp4, skip_frames: 0, frames, decoded: given + skipped })
}

/// Has each packet's picture shown until the next one's time, and the last one's until `end`:
/// encoders guess, and where frames come at any time the last one's guess is wrong.
fn show_until(packets: &mut [Packet], end: i64) {
    let mut times: Vec<i64> = packets.iter().filter_map(Packet::time).collect();
    times.sort_unstable();
    for packet in packets {
        if let Some(time) = packet.time() {
            let next = times.partition_point(|other| *other <= time);
            packet.set_duration(times.get(next).copied().unwrap_or(end) - time);
        }
    }
}
