//! From cuts to clips: the paper's rule, applied while frames are still arriving.
//!
//! A scene runs from one cut to the next. A scene longer than the longest clip is cut into
//! consecutive pieces from its start, each as many frames as fit into that length; the remainder
//! is a clip like any other (and is dropped by judgement when it is too short).
//!
//! Only settled frames leave, so what is kept in memory is one piece and the few frames about
//! which a detector has not made up its mind.

use std::collections::{BTreeSet, VecDeque};

use curate_schemas::TimeBase;

/// What made a clip start or end where it does; stored as `cut_in` and `cut_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The source begins or ends here.
    Source,
    /// A detected cut.
    Cut,
    /// The longest allowed clip was reached.
    Length,
    /// A boundary between units.
    Unit,
    /// The rest could not be decoded.
    Error,
}

impl Edge {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Cut => "cut",
            Self::Length => "length",
            Self::Unit => "unit",
            Self::Error => "error",
        }
    }

    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Length | Self::Unit)
    }
}

/// A stretch of frames that becomes a clip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Number of the first frame.
    pub(crate) first: u64,
    /// Number of the frame after the last one.
    pub(crate) end: u64,
    /// PTS of the first frame.
    pub(crate) start_pts: i64,
    /// PTS of the frame after the last one, or the end of the last frame of all.
    pub(crate) end_pts: i64,
    pub(crate) cut_in: Edge,
    pub(crate) cut_out: Edge,
}

/// Cuts a stream of frames into pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    time_base: TimeBase,
    max_s: f64,
    trim_s: f64,
    /// PTS of the frames from the start of the open piece on; the front one is frame `first`.
    pts: VecDeque<i64>,
    first: u64,
    cut_in: Edge,
    cuts: BTreeSet<u64>,
    /// End of the last frame so far.
    end_pts: i64,
}

impl Pieces {
    pub(crate) fn new(time_base: TimeBase, max_s: f64, trim_s: f64, cut_in: Edge) -> Self {
        Self {
            time_base,
            max_s,
            trim_s,
            pts: VecDeque::new(),
            first: 0,
            cut_in,
            cuts: BTreeSet::new(),
            end_pts: 0,
        }
    }

    /// The next frame. PTS must increase.
    pub(crate) fn frame(&mut self, pts: i64, duration: i64) {
        self.pts.push_back(pts);
        self.end_pts = pts + duration.max(1);
    }

    /// Where the frame after the last one begins, which its own duration may get wrong: remuxed files
    /// of varying rate give each frame the mean.
    pub(crate) fn end_at(&mut self, pts: i64) {
        if self.pts.back().is_some_and(|last| *last < pts) {
            self.end_pts = pts;
        }
    }

    /// A detector found that `frame` begins a new scene. A cut at the very first frame is no cut.
    pub(crate) fn cut(&mut self, frame: u64) {
        if frame > self.first {
            self.cuts.insert(frame);
        }
    }

    /// Number of the first frame of the open piece.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// PTS from which on frames of the open piece are part of its clip: what is before is trimmed.
    pub(crate) fn from(&self) -> i64 {
        match self.pts.front() {
            Some(first) if self.cut_in == Edge::Cut => first + self.time_base.ticks(self.trim_s),
            _ => i64::MIN,
        }
    }

    /// The next piece that is certain, when no frame before `settled` can become a cut any more.
    /// Call until it gives none.
    pub(crate) fn next(&mut self, settled: u64) -> Option<Option<Piece>> {
        let length = self.length_boundary();
        let cut = self.cuts.first().copied();
        match (cut, length) {
            // A boundary is certain once everything up to and including it is settled.
            (Some(cut), _) if cut < settled && length.is_none_or(|length| cut <= length) => {
                self.cuts.pop_first();
                Some(self.close(cut, Edge::Cut))
            }
            (_, Some(length)) if length < settled => Some(self.close(length, Edge::Length)),
            _ => None,
        }
    }

    /// After the last frame: the rest of the pieces, one for each call. All cuts are final now.
    pub(crate) fn finish(&mut self, cut_out: Edge) -> Option<Option<Piece>> {
        if let Some(piece) = self.next(u64::MAX) {
            return Some(piece);
        }
        let end = self.first + self.pts.len() as u64;
        // The last frame ends the piece by its duration, which may be too much for it.
        let start = *self.pts.front()?;
        if self.pts.len() > 1 && self.time_base.seconds(self.end_pts - start) > self.max_s {
            return Some(self.close(end - 1, Edge::Length));
        }
        (end > self.first).then(|| self.close(end, cut_out))
    }

    /// The first frame that does not fit into the open piece any more: the piece's frames end at
    /// or before `start + max_s`. A piece has at least one frame.
    fn length_boundary(&self) -> Option<u64> {
        let start = *self.pts.front()?;
        let fits = |pts: i64| self.time_base.seconds(pts - start) <= self.max_s;
        // Frame k fits when it ends by then, and it ends where frame k + 1 begins.
        if self.pts.back().is_none_or(|last| fits(*last)) {
            return None;
        }
        let beyond = self.pts.partition_point(|pts| fits(*pts));
        Some(self.first + (beyond.max(2) - 1) as u64)
    }

