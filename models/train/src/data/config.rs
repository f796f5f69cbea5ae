//! What a run reads, as its file says it: the table `[data]` of a training run.
//!
//! Defaults are the paper's (arXiv 2405.18991, section 5; the released trainer's arguments where the
//! paper is silent) except where a comment says otherwise. Mistakes are reported all at once.
//!
//! Decided against sizes in megabytes and lengths in seconds: the file says what the tensors are.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Sides of frames are multiples of this: eight pixels a latent, two latents a token.
pub const SIDE_STEP: usize = 16;

/// The longest side of a square bucket.
const MOST_SIDE: usize = 1 << 14;

/// The most frames of a clip: more than an hour of film.
const MOST_FRAMES: usize = 1 << 17;

/// A version of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Version {
    /// By number.
    Number(u64),
    /// By tag.
    Tag(String),
}

/// Which part of a frame is used where its shape is not the bucket's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The frame is scaled to cover the bucket's size and its middle is used.
    #[default]
    Center,
    /// A square of a random quarter to all of the shorter side, anywhere, scaled to `size`: how the
    /// VAE is trained. All buckets are square then.
    Random,
}

/// Whether cached latents and text embeddings take the place of frames and captions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Where a row has them and they were made as this run would make them.
    #[default]
    Auto,
    /// Rows without them are of no use, and counted.
    Require,
    /// Never.
    Off,
}

/// What a run reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The table's folder, as `curate run` wrote it.
    pub table: PathBuf,
    /// A version by number or tag. Without one, the newest when the run begins; a run that is
    /// resumed goes on with the version it began with.
    pub version: Option<Version>,
    /// Which rows, as an SQL condition.
    #[serde(rename = "where")]
    pub filter: String,
    /// The side of a square bucket in pixels, a multiple of 16; other aspect ratios have about as
    /// many pixels.
    pub size: usize,
    /// Frames of a clip: 1 (single frames), or a multiple of `frame_step`, or one more (an image and
    /// whole slices). Shorter clips go into buckets of fewer frames, by steps of `frame_step`.
    pub frames: usize,
    /// Frames of a slice of the VAE.
    pub frame_step: usize,
    /// Every how many frames of a clip one is used. Not together with `fps`.
    pub stride: usize,
    /// Frames a second that are used, for each time the last frame until then; needs the rows' own `fps`.
    pub fps: Option<f64>,
    /// Share of a clip's frames that is left out at its beginning, and again at its end. 0, since
    /// clips end where scenes do; the released trainer has 0.1.
    pub trim: f64,
    /// Samples of a batch. All are of one bucket.
    pub batch: usize,
    /// Share of batches that are images, when both images and videos are wanted in a set
    /// proportion; without it, the table's own.
    pub image_share: Option<f64>,
    /// Columns that hold captions, each with its weight: one is drawn for each sample, among those
    /// that the row has.
    pub captions: BTreeMap<String, f64>,
    /// How often a caption is left empty, so that guidance has something to compare with. 0 in the
    /// released trainer (and here), 0.1 in later ones.
    pub caption_dropout: f64,
    /// Which part of a frame.
    pub crop: Crop,
    /// Whether a batch's aspect ratio is drawn (near squares often, 12:5 seldom) instead of that of
    /// its clips.
    pub random_ratio_crop: bool,
    /// Whether one batch in ten is cut to fewer frames.
    pub random_frame_crop: bool,
    /// Whether what `curate encode` wrote is used.
    pub cache: Cache,
    /// Bytes of samples that may be read ahead.
    pub memory: u64,
    /// Threads that read and decode. What is read does not depend on it.
    pub workers: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            table: PathBuf::new(),
            version: None,
            filter: "status = 'kept'".to_owned(),
            size: 512,
            frames: 144,
            frame_step: 8,
            stride: 1,
            fps: None,
            trim: 0.0,
            batch: 1,
            image_share: None,
            captions: BTreeMap::from([("caption".to_owned(), 1.0)]),
            caption_dropout: 0.0,
            crop: Crop::Center,
            random_ratio_crop: false,
            random_frame_crop: false,
            cache: Cache::Auto,
            memory: 1 << 30,
            workers: 2,
        }
    }
}

/// The columns that may hold captions.
const CAPTIONS: [&str; 2] = ["caption", "caption_raw"];

