//! A plain sentence from measured values: the caption for those who have no model and no server.
//!
//! It says how long and how bright the clip is, what the camera does, how much moves and whether
//! there is text, and nothing that was not measured: it does not know that there is a dog. A trainer
//! can learn the look of a clip from it, a reader of the table can see the pipeline at work, and
//! `caption_model` says where it comes from ([`MODEL`]), so that nobody takes it for a description.
//!
//! Each part has several wordings, chosen by the clip's id, so that a data set does not repeat one
//! sentence and a rerun repeats each. What is missing or not a number is left out. Spelling is
//! American, as in the captions that text encoders know.

/// What `caption_model` says about these captions. The number goes up when the wording changes.
pub const MODEL: &str = "attributes/1";

/// Measured values of a clip, by the columns they come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// `kind` is `image`: one frame, nothing moves.
    pub is_image: bool,
    /// `end_s - start_s`, in seconds.
    pub duration_s: Option<f64>,
    /// `technical_exposure`: 0 is black or burnt out, 1 well lit.
    pub exposure: Option<f32>,
    /// `technical_contrast`: standard deviation of brightness, 0 to 0.5.
    pub contrast: Option<f32>,
    /// `technical_colorfulness`: 0 is grey, 45 usual, 82 highly colorful.
    pub colorfulness: Option<f32>,
    /// `technical_sharpness`: under 100 where frames are blurred.
    pub sharpness: Option<f32>,
    /// `technical_bars`: share of the frame.
    pub bars: Option<f32>,
    /// `camera_motion`: a word of the motion stage.
    pub camera_motion: Option<String>,
    /// `motion`: all of it, in frame diagonals per second.
    pub motion: Option<f32>,
    /// `motion_subject`: without the camera's, in frame diagonals per second.
    pub motion_subject: Option<f32>,
    /// `text_area_mean`: share of the frame.
    pub text_area: Option<f32>,
    /// `text_persistence`: share of the frames in which text stays where it is.
    pub text_persistence: Option<f32>,
}

/// Slower than this nothing moves (the motion stage's own bound for a camera that stands).
const STILL: f32 = 0.01;
/// Up to this, something moves a little: a face, leaves.
const GENTLE: f32 = 0.05;
/// From this on, much of the frame moves fast.
const LIVELY: f32 = 0.2;
/// Less text than this share of the frame is a smudge.
const SOME_TEXT: f32 = 0.001;
/// The released recipe's bound for too much of it.
const MUCH_TEXT: f32 = 0.02;

/// Chooses wordings: another for each part, the same for the same clip.
struct Choice {
    hash: blake3::Hash,
    next: usize,
}

impl Choice {
    fn of<'a>(&mut self, wordings: &[&'a str]) -> &'a str {
        let bytes = self.hash.as_bytes();
        let byte = bytes[self.next % bytes.len()];
        self.next += 1;
        wordings.get(usize::from(byte) % wordings.len().max(1)).copied().unwrap_or_default()
    }
}

