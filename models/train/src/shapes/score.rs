//! A folder of generated clips against the prompts they were generated from.
//!
//! The clip of prompt `n` is the file whose name's last number is `n`; where a file of the same name
//! ending in `.json` lies beside it, the prompt in it must be the one in the list, so that a folder
//! of another run cannot be scored by mistake. A clip that is missing counts as wrong.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use curate_media::{
    Converter, DecodeOptions, Decoder, Filter, MediaError, Picture, PixelFormat, SheetCell, Size,
    contact_sheet, encode_jpeg,
};
use rayon::prelude::*;
use serde::Serialize;

use super::{
    error::ShapesError,
    judge::{Film, Judge, SIDE, Seen},
    prompts::Prompt,
    words::{Color, Direction},
};

/// What clips are stored as.
const ENDINGS: &[&str] = &["mp4", "gif", "mkv", "webm", "mov"];
/// Pictures of a clip on the sheet.
const SHOWN: usize = 3;
const COLUMNS: u32 = 8;

/// What became of one prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Which prompt, from 0.
    pub index: usize,
    /// What was asked for.
    #[serde(flatten)]
    pub prompt: Prompt,
    /// The clip; `None` where there is none.
    pub file: Option<PathBuf>,
    /// What is to be seen in it.
    pub seen: Option<Seen>,
    /// Whether the colour is the one asked for; `None` where none was.
    pub color_is_right: Option<bool>,
    /// Whether the direction is the one asked for; `None` where none was.
    pub direction_is_right: Option<bool>,
    /// A few of its pictures, side by side.
    #[serde(skip)]
    strip: Option<Picture>,
}

impl Answer {
    /// Whether all that was asked for is right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.color_is_right.unwrap_or(true) && self.direction_is_right.unwrap_or(true)
    }
}

/// How many of how many are right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Clips that are right.
    pub right: usize,
    /// Clips for which it was asked.
    pub of: usize,
    /// The part of them that are right.
    pub share: f64,
    /// The part that guessing gets right.
    pub chance: f64,
}

impl Rate {
    fn of(answers: impl Iterator<Item = bool>, chance: f64) -> Self {
        let (mut right, mut of) = (0, 0);
        for is_right in answers {
            of += 1;
            right += usize::from(is_right);
        }
        Self { right, of, share: right as f64 / of.max(1) as f64, chance }
    }
}

/// The result of a whole list of prompts.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// Directions.
    pub direction: Rate,
    /// Colours.
    pub color: Rate,
    /// All that was asked for.
    pub both: Rate,
    /// In how many clips anything is to be seen.
    pub visible: usize,
    /// How often each colour is seen, whatever was asked for.
    pub colors_seen: BTreeMap<Color, usize>,
    /// How often each direction is seen, whatever was asked for.
    pub directions_seen: BTreeMap<Direction, usize>,
    /// Each prompt, in order.
    pub answers: Vec<Answer>,
}

impl Score {
    /// Looks at the clips of a folder with `threads` threads.
    ///
    /// # Errors
    /// `Clips` where names are ambiguous or a clip is of another prompt, `Io`, `Media` with the file.
    pub fn of_folder(
        folder: &Path,
        prompts: &[Prompt],
        threads: usize,
    ) -> Result<Self, ShapesError> {
        let files = numbered(folder)?;
        if let Some((index, path)) = files.iter().find(|(index, _)| **index >= prompts.len()) {
            let (path, count) = (path.clone(), prompts.len());
            let problem = format!("it is number {index}, but there are {count} prompts (from 0)");
            return Err(ShapesError::Clips { path, problem });
        }
        if files.is_empty() {
            let problem = format!("there is no clip in it ({})", ENDINGS.join(", "));
            return Err(ShapesError::Clips { path: folder.to_owned(), problem });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("judge-{index}"))
            .build()?;
        let answers: Result<Vec<Answer>, ShapesError> = pool.install(|| {
            prompts
                .par_iter()
                .enumerate()
                .map(|(index, prompt)| answer(index, prompt, files.get(&index)))
                .collect()
        });
        Ok(Self::new(answers?))
    }

    fn new(answers: Vec<Answer>) -> Self {
        let [one_direction, one_color] =
            [Direction::ALL.len(), Color::ALL.len()].map(|values| 1.0 / values as f64);
        let both = |answer: &Answer| {
            answer.direction_is_right.map_or(1.0, |_| one_direction)
                * answer.color_is_right.map_or(1.0, |_| one_color)
        };
        let both_chance = answers.iter().map(both).sum::<f64>() / answers.len().max(1) as f64;
        let seen = || answers.iter().filter_map(|answer| answer.seen.as_ref());
        let (mut colors_seen, mut directions_seen) = (BTreeMap::new(), BTreeMap::new());
        seen()
            .filter_map(|seen| seen.color)
            .for_each(|it| *colors_seen.entry(it).or_default() += 1);
        seen()
            .filter_map(|seen| seen.direction)
            .for_each(|it| *directions_seen.entry(it).or_default() += 1);
        Self {
            direction: Rate::of(
                answers.iter().filter_map(|answer| answer.direction_is_right),
                one_direction,
            ),
            color: Rate::of(answers.iter().filter_map(|answer| answer.color_is_right), one_color),
            both: Rate::of(answers.iter().map(Answer::is_right), both_chance),
            visible: seen().filter(|seen| seen.color.is_some()).count(),
            colors_seen,
            directions_seen,
            answers,
        }
    }

