//! A look at a group of pictures for half of the work: only those that others are made of.

use super::{Group, KeyScan};
use crate::{Frame, MediaError, codec::Received};

/// A glance is worth it where one picture of so many can be left out.
const WORTH_A_GLANCE: usize = 4;

impl KeyScan {
    /// Decodes the pictures of a group that others are made of, in order, as long as `take` says so of
    /// each. Gives the last picture that is shown, exactly as [`decode`](Self::decode) would, if all
    /// were taken; nothing where it would spare little, or may have gone wrong: fields, damage, open
    /// groups, pictures that need one of the next group.
    ///
    /// # Errors
    /// What `take` says; `memory`, `cancelled`, `timeout`.
    pub fn glance(
        &mut self,
        group: &Group,
        take: &mut dyn FnMut(&Frame) -> Result<bool, MediaError>,
    ) -> Result<Option<Frame>, MediaError> {
        let Some(nal) = self.nal else { return Ok(None) };
        let is_needed: Vec<bool> =
            group.packets.iter().map(|packet| !nal.is_disposable(packet.data())).collect();
        let spared = is_needed.iter().filter(|is_needed| !**is_needed).count();
        if group.is_open
            || group.times.len() < 2
            || group.needs_next
            || WORTH_A_GLANCE * spared < is_needed.len()
        {
            return Ok(None);
        }
        let complaints = self.complaints();
        let packets = group.packets.iter().zip(is_needed);
        let needed = packets.filter_map(|(packet, is_needed)| is_needed.then_some(Some(packet)));
        let mut last = Some(None);
        for packet in needed.chain([None]) {
            self.input.watch().arm();
            self.input.watch().check()?;
            if self.whole.send(packet).is_err() {
                last = None;
            }
            while let Some(found) = &mut last {
                match self.whole.receive()? {
                    Received::Frame(frame) => {
                        self.stats.skipped += 1;
                        let is_fine = !frame.is_corrupt() && frame.get().interlaced_frame == 0;
                        let time = (frame.get().best_effort_timestamp, self.duration(&frame));
                        let frame = Frame::new(frame, time, self.stats.frames, &self.info.video)?;
                        if is_fine && take(&frame)? {
                            *found = Some(frame);
                        } else {
                            last = None;
                        }
                    }
                    Received::NotYet | Received::End => break,
                    Received::Failed(_) => last = None,
                }
            }
            if last.is_none() {
                break;
            }
        }
        self.whole.flush();
        // What there is to be said, decoding all of it says again.
        let said = self.complaints() - complaints;
        self.forgiven += said;
        let shown_last = group.times.last().map(|(pts, _)| *pts);
        Ok(last.flatten().filter(|last| said == 0 && Some(last.pts) == shown_last))
    }
}
