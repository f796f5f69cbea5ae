//! What later stages see of a clip: frames on a grid, pairs, a chain, vectors; picked from the one
//! decode, frame by frame, while it is not known how long the clip will be.
//!
//! Everything counts from the clip's first frame, so a clip gives the same pixels in a film, in
//! another unit of it, and as a file of its own. That is why frames wait here until the detectors
//! have settled whether they begin a clip (`waiting.rs`), and why nothing is taken from a fixed
//! raster over the source: the raster is there a frame earlier, but a value would depend on where
//! in its source the clip was found.

mod grid;
mod raster;
mod spread;
mod waiting;

use std::collections::VecDeque;

use curate_media::{Frame as Decoded, MediaError, PictureKind};
use curate_pipeline::{Frame, FrameNeed, FramePair, Frames, Grey, Grid, Later, Vectors, frame};
use curate_schemas::TimeBase;

use self::{
    spread::Spread,
    waiting::{Queue, Views, Waiting},
};
pub(crate) use grid::{bgr_at_most, grid_of, no_frames, rgb_at_most, some_of};
pub(crate) use waiting::fit;

/// Slack for times that are equal but for rounding.
const SLACK: f64 = 1e-6;

/// The slot of a grid in which a time lies, in seconds from the clip's first frame.
fn slot(time: f64, per_second: f64) -> u64 {
    (time * per_second + SLACK).floor().max(0.0) as u64
}

/// More grid frames need not wait for a clip's end when they only serve thumbnails.
const MOST_THUMBS: usize = 64;

/// What is sampled of which stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// What later stages need.
    pub(crate) need: FrameNeed,
    /// Thumbnails are picked from this grid.
    pub(crate) thumbs: Grid,
    /// Seconds per tick.
    pub(crate) time_base: TimeBase,
    /// Frames per second of the stream.
    pub(crate) fps: Option<f64>,
    /// The most bytes that one clip's chain may take.
    pub(crate) chain_bytes: u64,
}

/// What was picked of one clip.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Frames for the thumbnail: the grid, whether a stage wants it or not.
    pub(crate) grid: Vec<Frame>,
    /// The rest (its own grid is empty).
    pub(crate) frames: Frames,
}

/// Picks frames, clip after clip.
pub(crate) struct Sampler {
    sampling: Sampling,
    views: Views,
    queue: Queue,
    /// Frames from one link of the chain to the next.
    chain_step: Option<u64>,
    clip: Open,
}

/// A pair that lacks its later frames.
struct OpenPair {
    slot: u64,
    first: Frame,
    near: Option<(u64, Later)>,
}

/// A pair, and the number of its far frame (of the near one where that is far enough; none is so
/// high when the clip ended before).
struct Pair {
    far_index: u64,
    pair: FramePair,
}

/// The frames with numbers below `end`.
fn before<T>(end: u64, frames: impl IntoIterator<Item = (u64, T)>) -> Vec<T> {
    frames.into_iter().filter_map(|(index, frame)| (index < end).then_some(frame)).collect()
}

/// What has been picked of the clip under way.
struct Open {
    /// Earlier frames are trimmed off.
    from: i64,
    /// Number and PTS of the first frame.
    start: Option<(u64, i64)>,
    last_pts: i64,
    grid: VecDeque<(u64, Frame)>,
    next_grid: u64,
    pairs: Spread<Pair>,
    open_pair: Option<OpenPair>,
    chain: Vec<(u64, Grey)>,
    chain_bytes: u64,
    is_chain_too_big: bool,
    /// The last frame, while the chain has no second link.
    tail: Option<Waiting>,
    vectors: Spread<Vectors>,
    /// PTS of the last frame that later ones are predicted from.
    anchor: Option<i64>,
}

