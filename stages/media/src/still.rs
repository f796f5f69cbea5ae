//! Still pictures: one frame, read by FFmpeg like any other; what it leaves out is here.
//!
//! Cameras store a picture as the sensor saw it and say in its EXIF how it was held. Colour
//! profiles are not applied: pixels are taken to be sRGB, as nearly all are.

use std::{fs::File, io::BufReader, path::Path};

use crate::Orientation;

/// Whether FFmpeg's name of a container is that of a single picture.
pub(crate) fn is_still(container: &str) -> bool {
    container.ends_with("_pipe") || container == "image2"
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
