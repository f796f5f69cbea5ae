//! The one analysis decode: every frame small for the detectors, a grid and pairs for the later
//! stages, a thumbnail for every clip.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use curate_media::{
    Converter, DecodeAhead, DecodeOptions, Filter, Limits, MediaError, PixelFormat, Segment, Size,
    SmallFrame, SourceInfo, analysis_size,
};
use curate_pipeline::{
    BuildContext, Emit, Frame, FrameNeed, FramePair, Frames, Grid, Split, SplitReport, Unit,
    UnitError,
};
use curate_schemas::TimeBase;

use super::{
    ScenesConfig,
    detect::Detector,
    pieces::{Edge, Piece, Pieces},
    row::{self, Origin, fit},
    score::Scorer,
};

/// Thumbnails are picked from this grid.
pub(super) const THUMB_GRID: Grid = Grid { per_second: 1.0, max_side: 320 };
/// More of them need not wait for a clip's end.
const MOST_THUMBS: usize = 64;
/// How many frames are decoded between two reports of progress.
const PROGRESS_EVERY: u64 = 32;

/// The running half of the stage.
#[derive(Debug)]
pub(super) struct Scenes {
    config: ScenesConfig,
    split_id: String,
    /// What later stages need.
    need: FrameNeed,
    /// That and the thumbnails' grid.
    grid: Grid,
    threads: usize,
    limits: Limits,
    /// For one unit in all.
    patience: Duration,
}

impl Scenes {
    pub(super) fn new(config: ScenesConfig, context: &BuildContext<'_>) -> Self {
        let need = context.need;
        let with_thumbs = need.merge(FrameNeed { grid: Some(THUMB_GRID), pairs: None });
        Self {
            config,
            split_id: context.split_id.to_owned(),
            need,
            grid: with_thumbs.grid.unwrap_or(THUMB_GRID),
            threads: context.run.decode_threads,
            patience: Duration::from_secs_f64(context.run.unit_timeout_seconds),
            limits: Limits {
                deadline: Some(Duration::from_secs_f64(context.run.stall_seconds)),
                cancel: Some(context.stop.flag()),
            },
        }
    }
}

/// A media error as the reason why a unit ended.
pub(crate) fn unit_error(error: &MediaError) -> UnitError {
    UnitError { kind: error.kind(), message: error.to_string(), transient: error.is_transient() }
}

impl Split for Scenes {
    fn split(&mut self, unit: &Unit, out: &mut dyn Emit) -> Result<SplitReport, UnitError> {
        let fail = |error: MediaError| unit_error(&error);
        let segment = (unit.start.is_some() || unit.end.is_some())
            .then_some(Segment { start: unit.start, end: unit.end });
        let options = DecodeOptions { threads: self.threads, limits: self.limits.clone(), segment };
        let mut decoder = DecodeAhead::open(&unit.source.path, &options).map_err(fail)?;
        let info = decoder.info().clone();
        // Waiting for room downstream is no fault of the file's, so only decoding counts.
        let mut decoding = Duration::ZERO;

        let mut pass = Pass::new(self, unit, info);
        let mut damage = None;
        let mut reported = 0;
        loop {
            if decoding > self.patience {
                let message = format!(
                    "not done after {:.0} s of decoding: raise [run] unit_timeout_seconds",
                    self.patience.as_secs_f64()
                );
                damage = Some(UnitError { kind: "timeout", message, transient: true });
                break;
            }
            let asked = Instant::now();
            let next = decoder.next_frame();
            decoding += asked.elapsed();
            match next {
                Ok(Some(frame)) => {
                    pass.frame(&frame).map_err(fail)?;
                    if pass.emit_settled(out).is_err() {
                        return Err(unit_error(&MediaError::Cancelled));
                    }
                    if pass.frames - reported >= PROGRESS_EVERY {
                        out.decoded(pass.frames - reported);
                        reported = pass.frames;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    damage = Some(unit_error(&error));
                    break;
                }
            }
        }
        out.decoded(pass.frames - reported);
        let stats = decoder.finish();
        if damage.is_none() && stats.errors > 0 {
            let message = stats.first_error.unwrap_or_else(|| "damaged data".to_owned());
            damage = Some(UnitError { kind: "decode", message, transient: false });
        }
        let cut_out = match (&damage, unit.end) {
            (Some(_), _) => Edge::Error,
            (None, Some(_)) => Edge::Unit,
            (None, None) => Edge::Source,
        };
        // All frames came, but not all of them as they were made. The decoder's own words would
        // depend on which of its threads was first.
        if damage.is_none() && stats.complaints > 0 {
            let message = "some frames are damaged, and the decoder filled in for what is missing";
            let message = message.to_owned();
            damage = Some(UnitError { kind: "concealed", message, transient: false });
        }
        if pass.frames == 0 && damage.is_none() {
            damage = Some(UnitError {
                kind: "no_frames",
                message: "no frame could be decoded".to_owned(),
                transient: false,
            });
        }
        if pass.finish(cut_out, out).is_err() {
            return Err(unit_error(&MediaError::Cancelled));
        }
        Ok(SplitReport {
            frames_decoded: stats.frames + stats.skipped,
            frames_source: stats.frames,
            duration_s: pass.info.duration_s,
            damage,
        })
    }
}

/// What is kept of a frame until its clip leaves.
struct Mark {
    index: u64,
    /// The analysis picture, until a grid frame or a settled neighbour makes it superfluous.
    small: Option<SmallFrame>,
    grid: Option<Frame>,
}

/// One unit under way.
struct Pass<'a> {
    stage: &'a Scenes,
    unit: &'a Unit,
    info: SourceInfo,
    time_base: TimeBase,
    analysis: Size,
    small: Converter,
    large: Converter,
    scorer: Scorer,
    detectors: Vec<Detector>,
    pieces: Pieces,
    /// Frames of the open piece and later, with something to remember.
    marks: VecDeque<Mark>,
    pairs: VecDeque<(u64, u64, FramePair)>,
    open_pair: Option<(u64, Frame)>,
    frames: u64,
    settled: u64,
    origin: i64,
    next_grid: u64,
    next_pair: u64,
}

