//! Cut lists: the scenes of a source in a file of their own, as PySceneDetect (`list-scenes`,
//! `save-edl`), an editing program or `curate cuts` writes them, read in place of detecting
//! (`kind = "list"`).
//!
//! Every start and every end of a listed scene is a cut, so nothing from outside a scene gets into
//! its clips. In a list without gaps the ends are the next starts and add nothing.
//!
//! Cuts are found by time, counted from the start of the video stream as its container states it,
//! which is where PySceneDetect counts from. Frame numbers were decided against: PySceneDetect 0.7
//! computes them from the time and the average rate, so they name no frame where the rate varies,
//! and a unit from the middle of a source does not know the numbers of its frames. A written time
//! is a rounded one; how much earlier a frame may be and still be the one that is meant is each
//! form's own matter.
//!
//! A list is an input as the video is: recipes and fingerprints say where lists are, not what is
//! in them. A list that has changed changes nothing in a table that has the source already.

mod csv;
mod edl;

use std::{
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use curate_media::{SourceInfo, SourceKind};
use curate_pipeline::{SourceRef, UnitError};
use curate_schemas::SourceId;
use thiserror::Error;

use super::detect::{Detector, DetectorConfig, Missing};

/// How names of lists end, in the order in which they are looked for.
const ENDINGS: [&str; 3] = ["-Scenes.csv", ".csv", ".edl"];

/// A stretch of a source, in seconds from the start of its video stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// When its first frame is shown.
    pub start_s: f64,
    /// When the frame after its last one is shown.
    pub end_s: f64,
}

/// A form in which lists are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The CSV of PySceneDetect's `list-scenes`: exact.
    Csv,
    /// A CMX 3600 EDL, in whole frames of a constant rate.
    Edl,
}

impl Form {
    /// What the list of a source is called, as PySceneDetect calls it; `name` is the source's file
    /// name without its ending.
    #[must_use]
    pub fn file_name(self, name: &OsStr) -> OsString {
        let mut file = name.to_owned();
        file.push(match self {
            Self::Csv => "-Scenes.csv",
            Self::Edl => ".edl",
        });
        file
    }

    /// The list of a source's scenes; `fps` is the average rate of its video stream, above 0.
    #[must_use]
    pub fn write(self, name: &str, scenes: &[Scene], fps: f64) -> String {
        match self {
            Self::Csv => csv::write(scenes, fps),
            Self::Edl => edl::write(name, scenes, fps),
        }
    }
}

/// What a list says: moments in seconds, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moments {
    seconds: Vec<f64>,
    /// A frame that is so much earlier than a moment is still the one that is meant.
    early_s: f64,
}

impl Moments {
    /// Times are written to the millisecond, and some containers keep no more of theirs.
    const ROUNDING_S: f64 = 0.0015;

    /// From when on a frame is the one of each moment, in order, for a stream that starts at
    /// `start_s`.
    fn times(&self, start_s: f64) -> Vec<f64> {
        let mut times: Vec<f64> =
            self.seconds.iter().map(|seconds| start_s + seconds - self.early_s).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    }
}

/// What is wrong with a line of a list, and which line it is (from 1).
#[derive(Clone, Debug, PartialEq)]
struct BadLine {
    line: usize,
    fault: Fault,
}

/// What can be wrong with a line of a list.
#[derive(Clone, Debug, Error, PartialEq)]
pub(in crate::scenes) enum Fault {
    /// There is no header.
    #[error(
        "no column says where scenes start: write `Start Time (seconds)`, `Start Timecode` or \
         `Start Frame` above them, with commas between the columns"
    )]
    NoColumns,
    /// A cell is missing.
    #[error("nothing stands in the column `{0}`")]
    Empty(&'static str),
    /// Neither seconds nor a timecode with a fraction of a second.
    #[error("`{0}` is not a time: write seconds as 62.345, or a timecode as 00:01:02.345")]
    Time(String),
    /// Not the number of a frame.
    #[error("`{0}` is not the number of a frame: they are whole and count from 1")]
    Frame(String),
    /// A scene of negative length.
    #[error("the scene ends before it starts")]
    Backwards,
    /// Frames, but no rate.
    #[error("the video does not say its frame rate, so times in frames say nothing: use a CSV")]
    NoRate,
    /// No EDL at all.
    #[error("neither `TITLE:` nor an event is in it: this is not a CMX 3600 EDL")]
    NotAnEdl,
    /// An event that cannot be taken apart.
    #[error("an event is a number, a reel, a track, a transition and four timecodes")]
    Event,
    /// Not a timecode, or one that does not exist.
    #[error("`{text}` is not a timecode of a video with {fps:.3} frames per second")]
    Timecode {
        /// What the file says.
        text: String,
        /// The video's rate.
        fps: f64,
    },
    /// Drop-frame timecode at a rate that has none.
    #[error("drop-frame timecode does not exist at {0:.3} frames per second")]
    DropFrame(f64),
}

