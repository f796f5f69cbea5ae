//! Simple measures of one frame, each of one fault. Only brightness counts, but for colourfulness.
//!
//! All depend on the size of the picture, so that a recipe's thresholds hold for one size;
//! blockiness needs the size the video was encoded in, as resizing moves the blocks.

use super::Grey;

/// How much detail a picture has at the scale of single pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sharpness {
    /// Variance of the Laplacian in squared levels of 0 to 255, as `cv2.Laplacian(grey,
    /// cv2.CV_64F).var()` has it (Pech-Pacheco et al. 2000): the usual measure, under 100 where a
    /// picture is blurred. Grows with contrast and with noise.
    pub laplacian_variance: f64,
    /// The same over the variance of brightness (plus 1 squared level), so that neither contrast
    /// nor exposure matters: 0 in flat pictures, about 0.1 in sharp ones, 20 in white noise.
    pub relative: f64,
}

/// How sharp a picture is.
#[must_use]
pub fn sharpness(picture: &Grey) -> Sharpness {
    let (width, height) = (picture.width(), picture.height());
    let row = |y: usize| &picture.samples()[y * width..][..width];
    // Beyond a border lies what lies before it, without the border pixel itself.
    let beyond = |at: usize, size: usize| if at < size { at } else { size.saturating_sub(2) };
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for y in 0..height {
        let above = row(if y == 0 { beyond(1, height) } else { y - 1 });
        let (middle, below) = (row(y), row(beyond(y + 1, height)));
        let mut add = |left: u8, x: usize, right: u8| {
            let around = [above[x], below[x], left, right].map(i32::from);
            let value = around.iter().sum::<i32>() - 4 * i32::from(middle[x]);
            sum += i64::from(value);
            squares += i64::from(value * value);
        };
        let second = middle[beyond(1, width)];
        add(second, 0, second);
        for (x, around) in middle.windows(3).enumerate() {
            add(around[0], x + 1, around[2]);
        }
        if width > 1 {
            add(middle[width - 2], width - 1, middle[width - 2]);
        }
    }
    let count = (width * height) as f64;
    let laplacian_variance = squares as f64 / count - (sum as f64 / count).powi(2);
    let of_brightness = Brightness::of(picture).variance();
    Sharpness { laplacian_variance, relative: laplacian_variance / (of_brightness + 1.0) }
}

/// How many pixels have each level.
struct Brightness {
    counts: [u64; 256],
    pixels: f64,
}

impl Brightness {
    fn of(picture: &Grey) -> Self {
        let mut counts = [0; 256];
        for sample in picture.samples() {
            counts[usize::from(*sample)] += 1;
        }
        Self { counts, pixels: picture.samples().len() as f64 }
    }

    /// The mean over all pixels of what a level counts for.
    fn mean_of(&self, value: impl Fn(f64) -> f64) -> f64 {
        let levels = self.counts.iter().enumerate();
        levels.map(|(level, count)| value(level as f64) * *count as f64).sum::<f64>() / self.pixels
    }

    fn variance(&self) -> f64 {
        let mean = self.mean_of(|level| level);
        self.mean_of(|level| (level - mean).powi(2))
    }
}

/// How a picture is lit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exposure {
    /// Mean brightness, 0 (black) to 1 (white).
    pub mean: f64,
    /// Share of pixels too dark to show anything: levels 0 to 5 of 255.
    pub dark_share: f64,
    /// Share of pixels too bright to show anything: levels 250 to 255.
    pub bright_share: f64,
}

impl Exposure {
    /// One number, 0 (nothing to see) to 1: how near the mean is to the middle, `4 m (1 - m)`,
    /// times the share of pixels that show something.
    #[must_use]
    pub fn score(&self) -> f64 {
        let balance = 4.0 * self.mean * (1.0 - self.mean);
        balance * (1.0 - self.dark_share - self.bright_share).max(0.0)
    }
}

/// How a picture is lit.
#[must_use]
pub fn exposure(picture: &Grey) -> Exposure {
    let brightness = Brightness::of(picture);
    let share = |levels: &[u64]| levels.iter().sum::<u64>() as f64 / brightness.pixels;
    Exposure {
        mean: brightness.mean_of(|level| level / 255.0),
        dark_share: share(&brightness.counts[..6]),
        bright_share: share(&brightness.counts[250..]),
    }
}

