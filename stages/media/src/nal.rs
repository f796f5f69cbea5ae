//! What kind of picture an H.264 or H.265 packet holds, from its first NAL unit's type.
//!
//! Containers flag every picture that playback may start at as a key packet; only the bit stream
//! says whether pictures after it may still need those before it.

use ffmpeg_next::ffi;

/// How a picture depends on what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    /// An IDR picture: nothing after it needs anything before it.
    Closed,
    /// An H.265 CRA or BLA picture: as above, except for marked pictures shown before it.
    Open,
    /// One of those marked pictures.
    Leading,
    /// Any other.
    Other,
}

/// How to find the NAL units of a stream's packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nal {
    is_hevc: bool,
    /// Bytes of the length before each unit; 0: start codes instead.
    length_bytes: usize,
}

impl Nal {
    /// `None` for other codecs.
    pub(crate) fn new(parameters: &ffi::AVCodecParameters) -> Option<Self> {
        Self::for_codec(parameters.codec_id, extradata(parameters))
    }

    fn for_codec(codec: ffi::AVCodecID, extradata: &[u8]) -> Option<Self> {
        let (is_hevc, at) = match codec {
            ffi::AVCodecID::AV_CODEC_ID_H264 => (false, 4),
            ffi::AVCodecID::AV_CODEC_ID_HEVC => (true, 21),
            _ => return None,
        };
        // Configuration records begin with version 1, start codes with zeros.
        let length_bytes = match extradata {
            [1, ..] => extradata.get(at).map_or(4, |byte| usize::from(byte & 3) + 1),
            _ => 0,
        };
        Some(Self { is_hevc, length_bytes })
    }

    /// The kind of the first picture in the packet.
    pub(crate) fn picture(self, data: &[u8]) -> Picture {
        self.slice(data).map_or(Picture::Other, |(kind, _)| kind)
    }

    /// Whether an H.264 picture is one of those that are renewed bit by bit (periodic intra refresh):
    /// flagged as a key, but made of predicted slices, and whole only some pictures later.
    pub(crate) fn is_refresh(self, data: &[u8]) -> bool {
        let Some((Picture::Other, slice)) = self.slice(data).filter(|_| !self.is_hevc) else {
            return false;
        };
        // After the unit's header: `first_mb_in_slice` and `slice_type` (H.264, 7.3.3).
        let bytes = slice.iter().skip(1).chain(std::iter::repeat(&0)).take(8);
        let mut bits = bytes.fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let mut golomb = || {
            let zeros = bits.leading_zeros().min(31);
            bits <<= zeros;
            // Zeros alone are no number: the slice is damaged or cut off.
            let value = (bits >> (63 - zeros)).saturating_sub(1);
            bits <<= zeros + 1;
            value
        };
        golomb();
        !matches!(golomb() % 5, 2 | 4)
    }

    /// Whether no other picture is made with the help of this one, so that a decoder may go without it.
    pub(crate) fn is_disposable(self, data: &[u8]) -> bool {
        let Some((_, slice)) = self.slice(data) else { return false };
        match slice {
            // `nal_ref_idc` (H.264, 7.3.1).
            [first, ..] if !self.is_hevc => first & 0x60 == 0,
            // TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N and those reserved beside them (H.265, table 7-1),
            // where no higher temporal layer refers to them.
            [first, second, ..] => first >> 1 & 0x31 == 0 && second & 7 == 1,
            _ => false,
        }
    }

    /// The first slice of the packet: its kind, and its unit with what follows.
    fn slice(self, mut data: &[u8]) -> Option<(Picture, &[u8])> {
        loop {
            let unit;
            if self.length_bytes == 0 {
                let at = data.windows(3).position(|bytes| bytes == [0, 0, 1])?;
                data = &data[at + 3..];
                unit = data;
            } else {
                if data.len() <= self.length_bytes {
                    return None;
                }
                let (length, rest) = data.split_at(self.length_bytes);
                let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                unit = rest;
                data = rest.get(length..).unwrap_or_default();
            }
            let first = unit.first()?;
            let kind = if self.is_hevc { hevc(first >> 1 & 0x3f) } else { avc(first & 0x1f) };
            if let Some(kind) = kind {
                return Some((kind, unit));
            }
        }
    }
}

