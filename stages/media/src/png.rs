//! Pictures as PNG files (W3C recommendation, third edition), without loss.
//!
//! Written here in a few lines: FFmpeg's encoder notes its version in the file, so the same picture
//! would give other bytes on another machine. Each row gets the filter whose bytes are smallest, as
//! the specification advises (section 12.7).

use std::io::Write as _;

use flate2::{Compression, Crc, write::ZlibEncoder};

use crate::{MediaError, Picture, PixelFormat};

/// Bytes of a pixel.
const PIXEL: usize = 3;

/// A picture as a PNG file. The same picture gives the same bytes.
///
/// # Errors
/// `convert` if the picture is malformed.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>, MediaError> {
    picture.shape()?;
    let rgb = picture.to_format(PixelFormat::Rgb8)?;
    let row_bytes = rgb.width as usize * PIXEL;
    let refuse = |error: std::io::Error| MediaError::Convert {
        during: "writing a PNG",
        reason: error.to_string(),
    };
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(6));
    let mut above = vec![0; row_bytes];
    for row in rgb.data.chunks_exact(row_bytes) {
        let (kind, filtered) = smallest(row, &above);
        packed.write_all(&[kind]).and_then(|()| packed.write_all(&filtered)).map_err(refuse)?;
        above.copy_from_slice(row);
    }
    let packed = packed.finish().map_err(refuse)?;

    let mut header = Vec::new();
    header.extend(rgb.width.to_be_bytes());
    header.extend(rgb.height.to_be_bytes());
    // Eight bits a sample, RGB, the only compression and filters there are, not interlaced.
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header);
    // The colours of the web, with perceptual intent.
    chunk(&mut file, *b"sRGB", &[0]);
    chunk(&mut file, *b"IDAT", &packed);
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(&name);
    crc.update(data);
    // Pictures are at most 2^30 pixels, and IDAT not much longer than they are.
    file.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend(name);
    file.extend(data);
    file.extend(crc.sum().to_be_bytes());
}

/// The row by the filter whose bytes, taken as signed, have the smallest sum; and its number.
fn smallest(row: &[u8], above: &[u8]) -> (u8, Vec<u8>) {
    let all = (0..5_u8).map(|kind| (kind, filter(kind, row, above)));
    let cost = |bytes: &[u8]| -> u64 {
        bytes.iter().map(|byte| u64::from(byte.cast_signed().unsigned_abs())).sum()
    };
    all.min_by_key(|(_, bytes)| cost(bytes)).unwrap_or_default()
}

fn filter(kind: u8, row: &[u8], above: &[u8]) -> Vec<u8> {
    let before = |bytes: &[u8], at: usize| at.checked_sub(PIXEL).map_or(0, |at| bytes[at]);
    let expected = |at: usize| {
        let (left, up, corner) = (before(row, at), above[at], before(above, at));
        match kind {
            0 => 0,
            1 => left,
            2 => up,
            3 => left.midpoint(up),
            _ => paeth(left, up, corner),
        }
    };
    row.iter().enumerate().map(|(at, byte)| byte.wrapping_sub(expected(at))).collect()
}

/// Whichever of three neighbours is nearest to left + up - corner.
fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(up) - i16::from(corner);
    let gap = |value: u8| (guess - i16::from(value)).unsigned_abs();
    if gap(left) <= gap(up) && gap(left) <= gap(corner) {
        left
    } else if gap(up) <= gap(corner) {
        up
    } else {
        corner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Converter, DecodeOptions, Decoder, Filter};

    #[test]
    fn ffmpeg_reads_the_same_pixels() {
        let (width, height) = (37, 23);
        let value = |at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8;
        let smooth = |at: u32| (at / 3 * 2) as u8;
        for make in [&value as &dyn Fn(u32) -> u8, &smooth] {
            let data: Vec<u8> = (0..width * height * 3).map(make).collect();
            let picture = Picture { width, height, format: PixelFormat::Rgb8, data };
            let bytes = encode_png(&picture).unwrap();
            let bgr = picture.to_format(PixelFormat::Bgr8).unwrap();
            assert_eq!(encode_png(&bgr).unwrap(), bytes);
            let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let mut decoder = Decoder::open(file.path(), &DecodeOptions::default()).unwrap();
            let frame = decoder.next_frame().unwrap().unwrap();
            let mut converter = Converter::new(PixelFormat::Rgb8);
            let found =
                frame.picture(&mut converter, picture.size(), Filter::Linear, true).unwrap();
            assert_eq!(found, picture);
        }
    }
}