/// Why there are no cuts from a list.
#[derive(Debug, Error)]
pub(in crate::scenes) enum ListError {
    #[error(
        "there is no cut list `{name}-Scenes.csv`, `{name}.csv` or `{name}.edl` in {}: put it \
         there, or set `missing = \"ignore\"`", folder.display()
    )]
    Missing { name: String, folder: PathBuf },
    #[error("cannot read the cut list {}: {error}; check its permissions", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("cut list {}, line {line}: {fault}", path.display())]
    Malformed { path: PathBuf, line: usize, fault: Fault },
    #[error(
        "the cut list {} begins at {first_s:.3} s and the video is {video_s:.3} s long: it is \
         another video's, or its times do not count from 0", path.display()
    )]
    Elsewhere { path: PathBuf, first_s: f64, video_s: f64 },
}

impl From<ListError> for UnitError {
    fn from(error: ListError) -> Self {
        let transient = matches!(error, ListError::Unreadable { .. });
        Self { kind: "cut_list", message: error.to_string(), transient }
    }
}

/// What a list is wanted of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    id: &'a SourceId,
    path: &'a Path,
    /// The recipe's folder.
    base: &'a Path,
    /// When the video stream starts, by its own times.
    start_s: f64,
    fps: Option<f64>,
    length_s: Option<f64>,
    /// Whether there is nothing to cut.
    is_image: bool,
}

impl<'a> Subject<'a> {
    /// A source, for a recipe in the folder `base`.
    pub(super) fn new(source: &'a SourceRef, info: &SourceInfo, base: &'a Path) -> Self {
        let video = &info.video;
        Self {
            id: &source.id,
            path: &source.path,
            base,
            start_s: video.time_base.seconds(video.start_pts),
            fps: video.avg_fps,
            length_s: info.duration_s,
            is_image: info.kind == SourceKind::Image,
        }
    }
}

impl DetectorConfig {
    /// The detector for a source: a `list` is read, the others are as [`Self::build`] makes them.
    pub(super) fn build_for(&self, subject: &Subject<'_>) -> Result<Detector, ListError> {
        match self {
            Self::List { folder, missing } if !subject.is_image => {
                let folder = folder.as_deref().map(|folder| subject.base.join(folder));
                Ok(Detector::at(times(folder, *missing, subject)?))
            }
            _ => Ok(self.build()),
        }
    }

    /// The folder of its lists, when it is one for all sources.
    pub(super) fn list_folder(&self) -> Option<&Path> {
        match self {
            Self::List { folder, .. } => folder.as_deref(),
            _ => None,
        }
    }
}

/// From when on frames are cuts, in order, in seconds as the stream counts them.
fn times(
    folder: Option<PathBuf>,
    missing: Missing,
    subject: &Subject<'_>,
) -> Result<Vec<f64>, ListError> {
    let name = subject.path.file_stem().unwrap_or_default();
    let beside = || subject.path.parent().unwrap_or(Path::new("")).to_owned();
    let folder = folder.unwrap_or_else(beside);
    let Some((path, text)) = find(&folder, [OsStr::new(subject.id.as_str()), name])? else {
        return match missing {
            Missing::Ignore => Ok(Vec::new()),
            Missing::Fail => {
                Err(ListError::Missing { name: name.to_string_lossy().into_owned(), folder })
            }
        };
    };
    let fps = subject.fps;
    let is_edl = path.extension().is_some_and(|ending| ending == "edl");
    let read = if is_edl { edl::read(&text, fps) } else { csv::read(&text, fps) };
    let moments = match read {
        Ok(moments) => moments,
        Err(BadLine { line, fault }) => return Err(ListError::Malformed { path, line, fault }),
    };
    let first_s = moments.seconds.iter().copied().reduce(f64::min);
    if let (Some(first_s), Some(video_s)) = (first_s, subject.length_s)
        && first_s > video_s
    {
        return Err(ListError::Elsewhere { path, first_s, video_s });
    }
    Ok(moments.times(subject.start_s))
}

/// The first list that is there, and its text. A source's id goes before its name, which another
/// source may have too.
fn find(folder: &Path, names: [&OsStr; 2]) -> Result<Option<(PathBuf, String)>, ListError> {
    for name in names {
        for ending in ENDINGS {
            let mut file = name.to_owned();
            file.push(ending);
            let path = folder.join(file);
            match std::fs::read(&path) {
                Ok(bytes) => {
                    return Ok(Some((path, String::from_utf8_lossy(&bytes).into_owned())));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(ListError::Unreadable { path, error }),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
