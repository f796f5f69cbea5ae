//! A scene in words.
//!
//! Several wordings, so that a model cannot learn places of words instead of words; few, so that a
//! small one sees each often. Short: every word more is one that means nothing to the network yet.

use curate_ops::Rng;

use super::{
    scene::{Scene, one_of},
    words::{Direction, Speed},
};

/// How a scene is put, in order of the sentence.
const WORDINGS: u64 = 3;

pub(super) fn caption(scene: &Scene, rng: &mut Rng) -> String {
    let Scene { shape, color, direction, speed, .. } = scene;
    let article = if color.word().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let how = match speed {
        Speed::Slow => "slowly",
        Speed::Fast => "quickly",
    };
    let to = match direction {
        Direction::Left | Direction::Right => direction.word().to_owned(),
        Direction::Up | Direction::Down => {
            format!("{direction}{}", one_of(rng, &["", "wards"]))
        }
    };
    let behind = match scene.to_background {
        None => scene.background.to_string(),
        Some(other) => format!("{} and {other}", scene.background),
    };
    match rng.below(WORDINGS) {
        0 => format!("{article} {color} {shape} moves {to} {how} over {behind}"),
        1 => format!("over {behind}, {article} {color} {shape} {how} moves {to}"),
        _ => format!("{article} {color} {shape} on {behind} moves {how} {to}"),
    }
}
