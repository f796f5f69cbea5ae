//! The losses of the VAE and of its discriminators.
//!
//! Those of the released code (`losses/contperceptual.py` of EasyAnimate V3, after VQGAN's), term by
//! term. There the reconstruction is divided by `exp(s)` and `s` added, with a scalar `s` that begins
//! at 0 and is in no optimiser: so it stays 0, and is left out here. Sums are over pixels and means
//! over frames, so the reconstruction is in the thousands where the divergence's weight is 1e-6.

use candle_core::{Result, Tensor};
use curate_models::vae::{Posterior, lpips::Lpips};
use serde::{Deserialize, Serialize};

/// What counts how much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of absolute differences of pixels. 1 for MagViT and the whole Slice VAE, 0 for its
    /// decoder alone.
    pub l1: f64,
    /// Weight of squared differences of pixels. 0.1 for MagViT, 0 for the whole Slice VAE, 1 for its
    /// decoder alone.
    pub l2: f64,
    /// Weight of LPIPS, which counts at every value of a frame's pixels. 1 in all stages; 0: the
    /// weights of VGG16 are not needed.
    pub lpips: f64,
    /// Weight of the posterior's divergence from the normal distribution. 1e-6.
    pub kl: f64,
    /// Weight of latents' outliers ([`outliers`]). 0 in V3, 1e5 in later releases.
    pub outliers: f64,
    /// How many standard deviations from its plane's mean a latent is an outlier. 3.
    pub outlier_deviations: f64,
}

impl LossConfig {
    /// What is wrong with it, under the key `key`.
    #[must_use]
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("l1", self.l1),
            ("l2", self.l2),
            ("lpips", self.lpips),
            ("kl", self.kl),
            ("outliers", self.outliers),
            ("outlier_deviations", self.outlier_deviations),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                problems.push(format!("`{key}.{name}` is {value}, not a number from 0 on"));
            }
        }
        if self.l1 + self.l2 + self.lpips <= 0.0 {
            problems.push(format!(
                "`{key}.l1`, `{key}.l2` and `{key}.lpips` are all 0, so nothing asks for frames as \
                 they were; set one of them"
            ));
        }
        problems
    }
}

/// How far a reconstruction is from its original.
#[derive(Debug)]
pub struct Reconstruction {
    /// The loss: summed over the values of a frame, the mean over frames.
    pub loss: Tensor,
    /// The mean absolute difference of values, off the graph.
    pub l1: Tensor,
    /// The mean squared difference of values, off the graph.
    pub l2: Tensor,
    /// The mean LPIPS of frames, off the graph.
    pub lpips: Option<Tensor>,
}

/// Compares clips `[B, 3, T, H, W]` in [-1, 1]: with `d` the difference of values,
/// `sum(l1 |d| + l2 d² + lpips LPIPS) / (B T)`, where LPIPS, one number for a frame, is added at every
/// value of the frame.
///
/// Without `network` LPIPS does not count.
///
/// # Errors
/// When shapes differ.
pub fn reconstruction(
    real: &Tensor,
    made: &Tensor,
    weights: &LossConfig,
    network: Option<&Lpips>,
) -> Result<Reconstruction> {
    let (batch, channels, time, height, width) = real.dims5()?;
    let frames = (batch * time) as f64;
    let values = (channels * height * width) as f64;
    let difference = (made - real)?;
    // Both are worth a look, and those without weight stay off the graph.
    let on = |weight: f64| if weight > 0.0 { difference.clone() } else { difference.detach() };
    let l1 = on(weights.l1).abs()?.sum_all()?;
    let l2 = on(weights.l2).sqr()?.sum_all()?;
    let mut loss = ((&l1 * (weights.l1 / frames))? + (&l2 * (weights.l2 / frames))?)?;
    let mut lpips = None;
    if let Some(network) = network.filter(|_| weights.lpips > 0.0) {
        let distance = network.forward(&as_frames(real)?, &as_frames(made)?)?.sum_all()?;
        loss = (loss + (&distance * (weights.lpips * values / frames))?)?;
        lpips = Some((distance.detach() / frames)?);
    }
    let mean = |sum: Tensor| sum.detach() / (frames * values);
    Ok(Reconstruction { loss, l1: mean(l1)?, l2: mean(l2)?, lpips })
}

