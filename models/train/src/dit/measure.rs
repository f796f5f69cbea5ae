//! What is measured and drawn on the way: losses of held-out clips at fixed times, and clips of fixed
//! prompts, made as `curate generate` makes them.
//!
//! Each time the same clips, times and noise, so that two measurements differ by the weights alone.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use curate_models::{
    dit::Transformer3d,
    generate::{Generator, Guides, Known, Settings, Task},
};
use curate_ops::Rng;

use super::{
    config::{DitTrainConfig, MeasureConfig},
    step::{Preparation, fixed_times, losses},
};
use crate::{
    TrainError,
    data::{DataConfig, DataError, Version, Wanted},
    feed::{Feed, Feeds},
    run::{RunFolder, row, write_film, write_picture},
};

/// Streams of noise that no step has.
const STREAM: u64 = 1 << 62;

/// The mean loss of held-out clips; `None` where there are none.
pub(super) fn held_out(
    preparation: &Preparation<'_>,
    network: &Transformer3d,
    (feeds, wanted, version): (&dyn Feeds, &Wanted, Option<u64>),
) -> Result<Option<f64>, TrainError> {
    let config = preparation.config;
    let (_, Some(mut data)) = config.shares() else { return Ok(None) };
    data.version = version.map(Version::Number).or(data.version);
    let Some(mut feed) = open(feeds, &data, wanted, config.seed)? else { return Ok(None) };
    let (mut sum, mut count, mut seen) = (0.0, 0, 0);
    for batch in 0..config.measure.batches {
        let batch_of = feed.next()?;
        let mut rng = Rng::with_stream(config.seed, STREAM + batch);
        let prepared = preparation.prepare(&batch_of, &mut rng)?;
        let clips = batch_of.clips.len();
        let times = fixed_times(seen, clips, config.data.batch * config.measure.batches as usize);
        seen += clips;
        let found = losses(preparation, (network, None), &prepared, (&times, &mut rng))?;
        sum += f64::from(found.loss.mean_all()?.to_scalar::<f32>()?);
        count += 1;
    }
    Ok((count > 0).then(|| sum / f64::from(count)))
}

fn open(
    feeds: &dyn Feeds,
    data: &DataConfig,
    wanted: &Wanted,
    seed: u64,
) -> Result<Option<Box<dyn Feed>>, TrainError> {
    match feeds.open(data, wanted, seed, None) {
        // A small table may have no clip whose id falls into the share.
        Err(TrainError::Data(error)) if matches!(*error, DataError::NoRows { .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Makes the clips and pictures of the configured prompts: a film for each clip, and a picture with a
/// row for each. The files that were written.
pub(super) fn preview(
    generator: &Generator,
    config: &DitTrainConfig,
    (folder, prefix): (&RunFolder, &str),
) -> Result<Vec<PathBuf>, TrainError> {
    let MeasureConfig { prompts, images, .. } = &config.measure;
    let settings = Settings::of(generator.card());
    let (mut paths, mut rows) = (Vec::new(), Vec::new());
    for (number, prompt) in prompts.iter().enumerate() {
        let clip = made(generator, config, (prompt, number), &settings)?;
        rows.push(row(&clip.squeeze(0)?)?);
        if settings.frames > 1 {
            let path = folder.sample(&format!("{prefix}-{number}.mp4"))?;
            write_film(&clip, generator.card().fps, &path)?;
            paths.push(path);
        }
    }
    if !rows.is_empty() {
        let path = folder.sample(&format!("{prefix}.jpg"))?;
        write_picture(&rows, &path)?;
        paths.push(path);
    }
    let still = Settings { frames: 1, ..settings };
    let mut pictures = Vec::new();
    for (number, prompt) in images.iter().enumerate() {
        pictures.push(made(generator, config, (prompt, number), &still)?.squeeze(0)?.squeeze(1)?);
    }
    if !pictures.is_empty() {
        let path = folder.sample(&format!("{prefix}-images.jpg"))?;
        write_picture(&[Tensor::cat(&pictures, 2)?], &path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// The frames of one prompt, `[1, 3, T, H, W]`.
fn made(
    generator: &Generator,
    config: &DitTrainConfig,
    (prompt, number): (&str, usize),
    settings: &Settings,
) -> Result<Tensor, TrainError> {
    let task = Task {
        prompt: prompt.to_owned(),
        negative: generator.card().sampling.negative.clone(),
        seed: config.measure.seed + number as u64,
    };
    let guides = Guides { known: &Known::default(), image: None, source: None };
    let latents = generator.latents(&[task], settings, &guides, &mut |_| ())?;
    let frames = generator.frames(&latents[0], settings)?.collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::cat(&frames, 2)?)
}

/// The first batch as it goes into training: a row for each clip.
pub(super) fn first_batch(clips: &Tensor, path: &Path) -> Result<(), TrainError> {
    let rows = (0..clips.dim(0)?.min(8)).map(|index| row(&clips.get(index)?));
    write_picture(&rows.collect::<candle_core::Result<Vec<_>>>()?, path)
}
