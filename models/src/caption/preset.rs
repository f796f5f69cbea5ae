//! What suits a family of models: how many frames in what size, the question, and how a request must
//! be laid out.
//!
//! Frame counts and sampling are those that the models' publishers or EasyAnimate's captioning use
//! (VILA-1.5 and InternVL2: 8 frames, no chance, 512 tokens; VideoChat2: 16 frames). The questions are
//! our own: they ask for what a text-to-video model can learn from (subject, action, place, camera),
//! in the order of importance and in at most 90 words, since a text encoder cuts the end off (the T5 of
//! EasyAnimate V3 after 120 tokens).

use serde_json::{Value as Json, json};

use super::{Answer, Prompt, Sampling};

/// How a request is laid out for a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Pictures before the question, as most open models were trained.
    pub media_first: bool,
    /// `Frame 1:` before each picture, so that the model knows they follow each other.
    pub label_frames: bool,
    /// OpenAI's `detail` of a picture: `low` is 85 tokens each.
    pub detail: Option<String>,
    /// Whether the longest answer is called `max_completion_tokens`: OpenAI's newer models refuse
    /// `max_tokens`, others know only that.
    pub newer_token_limit: bool,
    /// Whether chance is left to the server: OpenAI's reasoning models refuse a temperature.
    pub fixed_sampling: bool,
}

impl Style {
    /// What of it decides the answer.
    pub(super) fn describe(&self) -> Json {
        let Self { media_first, label_frames, detail, newer_token_limit: _, fixed_sampling } = self;
        json!([media_first, label_frames, detail, fixed_sampling])
    }
}

/// Settings that suit a family of models.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The word in the recipe.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Frames of a clip, evenly spread.
    pub frames: usize,
    /// Longer side of a frame in pixels.
    pub max_side: u32,
    /// Quality of the JPEGs, 1 to 100.
    pub jpeg_quality: u8,
    /// Whether the clip itself is sent (`video_url`) instead of frames.
    pub video: bool,
    /// The question.
    pub prompt: Prompt,
    /// How words are chosen.
    pub sampling: Sampling,
    /// The form of the answer.
    pub answer: Answer,
    /// How a request is laid out.
    pub style: Style,
}

const DESCRIBE_FRAMES: &str = "These are frames of one short video clip, in the order of time. \
Describe the clip in one paragraph of 40 to 90 words, in plain English. Begin with the main subject \
and what it does, and how that changes from the first frame to the last. Then say where it takes \
place and what is in the background, how it is lit and coloured, and how the camera moves, if it does. \
State only what can be seen. Do not mention frames, images or the video itself, and give no opinion.";

const DESCRIBE_VIDEO: &str = "Describe this short video clip in one paragraph of 40 to 90 words, in \
plain English. Begin with the main subject and what it does, from beginning to end. Then say where it \
takes place and what is in the background, how it is lit and coloured, and how the camera moves, if it \
does. State only what can be seen. Do not mention the video itself, and give no opinion.";

/// The names of all presets.
pub const NAMES: &[&str] =
    &["openai", "qwen-vl", "qwen-vl-video", "internvl", "vila-1.5", "videochat2"];

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<Preset> {
    let (name, summary) = match name {
        "openai" => ("openai", "OpenAI and servers like it: 8 small frames, JSON answers"),
        "qwen-vl" => ("qwen-vl", "Qwen2.5-VL, Qwen3-VL: 8 frames"),
        "qwen-vl-video" => ("qwen-vl-video", "Qwen2.5-VL, Qwen3-VL: the clip itself, on vLLM"),
        "internvl" => ("internvl", "InternVL2, InternVL3: 8 numbered frames of one tile"),
        "vila-1.5" => ("vila-1.5", "VILA-1.5, NVILA: 8 frames"),
        "videochat2" => ("videochat2", "VideoChat2, the paper's captioner: 16 small frames"),
        _ => return None,
    };
    let open = Style { media_first: true, ..Style::default() };
    let base = Preset {
        name,
        summary,
        frames: 8,
        max_side: 512,
        jpeg_quality: 85,
        video: false,
        prompt: Prompt::new(DESCRIBE_FRAMES),
        sampling: Sampling::default(),
        answer: Answer::Json,
        style: open.clone(),
    };
    Some(match name {
        "openai" => Preset {
            prompt: Prompt {
                system: Some("You write captions that a text-to-video model is trained on.".into()),
                text: DESCRIBE_FRAMES.to_owned(),
            },
            style: Style { detail: Some("low".to_owned()), ..Style::default() },
            ..base
        },
        "qwen-vl-video" => Preset { video: true, prompt: Prompt::new(DESCRIBE_VIDEO), ..base },
        // One tile of 448 pixels for each frame.
        "internvl" => Preset { max_side: 448, style: Style { label_frames: true, ..open }, ..base },
        // Its servers know no schemas.
        "vila-1.5" => Preset { max_side: 384, answer: Answer::Text, ..base },
        "videochat2" => Preset {
            frames: 16,
            max_side: 384,
            answer: Answer::Text,
            sampling: Sampling { max_tokens: 256, ..base.sampling },
            ..base
        },
        _ => base,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_preset() {
        for name in NAMES {
            let preset = preset(name).unwrap();
            assert_eq!(&preset.name, name);
            assert!(preset.frames > 0 && preset.max_side >= 384, "{name}");
            assert!(preset.prompt.text.split_whitespace().count() > 40, "{name}");
            assert_eq!(preset.video, name.ends_with("video"), "{name}");
        }
        assert_eq!(preset("gpt"), None);
    }
}
