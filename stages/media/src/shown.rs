//! How many frames a copied clip shows, and whether at their times.
//!
//! A packet is a frame nearly always, so copies are not decoded. Where there are more packets than
//! frames were seen, only a decoder knows: some packets say that nothing has changed (MPEG-4 in AVI
//! has them behind packets of two frames), damaged ones give a frame or none, depending on where
//! decoding began.

use std::path::Path;

use curate_schemas::Span;
use ffmpeg_next::ffi;

use crate::{
    Access, DecodeOptions, MediaError, SourceInfo,
    clip::collect,
    codec::{Codec, Received},
    input::Input,
    packet::Packet,
    probe,
};

/// What decoding a copy's packets came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Frames that a reader of the copy sees.
    pub frames: u32,
    /// Frames that were decoded, those that only lead up to them among them.
    pub decoded: u64,
}

/// Counts the frames that readers of the copy of `span` (ticks of the stream's time base) see, by
/// decoding its packets from its first key packet on.
///
/// # Errors
/// Those of [`copy_clip`](crate::copy_clip), and of starting the decoder. Damage is no error.
pub fn shown_frames(path: &Path, span: &Span, access: &Access) -> Result<Shown, MediaError> {
    let (mut input, info) = probe::open(path, access)?;
    input.complete_times();
    let packets = collect(&mut input, span)?;
    let times = frame_times(&input, &info, &packets)?;
    let frames = times.iter().filter(|time| span.contains(**time)).count() as u32;
    Ok(Shown { frames, decoded: times.len() as u64 })
}

/// Refuses packets of which a decoder makes frames whose times go back: those times are not when the
/// pictures are shown.
///
/// Gives how many frames that took.
pub(crate) fn refuse_false_times(
    input: &Input,
    info: &SourceInfo,
    packets: &[Packet],
) -> Result<u64, MediaError> {
    let times = frame_times(input, info, packets)?;
    if times.windows(2).any(|pair| pair[1] < pair[0]) {
        return Err(MediaError::mux(
            "the times in the file are not those at which its pictures are shown; \
             form = \"transcode\" does without",
        ));
    }
    Ok(times.len() as u64)
}

/// The times of the frames that come of packets, in the order in which they are shown.
fn frame_times(
    input: &Input,
    info: &SourceInfo,
    packets: &[Packet],
) -> Result<Vec<i64>, MediaError> {
    let options = DecodeOptions { threads: 1, ..DecodeOptions::default() };
    let mut codec = Codec::open(input, info.video.index, &options)?;
    let mut times = Vec::new();
    for packet in packets.iter().map(Some).chain([None::<&Packet>]) {
        input.watch().check()?;
        // A packet that is refused is damage.
        codec.send(packet).ok();
        loop {
            match codec.receive()? {
                Received::Frame(frame) => {
                    let frame = frame.get();
                    let stated = frame.pts != ffi::AV_NOPTS_VALUE;
                    times.push(if stated { frame.pts } else { frame.best_effort_timestamp });
                }
                Received::Failed(_) => {}
                Received::NotYet | Received::End => break,
            }
        }
    }
    Ok(times)
}
