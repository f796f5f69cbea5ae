//! Packets in, frames out, by FFmpeg.
//!
//! The loop gives the frames that the `ffmpeg` program of the same version would: it feeds one
//! packet, takes frames until there are no more, counts a packet that fails and goes on, and at
//! the end drains what frame threads still hold. Damage is therefore not an error but a number in
//! [`Stats`]; an error means that going on is pointless.
//!
//! One deviation: frames that the container hides (the run-up before an MP4 edit) are hidden with
//! every codec. FFmpeg before 7 forgets to with the AV1 decoder, which would show a clip's run-up.
//!
//! A [`Segment`] is decoded from the key packet at or before its start to the first packet that
//! belongs to the next one, so the segments of a file can be decoded on different machines and
//! still give every frame exactly once.

use std::{collections::BTreeSet, path::Path};

use ffmpeg_next::ffi;

use crate::{
    DecodeOptions, Frame, MediaError, Segment, SourceInfo, SourceKind, Stats,
    codec::{Codec, Received},
    error::describe,
    frame::AvFrame,
    input::{Input, Read},
    packet::Packet,
    probe, tail,
};

/// Times that go back by no more seconds are inexact; beyond that another recording begins.
pub(crate) const JITTER_S: f64 = 1.0;

/// Codecs reorder over 16 frames at most, which are up to 32 packets where fields are coded apart.
const MOST_REORDERED: i64 = 32;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Feed the decoder a packet.
    Read,
    /// Take frames until there are none.
    Receive,
    /// No more packets: take what is left.
    Drain,
    Done,
}

/// Decodes one video stream.
pub(crate) struct Stream {
    input: Input,
    codec: Codec,
    info: SourceInfo,
    packet: Packet,
    /// The key packet that a seek ended on.
    pending: Option<Packet>,
    segment: Segment,
    /// How it was asked for.
    limits: DecodeOptions,
    state: State,
    stats: Stats,
    /// Demuxer complaints from opening the file, which is none of reading's business.
    opening_complaints: u64,
    /// Ticks per frame where the file does not say.
    usual_duration: i64,
    /// PTS and duration of the newest frame.
    newest: Option<(i64, i64)>,
    /// PTS of hidden packets whose frames the codec may give out all the same.
    hidden: BTreeSet<i64>,
    /// Packets the decoder accepted.
    packets: u64,
    /// When the open key picture at the segment's end is shown, once it was fed.
    open_key: Option<i64>,
    /// What the first frame's time is where nothing says it.
    first: i64,
    /// Whether frames are shown in another order than they are decoded in.
    is_reordered: bool,
    /// Whether only frames tell what is shown when: packets say at most when they are decoded.
    shows_late: bool,
}

impl Stream {
    pub(crate) fn open(path: &Path, options: &DecodeOptions) -> Result<Self, MediaError> {
        let (mut input, info) = probe::open_to_decode(path, options)?;
        let limits = options.limits(info.kind);
        let codec = Codec::open(&input, info.video.index, &limits)?;
        let segment = options.segment.unwrap_or_default();
        let mut pending = match segment.start {
            Some(start) => input.seek_whole(start)?,
            None => None,
        };
        let usual_duration = info.video.usual_duration();
        let is_reordered = input.parameters(info.video.index).video_delay > 0;
        if let (Some(start), Some(key)) = (segment.start, &pending)
            && is_reordered
            && key.pts().is_none()
        {
            // The key picture is shown later than its packet says, and may be after the start.
            let lead = usual_duration.saturating_mul(MOST_REORDERED);
            pending = input.seek_before(start.saturating_sub(lead))?;
        }
        let is_sought = pending.is_some();
        Ok(Self {
            opening_complaints: input.complaints(),
            input,
            codec,
            packet: Packet::new()?,
            pending,
            segment,
            limits,
            state: State::Read,
            stats: Stats::default(),
            usual_duration,
            newest: None,
            hidden: BTreeSet::new(),
            packets: 0,
            open_key: None,
            // Without a key packet to seek to, the file is read from its beginning.
            first: segment.start.filter(|_| is_sought).unwrap_or(info.video.start_pts),
            is_reordered,
            shows_late: false,
            info,
        })
    }

