//! Where motion values come from: the seam between methods and the stage.
//!
//! A [`Method`] measures clips, alone or many at once. Methods that look at pairs of frames only
//! need a [`FlowSource`], which computes dense flow and hands each field on as it is ready;
//! [`PairFlow`] does the rest. So a network that takes 32 pairs at a time is one `FlowSource`
//! whose [`max_batch`](FlowSource::max_batch) is 32.
//!
//! Which of a pair's two gaps counts is decided by what is measured. The near frame is looked
//! at first; where the picture has moved little by then, the far one is looked at too and counts.
//! (Measured with DIS on exact pans, zooms and rolls: below half a pixel it errs by 10 to 40 %, a
//! zoom or roll of 40 pixels comes out 15 % short, and between two and twenty it errs by 3 %.)

use curate_pipeline::{ClipError, Frame, Item, StageFault};

use super::stats::{Field, Motion, PairStats, Reducer};

/// A picture that has moved less than this by the near frame is looked at again in the far one:
/// about four pixels of a picture of 455x256, so about twelve by then.
const SLOW: f64 = 0.008;

/// One value for each clip: nothing where the method does not apply.
pub type Measured = Vec<Result<Option<Motion>, ClipError>>;

/// A way to measure motion.
pub trait Method: Send {
    /// The name that is stored with a clip that it could not measure.
    fn name(&self) -> &'static str;

    /// The most clips one call should be given.
    fn max_batch(&self) -> usize {
        1
    }

    /// Measures clips; the results are in their order.
    ///
    /// # Errors
    /// When the method cannot go on at all. One clip's trouble is an `Err` in the list.
    fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault>;
}

/// Two frames to compute the flow between.
#[derive(Clone, Copy, Debug)]
pub struct FlowPair<'a> {
    /// The earlier frame.
    pub first: &'a Frame,
    /// The later frame.
    pub second: &'a Frame,
}

/// Takes fields as they are computed: the number of the pair, and the field or why there is none.
pub type TakeFlow<'a> = dyn FnMut(usize, Result<Field<'_>, ClipError>) + 'a;

/// Computes dense optical flow.
pub trait FlowSource: Send {
    /// The name that is stored with the values.
    fn name(&self) -> &'static str;

    /// The most pairs of one call.
    fn max_batch(&self) -> usize {
        1
    }

    /// Computes the flow of each pair (their sizes may differ) and hands it to `take`, once for
    /// each pair and in any order. Fields are only lent: `take` reduces them where they are.
    ///
    /// # Errors
    /// When the source cannot go on at all.
    fn flow(&mut self, pairs: &[FlowPair<'_>], take: &mut TakeFlow<'_>) -> Result<(), StageFault>;
}

/// Measures clips by the flow in their pairs.
pub(super) struct PairFlow<S> {
    source: S,
    reducer: Reducer,
    /// The most pairs of a clip.
    pairs: usize,
    /// Pixels are given for frames that are so far apart, in seconds.
    gap_s: f64,
}

/// Which pair of which clip.
#[derive(Clone, Copy)]
struct Place {
    item: usize,
    pair: usize,
}

impl<S: FlowSource> PairFlow<S> {
    pub(super) fn new(source: S, pairs: usize, gap_s: f64) -> Self {
        Self { source, reducer: Reducer::default(), pairs, gap_s }
    }

