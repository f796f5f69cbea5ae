//! Where and when: fixed sine and cosine tables, computed for each size.
//!
//! Decided against the tables of the checkpoint: they are for one size, and the published network
//! computes them for every other one.

use candle_core::{DType, Device, Result, Tensor};

/// Longest wave, in steps of 2 pi.
const BASE: f64 = 10_000.0;
/// Numbers that a time or a size is spread to.
pub(super) const SINUSOID: usize = 256;

/// Rows and columns of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Positions in a frame, `[rows * columns, width]` in f32. The first half of the channels has the
/// column, the second the row. Both are scaled so that every picture spans the same numbers as one
/// of `base` tokens per edge, and divided by `scale`.
pub(super) fn spatial(
    area: Area,
    width: usize,
    (base, scale): (f64, f64),
    device: &Device,
) -> Result<Tensor> {
    let half = width / 2;
    let axis = |count: usize| {
        let step = base / count as f64 / scale;
        table(count, half / 2, |index| index as f64 * step, device)
    };
    let columns = axis(area.columns)?.unsqueeze(0)?;
    let rows = axis(area.rows)?.unsqueeze(1)?;
    let shape = (area.rows, area.columns, half);
    let both = [columns.broadcast_as(shape)?, rows.broadcast_as(shape)?];
    Tensor::cat(&both, 2)?.reshape((area.rows * area.columns, width))
}

/// `[count, 2 * waves]`: sines, then cosines.
fn table(
    count: usize,
    waves: usize,
    place: impl Fn(usize) -> f64,
    device: &Device,
) -> Result<Tensor> {
    let mut values = Vec::with_capacity(count * waves * 2);
    for index in 0..count {
        let place = place(index);
        let angle = |wave: usize| place * BASE.powf(-(wave as f64) / waves as f64);
        values.extend((0..waves).map(|wave| angle(wave).sin() as f32));
        values.extend((0..waves).map(|wave| angle(wave).cos() as f32));
    }
    Tensor::from_vec(values, (count, 2 * waves), device)
}

/// Positions in time, `[frames, width]` in f32: sine and cosine in turn (Vaswani et al., 2017).
pub(super) fn temporal(frames: usize, width: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(frames * width);
    for frame in 0..frames {
        for channel in (0..width).step_by(2) {
            let angle = frame as f64 * BASE.powf(-(channel as f64) / width as f64);
            values.push(angle.sin() as f32);
            values.push(angle.cos() as f32);
        }
    }
    Tensor::from_vec(values, (frames, width), device)
}

/// Numbers spread to 256: `[count]` to `[count, 256]` in f32, cosines first.
pub(super) fn sinusoid(values: &Tensor) -> Result<Tensor> {
    let half = SINUSOID / 2;
    let rates: Vec<f32> =
        (0..half).map(|wave| BASE.powf(-(wave as f64) / half as f64) as f32).collect();
    let rates = Tensor::from_vec(rates, (1, half), values.device())?;
    let angles = values.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&rates)?;
    Tensor::cat(&[angles.cos()?, angles.sin()?], 1)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Area, sinusoid, spatial, temporal};

    fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
        tensor.to_vec2().unwrap()
    }

    #[test]
    fn columns_come_first_and_sizes_span_the_same() {
        let area = Area { rows: 2, columns: 4 };
        let found = rows(&spatial(area, 8, (8.0, 1.0), &Device::Cpu).unwrap());
        // Place (0, 0): sines 0, cosines 1, in both halves.
        assert_eq!(found[0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        // Row 0, column 1 of 4 is where column 2 of 8 is.
        let expected = [2.0_f32.sin(), 0.02_f32.sin(), 2.0_f32.cos(), 0.02_f32.cos()];
        for (found, expected) in found[1].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert_eq!(found[1][4..], [0.0, 0.0, 1.0, 1.0]);
        // Row 1 of 2 is where row 4 of 8 is; tokens go by rows.
        assert!((found[4][4] - 4.0_f32.sin()).abs() < 1e-6);
        assert_eq!(found[4][..4], found[0][..4]);
    }

    #[test]
    fn times_alternate_and_spread_times_begin_with_cosines() {
        let found = rows(&temporal(2, 4, &Device::Cpu).unwrap());
        assert_eq!(found[0], [0.0, 1.0, 0.0, 1.0]);
        assert!((found[1][0] - 1.0_f32.sin()).abs() < 1e-6);
        assert!((found[1][3] - 0.01_f32.cos()).abs() < 1e-6);
        let time = Tensor::new(&[0.0_f32, 17.0], &Device::Cpu).unwrap();
        let found = rows(&sinusoid(&time).unwrap());
        assert!(found[0][..128].iter().all(|value| (value - 1.0).abs() < 1e-6));
        assert!((found[1][128] - 17.0_f32.sin()).abs() < 1e-5);
    }
}