impl<'a> Pass<'a> {
    fn new(stage: &'a Scenes, unit: &'a Unit, info: SourceInfo) -> Self {
        let (config, time_base) = (&stage.config, info.video.time_base);
        let with_edges = config.detectors.iter().any(|d| d.weights().edges > 0.0);
        let cut_in = if unit.start.is_some() { Edge::Unit } else { Edge::Source };
        Self {
            analysis: analysis_size(info.video.width, info.video.height),
            small: Converter::new(PixelFormat::Bgr8),
            large: Converter::new(PixelFormat::Rgb8),
            scorer: Scorer::new(with_edges),
            detectors: config.detectors.iter().map(super::DetectorConfig::build).collect(),
            pieces: Pieces::new(time_base, config.max_s, config.trim_s, cut_in),
            marks: VecDeque::new(),
            pairs: VecDeque::new(),
            open_pair: None,
            frames: 0,
            settled: 0,
            origin: 0,
            next_grid: 0,
            next_pair: 0,
            stage,
            unit,
            info,
            time_base,
        }
    }

    fn frame(&mut self, frame: &curate_media::Frame) -> Result<(), MediaError> {
        let index = self.frames;
        if index == 0 {
            self.origin = frame.pts;
            self.analysis = analysis_size(frame.width(), frame.height());
        }
        self.frames += 1;
        // The detectors see the frame as stored: turning it changes no mean.
        let small = frame.small(&mut self.small, self.analysis)?;
        let delta = self.scorer.push(&small)?;
        self.pieces.frame(frame.pts, frame.duration);
        let mut settled = u64::MAX;
        for detector in &mut self.detectors {
            if let Some(cut) = detector.push(index, &delta) {
                self.pieces.cut(cut);
            }
            settled = settled.min(detector.settled(index));
        }
        self.settled = settled;

        let time = self.time_base.seconds(frame.pts - self.origin);
        let slot = (time * self.stage.grid.per_second + 1e-6).floor().max(0.0) as u64;
        let grid = if slot >= self.next_grid {
            self.next_grid = slot + 1;
            Some(self.picture(frame, self.stage.grid.max_side)?)
        } else {
            None
        };
        self.pair(frame, index, time)?;
        self.forget_small_pictures();
        self.marks.push_back(Mark { index, small: Some(small), grid });
        self.thin_out();
        Ok(())
    }

