//! The one analysis decode: every frame small for the detectors, frames for the later stages
//! (`crate::sample`), a thumbnail for every clip.

use std::{cell::RefCell, collections::VecDeque, path::PathBuf};

use curate_media::{
    Converter, MediaError, PixelFormat, Size, SourceInfo, Stats, analysis_size, is_animated_webp,
};
use curate_pipeline::{BuildContext, Emit, Grid, Split, SplitReport, Stopped, Unit, UnitError};

use super::{
    Scan, ScenesConfig,
    cuts::Subject,
    detect::Detector,
    pieces::{Edge, Piece, Pieces},
    row::{self, Origin},
    score::Scorer,
    shots::Shots,
};
use crate::{
    film::{Reader, damage_of, unit_error},
    sample::{Picked, Sampler, Sampling},
};

/// Thumbnails are picked from this grid.
pub(super) const THUMB_GRID: Grid = Grid { per_second: 0.5, max_side: 320 };

/// The running half of the stage.
#[derive(Debug)]
pub(super) struct Scenes {
    pub(super) config: ScenesConfig,
    split_id: String,
    pub(super) reader: Reader,
    /// A network is loaded once and goes through one unit at a time.
    shots: Option<RefCell<Shots>>,
    /// The recipe's folder.
    base: PathBuf,
}

impl Scenes {
    pub(super) fn new(
        config: ScenesConfig,
        shots: Option<Shots>,
        context: &BuildContext<'_>,
    ) -> Self {
        Self {
            config,
            shots: shots.map(RefCell::new),
            split_id: context.split_id.to_owned(),
            reader: Reader::new(context),
            base: context.base.to_owned(),
        }
    }
}

impl Split for Scenes {
    fn split(&mut self, unit: &Unit, out: &mut dyn Emit) -> Result<SplitReport, UnitError> {
        // FFmpeg, which knows packets, does not read animated WebP.
        if self.config.scan == Scan::Keyframes && !is_animated_webp(&unit.source.path) {
            return self.split_by_keys(unit, out);
        }
        let fail = |error: MediaError| unit_error(&error);
        let mut film = self.reader.open(unit, out)?;
        let mut pass = Pass::new(self, unit, film.info().clone())?;
        while let Some(frame) = film.next_frame(out) {
            pass.look(&frame)?;
            pass.frame(frame).map_err(fail)?;
            pass.emit_settled(out).map_err(fail)?;
        }
        let (stats, damage) = film.finish(out)?;
        finish(pass, &stats, damage, out)
    }
}

/// Ends a unit: what is left of it goes out.
pub(super) fn finish(
    mut pass: Pass<'_>,
    stats: &Stats,
    damage: Option<UnitError>,
    out: &mut dyn Emit,
) -> Result<SplitReport, UnitError> {
    let damage = damage_of(stats, pass.frames, damage);
    // Which of two frames of the same time a clip would hold, nobody can say: none is kept.
    if let Some(damage) = damage.as_ref().filter(|damage| damage.kind == "times") {
        return Err(damage.clone());
    }
    let is_harmless = |damage: &UnitError| matches!(damage.kind, "concealed" | "inexact_times");
    let is_whole = damage.as_ref().is_none_or(is_harmless);
    let cut_out = match (is_whole, pass.unit.end) {
        (false, _) => Edge::Error,
        (true, Some(_)) => Edge::Unit,
        (true, None) => Edge::Source,
    };
    pass.end_look()?;
    pass.finish(cut_out, out).map_err(|error| unit_error(&error))?;
    Ok(SplitReport {
        frames_decoded: stats.frames + stats.skipped,
        frames_source: pass.frames,
        duration_s: pass.info.duration_s,
        damage,
    })
}

