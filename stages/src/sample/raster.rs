//! A codec's blocks laid over a coarse grid.
//!
//! A frame of 1080p has thousands of blocks. What motion needs of them is where the picture goes
//! in each region, which some hundred cells say as well; so a frame's vectors become a few
//! kilobytes before they are kept.

use curate_media::{Frame as Decoded, MotionVector};
use curate_pipeline::Vectors;

/// Cells along the longer side.
const CELLS: u32 = 32;
/// The usual block: smaller cells would only repeat it.
const LEAST_CELL: u32 = 16;
/// Vectors that cover less of the picture say too little about it.
const LEAST_SHARE: f64 = 0.25;

/// The vectors of a frame to earlier ones; none when they cover too little of it.
pub(super) fn raster(frame: &Decoded) -> Option<Vectors> {
    lay(&frame.motion_vectors(), frame.display_size())
}

fn lay(blocks: &[MotionVector], (across, down): (u32, u32)) -> Option<Vectors> {
    let cell = across.max(down).div_ceil(CELLS).max(LEAST_CELL);
    let (columns, rows) = (across.div_ceil(cell).max(1), down.div_ceil(cell).max(1));
    let cells = columns as usize * rows as usize;
    let (mut dx, mut dy, mut known) = (vec![0.0; cells], vec![0.0; cells], vec![0.0; cells]);
    let side = cell as f32;
    for block in blocks.iter().filter(|block| block.is_from_past) {
        // Blocks at the edges of a stream whose size is no multiple of 16 reach over it.
        let (left, right) = (block.left.max(0.0), (block.left + block.width).min(across as f32));
        let (top, bottom) = (block.top.max(0.0), (block.top + block.height).min(down as f32));
        if right <= left || bottom <= top {
            continue;
        }
        for row in (top / side) as u32..((bottom / side).ceil() as u32).min(rows) {
            let (from, to) = (row as f32 * side, (row + 1) as f32 * side);
            let tall = bottom.min(to) - top.max(from);
            for column in (left / side) as u32..((right / side).ceil() as u32).min(columns) {
                let (from, to) = (column as f32 * side, (column + 1) as f32 * side);
                let area = tall * (right.min(to) - left.max(from));
                let at = (row * columns + column) as usize;
                dx[at] += area * block.dx;
                dy[at] += area * block.dy;
                known[at] += area;
            }
        }
    }
    let sum: f64 = known.iter().map(|area| f64::from(*area)).sum();
    if sum < LEAST_SHARE * f64::from(across) * f64::from(down) {
        return None;
    }
    for ((dx, dy), area) in dx.iter_mut().zip(&mut dy).zip(&known) {
        if *area > 0.0 {
            *dx /= area;
            *dy /= area;
        }
    }
    let (width, height) = (across, down);
    Some(Vectors { pts: 0, gap_s: 0.0, width, height, cell, columns, rows, dx, dy, known })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(left: f32, width: f32, dx: f32) -> MotionVector {
        MotionVector { left, top: 0.0, width, height: 16.0, dx, dy: 1.0, is_from_past: true }
    }

    #[test]
    fn cells_hold_the_mean_of_their_blocks() {
        let blocks = [
            block(0.0, 8.0, 4.0),
            block(8.0, 16.0, 8.0),
            MotionVector { is_from_past: false, ..block(24.0, 8.0, 99.0) },
        ];
        let vectors = lay(&blocks, (40, 16)).unwrap();
        assert_eq!((vectors.cell, vectors.columns, vectors.rows), (16, 3, 1));
        assert_eq!(vectors.dx, [6.0, 8.0, 0.0]);
        assert_eq!(vectors.dy, [1.0, 1.0, 0.0]);
        assert_eq!(vectors.known, [256.0, 128.0, 0.0]);
    }

    #[test]
    fn too_few_blocks_are_none() {
        assert_eq!(lay(&[block(0.0, 8.0, 4.0)], (64, 16)), None);
        assert_eq!(lay(&[], (64, 16)), None);
    }
}
