//! `mvs`: the codec's own motion vectors, which decoding gives for next to nothing.
//!
//! What counts are the vectors of predicted (P) frames to the last frame that is not
//! bidirectional: of no others is it known how far apart the two frames are. Blocks without a
//! vector (intra) are unknown and do not count, and a frame of which less than a quarter is known is
//! left out. `motion_px_mean` and `motion_px_p95` are pixels of the source from one frame to the
//! next.
//!
//! H.264 and the MPEG-1/2/4 family have vectors. A clip of VP8, VP9, H.265 or AV1, and one that is
//! too short to hold a P frame, is **not measured**: its motion columns stay null, while
//! `motion_method` says `mvs`. What is null passes every threshold.
//!
//! An encoder chooses vectors that are cheap to store, so noise and flat regions make it wander, and
//! fast motion is cut off at the encoder's search range: good for telling still clips from
//! moving ones, not for fine thresholds.

use curate_pipeline::{Item, StageFault, VectorNeed, Vectors};
use curate_schemas::columns as c;

use super::{
    flow::{Measured, Method},
    stats::{Field, Motion, Reducer},
};
use crate::scenes::span;

/// Frames of a clip whose vectors are looked at.
pub(super) const VECTORS: VectorNeed = VectorNeed { count: 32 };

const NAME: &str = "mvs";

/// The method with its buffers.
#[derive(Debug, Default)]
pub(super) struct CodecVectors {
    reducer: Reducer,
}

impl CodecVectors {
    fn clip(&mut self, item: &Item) -> Option<Motion> {
        let frames = *item.clip.get(c::NUM_FRAMES)?;
        let frame_s = span(&item.clip)?.seconds() / f64::from(frames.max(1));
        let pairs: Vec<_> = item
            .frames
            .vectors
            .iter()
            .map(|vectors| self.reducer.reduce(&field(vectors), vectors.gap_s))
            .collect();
        Motion::of(&pairs, NAME, |pair| frame_s / pair.gap_s)
    }
}

fn field(vectors: &Vectors) -> Field<'_> {
    Field {
        columns: vectors.columns as usize,
        rows: vectors.rows as usize,
        cell: f64::from(vectors.cell),
        size: (f64::from(vectors.width), f64::from(vectors.height)),
        u: &vectors.dx,
        v: &vectors.dy,
        weight: Some(&vectors.known),
    }
}

impl Method for CodecVectors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn measure(&mut self, items: &[&Item]) -> Result<Measured, StageFault> {
        Ok(items.iter().map(|item| Ok(self.clip(item))).collect())
    }
}