/// The sentence; `None` when nothing was measured that it could speak of.
#[must_use]
pub fn sentence(clip_id: &str, attributes: &Attributes) -> Option<String> {
    let mut choice = Choice { hash: blake3::hash(clip_id.as_bytes()), next: 0 };
    let look = look(attributes, &mut choice);
    let length = attributes.duration_s.filter(|_| !attributes.is_image).and_then(length);
    let camera = camera(attributes, &mut choice);
    let subject = subject(attributes, &mut choice);
    let extras = extras(attributes, &mut choice);
    let is_bare = camera.is_none() && subject.is_none() && extras.is_empty();
    if look.is_empty() && length.is_none() && is_bare {
        return None;
    }
    let noun = if attributes.is_image {
        choice.of(&["still picture", "photograph", "picture"])
    } else {
        choice.of(&["shot", "scene", "take"])
    };
    let noun: Vec<&str> = length.iter().map(String::as_str).chain([noun]).collect();
    let noun = noun.join(" ");
    let subject_line = if look.is_empty() {
        format!("{} {noun}", article(&noun))
    } else {
        let look = look.join(", ");
        format!("{} {look} {noun}", article(&look))
    };
    let moves = match (camera, subject) {
        (Some(camera), Some(subject)) => {
            let joint = choice.of(&[" while ", " and ", "; meanwhile "]);
            Some(format!("{camera}{joint}{subject}"))
        }
        (one, other) => one.or(other).map(str::to_owned),
    };
    let mut text = subject_line;
    if let Some(moves) = moves {
        text += choice.of(&[" in which ", " where ", ": "]);
        text += &moves;
    }
    if !extras.is_empty() {
        text += ", with ";
        text += &extras.join(" and ");
    }
    let mut chars = text.chars();
    let first = chars.next()?;
    Some(format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

fn article(next: &str) -> &'static str {
    let starts = |list: &[&str]| list.iter().any(|start| next.starts_with(start));
    // Numbers are spoken: an 8-second, an 11-second, an 18-second shot.
    let is_vowel = starts(&["a", "e", "i", "o", "u"])
        || next
            .split('-')
            .next()
            .is_some_and(|number| number.starts_with('8') || number == "11" || number == "18");
    if is_vowel { "an" } else { "a" }
}

/// The length in whole seconds, halves below three.
fn length(duration_s: f64) -> Option<String> {
    if !duration_s.is_finite() || duration_s <= 0.0 {
        return None;
    }
    let halves = (duration_s * 2.0).round() / 2.0;
    Some(if halves < 0.5 {
        "split-second".to_owned()
    } else if halves < 3.0 && halves.fract() > 0.0 {
        format!("{halves:.1}-second")
    } else {
        format!("{:.0}-second", duration_s.round())
    })
}

fn measured(value: Option<f32>) -> Option<f32> {
    value.filter(|value| value.is_finite())
}

/// Light, color, contrast and focus, as far as they stand out.
fn look(attributes: &Attributes, choice: &mut Choice) -> Vec<&'static str> {
    let mut words = Vec::new();
    // Exposure alone does not tell too dark from too bright.
    match measured(attributes.exposure) {
        Some(exposure) if exposure < 0.3 => words.push(choice.of(&["badly exposed", "poorly lit"])),
        Some(exposure) if exposure > 0.8 => words.push(choice.of(&["well-lit", "evenly lit"])),
        _ => {}
    }
    match measured(attributes.contrast) {
        Some(contrast) if contrast < 0.08 => words.push(choice.of(&["flat", "low-contrast"])),
        Some(contrast) if contrast > 0.28 => words.push(choice.of(&["high-contrast", "stark"])),
        _ => {}
    }
    match measured(attributes.colorfulness) {
        Some(color) if color < 4.0 => words.push(choice.of(&["colorless", "gray"])),
        Some(color) if color < 20.0 => words.push(choice.of(&["muted", "pale"])),
        Some(color) if color > 82.0 => words.push(choice.of(&["highly colorful", "vivid"])),
        Some(color) if color > 45.0 => words.push("colorful"),
        _ => {}
    }
    if measured(attributes.sharpness).is_some_and(|sharpness| sharpness < 100.0) {
        words.push(choice.of(&["soft", "blurred"]));
    }
    words
}

fn camera(attributes: &Attributes, choice: &mut Choice) -> Option<&'static str> {
    let class = attributes.camera_motion.as_deref().filter(|_| !attributes.is_image)?;
    let wordings: &[&str] = match class {
        "static" => {
            &["the camera stands still", "the camera does not move", "the view stays fixed"]
        }
        "pan_left" => &["the camera pans to the left", "the view swings left"],
        "pan_right" => &["the camera pans to the right", "the view swings right"],
        "tilt_up" => &["the camera tilts up", "the view rises"],
        "tilt_down" => &["the camera tilts down", "the view sinks"],
        "zoom_in" => &["the camera moves in", "the view closes in"],
        "zoom_out" => &["the camera moves out", "the view widens"],
        "roll" => &["the camera rolls", "the view turns on its axis"],
        "mixed" => &["the camera moves in several ways", "the camera moves about"],
        // A word that this version does not know.
        _ => return None,
    };
    Some(choice.of(wordings))
}

