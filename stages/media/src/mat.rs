//! OpenCV matrices over memory that Rust owns.
//!
//! OpenCV's outputs allocate when the given matrix does not fit, which would silently leave the
//! caller's buffer untouched; every output here has the exact size and type, and is checked.

use std::ffi::c_void;

use opencv::{
    core::{self, CV_8UC1, Mat, MatTraitConst as _, Vector},
    imgproc,
};

use crate::{Filter, MediaError};

/// A picture plane in memory.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) width: i32,
    pub(crate) height: i32,
    /// OpenCV's element type, such as `CV_8UC1`.
    pub(crate) kind: i32,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
}

impl Shape {
    /// Tightly packed rows of `bytes` bytes per pixel.
    pub(crate) fn packed(width: i32, height: i32, kind: i32, bytes: usize) -> Self {
        Self { width, height, kind, stride: width.max(0) as usize * bytes }
    }
}

/// A matrix header over `data`.
///
/// # Safety
/// `data` must hold the rows that `shape` describes for as long as the matrix lives, and nothing
/// may write to them while OpenCV reads or read while it writes.
pub(crate) unsafe fn view(data: *mut u8, shape: Shape) -> Result<Mat, MediaError> {
    // SAFETY: the caller's promise.
    unsafe {
        Mat::new_rows_cols_with_data_unsafe(
            shape.height,
            shape.width,
            shape.kind,
            data.cast::<c_void>(),
            shape.stride,
        )
    }
    .map_err(MediaError::convert("looking at a plane"))
}

/// A header over a packed slice, for reading.
///
/// # Safety
/// The matrix must not outlive `data` nor be written to.
pub(crate) unsafe fn view_slice(data: &[u8], shape: Shape) -> Result<Mat, MediaError> {
    assert!(shape.stride * shape.height.max(0) as usize <= data.len(), "a plane is too short");
    // SAFETY: long enough, and the rest is the caller's promise.
    unsafe { view(data.as_ptr().cast_mut(), shape) }
}

/// Runs `work` with a matrix over `out` as its output.
pub(crate) fn into_slice(
    out: &mut [u8],
    shape: Shape,
    during: &'static str,
    work: impl FnOnce(&mut Mat) -> opencv::Result<()>,
) -> Result<(), MediaError> {
    assert!(shape.stride * shape.height.max(0) as usize <= out.len(), "an output is too short");
    let start = out.as_mut_ptr();
    // SAFETY: long enough, exclusively borrowed, and the matrix dies in this function.
    let mut mat = unsafe { view(start, shape) }?;
    work(&mut mat).map_err(MediaError::convert(during))?;
    if std::ptr::eq(mat.data(), start) {
        Ok(())
    } else {
        Err(MediaError::Convert { during, reason: "the output changed its size".to_owned() })
    }
}

/// Resizes one matrix into `out`. Averaging needs a smaller target; otherwise it is linear.
pub(crate) fn resize_into(
    source: &Mat,
    out: &mut [u8],
    shape: Shape,
    filter: Filter,
) -> Result<(), MediaError> {
    let shrinks = shape.width <= source.cols() && shape.height <= source.rows();
    let method = match filter {
        Filter::Area if shrinks => imgproc::INTER_AREA,
        Filter::Area | Filter::Linear => imgproc::INTER_LINEAR,
    };
    let size = opencv::core::Size::new(shape.width, shape.height);
    into_slice(out, shape, "resizing", |out| imgproc::resize(source, out, size, 0.0, 0.0, method))
}

/// The three channels of a packed 8-bit picture.
pub(crate) fn split(packed: &[u8], shape: Shape) -> Result<[Vec<u8>; 3], MediaError> {
    let during = "splitting channels";
    let plane = Shape::packed(shape.width, shape.height, CV_8UC1, 1);
    let pixels = plane.stride * plane.height.max(0) as usize;
    let mut planes = [vec![0; pixels], vec![0; pixels], vec![0; pixels]];
    // SAFETY: read only, and dropped before `packed` can change.
    let source = unsafe { view_slice(packed, shape) }?;
    let mut outputs = Vector::<Mat>::with_capacity(3);
    for out in &mut planes {
        // SAFETY: `pixels` bytes that only OpenCV touches until the vector is dropped.
        outputs.push(unsafe { view(out.as_mut_ptr(), plane) }?);
    }
    let starts = planes.each_ref().map(|out| out.as_ptr());
    core::split(&source, &mut outputs).map_err(MediaError::convert(during))?;
    if outputs.iter().zip(starts).any(|(mat, start)| !std::ptr::eq(mat.data(), start)) {
        return Err(MediaError::Convert { during, reason: "an output was replaced".to_owned() });
    }
    drop(outputs);
    Ok(planes)
}

/// Puts three planes together into packed pixels.
pub(crate) fn merge(planes: [&[u8]; 3], out: &mut [u8], shape: Shape) -> Result<(), MediaError> {
    let plane = Shape::packed(shape.width, shape.height, CV_8UC1, 1);
    let mut sources = Vector::<Mat>::with_capacity(3);
    for data in planes {
        // SAFETY: read only, and dropped before the planes can change.
        sources.push(unsafe { view_slice(data, plane) }?);
    }
    into_slice(out, shape, "joining channels", |out| core::merge(&sources, out))
}
