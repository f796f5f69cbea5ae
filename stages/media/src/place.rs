//! When the packets of a clip are decoded and shown.
//!
//! Decode times are made anew from presentation times: they only have to be in order, and those of a
//! demuxer depend on where it was entered.

use curate_schemas::{Span, TimeBase};

use crate::{MediaError, mux::Placed, packet::Packet};

/// Gives the packets times from `zero` on, with decode times made from the presentation times.
pub(crate) fn order(
    packets: Vec<Packet>,
    span: &Span,
    zero: i64,
) -> Result<Vec<Placed>, MediaError> {
    let mut times = Vec::with_capacity(packets.len());
    for packet in &packets {
        times.push(packet.time().unwrap_or(zero) - zero);
    }
    let mut sorted = times.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(MediaError::mux(
            "two packets have the same presentation time; form = \"transcode\" does without",
        ));
    }
    // In order, and so early that no frame is shown before it is decoded.
    let early = times.iter().zip(&sorted).map(|(pts, dts)| dts - pts).max().unwrap_or(0);
    let step = |index: usize| sorted.get(index + 1).map(|next| next - sorted[index]);
    let usual = step(sorted.len().saturating_sub(2)).unwrap_or(span.end - span.start);
    Ok(packets
        .into_iter()
        .enumerate()
        .map(|(index, packet)| {
            let duration = match packet.duration() {
                0 => step(index).unwrap_or(usual),
                known => known,
            };
            Placed { pts: times[index], dts: sorted[index] - early, duration, packet }
        })
        .collect())
}

/// MP4 counts in whole fractions of a second: a tick of `num/den` seconds becomes `num` ticks.
pub(crate) fn in_units_of_a_second(
    mut packets: Vec<Placed>,
    base: TimeBase,
) -> Result<(Vec<Placed>, TimeBase), MediaError> {
    let num = i64::from(base.num);
    let too_large = || MediaError::mux("times too large for MP4");
    let scale = |time: &mut i64| {
        *time = time.checked_mul(num).ok_or_else(too_large)?;
        Ok::<_, MediaError>(())
    };
    for packet in &mut packets {
        scale(&mut packet.pts)?;
        scale(&mut packet.dts)?;
        scale(&mut packet.duration)?;
    }
    if packets.windows(2).any(|pair| pair[1].dts - pair[0].dts >= i64::from(i32::MAX))
        || packets.iter().any(|packet| packet.pts - packet.dts >= i64::from(i32::MAX))
    {
        return Err(MediaError::mux("a gap between frames is too long for MP4"));
    }
    Ok((packets, TimeBase { num: 1, den: base.den }))
}

/// The frame tag's fifth bit says whether a VP8 frame is shown.
const VP8_SHOWN: u8 = 0x10;

pub(crate) fn is_invisible_vp8(packet: &Packet) -> bool {
    packet.data().first().is_some_and(|tag| tag & VP8_SHOWN == 0)
}

/// Marks the VP8 packets before the span as not shown and moves them to time 0.
pub(crate) fn hide_before(packets: Vec<Packet>, span: &Span) -> Result<Vec<Placed>, MediaError> {
    let mut newest = 0;
    let mut placed = Vec::with_capacity(packets.len());
    for mut packet in packets {
        let time = packet.time().unwrap_or(span.start) - span.start;
        let duration = if time < 0 { 0 } else { packet.duration() };
        if time < 0
            && let Some(tag) = packet.data_mut()?.first_mut()
        {
            *tag &= !VP8_SHOWN;
        }
        newest = time.max(newest);
        placed.push(Placed { packet, pts: newest, dts: newest, duration });
    }
    Ok(placed)
}
