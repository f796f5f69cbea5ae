//! `scan = "keyframes"`: key pictures first, and whole groups of pictures only where they may hold a
//! cut.
//!
//! Two neighbouring key pictures that look alike have no cut between them; everything else is decoded.
//! (Taking an early key picture that looks different for a cut, as encoders set one where they see a
//! cut, was 3.3 times as fast as decoding everything and found half of the cuts: encoders see cuts in
//! whatever moves quickly.)
//!
//! Quicker than decoding everything where scenes are longer than the distance of key pictures, and
//! less exact: what happens between two key pictures that look alike, a flash or a very short shot,
//! is not seen. Times and numbers of pictures come from packets, and a source whose packets do not say
//! them is refused. Later stages would see key pictures only, so a recipe with stages that need
//! pictures is refused too.

use curate_media::{Converter, Frame, Group, KeyScan, MediaError, PixelFormat, analysis_size};
use curate_pipeline::{Emit, FrameNeed, SplitReport, Unit, UnitError};

use super::{
    detect::DetectorConfig,
    score::Scorer,
    split::{Pass, Scenes, finish},
};
use crate::film::unit_error;

/// Mean difference in hue, saturation and value, 0 to 255, below which two key pictures are of one
/// scene: what moves for a second or two makes less.
const ALIKE: f64 = 11.0;

/// Whether key pictures give later stages all they need.
pub(super) fn suffices(need: &FrameNeed) -> bool {
    need.grid.is_none() && need.pairs.is_none() && need.chain.is_none() && need.vectors.is_none()
}

/// Compares key pictures.
struct Keys {
    small: Converter,
    scorer: Scorer,
    seen: u64,
}

impl Keys {
    fn new() -> Self {
        let usual = [DetectorConfig::default()];
        Self { small: Converter::new(PixelFormat::Bgr8), scorer: Scorer::new(&usual), seen: 0 }
    }

    /// How much a key picture differs from the last one.
    fn difference(&mut self, frame: &Frame) -> Result<f64, MediaError> {
        let size = analysis_size(frame.width(), frame.height());
        let small = frame.small(&mut self.small, size)?;
        let seen = self.scorer.push(self.seen, &small, (frame.seconds(), true))?;
        let delta = seen.deltas.first().map(|(_, delta)| *delta).unwrap_or_default();
        small.recycle(&mut self.small);
        self.seen += 1;
        Ok((delta.hue + delta.saturation + delta.value) / 3.0)
    }
}

/// A group and how much its key picture differs from the one before; `None` where that is unknown.
struct Next {
    group: Group,
    difference: Option<f64>,
}

fn next(scan: &mut KeyScan, keys: &mut Keys) -> Result<Option<Next>, MediaError> {
    let Some(group) = scan.next_group()? else { return Ok(None) };
    let difference = group.key.as_ref().map(|key| keys.difference(key)).transpose()?;
    Ok(Some(Next { group, difference }))
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
        let mut keys = Keys::new();
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
            let difference = following.as_ref().and_then(|next| next.difference);
            let is_alike = difference.is_some_and(|difference| difference < ALIKE);
            match group.key.take().filter(|_| is_alike) {
                Some(key) => {
                    pass.quiet(key, &group, out).map_err(fail)?;
                    // Detectors are not to take what moved in the meantime for one step.
                    pass.scorer.forget();
                }
                None => {
                    // A decoder that begins at an open group may keep some of its pictures to itself;
                    // their times are known all the same.
                    let mut missed = group.times.iter().peekable();
                    let mut show = |frame: Frame| {
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
                    for (pts, duration) in missed {
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
    /// A key picture, and pictures after it that nobody looks at.
    fn quiet(&mut self, key: Frame, group: &Group, out: &mut dyn Emit) -> Result<(), MediaError> {
        let start = key.pts;
        self.frame(key)?;
        self.emit_settled(out)?;
        for (pts, duration) in group.times.iter().filter(|(pts, _)| *pts > start) {
            self.passed(*pts, *duration)?;
            self.emit_settled(out)?;
        }
        Ok(())
    }
}
