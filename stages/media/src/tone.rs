//! High dynamic range as an ordinary screen shows it: PQ and HLG to BT.709, so that scores,
//! thumbnails and captions see a picture and not a grey veil.
//!
//! Frames are shrunk first, so this may be exact rather than quick: samples become linear light in
//! units of 100 candela per square metre (ITU-R BT.2100), BT.2020 primaries become BT.709's
//! (ITU-R BT.2087), the brightest of the three is bent by Hable's filmic curve and takes the other
//! two along, and BT.1886's inverse makes samples of it. These are the steps of FFmpeg's filters
//! `zscale=t=linear:npl=100`, `zscale=p=bt709`, `tonemap=hable:desat=0`, `zscale=t=bt709`, which the
//! tests compare with, but that zscale gives HLG its gamma channel by channel and BT.2100 has it on
//! luminance. The peak is the one that the frame's metadata name, or else 1000 cd/m2.
//! Dolby Vision is seen by its base layer, which for every profile but 5 is PQ, HLG or SDR.

use std::ffi::c_int;

use ffmpeg_next::ffi;

use crate::{PixelFormat, color::FrameColors, gamut::Primaries};

/// Which curve a frame's samples follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curve {
    /// Perceptual quantiser, SMPTE ST 2084.
    Pq,
    /// Hybrid log-gamma, ARIB STD-B67.
    Hlg,
}

/// How a frame of high dynamic range is to be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hdr {
    pub(crate) curve: Curve,
    /// What its samples mean; `None` for BT.709's.
    pub(crate) primaries: Option<Primaries>,
    /// The brightest light, in units of 100 cd/m2.
    pub(crate) peak: f32,
}

/// Candela per square metre of diffuse white.
const WHITE: f64 = 100.0;
/// Where nothing is said, what grading screens show: 1000 cd/m2.
const USUAL_PEAK: f32 = 10.0;

impl Hdr {
    /// What a frame says; `None` for ordinary material.
    pub(crate) fn of(frame: &ffi::AVFrame) -> Option<Self> {
        use ffi::{AVColorPrimaries as P, AVColorTransferCharacteristic as T};
        // SAFETY: fields of a valid frame, read as the 32-bit numbers that C stores.
        let (transfer, named) = unsafe {
            (
                (&raw const frame.color_trc).cast::<u32>().read(),
                (&raw const frame.color_primaries).cast::<u32>().read(),
            )
        };
        let curve = match transfer {
            t if t == T::AVCOL_TRC_SMPTE2084 as u32 => Curve::Pq,
            t if t == T::AVCOL_TRC_ARIB_STD_B67 as u32 => Curve::Hlg,
            _ => return None,
        };
        let is_unnamed = named == P::AVCOL_PRI_UNSPECIFIED as u32;
        let primaries = if is_unnamed { Some(Primaries::BT2020) } else { Primaries::of(frame) };
        Some(Self { curve, primaries, peak: peak(frame).unwrap_or(USUAL_PEAK) })
    }
}

/// FFmpeg's `AVContentLightMetadata`, which the bindings leave out.
#[derive(Clone, Copy)]
#[repr(C)]
struct ContentLight {
    max_cll: u32,
    _max_fall: u32,
}

/// FFmpeg's `AVMasteringDisplayMetadata`, which the bindings leave out.
#[derive(Clone, Copy)]
#[repr(C)]
struct MasteringDisplay {
    _primaries: [[ffi::AVRational; 2]; 3],
    _white: [ffi::AVRational; 2],
    _least: ffi::AVRational,
    max_luminance: ffi::AVRational,
    _has_primaries: c_int,
    has_luminance: c_int,
}

/// A copy of a frame's side data of one kind.
///
/// # Safety
/// Data of this kind must be a `T` in C.
unsafe fn side_data<T: Copy>(frame: &ffi::AVFrame, kind: ffi::AVFrameSideDataType) -> Option<T> {
    // SAFETY: a look into a valid frame; the size is checked, the rest is the caller's promise.
    unsafe {
        let side = ffi::av_frame_get_side_data(frame, kind).as_ref()?;
        let is_whole = side.size >= size_of::<T>() && !side.data.is_null();
        is_whole.then(|| side.data.cast::<T>().read_unaligned())
    }
}

