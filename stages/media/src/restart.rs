//! Whether the times of a span are those of one place in the file.
//!
//! Recordings that were put behind each other may overlap in time by less than what the decoder takes
//! for inexact times. Then a span is in the file twice, and a seek may end at the other place.

use curate_schemas::Span;

use crate::{
    MediaError,
    clip::PACKETS_PAST_THE_SPAN,
    input::{Input, Read},
    packet::Packet,
    stream::JITTER_S,
};

/// Refuses a span (ticks of the stream's time base) of which a part comes again: reads the packets
/// around it, where the container is one in which times may go back.
pub(crate) fn refuse_restart(input: &mut Input, span: &Span) -> Result<(), MediaError> {
    if !input.may_restart() {
        return Ok(());
    }
    let jitter = span.time_base.ticks(JITTER_S);
    let mut next = input.seek_before(span.start.saturating_sub(jitter))?;
    let (mut decoded, mut shown) = (None, i64::MIN);
    let mut past = 0;
    while past <= PACKETS_PAST_THE_SPAN {
        let packet = match next.take() {
            Some(packet) => packet,
            None => {
                let mut packet = Packet::new()?;
                let Read::Packet = input.read(&mut packet)? else { break };
                packet
            }
        };
        let (Some(dts), Some(time)) = (packet.dts(), packet.time()) else { continue };
        // What comes again is what lies between the new time and the latest one.
        let goes_back = decoded.is_some_and(|decoded| dts < decoded);
        if goes_back && time < span.end && shown >= span.start {
            return Err(MediaError::Times {
                after_s: span.time_base.seconds(shown),
                is_joined: true,
            });
        }
        decoded = Some(dts);
        shown = shown.max(time);
        past = if time > span.end.saturating_add(jitter) { past + 1 } else { 0 };
    }
    Ok(())
}
