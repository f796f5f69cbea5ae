//! Linear shrinking of one 8-bit plane: the innermost loop of the scene analysis.
//!
//! The same picture as OpenCV's `INTER_LINEAR` up to rounding, in half its time. What costs is
//! picking the few wanted pixels out of a long row, so it is done once per row of the result and
//! not twice: the two source rows are blended whole, which vectorises, and pairs of neighbours are
//! then picked from the blend: sixteen pixels at a time by byte shuffles where the processor has
//! them ([`Picks`]), else two bytes at a time. Where a position falls on a row exactly (720 rows to
//! 144) nothing is blended. The rows come from a frame that another core has just written, so
//! those that are needed next are asked for early.
//!
//! [`Take::Nearest`] picks without blending, which leaves out half of the rows where 360 become 144.
//!
//! Weights have eight bits, and ties are rounded down in one blend and up in the other, so the
//! result is off by less than two levels in the worst noise and by nothing on average. It is the
//! same on all machines.

#[cfg(target_arch = "x86_64")]
use crate::pick::Picks;

/// What becomes of the two source pixels, in each direction, that a wanted one lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Both, by how near they are.
    Blend,
    /// The nearer one.
    Nearest,
}

/// For every pixel of a shrunk row or column, the first of its two sources and the second's share.
struct Axis {
    from: usize,
    take: Take,
    at: Vec<u32>,
    /// 0 to 256.
    share: Vec<u16>,
    #[cfg(target_arch = "x86_64")]
    picks: Option<Picks>,
}

impl Axis {
    /// Centres of pixels are mapped to centres; past the edges the edge is repeated.
    fn new(from: usize, to: usize, take: Take) -> Self {
        let factor = from as f64 / to as f64;
        let place = |pixel: usize| {
            let position = ((pixel as f64 + 0.5) * factor - 0.5).max(0.0);
            let position = if take == Take::Nearest { position.round() } else { position };
            let first = position.floor() as usize;
            if first + 2 > from {
                return (from as u32 - 2, 256);
            }
            (first as u32, ((position - first as f64) * 256.0).round() as u16)
        };
        let (at, share): (Vec<u32>, Vec<u16>) = (0..to).map(place).unzip();
        Self {
            from,
            take,
            #[cfg(target_arch = "x86_64")]
            picks: Picks::new(from, &at, &share),
            at,
            share,
        }
    }
}

/// A plane to shrink: `width` and `height` are at least 2, and `stride` bytes lead from one row
/// to the next.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) data: *const u8,
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Reused tables and buffers.
#[derive(Default)]
pub(crate) struct Shrinker {
    axes: Vec<Axis>,
    row: Vec<u8>,
    pairs: Vec<u16>,
}

impl Shrinker {
    /// Fills `out`, rows of `width` pixels, from a plane that is no smaller.
    ///
    /// # Safety
    /// `source.data` must point to `height` readable rows of `width` bytes, `stride` apart, which
    /// nothing writes to meanwhile.
    pub(crate) unsafe fn shrink(
        &mut self,
        source: Source,
        take: Take,
        out: &mut [u8],
        width: usize,
    ) {
        let height = out.len() / width;
        assert!(source.width >= 2 && source.height >= 2, "a plane of one row or column");
        // A stream needs four tables; more come from changing sizes and need not be kept.
        if self.axes.len() > 8 {
            self.axes.clear();
        }
        let across = self.axis(source.width, width, take);
        let down = self.axis(source.height, height, take);
        self.row.resize(source.width, 0);
        self.pairs.resize(width, 0);
        let (across, down) = (&self.axes[across], &self.axes[down]);
        let (row, pairs) = (&mut self.row[..], &mut self.pairs[..]);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for; the rest is the
            // caller's promise.
            unsafe { rows_avx2(source, across, down, row, pairs, out) };
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { rows_plain(source, across, down, row, pairs, out) };
    }

    /// Index of the table for one direction.
    fn axis(&mut self, from: usize, to: usize, take: Take) -> usize {
        let is_it = |axis: &Axis| axis.from == from && axis.at.len() == to && axis.take == take;
        self.axes.iter().position(is_it).unwrap_or_else(|| {
            self.axes.push(Axis::new(from, to, take));
            self.axes.len() - 1
        })
    }
}

/// # Safety
/// As for [`Shrinker::shrink`], on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn rows_avx2(
    source: Source,
    across: &Axis,
    down: &Axis,
    row: &mut [u8],
    pairs: &mut [u16],
    out: &mut [u8],
) {
    let pick = |picked: &[u8], out: &mut [u8]| match &across.picks {
        // SAFETY: made for rows of this length, and the processor has AVX2.
        Some(picks) => unsafe { picks.row(picked, out) },
        None => pick_row(across, picked, pairs, out),
    };
    // SAFETY: the caller's promise.
    unsafe { rows(source, down, row, out, across.at.len(), crate::pick::fetch, pick) };
}

/// # Safety
/// As for [`Shrinker::shrink`].
unsafe fn rows_plain(
    source: Source,
    across: &Axis,
    down: &Axis,
    row: &mut [u8],
    pairs: &mut [u16],
    out: &mut [u8],
) {
    let pick = |picked: &[u8], out: &mut [u8]| pick_row(across, picked, pairs, out);
    // SAFETY: the caller's promise.
    unsafe { rows(source, down, row, out, across.at.len(), |_| {}, pick) };
}

#[inline(always)]
fn blend(first: u16, second: u16, share: u16, half: u16) -> u8 {
    let first = first.wrapping_mul(256_u16.wrapping_sub(share));
    (first.wrapping_add(second.wrapping_mul(share)).wrapping_add(half) >> 8) as u8
}

