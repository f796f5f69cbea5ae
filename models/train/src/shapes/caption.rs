//! A scene in words.
//!
//! Several wordings, so that a model cannot learn places of words instead of words; few, so that a
//! small one sees each often.

use curate_ops::Rng;

use super::{
    scene::{Scene, one_of},
    words::{Direction, Speed},
};

/// How a scene is put, in order of the sentence.
const WORDINGS: u64 = 4;

pub(super) fn caption(scene: &Scene, rng: &mut Rng) -> String {
    let Scene { shape, color, direction, speed, .. } = scene;
    let article = if color.word().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let how = match speed {
        Speed::Slow => "slowly",
        Speed::Fast => "quickly",
    };
    let to = match direction {
        Direction::Left => ["left", "to the left"],
        Direction::Right => ["right", "to the right"],
        Direction::Up => ["up", "upwards"],
        Direction::Down => ["down", "downwards"],
    };
    let to = one_of(rng, &to);
    let behind = match scene.to_background {
        None => format!("a {} background", scene.background),
        Some(other) => format!("a {} and {other} background", scene.background),
    };
    match rng.below(WORDINGS) {
        0 => format!("{article} {color} {shape} moves {to} {how} over {behind}"),
        1 => format!("{article} {color} {shape} is moving {how} {to} over {behind}"),
        2 => format!("over {behind}, {article} {color} {shape} {how} moves {to}"),
        _ => format!("{article} {color} {shape} on {behind}, moving {to} {how}"),
    }
}
