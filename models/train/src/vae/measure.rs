//! What is measured on the way: losses on clips that are not trained on, the factor that gives
//! latents unit variance, and a picture of reconstructions.
//!
//! Each time the same clips and the same noise, so that two measurements differ by the weights alone.

use candle_core::{DType, Device, Tensor};
use curate_models::{
    params::Params,
    vae::{ScalingMeter, SliceVae, lpips::Lpips},
};
use curate_ops::Rng;

use super::{
    Stage, VaeTrainConfig,
    frames::frames,
    losses::{LossConfig, reconstruction},
    step::scalar,
};
use crate::{
    TrainError,
    data::{DataConfig, DataError, Version, Wanted},
    feed::{Feed, Surroundings},
    optim::Ema,
    run::{Observer, RunFolder, Values, row, write_picture},
};

/// Clips that are drawn.
const CLIPS: usize = 4;
/// Streams of noise that no step has.
const STREAM: u64 = 1 << 62;

/// What a run measures and draws.
pub(super) struct Sampling<'a> {
    pub(super) config: &'a VaeTrainConfig,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) folder: &'a RunFolder,
    pub(super) vae: &'a SliceVae,
    pub(super) params: &'a Params,
    pub(super) lpips: Option<&'a Lpips>,
    /// The version of the table that is trained on.
    pub(super) version: Option<u64>,
}

impl Sampling<'_> {
    /// Measures and draws the weights that are to be used, averages where there are any: what was
    /// measured by name, and the scaling factor.
    pub(super) fn draw(
        &self,
        ema: Option<&Ema>,
        step: u64,
        observer: &mut (dyn Observer + Send),
    ) -> Result<(Values, f64), TrainError> {
        let config = self.config;
        let mut feed = self.feed(observer)?;
        let measure = Measure {
            loss: &config.loss,
            lpips: self.lpips,
            batches: config.held_out_batches,
            seed: config.seed,
            device: self.around.device,
        };
        let look = |feed: &mut dyn Feed| match ema {
            Some(ema) => ema.applied(self.params, || measure.run(self.vae, feed)),
            None => measure.run(self.vae, feed),
        };
        let measured = match look(&mut *feed) {
            Err(TrainError::Data(error)) => {
                observer.note(&format!("held-out clips: {error}; measured on others"));
                look(&mut *self.open(config.training_data())?)?
            }
            measured => measured?,
        };
        let path = self.folder.sample(&format!("step-{step:010}.jpg"))?;
        write_picture(&measured.rows, &path)?;
        observer.wrote(&path);
        // Latents of an encoder that is kept stay what they are to whoever uses them.
        let factor = match config.stage {
            Stage::SliceDecoder => self.vae.config().scaling_factor,
            _ => measured.scaling_factor,
        };
        Ok((measured.values, factor))
    }

    /// What is held out, from its beginning; else what is trained on.
    fn feed(&self, observer: &mut (dyn Observer + Send)) -> Result<Box<dyn Feed>, TrainError> {
        match self.config.held_out_data().map(|data| self.open(data)) {
            Some(Err(TrainError::Data(error))) if matches!(*error, DataError::NoRows { .. }) => {
                // A small table may have no clip whose id falls into the share.
                observer.note("no clip is held out; what is measured was trained on");
                self.open(self.config.training_data())
            }
            Some(opened) => opened,
            None => self.open(self.config.training_data()),
        }
    }
}

impl Sampling<'_> {
    /// A feed from its beginning, of the version that is trained on.
    fn open(&self, mut data: DataConfig) -> Result<Box<dyn Feed>, TrainError> {
        data.version = self.version.map(Version::Number).or(data.version);
        self.around.feeds.open(&data, &Wanted::default(), self.config.seed, None)
    }
}

/// What was measured.
#[derive(Clone, Debug)]
struct Measured {
    /// By the names under which they are logged.
    values: Values,
    /// One over the standard deviation of latents.
    scaling_factor: f64,
    /// Rows of frames: of a clip, of its reconstruction; at the end one decoded from noise.
    rows: Vec<Tensor>,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
struct Measure<'a> {
    loss: &'a LossConfig,
    lpips: Option<&'a Lpips>,
    batches: u64,
    seed: u64,
    device: &'a Device,
}

impl Measure<'_> {
    fn run(&self, vae: &SliceVae, feed: &mut dyn Feed) -> Result<Measured, TrainError> {
        let mut meter = ScalingMeter::new();
        let mut sums = Values::new();
        let mut rows = Vec::new();
        let mut shape = None;
        for batch in 0..self.batches.max(1) {
            let real = frames(&feed.next()?, self.device)?;
            let mut rng = Rng::with_stream(self.seed, STREAM + batch);
            let posterior = vae.encode(&real)?;
            let noise = rng.normal_tensor(posterior.mode().shape(), DType::F32, self.device)?;
            // What the transformer sees, and the decoder.
            let latents = posterior.sample(&noise)?.detach();
            meter.push(&latents)?;
            let made = vae.decode(&latents)?.detach();
            let found = reconstruction(&real, &made, self.loss, self.lpips)?;
            let mut values = vec![
                ("held_out_reconstruction", scalar(&found.loss)?),
                ("held_out_l1", scalar(&found.l1)?),
                ("held_out_l2", scalar(&found.l2)?),
                ("held_out_kl", scalar(&posterior.divergence()?)?),
            ];
            if let Some(lpips) = &found.lpips {
                values.push(("held_out_lpips", scalar(lpips)?));
            }
            add(&mut sums, &values);
            for clip in 0..real.dim(0)? {
                if rows.len() < 2 * CLIPS && (clip == 0 || real.dim(2)? > 1) {
                    rows.push(row(&real.get(clip)?)?);
                    rows.push(row(&made.get(clip)?)?);
                }
            }
            shape.get_or_insert_with(|| noise.narrow(0, 0, 1).map(|one| one.shape().clone()));
        }
        let batches = self.batches.max(1) as f64;
        sums.iter_mut().for_each(|(_, sum)| *sum /= batches);
        let l2 = sums.iter().find(|(name, _)| *name == "held_out_l2").map_or(0.0, |(_, l2)| *l2);
        // Of values in [-1, 1].
        sums.push(("held_out_psnr", 10.0 * (4.0 / l2.max(1e-12)).log10()));
        // Six digits: whoever reads it from JSON gets the same number.
        let factor = meter.factor()?;
        let scaling_factor = format!("{factor:.5e}").parse().unwrap_or(factor);
        if let Some(shape) = shape.transpose()? {
            let mut rng = Rng::with_stream(self.seed, STREAM - 1);
            let noise = rng.normal_tensor(shape, DType::F32, self.device)?;
            rows.push(row(&vae.decode(&(noise / scaling_factor)?)?.detach().get(0)?)?);
        }
        Ok(Measured { values: sums, scaling_factor, rows })
    }
}

fn add(sums: &mut Values, values: &[(&'static str, f64)]) {
    for (name, value) in values {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += value,
            None => sums.push((*name, *value)),
        }
    }
}
