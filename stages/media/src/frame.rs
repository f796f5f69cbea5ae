//! A decoded frame, still in the decoder's own memory.
//!
//! Nothing is copied until somebody asks for a [`Picture`](crate::Picture): most frames are only
//! ever looked at small. A frame holds one of the decoder's buffers, so keep few of them.

use curate_schemas::TimeBase;
use ffmpeg_next::ffi;

use crate::{
    MediaError, Orientation, PixelAspect, VideoInfo,
    color::{self, FrameColors},
    mono::add_chroma,
};

/// One frame of a stream.
pub struct Frame {
    av: AvFrame,
    /// Presentation time in ticks of [`time_base`](Self::time_base); strictly increasing.
    pub pts: i64,
    /// How long it is shown, in ticks; at least 1.
    pub duration: i64,
    /// Place among the frames its decoder gave out, from 0.
    pub index: u64,
    /// Seconds per tick.
    pub time_base: TimeBase,
    pub(crate) orientation: Orientation,
    pub(crate) pixel_aspect: PixelAspect,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}, {}x{} at {})", self.index, self.width(), self.height(), self.pts)
    }
}

impl Frame {
    /// A decoder's frame, shown at `time` (PTS and duration). Grey of limited range gets chroma (`mono.rs`).
    pub(crate) fn new(
        av: AvFrame,
        time: (i64, i64),
        index: u64,
        video: &VideoInfo,
    ) -> Result<Self, MediaError> {
        Ok(Self {
            av: add_chroma(av)?,
            pts: time.0,
            duration: time.1,
            index,
            time_base: video.time_base,
            orientation: video.orientation,
            pixel_aspect: video.pixel_aspect,
        })
    }

    /// A frame that was made and not decoded: upright, in square pixels, shown for one tick.
    pub(crate) fn made(av: AvFrame, pts: i64, time_base: TimeBase) -> Self {
        let index = u64::try_from(pts).unwrap_or(0);
        let (orientation, pixel_aspect) = (Orientation::default(), PixelAspect::SQUARE);
        Self { av, pts, duration: 1, index, time_base, orientation, pixel_aspect }
    }

    /// Width of the stored picture in pixels (before turning).
    #[must_use]
    pub fn width(&self) -> u32 {
        u32::try_from(self.av().width).unwrap_or(0)
    }

    /// Height of the stored picture in pixels (before turning).
    #[must_use]
    pub fn height(&self) -> u32 {
        u32::try_from(self.av().height).unwrap_or(0)
    }

    /// The size it is shown at, in square pixels: width, then height.
    #[must_use]
    pub fn display_size(&self) -> (u32, u32) {
        let width = self.pixel_aspect.shown(self.width());
        if self.orientation.swaps_sides() { (self.height(), width) } else { (width, self.height()) }
    }

    /// Whether the codec calls it a key frame.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.av().key_frame == 1
    }

    /// Presentation time in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.time_base.seconds(self.pts)
    }

    pub(crate) fn av(&self) -> &ffi::AVFrame {
        self.av.get()
    }

    pub(crate) fn owner(&self) -> &AvFrame {
        &self.av
    }

    /// The same moment with other pixels.
    pub(crate) fn with_pixels(self, av: AvFrame) -> Self {
        Self { av, ..self }
    }

    /// Whether its pixels may be transparent.
    pub(crate) fn has_alpha(&self) -> bool {
        self.has_flag(ffi::AV_PIX_FMT_FLAG_ALPHA as u64)
    }

    /// Whether its samples are red, green and blue, or numbers of such colours.
    pub(crate) fn is_rgb(&self) -> bool {
        self.has_flag(ffi::AV_PIX_FMT_FLAG_RGB as u64 | ffi::AV_PIX_FMT_FLAG_PAL as u64)
    }

    fn has_flag(&self, flags: u64) -> bool {
        let format = color::pixel_format(self.av().format);
        // SAFETY: a lookup in FFmpeg's constant table.
        let about = format.and_then(|format| unsafe { ffi::av_pix_fmt_desc_get(format).as_ref() });
        about.is_some_and(|about| about.flags & flags != 0)
    }

    /// The three planes of a planar YUV picture, or `None` for any other layout.
    pub(crate) fn yuv_planes(&self) -> Option<[Plane; 3]> {
        Some([self.plane(0)?, self.plane(1)?, self.plane(2)?])
    }

    /// The plane of alpha behind the planes of a YUV picture.
    pub(crate) fn alpha_plane(&self) -> Option<Plane> {
        self.plane(3)
    }

    fn plane(&self, index: usize) -> Option<Plane> {
        let frame = self.av();
        let format = color::pixel_format(frame.format)?;
        // SAFETY: a lookup in FFmpeg's constant table.
        let about = unsafe { ffi::av_pix_fmt_desc_get(format).as_ref() }?;
        let other = ffi::AV_PIX_FMT_FLAG_BE
            | ffi::AV_PIX_FMT_FLAG_PAL
            | ffi::AV_PIX_FMT_FLAG_BITSTREAM
            | ffi::AV_PIX_FMT_FLAG_HWACCEL
            | ffi::AV_PIX_FMT_FLAG_RGB
            | ffi::AV_PIX_FMT_FLAG_BAYER
            | ffi::AV_PIX_FMT_FLAG_FLOAT;
        if about.flags & other as u64 != 0 || usize::from(about.nb_components) < 3.max(index + 1) {
            return None;
        }
        let component = about.comp[index];
        let depth = u32::try_from(component.depth).ok()?;
        let bytes = if depth == 8 { 1 } else { 2 };
        let is_own_plane = component.plane == index as i32
            && component.offset == 0
            && component.shift == 0
            && component.step == bytes;
        if !is_own_plane || !(8..=16).contains(&depth) || frame.linesize[index] <= 0 {
            return None;
        }
        let is_chroma = index == 1 || index == 2;
        let (across, down) =
            if is_chroma { (about.log2_chroma_w, about.log2_chroma_h) } else { (0, 0) };
        let shrunk = |side: i32, shift: u8| (side + (1 << shift) - 1) >> shift;
        Some(Plane {
            data: frame.data[index],
            stride: frame.linesize[index] as usize,
            width: shrunk(frame.width, across),
            height: shrunk(frame.height, down),
            depth,
        })
    }
}

