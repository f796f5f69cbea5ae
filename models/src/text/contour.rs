//! The outlines of a mask's regions, as far as smallest rectangles need them.
//!
//! Regions are of set pixels that touch by a side or a corner; holes are of clear pixels that touch
//! by a side and are cut off from the border of the mask. Both have an outline, as with OpenCV's
//! `findContours(RETR_LIST)`: of a region its outermost pixels, of a hole the set pixels beside it.
//!
//! Here a mask is read once, row by row, as runs of equal pixels, and runs that touch are joined.
//! An outline is given by the ends of its runs: fewer points than a traced outline has, with the
//! same hull.

/// The pixels of an outline that can be corners of its hull, x and y, in no particular order.
pub(super) type Outline = Vec<[u32; 2]>;

/// Set and clear pixels, rows from the top.
#[derive(Debug)]
pub(super) struct Mask {
    /// One for each pixel.
    pub(super) set: Vec<bool>,
    /// Pixels in a row, at least 1.
    pub(super) width: usize,
}

/// Equal pixels side by side.
#[derive(Clone, Copy, Debug)]
struct Run {
    y: usize,
    start: usize,
    /// One after the last pixel.
    end: usize,
    set: bool,
}

impl Mask {
    /// Sets each pixel that has a set one to its left, above it or diagonally between, as OpenCV's
    /// `dilate` with a kernel of 2x2 does: regions grow by one to the right and downwards. With
    /// this the numbers of the first and last pixel are the positions of a region's edges.
    pub(super) fn dilate(&mut self) {
        let width = self.width;
        for row in self.set.chunks_exact_mut(width) {
            for x in (1..width).rev() {
                row[x] |= row[x - 1];
            }
        }
        for at in (width..self.set.len()).rev() {
            self.set[at] |= self.set[at - width];
        }
    }

    /// The outlines of all regions and holes, ordered by where reading the mask first meets them.
    pub(super) fn outlines(&self) -> Vec<Outline> {
        let (runs, rows) = self.runs();
        let mut groups = Groups::new(runs.len());
        // Pixels above and below clear runs, by the run.
        let mut beside: Vec<(usize, [u32; 2])> = Vec::new();
        for pair in rows.windows(3) {
            let (mut upper, mut lower) = (pair[0], pair[1]);
            while upper < pair[1] && lower < pair[2] {
                let (a, b) = (runs[upper], runs[lower]);
                let (start, end) = (a.start.max(b.start), a.end.min(b.end));
                if a.set == b.set && (start < end || a.set && start == end) {
                    groups.join(upper, lower);
                } else if a.set != b.set && start < end {
                    let (run, y) = if a.set { (lower, a.y) } else { (upper, b.y) };
                    beside.extend([(run, pixel(start, y)), (run, pixel(end - 1, y))]);
                }
                // Of runs that end together a set one stays: it may touch the next by a corner.
                if a.end < b.end || a.end == b.end && !a.set {
                    upper += 1;
                } else {
                    lower += 1;
                }
            }
        }
        self.collect(&runs, &mut groups, &beside)
    }

    /// The runs, and for each row the number of its first; at the end that of all runs, so that a
    /// window of three numbers holds two rows.
    fn runs(&self) -> (Vec<Run>, Vec<usize>) {
        let (mut runs, mut rows) = (Vec::new(), vec![0]);
        for (y, row) in self.set.chunks_exact(self.width).enumerate() {
            let mut start = 0;
            for equal in row.chunk_by(|a, b| a == b) {
                let end = start + equal.len();
                runs.push(Run { y, start, end, set: equal[0] });
                start = end;
            }
            rows.push(runs.len());
        }
        (runs, rows)
    }

    /// Sorts runs and the pixels beside them into outlines.
    fn collect(
        &self,
        runs: &[Run],
        groups: &mut Groups,
        beside: &[(usize, [u32; 2])],
    ) -> Vec<Outline> {
        let bottom = self.set.len() / self.width - 1;
        let mut open = vec![false; runs.len()];
        for (index, run) in runs.iter().enumerate() {
            let at_border =
                run.y == 0 || run.y == bottom || run.start == 0 || run.end == self.width;
            if !run.set && at_border {
                open[groups.first(index)] = true;
            }
        }
        let mut outlines: Vec<Outline> = Vec::new();
        let mut place = vec![usize::MAX; runs.len()];
        for (index, run) in runs.iter().enumerate() {
            let first = groups.first(index);
            if open[first] {
                continue;
            }
            if place[first] == usize::MAX {
                place[first] = outlines.len();
                outlines.push(Outline::new());
            }
            let ends = if run.set {
                [run.start, run.end - 1]
            } else {
                // A closed hole is nowhere at the border: both neighbours exist.
                [run.start - 1, run.end]
            };
            outlines[place[first]].extend(ends.map(|x| pixel(x, run.y)));
        }
        for (run, at) in beside {
            let place = place[groups.first(*run)];
            if place != usize::MAX {
                outlines[place].push(*at);
            }
        }
        outlines
    }
}

