//! What this machine's FFmpeg and OpenCV are and can do, for whoever checks a machine before work.
//!
//! Both are linked, so the program starts only where they are; but how FFmpeg was built decides
//! which codecs it knows.

use std::ffi::{CString, c_uint};

use ffmpeg_next::ffi;

use crate::probe::text;

/// The native libraries as they were loaded, whatever the program was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// FFmpeg's, such as `5.1.9-0+deb12u1`.
    pub ffmpeg: String,
    /// Those of its libraries, such as `libavcodec` and `59.37.100`.
    pub libraries: Vec<(&'static str, String)>,
    /// OpenCV's, such as `4.6.0`; what it said instead when it does not tell.
    pub opencv: String,
}

/// Which versions of the native libraries are there.
#[must_use]
pub fn versions() -> Versions {
    // SAFETY: these take nothing and answer with constants.
    let (name, numbers) = unsafe {
        let numbers = [
            ("libavcodec", ffi::avcodec_version()),
            ("libavformat", ffi::avformat_version()),
            ("libavutil", ffi::avutil_version()),
            ("libswscale", ffi::swscale_version()),
        ];
        (ffi::av_version_info(), numbers)
    };
    Versions {
        ffmpeg: text(name).unwrap_or_default(),
        libraries: numbers.into_iter().map(|(library, number)| (library, dotted(number))).collect(),
        opencv: opencv::core::get_version_string().unwrap_or_else(|error| error.to_string()),
    }
}

/// FFmpeg packs the three parts of a version into one number.
fn dotted(version: c_uint) -> String {
    format!("{}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff)
}

/// Whether this FFmpeg decodes a codec, by FFmpeg's name of the codec (such as `hevc` or `av1`).
#[must_use]
pub fn has_decoder(codec: &str) -> bool {
    let Ok(codec) = CString::new(codec) else { return false };
    // SAFETY: lookups in FFmpeg's own tables; what they find lives as long as the program.
    let name = unsafe {
        let descriptor = ffi::avcodec_descriptor_get_by_name(codec.as_ptr());
        if descriptor.is_null() {
            return false;
        }
        let decoder = ffi::avcodec_find_decoder((*descriptor).id);
        if decoder.is_null() {
            return false;
        }
        text((*decoder).name)
    };
    // FFmpeg's own decoder of AV1 only drives graphics cards, and comes last: there is no other.
    name.is_some_and(|name| name != "av1")
}

/// Whether this FFmpeg has an encoder, by the encoder's name (such as `libx264`).
#[must_use]
pub fn has_encoder(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: a lookup by name in FFmpeg's own table.
    unsafe { !ffi::avcodec_find_encoder_by_name(name.as_ptr()).is_null() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_ffmpeg_has_is_found() {
        assert!(has_decoder("h264") && has_decoder("mpeg4") && has_encoder("mpeg4"));
        assert!(!has_decoder("no such codec") && !has_encoder("no such encoder"));
        assert!(!has_decoder("zero\0inside") && !has_encoder("zero\0inside"));
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(dotted((59 << 16) | (37 << 8) | 100), "59.37.100");
        let versions = versions();
        assert!(versions.libraries.iter().all(|(_, version)| !version.starts_with('0')));
        assert!(versions.opencv.starts_with(char::is_numeric), "{}", versions.opencv);
        assert!(!versions.ffmpeg.is_empty());
    }
}
