//! The rows that are used: which those are, and which bucket each belongs to.
//!
//! They are looked at once, some at a time; of each only ids and sizes stay (about 40 bytes). Sorted by
//! id, so that compacting a table, or writing it with other workers, changes nothing.

use std::collections::BTreeMap;

use curate_schemas::{
    Clip,
    columns::{
        CAPTION, CAPTION_RAW, CLIP_ID, FPS, HEIGHT, KIND, LATENTS_KEY, NUM_FRAMES, TEXT_KEY,
        VIDEO_FORM, WIDTH,
    },
    fingerprint,
};

use super::{
    Bucket, Cache, DataConfig, DataError, RowSource, Unusable, Wanted,
    bucket::nearest_size,
    keys::{LatentsKey, Spacing, TextKey},
};

/// A row that is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Finds it in its version.
    pub row: u64,
    /// Its clip's id, as a number.
    pub id: u128,
    /// The number of its bucket.
    pub bucket: u32,
    /// Its frames.
    pub frames: u32,
    /// From one frame that is used to the next.
    pub step: f32,
}

impl Entry {
    /// The clip's id.
    #[must_use]
    pub fn clip_id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// Frames that may be used: the first, and how many.
    #[must_use]
    pub fn usable(&self, trim: f64) -> (usize, usize) {
        usable(self.frames as usize, trim)
    }
}

fn usable(frames: usize, trim: f64) -> (usize, usize) {
    let cut = (frames as f64 * trim) as usize;
    (cut, frames - 2 * cut)
}

/// Frames from the first that is used to the last of `count`, both included.
#[must_use]
pub(super) fn reach(count: usize, step: f32) -> usize {
    ((count.saturating_sub(1)) as f64 * f64::from(step)) as usize + 1
}

/// All rows that are used.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// In order of id.
    pub entries: Vec<Entry>,
    /// The buckets that they are in, sorted.
    pub buckets: Vec<Bucket>,
    /// The entries of each bucket.
    pub members: Vec<Vec<u32>>,
    /// Rows that passed the filter and are not used.
    pub unusable: BTreeMap<Unusable, u64>,
}

/// The columns that are looked at.
fn columns(config: &DataConfig, wanted: &Wanted) -> Vec<&'static str> {
    let mut columns = vec![
        CLIP_ID.name(),
        KIND.name(),
        WIDTH.name(),
        HEIGHT.name(),
        FPS.name(),
        NUM_FRAMES.name(),
        VIDEO_FORM.name(),
        LATENTS_KEY.name(),
        TEXT_KEY.name(),
    ];
    if wanted.captions || wanted.text.is_some() {
        columns.extend(caption_columns(config));
    }
    columns
}

/// The configured columns of captions, as the table names them.
pub(crate) fn caption_columns(config: &DataConfig) -> Vec<&'static str> {
    let known = [CAPTION.name(), CAPTION_RAW.name()];
    known.into_iter().filter(|name| config.captions.contains_key(*name)).collect()
}

/// The captions of a row by column; blank ones are none.
pub(crate) fn captions<'a>(config: &DataConfig, clip: &'a Clip) -> BTreeMap<&'static str, &'a str> {
    let columns = [(CAPTION.name(), CAPTION), (CAPTION_RAW.name(), CAPTION_RAW)];
    columns
        .into_iter()
        .filter(|(name, _)| config.captions.contains_key(*name))
        .filter_map(|(name, column)| Some((name, clip.get(column)?.as_str())))
        .filter(|(_, text)| !text.trim().is_empty())
        .collect()
}

impl Rows {
    /// Looks at all rows that pass the filter.
    ///
    /// # Errors
    /// When they cannot be read, the filter is wrong, or none is of use.
    pub fn read(
        source: &dyn RowSource,
        config: &DataConfig,
        wanted: &Wanted,
    ) -> Result<Self, DataError> {
        let rows = Self::look(source, config, wanted)?;
        if rows.entries.is_empty() {
            let words = rows.unusable.iter();
            return Err(DataError::NoRows {
                table: config.table.clone(),
                version: source.version(),
                filter: config.filter.clone(),
                unusable: words.map(|(why, rows)| (why.words().to_owned(), *rows)).collect(),
            });
        }
        if let Some(share) = config.image_share {
            let has = |is_image| rows.buckets.iter().any(|bucket| bucket.is_image == is_image);
            for (is_wanted, is_image, lacking) in
                [(share > 0.0, true, "image"), (share < 1.0, false, "video")]
            {
                if is_wanted && !has(is_image) {
                    return Err(DataError::OneKind { share, lacking });
                }
            }
        }
        Ok(rows)
    }