/// A pixel's position; masks are smaller than 2^32 pixels a side.
const fn pixel(x: usize, y: usize) -> [u32; 2] {
    [x as u32, y as u32]
}

/// Which runs belong together: a forest in which each run points to an earlier one.
struct Groups(Vec<usize>);

impl Groups {
    fn new(runs: usize) -> Self {
        Self((0..runs).collect())
    }

    /// The first run of the group, found while paths are halved.
    fn first(&mut self, mut run: usize) -> usize {
        while self.0[run] != run {
            self.0[run] = self.0[self.0[run]];
            run = self.0[run];
        }
        run
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::quad::{Point, hull};

    fn mask(rows: &[&str]) -> Mask {
        let set = rows.iter().flat_map(|row| row.bytes().map(|byte| byte == b'#')).collect();
        Mask { set, width: rows[0].len() }
    }

    fn sorted(mut outlines: Vec<Outline>) -> Vec<Outline> {
        for outline in &mut outlines {
            outline.sort_unstable();
            outline.dedup();
        }
        outlines
    }

    #[test]
    fn corners_join_regions_but_not_holes() {
        let outlines = mask(&["#..", ".#.", "..#"]).outlines();
        assert_eq!(sorted(outlines), [vec![[0, 0], [1, 1], [2, 2]]]);
        // The two clear pixels inside touch by a corner only: two holes.
        let outlines = mask(&[".###.", "##.##", "#.###", "#####"]).outlines();
        assert_eq!(outlines.len(), 3);
        let outlines = mask(&["#.#", "...", "#.#"]).outlines();
        assert_eq!(outlines.len(), 4);
    }

    #[test]
    fn a_hole_is_outlined_by_what_is_around_it() {
        let outlines = sorted(mask(&["#####", "#...#", "#####"]).outlines());
        assert_eq!(outlines[0], [[0, 0], [0, 1], [0, 2], [4, 0], [4, 1], [4, 2]]);
        assert_eq!(outlines[1], [[0, 1], [1, 0], [1, 2], [3, 0], [3, 2], [4, 1]]);
        // A gap at the border makes it a bay.
        assert_eq!(mask(&["#####", "#....", "#####"]).outlines().len(), 1);
    }

    #[test]
    fn dilation_grows_right_and_down() {
        let mut grown = mask(&["....", ".#..", "....", "...#"]);
        grown.dilate();
        assert_eq!(grown.set, mask(&["....", ".##.", ".##.", "...#"]).set);
    }

    /// Regions and holes by flooding from each pixel: slow and plain.
    fn flooded(mask: &Mask) -> Vec<Vec<[u32; 2]>> {
        let (width, height) = (mask.width as i64, (mask.set.len() / mask.width) as i64);
        let inside = |x: i64, y: i64| x >= 0 && y >= 0 && x < width && y < height;
        let set = |x: i64, y: i64| inside(x, y) && mask.set[(y * width + x) as usize];
        let mut seen = vec![false; mask.set.len()];
        let mut outlines = Vec::new();
        for at in 0..width * height {
            if seen[at as usize] {
                continue;
            }
            let wanted = mask.set[at as usize];
            let (mut open, mut stack, mut points) = (false, vec![(at % width, at / width)], vec![]);
            seen[at as usize] = true;
            while let Some((x, y)) = stack.pop() {
                if wanted {
                    points.push([x as u32, y as u32]);
                }
                for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy))) {
                    let (a, b) = (x + dx, y + dy);
                    if !wanted && dx != 0 && dy != 0 {
                        continue;
                    }
                    if !inside(a, b) {
                        open |= !wanted;
                    } else if set(a, b) == wanted {
                        let place = (b * width + a) as usize;
                        if !std::mem::replace(&mut seen[place], true) {
                            stack.push((a, b));
                        }
                    } else if !wanted {
                        points.push([a as u32, b as u32]);
                    }
                }
            }
            if !open {
                outlines.push(points);
            }
        }
        outlines
    }

    proptest! {
        #[test]
        fn outlines_have_the_hulls_of_flooded_regions(
            width in 1usize..14, bits in prop::collection::vec(prop::bool::weighted(0.6), 14..170),
        ) {
            let rows = bits.len() / width;
            let mask = Mask { set: bits[..rows * width].to_vec(), width };
            let hulls = |outlines: Vec<Vec<[u32; 2]>>| -> Vec<Vec<Point>> {
                outlines
                    .into_iter()
                    .map(|points| hull(points.into_iter().map(|p| p.map(f64::from))))
                    .collect()
            };
            prop_assert_eq!(hulls(mask.outlines()), hulls(flooded(&mask)));
        }
    }
}
