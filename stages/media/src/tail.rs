//! Whether a file ends where it should, for containers whose demuxers do not tell; and how many frames
//! a GIF has, of which one makes it a still picture.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// A page of Ogg is no longer.
const MOST_OGG_PAGE: u64 = 27 + 255 + 255 * 255;

/// Whether a file of this container was cut off, as far as that can be known.
pub(crate) fn is_cut_off(path: &Path, container: &str) -> bool {
    match container {
        "gif" => gif(path, usize::MAX).is_some_and(|gif| !gif.has_end),
        "ogg" => ogg_is_cut_off(path).unwrap_or(false),
        _ => false,
    }
}

/// Whether a file is a GIF of one frame.
pub(crate) fn is_single_gif(path: &Path) -> bool {
    gif(path, 2).is_some_and(|gif| gif.frames == 1)
}

/// What the blocks of a GIF come to.
struct Blocks {
    frames: usize,
    /// Whether the trailer comes after them.
    has_end: bool,
}

/// Walks through the blocks of a GIF (GIF89a, 17 to 27) up to so many frames; `None` if it is none.
fn gif(path: &Path, most: usize) -> Option<Blocks> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut head = [0; 13];
    file.read_exact(&mut head).ok()?;
    if !head.starts_with(b"GIF8") {
        return None;
    }
    let mut blocks = Blocks { frames: 0, has_end: false };
    // A block that ends too early ends the walk.
    let mut walk = || -> Option<()> {
        pass(&mut file, palette(head[10]))?;
        while blocks.frames < most {
            match byte(&mut file)? {
                0x2c => {
                    let mut about = [0; 9];
                    file.read_exact(&mut about).ok()?;
                    // And the first code's width.
                    pass(&mut file, palette(about[8]) + 1)?;
                    blocks.frames += 1;
                }
                0x21 => pass(&mut file, 1)?,
                0x3b => {
                    blocks.has_end = true;
                    return Some(());
                }
                _ => return None,
            }
            loop {
                match byte(&mut file)? {
                    0 => break,
                    length => pass(&mut file, u64::from(length))?,
                }
            }
        }
        Some(())
    };
    walk();
    Some(blocks)
}

/// Bytes of the palette that these flags speak of.
fn palette(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn byte(file: &mut BufReader<File>) -> Option<u8> {
    let byte = file.fill_buf().ok()?.first().copied()?;
    file.consume(1);
    Some(byte)
}

fn pass(file: &mut BufReader<File>, bytes: u64) -> Option<()> {
    file.seek_relative(i64::try_from(bytes).ok()?).ok()
}

/// Whether the last page of Ogg (RFC 3533) is not whole, or not marked as its stream's last.
fn ogg_is_cut_off(path: &Path) -> Option<bool> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_OGG_PAGE))).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let start = end.windows(4).rposition(|bytes| bytes == b"OggS")?;
    let page = &end[start..];
    let (Some(flags), Some(segments)) = (page.get(5), page.get(26)) else { return Some(true) };
    let header = 27 + usize::from(*segments);
    let Some(lengths) = page.get(27..header) else { return Some(true) };
    let whole = header + lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
    Some(page.len() < whole || flags & 4 == 0)
}