/// `[B, C, T, H, W]` to `[B T, C, H, W]`.
pub(super) fn as_frames(clips: &Tensor) -> Result<Tensor> {
    let (batch, channels, time, height, width) = clips.dims5()?;
    clips.transpose(1, 2)?.contiguous()?.reshape((batch * time, channels, height, width))
}

/// How far the means of latents lie out, as the authors' later releases bound it: of each plane (an
/// example, a channel, a frame) the mean over positions of `max(|z - mean| - deviations std, 0)`, and
/// of that the mean over planes. The standard deviation is that of a sample.
///
/// # Errors
/// When candle fails.
pub fn outliers(posterior: &Posterior, deviations: f64) -> Result<Tensor> {
    let z = posterior.mode().flatten_from(3)?;
    let count = z.dim(3)?;
    let apart = z.broadcast_sub(&z.mean_keepdim(3)?)?;
    let variance = (apart.sqr()?.sum_keepdim(3)? / count.saturating_sub(1).max(1) as f64)?;
    // A plane of equal latents has no deviation, and the root of 0 no gradient.
    let bound = ((variance + 1e-20)?.sqrt()? * deviations)?;
    apart.abs()?.broadcast_sub(&bound)?.relu()?.mean_all()
}

/// What the generator wants of scores of what it made: that they are high. `-mean(scores)`.
///
/// # Errors
/// When candle fails.
pub fn generator(scores: &Tensor) -> Result<Tensor> {
    scores.mean_all()?.neg()
}

/// What a discriminator wants: scores above 1 for the real, below -1 for what was made (the hinge
/// loss of Lim and Ye, "Geometric GAN", 2017). `(mean relu(1 - real) + mean relu(1 + made)) / 2`.
///
/// # Errors
/// When candle fails.
pub fn hinge(real: &Tensor, made: &Tensor) -> Result<Tensor> {
    let real = (1.0 - real)?.relu()?.mean_all()?;
    let made = (1.0 + made)?.relu()?.mean_all()?;
    (real + made)? * 0.5
}

