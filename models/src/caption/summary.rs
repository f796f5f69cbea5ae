//! Captions by models that see one picture at a time: each frame is described, and a language model
//! makes one caption of the descriptions. That is how EasyAnimate V3 was released (LLaVA on frames,
//! then Qwen1.5-7B-Chat at temperature 0.8, top_p 0.95, at most 100 words); for servers that take no
//! video and not several pictures.
//!
//! Unlike there, several frames are described and not the middle one only, so that there is something
//! to say about motion, and the summary does not begin with the words "In this video".

use super::{
    Answer, CaptionError, Client, ClipFault, Media, Prompt, Reply, Request, Sampling, Usage,
};

/// How frames become a caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The question about a frame.
    pub frame_prompt: Prompt,
    /// How words are chosen for frames.
    pub frame_sampling: Sampling,
    /// The question about the descriptions, which follow it.
    pub prompt: Prompt,
    /// How words are chosen for the caption.
    pub sampling: Sampling,
    /// The form of the answers.
    pub answer: Answer,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            frame_prompt: Prompt::new(
                "Describe what is to be seen in this picture in two or three sentences: the main \
                     subject and what it does, the place, the light.",
            ),
            frame_sampling: Sampling { max_tokens: 256, ..Sampling::default() },
            prompt: Prompt::new(
                "Below are descriptions of pictures that were taken one after the other of the same \
                     short scene. Write one caption for the scene, of at most 100 words: what is \
                     there, what happens from beginning to end, and where. Take only what the \
                     descriptions agree on, and say how things change where they change. Do not \
                     mention pictures, descriptions or a video.",
            ),
            sampling: Sampling {
                temperature: 0.8,
                top_p: Some(0.95),
                max_tokens: 256,
                seed: Some(0),
            },
            answer: Answer::Json,
        }
    }
}

/// A caption with what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Summarised {
    /// The caption; its usage is that of all questions together.
    pub reply: Reply,
    /// The descriptions, in the order of the frames.
    pub frames: Vec<String>,
}

impl Summary {
    /// Describes each frame by `pictures` and makes a caption by `words` (which may be the same).
    ///
    /// # Errors
    /// When a question fails: a caption from some of the frames would look like one from all.
    pub async fn run(
        &self,
        pictures: &Client,
        words: &Client,
        clip_id: &str,
        media: &Media,
    ) -> Result<Summarised, CaptionError> {
        let Media::Frames(frames) = media else {
            let problem = "there are no frames to describe".to_owned();
            return Err(ClipFault::BadReply { attempts: 0, problem }.into());
        };
        let questions = frames.iter().enumerate().map(|(index, frame)| Request {
            clip_id: clip_id.to_owned(),
            part: format!("frame-{}", index + 1),
            media: Media::Frames(vec![frame.clone()]),
            prompt: self.frame_prompt.clone(),
            sampling: self.frame_sampling,
            answer: self.answer,
        });
        let mut usage = Usage::default();
        let mut texts = Vec::with_capacity(frames.len());
        for reply in pictures.ask_all(questions.collect()).await {
            let reply = reply?;
            usage.prompt += reply.usage.prompt;
            usage.completion += reply.usage.completion;
            texts.push(reply.text);
        }
        let mut reply = words.ask(&self.question(clip_id, &texts)).await?;
        usage.prompt += reply.usage.prompt;
        usage.completion += reply.usage.completion;
        reply.usage = usage;
        reply.prompt_hash = self.prompt_hash(pictures, words, frames.len());
        Ok(Summarised { reply, frames: texts })
    }

    fn question(&self, clip_id: &str, texts: &[String]) -> Request {
        let list: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| format!("{}. {text}", index + 1))
            .collect();
        Request {
            clip_id: clip_id.to_owned(),
            part: "summary".to_owned(),
            media: Media::None,
            prompt: Prompt {
                text: format!("{}\n\n{}", self.prompt.text, list.join("\n")),
                ..self.prompt.clone()
            },
            sampling: self.sampling,
            answer: self.answer,
        }
    }

    /// Hash of both questions without the texts, which differ from clip to clip.
    fn prompt_hash(&self, pictures: &Client, words: &Client, frames: usize) -> String {
        let empty = || std::sync::Arc::from(&[][..]);
        let about_frame = Request {
            media: Media::Frames(vec![empty(); frames]),
            prompt: self.frame_prompt.clone(),
            sampling: self.frame_sampling,
            ..self.question("", &[])
        };
        let both = pictures.prompt_hash(&about_frame) + &words.prompt_hash(&self.question("", &[]));
        blake3::hash(both.as_bytes()).to_hex()[..32].to_owned()
    }
}
