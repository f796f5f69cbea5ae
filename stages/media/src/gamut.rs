//! Primaries: which red, green and blue a picture's samples mean, and the same light in BT.709's.
//!
//! A BT.2020 or P3 picture whose samples are taken for BT.709's is pale. What is shown to models
//! and people is converted, as colour-managed players do it: samples become light (by BT.1886 for
//! video, which is how a screen shows it), the light is mixed anew, and becomes samples of the same
//! curve. Chromaticities are those of ITU-T H.273, table 2; white that is not D65 is adapted by
//! Bradford's matrix. Colours that BT.709 cannot show are clipped. This is what FFmpeg's
//! `zscale=p=bt709` does.
//!
//! The scene detectors look at YUV in its own primaries, as PySceneDetect does: what changes from one
//! frame to the next changes all the same.

use ffmpeg_next::ffi::{self, AVColorPrimaries as P, AVColorTransferCharacteristic as T};

use crate::{
    PixelFormat,
    tone::{Hdr, look, table},
};

type Matrix3 = [[f64; 3]; 3];

/// A set of primaries that is known and not BT.709's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Primaries(P);

/// CIE 1931 x and y of red, green, blue and white.
type Chromaticities = [(f64, f64); 4];

const D65: (f64, f64) = (0.3127, 0.3290);
const C: (f64, f64) = (0.310, 0.316);
const DCI: (f64, f64) = (0.314, 0.351);
const BT709: Chromaticities = [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65];
const P3: Chromaticities = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65];
const NTSC: Chromaticities = [(0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65];
/// XYZ itself (SMPTE 428) is not among them: FFmpeg makes RGB of it.
const KNOWN: [(P, Chromaticities); 9] = [
    (P::AVCOL_PRI_BT470M, [(0.67, 0.33), (0.21, 0.71), (0.14, 0.08), C]),
    (P::AVCOL_PRI_BT470BG, [(0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65]),
    (P::AVCOL_PRI_SMPTE170M, NTSC),
    (P::AVCOL_PRI_SMPTE240M, NTSC),
    (P::AVCOL_PRI_FILM, [(0.681, 0.319), (0.243, 0.692), (0.145, 0.049), C]),
    (P::AVCOL_PRI_BT2020, [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65]),
    (P::AVCOL_PRI_SMPTE431, [P3[0], P3[1], P3[2], DCI]),
    (P::AVCOL_PRI_SMPTE432, P3),
    (P::AVCOL_PRI_EBU3213, [(0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65]),
];

impl Primaries {
    pub(crate) const BT2020: Self = Self(P::AVCOL_PRI_BT2020);

    /// What a frame names; `None` for BT.709, and where nothing usable is said.
    pub(crate) fn of(frame: &ffi::AVFrame) -> Option<Self> {
        // SAFETY: a field of a valid frame, read as the 32-bit number that C stores.
        let number = unsafe { (&raw const frame.color_primaries).cast::<u32>().read() };
        KNOWN.iter().find(|(name, _)| *name as u32 == number).map(|(name, _)| Self(*name))
    }

    /// FFmpeg's number.
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether they reach far beyond BT.709; standard definition's are a few levels away from it.
    pub(crate) fn is_wide(self) -> bool {
        matches!(
            self.0,
            P::AVCOL_PRI_BT470M
                | P::AVCOL_PRI_FILM
                | P::AVCOL_PRI_BT2020
                | P::AVCOL_PRI_SMPTE431
                | P::AVCOL_PRI_SMPTE432
        )
    }

    /// Light in these primaries to light in BT.709's.
    pub(crate) fn to_bt709(self) -> [[f32; 3]; 3] {
        let of = KNOWN.iter().find(|(name, _)| *name == self.0).map_or(&BT709, |(_, of)| of);
        let adapted = product(&adaptation(of[3], BT709[3]), &to_xyz(of));
        product(&inverse(&to_xyz(&BT709)), &adapted).map(|row| row.map(|value| value as f32))
    }
}

fn product(a: &Matrix3, b: &Matrix3) -> Matrix3 {
    a.map(|row| [0, 1, 2].map(|column| (0..3).map(|k| row[k] * b[k][column]).sum()))
}

/// A matrix times a column.
fn times(a: &Matrix3, column: [f64; 3]) -> [f64; 3] {
    a.map(|row| row.iter().zip(column).map(|(a, b)| a * b).sum())
}

fn inverse(m: &Matrix3) -> Matrix3 {
    let minor = |row: usize, column: usize| {
        let (r, s) = ((row + 1) % 3, (row + 2) % 3);
        let (c, d) = ((column + 1) % 3, (column + 2) % 3);
        m[r][c] * m[s][d] - m[r][d] * m[s][c]
    };
    let determinant: f64 = (0..3).map(|column| m[0][column] * minor(0, column)).sum();
    [0, 1, 2].map(|row| [0, 1, 2].map(|column| minor(column, row) / determinant))
}

/// X, Y and Z of a chromaticity, with Y = 1.
fn xyz((x, y): (f64, f64)) -> [f64; 3] {
    [x / y, 1.0, (1.0 - x - y) / y]
}

fn to_xyz(of: &Chromaticities) -> Matrix3 {
    let lamps = [xyz(of[0]), xyz(of[1]), xyz(of[2])];
    let columns: Matrix3 = [0, 1, 2].map(|row| [0, 1, 2].map(|lamp| lamps[lamp][row]));
    let strength = times(&inverse(&columns), xyz(of[3]));
    columns.map(|row| [0, 1, 2].map(|lamp| row[lamp] * strength[lamp]))
}

/// White of one kind to white of another, as the cones of an eye adapt (K. M. Lam, Bradford).
fn adaptation(from: (f64, f64), to: (f64, f64)) -> Matrix3 {
    const CONES: Matrix3 =
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    let (from, to) = (times(&CONES, xyz(from)), times(&CONES, xyz(to)));
    let mut scaled = CONES;
    for (row, (from, to)) in scaled.iter_mut().zip(from.into_iter().zip(to)) {
        *row = row.map(|value| value * to / from);
    }
    product(&inverse(&CONES), &scaled)
}

/// How samples become light.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    Power(f64),
    Srgb,
}

impl Curve {
    fn of(frame: &ffi::AVFrame) -> Self {
        // SAFETY: a field of a valid frame, read as the 32-bit number that C stores.
        let number = unsafe { (&raw const frame.color_trc).cast::<u32>().read() };
        let is = |name: T| number == name as u32;
        if is(T::AVCOL_TRC_IEC61966_2_1) {
            Self::Srgb
        } else if is(T::AVCOL_TRC_GAMMA22) {
            Self::Power(2.2)
        } else if is(T::AVCOL_TRC_GAMMA28) {
            Self::Power(2.8)
        } else {
            Self::Power(2.4)
        }
    }

    fn light(self, sample: f64) -> f64 {
        match self {
            Self::Power(power) => sample.powf(power),
            Self::Srgb if sample <= 0.040_45 => sample / 12.92,
            Self::Srgb => ((sample + 0.055) / 1.055).powf(2.4),
        }
    }

    fn sample(self, light: f64) -> f64 {
        match self {
            Self::Power(power) => light.powf(1.0 / power),
            Self::Srgb if light <= 0.003_130_8 => light * 12.92,
            Self::Srgb => 1.055 * light.powf(1.0 / 2.4) - 0.055,
        }
    }

    /// The word for it in FFmpeg's `zscale` filter.
    fn zscale(self) -> &'static str {
        match self {
            Self::Srgb => "iec61966-2-1",
            Self::Power(2.2) => "bt470m",
            Self::Power(2.8) => "bt470bg",
            Self::Power(_) => "709",
        }
    }
}

/// The colours of a frame of ordinary range whose primaries are not BT.709's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Foreign {
    pub(crate) primaries: Primaries,
    curve: Curve,
}

