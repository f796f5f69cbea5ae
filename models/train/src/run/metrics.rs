//! The log of a run: a JSON object per step, for people and plots.
//!
//! A resumed run takes away the lines of steps that it makes again, so a step stands there once.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// What was measured at a step. Names are those of the file: `loss`, `learning_rate`, `grad_norm`,
/// `seconds` (of the step), `wait_seconds` (of it for data), and whatever a trainer adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The step, the first being 1.
    pub step: u64,
    /// Values by name. What is no finite number is left out of the file.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

impl Point {
    /// Of a step.
    #[must_use]
    pub fn new(step: u64) -> Self {
        Self { step, values: BTreeMap::new() }
    }

    /// With another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// A value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

/// Values of a step, by the names under which they are logged.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// Adds a batch's values to the means of a step of `count` batches.
pub(crate) fn add_mean(means: &mut Values, values: &[(&'static str, f64)], count: u64) {
    for (name, value) in values {
        let value = value / count as f64;
        match means.iter_mut().find(|(known, _)| known == name) {
            Some((_, mean)) => *mean += value,
            None => means.push((*name, value)),
        }
    }
}

/// A log that is written.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the log and drops what lies after step `done`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn open(path: &Path, done: u64) -> Result<Self, TrainError> {
        if path.exists() {
            // Lines stay as they are: numbers that are read and written again change in their last digit.
            let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
            let is_kept = |line: &&str| {
                serde_json::from_str::<Point>(line).is_ok_and(|point| point.step <= done)
            };
            let kept: String = text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
            let part = path.with_extension("part");
            fs::write(&part, kept).map_err(TrainError::io("write", &part))?;
            fs::rename(&part, path).map_err(TrainError::io("replace", path))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { path: path.to_owned(), file: file.map_err(TrainError::io("open", path))? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, point: &Point) -> Result<(), TrainError> {
        self.file.write_all(line(point).as_bytes()).map_err(TrainError::io("write", &self.path))
    }
}

fn line(point: &Point) -> String {
    let mut point = point.clone();
    point.values.retain(|_, value| value.is_finite());
    // Numbers and names always become JSON.
    serde_json::to_string(&point).unwrap_or_default() + "\n"
}

/// Reads a log. A last line that was cut off, as by a crash, is passed over.
///
/// # Errors
/// When the file cannot be read.
pub fn read_metrics(path: &Path) -> Result<Vec<Point>, TrainError> {
    let file = File::open(path).map_err(TrainError::io("read", path))?;
    let mut points = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(TrainError::io("read", path))?;
        points.extend(serde_json::from_str::<Point>(&line));
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Point, read_metrics};

    #[test]
    fn a_resumed_log_has_each_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        for step in 1..=5 {
            metrics.push(&Point::new(step).with("loss", f64::from(step as u32))).unwrap();
        }
        // A crash in the middle of a line.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .map(|mut file| {
                std::io::Write::write_all(&mut file, b"{\"step\":6,\"lo").unwrap();
            })
            .unwrap();
        let mut metrics = Metrics::open(&path, 3).unwrap();
        metrics.push(&Point::new(4).with("loss", f64::NAN)).unwrap();
        let points = read_metrics(&path).unwrap();
        assert_eq!(points.iter().map(|point| point.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(points[2].get("loss"), Some(3.0));
        assert_eq!(points[3].get("loss"), None);
    }
}