impl Open {
    fn new(need: &FrameNeed, from: i64) -> Self {
        let pairs = need.pairs.map_or(1, |pairs| pairs.count);
        // A pair must be done before the next one begins.
        let gap_s = need.pairs.map_or(0.0, |pairs| pairs.gap_s);
        let vectors = need.vectors.map_or(1, |vectors| vectors.count);
        // Clips are some seconds long: that many samples in three of them, to begin with. Shorter
        // slots would only make pictures that are thinned out again.
        let slot_s = |count: usize| 3.0 / count.max(1) as f64;
        Self {
            from,
            start: None,
            last_pts: 0,
            grid: VecDeque::new(),
            next_grid: 0,
            pairs: Spread::new(pairs, slot_s(pairs).max(gap_s)),
            open_pair: None,
            chain: Vec::new(),
            chain_bytes: 0,
            is_chain_too_big: false,
            tail: None,
            vectors: Spread::new(vectors, slot_s(vectors)),
            anchor: None,
        }
    }
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let need = sampling.need;
        let with_thumbs = need
            .merge(FrameNeed { grid: Some(sampling.thumbs), ..FrameNeed::default() })
            .grid
            .unwrap_or(sampling.thumbs);
        let chain_step = need.chain.zip(sampling.fps).map(|(chain, fps)| {
            let wanted = chain.per_second.max(1.0).min(fps);
            ((fps / wanted) as u64).max(1)
        });
        Self {
            sampling,
            views: Views::new(need, with_thumbs),
            queue: Queue::default(),
            chain_step,
            clip: Open::new(&need, i64::MIN),
        }
    }

    /// The next frame of the unit, number `index`. It waits until it is known which clip it is of.
    pub(crate) fn push(&mut self, index: u64, frame: Decoded) -> Result<(), MediaError> {
        self.queue.push(index, frame, &mut self.views)
    }

    /// Frames before number `end` belong to the clip under way.
    pub(crate) fn place_before(&mut self, end: u64) -> Result<(), MediaError> {
        while let Some(waiting) = self.queue.pop_before(end) {
            self.place(waiting)?;
        }
        Ok(())
    }

    /// Ends the clip under way before frame number `end`, which must have been placed, and begins
    /// the next one with the first frame at or after PTS `from`.
    pub(crate) fn finish(&mut self, end: u64, from: i64) -> Result<Picked, MediaError> {
        let need = self.sampling.need;
        let mut clip = std::mem::replace(&mut self.clip, Open::new(&need, from));
        if let Some(tail) = clip.tail.take()
            && tail.index < end
        {
            clip.link(&tail, &mut self.views, self.sampling.chain_bytes)?;
        }
        let frames = Frames {
            grid: Vec::new(),
            pairs: clip.pairs_before(end, need.pairs.map_or(0, |pairs| pairs.count)),
            chain: before(end, clip.chain),
            is_chain_too_big: clip.is_chain_too_big,
            vectors: clip.vectors.finish(end),
        };
        Ok(Picked { grid: before(end, clip.grid), frames })
    }

    fn place(&mut self, waiting: Waiting) -> Result<(), MediaError> {
        if waiting.pts < self.clip.from {
            return Ok(());
        }
        let (_, start) = *self.clip.start.get_or_insert((waiting.index, waiting.pts));
        let time = self.sampling.time_base.seconds(waiting.pts - start);
        self.grid(&waiting, time)?;
        self.pair(&waiting, time)?;
        self.vectors(&waiting, time);
        self.clip.last_pts = waiting.pts;
        self.chain(waiting)
    }

    fn grid(&mut self, waiting: &Waiting, time: f64) -> Result<(), MediaError> {
        let clip = &mut self.clip;
        let slot = slot(time, self.views.grid.per_second);
        if slot < clip.next_grid {
            return Ok(());
        }
        clip.next_grid = slot + 1;
        clip.grid.push_back((waiting.index, waiting.on_grid(&mut self.views)?));
        // A scene may be as long as the recipe likes.
        if self.sampling.need.grid.is_none() && clip.grid.len() > MOST_THUMBS {
            let mut number = 0;
            clip.grid.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        Ok(())
    }

    fn pair(&mut self, waiting: &Waiting, time: f64) -> Result<(), MediaError> {
        let Some(need) = self.sampling.need.pairs else { return Ok(()) };
        let clip = &mut self.clip;
        if let Some(mut open) = clip.open_pair.take() {
            let seconds = |ticks| self.sampling.time_base.seconds(ticks);
            let gap_s = seconds(waiting.pts - open.first.pts);
            // The nearest frame to a gap, as far as frames come at a steady pace.
            let reached = gap_s + seconds(waiting.pts - clip.last_pts) / 2.0 + SLACK;
            let is_far = reached >= need.gap_s;
            let is_near = open.near.is_none() && (is_far || reached >= need.near_gap_s());
            let later = if is_near || is_far {
                Some(Later { frame: waiting.for_pair(&mut self.views, need)?, gap_s })
            } else {
                None
            };
            let index = waiting.index;
            match (open.near.take(), later) {
                (None, Some(near)) if is_far => {
                    let pair = FramePair { first: open.first, near, far: None };
                    clip.pairs.push(open.slot, index, Pair { far_index: index, pair });
                }
                (Some((near_index, near)), far @ Some(_)) => {
                    let pair = FramePair { first: open.first, near, far };
                    clip.pairs.push(open.slot, near_index, Pair { far_index: index, pair });
                }
                (near, later) => {
                    open.near = near.or(later.map(|later| (index, later)));
                    clip.open_pair = Some(open);
                }
            }
        }
        if clip.open_pair.is_none()
            && let Some(slot) = clip.pairs.take_slot(time)
        {
            let first = waiting.for_pair(&mut self.views, need)?;
            clip.open_pair = Some(OpenPair { slot, first, near: None });
        }
        Ok(())
    }

    /// Vectors of predicted frames. Only of these is it known which frame they lead to: the last
    /// one that is not bidirectional. (A codec with several references may choose an older one;
    /// encoders rarely do.)
    fn vectors(&mut self, waiting: &Waiting, time: f64) {
        if self.sampling.need.vectors.is_none() {
            return;
        }
        let clip = &mut self.clip;
        let kind = waiting.kind();
        if kind == PictureKind::Predicted
            && let (Some(slot), Some(anchor)) = (clip.vectors.slot(time), clip.anchor)
            && let Some(vectors) = waiting.vectors()
        {
            let gap_s = self.sampling.time_base.seconds(waiting.pts - anchor);
            clip.vectors.take_slot(time);
            clip.vectors.push(slot, waiting.index, Vectors { pts: waiting.pts, gap_s, ..vectors });
        }
        if matches!(kind, PictureKind::Intra | PictureKind::Predicted) {
            clip.anchor = Some(waiting.pts);
        }
    }

    fn chain(&mut self, waiting: Waiting) -> Result<(), MediaError> {
        let clip = &mut self.clip;
        let (Some(step), Some((first, _))) = (self.chain_step, clip.start) else { return Ok(()) };
        if clip.is_chain_too_big {
            return Ok(());
        }
        if (waiting.index - first).is_multiple_of(step) {
            clip.tail = None;
            clip.link(&waiting, &mut self.views, self.sampling.chain_bytes)
        } else {
            clip.tail = (clip.chain.len() == 1).then_some(waiting);
            Ok(())
        }
    }
}

