//! One sample: a row read, its caption drawn, its frames cut. Runs on any thread and depends on none.

use std::sync::{Arc, atomic::AtomicBool};

use curate_media::Size;
use curate_schemas::{
    Clip,
    columns::{LATENTS, LATENTS_KEY, TEXT_KEY, TEXT_TOKENS, VIDEO, VIDEO_FORM, VIDEO_SKIP_FRAMES},
};

use super::{
    Bucket, ClipFault, ClipRef, Crop, DataConfig, Entry, LatentsKey, RowSource, Rows, TextKey,
    Waiting, Want,
    decode::{Framing, Shot, decode},
    order::stream,
    rows::{caption_columns, captions, reach},
};

/// Other clips that are tried where one cannot be read.
const ATTEMPTS: u64 = 8;

/// What a sample shows.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// `[3, T, H, W]`, one byte each.
    Frames(Vec<u8>),
    /// `[2 * latent channels, F, h, w]`.
    Moments(Vec<f32>, [usize; 4]),
}

/// The embeddings of a sample's caption, `[count, channels]`.
#[derive(Clone, Debug)]
pub(crate) struct RawText {
    pub(crate) values: Vec<f32>,
    pub(crate) channels: usize,
}

/// A sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) clip: ClipRef,
    /// All captions of the row, by column.
    pub(crate) captions: Vec<(&'static str, String)>,
    pub(crate) raw: Raw,
    pub(crate) text: Option<RawText>,
}

/// A sample, or none, and the clips that could not be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sample: Option<Sample>,
    pub(crate) faults: Vec<(String, String)>,
}

/// Reads samples.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) source: Arc<dyn RowSource>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) config: DataConfig,
    /// The seed of random places; `None`: the middle of frame and clip, and no other clip takes the
    /// place of one that cannot be read.
    pub(crate) seed: Option<u64>,
    /// Whether pixels are wanted at all.
    pub(crate) has_pixels: bool,
    /// Set when reading is no longer wanted.
    pub(crate) cancel: Arc<AtomicBool>,
}

impl Reader {
    /// The sample of a row, or of another of its bucket where it cannot be read.
    pub(crate) fn sample(&self, bucket: u32, shape: &Bucket, waiting: Waiting) -> Outcome {
        let mut outcome = Outcome::default();
        let first = self.rows.entries[waiting.row as usize];
        let mut entry = first;
        for attempt in 1..=ATTEMPTS {
            match self.read(shape, &entry, waiting.epoch) {
                Ok(sample) => {
                    outcome.sample = Some(sample);
                    break;
                }
                Err(fault) => outcome.faults.push((entry.clip_id(), fault.to_string())),
            }
            let Some(seed) = self.seed else { break };
            let purpose = format!("instead/{}/{}/{attempt}", waiting.epoch, first.clip_id());
            let members = &self.rows.members[bucket as usize];
            let drawn = stream(seed, &purpose).below(members.len() as u64);
            entry = self.rows.entries[members[drawn as usize] as usize];
        }
        outcome
    }

    fn read(&self, shape: &Bucket, entry: &Entry, epoch: u64) -> Result<Sample, ClipFault> {
        let is_decoded = self.has_pixels && !shape.has_latents;
        let mut columns = caption_columns(&self.config);
        columns.extend([VIDEO_FORM.name(), VIDEO_SKIP_FRAMES.name()]);
        if self.has_pixels && shape.has_latents {
            columns.extend([LATENTS.name(), LATENTS_KEY.name()]);
        }
        if shape.has_text {
            columns.extend([TEXT_TOKENS.name(), TEXT_KEY.name()]);
        }
        let clip_id = entry.clip_id();
        let want = Want { columns: &columns, bytes: is_decoded };
        let mut clip = self.source.fetch(entry.row, &clip_id, want)?;
        let raw = if is_decoded {
            let bytes = clip.take(VIDEO).ok_or(ClipFault::NoBytes)?;
            let shot = self.shot(shape, entry, epoch, &clip);
            Raw::Frames(decode(&bytes, &shot, &self.cancel)?)
        } else if self.has_pixels {
            moments(shape, &clip)?
        } else {
            Raw::Frames(Vec::new())
        };
        let (column, caption) = self.caption(&clip, &clip_id, epoch);
        let text = if shape.has_text { Some(text(&clip, column)?) } else { None };
        let captions = captions(&self.config, &clip);
        let captions = captions.into_iter().map(|(name, text)| (name, text.to_owned())).collect();
        Ok(Sample { clip: ClipRef { clip_id, caption }, captions, raw, text })
    }

