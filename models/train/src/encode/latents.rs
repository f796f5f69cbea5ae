//! Moments of a Slice VAE: what it says of a clip before anything is drawn, so that a trainer can draw
//! anew each time.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use curate_schemas::{
    Clip,
    columns::{CLIP_ID, LATENTS, LATENTS_KEY},
};

use super::{
    Tell, Vae, Write,
    pieces::{self, Work},
};
use crate::{
    TrainError,
    data::{Bucket, DataError, LatentsKey, Pixels, Spacing, pack},
};

/// Encodes frames of the rows that lack latents. How many rows were written.
pub(super) fn encode(
    vae: &Vae,
    work: &Work<'_>,
    (write, tell): (Write<'_>, Tell<'_>),
    failures: &mut BTreeMap<String, String>,
) -> Result<u64, TrainError> {
    let shape = |bucket: &Bucket| Bucket { has_latents: false, has_text: false, ..*bucket };
    let plans = pieces::plans(work.rows, &work.missing, work.config.batch, shape);
    // Sizes that the VAE cannot encode are told before anything is read.
    for plan in &plans {
        vae.network.encoding(plan.shape.frames)?;
    }
    let spacing = Spacing::of(work.config);
    let columns = &["latents", "latents_key"];
    let mut endless = BTreeMap::new();
    let made =
        work.run(("latents", columns, true), plans, (write, tell), failures, |plan, content| {
            let Pixels::Frames(frames) = content.pixels else { return Ok((Vec::new(), 0)) };
            let moments = vae.network.moments(&frames.to_device(&vae.device)?)?;
            let moments = moments.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let (_, channels, latents, height, width) = moments.dims5()?;
            let (mut rows, mut bytes) = (Vec::new(), 0);
            for (number, clip) in content.clips.into_iter().enumerate() {
                let values = numbers(&moments.get(number)?)?;
                if values.iter().any(|value| !value.is_finite()) {
                    endless.insert(clip.clip_id, "the VAE's latents are not finite".to_owned());
                    continue;
                }
                let (number, packed) = pack(&values);
                let key = LatentsKey {
                    vae: vae.hash.clone(),
                    width: plan.shape.width,
                    height: plan.shape.height,
                    frames: plan.shape.frames,
                    spacing,
                    shape: [channels, latents, height, width],
                    number,
                };
                bytes += packed.len();
                rows.push(
                    Clip::default()
                        .with(CLIP_ID, clip.clip_id)
                        .with(LATENTS, packed)
                        .with(LATENTS_KEY, key.text()),
                );
            }
            Ok((rows, bytes))
        });
    failures.extend(endless);
    made
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, DataError> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
}
