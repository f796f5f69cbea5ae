//! The one analysis decode: every frame small for the detectors, frames for the later stages
//! (`crate::sample`), a thumbnail for every clip.

use std::time::{Duration, Instant};

use curate_media::{
    Converter, DecodeAhead, DecodeOptions, Limits, MediaError, PixelFormat, Segment, Size,
    SourceInfo, analysis_size,
};
use curate_pipeline::{
    BuildContext, Emit, FrameNeed, Grid, Split, SplitReport, Stopped, Unit, UnitError,
};

use super::{
    ScenesConfig,
    detect::Detector,
    pieces::{Edge, Piece, Pieces},
    row::{self, Origin},
    score::Scorer,
};
use crate::sample::{Picked, Sampler, Sampling};

/// Thumbnails are picked from this grid.
pub(super) const THUMB_GRID: Grid = Grid { per_second: 1.0, max_side: 320 };
/// How many frames are decoded between two reports of progress.
const PROGRESS_EVERY: u64 = 32;

/// The running half of the stage.
#[derive(Debug)]
pub(super) struct Scenes {
    config: ScenesConfig,
    split_id: String,
    /// What later stages need.
    need: FrameNeed,
    /// For the chain of one clip.
    memory: u64,
    threads: usize,
    limits: Limits,
    /// For one unit in all.
    patience: Duration,
}

impl Scenes {
    pub(super) fn new(config: ScenesConfig, context: &BuildContext<'_>) -> Self {
        Self {
            config,
            split_id: context.split_id.to_owned(),
            need: context.need,
            memory: context.run.memory,
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
        let options = DecodeOptions {
            threads: self.threads,
            limits: self.limits.clone(),
            segment,
            motion_vectors: self.need.vectors.is_some(),
        };
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
                    pass.frame(frame).map_err(fail)?;
                    pass.emit_settled(out).map_err(fail)?;
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
        pass.finish(cut_out, out).map_err(fail)?;
        Ok(SplitReport {
            frames_decoded: stats.frames + stats.skipped,
            frames_source: stats.frames,
            duration_s: pass.info.duration_s,
            damage,
        })
    }
}

/// One unit under way.
struct Pass<'a> {
    stage: &'a Scenes,
    unit: &'a Unit,
    info: SourceInfo,
    analysis: Size,
    small: Converter,
    scorer: Scorer,
    detectors: Vec<Detector>,
    pieces: Pieces,
    sampler: Sampler,
    frames: u64,
    settled: u64,
}

impl<'a> Pass<'a> {
    fn new(stage: &'a Scenes, unit: &'a Unit, info: SourceInfo) -> Self {
        let (config, time_base) = (&stage.config, info.video.time_base);
        let with_edges = config.detectors.iter().any(|d| d.weights().edges > 0.0);
        let cut_in = if unit.start.is_some() { Edge::Unit } else { Edge::Source };
        let sampling = Sampling {
            need: stage.need,
            thumbs: THUMB_GRID,
            time_base,
            fps: info.video.avg_fps,
            chain_bytes: stage.memory,
        };
        Self {
            analysis: analysis_size(info.video.width, info.video.height),
            small: Converter::new(PixelFormat::Bgr8),
            scorer: Scorer::new(with_edges),
            detectors: config.detectors.iter().map(super::DetectorConfig::build).collect(),
            pieces: Pieces::new(time_base, config.max_s, config.trim_s, cut_in),
            sampler: Sampler::new(sampling),
            frames: 0,
            settled: 0,
            stage,
            unit,
            info,
        }
    }

    fn frame(&mut self, frame: curate_media::Frame) -> Result<(), MediaError> {
        let index = self.frames;
        if index == 0 {
            self.analysis = analysis_size(frame.width(), frame.height());
        }
        self.frames += 1;
        // The detectors see the frame as stored: turning it changes no mean.
        let small = frame.small(&mut self.small, self.analysis)?;
        let delta = self.scorer.push(&small)?;
        small.recycle(&mut self.small);
        self.pieces.frame(frame.pts, frame.duration);
        let mut settled = u64::MAX;
        for detector in &mut self.detectors {
            if let Some(cut) = detector.push(index, &delta) {
                self.pieces.cut(cut);
            }
            settled = settled.min(detector.settled(index));
        }
        self.settled = settled;
        self.sampler.push(index, frame)
    }

    fn emit_settled(&mut self, out: &mut dyn Emit) -> Result<(), MediaError> {
        while let Some(piece) = self.pieces.next(self.settled) {
            self.emit(piece, out)?;
        }
        // Whether the newest frame still fits into the open piece shows when the next one comes.
        self.sampler.place_before(self.settled.min(self.frames.saturating_sub(1)))
    }

    fn finish(&mut self, cut_out: Edge, out: &mut dyn Emit) -> Result<(), MediaError> {
        while let Some(piece) = self.pieces.finish(cut_out) {
            self.emit(piece, out)?;
        }
        Ok(())
    }

    /// Sends the piece that `pieces` has just closed, unless trimming left nothing of it.
    fn emit(&mut self, piece: Option<Piece>, out: &mut dyn Emit) -> Result<(), MediaError> {
        self.sampler.place_before(self.pieces.first())?;
        let end = piece.as_ref().map_or(0, |piece| piece.end);
        let Picked { grid, mut frames } = self.sampler.finish(end, self.pieces.from())?;
        let Some(piece) = piece else { return Ok(()) };
        let origin = Origin { unit: self.unit, info: &self.info, split_id: &self.stage.split_id };
        let clip = row::clip(&origin, &piece, row::thumb(&grid));
        if self.stage.need.grid.is_some() {
            frames.grid = grid;
        }
        out.clip(clip, frames).map_err(|Stopped| MediaError::Cancelled)
    }
}
