//! Pixels in flight, and how a stage says which ones it needs.
//!
//! Needs are declared, merged over all stages and served from one decode. A clip's end is not
//! known while it is being decoded, so a stage cannot ask for "eight frames of the clip"; it asks
//! for a *grid* (so many per second, at most so big) and picks from it afterwards.

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

/// Two frames for measuring the motion between them.
#[derive(Clone, Debug, PartialEq)]
pub struct FramePair {
    /// The earlier frame.
    pub first: Frame,
    /// The later frame.
    pub second: Frame,
    /// Time between them in seconds.
    pub gap_s: f64,
}

/// The frames that travel with a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frames {
    /// Frames on the merged grid, in time order.
    pub grid: Vec<Frame>,
    /// Pairs for motion, in time order.
    pub pairs: Vec<FramePair>,
}

impl Frames {
    /// Memory held by the pixels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.first, &pair.second]);
        self.grid.iter().chain(pairs).map(|frame| frame.rgb.len()).sum()
    }

    /// At most `count` grid frames, spread evenly: the middles of `count` equal parts.
    #[must_use]
    pub fn uniform(&self, count: usize) -> Vec<&Frame> {
        let have = self.grid.len();
        let count = count.min(have);
        (0..count).map(|i| &self.grid[(2 * i + 1) * have / (2 * count)]).collect()
    }
}

/// A regular sampling of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Frames per second of source time.
    pub per_second: f64,
    /// Longer side of the frames in pixels (smaller sources are not enlarged).
    pub max_side: u32,
}

/// Pairs of frames for motion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs {
    /// Seconds from the start of one pair to the start of the next.
    pub every_s: f64,
    /// Seconds between the two frames of a pair; the next frame when the source is slower.
    pub gap_s: f64,
    /// Longer side of the frames in pixels (smaller sources are not enlarged).
    pub max_side: u32,
}

/// What a stage needs to see of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameNeed {
    /// Frames on a regular grid.
    pub grid: Option<Grid>,
    /// Pairs of neighbouring frames.
    pub pairs: Option<Pairs>,
}

impl FrameNeed {
    /// The smallest need that serves both: the denser sampling at the larger size.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let grid = match (self.grid, other.grid) {
            (Some(a), Some(b)) => Some(Grid {
                per_second: a.per_second.max(b.per_second),
                max_side: a.max_side.max(b.max_side),
            }),
            (a, b) => a.or(b),
        };
        let pairs = match (self.pairs, other.pairs) {
            (Some(a), Some(b)) => Some(Pairs {
                every_s: a.every_s.min(b.every_s),
                gap_s: a.gap_s.min(b.gap_s),
                max_side: a.max_side.max(b.max_side),
            }),
            (a, b) => a.or(b),
        };
        Self { grid, pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_merge_to_the_larger() {
        let thumbs = FrameNeed { grid: Some(Grid { per_second: 2.0, max_side: 320 }), pairs: None };
        let text = FrameNeed { grid: Some(Grid { per_second: 0.5, max_side: 960 }), pairs: None };
        let both = thumbs.merge(text);
        assert_eq!(both.grid, Some(Grid { per_second: 2.0, max_side: 960 }));
        assert_eq!(both, text.merge(thumbs));
        assert_eq!(both.merge(FrameNeed::default()), both);
    }

    #[test]
    fn uniform_frames_are_spread() {
        let frame = |pts| Frame { pts, width: 1, height: 1, rgb: vec![0; 3] };
        let frames = Frames { grid: (0..10).map(frame).collect(), pairs: vec![] };
        let picked = |n| frames.uniform(n).iter().map(|f| f.pts).collect::<Vec<_>>();
        assert_eq!(picked(1), [5]);
        assert_eq!(picked(2), [2, 7]);
        assert_eq!(picked(99).len(), 10);
        assert_eq!(frames.bytes(), 30);
    }
}
