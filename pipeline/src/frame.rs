//! Pixels in flight, and how a stage says which ones it needs.
//!
//! Needs are declared, merged over all stages and served from one decode. A clip's end is not
//! known while it is being decoded, so a stage cannot ask for "eight frames of the clip"; it asks
//! for a *grid* (so many per second, at most so big) and picks from it afterwards, or for *pairs*,
//! of which the split keeps few and evenly spread ones however long the clip becomes.

/// One picture: 8-bit RGB, rows packed, top row first.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// Presentation time in ticks of the source stream.
    pub pts: i64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}x{} at {})", self.width, self.height, self.pts)
    }
}

/// A frame some time after another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Later {
    /// The later frame.
    pub frame: Frame,
    /// Time from the earlier frame to it, in seconds.
    pub gap_s: f64,
}

/// A frame, and one or two later ones to measure the motion to.
///
/// Two, because no gap suits every speed: over a short one slow motion is lost in the noise of a
/// fraction of a pixel, over a long one fast motion is beyond what a method can follow. Whoever
/// looks at the near one first can tell which of them counts.
#[derive(Clone, Debug, PartialEq)]
pub struct FramePair {
    /// The earlier frame.
    pub first: Frame,
    /// The frame nearest to [`Pairs::near_gap_s`] later, but at least the next one.
    pub near: Later,
    /// The frame nearest to [`Pairs::gap_s`] later; none where `near` already is that one, or the
    /// clip ends before.
    pub far: Option<Later>,
}

impl FramePair {
    /// The one over the longer gap.
    #[must_use]
    pub fn farthest(&self) -> &Later {
        self.far.as_ref().unwrap_or(&self.near)
    }

    fn bytes(&self) -> usize {
        let far = self.far.as_ref().map_or(0, |later| later.frame.rgb.len());
        self.first.rgb.len() + self.near.frame.rgb.len() + far
    }
}

