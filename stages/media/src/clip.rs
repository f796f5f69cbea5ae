//! Cuts a span out of a file without re-encoding.
//!
//! A frame depends on frames before it, so a clip holds the packets from the last key packet at
//! or before the span to the last packet of the span, and must tell a reader which of them to
//! show. MP4 can say so with an edit list, which everything built on FFmpeg obeys; it is used
//! wherever it can hold the codec. VP8, which it cannot, has a "do not show" bit in every frame;
//! it is set in the packets before the span. For the few codecs left, [`CopiedClip::skip_frames`]
//! says how many frames to pass over. Matroska counts in milliseconds, MP4 in the source's ticks.
//!
//! One reader falls short: FFmpeg before 7 shows the hidden frames of AV1 (at negative times)
//! unless its caller drops them, as this crate's decoder does.
//!
//! Times are made in `place.rs`. What cannot be cut truly (missing or repeated
//! times, frames the source itself hides, a change of configuration) is an error with its reason,
//! never a wrong clip.

use std::path::Path;

use curate_schemas::Span;
use ffmpeg_next::ffi;

use crate::{
    Access, MediaError, SourceInfo,
    input::{Input, Read},
    mp4,
    mux::{self, Like, Plan},
    nal::extradata,
    packet::Packet,
    place::{hide_before, in_units_of_a_second, is_invisible_vp8, order},
    probe,
    restart::refuse_restart,
    shown::refuse_false_times,
    webp,
};

/// The container of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClipForm {
    /// MP4 with an edit list that shows exactly the span.
    Mp4,
    /// Matroska; see [`CopiedClip::skip_frames`].
    Matroska,
    /// A still picture's file, as it is.
    Image,
}

impl ClipForm {
    /// The usual ending of such a file's name, without the dot; an image keeps its own.
    #[must_use]
    pub const fn extension(self) -> Option<&'static str> {
        match self {
            Self::Mp4 => Some("mp4"),
            Self::Matroska => Some("mkv"),
            Self::Image => None,
        }
    }
}

/// A span as a file of its own. Its time begins at 0, with the span's first frame in MP4 and VP8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedClip {
    /// The file. The same span of the same source always gives the same bytes.
    pub bytes: Vec<u8>,
    /// Its container.
    pub form: ClipForm,
    /// Frames before the span that a reader sees which does not obey edit lists; 0 if none.
    pub skip_frames: u32,
    /// Frames of the span. In a copy they are counted as packets: it shows fewer where a packet is
    /// damaged or says that nothing has changed; see [`shown_frames`](crate::shown_frames).
    pub frames: u32,
    /// Frames that were decoded for it, those that only led up to it among them; 0 for most copies.
    pub decoded: u64,
}

/// After this many packets in a row past the span, none of it can follow: codecs reorder over 16
/// frames at most, which are up to 32 packets where fields are coded apart.
pub(crate) const PACKETS_PAST_THE_SPAN: usize = 40;

/// Copies the video packets of `span` (ticks of the stream's time base) into a file in memory.
/// Audio is left out. For many spans of the same files there is [`Copier`](crate::Copier).
///
/// # Errors
/// `mux` with the reason if the packets cannot be written so that exactly the span is shown;
/// otherwise those of [`probe`](crate::probe()).
pub fn copy_clip(path: &Path, span: &Span, access: &Access) -> Result<CopiedClip, MediaError> {
    match open_to_copy(path, access)? {
        Some((mut input, info)) => cut(&mut input, &info, span),
        None => copy_image(path),
    }
}

/// Opens a file for [`cut`]; `None` for still pictures.
pub(crate) fn open_to_copy(
    path: &Path,
    access: &Access,
) -> Result<Option<(Input, SourceInfo)>, MediaError> {
    if webp::is_animated(path) {
        return Err(MediaError::mux("an animated WebP cannot be copied: use form = \"transcode\""));
    }
    let header = Input::open_header(path, access)?;
    if header.is_still() {
        return Ok(None);
    }
    let (mut input, info) = probe::look(header, access)?;
    refuse_codec(input.parameters(info.video.index).codec_id)?;
    input.complete_times();
    Ok(Some((input, info)))
}