impl Open {
    /// Adds a frame to the chain, as long as all of it takes no more than `most` bytes.
    fn link(&mut self, waiting: &Waiting, views: &mut Views, most: u64) -> Result<(), MediaError> {
        let Some(grey) = waiting.grey(views)? else { return Ok(()) };
        self.chain_bytes += grey.data.len() as u64;
        self.chain.push((waiting.index, grey));
        if self.chain_bytes > most {
            self.chain = Vec::new();
            self.is_chain_too_big = true;
        }
        Ok(())
    }

    /// The pairs made of frames before `end`: `count` of them, evenly spread. A clip that is too
    /// short for a whole one has one over the gap that there is.
    fn pairs_before(&mut self, end: u64, count: usize) -> Vec<FramePair> {
        if let Some(OpenPair { slot, first, near: Some((index, near)) }) = self.open_pair.take() {
            let pair = FramePair { first, near, far: None };
            self.pairs.push(slot, index, Pair { far_index: u64::MAX, pair });
        }
        let mut pairs = std::mem::take(&mut self.pairs).finish(end);
        if pairs.iter().any(|pair| pair.far_index < end) {
            pairs.retain(|pair| pair.far_index < end);
        } else {
            pairs.truncate(1);
            pairs.iter_mut().for_each(|pair| pair.pair.far = None);
        }
        let mut pairs: Vec<_> = pairs.into_iter().map(|pair| Some(pair.pair)).collect();
        frame::spread(pairs.len(), count).filter_map(|index| pairs[index].take()).collect()
    }
}
