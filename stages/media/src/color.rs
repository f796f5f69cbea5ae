//! What a file says about its colours, as far as turning YUV into RGB needs it.
//!
//! Files lie by omission: most say nothing. An unnamed matrix is taken to be BT.709 for pictures
//! wider than 1279 or taller than 576 and BT.601 below, the rule of video players (FFmpeg's own
//! converter takes BT.601 always, so its output differs on unlabelled HD), and BT.2020 for PQ and
//! HLG. An unnamed range is limited, except in the `yuvj` formats and in grey. PQ and HLG are tone-mapped
//! (`tone.rs`), primaries become BT.709's (`gamut.rs`; unnamed ones are taken for these, and PQ's and
//! HLG's for BT.2020's); other curves, log among them, are shown as they are, and the `transfer` name
//! says so.
//!
//! FFmpeg's enumerations are read as bare numbers, since a file may put any number in them.

use ffmpeg_next::ffi::{self, AVColorSpace as Space};

use crate::{mono::is_grey, probe::text, tone::Hdr};

/// The two numbers that define a YUV matrix: the weights of red and blue in luma.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) red: f64,
    pub(crate) blue: f64,
    /// swscale's number for it.
    pub(crate) swscale: i32,
    /// FFmpeg's number for it.
    pub(crate) space: Space,
}

pub(crate) const BT709: Matrix =
    Matrix::of((0.2126, 0.0722), ffi::SWS_CS_ITU709, Space::AVCOL_SPC_BT709);
const BT601: Matrix = Matrix::of((0.299, 0.114), ffi::SWS_CS_ITU601, Space::AVCOL_SPC_SMPTE170M);
const BT2020: Matrix =
    Matrix::of((0.2627, 0.0593), ffi::SWS_CS_BT2020, Space::AVCOL_SPC_BT2020_NCL);
const SMPTE240M: Matrix =
    Matrix::of((0.212, 0.087), ffi::SWS_CS_SMPTE240M, Space::AVCOL_SPC_SMPTE240M);
const FCC: Matrix = Matrix::of((0.30, 0.11), ffi::SWS_CS_FCC, Space::AVCOL_SPC_FCC);

impl Matrix {
    const fn of((red, blue): (f64, f64), swscale: i32, space: Space) -> Self {
        Self { red, blue, swscale, space }
    }

    /// The word for it in FFmpeg's `scale` filter.
    pub(crate) fn filter_name(&self) -> &'static str {
        match self.space {
            Space::AVCOL_SPC_BT709 => "bt709",
            Space::AVCOL_SPC_BT2020_NCL => "bt2020",
            Space::AVCOL_SPC_SMPTE240M => "smpte240m",
            Space::AVCOL_SPC_FCC => "fcc",
            _ => "bt601",
        }
    }

    /// The word for it in FFmpeg's `zscale` filter.
    pub(crate) fn zscale_name(&self) -> &'static str {
        match self.space {
            Space::AVCOL_SPC_BT709 => "709",
            Space::AVCOL_SPC_BT2020_NCL => "2020_ncl",
            Space::AVCOL_SPC_SMPTE240M => "240m",
            Space::AVCOL_SPC_FCC => "fcc",
            _ => "170m",
        }
    }

    /// The matrix for FFmpeg's colour space number and a stored picture of this size.
    fn new(space: u32, width: u32, height: u32) -> Self {
        const SPACES: [(Space, Matrix); 6] = [
            (Space::AVCOL_SPC_BT709, BT709),
            (Space::AVCOL_SPC_FCC, FCC),
            (Space::AVCOL_SPC_BT470BG, BT601),
            (Space::AVCOL_SPC_SMPTE170M, BT601),
            (Space::AVCOL_SPC_SMPTE240M, SMPTE240M),
            (Space::AVCOL_SPC_BT2020_NCL, BT2020),
        ];
        let unnamed = if width >= 1280 || height > 576 { BT709 } else { BT601 };
        SPACES
            .into_iter()
            .find(|(name, _)| *name as u32 == space)
            .map_or(unnamed, |(_, matrix)| matrix)
    }
}