/// Contrast as the standard deviation of brightness (Peli 1990's RMS contrast), 0 to 0.5 of full
/// brightness.
#[must_use]
pub fn contrast(picture: &Grey) -> f64 {
    Brightness::of(picture).variance().sqrt() / 255.0
}

/// Colourfulness (Hasler, Süsstrunk 2003, their third measure): 0 is grey, 15 slightly, 45
/// averagely, 82 highly colourful. `bgr` has blue, green and red bytes.
#[must_use]
pub fn colourfulness(bgr: &[u8]) -> f64 {
    // Of red less green, and of twice yellow less blue: sums and sums of squares.
    let mut sums = [[0_i64; 2]; 2];
    let (pixels, _) = bgr.as_chunks::<3>();
    for pixel in pixels {
        let [blue, green, red] = pixel.map(i64::from);
        for (sums, value) in sums.iter_mut().zip([red - green, red + green - 2 * blue]) {
            sums[0] += value;
            sums[1] += value * value;
        }
    }
    let count = pixels.len().max(1) as f64;
    let [mut variance, mut square] = [0.0; 2];
    for (sums, unit) in sums.iter().zip([1.0, 0.5]) {
        let [mean, of_squares] = sums.map(|sum| sum as f64 * unit / count);
        variance += of_squares * unit - mean * mean;
        square += mean * mean;
    }
    variance.max(0.0).sqrt() + 0.3 * square.sqrt()
}

/// How much the borders of blocks of eight pixels stand out: the mean difference of neighbours
/// across them over that of all others. 1 where blocks cannot be told, 2 and more where they can be
/// seen. The grid begins at the picture's corner.
#[must_use]
pub fn blockiness(picture: &Grey) -> f64 {
    let width = picture.width();
    // Sums of differences by the position in a block of the second pixel, and how many there are.
    let (mut sums, mut counts) = ([0_u64; 8], [0_u64; 8]);
    let mut across = vec![0_u64; width];
    for row in picture.rows() {
        for ((sum, left), right) in across.iter_mut().zip(row).zip(&row[1..]) {
            *sum += u64::from(left.abs_diff(*right));
        }
    }
    for (x, sum) in across[..width - 1].iter().enumerate() {
        sums[(x + 1) % 8] += sum;
        counts[(x + 1) % 8] += picture.height() as u64;
    }
    for (y, (above, below)) in picture.rows().zip(picture.rows().skip(1)).enumerate() {
        let differences = above.iter().zip(below).map(|(a, b)| u64::from(a.abs_diff(*b)));
        sums[(y + 1) % 8] += differences.sum::<u64>();
        counts[(y + 1) % 8] += width as u64;
    }
    // A tenth of a level keeps flat pictures at 1.
    let mean = |sum: u64, count: u64| sum as f64 / count.max(1) as f64 + 0.1;
    mean(sums[0], counts[0]) / mean(sums[1..].iter().sum(), counts[1..].iter().sum())
}