/// Copies the packets of `span`, wherever in the file `input` is.
pub(crate) fn cut(
    input: &mut Input,
    info: &SourceInfo,
    span: &Span,
) -> Result<CopiedClip, MediaError> {
    let base = info.video.time_base;
    if span.time_base != base {
        let other = span.time_base;
        return Err(MediaError::mux(format!("the span counts in {other}, the stream in {base}")));
    }
    if span.end <= span.start {
        return Err(MediaError::mux("the span is empty"));
    }
    if !input.has_entries() {
        return Err(MediaError::mux(
            "decoding may only begin where the file does; form = \"transcode\" does that",
        ));
    }
    refuse_restart(input, span)?;
    let packets = collect(input, span)?;
    let stream = info.video.index;
    let codec = input.parameters(stream).codec_id;
    let is_vp8 = codec == ffi::AVCodecID::AV_CODEC_ID_VP8;
    let configuration = configuration(&packets, extradata(input.parameters(stream)))?;
    let form = form_for(codec);

    // Without presentation times there is only the order of the packets, which is the frames' own
    // where the codec does not reorder.
    let is_reordered = input.parameters(stream).video_delay > 0
        || packets.windows(2).any(|pair| pair[1].time() < pair[0].time());
    if is_reordered && packets.iter().any(|packet| packet.pts().is_none()) {
        return Err(MediaError::mux(
            "the file does not say when its pictures are shown; form = \"transcode\" does without",
        ));
    }

    // A copy of such a file into MP4 calls decode times presentation times. Only frames tell.
    let is_in_order = packets.windows(2).all(|pair| pair[0].time() < pair[1].time());
    let decoded = if is_reordered && packets.len() > 1 && is_in_order {
        refuse_false_times(input, info, &packets)?
    } else {
        0
    };

    let is_shown = |packet: &Packet| {
        packet.time().is_some_and(|pts| span.contains(pts)) && !(is_vp8 && is_invisible_vp8(packet))
    };
    let frames = packets.iter().filter(|packet| is_shown(packet)).count() as u32;
    // Of a decoder that begins there, the first pictures are not whole, and some are missing.
    if packets.first().is_some_and(|first| input.is_refresh(first)) {
        return Err(MediaError::mux(
            "its pictures are renewed bit by bit (intra refresh), and none to begin with is near; \
             form = \"transcode\" does without",
        ));
    }
    let before = packets.iter().filter(|packet| packet.time() < Some(span.start)).count() as u32;
    let (packets, time_base) = if is_vp8 {
        (hide_before(packets, span)?, base)
    } else if form == ClipForm::Mp4 {
        in_units_of_a_second(order(packets, span, span.start)?, base)?
    } else {
        let first = packets.iter().filter_map(Packet::time).min().unwrap_or(span.start);
        let mut placed = order(packets, span, first)?;
        let early = placed.first().map_or(0, |first| first.dts.min(0));
        for packet in &mut placed {
            packet.pts -= early;
            packet.dts -= early;
        }
        (placed, base)
    };
    let plan = Plan {
        like: Like::Input(input, stream),
        format: if form == ClipForm::Mp4 { c"mp4" } else { c"matroska" },
        time_base,
        configuration: configuration.as_deref(),
    };
    let mut bytes = mux::write(&plan, packets).map_err(|error| match error {
        MediaError::Mux { reason } => {
            let reason = reason.trim().replace('\n', " ");
            MediaError::mux(format!("{reason}; form = \"transcode\" does without"))
        }
        error => error,
    })?;
    if form == ClipForm::Mp4 {
        let length = (span.end - span.start).unsigned_abs() * u64::from(base.num.unsigned_abs());
        mp4::shorten_edit(&mut bytes, length)?;
    }
    Ok(CopiedClip { bytes, form, skip_frames: if is_vp8 { 0 } else { before }, frames, decoded })
}

