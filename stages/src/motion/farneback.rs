//! `farneback`: the motion score of the released EasyAnimate recipe (arXiv 2405.18991; the paper
//! names RAFT, its code computes this), also that of Data-Juicer's `video_motion_score_filter`.
//!
//! Full-size grey frames, every `int(fps / 2)`-th one in decode order, Farneback flow between each
//! and the one before, the mean length in pixels of each flow, and the mean of those. The score is
//! in pixels per half second at the source's own size: the same motion scores twice as much in 4K as
//! in 1080p. So it goes to `motion_px_mean`, and `motion` holds the same flows in diagonals per
//! second like any other method's.
//!
//! Costs some hundred milliseconds for each pair of 1080p frames. Use it for the recipe's
//! own numbers, not as a measure of motion: over half a second most flow is beyond what it can
//! follow.

use curate_media::{Flow, GreyPair, Size, farneback};
use curate_pipeline::{Chain, ClipError, Item, StageFault};
use curate_schemas::TimeBase;

use super::{
    dis::clip_error,
    flow::{Measured, Method},
    stats::{Field, Motion, PairStats, Reducer},
};
use crate::scenes::span;

/// The frames it is made of.
pub(super) const CHAIN: Chain = Chain { per_second: 2.0 };

const NAME: &str = "farneback";

/// The method with its buffers.
#[derive(Default)]
pub(super) struct Farneback {
    flow: Flow,
    reducer: Reducer,
}

impl Farneback {
    fn clip(&mut self, item: &Item) -> Result<Option<Motion>, ClipError> {
        if item.frames.is_chain_too_big {
            return Err(ClipError {
                kind: "memory",
                message: "the clip's full-size frames do not fit into memory: raise [run] memory, \
                          make clips shorter, or choose another method"
                    .to_owned(),
            });
        }
        let Some(time_base) = span(&item.clip).map(|span| span.time_base) else { return Ok(None) };
        let pairs = item.frames.chain.windows(2).map(|pair| {
            let [first, second] = pair else { unreachable!("windows of two") };
            self.pair(first, second, time_base)
        });
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        Ok(Motion::of(&pairs, NAME, |_| 1.0))
    }

    fn pair(
        &mut self,
        first: &curate_pipeline::Grey,
        second: &curate_pipeline::Grey,
        time_base: TimeBase,
    ) -> Result<PairStats, ClipError> {
        if (first.width, first.height) != (second.width, second.height) {
            return Err(ClipError {
                kind: "convert",
                message: "the picture changes its size within the clip".to_owned(),
            });
        }
        let size = Size::new(first.width, first.height);
        let pair = GreyPair { size, first: &first.data, second: &second.data };
        farneback(&pair, &mut self.flow).map_err(|error| clip_error(&error))?;
        let Flow { width, height, u, v } = &self.flow;
        let gap_s = time_base.seconds(second.pts - first.pts);
        Ok(self.reducer.reduce(&Field::dense(*width, *height, u, v), gap_s))
    }
}

impl Method for Farneback {
    fn name(&self) -> &'static str {
        NAME
    }

    fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault> {
        Ok(items.iter().map(|item| self.clip(item)).collect())
    }
}
