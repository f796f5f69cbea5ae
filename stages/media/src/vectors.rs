//! The motion vectors that a codec stored, as far as FFmpeg exports them.
//!
//! A codec's vectors say from where a block is best copied, not what moved: they are cheap, whole
//! in number and wrong in flat regions. H.264 and the MPEG-1/2/4 family have them (the decoder must
//! have been asked, see [`DecodeOptions::motion_vectors`](crate::DecodeOptions)); VP8, VP9, H.265
//! and AV1 decoders export none, and neither do pictures without prediction.
//!
//! FFmpeg says of a vector only whether it points to an earlier or a later picture, not to which.

use ffmpeg_next::ffi;

use crate::{Frame, Orientation};

/// How a picture was coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// From nothing else.
    Intra,
    /// From earlier pictures.
    Predicted,
    /// From earlier and later pictures.
    Bidirectional,
    /// In some other way, or unknown.
    Other,
}

/// One block and where it was copied from. All in pixels of the picture turned upright.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionVector {
    /// Left edge of the block.
    pub left: f32,
    /// Upper edge of the block.
    pub top: f32,
    /// Width of the block.
    pub width: f32,
    /// Height of the block.
    pub height: f32,
    /// How far the content is to the right of where it is in the other picture.
    pub dx: f32,
    /// How far it is below.
    pub dy: f32,
    /// Whether the other picture is an earlier one.
    pub is_from_past: bool,
}

impl Frame {
    /// How the frame was coded.
    #[must_use]
    pub fn kind(&self) -> PictureKind {
        use ffi::AVPictureType as T;
        // SAFETY: a field of a valid frame, read as the 32-bit number that C stores.
        let kind = unsafe { (&raw const self.av().pict_type).cast::<u32>().read() };
        let is = |wanted: T| wanted as u32 == kind;
        if is(T::AV_PICTURE_TYPE_I) || is(T::AV_PICTURE_TYPE_SI) {
            PictureKind::Intra
        } else if is(T::AV_PICTURE_TYPE_P) || is(T::AV_PICTURE_TYPE_SP) {
            PictureKind::Predicted
        } else if is(T::AV_PICTURE_TYPE_B) {
            PictureKind::Bidirectional
        } else {
            PictureKind::Other
        }
    }

    /// The frame's motion vectors, in pixels of [`Frame::display_size`]; empty when there are none.
    #[must_use]
    pub fn motion_vectors(&self) -> Vec<MotionVector> {
        let size = (self.width() as f32, self.height() as f32);
        let turned = |av| vector(av, size, self.orientation);
        let vectors = self.stored_vectors().iter().filter_map(turned);
        let (wide, tall) = if self.orientation.swaps_sides() {
            (1.0, self.pixel_aspect.factor())
        } else {
            (self.pixel_aspect.factor(), 1.0)
        };
        let square = |v: MotionVector| MotionVector {
            left: v.left * wide,
            width: v.width * wide,
            dx: v.dx * wide,
            top: v.top * tall,
            height: v.height * tall,
            dy: v.dy * tall,
            ..v
        };
        vectors.map(square).collect()
    }

    fn stored_vectors(&self) -> &[ffi::AVMotionVector] {
        let kind = ffi::AVFrameSideDataType::AV_FRAME_DATA_MOTION_VECTORS;
        // SAFETY: a look into a valid frame; the side data lives as long as the frame, and FFmpeg
        // fills data of this kind with whole vectors, allocated with enough alignment for them.
        unsafe {
            let Some(side) = ffi::av_frame_get_side_data(self.av(), kind).as_ref() else {
                return &[];
            };
            if side.data.is_null() {
                return &[];
            }
            let count = side.size / size_of::<ffi::AVMotionVector>();
            std::slice::from_raw_parts(side.data.cast_const().cast(), count)
        }
    }
}

/// FFmpeg's vector in a stored picture of `size`, turned upright.
fn vector(av: &ffi::AVMotionVector, size: (f32, f32), turn: Orientation) -> Option<MotionVector> {
    if av.motion_scale == 0 || av.source == 0 {
        return None;
    }
    let scale = f32::from(av.motion_scale);
    let (width, height) = (f32::from(av.w), f32::from(av.h));
    // The stored position is the block's middle; the vector leads to where it was copied from.
    let (x, y) = (f32::from(av.dst_x) - width / 2.0, f32::from(av.dst_y) - height / 2.0);
    let (dx, dy) = (-(av.motion_x as f32) / scale, -(av.motion_y as f32) / scale);
    let (mut left, top, width, height, mut dx, dy) = match turn.rotation {
        90 => (size.1 - y - height, x, height, width, -dy, dx),
        180 => (size.0 - x - width, size.1 - y - height, width, height, -dx, -dy),
        270 => (y, size.0 - x - width, height, width, dy, -dx),
        _ => (x, y, width, height, dx, dy),
    };
    if turn.mirrored {
        let across = if turn.swaps_sides() { size.1 } else { size.0 };
        left = across - left - width;
        dx = -dx;
    }
    Some(MotionVector { left, top, width, height, dx, dy, is_from_past: av.source < 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(source: i32) -> ffi::AVMotionVector {
        ffi::AVMotionVector {
            source,
            w: 16,
            h: 8,
            src_x: 0,
            src_y: 0,
            dst_x: 24,
            dst_y: 12,
            flags: 0,
            motion_x: -8,
            motion_y: 4,
            motion_scale: 4,
        }
    }

    fn turned(rotation: u16, mirrored: bool) -> [f32; 6] {
        let turn = Orientation { rotation, mirrored };
        let v = vector(&stored(-1), (160.0, 80.0), turn).unwrap();
        [v.left, v.top, v.width, v.height, v.dx, v.dy]
    }

    #[test]
    fn vectors_turn_with_the_picture() {
        assert_eq!(turned(0, false), [16.0, 8.0, 16.0, 8.0, 2.0, -1.0]);
        assert_eq!(turned(90, false), [64.0, 16.0, 8.0, 16.0, 1.0, 2.0]);
        assert_eq!(turned(180, false), [128.0, 64.0, 16.0, 8.0, -2.0, 1.0]);
        assert_eq!(turned(270, false), [8.0, 128.0, 8.0, 16.0, -1.0, -2.0]);
        assert_eq!(turned(0, true), [128.0, 8.0, 16.0, 8.0, -2.0, -1.0]);
    }

    #[test]
    fn vectors_without_a_direction_say_nothing() {
        let upright = Orientation::default();
        assert_eq!(vector(&stored(0), (160.0, 80.0), upright), None);
        assert!(!vector(&stored(1), (160.0, 80.0), upright).unwrap().is_from_past);
    }
}