/// Noise as the deviation in levels of 0 to 255 that white noise would need to have (Immerkær
/// 1996): the mean size of what remains of a picture when all that is locally straight is taken
/// out. Fine texture counts as noise: sharp frames have 1 to 5. 0 for pictures under 3 pixels.
#[must_use]
pub fn noise(picture: &Grey) -> f64 {
    let width = picture.width();
    let rows: Vec<&[u8]> = picture.rows().collect();
    let second = |a: u8, b: u8, c: u8| i32::from(a) - 2 * i32::from(b) + i32::from(c);
    let mut sum = 0_u64;
    for around in rows.windows(3) {
        let columns = around[0].iter().zip(around[1]).zip(around[2]);
        // The second difference down, of which the second difference across is taken.
        let down: Vec<i32> = columns.map(|((a, b), c)| second(*a, *b, *c)).collect();
        let across = down.windows(3).map(|d| (d[0] - 2 * d[1] + d[2]).unsigned_abs());
        sum += u64::from(across.sum::<u32>());
    }
    // The filter's weights have a norm of 6; the mean size of a normal number is sqrt(2 / pi).
    let count = width.saturating_sub(2) * rows.len().saturating_sub(2);
    sum as f64 / count.max(1) as f64 / 6.0 * std::f64::consts::FRAC_PI_2.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: impl Fn(usize, usize) -> u8) -> Grey {
        let (width, height) = (64, 48);
        Grey::new(width, height, (0..width * height).map(|i| level(i % width, i / width)).collect())
            .unwrap()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn sharpness_is_the_variance_of_the_laplacian() {
        assert!(near(sharpness(&grey(|_, _| 90)).laplacian_variance, 0.0));
        let checks = sharpness(&grey(|x, y| ((x + y) % 2 * 10) as u8));
        // Every pixel has four neighbours that differ by 10, borders included.
        assert!(near(checks.laplacian_variance, 1600.0) && near(checks.relative, 1600.0 / 26.0));
        let wave = |period: f64| {
            sharpness(&grey(|x, _| (128.0 + 100.0 * (x as f64 / period).sin()) as u8)).relative
        };
        assert!(wave(1.0) > 2.0 * wave(2.0) && wave(2.0) > 2.0 * wave(4.0));
        let faint = sharpness(&grey(|x, _| (128.0 + 30.0 * (x as f64).sin()) as u8)).relative;
        assert!((faint / wave(1.0) - 1.0).abs() < 0.05);
        assert!(near(sharpness(&Grey::new(1, 1, vec![3]).unwrap()).relative, 0.0));
    }

    #[test]
    fn exposure_sees_clipping_and_the_mean() {
        let middle = exposure(&grey(|x, _| 96 + x as u8));
        assert!(middle.score() > 0.99 && near(middle.mean, 127.5 / 255.0));
        let black = exposure(&grey(|_, _| 2));
        assert!(near(black.dark_share, 1.0) && near(black.score(), 0.0));
        let half = exposure(&grey(|x, _| if x < 32 { 255 } else { 100 }));
        assert!(near(half.bright_share, 0.5) && half.score() < 0.5);
        assert!(exposure(&grey(|_, _| 40)).score() < exposure(&grey(|_, _| 80)).score());
    }

    #[test]
    fn contrast_is_the_deviation_of_brightness() {
        assert!(near(contrast(&grey(|_, _| 7)), 0.0));
        assert!(near(contrast(&grey(|x, _| if x % 2 == 0 { 0 } else { 255 })), 0.5));
    }

    #[test]
    fn colourfulness_is_zero_for_grey_and_known_for_red() {
        assert!(near(colourfulness(&[9; 30]), 0.0) && near(colourfulness(&[]), 0.0));
        let red: Vec<u8> = [0, 0, 200].repeat(10);
        assert!(near(colourfulness(&red), 0.3 * (200.0_f64.powi(2) + 100.0_f64.powi(2)).sqrt()));
        let mixed: Vec<u8> = [0, 0, 200, 200, 0, 0].repeat(10);
        assert!(colourfulness(&mixed) > colourfulness(&red));
    }

    #[test]
    fn blocks_stand_out() {
        assert!(near(blockiness(&grey(|_, _| 50)), 1.0));
        assert!(near(blockiness(&grey(|x, y| (x + y) as u8)), 1.0));
        let blocks =
            |step: usize| blockiness(&grey(|x, y| (x + y + (x / 8 + y / 8) % 2 * step) as u8));
        assert!(blocks(20) > blocks(8) && blocks(8) > blocks(2) && blocks(2) > 1.05);
        // A grid of another size is not taken for it.
        assert!(blockiness(&grey(|x, y| ((x / 7 + y / 7) % 2 * 40) as u8)) < 1.3);
        assert!(near(blockiness(&Grey::new(1, 1, vec![3]).unwrap()), 1.0));
    }

    #[test]
    fn noise_is_its_deviation_and_ramps_have_none() {
        assert!(near(noise(&grey(|x, y| (2 * x + y) as u8)), 0.0));
        assert!(near(noise(&Grey::new(2, 9, vec![3; 18]).unwrap()), 0.0));
        // Sums of twelve uniform numbers are nearly normal, with a deviation of their width.
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        for deviation in [4.0, 12.0] {
            let mut sample = || 128.0 + deviation * (0..12).map(|_| next()).sum::<f64>();
            let samples = (0..200 * 200).map(|_| sample().round() as u8).collect();
            let found = noise(&Grey::new(200, 200, samples).unwrap());
            assert!((found / deviation - 1.0).abs() < 0.03, "{found}");
        }
    }
}
