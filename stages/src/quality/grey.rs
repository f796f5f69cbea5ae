//! The grey picture that every measure here looks at.

/// Brightness, one byte per pixel, rows from top to bottom, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grey {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

/// BT.601 weights of blue, green and red in 32768ths, as OpenCV rounds them.
const WEIGHTS: [u32; 3] = [3735, 19235, 9798];

impl Grey {
    /// A picture of known brightness; `None` unless there are `width * height` samples.
    #[must_use]
    pub fn new(width: usize, height: usize, samples: Vec<u8>) -> Option<Self> {
        let whole = width > 0 && height > 0 && width.checked_mul(height) == Some(samples.len());
        whole.then_some(Self { width, height, samples })
    }

    /// The grey of a picture of blue, green and red bytes, to the bit as `cv2.cvtColor(picture,
    /// cv2.COLOR_BGR2GRAY)` has it; `None` unless there are `width * height * 3` bytes.
    #[must_use]
    pub fn from_bgr(width: usize, height: usize, bgr: &[u8]) -> Option<Self> {
        let (pixels, rest) = bgr.as_chunks::<3>();
        if !rest.is_empty() {
            return None;
        }
        let samples = pixels.iter().map(|pixel| {
            let sum: u32 = pixel.iter().zip(WEIGHTS).map(|(c, w)| u32::from(*c) * w).sum();
            ((sum + (1 << 14)) >> 15) as u8
        });
        Self::new(width, height, samples.collect())
    }

    /// Pixels across.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// All samples, rows first.
    #[must_use]
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// The rows, from the top.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.samples.chunks_exact(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_follows_the_weights_and_keeps_grey() {
        let grey = Grey::from_bgr(4, 1, &[0, 0, 255, 0, 255, 0, 255, 0, 0, 77, 77, 77]).unwrap();
        assert_eq!(grey.samples(), [76, 150, 29, 77]);
        assert!(Grey::from_bgr(2, 1, &[0; 5]).is_none() && Grey::new(0, 0, Vec::new()).is_none());
    }
}