/// The adversarial loss' weight from the norms of both losses' gradients at the last layer:
/// `weight clamp(reconstruction / (adversarial + 1e-4), 0, 1e4)` (VQGAN; Esser et al., 2021).
#[must_use]
pub fn adaptive_weight(weight: f64, reconstruction: f64, adversarial: f64) -> f64 {
    weight * (reconstruction / (adversarial + 1e-4)).clamp(0.0, 1e4)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};
    use curate_ops::{Rng, gradients};

    use super::*;

    const CPU: Device = Device::Cpu;

    fn weights(l1: f64, l2: f64) -> LossConfig {
        LossConfig { l1, l2, lpips: 0.0, kl: 1e-6, outliers: 0.0, outlier_deviations: 3.0 }
    }

    fn value(tensor: &Tensor) -> f64 {
        tensor.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
    }

    #[test]
    fn a_reconstruction_is_summed_over_values_and_averaged_over_frames() {
        // Two clips of three frames of 3 x 2 x 2 values that are off by 0.5.
        let real = Tensor::zeros((2, 3, 3, 2, 2), DType::F32, &CPU).unwrap();
        let made = (&real + 0.5).unwrap();
        let found = reconstruction(&real, &made, &weights(1.0, 0.1), None).unwrap();
        assert!((value(&found.loss) - 12.0 * (0.5 + 0.1 * 0.25)).abs() < 1e-5);
        assert!((value(&found.l1) - 0.5).abs() < 1e-6 && (value(&found.l2) - 0.25).abs() < 1e-6);
        // The gradient of the first term is a sign over the number of frames.
        let made = Var::from_tensor(&made).unwrap();
        let found = reconstruction(&real, made.as_tensor(), &weights(1.0, 0.0), None).unwrap();
        let gradient = gradients(found.loss, std::slice::from_ref(&made), None).unwrap();
        let gradient =
            gradient.get(&made).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|value| (value - 1.0 / 6.0).abs() < 1e-6));
    }

    #[test]
    fn frames_keep_their_pixels() {
        let clips = Tensor::arange(0.0_f32, 48.0, &CPU).unwrap().reshape((2, 3, 2, 2, 2)).unwrap();
        let frames = as_frames(&clips).unwrap();
        let one = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wanted = one(clips.get(1).unwrap().narrow(1, 0, 1).unwrap());
        assert_eq!(one(frames.get(2).unwrap()), wanted);
    }

    #[test]
    fn hinges_and_weights_are_those_of_the_formulas() {
        let of = |values: &[f32]| Tensor::new(values, &CPU).unwrap();
        // relu(1 - 2) = 0, relu(1 - 0) = 1; relu(1 - 3) = 0, relu(1 + 1) = 2.
        let loss = hinge(&of(&[2.0, 0.0]), &of(&[-3.0, 1.0])).unwrap();
        assert!((value(&loss) - 0.5 * (0.5 + 1.0)).abs() < 1e-6);
        assert!((value(&generator(&of(&[2.0, 4.0])).unwrap()) + 3.0).abs() < 1e-6);
        assert!((adaptive_weight(0.5, 3.0, 2.0) - 0.5 * 3.0 / 2.0001).abs() < 1e-12);
        assert!((adaptive_weight(0.5, 1e9, 0.0) - 5e3).abs() < 1e-9);
    }

    #[test]
    fn only_what_lies_out_is_an_outlier() {
        // Ninety-nine zeros and a 10: mean 0.1, deviation 1 of a sample.
        let mut values = vec![0.0_f32; 200];
        values[7] = 10.0;
        let moments = |values: Vec<f32>| {
            let z = Tensor::from_vec(values, (1, 2, 1, 10, 10), &CPU).unwrap();
            Posterior::new(&Tensor::cat(&[&z, &z.zeros_like().unwrap()], 1).unwrap()).unwrap()
        };
        let found = value(&outliers(&moments(values), 3.0).unwrap());
        // (9.9 - 3) / 100 in one of two planes.
        assert!((found - 0.0345).abs() < 1e-6, "{found}");
        let mut rng = Rng::new(1);
        let even: Vec<f32> = (0..200).map(|_| rng.uniform() as f32).collect();
        assert!(value(&outliers(&moments(even), 3.0).unwrap()).abs() < 1e-9);
        // Equal latents: no number would be the gradient of a root of nothing.
        let flat = Var::from_tensor(&Tensor::ones((1, 4, 1, 2, 2), DType::F32, &CPU).unwrap());
        let flat = flat.unwrap();
        let loss = outliers(&Posterior::new(flat.as_tensor()).unwrap(), 3.0).unwrap();
        let found = gradients(loss, std::slice::from_ref(&flat), None).unwrap();
        let sum = found.get(&flat).unwrap().sum_all().unwrap();
        assert!(value(&sum).is_finite());
    }

    #[test]
    fn weights_that_ask_for_nothing_are_refused() {
        let problems = LossConfig { l1: 0.0, ..weights(0.0, 0.0) }.problems("loss");
        assert!(problems[0].contains("`loss.l1`"), "{problems:?}");
        let problems = LossConfig { kl: -1.0, ..weights(1.0, 0.0) }.problems("loss");
        assert!(problems[0].contains("`loss.kl` is -1"), "{problems:?}");
    }
}