    /// Computes flow at `places` and hands the numbers to `take`.
    fn look(
        &mut self,
        items: &[&Item],
        places: &[Place],
        far: bool,
        take: &mut dyn FnMut(Place, Result<PairStats, ClipError>),
    ) -> Result<(), StageFault> {
        let Self { source, reducer, .. } = self;
        for places in places.chunks(source.max_batch().max(1)) {
            let gaps: Vec<_> = places
                .iter()
                .map(|place| {
                    let pair = &items[place.item].frames.pairs[place.pair];
                    (&pair.first, if far { pair.farthest() } else { &pair.near })
                })
                .collect();
            let mut moving = Vec::with_capacity(gaps.len());
            let mut pairs = Vec::with_capacity(gaps.len());
            for (at, (first, later)) in gaps.iter().enumerate() {
                // Networks see things move in a picture that shows nothing.
                if first.rgb == later.frame.rgb {
                    let still = vec![0.0; first.width as usize * first.height as usize];
                    let field = Field::dense(first.width, first.height, &still, &still);
                    take(places[at], Ok(reducer.reduce(&field, later.gap_s)));
                } else {
                    moving.push(at);
                    pairs.push(FlowPair { first, second: &later.frame });
                }
            }
            if pairs.is_empty() {
                continue;
            }
            source.flow(&pairs, &mut |index, field| {
                let at = moving[index];
                let stats = field.map(|field| reducer.reduce(&field, gaps[at].1.gap_s));
                take(places[at], stats);
            })?;
        }
        Ok(())
    }
}

impl<S: FlowSource> Method for PairFlow<S> {
    fn name(&self) -> &'static str {
        self.source.name()
    }

    fn max_batch(&self) -> usize {
        // A clip may have a single pair.
        self.source.max_batch()
    }

    fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault> {
        let mut near = Vec::new();
        let mut stats: Vec<Vec<Option<Result<PairStats, ClipError>>>> = Vec::new();
        for (item, clip) in items.iter().enumerate() {
            let have = clip.frames.pairs.len();
            near.extend(
                curate_pipeline::frame::spread(have, self.pairs).map(|pair| Place { item, pair }),
            );
            stats.push(vec![None; have]);
        }
        let mut slow = Vec::new();
        self.look(items, &near, false, &mut |place, found| {
            let has_far = items[place.item].frames.pairs[place.pair].far.is_some();
            if has_far && matches!(&found, Ok(s) if s.mean_px < SLOW * s.diagonal_px) {
                slow.push(place);
            }
            stats[place.item][place.pair] = Some(found);
        })?;
        self.look(items, &slow, true, &mut |place, found| {
            stats[place.item][place.pair] = Some(found);
        })?;
        let name = self.source.name();
        let summed = stats.into_iter().map(|clip| {
            let pairs = clip.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
            Ok(Motion::of(&pairs, name, |pair| self.gap_s / pair.gap_s))
        });
        Ok(summed.collect())
    }
}

/// Spares a costly method the clear cases.
pub(super) struct Prefiltered {
    pub(super) first: Box<dyn Method>,
    pub(super) then: Box<dyn Method>,
}

/// Slower than this, a clip stands still whatever measures it.
const CLEARLY_STILL: f64 = 0.004;
/// Faster than this, it shakes or whirls: the whole picture has changed after half a second.
const CLEARLY_FAST: f64 = 2.0;

