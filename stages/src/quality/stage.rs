//! The stage: which frames are looked at, which columns come of it, and the thresholds.

use curate_pipeline::{
    BuildContext, BuildError, Check, ClipError, Frame, FrameNeed, Grid, Item, Map, Problems, Shape,
    Stage, StageConfig, StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, Column, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{
    Brisque, Grey, ModelError, Naturalness, Niqe,
    bars::{Bars, bars},
    measures,
};
use crate::{
    Range,
    sample::{bgr_at_most, some_of},
};

/// Frames are picked from a grid of so many a second.
const PER_SECOND: f64 = 1.0;

/// Settings of the `quality` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualityConfig {
    /// Frames of each clip that are looked at, evenly spread.
    pub frames: usize,
    /// Longer side of these frames; smaller ones stay as they are.
    pub size: u32,
    /// BRISQUE, 0 (best) to 100.
    pub brisque: Range,
    /// NIQE, lower is better; natural frames have 2 to 6.
    pub niqe: Range,
    /// Variance of the Laplacian: under 100 where frames are blurred.
    pub sharpness: Range,
    /// How well lit, 0 to 1.
    pub exposure: Range,
    /// Spread of brightness, 0 to 0.5.
    pub contrast: Range,
    /// 0 is grey, 45 usual, 82 highly colourful.
    pub colorfulness: Range,
    /// 1 where the codec's blocks cannot be told, 2 where they can be seen.
    pub blockiness: Range,
    /// Noise in levels of 0 to 255.
    pub noise: Range,
    /// Share of the frame that is black bars.
    pub bars: Range,
}

impl Default for QualityConfig {
    fn default() -> Self {
        let any = Range::default();
        Self {
            frames: 3,
            size: 1280,
            brisque: any,
            niqe: any,
            sharpness: any,
            exposure: Range::at_least(0.05),
            contrast: any,
            colorfulness: any,
            blockiness: any,
            noise: any,
            bars: Range::at_most(0.3),
        }
    }
}

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "quality",
    summary: "drop clips with technical faults: dark, blurred, barred, badly compressed",
    parse: |table, problems| Box::new(read_table::<QualityConfig>(table, problems)),
    schema: settings::<QualityConfig>,
    example: "[[stage]]\nkind = \"quality\"\n\
              exposure = { min = 0.05 }   # 0 shows nothing, 1 is evenly lit\n\
              bars = { max = 0.3 }        # share of the frame that is black bars\n\
              # brisque = { max = 50.0 }  # 0 (best) to 100\n\
              # sharpness = { min = 50.0 }\n",
};

/// A threshold: its key, the column it is about, and the reasons for being below and above.
type Judged<'a> = (&'static str, Column<f32>, &'a Range, (&'static str, &'static str));

/// The largest value there is.
fn most(key: &str) -> f64 {
    match key {
        "exposure" | "bars" => 1.0,
        "contrast" => 0.5,
        "brisque" => 100.0,
        _ => f64::INFINITY,
    }
}

impl QualityConfig {
    fn judged(&self) -> [Judged<'_>; 9] {
        [
            ("exposure", c::TECHNICAL_EXPOSURE, &self.exposure, ("badly_lit", "too_well_lit")),
            ("bars", c::TECHNICAL_BARS, &self.bars, ("no_bars", "black_bars")),
            ("sharpness", c::TECHNICAL_SHARPNESS, &self.sharpness, ("blurred", "too_sharp")),
            ("contrast", c::TECHNICAL_CONTRAST, &self.contrast, ("flat", "too_much_contrast")),
            (
                "colorfulness",
                c::TECHNICAL_COLORFULNESS,
                &self.colorfulness,
                ("colorless", "too_colorful"),
            ),
            ("blockiness", c::TECHNICAL_BLOCKINESS, &self.blockiness, ("no_blocks", "blocky")),
            ("noise", c::TECHNICAL_NOISE, &self.noise, ("no_noise", "noisy")),
            ("brisque", c::TECHNICAL_BRISQUE, &self.brisque, ("low_brisque", "high_brisque")),
            ("niqe", c::TECHNICAL_NIQE, &self.niqe, ("low_niqe", "high_niqe")),
        ]
    }
}

