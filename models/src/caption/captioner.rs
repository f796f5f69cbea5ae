//! Captions for clips, many at a time, for a caller that waits: the client with its second passes.
//!
//! The requests of a batch run on a runtime of their own, on the caller's thread: the thread that
//! owns the connection does nothing else, and no other work can hold up the answers.

use std::{io, time::Duration};

use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    Answer, CaptionError, Client, Media, Prompt, Request, Sampling, Stats,
    rewrite::{Problem, Rewrite},
    summary::Summary,
};

/// How often to look whether the run is over.
const LOOK: Duration = Duration::from_millis(100);

/// What is asked about every clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The question.
    pub prompt: Prompt,
    /// How words are chosen.
    pub sampling: Sampling,
    /// The form of the answer.
    pub answer: Answer,
    /// Describes frames one by one and makes a caption of the descriptions, for models that see one
    /// picture at a time.
    pub summary: Option<Summary>,
}

/// A clip to be captioned.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The clip.
    pub clip_id: String,
    /// What the model gets to see.
    pub media: Media,
}

/// A caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// The text to train on.
    pub text: String,
    /// The text before it was rewritten, where it was.
    pub raw: Option<String>,
    /// Who wrote it.
    pub model: String,
    /// Hash of prompts and settings.
    pub prompt_hash: String,
    /// Whether it stopped because it was too long.
    pub is_cut: bool,
    /// Why it was not rewritten although it should have been.
    pub problem: Option<Problem>,
}

/// Asks for captions and waits for them.
pub struct Captioner {
    runtime: Runtime,
    client: Client,
    question: Question,
    rewrite: Option<(Rewrite, Client)>,
}

impl Captioner {
    /// A captioner that asks `client`, and another one to rewrite what it says.
    ///
    /// # Errors
    /// When the system has no threads or sockets left.
    pub fn new(
        client: Client,
        question: Question,
        rewrite: Option<(Rewrite, Client)>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client, question, rewrite })
    }

    /// What the client has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }

    /// Captions in the order of the clips. After a fault of the run the remaining clips get it too.
    /// `None` as soon as `is_over` says so: what is under way is given up.
    pub fn captions(
        &self,
        asks: Vec<Ask>,
        is_over: impl Fn() -> bool,
    ) -> Option<Vec<Result<Caption, CaptionError>>> {
        self.runtime.block_on(async {
            let mut results: Vec<Option<Result<Caption, CaptionError>>> = Vec::new();
            results.resize_with(asks.len(), || None);
            let mut tasks = JoinSet::new();
            for (index, ask) in asks.into_iter().enumerate() {
                let (client, question) = (self.client.clone(), self.question.clone());
                let rewrite = self.rewrite.clone();
                tasks.spawn(async move {
                    (index, caption(&client, &question, rewrite.as_ref(), ask).await)
                });
            }
            let mut look = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    done = tasks.join_next() => match done {
                        Some(Ok((index, result))) => results[index] = Some(result),
                        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                        None => break,
                    },
                    _ = look.tick() => {
                        if is_over() {
                            return None;
                        }
                    }
                }
            }
            Some(results.into_iter().flatten().collect())
        })
    }
}

async fn caption(
    client: &Client,
    question: &Question,
    rewrite: Option<&(Rewrite, Client)>,
    ask: Ask,
) -> Result<Caption, CaptionError> {
    let reply = match &question.summary {
        Some(summary) => summary.run(client, client, &ask.clip_id, &ask.media).await?.reply,
        None => {
            let request = Request {
                clip_id: ask.clip_id.clone(),
                part: String::new(),
                media: ask.media,
                prompt: question.prompt.clone(),
                sampling: question.sampling,
                answer: question.answer,
            };
            client.ask(&request).await?
        }
    };
    let mut caption = Caption {
        text: reply.text,
        raw: None,
        model: reply.model,
        prompt_hash: reply.prompt_hash,
        is_cut: reply.truncated,
        problem: None,
    };
    if let Some((rewrite, writer)) = rewrite {
        let done = rewrite.run(writer, &ask.clip_id, &caption.text).await?;
        caption.prompt_hash = format!("{}+{}", caption.prompt_hash, done.prompt_hash);
        caption.problem = done.problem;
        if let Some(model) = done.model {
            caption.model = format!("{} + {model}", caption.model);
            caption.raw = Some(std::mem::replace(&mut caption.text, done.text));
            caption.is_cut = false;
        }
    }
    Ok(caption)
}
