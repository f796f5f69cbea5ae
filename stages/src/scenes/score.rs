//! How much each frame differs from the one before it, computed once for all detectors.

use curate_media::{Hsv, MediaError, Picture, edges, hsv, sum_abs_diff};

use super::detect::Delta;

/// Scores a stream of equally large pictures.
#[derive(Debug, Default)]
pub struct Scorer {
    with_edges: bool,
    last: Option<(Hsv, Vec<u8>)>,
}

impl Scorer {
    /// `with_edges`: some detector weighs edges (which cost more than all the rest).
    #[must_use]
    pub fn new(with_edges: bool) -> Self {
        Self { with_edges, last: None }
    }

    /// The difference to the picture before; zero for the first one and after a change of size.
    ///
    /// # Errors
    /// When the picture is malformed.
    pub fn push(&mut self, picture: &Picture) -> Result<Delta, MediaError> {
        let now = hsv(picture)?;
        let edge_map =
            if self.with_edges { edges(&now.value, picture.size(), None)? } else { Vec::new() };
        let delta = match &self.last {
            Some((last, last_edges)) if (last.width, last.height) == (now.width, now.height) => {
                let pixels = f64::from(now.width) * f64::from(now.height);
                let mean = |a: &[u8], b: &[u8]| sum_abs_diff(a, b) as f64 / pixels;
                Delta {
                    hue: mean(&now.hue, &last.hue),
                    saturation: mean(&now.saturation, &last.saturation),
                    value: mean(&now.value, &last.value),
                    edges: if self.with_edges { mean(&edge_map, last_edges) } else { 0.0 },
                }
            }
            _ => Delta::default(),
        };
        self.last = Some((now, edge_map));
        Ok(delta)
    }
}