impl StageConfig for QualityConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn reads(&self) -> &'static [&'static str] {
        &["width", "height"]
    }

    fn writes(&self) -> &'static [&'static str] {
        &[
            "technical_niqe",
            "technical_brisque",
            "technical_sharpness",
            "technical_exposure",
            "technical_contrast",
            "technical_colorfulness",
            "technical_blockiness",
            "technical_noise",
            "technical_bars",
        ]
    }

    fn frames(&self) -> FrameNeed {
        let grid = Grid { per_second: PER_SECOND, max_side: self.size };
        FrameNeed { grid: Some(grid), ..FrameNeed::default() }
    }

    fn measuring(&self) -> Json {
        json!({ "frames": self.frames, "size": self.size })
    }

    fn judging(&self) -> Json {
        self.judged().iter().map(|(key, _, range, _)| ((*key).to_owned(), json!(range))).collect()
    }

    fn validate(&self, problems: &mut Problems) {
        if !(1..=100).contains(&self.frames) {
            problems.report("frames", "must be 1 to 100").help =
                Some("the default is 3".to_owned());
        }
        if !(64..=8192).contains(&self.size) {
            problems.report("size", "must be 64 to 8192 pixels").help =
                Some("the default is 1280".to_owned());
        }
        for (key, _, range, _) in self.judged() {
            range.validate(key, most(key), problems);
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let value = |column| clip.get(column).map(|value| f64::from(*value));
        let checks = self.judged().map(|(_, column, range, reasons)| {
            range.checks(column.name(), value(column), reasons).collect::<Vec<_>>()
        });
        checks.into_iter().flatten().collect()
    }

    fn build(&self, _context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let quality = Quality::new(self.frames, self.size).map_err(|error| BuildError {
            stage: ENTRY.kind.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Stage::Map(Box::new(quality)))
    }
}

/// The running half.
struct Quality {
    frames: usize,
    size: u32,
    brisque: Brisque,
    niqe: Niqe,
}

/// Values of one measure, frame by frame.
#[derive(Default)]
struct Series(Vec<f64>);

impl Series {
    /// The median: one frame in a flash or a fade does not speak for a clip.
    fn middle(mut self) -> Option<f32> {
        self.0.sort_unstable_by(f64::total_cmp);
        let middle = self.0.len() / 2;
        let value = match self.0.len() {
            0 => return None,
            count if count % 2 == 1 => self.0[middle],
            _ => (self.0[middle - 1] + self.0[middle]) / 2.0,
        };
        Some(value as f32)
    }
}

impl Quality {
    fn new(frames: usize, size: u32) -> Result<Self, ModelError> {
        let natural = Naturalness::published()?;
        Ok(Self { frames, size, brisque: Brisque::published()?, niqe: Niqe::new(natural)? })
    }

    /// The frame in grey and in blue, green and red, no larger than was asked for: another stage
    /// may have asked for more.
    fn views(&self, frame: &Frame) -> Result<(Grey, Vec<u8>), ClipError> {
        let picture = bgr_at_most(frame, self.size)?;
        let (width, height) = (picture.width as usize, picture.height as usize);
        let grey = Grey::from_bgr(width, height, &picture.data).ok_or_else(|| ClipError {
            kind: "convert",
            message: "a frame without pixels".to_owned(),
        })?;
        Ok((grey, picture.data))
    }
}

impl Map for Quality {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let stored = item.clip.get(c::WIDTH).copied().zip(item.clip.get(c::HEIGHT).copied());
        let frames = some_of(item, PER_SECOND, self.frames)?;
        let views: Vec<(Grey, Vec<u8>)> =
            frames.into_iter().map(|frame| self.views(frame)).collect::<Result<_, _>>()?;
        // A bar is there in every frame; beside a dark picture it seems larger. The other measures
        // are of what is inside.
        let edges =
            views.iter().map(|(grey, _)| bars(grey)).reduce(Bars::least).unwrap_or_default();
        let mut all: [Series; 8] = Default::default();
        for (grey, bgr) in &views {
            // Another size has its blocks elsewhere.
            let is_whole = stored
                .is_some_and(|(w, h)| (w as usize, h as usize) == (grey.width(), grey.height()));
            let inside = edges.inside(grey, bgr);
            let (grey, bgr) = inside.as_ref().map_or((grey, bgr), |(grey, bgr)| (grey, bgr));
            let values = [
                self.niqe.score(grey),
                self.brisque.score(grey),
                Some(measures::sharpness(grey).laplacian_variance),
                Some(measures::exposure(grey).score()),
                Some(measures::contrast(grey)),
                Some(measures::colourfulness(bgr)),
                is_whole.then(|| measures::blockiness(grey)),
                Some(measures::noise(grey)),
            ];
            for (series, value) in all.iter_mut().zip(values) {
                series.0.extend(value.filter(|value| value.is_finite()));
            }
        }
        let clip = &mut item.clip;
        let columns = [
            c::TECHNICAL_NIQE,
            c::TECHNICAL_BRISQUE,
            c::TECHNICAL_SHARPNESS,
            c::TECHNICAL_EXPOSURE,
            c::TECHNICAL_CONTRAST,
            c::TECHNICAL_COLORFULNESS,
            c::TECHNICAL_BLOCKINESS,
            c::TECHNICAL_NOISE,
        ];
        for (column, series) in columns.into_iter().zip(all) {
            if let Some(value) = series.middle() {
                clip.set(column, value);
            }
        }
        if let Some((grey, _)) = views.first() {
            clip.set(c::TECHNICAL_BARS, edges.share(grey) as f32);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use curate_pipeline::{Frames, Verdict, testing};

    use super::*;

    /// Frames in which `level` says how bright each pixel is.
    fn item(frames: usize, level: impl Fn(u32, u32) -> u8) -> Item {
        let (width, height) = (320_u32, 240_u32);
        let rgb: Vec<u8> =
            (0..width * height).flat_map(|at| [level(at % width, at / width); 3]).collect();
        let frame = |pts| Frame { pts, width, height, rgb: rgb.clone() };
        let grid = (0..frames as i64).map(frame).collect();
        let clip = Clip::default().with(c::WIDTH, 320).with(c::HEIGHT, 240);
        testing::item(clip, Frames { grid, ..Frames::default() })
    }

    fn texture(x: u32, y: u32) -> u8 {
        let wave = (f64::from(x) * 0.21).sin() * (f64::from(y) * 0.13).cos();
        (128.0 + 70.0 * wave + f64::from((x * 7 + y * 13) % 11)) as u8
    }

    fn measured(mut item: Item) -> Clip {
        let mut quality = Quality::new(3, 1280).unwrap();
        quality.map(&mut item).unwrap();
        item.clip
    }

    #[test]
    fn the_contract_holds() {
        testing::assert_stage_contract(&ENTRY, "bars = { max = 0.2 }", || {
            vec![item(3, texture), item(1, |_, _| 0), item(2, |x, _| (x % 256) as u8)]
        });
    }

    #[test]
    fn every_fault_has_its_column() {
        let good = measured(item(3, texture));
        let config = QualityConfig::default();
        assert_eq!(config.judge(&good), Verdict::Keep);
        for column in [c::TECHNICAL_NIQE, c::TECHNICAL_BRISQUE, c::TECHNICAL_BLOCKINESS] {
            assert!(good.get(column).is_some(), "{}", column.name());
        }
        let dark = measured(item(3, |x, y| texture(x, y) / 60));
        assert_eq!(config.judge(&dark), Verdict::Drop { reason: "badly_lit" });
        let boxed = |x, y| if (60..180).contains(&y) { texture(x, y) } else { 16 };
        let boxed = measured(item(3, boxed));
        assert_eq!(config.judge(&boxed), Verdict::Drop { reason: "black_bars" });
        let bars = f64::from(*boxed.get(c::TECHNICAL_BARS).unwrap());
        assert!((bars - 0.5).abs() < 0.02, "{bars}");
        // What is inside of the bars is measured, not their edges.
        let sharpness = |clip: &Clip| f64::from(*clip.get(c::TECHNICAL_SHARPNESS).unwrap());
        assert!((sharpness(&boxed) / sharpness(&good) - 1.0).abs() < 0.1);
        let flat = measured(item(3, |_, _| 128));
        assert!(flat.get(c::TECHNICAL_SHARPNESS) < good.get(c::TECHNICAL_SHARPNESS));
        assert!(flat.get(c::TECHNICAL_CONTRAST) < good.get(c::TECHNICAL_CONTRAST));
    }

    #[test]
    fn a_bar_must_be_there_in_every_frame() {
        let barred = || item(3, |x, y| if y < 40 { 16 } else { texture(x, y) });
        assert!(measured(barred()).get(c::TECHNICAL_BARS).is_some_and(|bars| *bars > 0.1));
        let mut once = barred();
        once.frames.grid[1] = Frame { pts: 1, ..item(1, texture).frames.grid.remove(0) };
        assert_eq!(measured(once).get(c::TECHNICAL_BARS), Some(&0.0));
    }

    #[test]
    fn percent_are_not_shares() {
        let mut problems = Problems::default();
        let wrong = QualityConfig { bars: Range::at_most(30.0), ..QualityConfig::default() };
        wrong.validate(&mut problems);
        let words = problems.into_errors().iter().map(ToString::to_string).collect::<String>();
        assert!(words.contains("no value is above 1"), "{words}");
    }

    #[test]
    fn blocks_are_not_looked_for_in_resized_frames() {
        let mut item = item(1, texture);
        item.clip.set(c::WIDTH, 1920);
        assert_eq!(measured(item).get(c::TECHNICAL_BLOCKINESS), None);
    }

    #[test]
    fn thresholds_do_not_change_what_is_measured() {
        let other = QualityConfig { niqe: Range::at_most(5.0), ..QualityConfig::default() };
        assert_eq!(other.measuring(), QualityConfig::default().measuring());
        assert_ne!(other.judging(), QualityConfig::default().judging());
    }
}
