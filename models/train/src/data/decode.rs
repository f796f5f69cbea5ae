//! Frames of a clip's file, cut to a size.
//!
//! A clip is decoded from its beginning, since only decoding tells which frame is the n-th; pictures
//! are made of those alone that are wanted. A frame is scaled once, straight from what the codec gives:
//! shrinking takes the mean of all covered pixels, enlarging is bilinear. Colours are those that
//! stages see.
//!
//! The decoder reads files, so a clip's bytes go through one of the system's temporary folder; what is
//! read back comes from memory. Decided against decoding ahead in clips: the next epoch wants others.

use std::{
    io::Write as _,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use curate_media::{
    Access, Converter, DecodeOptions, Decoder, Filter, Frame, Interlaced, PixelFormat, Size,
};

use super::ClipFault;

/// How long a frame may take before its clip is given up.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which part of a frame is wanted, and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Framing {
    /// Scaled to cover the size; its middle.
    Middle,
    /// A square: its side as a share of the shorter one, and its place from 0 to 1 in either direction.
    Square {
        /// Share of the shorter side.
        share: f64,
        /// Place across.
        x: f64,
        /// Place down.
        y: f64,
    },
}

/// What is wanted of a clip.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    /// Frames before the clip's first in its file.
    pub(crate) skip: usize,
    /// The frames, counted from the clip's first, in order.
    pub(crate) frames: Vec<usize>,
    /// Pixels across and down.
    pub(crate) size: Size,
    /// Which part.
    pub(crate) framing: Framing,
}

/// A frame's size after scaling, and where in it the wanted part begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    scaled: Size,
    x: u32,
    y: u32,
}

fn placed(shown: (u32, u32), size: Size, framing: Framing) -> Placed {
    let (width, height) = (f64::from(shown.0.max(1)), f64::from(shown.1.max(1)));
    let (across, down) = (f64::from(size.width), f64::from(size.height));
    let scale = match framing {
        Framing::Middle => (across / width).max(down / height),
        Framing::Square { share, .. } => across / (share * width.min(height)).max(1.0),
    };
    let side = |side: f64, least: u32| ((side * scale).round() as u32).max(least);
    let scaled = Size::new(side(width, size.width), side(height, size.height));
    let (spare_x, spare_y) = (scaled.width - size.width, scaled.height - size.height);
    let at = |spare: u32, place: f64| ((f64::from(spare) + 1.0) * place) as u32;
    match framing {
        Framing::Middle => Placed { scaled, x: spare_x / 2, y: spare_y / 2 },
        Framing::Square { x, y, .. } => {
            Placed { scaled, x: at(spare_x, x).min(spare_x), y: at(spare_y, y).min(spare_y) }
        }
    }
}

/// Decodes frames of a clip's file: `[3, T, H, W]`, red first, one byte each.
///
/// # Errors
/// When the file cannot be decoded or has fewer frames.
pub(crate) fn decode(
    bytes: &[u8],
    shot: &Shot,
    cancel: &Arc<AtomicBool>,
) -> Result<Vec<u8>, ClipFault> {
    // Without a name in the folder nothing is left there, however training ends.
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let access = Access { cancel: Some(Arc::clone(cancel)), ..Access::within(DEADLINE) };
    let options = DecodeOptions {
        threads: 1,
        access,
        interlaced: Interlaced::Deinterlace,
        segment: None,
        ..DecodeOptions::default()
    };
    let mut decoder = Decoder::open(&path, &options)?;
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let (count, plane) = (shot.frames.len(), shot.size.width as usize * shot.size.height as usize);
    let mut values = vec![0; 3 * count * plane];
    let mut at = 0;
    for (place, wanted) in shot.frames.iter().enumerate() {
        let wanted = wanted + shot.skip;
        if place > 0 && wanted < at {
            // The same frame again: only where frames are as far apart as they can be.
            copy_frame(&mut values, place, count, plane);
            continue;
        }
        loop {
            let Some(frame) = decoder.next_frame()? else {
                let found = at.saturating_sub(shot.skip);
                return Err(ClipFault::Short { wanted: wanted - shot.skip, found });
            };
            at += 1;
            if at > wanted {
                write_frame(&frame, &mut converter, shot, (&mut values, place))?;
                break;
            }
        }
    }
    Ok(values)
}

