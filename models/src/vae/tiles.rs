//! Large pictures, tile by tile.
//!
//! Tiles overlap by a quarter; where two meet, one fades into the other, first from above and then
//! from the left, and all but a tile's first rows and columns come from its right and lower
//! neighbours. Each tile's middle sees only that tile, so a tiled result is not the untiled one:
//! it differs most near seams.

use candle_core::{Result, Tensor};

/// Tiles of what goes in, and where they meet in what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Side of a tile that goes in.
    pub(super) side: usize,
    /// From one tile's corner to the next, of what goes in.
    pub(super) stride: usize,
    /// Rows and columns of what comes out over which a tile fades in.
    pub(super) blend: usize,
    /// Rows and columns of a tile that comes out, up to where the next begins.
    pub(super) keep: usize,
}

impl Tiles {
    /// Pictures of any size in one.
    pub(super) const WHOLE: Self = Self { side: usize::MAX, stride: usize::MAX, blend: 0, keep: 0 };

    /// Runs `run` on each tile, numbered along rows, and joins what it gives. One tile if all fits.
    pub(super) fn run(
        &self,
        x: &Tensor,
        mut run: impl FnMut(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (height, width) = (x.dim(3)?, x.dim(4)?);
        if height <= self.side && width <= self.side {
            return run(0, x);
        }
        let mut index = 0;
        let mut rows = Vec::new();
        // Whole tiles of the row above.
        let mut above: Vec<Tensor> = Vec::new();
        for top in (0..height).step_by(self.stride) {
            let mut row: Vec<Tensor> = Vec::new();
            for left in (0..width).step_by(self.stride) {
                let tile = x.narrow(3, top, self.side.min(height - top))?;
                let tile = tile.narrow(4, left, self.side.min(width - left))?.contiguous()?;
                let mut made = run(index, &tile)?;
                if let Some(above) = above.get(row.len()) {
                    made = fade(above, &made, 3, self.blend)?;
                }
                if let Some(left) = row.last() {
                    made = fade(left, &made, 4, self.blend)?;
                }
                row.push(made);
                index += 1;
            }
            let kept: Vec<Tensor> =
                row.iter().map(|tile| self.kept(tile)).collect::<Result<_>>()?;
            rows.push(Tensor::cat(&kept, 4)?);
            above = row;
        }
        Tensor::cat(&rows, 3)
    }

    /// The part of a tile that the next ones do not cover.
    fn kept(&self, tile: &Tensor) -> Result<Tensor> {
        let tile = tile.narrow(3, 0, self.keep.min(tile.dim(3)?))?;
        tile.narrow(4, 0, self.keep.min(tile.dim(4)?))
    }
}

/// Fades `from`, whose last rows (or columns) are the first of `to`, into it.
fn fade(from: &Tensor, to: &Tensor, axis: usize, blend: usize) -> Result<Tensor> {
    let (before, length) = (from.dim(axis)?, to.dim(axis)?);
    let blend = blend.min(before).min(length);
    if blend == 0 {
        return Ok(to.clone());
    }
    let share: Vec<f32> = (0..blend).map(|index| index as f32 / blend as f32).collect();
    let mut shape = [1; 5];
    shape[axis] = blend;
    let share = Tensor::from_vec(share, &shape, to.device())?.to_dtype(to.dtype())?;
    let first = to.narrow(axis, 0, blend)?.broadcast_mul(&share)?;
    let last =
        from.narrow(axis, before - blend, blend)?.broadcast_mul(&share.affine(-1.0, 1.0)?)?;
    let faded = (first + last)?;
    if blend == length {
        return Ok(faded);
    }
    Tensor::cat(&[faded, to.narrow(axis, blend, length - blend)?], axis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const TILES: Tiles = Tiles { side: 8, stride: 6, blend: 2, keep: 6 };

    fn picture(height: usize, width: usize) -> Tensor {
        let values: Vec<f32> = (0..height * width).map(|index| (index as f32).sin()).collect();
        Tensor::from_vec(values, (1, 1, 1, height, width), &Device::Cpu).unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn tiles_that_change_nothing_join_to_the_whole() {
        for (height, width) in [(8, 8), (9, 8), (20, 13), (6, 25), (19, 19)] {
            let x = picture(height, width);
            let y = TILES.run(&x, |_, tile| Ok(tile.clone())).unwrap();
            assert_eq!(y.dims(), x.dims());
            assert!(largest_difference(&x, &y) < 1e-6, "{height}x{width}");
        }
    }

    #[test]
    fn what_looks_near_by_is_equal_where_tiles_do_not_overlap() {
        // Twice a sum over 3 x 3: two pixels from a tile's edge it no longer matters.
        let kernel = Tensor::ones((1, 1, 1, 3, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let run = |x: &Tensor| {
            let y = curate_ops::conv3d(x, &kernel, None, [1; 3], [0, 1, 1])?;
            curate_ops::conv3d(&y, &kernel, None, [1; 3], [0, 1, 1])
        };
        let tiles = Tiles { side: 12, stride: 8, blend: 4, keep: 8 };
        let x = picture(12, 28);
        let whole: Vec<f32> =
            run(&x).unwrap().narrow(3, 6, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let tiled: Vec<f32> = tiles
            .run(&x, |_, tile| run(tile))
            .unwrap()
            .narrow(3, 6, 1)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        for (column, (whole, tiled)) in whole.iter().zip(&tiled).enumerate() {
            // Tiles begin at 8, 16 and 24, and fade in over four columns.
            let is_seam = column >= 8 && column % 8 < 4;
            let is_equal = (whole - tiled).abs() < 1e-4;
            assert!(is_equal || is_seam, "{column}: {whole} {tiled}");
        }
        assert!(whole.iter().zip(&tiled).any(|(whole, tiled)| (whole - tiled).abs() > 1e-2));
    }

    #[test]
    fn tiles_fade_from_one_to_the_next() {
        // Each tile gives its number. Three along each axis, the last of two columns: 0 1 2 / 3 4 5 /
        // 6 7 8.
        let x = picture(14, 14);
        let y = TILES.run(&x, |index, tile| tile.zeros_like()? + index as f64).unwrap();
        let rows: Vec<Vec<f32>> = y.flatten(0, 3).unwrap().to_vec2().unwrap();
        assert_eq!(rows[0][..9], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0]);
        assert_eq!(rows[0][12..], [1.0, 1.5]);
        let column: Vec<f32> = (5..9).map(|row| rows[row][0]).collect();
        assert_eq!(column, [0.0, 0.0, 1.5, 3.0]);
    }
}
