//! What is asked about a clip, and what comes back.

use std::{path::Path, sync::Arc};

use serde_json::{Value as Json, json};

use super::Style;

/// Characters of the mark that stands for a clip in a structured answer.
const TAG_LEN: usize = 12;

/// What the model gets to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Nothing: a question about text.
    #[default]
    None,
    /// Frames in the order of time, as JPEG files.
    Frames(Vec<Arc<[u8]>>),
    /// The clip as an MP4 file, for servers that take `video_url`.
    Video(Arc<[u8]>),
}

impl Media {
    /// Bytes of the files.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Frames(frames) => frames.iter().map(|frame| frame.len()).sum(),
            Self::Video(video) => video.len(),
        }
    }

    fn describe(&self) -> Json {
        let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        match self {
            Self::None => Json::Null,
            Self::Frames(frames) => {
                json!({ "frames": frames.iter().map(|frame| hash(frame)).collect::<Vec<_>>() })
            }
            Self::Video(video) => json!({ "video": hash(video) }),
        }
    }
}

/// A prompt cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The file system refused.
    #[error("the prompt file {path:?} cannot be read: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the prompt file {path:?} is empty: write the question to the model into it")]
    Empty {
        /// The file.
        path: std::path::PathBuf,
    },
}

/// The words that go with the pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Who the model should be, in a message before the question.
    pub system: Option<String>,
    /// The question.
    pub text: String,
}

impl Prompt {
    /// A question without a system message.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { system: None, text: text.into() }
    }

    /// Reads a prompt from a text file. A line of three dashes parts a system message, which comes
    /// first, from the question.
    ///
    /// # Errors
    /// When the file cannot be read or holds no question.
    pub fn read(path: &Path) -> Result<Self, PromptError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PromptError::Io { path: path.to_owned(), source })?;
        let prompt = Self::parse(&text);
        if prompt.text.is_empty() {
            return Err(PromptError::Empty { path: path.to_owned() });
        }
        Ok(prompt)
    }

    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
        let join = |lines: &[&str]| lines.join("\n").trim().to_owned();
        match lines.iter().position(|line| line.trim() == "---") {
            Some(at) => {
                let system = Some(join(&lines[..at])).filter(|system| !system.is_empty());
                Self { system, text: join(&lines[at + 1..]) }
            }
            None => Self { system: None, text: join(&lines) },
        }
    }
}

/// How the model chooses its words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest word each time.
    pub temperature: f64,
    /// Chooses among the likeliest words that have this share together.
    pub top_p: Option<f64>,
    /// The longest answer.
    pub max_tokens: u32,
    /// For servers that can repeat their answers.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// What EasyAnimate's captioning uses: no chance, 512 tokens.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: None, max_tokens: 512, seed: None }
    }
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Plain text.
    Text,
    /// JSON by a schema, which makes the answer say whose it is; plain text from a server that knows
    /// no schemas.
    #[default]
    Json,
    /// JSON in any case; a server that knows no schemas is asked for it in words.
    StrictJson,
}

/// One question about one clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The clip it is about.
    pub clip_id: String,
    /// Which question about the clip, where there are several (`frame-3`, `rewrite`); else empty.
    pub part: String,
    /// What the model gets to see.
    pub media: Media,
    /// What it is asked.
    pub prompt: Prompt,
    /// How it chooses its words.
    pub sampling: Sampling,
    /// The form of the answer.
    pub answer: Answer,
}

impl Request {
    /// What goes with the request and should come back: the clip's id, and the part.
    pub(super) fn mark(&self) -> String {
        match self.part.as_str() {
            "" => self.clip_id.clone(),
            part => format!("{}.{part}", self.clip_id),
        }
    }

    /// A short stand-in for the mark, which a model can repeat in its answer for a few tokens.
    pub(super) fn tag(&self) -> String {
        blake3::hash(self.mark().as_bytes()).to_hex()[..TAG_LEN].to_owned()
    }

    /// Hash of prompt and settings: of everything that is asked but the clip. For `prompt_hash`.
    #[must_use]
    pub fn prompt_hash(&self, model: &str, style: &Style) -> String {
        hash(&self.describe(model, style, &self.shape()))
    }