/// One full-size picture in grey: 8 bits, rows packed, top row first.
#[derive(Clone, PartialEq)]
pub struct Grey {
    /// Presentation time in ticks of the source stream.
    pub pts: i64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height` bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Grey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grey({}x{} at {})", self.width, self.height, self.pts)
    }
}

/// What a codec says about the motion from one frame to another: the mean displacement in each
/// cell of a coarse grid over the upright picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// Presentation time of the later frame in ticks of the source stream.
    pub pts: i64,
    /// Time between the two frames in seconds.
    pub gap_s: f64,
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Side of a cell in pixels; those at the right and lower edge may reach over it.
    pub cell: u32,
    /// Cells across.
    pub columns: u32,
    /// Cells down.
    pub rows: u32,
    /// Displacement to the right, in pixels, cell by cell; 0 where nothing is known.
    pub dx: Vec<f32>,
    /// Displacement downwards, in pixels.
    pub dy: Vec<f32>,
    /// Area of each cell for which there is a displacement, in pixels.
    pub known: Vec<f32>,
}

/// The frames that travel with a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frames {
    /// Frames on the merged grid, in time order.
    pub grid: Vec<Frame>,
    /// Pairs for motion, in time order.
    pub pairs: Vec<FramePair>,
    /// Every n-th frame in full size, see [`Chain`].
    pub chain: Vec<Grey>,
    /// Whether the chain was given up because it outgrew `[run] memory`.
    pub is_chain_too_big: bool,
    /// The codec's own idea of the motion, in time order.
    pub vectors: Vec<Vectors>,
}

impl Frames {
    /// Memory held by the pixels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.grid.iter().map(|frame| frame.rgb.len()).sum::<usize>()
            + self.pairs.iter().map(FramePair::bytes).sum::<usize>()
            + self.chain.iter().map(|grey| grey.data.len()).sum::<usize>()
            + self.vectors.iter().map(|vectors| 12 * vectors.dx.len()).sum::<usize>()
    }
}

/// At most `count` of the numbers below `have`, spread evenly: the middles of `count` equal parts.
pub fn spread(have: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(have);
    (0..count).map(move |i| (2 * i + 1) * have / (2 * count))
}

/// A regular sampling of a clip, from its first frame on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Frames per second of source time.
    pub per_second: f64,
    /// Longer side of the frames in pixels (smaller sources are not enlarged).
    pub max_side: u32,
}

/// Pairs of frames for motion, spread evenly over a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs {
    /// How many pairs; fewer of a clip that is too short for so many.
    pub count: usize,
    /// Seconds between the two frames of a pair; the next frame when the source is slower.
    pub gap_s: f64,
    /// Shorter side of the frames in pixels (smaller sources are not enlarged, and the longer side
    /// is at most [`Self::MOST_ASPECT`] times as long).
    pub short_side: u32,
}

impl Pairs {
    /// The longer side of a frame is at most this many times `short_side`.
    pub const MOST_ASPECT: u32 = 4;

    /// Seconds between the first frame and the near one.
    #[must_use]
    pub fn near_gap_s(&self) -> f64 {
        self.gap_s / 3.0
    }
}

/// Every n-th frame of a clip, in full size and grey, counted from the clip's first frame
/// in decode order: the sampling of the released EasyAnimate motion score.
///
/// The step is `int(fps / min(per_second, fps))` frames, where `fps` is the stream's average rate;
/// a clip that has no second such frame ends its chain with its last frame. The pixels are those
/// of `cv2.VideoCapture` and `cv2.cvtColor`.
///
/// All of a clip's chain is held until the clip ends: 21 frames for 10 s at 2 per second, so
/// 44 MB at 1080p and 174 MB at 2160p. It is counted like all frames in flight. A clip whose chain
/// would not fit into `[run] memory` has none. Measuring on the way instead would hold two
/// frames, but on the decoding thread, for clips too that are dropped before they are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chain {
    /// Frames per second.
    pub per_second: f64,
}

/// Motion vectors of a clip's predicted frames, spread evenly over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorNeed {
    /// How many frames' vectors; up to twice as many are given.
    pub count: usize,
}

/// What a stage needs to see of a clip.
///
/// All sampling counts from the clip's first frame, so a clip gives the same frames whether it
/// was cut out of a film or is a file of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameNeed {
    /// Frames on a regular grid.
    pub grid: Option<Grid>,
    /// Pairs of neighbouring frames.
    pub pairs: Option<Pairs>,
    /// Full-size frames in grey.
    pub chain: Option<Chain>,
    /// The codec's motion vectors.
    pub vectors: Option<VectorNeed>,
}

impl FrameNeed {
    /// The smallest need that serves both: the denser sampling at the larger size.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        fn both<T>(a: Option<T>, b: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(merge(a, b)),
                (a, b) => a.or(b),
            }
        }
        Self {
            grid: both(self.grid, other.grid, |a, b| Grid {
                per_second: a.per_second.max(b.per_second),
                max_side: a.max_side.max(b.max_side),
            }),
            pairs: both(self.pairs, other.pairs, |a, b| Pairs {
                count: a.count.max(b.count),
                gap_s: a.gap_s.min(b.gap_s),
                short_side: a.short_side.max(b.short_side),
            }),
            chain: both(self.chain, other.chain, |a, b| Chain {
                per_second: a.per_second.max(b.per_second),
            }),
            vectors: both(self.vectors, other.vectors, |a, b| VectorNeed {
                count: a.count.max(b.count),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_merge_to_the_larger() {
        let need = |per_second, max_side| FrameNeed {
            grid: Some(Grid { per_second, max_side }),
            ..FrameNeed::default()
        };
        let (thumbs, text) = (need(2.0, 320), need(0.5, 960));
        let both = thumbs.merge(text);
        assert_eq!(both.grid, Some(Grid { per_second: 2.0, max_side: 960 }));
        assert_eq!(both, text.merge(thumbs));
        assert_eq!(both.merge(FrameNeed::default()), both);
    }

    #[test]
    fn picks_are_spread() {
        let picked = |n| spread(10, n).collect::<Vec<_>>();
        assert_eq!(picked(1), [5]);
        assert_eq!(picked(2), [2, 7]);
        assert_eq!(picked(99).len(), 10);
    }
}