impl Foreign {
    pub(crate) fn of(frame: &ffi::AVFrame) -> Option<Self> {
        let primaries = Primaries::of(frame)?;
        Hdr::of(frame).is_none().then(|| Self { primaries, curve: Curve::of(frame) })
    }

    /// The word for its curve in FFmpeg's `zscale` filter.
    pub(crate) fn transfer(self) -> &'static str {
        self.curve.zscale()
    }
}

/// Converts pictures of one kind.
pub(crate) struct Gamut {
    of: Foreign,
    matrix: [[f32; 3]; 3],
    /// For each sample of eight bits.
    to_light: Vec<f32>,
    /// The root of light to samples of 0 to 255.
    to_sample: Vec<f32>,
}

impl Gamut {
    pub(crate) fn new(of: Foreign) -> Self {
        let light = |sample: u8| of.curve.light(f64::from(sample) / 255.0) as f32;
        Self {
            of,
            matrix: of.primaries.to_bt709(),
            to_light: (0..=255).map(light).collect(),
            to_sample: table(|root| of.curve.sample(root * root) * 255.0),
        }
    }

    pub(crate) fn is_for(&self, of: Foreign) -> bool {
        self.of == of
    }

    /// Converts packed pixels in place.
    pub(crate) fn convert(&self, pixels: &mut [u8], order: PixelFormat) {
        for pixel in pixels.as_chunks_mut::<3>().0 {
            if order == PixelFormat::Bgr8 {
                pixel.swap(0, 2);
            }
            let light = pixel.map(|sample| self.to_light[usize::from(sample)]);
            *pixel = self.matrix.map(|row| {
                let light = row[0] * light[0] + row[1] * light[1] + row[2] * light[2];
                (look(&self.to_sample, light.max(0.0).sqrt()) + 0.5) as u8
            });
            if order == PixelFormat::Bgr8 {
                pixel.swap(0, 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bt2020_becomes_bt709_as_bt2087_has_it() {
        let wanted =
            [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];
        let got = Primaries::BT2020.to_bt709();
        for (got, wanted) in got.as_flattened().iter().zip(wanted.as_flattened()) {
            assert!((got - wanted).abs() < 1e-4, "{got} instead of {wanted}");
        }
    }

    #[test]
    fn white_stays_white_and_what_bt709_has_comes_back() {
        for (name, _) in KNOWN {
            for curve in [Curve::Power(2.4), Curve::Srgb] {
                let gamut = Gamut::new(Foreign { primaries: Primaries(name), curve });
                let mut greys: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
                let before = greys.clone();
                gamut.convert(&mut greys, PixelFormat::Bgr8);
                for (got, wanted) in greys.iter().zip(before) {
                    assert!(got.abs_diff(wanted) <= 1, "{name:?}: {got} instead of {wanted}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_bytes_does_not_matter() {
        let of = Foreign { primaries: Primaries::BT2020, curve: Curve::Power(2.4) };
        let gamut = Gamut::new(of);
        let (mut rgb, mut bgr) = ([200, 80, 40], [40, 80, 200]);
        gamut.convert(&mut rgb, PixelFormat::Rgb8);
        gamut.convert(&mut bgr, PixelFormat::Bgr8);
        bgr.reverse();
        assert_eq!(rgb, bgr);
        assert!(rgb[0] > 215 && rgb[1] < 75, "more saturated: {rgb:?}");
    }
}