/// A view of one plane inside a frame; valid as long as the frame.
pub(crate) struct Plane {
    pub(crate) data: *mut u8,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    pub(crate) width: i32,
    pub(crate) height: i32,
    /// Bits per sample; samples of more than 8 take two bytes, low byte first.
    pub(crate) depth: u32,
}

/// Owner of FFmpeg's frame structure.
pub(crate) struct AvFrame(*mut ffi::AVFrame);

// SAFETY: a frame is plain data with atomically counted buffers that nobody writes to after the
// decoder gave it out (frame threads finish a frame before it comes out).
unsafe impl Send for AvFrame {}
// SAFETY: as above; through a shared reference it is only read.
unsafe impl Sync for AvFrame {}

impl AvFrame {
    pub(crate) fn new() -> Result<Self, MediaError> {
        // SAFETY: a plain allocation.
        let frame = unsafe { ffi::av_frame_alloc() };
        if frame.is_null() {
            return Err(MediaError::Memory { during: "a frame" });
        }
        Ok(Self(frame))
    }

    /// A frame with a copy of packed pixels of `bytes` each, whose rows have no padding.
    pub(crate) fn packed(
        (width, height): (i32, i32),
        format: ffi::AVPixelFormat,
        bytes: usize,
        pixels: &[u8],
    ) -> Result<Self, MediaError> {
        let frame = Self::new()?;
        // SAFETY: a blank frame that is ours; FFmpeg gives it rows of at least `width` pixels.
        let (data, stride) = unsafe {
            (*frame.0).width = width;
            (*frame.0).height = height;
            (*frame.0).format = format as i32;
            (*frame.0).color_range = ffi::AVColorRange::AVCOL_RANGE_JPEG;
            if ffi::av_frame_get_buffer(frame.0, 0) < 0 {
                return Err(MediaError::Memory { during: "a frame" });
            }
            ((*frame.0).data[0], (*frame.0).linesize[0] as usize)
        };
        let row = width as usize * bytes;
        for (y, source) in pixels.chunks_exact(row).take(height as usize).enumerate() {
            // SAFETY: row `y` of `height` rows of `stride` bytes, of which `row` are pixels.
            unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), data.add(y * stride), row) };
        }
        Ok(frame)
    }

    /// Whether the decoder says that the picture is not as it was made.
    pub(crate) fn is_corrupt(&self) -> bool {
        let frame = self.get();
        frame.flags & ffi::AV_FRAME_FLAG_CORRUPT != 0 || frame.decode_error_flags != 0
    }

    /// Makes this blank frame another owner of what `other` shows.
    pub(crate) fn refer_to(&mut self, other: &Self) -> Result<(), MediaError> {
        // SAFETY: a blank frame and a valid one.
        if unsafe { ffi::av_frame_ref(self.0, other.0) } < 0 {
            return Err(MediaError::Memory { during: "a frame" });
        }
        Ok(())
    }

    /// Shown at `pts`, of whatever kind the encoder likes: it would take the source's word for it.
    pub(crate) fn set_for_encoding(&mut self, pts: i64) {
        // SAFETY: a valid frame that `self` owns; its pixels, which others may share, stay.
        let frame = unsafe { &mut *self.0 };
        frame.pts = pts;
        frame.pict_type = ffi::AVPictureType::AV_PICTURE_TYPE_NONE;
        frame.key_frame = 0;
        frame.interlaced_frame = 0;
    }

    /// Says what its colours are: BT.709's, if they were made so, or else, where nothing is said,
    /// those by which the source is shown.
    pub(crate) fn name_colors(&mut self, colors: FrameColors, is_bt709: bool) {
        use ffi::{AVColorPrimaries as P, AVColorSpace as S, AVColorTransferCharacteristic as T};
        // SAFETY: a valid frame that `self` owns; numbers that a file made up are compared as such.
        unsafe {
            let shown = &mut *self.0;
            shown.color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
            if is_bt709 {
                shown.colorspace = S::AVCOL_SPC_BT709;
                shown.color_primaries = P::AVCOL_PRI_BT709;
                shown.color_trc = T::AVCOL_TRC_BT709;
            } else if (&raw const shown.colorspace).cast::<u32>().read()
                == S::AVCOL_SPC_UNSPECIFIED as u32
            {
                shown.colorspace = colors.matrix.space;
            }
        }
    }

    pub(crate) fn get(&self) -> &ffi::AVFrame {
        // SAFETY: allocated in `new`, freed in `drop`.
        unsafe { &*self.0 }
    }

    /// For calls that take a frame without changing it.
    pub(crate) fn as_ptr(&self) -> *mut ffi::AVFrame {
        self.0
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "FFmpeg writes through the pointer")]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0
    }
}

impl Drop for AvFrame {
    fn drop(&mut self) {
        // SAFETY: allocated by av_frame_alloc and freed once.
        unsafe { ffi::av_frame_free(&raw mut self.0) };
    }
}