/// Repeats the frame before.
fn copy_frame(values: &mut [u8], place: usize, count: usize, plane: usize) {
    for channel in 0..3 {
        let to = (channel * count + place) * plane;
        values.copy_within(to - plane..to, to);
    }
}

fn write_frame(
    frame: &Frame,
    converter: &mut Converter,
    shot: &Shot,
    (values, place): (&mut [u8], usize),
) -> Result<(), ClipFault> {
    let shown = frame.display_size();
    let Placed { scaled, x, y } = placed(shown, shot.size, shot.framing);
    let is_smaller = scaled.width < shown.0 || scaled.height < shown.1;
    let filter = if is_smaller { Filter::Area } else { Filter::Linear };
    let picture = frame.picture(converter, scaled, filter, true)?;
    let (count, size) = (shot.frames.len(), shot.size);
    let (width, height) = (size.width as usize, size.height as usize);
    for row in 0..height {
        let from = ((y as usize + row) * picture.width as usize + x as usize) * 3;
        let pixels = &picture.data[from..from + width * 3];
        for channel in 0..3 {
            let to = ((channel * count + place) * height + row) * width;
            let line = &mut values[to..to + width];
            for (value, pixel) in line.iter_mut().zip(pixels.chunks_exact(3)) {
                *value = pixel[channel];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use curate_testing::make;

    use super::*;

    #[test]
    fn frames_are_covered_and_cut_in_the_middle() {
        let size = Size::new(64, 48);
        let of = |shown| placed(shown, size, Framing::Middle);
        assert_eq!(of((640, 480)), Placed { scaled: size, x: 0, y: 0 });
        assert_eq!(of((960, 480)), Placed { scaled: Size::new(96, 48), x: 16, y: 0 });
        assert_eq!(of((640, 960)), Placed { scaled: Size::new(64, 96), x: 0, y: 24 });
        assert_eq!(of((32, 24)).scaled, size);
        let square = Size::new(64, 64);
        let of = |share, x, y| placed((640, 320), square, Framing::Square { share, x, y });
        assert_eq!(of(1.0, 0.0, 0.0), Placed { scaled: Size::new(128, 64), x: 0, y: 0 });
        assert_eq!(of(0.5, 0.999_999, 0.5), Placed { scaled: Size::new(256, 128), x: 192, y: 32 });
        assert_eq!(of(1e-9, 0.0, 0.0).scaled, Size::new(40_960, 20_480));
    }

    /// Each frame of the film is of one grey, 4 levels above the last.
    #[test]
    fn the_frames_that_are_asked_for_come() {
        let folder = tempfile::tempdir().unwrap();
        let line = "-f lavfi -i color=gray:size=64x48:rate=25,format=gray,geq=lum=4*N+20 -frames:v 40 \
                    -c:v libx264 -qp 0 -bf 2 -g 12 -pix_fmt yuv420p";
        let bytes = std::fs::read(make(folder.path(), "a.mp4", line)).unwrap();
        let cancel = Arc::default();
        let shot = |skip, frames: &[usize]| Shot {
            skip,
            frames: frames.to_vec(),
            size: Size::new(32, 16),
            framing: Framing::Middle,
        };
        let wanted = [3, 4, 17, 17, 39];
        for skip in [0, 2] {
            let wanted: Vec<usize> = wanted.iter().map(|frame| frame - skip).collect();
            let values = decode(&bytes, &shot(skip, &wanted), &cancel).unwrap();
            assert_eq!(values.len(), 3 * 5 * 32 * 16);
            for (place, frame) in wanted.iter().enumerate() {
                let level = 4.0 * (frame + skip) as f64 + 20.0;
                for channel in 0..3 {
                    let from = (channel * 5 + place) * 512;
                    let found = values[from..from + 512].iter().map(|v| f64::from(*v));
                    let mean = found.sum::<f64>() / 512.0;
                    assert!((mean - level).abs() < 1.9, "{frame}: {mean}, not {level}");
                }
            }
        }
        let short = decode(&bytes, &shot(0, &[40]), &cancel).unwrap_err();
        assert!(matches!(short, ClipFault::Short { wanted: 40, found: 40 }), "{short}");
        assert!(decode(&bytes[..500], &shot(0, &[0]), &cancel).is_err());
        assert!(decode(&[], &shot(0, &[0]), &cancel).is_err());
    }
}