    /// Ends the open piece before frame `end`. Gives none when trimming leaves no frame.
    fn close(&mut self, end: u64, cut_out: Edge) -> Option<Piece> {
        let count = (end - self.first) as usize;
        let end_pts = self.pts.get(count).copied().unwrap_or(self.end_pts);
        let (first, cut_in, from) = (self.first, self.cut_in, self.from());
        let pts: Vec<i64> = self.pts.drain(..count).collect();
        self.first = end;
        self.cut_in = cut_out;
        self.cuts = self.cuts.split_off(&(end + 1));

        let trim = self.time_base.ticks(self.trim_s);
        let until = if cut_out == Edge::Cut { end_pts - trim } else { i64::MAX };
        let skip = pts.partition_point(|pts| *pts < from);
        let take = pts.partition_point(|pts| *pts < until);
        if skip >= take {
            return None;
        }
        Some(Piece {
            first: first + skip as u64,
            end: first + take as u64,
            start_pts: pts[skip],
            end_pts: pts.get(take).copied().unwrap_or(end_pts),
            cut_in,
            cut_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TB: TimeBase = TimeBase { num: 1, den: 1000 };

    fn pieces(fps: i64, frames: u64, cuts: &[u64], trim_s: f64) -> Vec<(i64, i64, Edge, Edge)> {
        let mut pieces = Pieces::new(TB, 10.0, trim_s, Edge::Source);
        let mut out = Vec::new();
        for frame in 0..frames {
            pieces.frame(frame as i64 * 1000 / fps, 1000 / fps);
            if cuts.contains(&frame) {
                pieces.cut(frame);
            }
            while let Some(piece) = pieces.next(frame + 1) {
                out.extend(piece);
            }
        }
        while let Some(piece) = pieces.finish(Edge::Source) {
            out.extend(piece);
        }
        out.into_iter().map(|p| (p.start_pts, p.end_pts, p.cut_in, p.cut_out)).collect()
    }

    #[test]
    fn long_scenes_are_cut_every_ten_seconds() {
        assert_eq!(
            pieces(25, 25 * 23, &[], 0.0),
            [
                (0, 10_000, Edge::Source, Edge::Length),
                (10_000, 20_000, Edge::Length, Edge::Length),
                (20_000, 23_000, Edge::Length, Edge::Source),
            ]
        );
    }

    #[test]
    fn the_count_starts_again_at_a_cut() {
        assert_eq!(
            pieces(25, 25 * 15, &[25 * 4], 0.0),
            [
                (0, 4000, Edge::Source, Edge::Cut),
                (4000, 14_000, Edge::Cut, Edge::Length),
                (14_000, 15_000, Edge::Length, Edge::Source),
            ]
        );
    }

    #[test]
    fn a_cut_where_the_length_is_reached_is_a_cut() {
        let both = pieces(25, 25 * 12, &[250], 0.0);
        assert_eq!(both[0], (0, 10_000, Edge::Source, Edge::Cut));
    }

    #[test]
    fn edges_at_cuts_are_trimmed() {
        let trimmed = pieces(25, 25 * 8, &[100], 0.2);
        assert_eq!(
            trimmed,
            [(0, 3800, Edge::Source, Edge::Cut), (4200, 8000, Edge::Cut, Edge::Source)]
        );
    }

    #[test]
    fn the_last_piece_ends_where_the_next_unit_begins() {
        for duration in [20, 120] {
            let mut pieces = Pieces::new(TB, 10.0, 0.0, Edge::Source);
            pieces.frame(0, duration);
            pieces.frame(40, duration);
            pieces.end_at(100);
            let piece = pieces.finish(Edge::Unit).unwrap().unwrap();
            assert_eq!((piece.start_pts, piece.end_pts), (0, 100));
        }
    }

    #[test]
    fn a_frame_longer_than_the_longest_clip_is_a_clip() {
        let mut pieces = Pieces::new(TB, 10.0, 0.0, Edge::Source);
        pieces.frame(0, 40);
        pieces.frame(30_000, 40);
        let piece = pieces.next(2).unwrap().unwrap();
        assert_eq!((piece.start_pts, piece.end_pts, piece.end), (0, 30_000, 1));
    }

    proptest! {
        #[test]
        fn pieces_tile_the_stream(
            gaps in proptest::collection::vec(1..4000_i64, 1..200),
            cuts in proptest::collection::btree_set(0..200_u64, 0..20),
            lag in 0..20_u64,
        ) {
            let mut pieces = Pieces::new(TB, 10.0, 0.0, Edge::Source);
            let (mut out, mut pts) = (Vec::new(), 0);
            let frames = gaps.len() as u64;
            for (frame, gap) in (0_u64..).zip(&gaps) {
                pieces.frame(pts, *gap);
                pts += gap;
                if cuts.contains(&frame) {
                    pieces.cut(frame);
                }
                while let Some(piece) = pieces.next((frame + 1).saturating_sub(lag)) {
                    out.extend(piece);
                }
            }
            while let Some(piece) = pieces.finish(Edge::Source) {
                out.extend(piece);
            }
            prop_assert_eq!(out.first().map(|p| (p.first, p.start_pts)), Some((0, 0)));
            prop_assert_eq!(out.last().map(|p| (p.end, p.end_pts)), Some((frames, pts)));
            for pair in out.windows(2) {
                prop_assert_eq!((pair[0].end, pair[0].end_pts), (pair[1].first, pair[1].start_pts));
            }
            for piece in &out {
                prop_assert!(piece.end - piece.first == 1 || piece.end_pts - piece.start_pts <= 10_000);
            }
            let boundaries: BTreeSet<u64> = out.iter().map(|p| p.first).collect();
            for cut in cuts.iter().filter(|cut| **cut > 0 && **cut < frames) {
                prop_assert!(boundaries.contains(cut), "the cut at {cut} was lost");
            }
        }
    }
}