impl Method for Prefiltered {
    fn name(&self) -> &'static str {
        self.then.name()
    }

    fn max_batch(&self) -> usize {
        self.then.max_batch()
    }

    /// The thresholds are fixed, not those of `keep`: what is measured must not depend on how it is
    /// judged.
    fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault> {
        let mut measured = Measured::with_capacity(items.len());
        for items in items.chunks(self.first.max_batch().max(1)) {
            measured.extend(self.first.measure(items)?);
        }
        let is_clear = |motion: &Motion| !(CLEARLY_STILL..=CLEARLY_FAST).contains(&motion.speed);
        let open: Vec<usize> = (0..items.len())
            .filter(|at| !matches!(&measured[*at], Ok(Some(motion)) if is_clear(motion)))
            .collect();
        let rest: Vec<&Item> = open.iter().map(|at| items[*at]).collect();
        if !rest.is_empty() {
            for (at, motion) in open.into_iter().zip(self.then.measure(&rest)?) {
                measured[at] = motion;
            }
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use curate_pipeline::{FramePair, Frames, Later, testing};
    use curate_schemas::Clip;

    use super::*;

    /// Flow whose length is the difference of the frames' first bytes; remembers its calls.
    struct Fake {
        calls: Vec<usize>,
        batch: usize,
    }

    impl FlowSource for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn max_batch(&self) -> usize {
            self.batch
        }

        fn flow(
            &mut self,
            pairs: &[FlowPair<'_>],
            take: &mut TakeFlow<'_>,
        ) -> Result<(), StageFault> {
            self.calls.push(pairs.len());
            for (index, pair) in pairs.iter().enumerate().rev() {
                let moved = f32::from(pair.second.rgb[0]) - f32::from(pair.first.rgb[0]);
                let u = vec![moved; 12];
                take(index, Ok(Field::dense(4, 3, &u, &[0.0; 12])));
            }
            Ok(())
        }
    }

    fn frame(level: u8) -> Frame {
        Frame { pts: 0, width: 4, height: 3, rgb: vec![level; 36] }
    }

    fn item(pairs: &[(u8, Option<u8>)]) -> Item {
        let later = |level: u8, gap_s: f64| Later { frame: frame(level), gap_s };
        let pairs = pairs.iter().map(|(near, far)| FramePair {
            first: frame(0),
            near: later(*near, 0.04),
            far: far.map(|far| later(far, 0.12)),
        });
        testing::item(Clip::default(), Frames { pairs: pairs.collect(), ..Frames::default() })
    }

    #[test]
    fn slow_pairs_are_looked_at_over_the_long_gap() {
        // The diagonal is 5, so any motion in whole pixels is fast.
        let items = [
            item(&[(0, Some(3)), (5, Some(60))]),
            item(&[]),
            item(&[(0, None), (0, Some(0))]),
            item(&[(5, None), (6, None), (7, None)]),
        ];
        let items: Vec<&Item> = items.iter().collect();
        let mut method = PairFlow::new(Fake { calls: vec![], batch: 3 }, 4, 0.12);
        let measured: Vec<_> =
            method.measure(&items).unwrap().into_iter().map(Result::unwrap).collect();
        let speeds: Vec<_> = measured.iter().map(|m| m.as_ref().map(|m| m.speed)).collect();
        let first = (3.0 / 5.0 / 0.12 + 5.0 / 5.0 / 0.04) / 2.0;
        assert!((speeds[0].unwrap() - first).abs() < 1e-9, "{speeds:?}");
        assert_eq!(speeds[1..3], [None, Some(0.0)]);
        assert!((speeds[3].unwrap() - 6.0 / 5.0 / 0.04).abs() < 1e-9, "{speeds:?}");
        // Pixels as if all gaps were the longer one.
        let px = measured[0].as_ref().unwrap().px_mean;
        assert!((px - (3.0 + 15.0) / 2.0).abs() < 1e-9, "{px}");
        // Three at a time, and of those the ones whose frames differ.
        assert_eq!(method.source.calls, [1, 2, 1, 1]);
    }

    struct Constant(f64, &'static str, usize);

    impl Method for Constant {
        fn name(&self) -> &'static str {
            self.1
        }

        fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault> {
            self.2 += items.len();
            let u = vec![self.0 as f32 * 5.0; 12];
            let field = Field::dense(4, 3, &u, &[0.0; 12]);
            let stats = Reducer::default().reduce(&field, 1.0);
            Ok(items
                .iter()
                .map(|_| Ok(Motion::of(std::slice::from_ref(&stats), self.1, |_| 1.0)))
                .collect())
        }
    }

    #[test]
    fn clear_cases_are_not_measured_again() {
        let clip = item(&[]);
        for (speed, by) in [(0.001, "cheap"), (0.1, "costly"), (1.0, "costly"), (3.0, "cheap")] {
            let mut method = Prefiltered {
                first: Box::new(Constant(speed, "cheap", 0)),
                then: Box::new(Constant(0.2, "costly", 0)),
            };
            let measured = method.measure(&[&clip, &clip]).unwrap();
            let names: Vec<_> = measured.into_iter().map(|m| m.unwrap().unwrap().method).collect();
            assert_eq!(names, [by, by], "at {speed}");
        }
    }
}