    /// Which frames of a clip, and which part of them.
    fn shot(&self, shape: &Bucket, entry: &Entry, epoch: u64, clip: &Clip) -> Shot {
        let (first, length) = entry.usable(self.config.trim);
        let spare = length.saturating_sub(reach(shape.frames, entry.step)) as u64;
        let mut rng =
            self.seed.map(|seed| stream(seed, &format!("clip/{epoch}/{}", entry.clip_id())));
        let start = match &mut rng {
            Some(rng) => rng.below(spare + 1),
            None => spare / 2,
        };
        let start = first + start as usize;
        let at = |frame: usize| start + (frame as f64 * f64::from(entry.step)) as usize;
        let framing = match (&mut rng, self.config.crop) {
            (Some(rng), Crop::Random) => Framing::Square {
                share: 0.25 + 0.75 * rng.uniform(),
                x: rng.uniform(),
                y: rng.uniform(),
            },
            _ => Framing::Middle,
        };
        // Only Matroska has frames before the span that its readers do not hide.
        let is_shown = clip.get(VIDEO_FORM).is_some_and(|form| form == "copy_mkv");
        let before = clip.get(VIDEO_SKIP_FRAMES).copied().unwrap_or(0);
        let skip = if is_shown { usize::try_from(before).unwrap_or(0) } else { 0 };
        let size = Size::new(shape.width as u32, shape.height as u32);
        Shot { skip, frames: (0..shape.frames).map(at).collect(), size, framing }
    }

    /// The column and the caption that are drawn; both empty where there is none.
    fn caption(&self, clip: &Clip, clip_id: &str, epoch: u64) -> (&'static str, String) {
        let captions = captions(&self.config, clip);
        let Some(seed) = self.seed else {
            let first = captions.into_iter().next();
            return first.map_or(("", String::new()), |(column, text)| (column, text.to_owned()));
        };
        let mut rng = stream(seed, &format!("caption/{epoch}/{clip_id}"));
        if rng.uniform() < self.config.caption_dropout {
            return ("", String::new());
        }
        let weight = |column: &str| self.config.captions.get(column).copied().unwrap_or(0.0);
        let total: f64 = captions.keys().map(|column| weight(column)).sum();
        let mut drawn = rng.uniform() * total;
        let mut chosen = ("", "");
        for (column, text) in captions {
            chosen = (column, text);
            drawn -= weight(column);
            if drawn < 0.0 {
                break;
            }
        }
        (chosen.0, chosen.1.to_owned())
    }
}

fn moments(shape: &Bucket, clip: &Clip) -> Result<Raw, ClipFault> {
    let key = clip.get(LATENTS_KEY).and_then(|key| LatentsKey::parse(key));
    let (Some(key), Some(bytes)) = (key, clip.get(LATENTS)) else {
        return Err(ClipFault::Cached { what: "latents", found: 0, expected: 1 });
    };
    let values = key.unpack(bytes, shape.frames)?;
    let [channels, all, height, width] = key.shape;
    let latents = key.latents_of(shape.frames).unwrap_or(all);
    Ok(Raw::Moments(values, [channels, latents, height, width]))
}

fn text(clip: &Clip, column: &str) -> Result<RawText, ClipFault> {
    let missing = ClipFault::Cached { what: "embeddings", found: 0, expected: 1 };
    let key = clip.get(TEXT_KEY).and_then(|key| TextKey::parse(key));
    let (Some(key), Some(bytes)) = (key, clip.get(TEXT_TOKENS)) else { return Err(missing) };
    let values = key.unpack(bytes, column)?.ok_or(missing)?;
    Ok(RawText { values, channels: key.channels })
}
