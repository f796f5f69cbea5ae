//! How much each frame differs from the one before it, computed once for all detectors.

use curate_media::{Hsv, MediaError, Picture, Size, SmallFrame, edges, hsv, sum_abs_diff};

use super::detect::Delta;

/// Scores a stream of equally large pictures.
#[derive(Debug, Default)]
pub struct Scorer {
    with_edges: bool,
    last: Option<Planes>,
    /// The planes of the picture before last, to be written over.
    spare: Planes,
}

/// What is compared of a picture.
#[derive(Debug, Default)]
struct Planes {
    hsv: Hsv,
    edges: Vec<u8>,
}

impl Scorer {
    /// `with_edges`: some detector weighs edges (which cost more than all the rest).
    #[must_use]
    pub fn new(with_edges: bool) -> Self {
        Self { with_edges, ..Self::default() }
    }

    /// The difference to the frame before; zero for the first one and after a change of size.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn push(&mut self, frame: &SmallFrame) -> Result<Delta, MediaError> {
        let mut planes = std::mem::take(&mut self.spare);
        frame.hsv(&mut planes.hsv)?;
        self.compare(planes)
    }

    /// As [`Scorer::push`], for a frame that is a picture already.
    ///
    /// # Errors
    /// When the picture is malformed.
    pub fn push_picture(&mut self, picture: &Picture) -> Result<Delta, MediaError> {
        let hsv = hsv(picture)?;
        self.compare(Planes { hsv, edges: vec![] })
    }

    fn compare(&mut self, mut now: Planes) -> Result<Delta, MediaError> {
        let (width, height) = (now.hsv.width, now.hsv.height);
        if self.with_edges {
            now.edges = edges(&now.hsv.value, Size::new(width, height), None)?;
        }
        let delta = match &self.last {
            Some(last) if (last.hsv.width, last.hsv.height) == (width, height) => {
                let pixels = f64::from(width) * f64::from(height);
                let mean = |a: &[u8], b: &[u8]| sum_abs_diff(a, b) as f64 / pixels;
                Delta {
                    hue: mean(&now.hsv.hue, &last.hsv.hue),
                    saturation: mean(&now.hsv.saturation, &last.hsv.saturation),
                    value: mean(&now.hsv.value, &last.hsv.value),
                    edges: if self.with_edges { mean(&now.edges, &last.edges) } else { 0.0 },
                }
            }
            _ => Delta::default(),
        };
        self.spare = self.last.replace(now).unwrap_or_default();
        Ok(delta)
    }
}