    pub(crate) fn info(&self) -> &SourceInfo {
        &self.info
    }

    pub(crate) fn stats(&self) -> Stats {
        let complaints = self.codec.complaints() + self.stats.complaints;
        Stats { complaints, ..self.stats.clone() }
    }

    /// Gives the next frame a whole deadline of its own.
    pub(crate) fn arm(&self) {
        self.input.watch().arm();
    }

    /// The next frame as the codec gives it.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            self.input.watch().check()?;
            match self.state {
                State::Read => self.feed()?,
                State::Receive | State::Drain => {
                    if let Some(frame) = self.receive()? {
                        return Ok(Some(frame));
                    }
                }
                State::Done => return Ok(None),
            }
        }
    }

    /// Gives the decoder one packet, or tells it that there are no more.
    fn feed(&mut self) -> Result<(), MediaError> {
        if let Some(packet) = self.pending.take() {
            self.packet = packet;
        } else {
            match self.input.read(&mut self.packet)? {
                Read::Packet => {}
                Read::End => {
                    let is_cut = tail::is_cut_off(self.input.path(), &self.info.container);
                    let reason = is_cut.then(|| "the file was cut off".to_owned());
                    return self.end_of_input(reason);
                }
                Read::Failed(reason) => return self.end_of_input(Some(reason)),
            }
        }
        if self.packet.is_empty() {
            return Ok(());
        }
        if self.packets == 0 {
            let (shown, decoded) = (self.packet.pts(), self.packet.dts());
            self.shows_late = shown.is_none() && (self.is_reordered || decoded.is_none());
        }
        if self.is_past_the_end()? {
            return self.end_of_input(None);
        }
        if self.packet.is_hidden() && self.codec.shows_hidden() {
            self.hidden.extend(self.packet.pts());
        }
        // Some decoders make a picture of half a packet and say nothing. Transport streams mark what came
        // through a bad aerial, which may be whole all the same: there the decoder knows.
        if self.packet.is_corrupt() && !self.input.may_restart() {
            self.count_error("a frame is not whole: the file was cut off or is damaged".to_owned());
        }
        match self.codec.send(Some(&self.packet)) {
            Ok(()) => {
                self.packets += 1;
                self.state = State::Receive;
            }
            Err(reason) => self.fail(reason)?,
        }
        Ok(())
    }

    /// Whether this packet and all after it belong to the next segment.
    ///
    /// In decode order a picture may come before others that are shown before it. Once decode times
    /// have reached the end none can follow; nor can they after a key picture, unless it is an open
    /// one: then they come right after it and need it, so it and they are decoded for this segment
    /// as well. (Decode times alone prove nothing: some muxers let them run ahead.)
    fn is_past_the_end(&mut self) -> Result<bool, MediaError> {
        let Some(end) = self.segment.end.filter(|_| !self.shows_late) else { return Ok(false) };
        if self.packet.time().is_none_or(|time| time < end) {
            return Ok(false);
        }
        if self.packet.dts().is_some_and(|dts| dts >= end) {
            return Ok(true);
        }
        if let Some(key) = self.open_key {
            return Ok(self.packet.time().is_some_and(|time| time >= key));
        }
        if !self.packet.is_key() {
            return Ok(false);
        }
        let is_open = self.is_next_earlier()?;
        self.open_key = self.packet.time().filter(|_| is_open);
        Ok(!is_open)
    }

    /// Whether the packet after this one is shown before it; it is the next to be fed.
    fn is_next_earlier(&mut self) -> Result<bool, MediaError> {
        let complaints = self.input.complaints();
        let mut next = Packet::new()?;
        let mut is_before = false;
        while let Read::Packet = self.input.read(&mut next)? {
            if !next.is_empty() {
                is_before = next.time() < self.packet.time();
                self.pending = Some(next);
                break;
            }
        }
        // What is wrong there is the next segment's damage.
        self.opening_complaints += self.input.complaints() - complaints;
        Ok(is_before)
    }

    fn end_of_input(&mut self, failure: Option<String>) -> Result<(), MediaError> {
        if let Some(reason) = self.input.failure(failure, self.opening_complaints) {
            self.stats.first_error = Some(reason.clone());
            self.count_error(reason);
        }
        // A second "no more" is answered with "end of file", which is no news.
        self.codec.send(None).ok();
        self.state = State::Drain;
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Frame>, MediaError> {
        match self.codec.receive()? {
            Received::Frame(frame) => self.place(frame),
            Received::NotYet => {
                if self.state == State::Drain {
                    self.finish()?;
                } else {
                    self.state = State::Read;
                }
                Ok(None)
            }
            Received::End => {
                self.finish()?;
                Ok(None)
            }
            Received::Failed(reason) => {
                self.fail(reason)?;
                if self.state == State::Receive {
                    self.state = State::Read;
                }
                Ok(None)
            }
        }
    }

    /// Gives a frame its time; `None` if it is outside the segment.
    fn place(&mut self, frame: AvFrame) -> Result<Option<Frame>, MediaError> {
        let av = frame.get();
        let duration = if av.pkt_duration > 0 { av.pkt_duration } else { self.usual_duration };
        let stated = Some(av.best_effort_timestamp).filter(|pts| *pts != ffi::AV_NOPTS_VALUE);
        if stated.is_some_and(|pts| self.hidden.remove(&pts)) {
            return Ok(None);
        }
        let base = self.info.video.time_base;
        if let (Some(pts), Some((newest, _))) = (stated, self.newest)
            && pts < newest.saturating_sub(base.ticks(JITTER_S))
        {
            let (after_s, is_joined) = (base.seconds(newest), self.input.may_restart());
            return Err(MediaError::Times { after_s, is_joined });
        }
        let pts = match (stated, self.newest) {
            (Some(pts), Some((newest, _))) if pts <= newest => newest.saturating_add(1),
            (Some(pts), _) => pts,
            (None, Some((newest, duration))) => newest.saturating_add(duration),
            (None, None) => self.first,
        };
        if self.segment.start.is_some_and(|start| pts < start) {
            self.newest = Some((pts, duration));
            self.stats.skipped += 1;
            return Ok(None);
        }
        if self.segment.end.is_some_and(|end| pts >= end) {
            self.stats.skipped += 1;
            // The packets did not tell.
            if self.shows_late {
                self.finish()?;
            }
            return Ok(None);
        }
        // Some decoders mark a picture and write nothing to the log.
        self.stats.complaints += u64::from(frame.is_corrupt());
        self.stats.untimed += u64::from(stated.is_none());
        self.stats.squeezed += u64::from(stated.is_some_and(|stated| stated != pts));
        self.newest = Some((pts, duration));
        let index = self.stats.frames;
        self.stats.frames += 1;
        Frame::new(frame, (pts, duration), index, &self.info.video).map(Some)
    }

    /// Frame threads keep the failures of the last packets to themselves; a complaint and a missing
    /// frame give them away.
    fn finish(&mut self) -> Result<(), MediaError> {
        self.state = State::Done;
        let frames = self.stats.frames + self.stats.skipped;
        let complained = self.codec.complaints() > 0 || self.codec.refused_size().is_some();
        if self.stats.errors == 0 && complained && frames < self.packets {
            self.fail(describe(ffi::AVERROR_INVALIDDATA))?;
        }
        Ok(())
    }

    /// Counts what the decoder refused; of a still picture there is nothing else to decode.
    fn fail(&mut self, reason: String) -> Result<(), MediaError> {
        if self.info.kind == SourceKind::Image
            && let Some(size) = self.codec.refused_size()
        {
            return Err(self.limits.too_large(self.input.path(), size, 0));
        }
        self.count_error(reason);
        Ok(())
    }

    fn count_error(&mut self, reason: String) {
        tracing::debug!(path = ?self.input.path(), %reason, "skipped damaged data");
        self.stats.errors += 1;
        self.stats.first_error.get_or_insert(reason);
    }
}
