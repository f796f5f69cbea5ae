//! The compression of GIF: Lempel-Ziv-Welch (Welch, "A technique for high-performance data
//! compression", 1984) with codes that get longer, and a table that is cleared when it is full.
//!
//! The table is an array, not a hash map: two megabytes, and the same speed whatever the pixels.

/// Different pixels.
const PIXELS: usize = 256;

/// The pixels, numbers of a palette of 256, as codes of 9 to 12 bits, the lowest bit first.
pub(crate) fn packed(pixels: impl Iterator<Item = u8>) -> Vec<u8> {
    const CLEAR: u16 = 256;
    const END: u16 = 257;
    const FULL: u16 = 4096;
    let (mut bytes, mut held, mut filled) = (Vec::new(), 0_u32, 0);
    let mut write = |code: u16, bits: u32| {
        held |= u32::from(code) << filled;
        filled += bits;
        while filled >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            filled -= 8;
        }
    };
    // The code of a known string and a pixel behind it; 0: none.
    let mut table = vec![0_u16; usize::from(FULL) * PIXELS];
    let (mut next, mut bits) = (END + 1, 9);
    let mut known: Option<u16> = None;
    write(CLEAR, bits);
    for pixel in pixels {
        let Some(string) = known else {
            known = Some(u16::from(pixel));
            continue;
        };
        let place = usize::from(string) * PIXELS + usize::from(pixel);
        if table[place] > 0 {
            known = Some(table[place]);
            continue;
        }
        write(string, bits);
        if next < FULL {
            table[place] = next;
            // The reader is one string behind.
            if u32::from(next) == 1 << bits {
                bits += 1;
            }
            next += 1;
        } else {
            write(CLEAR, bits);
            table.fill(0);
            (next, bits) = (END + 1, 9);
        }
        known = Some(u16::from(pixel));
    }
    if let Some(string) = known {
        write(string, bits);
        // As the reader counts on after it.
        if u32::from(next) == 1 << bits && bits < 12 {
            bits += 1;
        }
    }
    write(END, bits);
    write(0, 7);
    bytes
}
