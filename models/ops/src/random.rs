//! Random numbers that can be stored, and resumed at the same number.
//!
//! candle cannot be seeded on the CPU. This is Philox4x32-10 (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", 2011), which PyTorch uses on GPUs: number `n` is a function of
//! seed, stream and `n`. So the state is three integers, and each example can have a stream of its
//! own that does not depend on which worker draws it, or when.
//!
//! Equal on every machine up to the last bit of the logarithm and cosine of its C library.

use candle_core::{DType, Device, Result, Shape, Tensor};

/// A generator. Cloning copies the state: both then give the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rng {
    seed: u64,
    stream: u64,
    /// The number of blocks of four words drawn so far.
    position: u64,
}

impl Rng {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_stream(seed, 0)
    }

    /// One of 2^64 independent sequences of a seed: for instance of a step, an example, a rank.
    #[must_use]
    pub fn with_stream(seed: u64, stream: u64) -> Self {
        Self { seed, stream, position: 0 }
    }

    /// The next four words.
    fn block(&mut self) -> [u32; 4] {
        let low = |value: u64| value as u32;
        let high = |value: u64| (value >> 32) as u32;
        let counter =
            [low(self.position), high(self.position), low(self.stream), high(self.stream)];
        self.position += 1;
        philox(counter, [low(self.seed), high(self.seed)])
    }

    /// A number in `0..2^64`.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, ..] = self.block();
        u64::from(a) | u64::from(b) << 32
    }

    /// A number in `0..end`, each as likely as another. 0 if `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        // Numbers past the last whole multiple of `end` would favour the small ones.
        let spare = (u64::MAX % end + 1) % end;
        loop {
            let number = self.next_u64();
            if number <= u64::MAX - spare {
                return number % end;
            }
        }
    }

    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Two independent numbers from the normal distribution (Box and Muller, 1958).
    fn normals(&mut self) -> [f64; 2] {
        let [a, b, c, d] = self.block();
        let unit = |low: u32, high: u32| {
            let word = u64::from(low) | u64::from(high) << 32;
            ((word >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let radius = (-2.0 * unit(a, b).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(c, d)).sin_cos();
        [radius * cos, radius * sin]
    }

    /// A number from the normal distribution.
    pub fn normal(&mut self) -> f64 {
        self.normals()[0]
    }

    /// A tensor from the normal distribution. The numbers depend on its size alone, not on type
    /// and device.
    ///
    /// # Errors
    /// When candle fails to make it.
    pub fn normal_tensor(
        &mut self,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let count = shape.elem_count();
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            values.extend(self.normals());
        }
        values.truncate(count);
        made(values, shape, dtype, device)
    }

    /// A tensor of numbers in `[from, to)`.
    ///
    /// # Errors
    /// When candle fails to make it.
    pub fn uniform_tensor(
        &mut self,
        range: std::ops::Range<f64>,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let width = range.end - range.start;
        let values = (0..shape.elem_count()).map(|_| range.start + width * self.uniform());
        made(values.collect(), shape, dtype, device)
    }

    /// What dropout multiplies by: 0 with probability `rate`, else `1 / (1 - rate)`. Drawn outside
    /// of a checkpointed segment and passed in, so that both runs see the same.
    ///
    /// # Errors
    /// When candle fails to make it.
    pub fn dropout_mask(
        &mut self,
        rate: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let kept = 1.0 / (1.0 - rate);
        let mut draw = || if self.uniform() < rate { 0.0 } else { kept };
        made((0..shape.elem_count()).map(|_| draw()).collect(), shape, dtype, device)
    }

    /// The numbers `0..count` in random order (Fisher and Yates).
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

fn made(values: Vec<f64>, shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    let tensor = match dtype {
        DType::F64 => Tensor::from_vec(values, shape, &Device::Cpu)?,
        _ => {
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?
        }
    };
    tensor.to_device(device)
}

/// Philox4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product = |factor: u32, word: u32| {
            let product = u64::from(factor) * u64::from(word);
            ((product >> 32) as u32, product as u32)
        };
        let (high0, low0) = product(0xD251_1F53, counter[0]);
        let (high1, low1) = product(0xCD9E_8D57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_authors() {
        // From the known answers that come with the authors' Random123.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
        );
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_copy_goes_on_with_the_same_numbers_and_streams_differ() {
        let mut rng = Rng::with_stream(7, 3);
        let first = rng.next_u64();
        let mut copy = rng.clone();
        assert_eq!(rng.next_u64(), copy.next_u64());
        assert_ne!(first, Rng::with_stream(7, 4).next_u64());
        assert_ne!(first, Rng::with_stream(8, 3).next_u64());
    }

    #[test]
    fn moments_of_the_distributions() {
        let mut rng = Rng::new(1);
        let count = 200_000usize;
        let normal = rng.normal_tensor(count, DType::F64, &Device::Cpu).unwrap();
        let values = normal.to_vec1::<f64>().unwrap();
        let moment = |power: i32| values.iter().map(|v| v.powi(power)).sum::<f64>() / count as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02, "{}", moment(2));
        assert!(moment(3).abs() < 0.03 && (moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
        let mask = rng.dropout_mask(0.25, count, DType::F64, &Device::Cpu).unwrap();
        let mask = mask.to_vec1::<f64>().unwrap();
        let zeros = mask.iter().filter(|value| **value == 0.0).count();
        assert!((zeros as f64 / count as f64 - 0.25).abs() < 0.005);
        assert!((mask.iter().sum::<f64>() / count as f64 - 1.0).abs() < 0.01);
    }

    #[test]
    fn below_is_fair_and_a_permutation_has_each_number_once() {
        let mut rng = Rng::new(2);
        let mut counts = [0; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        let mut order = rng.permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn types_share_their_numbers() {
        let mut rng = Rng::new(3);
        let mut copy = rng.clone();
        let wide = rng.normal_tensor((3, 5), DType::F64, &Device::Cpu).unwrap();
        let narrow = copy.normal_tensor((3, 5), DType::F32, &Device::Cpu).unwrap();
        let wide = wide.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(wide, narrow.to_vec2::<f32>().unwrap());
        assert_eq!(rng, copy);
    }
}
