//! A quick look at a stream: its key pictures first, and whole groups of pictures only where somebody
//! asks for them.
//!
//! A key picture is decoded on its own, so most of the stream need not be decoded at all where key
//! pictures show that nothing happened between them. Times of the pictures that were passed over come
//! from their packets. What is in memory are the packets of two groups.
//!
//! Pictures that are shown before a key picture and come after it in the stream (open groups) are
//! decoded with the group before, for which the key picture is fed as well.

use std::path::Path;

use crate::{
    DecodeOptions, Frame, MediaError, Segment, SourceInfo, Stats,
    codec::{Codec, Received},
    frame::AvFrame,
    input::{Input, Read},
    packet::Packet,
    probe,
};

/// Packets of one group may take so many bytes; half an hour of film between two key pictures is
/// nothing to look at quickly.
const MOST_GROUP_BYTES: usize = 256 << 20;

/// A key picture and all packets up to the next one.
pub struct Group {
    /// The key picture, unless it could not be decoded or is not shown.
    pub key: Option<Frame>,
    /// PTS and duration in ticks of the pictures that are shown from this key picture on and before
    /// the next one, in that order.
    pub times: Vec<(i64, i64)>,
    start: i64,
    packets: Vec<Packet>,
}

impl Group {
    /// PTS of the key picture.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.start
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({} pictures from {})", self.times.len(), self.start)
    }
}

/// Reads a stream group by group.
pub struct KeyScan {
    input: Input,
    /// For key pictures, one at a time.
    keys: Codec,
    /// For whole groups.
    whole: Codec,
    info: SourceInfo,
    segment: Segment,
    /// The key packet that the next group begins with.
    next_key: Option<Packet>,
    has_ended: bool,
    usual_duration: i64,
    opening_complaints: u64,
    stats: Stats,
}

impl std::fmt::Debug for KeyScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyScan({})", self.info.video.codec)
    }
}

