//! What the camera does, in one word.
//!
//! The words are the camera's, not the picture's: when the picture moves to the left, the camera
//! pans to the right; when it moves up, the camera tilts down; when it grows, the camera zooms in
//! (or goes forward: the two cannot be told apart here). A roll has no side.

use super::affine::Affine;

/// Slower is standing still, in diagonals per second: some 20 pixels per second of a full HD
/// picture. Hand-held cameras that try to stand still do about that.
const STATIC: f64 = 0.01;
/// Share of the squared motion that one kind must have to name the whole.
const DOMINANT: f64 = 0.7;
/// Motion whose direction changes so much that less than this share is left on average is a
/// shake, not a pan.
const COHERENT: f64 = 0.5;

/// The class of a clip's camera motion, from the camera's field in each pair (in diagonals per
/// second).
///
/// `radius` is the mean distance of a pixel from the middle of the picture in diagonals, which
/// makes rates of turning and growing comparable with a pan: all are the mean speed of a pixel.
pub(super) fn classify(fields: &[Affine], radius: f64) -> &'static str {
    let count = fields.len().max(1) as f64;
    let mean =
        fields.iter().fold(Affine::default(), |sum, field| sum.plus(field)).scaled(1.0 / count);
    let speeds = fields.iter().map(|field| norm(&kinds(field, radius)));
    let speed = speeds.sum::<f64>() / count;
    if speed < STATIC {
        return "static";
    }
    let kinds = kinds(&mean, radius);
    let left = norm(&kinds);
    if left < STATIC || left < COHERENT * speed {
        return "mixed";
    }
    let names = [
        ("pan_left", "pan_right"),
        ("tilt_up", "tilt_down"),
        ("zoom_in", "zoom_out"),
        ("roll", "roll"),
    ];
    kinds.iter().zip(names).find(|(kind, _)| kind.powi(2) >= DOMINANT * left.powi(2)).map_or(
        "mixed",
        |(kind, (positive, negative))| if *kind > 0.0 { positive } else { negative },
    )
}

/// The picture's motion to the right, downwards, outwards and clockwise, each as a mean speed.
fn kinds(field: &Affine, radius: f64) -> [f64; 4] {
    let Affine { u, v } = field;
    [u[0], v[0], radius * (u[1] + v[2]) / 2.0, radius * (v[1] - u[2]) / 2.0]
}

fn norm(kinds: &[f64; 4]) -> f64 {
    kinds.iter().map(|kind| kind.powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RADIUS: f64 = 0.29;

    fn class(u: [f64; 3], v: [f64; 3]) -> &'static str {
        classify(&[Affine { u, v }], RADIUS)
    }

    #[test]
    fn the_words_are_the_cameras() {
        assert_eq!(class([0.1, 0.0, 0.0], [0.0; 3]), "pan_left");
        assert_eq!(class([-0.02, 0.0, 0.0], [0.0; 3]), "pan_right");
        assert_eq!(class([0.0; 3], [0.1, 0.0, 0.0]), "tilt_up");
        assert_eq!(class([0.0; 3], [-0.1, 0.0, 0.0]), "tilt_down");
        assert_eq!(class([0.0, 0.2, 0.0], [0.0, 0.0, 0.2]), "zoom_in");
        assert_eq!(class([0.0, -0.2, 0.0], [0.0, 0.0, -0.2]), "zoom_out");
        assert_eq!(class([0.0, 0.0, -0.2], [0.0, 0.2, 0.0]), "roll");
        assert_eq!(class([0.0, 0.0, 0.2], [0.0, -0.2, 0.0]), "roll");
        assert_eq!(class([0.1, 0.0, 0.0], [0.1, 0.0, 0.0]), "mixed");
        assert_eq!(class([0.005, 0.0, 0.0], [0.0; 3]), "static");
        assert_eq!(classify(&[], RADIUS), "static");
    }

    #[test]
    fn a_shake_is_not_a_pan() {
        let to = |speed: f64| Affine { u: [speed, 0.0, 0.0], v: [0.0; 3] };
        assert_eq!(classify(&[to(0.3), to(-0.3), to(0.28), to(-0.3)], RADIUS), "mixed");
        assert_eq!(classify(&[to(0.3), to(0.1), to(0.2), to(0.3)], RADIUS), "pan_left");
    }
}
