//! Picking far-apart pixels out of a row with byte shuffles (x86-64).
//!
//! Sixteen neighbouring pixels of a shrunk row lie in a few 16-byte windows of the source row. A
//! `pshufb` per window moves those it holds to their places and leaves zero elsewhere, so the
//! windows are simply or'ed: five loads instead of sixteen where 1280 pixels become 256. Gather
//! instructions are no faster than single loads on the processors this was measured on. Where a
//! row is shrunk so much that a window holds hardly more than one wanted pixel, single loads win.

use std::arch::x86_64 as simd;

/// Bytes in a window, and pixels in a block.
const LANE: usize = 16;
/// More windows than this for sixteen pixels are no gain.
const MOST_WINDOWS: usize = 8;

/// One window: where it starts in the row, and which of its bytes become the first and the second
/// of the two sources of each pixel.
struct Window {
    start: usize,
    first: [u8; LANE],
    second: [u8; LANE],
}

/// Sixteen pixels of the result.
struct Block {
    /// Place of the first one.
    out: usize,
    windows: std::ops::Range<usize>,
    /// The second source's share of each, 0 to 256.
    share: [u16; LANE],
}

/// How to fill a row of the result; made once for a pair of widths.
pub(crate) struct Picks {
    from: usize,
    to: usize,
    windows: Vec<Window>,
    blocks: Vec<Block>,
    /// Whether any pixel has a second source at all.
    blends: bool,
}

impl Picks {
    /// For rows of `from` pixels; pixel `i` of the result lies between the source pixels `at[i]`
    /// and `at[i] + 1`. `None` where it would not be faster.
    pub(crate) fn new(from: usize, at: &[u32], share: &[u16]) -> Option<Self> {
        let to = at.len();
        if from < LANE || to < LANE {
            return None;
        }
        let mut picks = Self {
            from,
            to,
            windows: vec![],
            blocks: vec![],
            blends: share.iter().any(|s| *s > 0),
        };
        for block in 0..to.div_ceil(LANE) {
            // The last block overlaps the one before where the width is no multiple of sixteen.
            let out = (block * LANE).min(to - LANE);
            let wanted: Vec<usize> = at[out..out + LANE].iter().map(|at| *at as usize).collect();
            let begin = picks.windows.len();
            let mut next = wanted[0];
            while next <= wanted[LANE - 1] + 1 {
                let start = next.min(from - LANE);
                let place = |pixel: usize| {
                    let inside = pixel.checked_sub(start).filter(|byte| *byte < LANE);
                    inside.map_or(0x80, |byte| byte as u8)
                };
                let (mut first, mut second) = ([0; LANE], [0; LANE]);
                for (lane, pixel) in wanted.iter().enumerate() {
                    first[lane] = place(*pixel);
                    second[lane] = place(*pixel + 1);
                }
                picks.windows.push(Window { start, first, second });
                next = start + LANE;
            }
            let windows = begin..picks.windows.len();
            if windows.len() > MOST_WINDOWS {
                return None;
            }
            let mut shares = [0; LANE];
            shares.copy_from_slice(&share[out..out + LANE]);
            picks.blocks.push(Block { out, windows, share: shares });
        }
        Some(picks)
    }

    /// Fills `out` from a row of the source.
    ///
    /// # Safety
    /// On a processor with AVX2.
    ///
    /// # Panics
    /// If the rows have other lengths than those this was made for.
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn row(&self, row: &[u8], out: &mut [u8]) {
        assert!(row.len() == self.from && out.len() == self.to, "rows of other lengths");
        for block in &self.blocks {
            let mut first = simd::_mm_setzero_si128();
            let mut second = simd::_mm_setzero_si128();
            for window in &self.windows[block.windows.clone()] {
                // SAFETY: windows start at least sixteen bytes before the end of a row, and the
                // masks are sixteen bytes long.
                let (bytes, mask) = unsafe {
                    (
                        simd::_mm_loadu_si128(row.as_ptr().add(window.start).cast()),
                        simd::_mm_loadu_si128(window.first.as_ptr().cast()),
                    )
                };
                first = simd::_mm_or_si128(first, simd::_mm_shuffle_epi8(bytes, mask));
                if self.blends {
                    // SAFETY: as above.
                    let mask = unsafe { simd::_mm_loadu_si128(window.second.as_ptr().cast()) };
                    second = simd::_mm_or_si128(second, simd::_mm_shuffle_epi8(bytes, mask));
                }
            }
            let pixels = if self.blends { blend(first, second, &block.share) } else { first };
            // SAFETY: blocks end at the end of the row at the latest.
            unsafe { simd::_mm_storeu_si128(out.as_mut_ptr().add(block.out).cast(), pixels) };
        }
    }
}

/// `(first * (256 - share) + second * share + 128) / 256` for each byte.
#[target_feature(enable = "avx2")]
fn blend(first: simd::__m128i, second: simd::__m128i, share: &[u16; LANE]) -> simd::__m128i {
    // SAFETY: sixteen numbers of two bytes.
    let share = unsafe { simd::_mm256_loadu_si256(share.as_ptr().cast()) };
    let rest = simd::_mm256_sub_epi16(simd::_mm256_set1_epi16(256), share);
    let first = simd::_mm256_mullo_epi16(simd::_mm256_cvtepu8_epi16(first), rest);
    let second = simd::_mm256_mullo_epi16(simd::_mm256_cvtepu8_epi16(second), share);
    let sum = simd::_mm256_add_epi16(first, second);
    let sum =
        simd::_mm256_srli_epi16::<8>(simd::_mm256_add_epi16(sum, simd::_mm256_set1_epi16(128)));
    // Packing works on halves of the register: bring the two wanted quarters together.
    let packed = simd::_mm256_packus_epi16(sum, sum);
    simd::_mm256_castsi256_si128(simd::_mm256_permute4x64_epi64::<0b00_00_10_00>(packed))
}

/// Asks for a row to be brought into the cache.
pub(crate) fn fetch(row: &[u8]) {
    for line in row.chunks(64) {
        // SAFETY: a hint, which no address can make wrong; SSE is part of x86-64.
        unsafe { simd::_mm_prefetch::<{ simd::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
}