impl DataConfig {
    /// Everything that is wrong, each with its key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |is_good: bool, problem: String| {
            if !is_good {
                problems.push(problem);
            }
        };
        check(
            !self.table.as_os_str().is_empty(),
            "data.table: name the folder of a table".to_owned(),
        );
        let size = self.size;
        let nearest = (size / SIDE_STEP).max(1) * SIDE_STEP;
        check(
            size > 0 && size.is_multiple_of(SIDE_STEP),
            format!(
                "data.size: {size} is no multiple of {SIDE_STEP}; the nearest below is {nearest}"
            ),
        );
        check(size <= MOST_SIDE, format!("data.size: {size} is more than {MOST_SIDE} pixels"));
        let (frames, step) = (self.frames, self.frame_step);
        check(frames <= MOST_FRAMES, format!("data.frames: {frames} is more than {MOST_FRAMES}"));
        check(step > 0, "data.frame_step: must be at least 1".to_owned());
        if step > 0 && frames != 1 && (frames == 0 || frames % step > 1) {
            let below = frames / step * step;
            problems.push(format!(
                "data.frames: {frames} is neither 1 nor {step} times a number, nor one more; near it \
                 are {} and {}",
                below.max(1),
                below + step
            ));
        }
        let mut check = |is_good: bool, problem: &str| {
            if !is_good {
                problems.push(problem.to_owned());
            }
        };
        check(self.stride > 0, "data.stride: must be at least 1");
        check(self.fps.is_none() || self.stride == 1, "data.fps: not together with data.stride");
        check(
            self.fps.is_none_or(|fps| fps.is_finite() && fps > 0.0),
            "data.fps: must be a positive number",
        );
        check((0.0..0.5).contains(&self.trim), "data.trim: must be at least 0 and less than 0.5");
        check((1..=1 << 20).contains(&self.batch), "data.batch: must be from 1 to 1048576 samples");
        check(
            self.image_share.is_none_or(|share| (0.0..=1.0).contains(&share)),
            "data.image_share: must be from 0 to 1",
        );
        check(
            self.image_share.is_none() || self.frames > 1,
            "data.image_share: has no meaning with data.frames = 1, where every row is an image",
        );
        check(
            (0.0..=1.0).contains(&self.caption_dropout),
            "data.caption_dropout: must be from 0 to 1",
        );
        check(
            !(self.random_ratio_crop && self.crop == Crop::Random),
            "data.random_ratio_crop: not together with data.crop = \"random\", which is square",
        );
        check(self.memory > 0, "data.memory: must be at least 1 byte");
        check(self.workers > 0, "data.workers: must be at least 1");
        for (column, weight) in &self.captions {
            if !CAPTIONS.contains(&column.as_str()) {
                problems.push(format!(
                    "data.captions.{column}: no column of captions; there are {}",
                    CAPTIONS.join(", ")
                ));
            }
            if !(weight.is_finite() && *weight > 0.0) {
                problems.push(format!("data.captions.{column}: the weight must be positive"));
            }
        }
        problems
    }

    /// The numbers of frames that buckets have, longest first.
    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        let step = self.frame_step.max(1);
        (1..=self.frames).rev().step_by(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> DataConfig {
        DataConfig { table: "out".into(), ..DataConfig::default() }
    }

    #[test]
    fn the_defaults_are_right_and_every_mistake_is_reported() {
        assert_eq!(good().problems(), [""; 0]);
        let bad = DataConfig {
            table: PathBuf::new(),
            size: 500,
            frames: 19,
            stride: 2,
            fps: Some(-1.0),
            trim: 0.5,
            batch: 0,
            image_share: Some(1.5),
            captions: BTreeMap::from([("status".to_owned(), 0.0)]),
            caption_dropout: -0.1,
            crop: Crop::Random,
            random_ratio_crop: true,
            memory: 0,
            workers: 0,
            ..DataConfig::default()
        };
        let problems = bad.problems();
        assert_eq!(problems.len(), 14, "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.starts_with("data.")), "{problems:#?}");
        assert!(problems.iter().any(|problem| problem.contains("16 and 24")), "{problems:#?}");
        assert!(problems.iter().any(|problem| problem.ends_with("496")), "{problems:#?}");
    }

    #[test]
    fn lengths_go_down_by_slices() {
        let of = |frames| DataConfig { frames, ..good() }.lengths();
        assert_eq!(of(1), [1]);
        assert_eq!(of(24), [24, 16, 8]);
        assert_eq!(of(25), [25, 17, 9, 1]);
        assert_eq!(of(144).len(), 18);
    }

    #[test]
    fn files_say_what_the_fields_are() {
        let text = "table = 'out'\nversion = 'first'\nwhere = 'motion > 0.1'\ncrop = 'random'\n\
                    cache = 'require'\n[captions]\ncaption = 2\ncaption_raw = 1";
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!(config.version, Some(Version::Tag("first".to_owned())));
        assert_eq!(config.filter, "motion > 0.1");
        assert_eq!((config.crop, config.cache), (Crop::Random, Cache::Require));
        assert_eq!(config.captions["caption"], 2.0);
        let number: DataConfig = toml::from_str("version = 7").unwrap();
        assert_eq!(number.version, Some(Version::Number(7)));
        assert!(
            toml::from_str::<DataConfig>("sise = 64").unwrap_err().to_string().contains("sise")
        );
    }
}
