//! `scan = "keyframes"`: key pictures first, and whole groups of pictures only where they may hold a
//! cut.
//!
//! Two neighbouring key pictures that look alike have no cut between them. Where they differ, the cut
//! is mostly at the second one, since encoders set key pictures at cuts, or there is none and something
//! moves. So the pictures that others are made of are decoded first, half of the work in H.264 and
//! H.265: if each looks like the one before, nothing happened up to the last one, and that one and the
//! next key picture are compared as ever. Everything else is decoded. (Taking an early key picture that
//! looks different for a cut, as encoders set one where they see a cut, was 3.3 times as fast as
//! decoding everything and found half of the cuts: encoders see cuts in whatever moves quickly.)
//!
//! Less exact than decoding everything: what happens between two key pictures that look alike, or in
//! pictures that no other needs, a flash or a very short shot, is not seen. Times and numbers of pictures come from packets, and a source whose packets do not say
//! them is refused. Later stages would see key pictures only, so a recipe with stages that need
//! pictures is refused too.

use curate_media::{Converter, Frame, Group, KeyScan, MediaError, PixelFormat, analysis_size};
use curate_pipeline::{Emit, FrameNeed, SplitReport, Unit, UnitError};

use super::{
    detect::{DetectorConfig, Weights},
    score::Scorer,
    split::{Pass, Scenes, finish},
};
use crate::film::unit_error;

/// Score, 0 to 255, below which two key pictures are of one scene: what moves for a second or two makes
/// less.
const ALIKE: f64 = 11.0;
/// The same for pictures a few frames apart, as a share of what detectors take for a cut between two
/// that follow each other.
const STEP: f64 = 0.6;

/// Whether key pictures give later stages all they need.
pub(super) fn suffices(need: &FrameNeed) -> bool {
    need.grid.is_none() && need.pairs.is_none() && need.chain.is_none() && need.vectors.is_none()
}

/// Compares pictures as the detectors would.
struct Keys {
    small: Converter,
    scorer: Scorer,
    /// Weights and thresholds. What other detectors cut at is not in the pictures.
    passes: Vec<(Weights, f64)>,
    seen: u64,
}

impl Keys {
    fn new(detectors: &[DetectorConfig]) -> Self {
        let passes = detectors.iter().filter_map(|detector| match detector {
            DetectorConfig::Content { threshold, weights, .. } => Some((*weights, *threshold)),
            _ => None,
        });
        Self {
            small: Converter::new(PixelFormat::Bgr8),
            scorer: Scorer::new(detectors),
            passes: passes.collect(),
            seen: 0,
        }
    }

    /// Whether a picture differs from the last one by less than `most`, a function of the threshold,
    /// for every detector.
    fn are_alike(&mut self, frame: &Frame, most: fn(f64) -> f64) -> Result<bool, MediaError> {
        let size = analysis_size(frame.width(), frame.height());
        let small = frame.small(&mut self.small, size)?;
        let seen = self.scorer.push(self.seen, &small, (frame.seconds(), true))?;
        let delta = seen.deltas.first().map(|(_, delta)| *delta).unwrap_or_default();
        small.recycle(&mut self.small);
        self.seen += 1;
        let is_below =
            |(weights, threshold): &(Weights, f64)| weights.score(&delta) < most(*threshold);
        Ok(self.passes.iter().all(is_below))
    }
}

/// A group and whether its key picture is like the one before; `None` where that is unknown.
struct Next {
    group: Group,
    is_alike: Option<bool>,
}

fn next(scan: &mut KeyScan, keys: &mut Keys) -> Result<Option<Next>, MediaError> {
    let Some(group) = scan.next_group()? else { return Ok(None) };
    let most = |threshold: f64| threshold.min(ALIKE);
    let is_alike = group.key.as_ref().map(|key| keys.are_alike(key, most)).transpose()?;
    Ok(Some(Next { group, is_alike }))
}

impl Scenes {
    /// Splits a unit by its key pictures.
    pub(super) fn split_by_keys(
        &self,
        unit: &Unit,
        out: &mut dyn Emit,
    ) -> Result<SplitReport, UnitError> {
        let fail = |error: MediaError| unit_error(&error);
        let options = self.reader.options(unit, out);
        let mut scan = KeyScan::open(&unit.source.path, &options).map_err(fail)?;
        let mut pass = Pass::new(self, unit, scan.info().clone())?;
        let mut keys = Keys::new(&self.config.detectors);
        let mut damage = None;
        let mut current = next(&mut scan, &mut keys).map_err(fail)?;
        let mut reported = 0;
        while let Some(Next { mut group, .. }) = current {
            let following = match next(&mut scan, &mut keys) {
                Ok(following) => following,
                Err(MediaError::Cancelled) => return Err(unit_error(&MediaError::Cancelled)),
                Err(error) => {
                    damage = Some(unit_error(&error));
                    None
                }
            };
            // A key picture alone is seen already.
            let is_alike = following.as_ref().and_then(|next| next.is_alike) == Some(true)
                || group.times.len() == 1;
            let last = match &group.key {
                Some(_) if !is_alike => {
                    let mut keys = Keys::new(&self.config.detectors);
                    let mut is_still = |frame: &Frame| keys.are_alike(frame, |most| STEP * most);
                    scan.glance(&group, &mut is_still).map_err(fail)?
                }
                _ => None,
            };
            match group.key.take().filter(|_| is_alike || last.is_some()) {
                Some(key) => pass.quiet(key, &group, last, out).map_err(fail)?,
                None => {
                    // A decoder that begins at an open group may keep some of its pictures to itself;
                    // their times are known all the same. What it does not make of others is damage.
                    let times = if group.is_open() { &group.times[..] } else { &[] };
                    let mut missed = times.iter().peekable();
                    let mut is_seen = false;
                    let mut show = |frame: Frame| {
                        is_seen = true;
                        while let Some((pts, duration)) =
                            missed.next_if(|(pts, _)| *pts < frame.pts)
                        {
                            pass.passed(*pts, *duration)?;
                        }
                        missed.next_if(|(pts, _)| *pts == frame.pts);
                        pass.frame(frame)?;
                        pass.emit_settled(out)
                    };
                    scan.decode(&group, &mut show).map_err(fail)?;
                    for (pts, duration) in missed.filter(|_| is_seen) {
                        pass.passed(*pts, *duration).map_err(fail)?;
                    }
                    pass.emit_settled(out).map_err(fail)?;
                }
            }
            let decoded = scan.stats().frames;
            out.decoded(decoded - reported);
            reported = decoded;
            current = following;
        }
        let stats = scan.stats();
        if options.threads > 1 && (stats.errors > 0 || stats.complaints > 0) {
            return Err(UnitError::one_thread());
        }
        finish(pass, &stats, damage, out)
    }
}

impl Pass<'_> {
    /// A key picture, pictures after it that nobody looks at, and the last one if that is known.
    fn quiet(
        &mut self,
        key: Frame,
        group: &Group,
        last: Option<Frame>,
        out: &mut dyn Emit,
    ) -> Result<(), MediaError> {
        let start = key.pts;
        let end = last.as_ref().map_or(i64::MAX, |last| last.pts);
        self.frame(key)?;
        self.emit_settled(out)?;
        for (pts, duration) in group.times.iter().filter(|(pts, _)| (start + 1..end).contains(pts))
        {
            self.passed(*pts, *duration)?;
            self.emit_settled(out)?;
            // Detectors are not to take what moved in the meantime for one step.
            self.scorer.forget();
        }
        if let Some(last) = last {
            self.frame(last)?;
            self.emit_settled(out)?;
        }
        Ok(())
    }
}
