//! Contact sheets: many thumbnails on one page, each with a line or two below it.

use opencv::{
    core::{CV_8UC3, Point, Scalar},
    imgproc,
};

use crate::{
    Filter, MediaError, Picture, PixelFormat, Size, decode_jpeg,
    mat::{Shape, into_slice},
    resize,
};

/// One thumbnail of a sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetCell {
    /// The thumbnail; grey when there is none or it cannot be read.
    pub jpeg: Option<Vec<u8>>,
    /// Lines below it, in plain ASCII (the drawing font has nothing else), about 30 characters each.
    pub lines: Vec<String>,
    /// Whether its frame is green (else red).
    pub is_kept: bool,
}

const CELL: Size = Size::new(240, 160);
const LINE_HEIGHT: u32 = 16;
const MARGIN: u32 = 8;
const FRAME: u32 = 3;

/// A picture with all cells, `columns` in a row.
///
/// # Errors
/// `convert` if there are no cells, or so many that the picture would be enormous.
pub fn contact_sheet(cells: &[SheetCell], columns: u32) -> Result<Picture, MediaError> {
    let columns = columns.clamp(1, u32::try_from(cells.len()).unwrap_or(u32::MAX).max(1));
    let lines = cells.iter().map(|cell| cell.lines.len()).max().unwrap_or(0) as u32;
    let step = Size::new(CELL.width + MARGIN, CELL.height + MARGIN + lines * LINE_HEIGHT);
    let rows = (cells.len() as u32).div_ceil(columns);
    let size = Size::new(columns * step.width + MARGIN, rows * step.height + MARGIN);
    let (width, height) = size.ints()?;
    let mut sheet = Picture {
        width: size.width,
        height: if rows == 0 { 0 } else { size.height },
        format: PixelFormat::Bgr8,
        data: vec![255; size.pixels() * 3],
    };
    sheet.shape()?;
    for (index, cell) in (0_u32..).zip(cells) {
        let left = MARGIN + index % columns * step.width;
        let top = MARGIN + index / columns * step.height;
        let color = if cell.is_kept { [80, 160, 40] } else { [60, 60, 200] };
        fill(&mut sheet, left, top, CELL, color);
        let room = Size::new(CELL.width - 2 * FRAME, CELL.height - 2 * FRAME);
        fill(&mut sheet, left + FRAME, top + FRAME, room, [70, 70, 70]);
        let thumb = cell.jpeg.as_deref().and_then(|jpeg| decode_jpeg(jpeg).ok());
        if let Some(thumb) = thumb {
            let thumb = thumb.to_format(sheet.format)?;
            let thumb = resize(&thumb, within(thumb.size(), room), Filter::Area)?;
            let x = left + FRAME + (room.width - thumb.width) / 2;
            let y = top + FRAME + (room.height - thumb.height) / 2;
            paste(&mut sheet, x, y, &thumb);
        }
    }
    let shape = Shape::packed(width, height, CV_8UC3, 3);
    into_slice(&mut sheet.data, shape, "writing on a contact sheet", |out| {
        for (index, cell) in (0_u32..).zip(cells) {
            let left = MARGIN + index % columns * step.width;
            let top = MARGIN + index / columns * step.height + CELL.height;
            for (number, line) in (1_u32..).zip(&cell.lines) {
                let at = Point::new(left as i32, (top + number * LINE_HEIGHT - 4) as i32);
                let font = imgproc::FONT_HERSHEY_SIMPLEX;
                imgproc::put_text(
                    out,
                    line,
                    at,
                    font,
                    0.4,
                    Scalar::all(0.0),
                    1,
                    imgproc::LINE_AA,
                    false,
                )?;
            }
        }
        Ok(())
    })?;
    Ok(sheet)
}

/// The largest size of the same shape inside `room`, enlarged if need be.
fn within(size: Size, room: Size) -> Size {
    let factor = (f64::from(room.width) / f64::from(size.width))
        .min(f64::from(room.height) / f64::from(size.height));
    let side = |side: u32, most: u32| ((f64::from(side) * factor).round() as u32).clamp(1, most);
    Size::new(side(size.width, room.width), side(size.height, room.height))
}

fn fill(sheet: &mut Picture, left: u32, top: u32, size: Size, color: [u8; 3]) {
    for y in top..top + size.height {
        let start = (y as usize * sheet.width as usize + left as usize) * 3;
        let row = &mut sheet.data[start..start + size.width as usize * 3];
        row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&color));
    }
}

fn paste(sheet: &mut Picture, left: u32, top: u32, picture: &Picture) {
    let bytes = picture.width as usize * 3;
    for (y, row) in (top as usize..).zip(picture.data.chunks_exact(bytes)) {
        let start = (y * sheet.width as usize + left as usize) * 3;
        sheet.data[start..start + bytes].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_jpeg;

    #[test]
    fn thumbnails_stand_in_their_frames() {
        let blue = Picture {
            width: 20,
            height: 10,
            format: PixelFormat::Bgr8,
            data: [250, 10, 10].repeat(200),
        };
        let jpeg = Some(encode_jpeg(&blue, 95).unwrap());
        let line = vec!["0.0 to 4.0 s".to_owned()];
        let kept = SheetCell { jpeg, lines: line.clone(), is_kept: true };
        let dropped = SheetCell { jpeg: Some(b"no jpeg".to_vec()), lines: line, is_kept: false };
        let sheet = contact_sheet(&[kept, dropped], 5).unwrap();
        assert_eq!(sheet.size(), Size::new(8 + 2 * 248, 8 + 168 + 16));
        let pixel = |x: usize, y: usize| {
            let start = (y * sheet.width as usize + x) * 3;
            &sheet.data[start..start + 3]
        };
        assert_eq!(pixel(9, 9), [80, 160, 40]);
        assert_eq!(pixel(248 + 9, 9), [60, 60, 200]);
        assert_eq!(pixel(248 + 128, 88), [70, 70, 70]);
        assert!(pixel(128, 88)[0] > 230 && pixel(128, 88)[1] < 40, "{:?}", pixel(128, 88));
        let text_rows = &sheet.data[170 * sheet.width as usize * 3..186 * sheet.width as usize * 3];
        assert!(text_rows.iter().any(|value| *value < 60), "nothing is written");
        assert!(contact_sheet(&[], 5).is_err());
    }
}