/// The brightest light that the frame's metadata name.
fn peak(frame: &ffi::AVFrame) -> Option<f32> {
    use ffi::AVFrameSideDataType as S;
    // SAFETY: the structures are FFmpeg's for these kinds.
    let (light, display) = unsafe {
        (
            side_data::<ContentLight>(frame, S::AV_FRAME_DATA_CONTENT_LIGHT_LEVEL),
            side_data::<MasteringDisplay>(frame, S::AV_FRAME_DATA_MASTERING_DISPLAY_METADATA),
        )
    };
    let level = light.map(|light| f64::from(light.max_cll)).filter(|nits| *nits > 0.0);
    let mastering = display
        .filter(|display| display.has_luminance != 0 && display.max_luminance.den > 0)
        .map(|display| display.max_luminance)
        .map(|nits| f64::from(nits.num) / f64::from(nits.den));
    // Darker than white is a mistake, brighter than PQ can say is another.
    let nits = level.or(mastering).filter(|nits| (WHITE..=10_000.0).contains(nits));
    nits.map(|nits| (nits / WHITE) as f32)
}

/// Steps of a table over 0 to 1.
const STEPS: usize = 4096;

pub(crate) fn table(value: impl Fn(f64) -> f64) -> Vec<f32> {
    (0..=STEPS).map(|step| value(step as f64 / STEPS as f64) as f32).collect()
}

/// Looks up a value from 0 to 1, between two steps.
#[inline]
pub(crate) fn look(table: &[f32], at: f32) -> f32 {
    let at = at.clamp(0.0, 1.0) * STEPS as f32;
    let step = (at as usize).min(STEPS - 1);
    let (low, high) = (table[step], table[step + 1]);
    (high - low).mul_add(at - step as f32, low)
}

/// What is the same for all pixels of a frame.
struct Mix {
    /// To BT.709's primaries.
    matrix: Option<[[f32; 3]; 3]>,
    /// What the filmic curve makes of the brightest light.
    at_peak: f32,
}

impl Mix {
    fn new(hdr: Hdr) -> Self {
        Self { matrix: hdr.primaries.map(Primaries::to_bt709), at_peak: hable(hdr.peak) }
    }
}

/// Tables for one curve.
pub(crate) struct Tone {
    curve: Curve,
    /// Samples to light: for PQ in units of white, for HLG of the scene, 0 to 1.
    to_light: Vec<f32>,
    /// The root of light on the screen, 0 to 1, to samples.
    to_sample: Vec<f32>,
}