/// The picture that an H.264 unit type belongs to, if it is a slice.
fn avc(unit: u8) -> Option<Picture> {
    match unit {
        5 => Some(Picture::Closed),
        1..=4 => Some(Picture::Other),
        _ => None,
    }
}

/// The picture that an H.265 unit type belongs to, if it is a slice.
fn hevc(unit: u8) -> Option<Picture> {
    match unit {
        19 | 20 => Some(Picture::Closed),
        16..=18 | 21 => Some(Picture::Open),
        6..=9 => Some(Picture::Leading),
        0..=31 => Some(Picture::Other),
        _ => None,
    }
}

/// The decoder configuration of a stream.
pub(crate) fn extradata(parameters: &ffi::AVCodecParameters) -> &[u8] {
    if parameters.extradata.is_null() || parameters.extradata_size <= 0 {
        return &[];
    }
    // SAFETY: FFmpeg guarantees that many readable bytes, owned by the parameters.
    unsafe { std::slice::from_raw_parts(parameters.extradata, parameters.extradata_size as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idr_is_told_from_other_key_pictures() {
        let avc = Nal { is_hevc: false, length_bytes: 4 };
        // SEI, then a slice.
        assert_eq!(avc.picture(&[0, 0, 0, 2, 6, 9, 0, 0, 0, 3, 0x65, 1, 2]), Picture::Closed);
        assert_eq!(avc.picture(&[0, 0, 0, 2, 6, 9, 0, 0, 0, 3, 0x41, 1, 2]), Picture::Other);
        assert_eq!(avc.picture(&[0, 0, 0, 2, 6]), Picture::Other);
        assert_eq!(avc.picture(&[]), Picture::Other);
        // `first_mb_in_slice` 0, then `slice_type` 5 (predicted) and 7 (intra).
        assert!(avc.is_refresh(&[0, 0, 0, 3, 0x41, 0b1001_1000, 0]));
        assert!(!avc.is_refresh(&[0, 0, 0, 3, 0x41, 0b1000_1000, 0]));
        assert!(!avc.is_refresh(&[0, 0, 0, 3, 0x65, 0b1001_1000, 0]), "an IDR picture");
        assert!(avc.is_disposable(&[0, 0, 0, 1, 0x01]) && !avc.is_disposable(&[0, 0, 0, 1, 0x41]));
        for cut in [
            &[0, 0, 0, 1, 0x41][..],
            &[0, 0, 0, 9, 0x41, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 2, 0x41, 0xff],
        ] {
            avc.is_refresh(cut); // Any answer, but no panic.
        }
        let annex_b = Nal { is_hevc: true, length_bytes: 0 };
        let idr = [0, 0, 0, 1, 0x40, 1, 7, 0, 0, 1, 0x26, 1, 5];
        assert_eq!(annex_b.picture(&idr), Picture::Closed);
        assert_eq!(annex_b.picture(&[0, 0, 1, 0x2a, 1, 5]), Picture::Open);
        assert_eq!(annex_b.picture(&[0, 0, 1, 0x10, 1, 5]), Picture::Leading);
        // TRAIL_N, RADL_N, RASL_N; then the last two in a higher temporal layer, or referred to; IDR.
        for (first, second, is_disposable) in [
            (0x00, 1, true),
            (0x0c, 1, true),
            (0x10, 1, true),
            (0x00, 2, false),
            (0x02, 1, false),
            (0x12, 1, false),
            (0x26, 1, false),
        ] {
            let packet = [0, 0, 0, 1, first, second, 0xd0];
            assert_eq!(annex_b.is_disposable(&packet), is_disposable, "{first:#x} {second}");
        }
        let two = Nal::for_codec(ffi::AVCodecID::AV_CODEC_ID_H264, &[1, 100, 0, 30, 0xfd, 0xe1]);
        assert_eq!(two.unwrap().length_bytes, 2);
        assert!(Nal::for_codec(ffi::AVCodecID::AV_CODEC_ID_VP9, &[]).is_none());
    }
}
