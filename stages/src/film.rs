//! Decoding a unit for analysis: the loop around the decoder that every split has in common.
//! It knows when to give up, reports progress, and turns damage into the unit's error.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use curate_media::{
    Access, Background, DecodeOptions, Decoder, Frame, Interlaced, MediaError, PICTURES_IN_MEMORY,
    Segment, SourceInfo, Stats,
};
use curate_pipeline::{BuildContext, Emit, FrameNeed, Reading, Unit, UnitError};

/// How many frames are decoded between two reports of progress.
const PROGRESS_EVERY: u64 = 32;

/// Ordinary pictures are read whatever `[run]` says: 44 million pixels. Beyond that an eighth of its
/// memory decides and not its workers, whose number is to change nothing in the table.
const LEAST_PICTURE_BYTES: u64 = 256 << 20;

/// How units are decoded.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What later stages need.
    pub(crate) need: FrameNeed,
    /// Bytes that the frames of one clip may take.
    pub(crate) memory: u64,
    /// Bytes that decoding a still picture may take.
    picture_bytes: u64,
    access: Access,
    /// For one unit in all.
    patience: Duration,
}

/// A unit that is being decoded.
pub(crate) struct Film {
    info: SourceInfo,
    source: Source,
    /// Waiting for room downstream is no fault of the file's, so only decoding counts.
    decoding: Duration,
    patience: Duration,
    frames: u64,
    reported: u64,
    damage: Option<UnitError>,
}

/// Where frames come from.
enum Source {
    /// Decoded when they are asked for: with one decoder thread, which is this one, a frame is then
    /// looked at while it is in the cache.
    Here(Box<Decoder>),
    /// By a thread that does nothing but ask for frames, so that the decoder's own threads need not
    /// wait while somebody looks at a frame.
    Ahead(Ahead),
    Ended(Stats),
}

/// A frame or the end, and how long decoding took; `None` where damage means that one thread must decode.
type Decoded = (Option<Result<Option<Frame>, MediaError>>, Duration);

struct Ahead {
    /// Both are there until the end.
    frames: Option<Receiver<Decoded>>,
    thread: Option<JoinHandle<Stats>>,
    /// Whoever looks at the frames is not to interrupt those who make them.
    _background: Background,
}

impl Ahead {
    /// Frames that wait to be looked at. More would only leave the cache.
    const MOST: usize = 1;

    fn start(mut decoder: Decoder) -> std::io::Result<Self> {
        let (sender, frames) = sync_channel(Self::MOST);
        let decode = move || {
            while send(&mut decoder, &sender) {}
            decoder.stats()
        };
        let thread = std::thread::Builder::new().name("decode".to_owned()).spawn(decode)?;
        Ok(Self { frames: Some(frames), thread: Some(thread), _background: Background::enter() })
    }

    /// The next frame. A thread that panicked sends none; `join` passes the panic on.
    fn next(&self) -> Decoded {
        let next = self.frames.as_ref().and_then(|frames| frames.recv().ok());
        next.unwrap_or((Some(Ok(None)), Duration::ZERO))
    }

    /// Lets the thread end, if it has not.
    fn join(mut self) -> Stats {
        self.frames = None;
        let ended = self.thread.take().map(JoinHandle::join);
        let stats = ended.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        stats.unwrap_or_default()
    }
}

impl Drop for Ahead {
    /// A unit that is given up leaves no thread behind.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Decodes a frame and hands it over; whether there is more to do.
fn send(decoder: &mut Decoder, to: &SyncSender<Decoded>) -> bool {
    let asked = Instant::now();
    let next = decoder.next_frame();
    let next = if decoder.is_damaged() { None } else { Some(next) };
    let is_last = !matches!(next, Some(Ok(Some(_))));
    to.send((next, asked.elapsed())).is_ok() && !is_last
}

/// A media error as the reason why a unit ended.
pub(crate) fn unit_error(error: &MediaError) -> UnitError {
    UnitError { kind: error.kind(), message: error.to_string(), transient: error.is_transient() }
}

/// How a run opens files.
pub(crate) fn access(context: &BuildContext<'_>, track: Option<u32>) -> Access {
    let deadline = Some(Duration::from_secs_f64(context.run.stall_seconds));
    Access { track, deadline, cancel: Some(context.stop.flag()) }
}

/// What becomes of interlaced pictures, in the decoder's words.
pub(crate) fn interlaced(reading: Reading) -> Interlaced {
    use curate_pipeline::Interlaced as I;
    match reading.interlaced {
        I::Deinterlace => Interlaced::Deinterlace,
        I::Refuse => Interlaced::Refuse,
        I::Keep => Interlaced::Keep,
    }
}

impl Reader {
    pub(crate) fn new(context: &BuildContext<'_>) -> Self {
        Self {
            need: context.need,
            memory: context.run.one_clip(),
            picture_bytes: (context.run.memory / PICTURES_IN_MEMORY).max(LEAST_PICTURE_BYTES),
            patience: Duration::from_secs_f64(context.run.unit_timeout_seconds),
            access: access(context, None),
        }
    }