    /// Hash of everything that decides the answer, the content of the clip included and its id not:
    /// copies of a clip share their answer.
    pub(super) fn content_key(&self, model: &str, style: &Style) -> String {
        hash(&self.describe(model, style, &self.media.describe()))
    }

    fn shape(&self) -> Json {
        match &self.media {
            Media::None => Json::Null,
            Media::Frames(frames) => json!({ "frames": frames.len() }),
            Media::Video(_) => json!("video"),
        }
    }

    fn describe(&self, model: &str, style: &Style, media: &Json) -> Json {
        let Sampling { temperature, top_p, max_tokens, seed } = self.sampling;
        json!({
            "form": 1,
            "model": model,
            "style": style.describe(),
            "system": self.prompt.system,
            "prompt": self.prompt.text,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            "answer": format!("{:?}", self.answer),
            "media": media,
        })
    }
}

/// Objects of `serde_json` are sorted by their keys here or, with `preserve_order`, as written above;
/// hence the explicit order.
fn hash(fields: &Json) -> String {
    let mut hasher = blake3::Hasher::new();
    if let Json::Object(map) = fields {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, value) in entries {
            for text in [key.clone(), value.to_string()] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, pictures included.
    pub prompt: u64,
    /// Tokens written.
    pub completion: u64,
}

/// An answer that is known to be for its clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The clip that the request was about.
    pub clip_id: String,
    /// The text, without the wrapping of a structured answer.
    pub text: String,
    /// The model's name as the server gives it, else as it was asked for.
    pub model: String,
    /// Whether the answer stopped because it was too long.
    pub truncated: bool,
    /// Whether the server itself repeated whose answer it is, beside answering on the same
    /// connection.
    pub confirmed: bool,
    /// Whether it was remembered from an earlier run (and cost nothing).
    pub from_cache: bool,
    /// What it cost when it was made.
    pub usage: Usage,
    /// Hash of prompt and settings.
    pub prompt_hash: String,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::caption) fn request(clip_id: &str) -> Request {
        Request {
            clip_id: clip_id.to_owned(),
            part: String::new(),
            media: Media::Frames(vec![Arc::from(clip_id.as_bytes())]),
            prompt: Prompt::new("What is there?"),
            sampling: Sampling::default(),
            answer: Answer::Json,
        }
    }

    #[test]
    fn a_prompt_file_may_have_a_system_message() {
        let prompt = Prompt::parse("\u{feff}You see well.\n---\n\nWhat is there?\nAnd where?\n");
        assert_eq!(prompt.system.as_deref(), Some("You see well."));
        assert_eq!(prompt.text, "What is there?\nAnd where?");
        assert_eq!(Prompt::parse("\n Look! \n"), Prompt::new("Look!"));
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("prompt.txt");
        std::fs::write(&path, "system\n---\n").unwrap();
        assert!(matches!(Prompt::read(&path), Err(PromptError::Empty { .. })));
        assert!(matches!(Prompt::read(folder.path()), Err(PromptError::Io { .. })));
    }

    #[test]
    fn hashes_change_with_what_matters() {
        let style = Style::default();
        let first = request("a");
        let key = |request: &Request| request.content_key("m", &style);
        let prompt = |request: &Request| request.prompt_hash("m", &style);
        // Another clip of the same content.
        let copy = Request { clip_id: "b".to_owned(), ..first.clone() };
        assert_eq!(key(&first), key(&copy));
        assert_ne!(first.tag(), copy.tag());
        let other = request("b");
        assert_ne!(key(&first), key(&other));
        assert_eq!(prompt(&first), prompt(&other));
        let changes = [
            Request { prompt: Prompt::new("Who?"), ..first.clone() },
            Request { sampling: Sampling { max_tokens: 1, ..first.sampling }, ..first.clone() },
            Request { sampling: Sampling { seed: Some(1), ..first.sampling }, ..first.clone() },
            Request { answer: Answer::Text, ..first.clone() },
        ];
        for changed in changes {
            assert_ne!(key(&first), key(&changed));
            assert_ne!(prompt(&first), prompt(&changed));
        }
        assert_ne!(key(&first), first.content_key("n", &style));
        let labelled = Style { label_frames: true, ..Style::default() };
        assert_ne!(key(&first), first.content_key("m", &labelled));
        assert_eq!(key(&first).len(), 32);
    }
}
