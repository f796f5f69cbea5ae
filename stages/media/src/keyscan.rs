//! A quick look at a stream: its key pictures first, and whole groups of pictures only where somebody
//! asks for them.
//!
//! A key picture is decoded on its own, so most of the stream need not be decoded at all where key
//! pictures show that nothing happened between them. Times of the pictures that were passed over come
//! from their packets; a stream whose packets lack them is refused. What is in memory are the packets
//! of two groups.
//!
//! Pictures that are shown before a key picture and come after it in the stream (open groups) belong
//! to the group before, and are decoded with it and with that key picture.

mod glance;

use std::path::Path;

use crate::{
    DecodeOptions, Frame, Interlaced, MediaError, Segment, SourceInfo, Stats,
    codec::{Codec, Received},
    fields::Fields,
    frame::AvFrame,
    input::{Input, Read},
    nal::{Nal, Picture},
    packet::Packet,
    probe,
};

/// Packets of one group may take so many bytes; half an hour of film between two key pictures is
/// nothing to look at quickly.
const MOST_GROUP_BYTES: usize = 256 << 20;

/// A key picture and what is shown from it on and before the next one.
pub struct Group {
    /// The key picture, unless it could not be decoded or is not shown.
    pub key: Option<Frame>,
    /// PTS and duration in ticks of all its pictures, the key picture among them, in order.
    pub times: Vec<(i64, i64)>,
    /// PTS of the key picture, and of the next one.
    start: i64,
    end: Option<i64>,
    /// What must be decoded for it.
    packets: Vec<Packet>,
    /// Whether the stream may still speak of what came before the key picture.
    is_open: bool,
    /// Whether some of its pictures are made with the help of the next key picture.
    needs_next: bool,
}

