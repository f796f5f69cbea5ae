//! What the loader hands out: samples of one bucket, each with the clip it is of.

use std::collections::BTreeMap;

use candle_core::Tensor;
use curate_models::encoders::Encoded;

use super::{Bucket, Rows, Unusable, Wanted};

/// Which clip a sample is of, and the caption that was drawn for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipRef {
    /// The row's id.
    pub clip_id: String,
    /// Its caption; empty where the row has none, or where it was dropped for guidance.
    pub caption: String,
}

/// What is to be seen.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// `[B, 3, T, H, W]` in f32, from -1 to 1, red first.
    Frames(Tensor),
    /// The VAE's moments as `curate encode` cached them, unscaled: `[B, 2 * latent channels, F, h, w]`
    /// in f32. Latents are drawn from them ([`curate_models::vae::Posterior`]).
    Moments(Tensor),
}

impl Pixels {
    /// The tensor, whichever it is.
    #[must_use]
    pub const fn tensor(&self) -> &Tensor {
        match self {
            Self::Frames(tensor) | Self::Moments(tensor) => tensor,
        }
    }
}

/// Samples of one bucket, on the CPU.
#[derive(Clone, Debug)]
pub struct Batch {
    /// How many batches were handed out before this one, since the run began.
    pub number: u64,
    /// The pass over the rows that its first sample belongs to, from 0.
    pub epoch: u64,
    /// What its samples have in common: their sizes in pixels, after random crops.
    pub bucket: Bucket,
    /// One for each sample, in the order of the tensors' first dimension.
    pub clips: Vec<ClipRef>,
    /// The samples.
    pub pixels: Pixels,
    /// The captions' embeddings, where the table has them for all samples: f32, as the text encoder
    /// would give them, except that padding is zero.
    pub text: Option<Encoded>,
}

impl Batch {
    /// Frames, `[B, 3, T, H, W]` in [-1, 1], that come from no table: clips without names and captions.
    ///
    /// # Errors
    /// When the tensor is of another shape.
    pub fn of_frames(number: u64, frames: Tensor) -> candle_core::Result<Self> {
        let (batch, _, count, height, width) = frames.dims5()?;
        let nameless = ClipRef { clip_id: String::new(), caption: String::new() };
        let is_image = count == 1;
        let bucket =
            Bucket { is_image, height, width, frames: count, has_latents: false, has_text: false };
        let (clips, pixels) = (vec![nameless; batch], Pixels::Frames(frames));
        Ok(Self { number, epoch: 0, bucket, clips, pixels, text: None })
    }
}

/// How reading went so far. Of this process: a run that is resumed counts from 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Batches handed out.
    pub batches: u64,
    /// Samples handed out.
    pub samples: u64,
    /// The pass over the rows that the last batch belongs to, from 0.
    pub epoch: u64,
    /// Seconds for which the trainer waited for data.
    pub wait_s: f64,
    /// Seconds since the loader was opened.
    pub elapsed_s: f64,
    /// Rows that are used.
    pub rows: usize,
    /// Of these, rows with cached latents and with cached embeddings; `None`: nothing cached is wanted.
    pub cached: Option<(usize, usize)>,
    /// Rows that passed the filter and cannot be used, by reason.
    pub unusable: BTreeMap<Unusable, u64>,
    /// Clips that could not be read, with the reason; others took their place.
    pub failures: BTreeMap<String, String>,
}

impl Report {
    /// What is read of so many rows.
    #[must_use]
    pub fn of(rows: &Rows, wanted: &Wanted) -> Self {
        Self {
            rows: rows.entries.len(),
            cached: (wanted.vae.is_some() || wanted.text.is_some()).then(|| rows.cached()),
            unusable: rows.unusable.clone(),
            ..Self::default()
        }
    }

    /// In words: what is read, and what is left out.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let cached = self.cached.map(|(latents, texts)| {
            format!("of these, {latents} have cached latents and {texts} cached embeddings")
        });
        let unusable = self.unusable.iter();
        let unusable =
            unusable.map(|(why, rows)| format!("{rows} rows are left out: {}", why.words()));
        [format!("{} clips", self.rows)].into_iter().chain(cached).chain(unusable).collect()
    }

    /// Share of the time for which the trainer waited.
    #[must_use]
    pub fn wait_share(&self) -> f64 {
        if self.elapsed_s > 0.0 { self.wait_s / self.elapsed_s } else { 0.0 }
    }
}
