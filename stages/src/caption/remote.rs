//! Captions by a model behind a server.

use std::{sync::Arc, time::Duration};

use curate_media::{Access, Copier, encode_jpeg};
use curate_models::caption::{
    Ask, Bounds, Cache, Caption, CaptionError, Captioner, Client, ClientConfig, Media, Question,
    Retries, flags, preset::Preset,
};
use curate_pipeline::{BatchMap, BuildContext, ClipError, Item, StageFault, Stop};
use curate_schemas::columns as c;

use super::{CaptionConfig, PER_SECOND, Written, write};
use crate::{
    film::access,
    sample::{rgb_at_most, some_of},
    scenes::span,
};

/// Longer answers, in bytes, are no captions: 512 tokens are some 2,500.
const LONGEST: usize = 20_000;
/// The most that the folder of answers may take up.
const CACHE_BYTES: u64 = 4 << 30;
/// Answers are kept beside the models unless the recipe says where.
const CACHE: &str = "captions";

/// The running half.
pub(super) struct Remote {
    captioner: Captioner,
    chosen: Preset,
    requests: usize,
    limits: flags::Limits,
    access: Access,
    copier: Copier,
    stop: Stop,
}

impl Remote {
    pub(super) fn open(config: &CaptionConfig, context: &BuildContext<'_>) -> Result<Self, String> {
        let chosen =
            config.pictures().ok_or_else(|| format!("there is no preset `{}`", config.preset))?;
        let client = |model: String, endpoints, beside: Option<&Client>| {
            let folder =
                config.found.cache.clone().unwrap_or_else(|| {
                    context.models.parent().unwrap_or(context.models).join(CACHE)
                });
            let cache = Cache::open(&folder, CACHE_BYTES).map_err(|error| error.to_string())?;
            let client = ClientConfig {
                model,
                style: chosen.style.clone(),
                endpoints,
                bounds: Bounds { requests: config.requests, ..Bounds::default() },
                retries: Retries {
                    timeout: Duration::from_secs_f64(config.timeout_s),
                    ..Retries::default()
                },
                budget: config.money(),
                seed: 0,
            };
            let made = match beside {
                None => Client::new(client, Some(cache)),
                Some(other) => other.beside(client, Some(cache)),
            };
            made.map_err(|error| error.to_string())
        };
        let writer = client(config.model.clone(), config.servers(), None)?;
        let rewrite = match config.rewriting() {
            None => None,
            Some((rewrite, model, endpoints)) => {
                Some((rewrite, client(model, endpoints, Some(&writer))?))
            }
        };
        let question = Question {
            prompt: chosen.prompt.clone(),
            sampling: chosen.sampling,
            answer: chosen.answer,
            summary: config.summary(&chosen),
        };
        let captioner = Captioner::new(writer, question, rewrite)
            .map_err(|error| format!("requests cannot be sent: {error}"))?;
        let (requests, limits) = (config.requests, config.limits());
        let stop = context.stop.clone();
        let (access, copier) = (access(context, None), Copier::default());
        Ok(Self { captioner, chosen, requests, limits, access, copier, stop })
    }

    /// What the model gets to see of a clip.
    fn media(&mut self, item: &Item) -> Result<Media, ClipError> {
        let broken = |kind, message: String| ClipError { kind, message };
        if self.chosen.video {
            let Some(span) = span(&item.clip) else {
                return Err(broken("mux", "the clip has no span".to_owned()));
            };
            self.access.track = item.unit.source.reading.track;
            let copy = (self.copier)
                .copy(&item.unit.source.path, &span, &self.access)
                .map_err(|error| broken(error.kind(), error.to_string()))?;
            return Ok(Media::Video(copy.bytes.into()));
        }
        let mut frames: Vec<Arc<[u8]>> = Vec::with_capacity(self.chosen.frames);
        for frame in some_of(item, PER_SECOND, self.chosen.frames)? {
            let picture = rgb_at_most(frame, self.chosen.max_side)?;
            let jpeg = encode_jpeg(&picture, self.chosen.jpeg_quality)
                .map_err(|error| broken(error.kind(), error.to_string()))?;
            frames.push(jpeg.into());
        }
        Ok(Media::Frames(frames))
    }
}

impl BatchMap for Remote {
    fn max_batch(&self) -> usize {
        // More than are under way at once, so that a slow answer does not leave the servers idle.
        2 * self.requests
    }

    fn map_batch(
        &mut self,
        items: &mut [&mut Item],
    ) -> Result<Vec<Result<(), ClipError>>, StageFault> {
        let mut results: Vec<Result<(), ClipError>> = Vec::with_capacity(items.len());
        let (mut asks, mut asked) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match self.media(item) {
                Ok(media) => {
                    let clip_id = item.clip.get(c::CLIP_ID).cloned().unwrap_or_default();
                    asks.push(Ask { clip_id, media });
                    asked.push(index);
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let stop = &self.stop;
        let Some(captions) = self.captioner.captions(asks, || stop.is_now()) else {
            return Err(StageFault("stopped while asking for captions".to_owned()));
        };
        for (index, caption) in asked.into_iter().zip(captions) {
            match caption {
                Ok(caption) if caption.text.len() > LONGEST => {
                    let message = format!(
                        "the answer has {} bytes, which is no caption; lower `max_tokens`",
                        caption.text.len()
                    );
                    results[index] = Err(ClipError { kind: "bad_reply", message });
                }
                Ok(caption) => write(items[index], Some(written(caption)), &self.limits),
                Err(CaptionError::Run(fault)) => return Err(StageFault(fault.to_string())),
                Err(CaptionError::Clip(fault)) => {
                    results[index] =
                        Err(ClipError { kind: fault.kind(), message: fault.to_string() });
                }
            }
        }
        Ok(results)
    }
}

fn written(caption: Caption) -> Written {
    Written {
        text: caption.text,
        raw: caption.raw,
        model: caption.model,
        prompt_hash: Some(caption.prompt_hash),
        is_unchanged: caption.problem.is_some(),
        is_cut: caption.is_cut,
    }
}