impl KeyScan {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`Decoder::open`](crate::Decoder::open).
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Self, MediaError> {
        let (mut input, info) = probe::open(path, &options.access)?;
        let one = DecodeOptions { threads: 1, ..options.clone() };
        let keys = Codec::open(&input, info.video.index, &one)?;
        let whole = Codec::open(&input, info.video.index, options)?;
        let segment = options.segment.unwrap_or_default();
        input.complete_times();
        let next_key = match segment.start {
            Some(start) => input.seek_to(start)?,
            None => None,
        };
        let time_base = info.video.time_base;
        let usual_duration = info.video.avg_fps.map_or(1, |fps| time_base.ticks(1.0 / fps)).max(1);
        Ok(Self {
            opening_complaints: input.complaints(),
            input,
            keys,
            whole,
            info,
            segment,
            next_key,
            has_ended: false,
            usual_duration,
            stats: Stats::default(),
        })
    }

    /// What the file is.
    #[must_use]
    pub fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// What it came to so far: `frames` were given out, `skipped` decoded beside them.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let complaints = self.keys.complaints() + self.whole.complaints();
        Stats { complaints, ..self.stats.clone() }
    }

    /// The next group, with its key picture decoded.
    ///
    /// # Errors
    /// `decode` where packets lack times or a group is enormous; `timeout`, `cancelled`, `memory`.
    pub fn next_group(&mut self) -> Result<Option<Group>, MediaError> {
        self.input.watch().arm();
        if self.has_ended {
            return Ok(None);
        }
        let mut packets: Vec<Packet> = Vec::new();
        let mut bytes = 0;
        packets.extend(self.next_key.take());
        loop {
            let mut packet = Packet::new()?;
            match self.input.read(&mut packet)? {
                Read::Packet => {}
                Read::End => {
                    self.end(None);
                    break;
                }
                Read::Failed(reason) => {
                    self.end(Some(reason));
                    break;
                }
            }
            if packet.is_empty() {
                continue;
            }
            let is_next = packet.is_key() && !packet.is_hidden();
            if is_next
                && let (Some(end), Some(pts)) = (self.segment.end, packet.time())
                && pts >= end
            {
                self.end(None);
                break;
            }
            if is_next && !packets.is_empty() {
                self.next_key = Some(packet);
                break;
            }
            bytes += packet.data().len();
            if bytes > MOST_GROUP_BYTES {
                return Err(refuse("hundreds of megabytes lie between two of its key frames"));
            }
            packets.push(packet);
        }
        if packets.is_empty() {
            return Ok(None);
        }
        self.group(packets).map(Some)
    }

    fn end(&mut self, failure: Option<String>) {
        self.has_ended = true;
        let complained = self.input.complaints() > self.opening_complaints;
        let failure =
            failure.or_else(|| complained.then(|| self.input.last_complaint().unwrap_or_default()));
        if let Some(reason) = failure {
            self.stats.errors += 1;
            self.stats.first_error.get_or_insert(reason);
        }
    }

    fn group(&mut self, packets: Vec<Packet>) -> Result<Group, MediaError> {
        let mut times = Vec::with_capacity(packets.len());
        for packet in packets.iter().filter(|packet| !packet.is_hidden()) {
            let time = packet.time().ok_or_else(|| refuse("its packets have no times"))?;
            let duration =
                if packet.duration() > 0 { packet.duration() } else { self.usual_duration };
            times.push((time, duration));
        }
        times.sort_unstable();
        let start = packets[0].time().ok_or_else(|| refuse("its packets have no times"))?;
        let key = if packets[0].is_key() { self.key(&packets[0])? } else { None };
        Ok(Group { key, times, start, packets })
    }

    /// Decodes one key picture.
    fn key(&mut self, packet: &Packet) -> Result<Option<Frame>, MediaError> {
        if self.keys.send(Some(packet)).is_err() {
            return Ok(None);
        }
        self.keys.send(None).ok();
        let mut found = None;
        loop {
            match self.keys.receive()? {
                Received::Frame(frame) => found = Some(frame),
                Received::NotYet | Received::End => break,
                Received::Failed(_) => {}
            }
        }
        self.keys.flush();
        let Some(frame) = found else { return Ok(None) };
        self.stats.frames += 1;
        let time = (packet.time().unwrap_or_default(), self.duration(&frame));
        Ok(Some(Frame::new(frame, time, self.stats.frames - 1, &self.info.video)))
    }

    fn duration(&self, frame: &AvFrame) -> i64 {
        let stated = frame.get().pkt_duration;
        if stated > 0 { stated } else { self.usual_duration }
    }

    /// Decodes all pictures that are shown from the group's key picture on and before `next`, the
    /// group after it, and hands them to `take` in order.
    ///
    /// # Errors
    /// What `take` says; `memory`. Damage is counted.
    pub fn decode<E: From<MediaError>>(
        &mut self,
        group: &Group,
        next: Option<&Group>,
        take: &mut dyn FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = next.map(|next| next.start);
        // The next key picture and those that are shown before it.
        let beyond = next.into_iter().flat_map(|next| {
            let is_leading = |packet: &&Packet| packet.time().is_some_and(|time| time < next.start);
            let leading = next.packets.iter().skip(1).filter(is_leading);
            let has_any = leading.clone().next().is_some();
            next.packets.iter().take(usize::from(has_any)).chain(leading)
        });
        for packet in group.packets.iter().chain(beyond) {
            self.input.watch().arm();
            self.input.watch().check()?;
            if let Err(reason) = self.whole.send(Some(packet)) {
                self.count(reason);
            }
            self.receive(group.start, end, take)?;
        }
        self.whole.send(None).ok();
        self.receive(group.start, end, take)?;
        self.whole.flush();
        Ok(())
    }

    fn receive<E: From<MediaError>>(
        &mut self,
        start: i64,
        end: Option<i64>,
        take: &mut dyn FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            match self.whole.receive()? {
                Received::Frame(frame) => {
                    let pts = frame.get().best_effort_timestamp;
                    if pts < start || end.is_some_and(|end| pts >= end) {
                        self.stats.skipped += 1;
                        continue;
                    }
                    self.stats.frames += 1;
                    let time = (pts, self.duration(&frame));
                    let index = self.stats.frames - 1;
                    take(Frame::new(frame, time, index, &self.info.video))?;
                }
                Received::NotYet | Received::End => return Ok(()),
                Received::Failed(reason) => self.count(reason),
            }
        }
    }

    fn count(&mut self, reason: String) {
        self.stats.errors += 1;
        self.stats.first_error.get_or_insert(reason);
    }
}

fn refuse(reason: &str) -> MediaError {
    MediaError::Decode {
        during: "looking at key frames only",
        reason: format!("{reason}: use scan = \"full\""),
    }
}