impl Group {
    /// Whether the stream may still speak of what came before the key picture.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
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
    /// Key packet that the next group begins with.
    next_key: Option<Packet>,
    /// The packet that was read after it.
    ahead: Option<Packet>,
    has_ended: bool,
    /// Whether pictures are shown in another order than they are decoded in.
    is_reordered: bool,
    nal: Option<Nal>,
    interlaced: Interlaced,
    opening_complaints: u64,
    /// What the decoder said of groups whose beginning it was not shown.
    forgiven: u64,
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
        let (mut input, info) = probe::open_to_decode(path, options)?;
        let whole = options.limits(info.kind);
        let one = DecodeOptions { threads: 1, ..whole.clone() };
        let keys = Codec::open(&input, info.video.index, &one)?;
        let whole = Codec::open(&input, info.video.index, &whole)?;
        let segment = options.segment.unwrap_or_default();
        input.complete_times();
        let next_key = match segment.start {
            Some(start) => input.seek_to(start)?,
            None => None,
        };
        Ok(Self {
            opening_complaints: input.complaints(),
            nal: Nal::new(input.parameters(info.video.index)),
            is_reordered: input.parameters(info.video.index).video_delay > 0,
            input,
            keys,
            whole,
            info,
            segment,
            next_key,
            ahead: None,
            has_ended: false,
            interlaced: options.interlaced,
            forgiven: 0,
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
        let complaints = self.stats.complaints + self.complaints() - self.forgiven;
        Stats { complaints, ..self.stats.clone() }
    }

    fn complaints(&self) -> u64 {
        self.keys.complaints() + self.whole.complaints()
    }

    /// The next group, with its key picture decoded.
    ///
    /// # Errors
    /// `decode` where packets lack times, key packets hold no whole pictures, or a group is enormous;
    /// `interlaced` where that is refused;
    /// `timeout`, `cancelled`, `memory`.
    pub fn next_group(&mut self) -> Result<Option<Group>, MediaError> {
        self.input.watch().arm();
        let mut packets: Vec<Packet> = self.next_key.take().into_iter().collect();
        let mut bytes = 0;
        let mut end = None;
        while let Some(packet) = self.read()? {
            if packet.is_key() && !packet.is_hidden() && !packets.is_empty() {
                let (start, next) = (self.time(&packets[0])?, self.time(&packet)?);
                if next <= start {
                    let after_s = self.info.video.time_base.seconds(start);
                    let is_joined = self.input.may_restart();
                    return Err(MediaError::Times { after_s, is_joined });
                }
                end = Some(next);
                self.leading(packet, &mut packets)?;
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
        if !self.input.has_entries() || self.input.is_refresh(&packets[0]) {
            return Err(refuse("it has no key frames that are whole pictures"));
        }
        self.group(packets, end).map(Some)
    }

    /// Adds the packets after a key packet whose pictures are shown before it, and the key packet,
    /// which they need, before them.
    fn leading(&mut self, key: Packet, packets: &mut Vec<Packet>) -> Result<(), MediaError> {
        let start = self.time(&key)?;
        let mut is_open = false;
        while let Some(packet) = self.read()? {
            if self.time(&packet)? >= start {
                self.ahead = Some(packet);
                break;
            }
            if !is_open {
                packets.push(key.reference()?);
                is_open = true;
            }
            packets.push(packet);
        }
        if self.segment.end.is_some_and(|end| start >= end) {
            self.has_ended = true;
            self.ahead = None;
        } else {
            self.next_key = Some(key);
        }
        Ok(())
    }

    /// The next packet with data; `None` at the end, whatever ended it.
    fn read(&mut self) -> Result<Option<Packet>, MediaError> {
        if let Some(packet) = self.ahead.take() {
            return Ok(Some(packet));
        }
        while !self.has_ended {
            let mut packet = Packet::new()?;
            let stopped = match self.input.read(&mut packet)? {
                Read::Packet if packet.is_empty() => continue,
                Read::Packet => return Ok(Some(packet)),
                Read::End => None,
                Read::Failed(reason) => Some(reason),
            };
            self.has_ended = true;
            if let Some(reason) = self.input.failure(stopped, self.opening_complaints) {
                self.count(reason);
            }
        }
        Ok(None)
    }

    /// When a packet's picture is shown.
    fn time(&self, packet: &Packet) -> Result<i64, MediaError> {
        let time = if self.is_reordered { packet.pts() } else { packet.time() };
        time.ok_or_else(|| refuse("its packets do not say when their pictures are shown"))
    }

    fn group(&mut self, packets: Vec<Packet>, end: Option<i64>) -> Result<Group, MediaError> {
        let start = self.time(&packets[0])?;
        let mut times = Vec::with_capacity(packets.len());
        for packet in packets.iter().filter(|packet| !packet.is_hidden()) {
            let time = self.time(packet)?;
            // The next key picture is there for others only, and what is shown before this one was
            // part of the group before, or cannot be decoded.
            if time >= start && end.is_none_or(|end| time < end) {
                let stated = packet.duration();
                let usual = self.info.video.usual_duration();
                times.push((time, if stated > 0 { stated } else { usual }));
            }
        }
        times.sort_unstable();
        let closed = self.nal.map(|nal| nal.picture(packets[0].data()) == Picture::Closed);
        let is_open = closed == Some(false);
        let complaints = self.complaints();
        let key = if packets[0].is_key() { self.key(&packets[0])? } else { None };
        if is_open {
            self.forgiven += self.complaints() - complaints;
        }
        let needs_next = packets.iter().skip(1).any(Packet::is_key);
        Ok(Group { key, times, start, end, packets, is_open, needs_next })
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
        let frame = self.give(frame, self.time(packet)?)?;
        let mut fields = Fields::new(self.interlaced);
        fields.push(frame)?;
        fields.end()?;
        Ok(fields.next())
    }

    /// A decoded frame as it goes out, and counted.
    fn give(&mut self, frame: AvFrame, pts: i64) -> Result<Frame, MediaError> {
        // Some decoders mark a picture and write nothing to the log.
        self.stats.complaints += u64::from(frame.is_corrupt());
        let (time, index) = ((pts, self.duration(&frame)), self.stats.frames);
        self.stats.frames += 1;
        Frame::new(frame, time, index, &self.info.video)
    }

    fn duration(&self, frame: &AvFrame) -> i64 {
        let stated = frame.get().pkt_duration;
        if stated > 0 { stated } else { self.info.video.usual_duration() }
    }

    /// Decodes all pictures of a group and hands them to `take` in order.
    ///
    /// # Errors
    /// What `take` says; `memory`, `cancelled`, `filter`. Damage is counted.
    pub fn decode(
        &mut self,
        group: &Group,
        take: &mut dyn FnMut(Frame) -> Result<(), MediaError>,
    ) -> Result<(), MediaError> {
        let complaints = self.complaints();
        let mut fields = Fields::new(self.interlaced);
        for packet in &group.packets {
            self.input.watch().arm();
            self.input.watch().check()?;
            if let Err(reason) = self.whole.send(Some(packet)) {
                self.count(reason);
            }
            self.receive(group, &mut fields, take)?;
        }
        self.whole.send(None).ok();
        self.receive(group, &mut fields, take)?;
        self.whole.flush();
        // It asks for pictures that were not decoded, if only to forget them.
        if group.is_open {
            self.forgiven += self.complaints() - complaints;
        }
        fields.end()?;
        while let Some(frame) = fields.next() {
            take(frame)?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        group: &Group,
        fields: &mut Fields,
        take: &mut dyn FnMut(Frame) -> Result<(), MediaError>,
    ) -> Result<(), MediaError> {
        loop {
            match self.whole.receive()? {
                Received::Frame(frame) => {
                    let pts = frame.get().best_effort_timestamp;
                    if pts < group.start || group.end.is_some_and(|end| pts >= end) {
                        self.stats.skipped += 1;
                        continue;
                    }
                    fields.push(self.give(frame, pts)?)?;
                    while let Some(frame) = fields.next() {
                        take(frame)?;
                    }
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