    /// How a unit is decoded that is opened now, with its share of the cores.
    pub(crate) fn options(&self, unit: &Unit, out: &dyn Emit) -> DecodeOptions {
        let segment = (unit.start.is_some() || unit.end.is_some())
            .then_some(Segment { start: unit.start, end: unit.end });
        DecodeOptions {
            threads: out.threads(),
            access: Access { track: unit.source.reading.track, ..self.access.clone() },
            interlaced: interlaced(unit.source.reading),
            segment,
            motion_vectors: self.need.vectors.is_some(),
            picture_bytes: Some(self.picture_bytes),
        }
    }

    /// Opens a unit.
    pub(crate) fn open(&self, unit: &Unit, out: &dyn Emit) -> Result<Film, UnitError> {
        let options = self.options(unit, out);
        let decoder =
            Decoder::open(&unit.source.path, &options).map_err(|error| unit_error(&error))?;
        let info = decoder.info().clone();
        let source = if options.threads > 1 {
            Source::Ahead(Ahead::start(decoder).map_err(|error| UnitError {
                kind: "thread",
                message: format!("cannot start a thread for decoding: {error}"),
                transient: true,
            })?)
        } else {
            Source::Here(Box::new(decoder))
        };
        Ok(Film {
            info,
            source,
            decoding: Duration::ZERO,
            patience: self.patience,
            frames: 0,
            reported: 0,
            damage: None,
        })
    }
}

impl Film {
    pub(crate) fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// The next frame; `None` at the end, and where going on makes no sense.
    pub(crate) fn next_frame(&mut self, out: &mut dyn Emit) -> Option<Frame> {
        if self.frames - self.reported >= PROGRESS_EVERY {
            self.report(out);
        }
        if self.decoding > self.patience {
            let message = format!(
                "not done after {:.0} s of decoding: raise [run] unit_timeout_seconds",
                self.patience.as_secs_f64()
            );
            self.damage = Some(UnitError { kind: "timeout", message, transient: true });
            return None;
        }
        let (next, took) = match &mut self.source {
            Source::Here(decoder) => {
                let asked = Instant::now();
                (Some(decoder.next_frame()), asked.elapsed())
            }
            Source::Ahead(ahead) => ahead.next(),
            Source::Ended(_) => return None,
        };
        self.decoding += took;
        match next {
            Some(Ok(frame)) => {
                self.frames += u64::from(frame.is_some());
                frame
            }
            Some(Err(error)) => {
                self.damage = Some(unit_error(&error));
                None
            }
            None => {
                self.damage = Some(UnitError::one_thread());
                None
            }
        }
    }

    fn report(&mut self, out: &mut dyn Emit) {
        out.decoded(self.frames - self.reported);
        self.reported = self.frames;
    }

    /// Ends decoding: what it came to, and what was wrong with the frames.
    ///
    /// # Errors
    /// When damage means that one thread must decode the unit from its beginning.
    pub(crate) fn finish(
        mut self,
        out: &mut dyn Emit,
    ) -> Result<(Stats, Option<UnitError>), UnitError> {
        self.report(out);
        let stats = match std::mem::replace(&mut self.source, Source::Ended(Stats::default())) {
            Source::Here(decoder) => decoder.stats(),
            Source::Ahead(ahead) => ahead.join(),
            Source::Ended(stats) => stats,
        };
        if self.damage.as_ref() == Some(&UnitError::one_thread()) {
            return Err(UnitError::one_thread());
        }
        let damage = damage_of(&stats, self.frames, self.damage);
        Ok((stats, damage))
    }
}

/// What was wrong with a unit of which so many frames came: `damage` is what ended it early.
pub(crate) fn damage_of(
    stats: &Stats,
    frames: u64,
    mut damage: Option<UnitError>,
) -> Option<UnitError> {
    let mut wrong = |kind, message: &str| {
        let error = UnitError { kind, message: message.to_owned(), transient: false };
        damage.get_or_insert(error);
    };
    if stats.errors > 0 {
        wrong("decode", stats.first_error.as_deref().unwrap_or("damaged data"));
    }
    if stats.squeezed > 0 {
        let (squeezed, all) = (stats.squeezed, stats.frames);
        wrong(
            "inexact_times",
            &format!(
                "{squeezed} of {all} frames have times that go back: they are shown for a tick each"
            ),
        );
    }
    // All frames came, but not all of them as they were made. The decoder's own words would
    // depend on which of its threads was first.
    if stats.complaints > 0 {
        wrong(
            "concealed",
            "some frames are damaged, and the decoder filled in for what is missing",
        );
    }
    if frames == 0 {
        wrong("no_frames", "no frame could be decoded");
    }
    damage
}