/// How a frame's samples become RGB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrameColors {
    pub(crate) matrix: Matrix,
    pub(crate) is_full_range: bool,
}

/// The colours of a decoded frame.
pub(crate) fn of_frame(frame: &ffi::AVFrame) -> FrameColors {
    use ffi::AVPixelFormat as F;
    // SAFETY: fields of a valid frame, read as the 32-bit numbers that C stores.
    let (space, range) = unsafe {
        (
            (&raw const frame.colorspace).cast::<u32>().read(),
            (&raw const frame.color_range).cast::<u32>().read(),
        )
    };
    let is_jpeg = [
        F::AV_PIX_FMT_YUVJ420P,
        F::AV_PIX_FMT_YUVJ422P,
        F::AV_PIX_FMT_YUVJ444P,
        F::AV_PIX_FMT_YUVJ440P,
        F::AV_PIX_FMT_YUVJ411P,
    ]
    .into_iter()
    .any(|format| format as i32 == frame.format);
    // As FFmpeg's converter takes it.
    let is_unnamed_grey =
        range == ffi::AVColorRange::AVCOL_RANGE_UNSPECIFIED as u32 && is_grey(frame.format);
    let is_unnamed = space == ffi::AVColorSpace::AVCOL_SPC_UNSPECIFIED as u32;
    let space = if is_unnamed && Hdr::of(frame).is_some() {
        ffi::AVColorSpace::AVCOL_SPC_BT2020_NCL as u32
    } else {
        space
    };
    FrameColors {
        matrix: Matrix::new(
            space,
            u32::try_from(frame.width).unwrap_or(0),
            u32::try_from(frame.height).unwrap_or(0),
        ),
        is_full_range: is_jpeg
            || is_unnamed_grey
            || range == ffi::AVColorRange::AVCOL_RANGE_JPEG as u32,
    }
}

/// What a stream's parameters say, by name.
pub(crate) struct Names {
    pub(crate) transfer: Option<String>,
    pub(crate) space: Option<String>,
    pub(crate) full_range: Option<bool>,
}

/// The colour names of a stream; "unknown" and "reserved" are `None`.
pub(crate) fn of_parameters(parameters: &ffi::AVCodecParameters) -> Names {
    use ffi::{AVColorRange as R, AVColorSpace as S, AVColorTransferCharacteristic as T};
    let named = |name: Option<String>| name.filter(|name| name != "unknown" && name != "reserved");
    // SAFETY: fields of valid parameters, read as the 32-bit numbers that C stores; a number
    // becomes its enumeration only below the enumeration's end, which leaves no gaps.
    unsafe {
        let transfer = (&raw const parameters.color_trc).cast::<u32>().read();
        let space = (&raw const parameters.color_space).cast::<u32>().read();
        let range = (&raw const parameters.color_range).cast::<u32>().read();
        Names {
            transfer: (transfer < T::AVCOL_TRC_NB as u32)
                .then(|| std::mem::transmute::<u32, T>(transfer))
                .and_then(|value| named(text(ffi::av_color_transfer_name(value)))),
            space: (space < S::AVCOL_SPC_NB as u32)
                .then(|| std::mem::transmute::<u32, S>(space))
                .and_then(|value| named(text(ffi::av_color_space_name(value)))),
            full_range: if range == R::AVCOL_RANGE_JPEG as u32 {
                Some(true)
            } else {
                (range == R::AVCOL_RANGE_MPEG as u32).then_some(false)
            },
        }
    }
}

/// The pixel format for FFmpeg's number, if this FFmpeg knows it.
pub(crate) fn pixel_format(number: i32) -> Option<ffi::AVPixelFormat> {
    (0..ffi::AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&number).then(|| {
        // SAFETY: the enumeration has every number from 0 to its end, and this is one of them.
        unsafe { std::mem::transmute::<i32, ffi::AVPixelFormat>(number) }
    })
}