impl Tone {
    pub(crate) fn new(curve: Curve) -> Self {
        let to_light = match curve {
            Curve::Pq => table(|sample| {
                let (m1, m2) = (2610.0 / 16384.0, 2523.0 / 4096.0 * 128.0);
                let (c1, c2, c3) =
                    (3424.0 / 4096.0, 2413.0 / 4096.0 * 32.0, 2392.0 / 4096.0 * 32.0);
                let root = sample.powf(1.0 / m2);
                ((root - c1).max(0.0) / (c2 - c3 * root)).powf(1.0 / m1) * 10_000.0 / WHITE
            }),
            Curve::Hlg => table(|sample| {
                let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_73);
                if sample <= 0.5 {
                    sample * sample / 3.0
                } else {
                    (((sample - c) / a).exp() + b) / 12.0
                }
            }),
        };
        Self { curve, to_light, to_sample: table(|root| (root * root).powf(1.0 / 2.4)) }
    }

    pub(crate) fn curve(&self) -> Curve {
        self.curve
    }

    /// One pixel: samples of red, green and blue, 0 to 1, in and out.
    fn pixel(&self, samples: [f32; 3], by: &Mix) -> [f32; 3] {
        let mut light = samples.map(|sample| look(&self.to_light, sample));
        if self.curve == Curve::Hlg {
            // The scene as a screen of 1000 cd/m2 shows it: gamma 1.2 on its luminance.
            let [r, g, b] = light;
            let luminance = 0.2627 * r + 0.6780 * g + 0.0593 * b;
            let gain = luminance.max(1e-6).powf(0.2) * (1000.0 / WHITE as f32);
            light = light.map(|light| light * gain);
        }
        if let Some(matrix) = &by.matrix {
            let [r, g, b] = light;
            light = matrix.map(|row| row[0] * r + row[1] * g + row[2] * b);
        }
        let brightest = light[0].max(light[1]).max(light[2]).max(1e-6);
        let gain = hable(brightest) / by.at_peak / brightest;
        light.map(|light| look(&self.to_sample, (light * gain).clamp(0.0, 1.0).sqrt()))
    }

    /// Converts packed pixels in place: for layouts whose planes are not read, such as RGB.
    pub(crate) fn convert(&self, pixels: &mut [u8], order: PixelFormat, hdr: Hdr) {
        let mix = Mix::new(hdr);
        for pixel in pixels.as_chunks_mut::<3>().0 {
            if order == PixelFormat::Bgr8 {
                pixel.swap(0, 2);
            }
            let shown = self.pixel(pixel.map(|sample| f32::from(sample) / 255.0), &mix);
            *pixel = shown.map(|sample| (sample * 255.0 + 0.5) as u8);
            if order == PixelFormat::Bgr8 {
                pixel.swap(0, 2);
            }
        }
    }

    /// Planes of luma and chroma, code values divided by the largest one, to planes of blue, green
    /// and red.
    pub(crate) fn planes(
        &self,
        yuv: [&[f32]; 3],
        (colors, hdr): (FrameColors, Hdr),
        bgr: [&mut Vec<u8>; 3],
    ) {
        let (red, blue) = (colors.matrix.red as f32, colors.matrix.blue as f32);
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = if colors.is_full_range {
            (0.0, 1.0, 1.0)
        } else {
            (16.0 / 255.0, 255.0 / 219.0, 255.0 / 224.0)
        };
        let mix = Mix::new(hdr);
        let [b_out, g_out, r_out] = bgr;
        for plane in [&mut *b_out, &mut *g_out, &mut *r_out] {
            plane.resize(yuv[0].len(), 0);
        }
        let level = |sample: f32| (sample * 255.0 + 0.5) as u8;
        for (i, y) in yuv[0].iter().enumerate() {
            let y = (y - black) * luma;
            let (u, v) =
                ((yuv[1][i] - 128.0 / 255.0) * chroma, (yuv[2][i] - 128.0 / 255.0) * chroma);
            let r = y + 2.0 * (1.0 - red) * v;
            let b = y + 2.0 * (1.0 - blue) * u;
            let g = (y - red * r - blue * b) / green;
            let [r, g, b] = self.pixel([r, g, b], &mix);
            (b_out[i], g_out[i], r_out[i]) = (level(b), level(g), level(r));
        }
    }
}

/// John Hable's filmic curve ("Uncharted 2", GDC 2010), before it is scaled to its peak.
fn hable(light: f32) -> f32 {
    let (a, b, c, d, e, f) = (0.15, 0.5, 0.1, 0.2, 0.02, 0.3);
    (light * (light * a + b * c) + d * e) / (light * (light * a + b) + d * f) - e / f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(curve: Curve) -> Mix {
        Mix::new(Hdr { curve, primaries: Some(Primaries::BT2020), peak: USUAL_PEAK })
    }

    fn shown(curve: Curve, sample: f32) -> f32 {
        Tone::new(curve).pixel([sample; 3], &usual(curve))[1]
    }

    #[test]
    fn grey_stays_grey_and_order_is_kept() {
        for curve in [Curve::Pq, Curve::Hlg] {
            let tone = Tone::new(curve);
            let mix = usual(curve);
            let mut last = -1.0;
            for step in 0..=40 {
                let [r, g, b] = tone.pixel([step as f32 / 40.0; 3], &mix);
                assert!((r - g).abs() < 2e-3 && (b - g).abs() < 2e-3, "{r} {g} {b}");
                assert!(g >= last);
                last = g;
            }
            assert_eq!(shown(curve, 0.0), 0.0);
            assert!(last > 0.99, "the peak is white: {last}");
        }
    }

    #[test]
    fn diffuse_white_is_where_the_curves_put_it() {
        // PQ 0.508 is 100 cd/m2; hable(1) / hable(10) = 0.2246 of the screen's light.
        let wanted = (hable(1.0) / hable(10.0)).powf(1.0 / 2.4);
        assert!((shown(Curve::Pq, 0.508_078) - wanted).abs() < 1e-3);
        // HLG's largest sample is 1000 cd/m2.
        assert!((shown(Curve::Hlg, 1.0) - 1.0).abs() < 1e-3);
    }
}