    /// A contact sheet as a JPEG: first, middle and last picture of each clip, framed in green where
    /// all is right and else in red, with what was asked for and what is seen.
    ///
    /// # Errors
    /// `Pictures` when there are too many clips for one picture.
    pub fn sheet(&self) -> Result<Vec<u8>, ShapesError> {
        let cell = |answer: &Answer| -> Result<SheetCell, MediaError> {
            let strip = answer.strip.as_ref().map(|strip| encode_jpeg(strip, 92)).transpose()?;
            let say = |color: Option<Color>, direction: Option<Direction>, none: &'static str| {
                let color = color.map_or(none, Color::word);
                format!("{color} {}", direction.map_or(none, Direction::word))
            };
            let asked = say(answer.prompt.color, answer.prompt.direction, "any");
            let seen = match &answer.seen {
                None => "no clip".to_owned(),
                Some(seen) => say(seen.color, seen.direction, "nothing"),
            };
            let lines = vec![format!("{}: {asked}", answer.index), format!("seen: {seen}")];
            Ok(SheetCell { jpeg: strip, lines, is_kept: answer.is_right() })
        };
        let cells: Result<Vec<SheetCell>, MediaError> = self.answers.iter().map(cell).collect();
        Ok(encode_jpeg(&contact_sheet(&cells?, COLUMNS)?, 90)?)
    }
}

/// Clips by the last number in their names.
fn numbered(folder: &Path) -> Result<BTreeMap<usize, PathBuf>, ShapesError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(ShapesError::io("read", folder))? {
        let path = entry.map_err(ShapesError::io("read", folder))?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if ENDINGS.contains(&ending.as_str()) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = BTreeMap::new();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let digits = stem.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
        let Some(index) = digits.and_then(|digits| digits.parse().ok()) else {
            let problem = "its name has no number, which says of which prompt it is".to_owned();
            return Err(ShapesError::Clips { path, problem });
        };
        if let Some(other) = files.insert(index, path.clone()) {
            let problem = format!("{} has the same number: move one away", other.display());
            return Err(ShapesError::Clips { path, problem });
        }
    }
    Ok(files)
}

fn answer(index: usize, prompt: &Prompt, file: Option<&PathBuf>) -> Result<Answer, ShapesError> {
    let mut answer = Answer {
        index,
        prompt: prompt.clone(),
        file: file.cloned(),
        seen: None,
        color_is_right: prompt.color.map(|_| false),
        direction_is_right: prompt.direction.map(|_| false),
        strip: None,
    };
    let Some(path) = file else { return Ok(answer) };
    check_prompt(path, prompt)?;
    let pictures = read(path).map_err(ShapesError::media(path))?;
    let Some(size) = pictures.first().map(Picture::size) else { return Ok(answer) };
    let pixels: Vec<u8> =
        pictures.iter().flat_map(|picture| picture.data.iter().copied()).collect();
    let film = Film { pixels: &pixels, width: size.width, height: size.height };
    let seen = Judge::new()?.look(&film)?;
    answer.color_is_right = prompt.color.map(|color| seen.color == Some(color));
    answer.direction_is_right = prompt.direction.map(|direction| seen.direction == Some(direction));
    answer.seen = Some(seen);
    answer.strip = Some(strip(&pictures, size));
    Ok(answer)
}

/// Refuses a clip whose own note says another prompt.
fn check_prompt(path: &Path, prompt: &Prompt) -> Result<(), ShapesError> {
    let note = path.with_extension("json");
    let text = match std::fs::read_to_string(&note) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ShapesError::io("read", &note)(error)),
    };
    let said: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let said = said.as_ref().and_then(|note| note.get("prompt")).and_then(|text| text.as_str());
    match said {
        Some(said) if said == prompt.prompt => Ok(()),
        said => {
            let said = said.unwrap_or("no prompt");
            let problem = format!(
                "its note says {said:?}, but the list {:?}: give the list that the clips were \
                 generated from",
                prompt.prompt
            );
            Err(ShapesError::Clips { path: path.to_owned(), problem })
        }
    }
}

/// All pictures of a clip, small.
fn read(path: &Path) -> Result<Vec<Picture>, MediaError> {
    let mut decoder =
        Decoder::open(path, &DecodeOptions { threads: 1, ..DecodeOptions::default() })?;
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let mut pictures = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        let (width, height) = frame.display_size();
        let longer = f64::from(width.max(height).max(1));
        let side = |side: u32| (f64::from(side) * f64::from(SIDE) / longer).round().max(1.0) as u32;
        let size = Size::new(side(width), side(height));
        let filter = if longer > f64::from(SIDE) { Filter::Area } else { Filter::Linear };
        pictures.push(frame.picture(&mut converter, size, filter, true)?);
    }
    Ok(pictures)
}

/// A few pictures, evenly spread, side by side.
fn strip(pictures: &[Picture], size: Size) -> Picture {
    let count = SHOWN.min(pictures.len());
    let chosen: Vec<&Picture> = (0..count)
        .map(|index| &pictures[index * (pictures.len() - 1) / (count - 1).max(1)])
        .filter(|picture| picture.size() == size)
        .collect();
    let row = size.width as usize * 3;
    let data = (0..size.height as usize)
        .flat_map(|y| chosen.iter().flat_map(move |picture| &picture.data[y * row..(y + 1) * row]))
        .copied()
        .collect();
    let width = size.width * chosen.len() as u32;
    Picture { width, height: size.height, format: PixelFormat::Rgb8, data }
}