/// A still picture is a clip as it is.
pub(crate) fn copy_image(path: &Path) -> Result<CopiedClip, MediaError> {
    let io = |source| MediaError::Io { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(io)?;
    Ok(CopiedClip { bytes, form: ClipForm::Image, skip_frames: 0, frames: 1, decoded: 0 })
}

/// Writes all packets of an encoder, in decode order and with times from 0 on, as an MP4 that
/// shows `span` of them.
pub(crate) fn in_one_file(
    like: Like<'_>,
    packets: Vec<Packet>,
    span: &Span,
) -> Result<Vec<u8>, MediaError> {
    let base = span.time_base;
    let (packets, time_base) = in_units_of_a_second(order(packets, span, span.start)?, base)?;
    let plan = Plan { like, format: c"mp4", time_base, configuration: None };
    let mut bytes = mux::write(&plan, packets)?;
    let length = (span.end - span.start).unsigned_abs() * u64::from(base.num.unsigned_abs());
    mp4::shorten_edit(&mut bytes, length)?;
    Ok(bytes)
}

/// Refuses codecs of which a copy shows other frames.
fn refuse_codec(codec: ffi::AVCodecID) -> Result<(), MediaError> {
    use ffi::AVCodecID as C;
    let reason = match codec {
        C::AV_CODEC_ID_GIF => "readers of Matroska take several pictures of a GIF for one",
        C::AV_CODEC_ID_MPEG1VIDEO => {
            "readers of MP4 and Matroska divide MPEG-1 into packets anew, and hide other frames"
        }
        C::AV_CODEC_ID_QTRLE | C::AV_CODEC_ID_SMC => {
            "neither MP4 nor Matroska holds what its codec needs (depth, palette)"
        }
        _ => return Ok(()),
    };
    Err(MediaError::mux(format!("{reason}: use form = \"transcode\"")))
}

/// MP4 wherever it can hold the codec.
fn form_for(codec: ffi::AVCodecID) -> ClipForm {
    // SAFETY: lookups in FFmpeg's constant tables; an unknown name gives null.
    let fits = unsafe {
        let mp4 = ffi::av_guess_format(c"mp4".as_ptr(), std::ptr::null(), std::ptr::null());
        !mp4.is_null() && ffi::avformat_query_codec(mp4, codec, ffi::FF_COMPLIANCE_NORMAL) == 1
    };
    if fits { ClipForm::Mp4 } else { ClipForm::Matroska }
}

/// The packets from the key packet at or before the span to its last one, in decode order.
pub(crate) fn collect(input: &mut Input, span: &Span) -> Result<Vec<Packet>, MediaError> {
    let mut next = input.seek_before(span.start)?;
    let mut packets: Vec<Packet> = Vec::new();
    let mut needed = 0; // packets up to the newest one of the span
    loop {
        let packet = match next.take() {
            Some(packet) => packet,
            None => {
                let mut packet = Packet::new()?;
                match input.read(&mut packet)? {
                    Read::Packet => packet,
                    // A damaged end: what could be decoded could also be copied.
                    Read::End | Read::Failed(_) => break,
                }
            }
        };
        if packet.is_empty() {
            continue;
        }
        let Some(time) = packet.time() else {
            return Err(MediaError::mux(
                "a packet has neither presentation nor decode time; form = \"transcode\" does without",
            ));
        };
        if packet.is_key() && time <= span.start {
            packets.clear();
            needed = 0;
        } else if packets.is_empty() {
            continue; // before the first key packet
        }
        packets.push(packet);
        if span.contains(time) {
            needed = packets.len();
        } else if time >= span.end && packets.len() - needed > PACKETS_PAST_THE_SPAN {
            break;
        }
        // Packets that only lead up to the span count as needed until it ends.
        if time < span.end {
            needed = packets.len();
        }
    }
    packets.truncate(needed);
    if !packets.iter().any(|packet| packet.time().is_some_and(|time| span.contains(time))) {
        return Err(MediaError::mux(
            "its packets lie outside of what the file shows; form = \"transcode\" does without",
        ));
    }
    if packets
        .iter()
        .any(|packet| packet.is_hidden() && packet.time().is_some_and(|time| span.contains(time)))
    {
        return Err(MediaError::mux("the source's edit list hides frames inside the span"));
    }
    Ok(packets)
}

/// The decoder configuration that the packets bring along, if it is not the stream's.
fn configuration(packets: &[Packet], usual: &[u8]) -> Result<Option<Vec<u8>>, MediaError> {
    let mut changed: Option<Vec<u8>> = None;
    for (index, packet) in packets.iter().enumerate() {
        let Some(new) = packet.new_configuration() else { continue };
        if new == changed.as_deref().unwrap_or(usual) {
            continue;
        }
        if index > 0 {
            return Err(MediaError::mux("the codec's configuration changes inside the span"));
        }
        changed = Some(new.to_vec());
    }
    Ok(changed)
}