    /// When no later stage wants the grid it only serves thumbnails, and a scene may be as long as
    /// the recipe likes: every other frame is forgotten when there are many.
    fn thin_out(&mut self) {
        let kept = |mark: &&mut Mark| mark.grid.is_some();
        if self.stage.need.grid.is_some()
            || self.marks.iter().filter(|mark| mark.grid.is_some()).count() <= MOST_THUMBS
        {
            return;
        }
        for (number, mark) in self.marks.iter_mut().filter(kept).enumerate() {
            if number % 2 == 1 {
                mark.grid = None;
            }
        }
    }

    /// Collects pairs for motion, when some stage needs them.
    fn pair(
        &mut self,
        frame: &curate_media::Frame,
        index: u64,
        time: f64,
    ) -> Result<(), MediaError> {
        let Some(need) = self.stage.need.pairs else { return Ok(()) };
        if let Some((first_index, first)) = &self.open_pair {
            let gap_s = self.time_base.seconds(frame.pts - first.pts);
            if gap_s + 1e-6 < need.gap_s {
                return Ok(());
            }
            let (first_index, first) = (*first_index, first.clone());
            let second = self.picture(frame, need.max_side)?;
            self.open_pair = None;
            self.pairs.push_back((first_index, index, FramePair { first, second, gap_s }));
        }
        let slot = (time / need.every_s + 1e-6).floor().max(0.0) as u64;
        if self.open_pair.is_none() && slot >= self.next_pair {
            self.next_pair = slot + 1;
            self.open_pair = Some((index, self.picture(frame, need.max_side)?));
        }
        Ok(())
    }

    fn picture(&mut self, frame: &curate_media::Frame, max_side: u32) -> Result<Frame, MediaError> {
        let (width, height) = frame.display_size();
        let size = fit(width, height, max_side);
        let picture = frame.picture(&mut self.large, size, Filter::Area, true)?;
        Ok(Frame {
            pts: frame.pts,
            width: picture.width,
            height: picture.height,
            rgb: picture.data,
        })
    }

    /// Small pictures are only kept where a clip may still begin: at the first frame of the open
    /// piece and among frames that are not settled.
    fn forget_small_pictures(&mut self) {
        let (first, settled) = (self.pieces.first(), self.settled);
        for mark in self.marks.iter_mut().rev() {
            if mark.index != first && mark.index < settled {
                let Some(small) = mark.small.take() else { break };
                small.recycle(&mut self.small);
            }
        }
        self.marks.retain(|mark| mark.small.is_some() || mark.grid.is_some());
    }

    fn emit_settled(&mut self, out: &mut dyn Emit) -> Result<(), curate_pipeline::Stopped> {
        while let Some(piece) = self.pieces.next(self.settled) {
            self.emit(piece, out)?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        cut_out: Edge,
        out: &mut dyn Emit,
    ) -> Result<(), curate_pipeline::Stopped> {
        while let Some(piece) = self.pieces.finish(cut_out) {
            self.emit(piece, out)?;
        }
        Ok(())
    }

    fn emit(
        &mut self,
        piece: Option<Piece>,
        out: &mut dyn Emit,
    ) -> Result<(), curate_pipeline::Stopped> {
        let Some(piece) = piece else { return Ok(()) };
        let inside = |index: u64| piece.first <= index && index < piece.end;
        let mut grid = Vec::new();
        let mut small = None;
        while self.marks.front().is_some_and(|mark| mark.index < piece.end) {
            let Some(mark) = self.marks.pop_front() else { break };
            if inside(mark.index) {
                grid.extend(mark.grid);
                small = small.or(mark.small);
            }
        }
        let mut pairs = Vec::new();
        while self.pairs.front().is_some_and(|(first, ..)| *first < piece.end) {
            let Some((first, second, pair)) = self.pairs.pop_front() else { break };
            if inside(first) && inside(second) {
                pairs.push(pair);
            }
        }
        let origin = Origin { unit: self.unit, info: &self.info, split_id: &self.stage.split_id };
        let small = small.and_then(|small| small.picture(PixelFormat::Rgb8).ok());
        let clip = row::clip(&origin, &piece, row::thumb(&grid, small));
        if self.stage.need.grid.is_none() {
            grid.clear();
        }
        out.clip(clip, Frames { grid, pairs })
    }
}