/// One unit under way.
pub(super) struct Pass<'a> {
    stage: &'a Scenes,
    unit: &'a Unit,
    info: SourceInfo,
    analysis: Size,
    small: Converter,
    pub(super) scorer: Scorer,
    detectors: Vec<Detector>,
    pieces: Pieces,
    sampler: Sampler,
    /// From which frames on pictures are stored in which size, and shown in which.
    sizes: VecDeque<(u64, Size, (u32, u32))>,
    frames: u64,
    settled: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        stage: &'a Scenes,
        unit: &'a Unit,
        info: SourceInfo,
    ) -> Result<Self, UnitError> {
        let (config, time_base) = (&stage.config, info.video.time_base);
        let cut_in = if unit.start.is_some() { Edge::Unit } else { Edge::Source };
        let sampling = Sampling {
            need: stage.reader.need,
            thumbs: THUMB_GRID,
            time_base,
            fps: info.video.avg_fps,
            chain_bytes: stage.reader.memory,
        };
        let subject = Subject::new(&unit.source, &info, &stage.base);
        if let Some(shots) = &stage.shots {
            shots.borrow_mut().restart();
        }
        let mut detectors = Vec::with_capacity(config.detectors.len());
        for detector in &config.detectors {
            detectors.push(detector.build_for(&subject)?);
        }
        Ok(Self {
            analysis: analysis_size(info.video.width, info.video.height),
            small: Converter::new(PixelFormat::Bgr8),
            scorer: Scorer::new(&config.detectors),
            detectors,
            pieces: Pieces::new(time_base, config.max_s, config.trim_s, cut_in),
            sampler: Sampler::new(sampling),
            sizes: VecDeque::new(),
            frames: 0,
            settled: 0,
            stage,
            unit,
            info,
        })
    }

    /// Shows a frame to the network, if there is one.
    fn look(&self, frame: &curate_media::Frame) -> Result<(), UnitError> {
        if let Some(shots) = &self.stage.shots {
            shots.borrow_mut().push(frame)?;
        }
        Ok(())
    }

    fn end_look(&mut self) -> Result<(), UnitError> {
        if let Some(shots) = &self.stage.shots {
            shots.borrow_mut().finish()?;
        }
        self.shots();
        Ok(())
    }

    /// Takes the cuts that the network has found; no frame before the result can become one.
    fn shots(&mut self) -> u64 {
        let Some(shots) = &self.stage.shots else { return u64::MAX };
        let mut shots = shots.borrow_mut();
        while let Some(cut) = shots.cut() {
            self.pieces.cut(cut);
        }
        shots.settled()
    }

    pub(super) fn frame(&mut self, frame: curate_media::Frame) -> Result<(), MediaError> {
        let index = self.frames;
        // It decides on earlier frames only.
        let by_network = self.shots();
        if index == 0 {
            self.analysis = analysis_size(frame.width(), frame.height());
        }
        self.frames += 1;
        let stored = Size::new(frame.width(), frame.height());
        if self.sizes.back().is_none_or(|(_, last, _)| *last != stored) {
            // A clip has one size.
            self.pieces.cut(index);
            self.sizes.push_back((index, stored, frame.display_size()));
        }
        let about = (frame.seconds(), frame.is_key());
        let seen = if self.scorer.looks_at(index) {
            // The detectors see the frame as stored: turning it changes no mean.
            let small = frame.small(&mut self.small, self.analysis)?;
            let seen = self.scorer.push(index, &small, about)?;
            small.recycle(&mut self.small);
            seen
        } else {
            self.scorer.pass(about)
        };
        self.pieces.frame(frame.pts, frame.duration);
        let mut settled = by_network;
        for detector in &mut self.detectors {
            if let Some(cut) = detector.push(index, seen)? {
                self.pieces.cut(cut);
            }
            settled = settled.min(detector.settled(index));
        }
        self.settled = settled;
        self.sampler.push(index, frame)
    }

    /// A frame that was not decoded, and of which only the time is known.
    pub(super) fn passed(&mut self, pts: i64, duration: i64) -> Result<(), MediaError> {
        let index = self.frames;
        self.frames += 1;
        self.pieces.frame(pts, duration);
        let seconds = self.info.video.time_base.seconds(pts);
        let seen = self.scorer.pass((seconds, false));
        let mut settled = u64::MAX;
        for detector in &mut self.detectors {
            if let Some(cut) = detector.push(index, seen)? {
                self.pieces.cut(cut);
            }
            settled = settled.min(detector.settled(index));
        }
        self.settled = settled;
        Ok(())
    }

    pub(super) fn emit_settled(&mut self, out: &mut dyn Emit) -> Result<(), MediaError> {
        while let Some(piece) = self.pieces.next(self.settled) {
            self.emit(piece, out)?;
        }
        // Whether the newest frame still fits into the open piece shows when the next one comes.
        self.sampler.place_before(self.settled.min(self.frames.saturating_sub(1)))
    }

    fn finish(&mut self, cut_out: Edge, out: &mut dyn Emit) -> Result<(), MediaError> {
        if let Some(last) = self.frames.checked_sub(1) {
            let cuts = self.detectors.iter().filter_map(|detector| detector.finish(last));
            cuts.for_each(|cut| self.pieces.cut(cut));
        }
        // The next unit begins there.
        if let Some(end) = self.unit.end.filter(|_| cut_out == Edge::Unit) {
            self.pieces.end_at(end);
        }
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
        while self.sizes.get(1).is_some_and(|(from, ..)| *from <= piece.first) {
            self.sizes.pop_front();
        }
        let video = &self.info.video;
        let usual = (video.display_width, video.display_height);
        let size = self.sizes.front().map_or(usual, |(.., shown)| *shown);
        let origin =
            Origin { unit: self.unit, info: &self.info, split_id: &self.stage.split_id, size };
        let clip = row::clip(&origin, &piece, row::thumb(&grid));
        if self.stage.reader.need.grid.is_some() {
            frames.grid = grid;
        }
        out.clip(clip, frames).map_err(|Stopped| MediaError::Cancelled)
    }
}