/// So many rows of the result ahead, their source is fetched into the cache.
const FETCH_AHEAD: usize = 6;

/// Blends each pair of source rows and lets `pick` fill a row of the result from it.
///
/// # Safety
/// As for [`Shrinker::shrink`]; `down` is made for the source's height.
#[inline(always)]
unsafe fn rows(
    source: Source,
    down: &Axis,
    row: &mut [u8],
    out: &mut [u8],
    width: usize,
    fetch: impl Fn(&[u8]),
    mut pick: impl FnMut(&[u8], &mut [u8]),
) {
    // SAFETY: the tables hold positions of at most the last but one row, so both are inside.
    let line = |y: usize| unsafe {
        std::slice::from_raw_parts(source.data.add(y * source.stride), source.width)
    };
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        if let (Some(at), Some(share)) =
            (down.at.get(y + FETCH_AHEAD), down.share.get(y + FETCH_AHEAD))
        {
            if *share < 256 {
                fetch(line(*at as usize));
            }
            if *share > 0 {
                fetch(line(*at as usize + 1));
            }
        }
        let at = down.at[y] as usize;
        let picked = match down.share[y] {
            0 => line(at),
            256 => line(at + 1),
            share => {
                let lines = line(at).iter().zip(line(at + 1));
                for (out, (first, second)) in row.iter_mut().zip(lines) {
                    *out = blend(u16::from(*first), u16::from(*second), share, 127);
                }
                &*row
            }
        };
        pick(picked, out);
    }
}

/// Picks and blends the pixels of one row, two bytes at a time.
#[inline(always)]
fn pick_row(across: &Axis, picked: &[u8], pairs: &mut [u16], out: &mut [u8]) {
    assert_eq!(picked.len(), across.from, "a row of another length");
    for (pair, at) in pairs.iter_mut().zip(&across.at) {
        // SAFETY: the table holds positions of at most the last but one pixel of such a row.
        let bytes = unsafe { picked.as_ptr().add(*at as usize).cast::<[u8; 2]>().read() };
        *pair = u16::from_le_bytes(bytes);
    }
    for ((out, pair), share) in out.iter_mut().zip(&*pairs).zip(&across.share) {
        *out = blend(pair & 0xff, pair >> 8, *share, 128);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact value at a pixel of the result.
    fn exact(plane: &[u8], from: (usize, usize), to: (usize, usize), x: usize, y: usize) -> f64 {
        let place = |pixel: usize, from: usize, to: usize| {
            let position = (pixel as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let position = position.clamp(0.0, from as f64 - 1.0);
            (position as usize, (position as usize + 1).min(from - 1), position.fract())
        };
        let (left, right, across) = place(x, from.0, to.0);
        let (top, bottom, down) = place(y, from.1, to.1);
        let row = |y: usize| {
            f64::from(plane[y * from.0 + left]) * (1.0 - across)
                + f64::from(plane[y * from.0 + right]) * across
        };
        row(top) * (1.0 - down) + row(bottom) * down
    }

    #[test]
    fn it_is_linear_up_to_rounding() {
        let mut shrinker = Shrinker::default();
        for (from, to) in [
            ((1280, 720), (256, 144)),
            ((640, 360), (256, 144)),
            ((641, 361), (256, 144)),
            ((1920, 1080), (256, 144)),
            ((300, 200), (300, 200)),
            ((300, 200), (299, 1)),
            ((2, 2), (1, 1)),
            ((2, 2), (2, 2)),
            ((7, 1080), (3, 144)),
            ((3840, 40), (256, 17)),
            ((17, 40), (16, 20)),
        ] {
            let mut state = 7_u32;
            let noise = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            let plane: Vec<u8> = (0..from.0 * from.1).map(noise).collect();
            let source =
                Source { data: plane.as_ptr(), stride: from.0, width: from.0, height: from.1 };
            let mut ours = vec![0; to.0 * to.1];
            // SAFETY: the plane has that many rows and outlives the call.
            unsafe { shrinker.shrink(source, Take::Nearest, &mut ours, to.0) };
            for (index, ours) in ours.iter().enumerate() {
                let place = |pixel: usize, from: usize, to: usize| {
                    let position = (pixel as f64 + 0.5) * from as f64 / to as f64 - 0.5;
                    (position.max(0.0).round() as usize).min(from - 1)
                };
                let x = place(index % to.0, from.0, to.0);
                let y = place(index / to.0, from.1, to.1);
                assert_eq!(*ours, plane[y * from.0 + x], "{from:?} to {to:?}, pixel {index}");
            }
            // SAFETY: as above.
            unsafe { shrinker.shrink(source, Take::Blend, &mut ours, to.0) };
            let across = Axis::new(from.0, to.0, Take::Blend);
            let down = Axis::new(from.1, to.1, Take::Blend);
            let (mut row, mut pairs) = (vec![0; from.0], vec![0; to.0]);
            let mut plain = vec![0; to.0 * to.1];
            // SAFETY: as above.
            unsafe { rows_plain(source, &across, &down, &mut row, &mut pairs, &mut plain) };
            assert!(ours == plain, "{from:?} to {to:?}: another picture on this processor");
            let mut sum = 0.0;
            for (index, ours) in ours.iter().enumerate() {
                let wanted = exact(&plane, from, to, index % to.0, index / to.0);
                let off = f64::from(*ours) - wanted;
                assert!(off.abs() < 2.0, "{from:?} to {to:?}: {ours} for {wanted}");
                sum += off;
            }
            let mean = sum / ours.len() as f64;
            assert!(ours.len() < 1000 || mean.abs() < 0.05, "{from:?} to {to:?}: bias {mean}");
        }
    }
}
