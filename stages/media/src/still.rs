//! Still pictures: one frame, read by FFmpeg like any other; what it leaves out is here.
//!
//! Cameras store a picture as the sensor saw it and say in its EXIF how it was held. Colour
//! profiles are not applied: pixels are taken to be sRGB, as nearly all are.

use std::{fs::File, io::BufReader, path::Path};

use crate::{MediaError, Orientation, tail};

/// Whether a file is a single picture: by FFmpeg's name of its container, or as a GIF of one frame.
pub(crate) fn is_still(container: &str, path: &Path) -> bool {
    // Motion JPEG without a container looks like a JPEG.
    let is_motion = path.extension().is_some_and(|ending| {
        ["mjpeg", "mjpg"].iter().any(|motion| ending.eq_ignore_ascii_case(motion))
    });
    container.ends_with("_pipe") && !is_motion
        || container == "image2"
        || container == "gif" && tail::is_single_gif(path)
}

/// Refuses TIFF with JPEG inside, which FFmpeg decodes to black (but where it is a raw picture of a
/// camera, which is another codec by its name).
pub(crate) fn refuse_jpeg_in_tiff(path: &Path) -> Result<(), MediaError> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    let exif = exif::Reader::new().read_from_container(&mut BufReader::new(file));
    let compression = exif.ok().and_then(|exif| {
        let field = exif.get_field(exif::Tag::Compression, exif::In::PRIMARY)?;
        field.value.get_uint(0)
    });
    // TIFF 6.0, section 22, and its technical note 2.
    match compression {
        Some(6 | 7) => Err(MediaError::UnsupportedCodec { codec: "jpeg in tiff".to_owned() }),
        _ => Ok(()),
    }
}

/// How the picture is turned for showing, as its EXIF says; upright if it says nothing.
pub(crate) fn orientation(path: &Path) -> Orientation {
    let Ok(file) = File::open(path) else { return Orientation::default() };
    let exif = exif::Reader::new().read_from_container(&mut BufReader::new(file));
    let stated = exif.ok().and_then(|exif| {
        let field = exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?;
        field.value.get_uint(0)
    });
    stated.map_or_else(Orientation::default, from_exif)
}

/// EXIF 2.32, tag 0x0112: where the first row and the first column of the stored picture are.
fn from_exif(number: u32) -> Orientation {
    let (rotation, mirrored) = match number {
        2 => (0, true),
        3 => (180, false),
        4 => (180, true),
        5 => (90, true),
        6 => (90, false),
        7 => (270, true),
        8 => (270, false),
        _ => (0, false),
    };
    Orientation { rotation, mirrored }
}
