//! What a trained model is asked: prompts whose answers can be judged.
//!
//! They are drawn from the scenes' own distribution by a seed that training never saw. A file of
//! prompts says what was asked for (colour, direction) in columns of its own, which generators pass
//! over; the manifest of a set reads the same way, so that a judge can be judged by true clips.

use std::path::Path;

use curate_ops::Rng;
use serde::{Deserialize, Serialize};

use super::{
    error::ShapesError,
    scene::Scene,
    set::{lines, write_whole},
    words::{Color, Direction, Shape, Speed},
};

/// Numbers of a prompt: others than those of clips of the same seed.
const PROMPTS: u64 = 1 << 40;

/// A prompt and what it asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The words.
    #[serde(alias = "caption")]
    pub prompt: String,
    /// What the noise is drawn by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The colour asked for; `None` where the colour does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
    /// The direction asked for; `None` where it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The shape asked for; not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// The speed asked for; not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// The seed of the whole list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_seed: Option<u64>,
}

/// Draws `count` prompts; prompt `n` depends on `seed` and `n` alone.
#[must_use]
pub fn draw_prompts(count: u32, seed: u64) -> Vec<Prompt> {
    let prompt = |index| {
        let mut rng = Rng::with_stream(seed, PROMPTS + u64::from(index));
        let scene = Scene::draw(&mut rng);
        Prompt {
            prompt: scene.caption(&mut rng),
            // Short enough for every reader of JSON.
            seed: Some(rng.below(1 << 31)),
            color: Some(scene.color),
            direction: Some(scene.direction),
            shape: Some(scene.shape),
            speed: Some(scene.speed),
            list_seed: Some(seed),
        }
    };
    (0..count).map(prompt).collect()
}

/// Writes prompts as JSON lines.
///
/// # Errors
/// `Io`.
pub fn write_prompts(path: &Path, prompts: &[Prompt]) -> Result<(), ShapesError> {
    write_whole(path, &lines(path, prompts.iter())?)
}

/// Reads prompts, or the manifest of a set, from JSON lines. Columns of other names are passed over.
///
/// # Errors
/// `Io`; `Prompt` with the line that is wrong, or when there is none.
pub fn read_prompts(path: &Path) -> Result<Vec<Prompt>, ShapesError> {
    let text = std::fs::read_to_string(path).map_err(ShapesError::io("read", path))?;
    let fault = |line, problem| ShapesError::Prompt { path: path.to_owned(), line, problem };
    let mut prompts = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let prompt: Prompt =
            serde_json::from_str(text).map_err(|error| fault(line, error.to_string()))?;
        if prompt.color.is_none() && prompt.direction.is_none() {
            let problem = "it says neither `color` nor `direction`, so nothing can be judged; \
                           `curate synth prompts` writes them";
            return Err(fault(line, problem.to_owned()));
        }
        prompts.push(prompt);
    }
    if prompts.is_empty() {
        return Err(fault(1, "the file holds no prompt".to_owned()));
    }
    Ok(prompts)
}