/// How much moves, apart from the camera where that is known.
fn subject(attributes: &Attributes, choice: &mut Choice) -> Option<&'static str> {
    if attributes.is_image {
        return None;
    }
    let wordings: [&[&str]; 4] = match measured(attributes.motion_subject) {
        Some(_) => [
            &["almost nothing in it moves", "everything in it stays in place"],
            &["what is in it moves gently", "there is slight movement in it"],
            &["what is in it moves steadily", "there is clear movement in it"],
            &["what is in it moves fast", "there is a lot of movement in it"],
        ],
        None => [
            &["almost nothing changes", "the picture hardly changes"],
            &["the picture changes gently", "there is slight movement"],
            &["the picture changes steadily", "there is clear movement"],
            &["the picture changes fast", "there is a lot of movement"],
        ],
    };
    let speed = measured(attributes.motion_subject).or(measured(attributes.motion))?;
    let class = [STILL, GENTLE, LIVELY].iter().filter(|bound| speed >= **bound).count();
    Some(choice.of(wordings.get(class)?))
}

/// Text and bars.
fn extras(attributes: &Attributes, choice: &mut Choice) -> Vec<&'static str> {
    let mut extras = Vec::new();
    if let Some(area) = measured(attributes.text_area).filter(|area| *area >= SOME_TEXT) {
        let stays = measured(attributes.text_persistence).is_some_and(|share| share >= 0.9);
        extras.push(match (area > MUCH_TEXT, stays) {
            (false, false) => choice.of(&["some text on screen", "a little text in view"]),
            (false, true) => choice.of(&["some text that stays on screen", "a fixed line of text"]),
            (true, false) => choice.of(&["a lot of text on screen", "much text in view"]),
            (true, true) => choice.of(&["a lot of text that stays on screen", "large fixed text"]),
        });
    }
    if measured(attributes.bars).is_some_and(|share| share > 0.02) {
        extras.push(choice.of(&["black bars at the edges", "a black border"]));
    }
    extras
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::caption::flags;

    fn full() -> Attributes {
        Attributes {
            is_image: false,
            duration_s: Some(4.2),
            exposure: Some(0.9),
            contrast: Some(0.3),
            colorfulness: Some(60.0),
            sharpness: Some(500.0),
            bars: Some(0.1),
            camera_motion: Some("pan_left".to_owned()),
            motion: Some(0.3),
            motion_subject: Some(0.02),
            text_area: Some(0.01),
            text_persistence: Some(1.0),
        }
    }

    fn say(id: &str, attributes: &Attributes) -> String {
        sentence(id, attributes).unwrap()
    }

    #[test]
    fn what_is_measured_is_said() {
        for id in ["a", "b", "c", "d", "e", "f"] {
            let text = say(id, &full());
            let says =
                |words: &[&str]| assert!(words.iter().any(|word| text.contains(word)), "{text}");
            says(&["4-second"]);
            says(&["lit"]);
            says(&["colorful"]);
            says(&["left"]);
            says(&["gently", "slight"]);
            says(&["text"]);
            says(&["black"]);
            assert!(!text.contains("soft") && !text.contains("blurred"), "{text}");
            assert_eq!(flags::flags(&text, false, &flags::Limits::default()), [""; 0], "{text}");
            assert!(text.ends_with('.') && text.starts_with(['A', 'T']), "{text}");
        }
    }

    #[test]
    fn wordings_are_many_and_a_clip_keeps_its_own() {
        let ids: Vec<String> = (0..200).map(|index| format!("{index:032x}")).collect();
        let texts: BTreeSet<String> = ids.iter().map(|id| say(id, &full())).collect();
        assert!(texts.len() > 100, "{}", texts.len());
        for id in &ids {
            assert_eq!(say(id, &full()), say(id, &full()));
        }
    }

    #[test]
    fn what_is_not_measured_is_not_said() {
        assert_eq!(sentence("a", &Attributes::default()), None);
        let nan = Attributes {
            exposure: Some(f32::NAN),
            motion: Some(f32::NAN),
            ..Attributes::default()
        };
        assert_eq!(sentence("a", &nan), None);
        let unknown = Attributes { camera_motion: Some("orbit".into()), ..Attributes::default() };
        assert_eq!(sentence("a", &unknown), None);
        for id in ["a", "b", "c", "d"] {
            let length = Attributes { duration_s: Some(8.0), ..Attributes::default() };
            let text = say(id, &length);
            assert!(text.starts_with("An 8-second ") && text.split(' ').count() == 3, "{text}");
            let moves = Attributes { motion: Some(0.001), ..Attributes::default() };
            let text = say(id, &moves);
            assert!(!text.contains("camera") && !text.contains("second"), "{text}");
            // No text was found, and none was looked for: neither is spoken of.
            let none = Attributes { text_area: Some(0.0), ..full() };
            assert!(!say(id, &none).contains("text"));
        }
    }

    #[test]
    fn each_value_alone_changes_the_sentence() {
        let none = Attributes { duration_s: Some(5.0), ..Attributes::default() };
        let changes = [
            Attributes { exposure: Some(0.1), ..none.clone() },
            Attributes { contrast: Some(0.01), ..none.clone() },
            Attributes { colorfulness: Some(1.0), ..none.clone() },
            Attributes { sharpness: Some(10.0), ..none.clone() },
            Attributes { bars: Some(0.2), ..none.clone() },
            Attributes { camera_motion: Some("roll".to_owned()), ..none.clone() },
            Attributes { motion: Some(0.5), ..none.clone() },
            Attributes { motion_subject: Some(0.5), ..none.clone() },
            Attributes { text_area: Some(0.5), ..none.clone() },
            Attributes { duration_s: Some(6.0), ..none.clone() },
        ];
        let texts: BTreeSet<String> = changes.iter().map(|changed| say("a", changed)).collect();
        assert_eq!(texts.len(), changes.len(), "{texts:?}");
        assert!(!texts.contains(&say("a", &none)));
    }

    #[test]
    fn every_camera_word_of_the_motion_stage_is_known() {
        let words = [
            "static",
            "pan_left",
            "pan_right",
            "tilt_up",
            "tilt_down",
            "zoom_in",
            "zoom_out",
            "roll",
            "mixed",
        ];
        for word in words {
            let one = Attributes { camera_motion: Some(word.to_owned()), ..Attributes::default() };
            assert!(sentence("a", &one).is_some(), "{word}");
        }
    }

    #[test]
    fn a_picture_has_no_length_and_no_motion() {
        let picture = Attributes { is_image: true, ..full() };
        for id in ["a", "b", "c"] {
            let text = say(id, &picture);
            assert!(text.contains("picture") || text.contains("photograph"), "{text}");
            assert!(!text.contains("second") && !text.contains("camera"), "{text}");
        }
    }

    #[test]
    fn lengths_are_rounded_for_people() {
        let of = |seconds| length(seconds).unwrap_or_default();
        assert_eq!(
            (of(0.1), of(0.5), of(1.0)),
            ("split-second".into(), "0.5-second".into(), "1-second".into())
        );
        assert_eq!(
            (of(2.6), of(3.4), of(9.96)),
            ("2.5-second".into(), "3-second".into(), "10-second".into())
        );
        assert_eq!((length(0.0), length(f64::NAN)), (None, None));
        assert_eq!(
            (article("8-second"), article("11-second"), article("10-second")),
            ("an", "an", "a")
        );
        assert_eq!(
            (article("80-second"), article("evenly"), article("1.5-second")),
            ("an", "an", "a")
        );
    }
}