    /// As [`Rows::read`], but that nothing is of use is no error.
    ///
    /// # Errors
    /// When rows cannot be read, or the filter is wrong.
    pub fn look(
        source: &dyn RowSource,
        config: &DataConfig,
        wanted: &Wanted,
    ) -> Result<Self, DataError> {
        let mut found: Vec<(Bucket, Entry)> = Vec::new();
        let mut unusable = BTreeMap::new();
        source.scan(&config.filter, &columns(config, wanted), &mut |listed| {
            for row in listed {
                match place(config, wanted, &row.clip) {
                    Ok((bucket, entry)) => found.push((bucket, Entry { row: row.row, ..entry })),
                    Err(why) => *unusable.entry(why).or_default() += 1,
                }
            }
        })?;
        found.sort_unstable_by_key(|(_, entry)| entry.id);
        let mut buckets: Vec<Bucket> = found.iter().map(|(bucket, _)| *bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let mut members = vec![Vec::new(); buckets.len()];
        let mut entries = Vec::with_capacity(found.len());
        for (bucket, entry) in found {
            let number = buckets.binary_search(&bucket).unwrap_or_default();
            members[number].push(entries.len() as u32);
            entries.push(Entry { bucket: number as u32, ..entry });
        }
        Ok(Self { entries, buckets, members, unusable })
    }

    /// How many have latents that may take the place of frames, and how many embeddings of their captions.
    #[must_use]
    pub fn cached(&self) -> (usize, usize) {
        let of = |has: fn(&Bucket) -> bool| {
            let buckets = self.buckets.iter().zip(&self.members).filter(|(bucket, _)| has(bucket));
            buckets.map(|(_, members)| members.len()).sum()
        };
        (of(|bucket| bucket.has_latents), of(|bucket| bucket.has_text))
    }

    /// The bucket of an entry.
    #[must_use]
    pub fn bucket(&self, entry: &Entry) -> Bucket {
        self.buckets[entry.bucket as usize]
    }

    /// A hash of the rows, of their buckets, and of the settings that decide what comes when.
    #[must_use]
    pub fn fingerprint(&self, config: &DataConfig) -> String {
        // What decides who reads, and where from, does not decide what is read.
        let settings =
            DataConfig { table: "".into(), version: None, memory: 1, workers: 1, ..config.clone() };
        let settings = serde_json::to_vec(&settings).unwrap_or_default();
        let buckets = serde_json::to_vec(&self.buckets).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        for entry in &self.entries {
            hasher.update(&entry.id.to_le_bytes());
            hasher.update(&entry.bucket.to_le_bytes());
        }
        fingerprint([&settings[..], &buckets, hasher.finalize().as_bytes()])
    }
}

/// The bucket of a row, or why it has none.
fn place(config: &DataConfig, wanted: &Wanted, clip: &Clip) -> Result<(Bucket, Entry), Unusable> {
    let is_still = clip.get(KIND).is_some_and(|kind| kind == "image");
    let is_image = is_still || config.frames == 1;
    match config.image_share {
        Some(0.0) if is_image => return Err(Unusable::Image),
        Some(1.0) if !is_image => return Err(Unusable::Video),
        _ => {}
    }
    let side = |side: Option<&i32>| side.and_then(|side| u32::try_from(*side).ok());
    let (Some(width @ 1..), Some(height @ 1..)) = (side(clip.get(WIDTH)), side(clip.get(HEIGHT)))
    else {
        return Err(Unusable::NoSize);
    };
    let all = usize::try_from(clip.get(NUM_FRAMES).copied().unwrap_or(0)).unwrap_or(0);
    let step = match config.fps {
        None => config.stride as f32,
        Some(_) if is_image => 1.0,
        Some(fps) => {
            let own = clip.get(FPS).copied().filter(|own| *own > 0.0);
            let step = own.ok_or(Unusable::NoFrameRate)? / fps;
            // 23.976 frames a second will do for 24.
            if step < 0.95 {
                return Err(Unusable::FewFrames);
            }
            step.max(1.0) as f32
        }
    };
    let (_, length) = usable(all, config.trim);
    let frames = if is_image {
        1
    } else {
        let mut lengths = config.lengths().into_iter();
        lengths.find(|count| reach(*count, step) <= length).ok_or(Unusable::TooShort)?
    };
    if length == 0 {
        return Err(Unusable::TooShort);
    }
    let captions = captions(config, clip);
    if wanted.captions && captions.is_empty() {
        return Err(Unusable::NoCaption);
    }
    let (height, width) = nearest_size(config, width, height);
    let mut bucket =
        Bucket { is_image, height, width, frames, has_latents: false, has_text: false };
    if config.cache != Cache::Off {
        bucket.has_latents = has_latents(config, wanted, clip, &bucket);
        bucket.has_text = wanted.text.as_ref().is_some_and(|text| {
            let key = clip.get(TEXT_KEY).and_then(|key| TextKey::parse(key));
            key.is_some_and(|key| key.serves(text, &captions))
        });
    }
    if config.cache == Cache::Require {
        if wanted.vae.is_some() && !bucket.has_latents {
            return Err(Unusable::NotEncoded);
        }
        if wanted.text.is_some() && !bucket.has_text {
            return Err(Unusable::NoTextTokens);
        }
    }
    if !bucket.has_latents && clip.get(VIDEO_FORM).is_none_or(|form| form == "none") {
        return Err(Unusable::NoBytes);
    }
    let id = clip.get(CLIP_ID).and_then(|id| u128::from_str_radix(id, 16).ok()).unwrap_or(0);
    Ok((bucket, Entry { row: 0, id, bucket: 0, frames: all as u32, step }))
}

/// Whether a row's latents may take the place of its frames. A crop that is drawn anew for each epoch
/// cannot have been encoded before.
fn has_latents(config: &DataConfig, wanted: &Wanted, clip: &Clip, bucket: &Bucket) -> bool {
    let Some(vae) = &wanted.vae else { return false };
    if config.random_ratio_crop || config.crop == super::Crop::Random {
        return false;
    }
    let key = clip.get(LATENTS_KEY).and_then(|key| LatentsKey::parse(key));
    key.is_some_and(|key| key.serves(vae, bucket, &Spacing::of(config)))
}
