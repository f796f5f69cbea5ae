//! A folder of clips and the manifest that lists them: a source for `curate run`.
//!
//! Real video files, so that the proof begins where users begin. The manifest is written last:
//! where it is, the set is whole. Clip `n` depends on the seed and on `n` alone, so a longer set
//! begins with the shorter one.

use std::path::{Path, PathBuf};

use curate_media::{ClipWriter, Encoding, Picture, PixelFormat};
use curate_ops::Rng;
use curate_schemas::TimeBase;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    error::ShapesError,
    scene::Scene,
    words::{Color, Direction, Shape, Speed},
};

/// Numbers of a scene and of its caption; prompts draw from others, so that no prompt is a caption
/// of the set by the same numbers.
const CLIPS: u64 = 0;

/// Which set to make.
#[derive(Clone, Debug)]
pub struct SetSpec {
    /// How many clips.
    pub count: u32,
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// Both sides of a picture, in pixels; even, as 4:2:0 wants it.
    pub size: u32,
    /// Frames of a clip.
    pub frames: u32,
    /// Frames per second.
    pub fps: u32,
    /// All shapes have this colour; `None` for any.
    pub only_color: Option<Color>,
    /// Threads that render and encode; the clips do not depend on it.
    pub threads: usize,
}

/// A line of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The clip, from the manifest's folder.
    pub path: String,
    /// What is to be seen, in words.
    pub caption: String,
    /// The shape's colour.
    pub color: Color,
    /// Where it moves.
    pub direction: Direction,
    /// What it is.
    pub shape: Shape,
    /// How fast it moves.
    pub speed: Speed,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The manifest.
    pub manifest: PathBuf,
    /// Clips that were made now; 0 where the set was whole already.
    pub made: u32,
}

impl SetSpec {
    fn check(&self) -> Result<TimeBase, ShapesError> {
        let refuse =
            |key, problem: &str| Err(ShapesError::Setting { key, problem: problem.to_owned() });
        if self.count == 0 || self.count > 1_000_000 {
            return refuse("count", "must be from 1 to 1000000 clips");
        }
        if !(16..=1024).contains(&self.size) || !self.size.is_multiple_of(2) {
            return refuse("size", "must be an even number from 16 to 1024 pixels");
        }
        if !(1..=10_000).contains(&self.frames) {
            return refuse("frames", "must be from 1 to 10000");
        }
        let tick = i32::try_from(self.fps).ok().and_then(|fps| TimeBase::new(1, fps));
        match tick {
            Some(tick) if self.fps <= 240 => Ok(tick),
            _ => refuse("fps", "must be from 1 to 240 frames per second"),
        }
    }

    /// What the manifest does not say of the clips.
    fn form(&self) -> String {
        let Self { size, frames, fps, .. } = self;
        format!("{{\"size\":{size},\"frames\":{frames},\"fps\":{fps}}}\n")
    }

    /// The scene of a clip, and its line.
    fn clip(&self, index: u32) -> (Scene, Row) {
        let mut rng = Rng::with_stream(self.seed, CLIPS + u64::from(index));
        let mut scene = Scene::draw(&mut rng);
        scene.color = self.only_color.unwrap_or(scene.color);
        let row = Row {
            path: format!("clips/{index:06}.mp4"),
            caption: scene.caption(&mut rng),
            color: scene.color,
            direction: scene.direction,
            shape: scene.shape,
            speed: scene.speed,
        };
        (scene, row)
    }

    /// A clip as a video file; of high quality, since what H.264 adds should not be learnt.
    fn film(&self, scene: &Scene, tick: TimeBase) -> Result<Vec<u8>, curate_media::MediaError> {
        let encoding = Encoding { crf: 10.0, key_every: 8, ..Encoding::default() };
        let mut writer = ClipWriter::new(encoding, tick);
        let pixels = scene.render(self.size, self.frames);
        for data in pixels.chunks_exact(self.size as usize * self.size as usize * 3) {
            let (width, height) = (self.size, self.size);
            let data = data.to_vec();
            writer.push(&Picture { width, height, format: PixelFormat::Rgb8, data })?;
        }
        writer.finish()
    }
}

/// Writes `folder/clips/NNNNNN.mp4` and `folder/manifest.jsonl`. The same settings always give the
/// same bytes. A set that is whole already is left as it is; one that was begun, or lacks a clip, is made
/// anew.
///
/// # Errors
/// `Setting` for sizes that make no sense, `OtherSet` where the folder holds a manifest of other
/// clips, or clips of another size, length or rate, `Io` and `Media` with the file.
pub fn write_set(folder: &Path, spec: &SetSpec) -> Result<Written, ShapesError> {
    let tick = spec.check()?;
    let manifest = folder.join("manifest.jsonl");
    let clips: Vec<(Scene, Row)> = (0..spec.count).map(|index| spec.clip(index)).collect();
    let text = lines(&manifest, clips.iter().map(|(_, row)| row))?;
    let (form_path, form) = (folder.join("form.json"), spec.form());
    // A set of an earlier version does not say its form.
    let is_form = std::fs::read_to_string(&form_path).map_or(true, |there| there == form);
    match std::fs::read_to_string(&manifest) {
        Ok(there) if there == text && is_form => {
            if clips.iter().all(|(_, row)| folder.join(&row.path).is_file()) {
                return Ok(Written { manifest, made: 0 });
            }
        }
        Ok(_) => return Err(ShapesError::OtherSet(manifest)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ShapesError::io("read", &manifest)(error)),
    }
    let inside = folder.join("clips");
    std::fs::create_dir_all(&inside).map_err(ShapesError::io("write", &inside))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(spec.threads.max(1))
        .thread_name(|index| format!("synth-{index}"))
        .build()?;
    pool.install(|| {
        clips.par_iter().try_for_each(|(scene, row)| {
            let path = folder.join(&row.path);
            let bytes = spec.film(scene, tick).map_err(ShapesError::media(&path))?;
            std::fs::write(&path, bytes).map_err(ShapesError::io("write", &path))
        })
    })?;
    write_whole(&form_path, &form)?;
    write_whole(&manifest, &text)?;
    Ok(Written { manifest, made: spec.count })
}

/// JSON lines, for the file `path`.
pub(super) fn lines<'a, T: Serialize + 'a>(
    path: &Path,
    rows: impl Iterator<Item = &'a T>,
) -> Result<String, ShapesError> {
    let mut text = String::new();
    for row in rows {
        let line = serde_json::to_string(row).map_err(std::io::Error::from);
        text += &line.map_err(ShapesError::io("write", path))?;
        text.push('\n');
    }
    Ok(text)
}

/// Writes a file that is either whole or not there.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), ShapesError> {
    let begun = path.with_extension("begun");
    std::fs::write(&begun, text).map_err(ShapesError::io("write", &begun))?;
    std::fs::rename(&begun, path).map_err(ShapesError::io("write", path))
}
