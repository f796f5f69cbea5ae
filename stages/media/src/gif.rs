//! Frames as an animated GIF (GIF89a) with one palette for all of them.
//!
//! A palette for each frame flickers, so the palette is made of the whole clip, and pixels can only be
//! written once the last frame is known: until then frames wait in a file that the caller gives, and
//! memory does not grow with the clip. The palette is a median cut (Heckbert, "Color image
//! quantization for frame buffer display", 1982) of the colours to six bits a channel, each entry the
//! mean of its colours; the dither is ordered, so that what stands still does not change. Of each frame
//! only the rectangle that differs from the one before is written.
//!
//! Decided against FFmpeg's `palettegen`: its graph holds all frames in memory.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
};

use crate::{FrameRate, MediaError, Picture, PixelFormat, Size, lzw};

/// Bits of a channel that colours are told apart by.
const BITS: u32 = 6;
/// Colours that are told apart.
const BINS: usize = 1 << (3 * BITS);
/// Colours of a palette.
const COLOURS: usize = 256;
/// The largest step up or down of the dither, in levels.
const DITHER: i32 = 6;
/// Order in which the pixels of a square of four get brighter (Bayer, 1973).
const BAYER: [[i32; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

/// A GIF of frames that are given one by one.
#[derive(Debug)]
pub struct Gif {
    size: Size,
    rate: FrameRate,
    scratch: File,
    frames: u64,
    /// Pixels of each colour, and the sums of their channels.
    counts: Vec<[u64; 4]>,
}

impl Gif {
    /// The highest rate: two hundredths of a second. Players show frames of less for ten.
    pub const MOST_FPS: f64 = 50.0;
    /// The lowest rate: a frame's time has sixteen bits.
    pub const LEAST_FPS: f64 = 100.0 / 65535.0;

    /// A GIF without frames yet; they wait in `scratch`, an empty file.
    ///
    /// # Errors
    /// `convert` for sizes and rates that GIF does not have.
    pub fn new(size: Size, rate: FrameRate, scratch: File) -> Result<Self, MediaError> {
        size.ints()?;
        if size.width.max(size.height) > u32::from(u16::MAX) {
            return Err(refuse(format!("{}x{} is too large", size.width, size.height)));
        }
        if !(Self::LEAST_FPS..=Self::MOST_FPS).contains(&rate.fps()) {
            return Err(refuse(format!("{} frames per second cannot be told", rate.fps())));
        }
        Ok(Self { size, rate, scratch, frames: 0, counts: vec![[0; 4]; BINS] })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// `convert` when it is of another size, or cannot be written to the scratch file.
    pub fn push(&mut self, picture: &Picture) -> Result<(), MediaError> {
        let rgb = picture.to_format(PixelFormat::Rgb8)?;
        if rgb.size() != self.size {
            let Size { width, height } = self.size;
            let found = format!("a frame of {}x{}", rgb.width, rgb.height);
            return Err(refuse(format!("{found} in a GIF of {width}x{height}")));
        }
        for pixel in rgb.data.as_chunks::<3>().0 {
            let bin = &mut self.counts[bin(*pixel)];
            bin[0] += 1;
            for (sum, level) in bin[1..].iter_mut().zip(pixel) {
                *sum += u64::from(*level);
            }
        }
        self.scratch.write_all(&rgb.data).map_err(|error| refuse(error.to_string()))?;
        self.frames += 1;
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// `convert` when there was no frame, or a file cannot be read or written.
    pub fn finish(mut self, out: &mut dyn io::Write) -> Result<(), MediaError> {
        if self.frames == 0 {
            return Err(refuse("there are no frames".to_owned()));
        }
        self.write(out).map_err(|error| refuse(error.to_string()))
    }

    fn write(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        let is_exact = self.counts.iter().filter(|bin| bin[0] > 0).count() <= COLOURS;
        let palette = palette(&self.counts);
        let nearest = Nearest::new(&palette);
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let (width, height) = (side(self.size.width), side(self.size.height));
        out.write_all(b"GIF89a")?;
        out.write_all(&width.to_le_bytes())?;
        out.write_all(&height.to_le_bytes())?;
        // A palette of 256 for all frames, and no background.
        out.write_all(&[0xf7, 0, 0])?;
        let mut colours = palette.concat();
        colours.resize(3 * COLOURS, 0);
        out.write_all(&colours)?;
        if self.frames > 1 {
            // For ever.
            out.write_all(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")?;
        }
        self.scratch.rewind()?;
        let mut pixels = vec![0; self.size.pixels() * 3];
        let (mut before, mut shown): (Option<Vec<u8>>, u64) = (None, 0);
        for frame in 1..=self.frames {
            self.scratch.read_exact(&mut pixels)?;
            let dither = if is_exact { 0 } else { DITHER };
            let indices = nearest.frame(&pixels, usize::from(width), dither);
            let area = match &before {
                Some(before) => changed(before, &indices, usize::from(width)),
                None => Area { x: 0, y: 0, width, height },
            };
            // Hundredths of a second, rounded so that errors do not add up.
            let until = (frame * 100 * u64::from(self.rate.den) * 2 + u64::from(self.rate.num))
                / (2 * u64::from(self.rate.num));
            let delay = u16::try_from(until - shown).unwrap_or(u16::MAX);
            shown = until;
            image(out, (delay, area), &indices, usize::from(width))?;
            before = Some(indices);
        }
        out.write_all(b";")
    }
}

fn refuse(reason: String) -> MediaError {
    MediaError::Convert { during: "writing a GIF", reason }
}

fn bin(pixel: [u8; 3]) -> usize {
    pixel.iter().fold(0, |bin, level| bin << BITS | usize::from(*level >> (8 - BITS)))
}

/// A rectangle of a frame.
#[derive(Clone, Copy, Debug)]
struct Area {
    x: u16,
    y: u16,
    width: u16,
    height: u16,
}

/// The rectangle in which two frames differ; a pixel of it when they do not.
fn changed(before: &[u8], now: &[u8], width: usize) -> Area {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    for (y, (before, now)) in before.chunks_exact(width).zip(now.chunks_exact(width)).enumerate() {
        for x in (0..width).filter(|x| before[*x] != now[*x]) {
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
    }
    if left > right {
        (left, top) = (0, 0);
    }
    let side = |side: usize| u16::try_from(side).unwrap_or(u16::MAX);
    Area {
        x: side(left),
        y: side(top),
        width: side(right - left + 1),
        height: side(bottom - top + 1),
    }
}

/// At most 256 colours for all that occur.
fn palette(counts: &[[u64; 4]]) -> Vec<[u8; 3]> {
    let channel = |bin: usize, channel: u32| bin >> (BITS * (2 - channel)) & ((1 << BITS) - 1);
    let used: Vec<usize> = (0..BINS).filter(|bin| counts[*bin][0] > 0).collect();
    let weight = |bins: &[usize]| bins.iter().map(|bin| counts[*bin][0]).sum::<u64>();
    // The channel in which a box is longest, and its length.
    let longest = |bins: &[usize]| {
        let length = |of: u32| {
            let levels = || bins.iter().map(|bin| channel(*bin, of));
            levels().max().unwrap_or(0) - levels().min().unwrap_or(0)
        };
        // The first of equal ones.
        (0..3).rev().map(|of| (length(of), of)).max_by_key(|(length, _)| *length).unwrap_or((0, 0))
    };
    let mut boxes = vec![used];
    while boxes.len() < COLOURS {
        // Many pixels, spread widely.
        let worth = |bins: &Vec<usize>| weight(bins) * longest(bins).0 as u64;
        let most = boxes.iter().map(worth).enumerate().rev().max_by_key(|(_, worth)| *worth);
        let Some((index, _)) = most.filter(|(_, worth)| *worth > 0) else { break };
        let mut bins = boxes.swap_remove(index);
        let (_, along) = longest(&bins);
        bins.sort_by_key(|bin| (channel(*bin, along), *bin));
        let half = weight(&bins).div_ceil(2);
        let mut sum = 0;
        let reaches = |bin: &usize| {
            sum += counts[*bin][0];
            sum >= half
        };
        let cut = bins.iter().position(reaches).unwrap_or(0) + 1;
        // Equal levels may lie on both sides: a box need not be cut where its level changes.
        let upper = bins.split_off(cut.min(bins.len() - 1).max(1));
        boxes.extend([bins, upper]);
    }
    let mean = |bins: &Vec<usize>| {
        let pixels = weight(bins).max(1);
        let sum = |of: usize| bins.iter().map(|bin| counts[*bin][of]).sum::<u64>();
        [1, 2, 3].map(|of| u8::try_from((sum(of) + pixels / 2) / pixels).unwrap_or(u8::MAX))
    };
    let mut colours: Vec<[u8; 3]> = boxes.iter().map(mean).collect();
    colours.sort_unstable();
    colours
}

/// The palette's entry for each colour.
struct Nearest(Vec<u8>);

impl Nearest {
    fn new(palette: &[[u8; 3]]) -> Self {
        let half = 1 << (7 - BITS);
        let level = |bin: usize, of: u32| {
            ((bin >> (BITS * (2 - of)) & ((1 << BITS) - 1)) as i32) << (8 - BITS) | half
        };
        let entry = |bin: usize| {
            let wanted = [0, 1, 2].map(|of| level(bin, of));
            let distance = |colour: &[u8; 3]| -> i32 {
                colour.iter().zip(wanted).map(|(a, b)| (i32::from(*a) - b).pow(2)).sum()
            };
            let best = palette.iter().enumerate().min_by_key(|(_, colour)| distance(colour));
            best.map_or(0, |(index, _)| index as u8)
        };
        Self((0..BINS).map(entry).collect())
    }

    fn frame(&self, pixels: &[u8], width: usize, dither: i32) -> Vec<u8> {
        let pixels = pixels.as_chunks::<3>().0.iter().enumerate();
        let entry = |(at, pixel): (usize, &[u8; 3])| {
            let step = (2 * BAYER[at / width % 4][at % width % 4] - 15) * dither / 15;
            let moved = pixel.map(|level| (i32::from(level) + step).clamp(0, 255) as u8);
            self.0[bin(moved)]
        };
        pixels.map(entry).collect()
    }
}

/// Writes one frame.
fn image(
    out: &mut dyn io::Write,
    (delay, area): (u16, Area),
    indices: &[u8],
    width: usize,
) -> io::Result<()> {
    // Left in place when the next one comes.
    let [low, high] = delay.to_le_bytes();
    out.write_all(&[0x21, 0xf9, 4, 1 << 2, low, high, 0, 0])?;
    out.write_all(b",")?;
    for value in [area.x, area.y, area.width, area.height] {
        out.write_all(&value.to_le_bytes())?;
    }
    out.write_all(&[0, 8])?;
    let rows = indices.chunks_exact(width).skip(area.y.into()).take(area.height.into());
    let (from, to) = (usize::from(area.x), usize::from(area.x) + usize::from(area.width));
    let pixels = rows.flat_map(|row| &row[from..to]);
    for block in lzw::packed(pixels.copied()).chunks(255) {
        out.write_all(&[block.len() as u8])?;
        out.write_all(block)?;
    }
    out.write_all(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Converter, DecodeOptions, Decoder, Filter};

    fn written(pictures: &[Picture]) -> Vec<u8> {
        let rate = FrameRate { num: 24, den: 1 };
        let scratch = tempfile::tempfile().unwrap();
        let mut gif = Gif::new(pictures[0].size(), rate, scratch).unwrap();
        pictures.iter().for_each(|picture| gif.push(picture).unwrap());
        let mut bytes = Vec::new();
        gif.finish(&mut bytes).unwrap();
        bytes
    }

    fn decoded(bytes: &[u8], size: Size) -> Vec<Picture> {
        let file = tempfile::NamedTempFile::with_suffix(".gif").unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut decoder = Decoder::open(file.path(), &DecodeOptions::default()).unwrap();
        let mut converter = Converter::new(PixelFormat::Rgb8);
        let (mut pictures, mut last) = (Vec::new(), 0.0);
        while let Some(frame) = decoder.next_frame().unwrap() {
            pictures.push(frame.picture(&mut converter, size, Filter::Linear, true).unwrap());
            last = frame.seconds();
        }
        let wanted = (pictures.len() - 1) as f64 / 24.0;
        assert!((last - wanted).abs() < 0.006, "{last} {wanted}");
        pictures
    }

    fn painted(size: Size, colour: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let Size { width, height } = size;
        let data = (0..width * height).flat_map(|at| colour(at % width, at / width)).collect();
        Picture { width, height, format: PixelFormat::Rgb8, data }
    }

    #[test]
    fn few_colours_come_back_exactly() {
        let size = Size::new(50, 33);
        let pictures: Vec<Picture> = (0..30)
            .map(|frame| {
                painted(size, |x, y| match (x + frame, y) {
                    // Nothing moves for the first frames.
                    _ if frame < 3 => [1, 2, 3],
                    (10..20, 5..25) => [250, 30, 40],
                    (x, y) => [(x % 7 * 30) as u8, (y % 5 * 40) as u8, 90],
                })
            })
            .collect();
        let bytes = written(&pictures);
        assert_eq!(bytes, written(&pictures));
        assert_eq!(decoded(&bytes, size), pictures);
    }

    #[test]
    fn many_colours_come_back_nearly_and_long_strings_whole() {
        // More strings than the table holds.
        let size = Size::new(200, 150);
        let pictures: Vec<Picture> = (0..3)
            .map(|frame| {
                painted(size, |x, y| {
                    let noise = (x * 7919 + y * 104_729 + frame * 31).wrapping_mul(2_654_435_761);
                    [x as u8, (y + frame * 5) as u8, (noise >> 26) as u8]
                })
            })
            .collect();
        let found = decoded(&written(&pictures), size);
        assert_eq!(found.len(), 3);
        for (found, wanted) in found.iter().zip(&pictures) {
            let gaps = found.data.iter().zip(&wanted.data).map(|(a, b)| u64::from(a.abs_diff(*b)));
            let mean = gaps.sum::<u64>() as f64 / wanted.data.len() as f64;
            assert!(mean < 9.0, "{mean}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let rate = FrameRate { num: 24, den: 1 };
        let gif = |size| Gif::new(size, rate, tempfile::tempfile().unwrap());
        assert!(gif(Size::new(70_000, 2)).is_err());
        for (num, den, can_be) in [(50, 1, true), (51, 1, false), (1, 655, true), (1, 656, false)] {
            let rate = FrameRate { num, den };
            let made = Gif::new(Size::new(4, 4), rate, tempfile::tempfile().unwrap());
            assert_eq!(made.is_ok(), can_be, "{num}/{den}");
        }
        let mut empty = gif(Size::new(4, 4)).unwrap();
        let other = painted(Size::new(4, 5), |_, _| [0; 3]);
        assert!(empty.push(&other).unwrap_err().to_string().contains("4x5"));
        assert!(empty.finish(&mut Vec::new()).unwrap_err().to_string().contains("no frames"));
    }
}
