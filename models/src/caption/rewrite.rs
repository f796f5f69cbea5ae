//! The second pass: a language model tidies a caption, or spells out a prompt for generation.
//!
//! EasyAnimate rewrites captions with Llama 3.1 (temperature 0.7, JSON answers, at most ten tries,
//! answers that repeat the template thrown away) so that they say what is to be seen and nothing
//! about the video or the writer's feelings; the same step expands a user's few words before
//! generation. The rules here are those, in our own words.
//!
//! An answer is taken only when it passes checks that need no model: no refusal, no template, no
//! loop, no piece of the instructions, of a sensible length, and, for captions, no number and no name
//! that the original does not have. That finds the coarse inventions, not all. When no answer passes,
//! the original stays: a caption is never lost to its improvement.

use std::fmt;

use super::{
    Answer, CaptionError, Client, Media, Prompt, Request, Sampling,
    flags::{refusal, repetition, template, truncated, words},
};

/// Where the text goes in a prompt of one's own; without it the text is put after the prompt.
pub const PLACE: &str = "{caption}";

/// What the text is rewritten for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A caption to train on: nothing may be added.
    Caption,
    /// A prompt to generate from: it shall become richer.
    Expand,
}

/// How texts are rewritten.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// What for.
    pub task: Task,
    /// The rules; [`PLACE`] marks where the text goes.
    pub prompt: Prompt,
    /// How words are chosen.
    pub sampling: Sampling,
    /// Answers that are asked for at most, each with another seed.
    pub attempts: u32,
    /// Most words of the result.
    pub max_words: usize,
}

const CAPTION_RULES: &str = "Rewrite the caption below so that a text-to-video model can learn from \
it. Keep the main subject, what it does, the background, the light and how the camera moves. Say what \
is to be seen as a plain statement: no sentence may speak of a video, a clip, frames or images, or of a \
viewer. Leave out opinions, guesses, moods, and what the caption says is absent. Add nothing: every \
thing, number and name must be in the caption. Write one paragraph in English that is no longer than \
the caption.";

const EXPAND_RULES: &str = "Spell out the idea below as a prompt for a text-to-video model. Keep all \
that it says, and add what is needed to picture it: how the subject looks and moves from beginning to \
end, the place and the background, light and colors, and what the camera does. Describe one continuous \
shot as a plain statement, without speaking of a video or a viewer. Write one paragraph in English of at \
most 150 words.";

impl Rewrite {
    /// For captions, with the released settings but fewer tries.
    #[must_use]
    pub fn captions() -> Self {
        let sampling = Sampling { temperature: 0.7, max_tokens: 1024, ..Sampling::default() };
        let prompt = Prompt::new(CAPTION_RULES);
        Self { task: Task::Caption, prompt, sampling, attempts: 4, max_words: 200 }
    }

    /// For prompts to generate from: at most 200 words, as the release has it.
    #[must_use]
    pub fn prompts() -> Self {
        Self { task: Task::Expand, prompt: Prompt::new(EXPAND_RULES), ..Self::captions() }
    }

    /// Rewrites one text. `id` is the clip's, or any name of the text.
    ///
    /// # Errors
    /// Only when nothing can be asked any more. What concerns this text alone leaves the original and
    /// is told in [`Rewritten::problem`].
    pub async fn run(
        &self,
        client: &Client,
        id: &str,
        text: &str,
    ) -> Result<Rewritten, CaptionError> {
        let prompt_hash = client.prompt_hash(&self.request("", "", 0));
        let kept = |attempts, problem| Rewritten {
            text: text.to_owned(),
            model: None,
            prompt_hash: prompt_hash.clone(),
            attempts,
            problem: Some(problem),
        };
        let mut attempt = 0;
        loop {
            let answer = client.ask(&self.request(id, text, attempt)).await;
            attempt += 1;
            let problem = match answer {
                Ok(reply) => match self.check(text, &reply.text, reply.truncated) {
                    Ok(()) => {
                        return Ok(Rewritten {
                            text: reply.text,
                            model: Some(reply.model),
                            prompt_hash,
                            attempts: attempt,
                            problem: None,
                        });
                    }
                    Err(unfit) => Problem::Unfit(unfit),
                },
                // The client has tried this one often enough, and another seed changes nothing.
                Err(CaptionError::Clip(fault)) => {
                    return Ok(kept(attempt, Problem::Fault(fault.to_string())));
                }
                Err(fault @ CaptionError::Run(_)) => return Err(fault),
            };
            if attempt >= self.attempts {
                return Ok(kept(attempt, problem));
            }
        }
    }

    fn request(&self, id: &str, text: &str, attempt: u32) -> Request {
        let text = text.trim();
        let question = if self.prompt.text.contains(PLACE) {
            self.prompt.text.replace(PLACE, text)
        } else {
            let name = match self.task {
                Task::Caption => "Caption",
                Task::Expand => "Idea",
            };
            format!("{}\n\n{name}: {text}", self.prompt.text)
        };
        // The same seed would bring the same answer, from the cache at the latest.
        let seed = Some(self.sampling.seed.unwrap_or_default() + u64::from(attempt));
        Request {
            clip_id: id.to_owned(),
            part: "rewrite".to_owned(),
            media: Media::None,
            prompt: Prompt { system: self.prompt.system.clone(), text: question },
            sampling: Sampling { seed, ..self.sampling },
            answer: Answer::StrictJson,
        }
    }

    /// Whether an answer may stand in for the original.
    fn check(&self, original: &str, text: &str, is_cut: bool) -> Result<(), Unfit> {
        let (before, after) = (words(original), words(text));
        let is_too_short = match self.task {
            Task::Caption => after * 3 < before,
            Task::Expand => after < before,
        };
        // What is much longer than the original has been added to.
        let most = match self.task {
            Task::Caption => self.max_words.min(before + before / 2 + 5),
            Task::Expand => self.max_words,
        };
        if is_cut {
            Err(Unfit::Cut)
        } else if refusal(text) {
            Err(Unfit::Refusal)
        } else if template(text) {
            Err(Unfit::Template)
        } else if self.is_echo(original, text) {
            Err(Unfit::Echo)
        } else if repetition(text) > 0.3 {
            Err(Unfit::Repetition)
        } else if after > most || is_too_short || after == 0 {
            Err(Unfit::Length(after))
        } else if truncated(text) {
            Err(Unfit::Cut)
        } else if let (Task::Caption, Some(word)) = (self.task, invented(original, text)) {
            Err(Unfit::Invented(word))
        } else {
            Ok(())
        }
    }

    /// Whether it repeats the instructions, or the idea that it should spell out.
    fn is_echo(&self, original: &str, text: &str) -> bool {
        let clean = |text: &str| {
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect::<Vec<_>>()
        };
        let (rules, own, text) = (clean(&self.prompt.text), clean(original), clean(text));
        // Eight words in a row are no chance, unless the original has them as well.
        const RUN: usize = 8;
        let has = |words: &[String], run: &[String]| words.windows(RUN).any(|other| other == run);
        text.windows(RUN).any(|run| has(&rules, run) && !has(&own, run))
            || self.task == Task::Expand && text == own
            || text.len() < 4 && text.iter().all(|word| word == "caption" || word == "text")
    }
}

/// A number or name in `text` that is not in `original`.
fn invented(original: &str, text: &str) -> Option<String> {
    let known: Vec<String> = original
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut begins = true;
    for word in text.split_whitespace() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let core = core.strip_suffix("'s").or(core.strip_suffix("\u{2019}s")).unwrap_or(core);
        let is_name = !begins && core.chars().next().is_some_and(char::is_uppercase) && core != "I";
        let is_number = core.chars().any(|c| c.is_ascii_digit());
        if is_name || is_number {
            let parts = core.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
            let lower: Vec<String> = parts.map(str::to_lowercase).collect();
            if lower.iter().any(|part| !known.contains(part)) {
                return Some(core.to_owned());
            }
        }
        begins = word.ends_with(['.', '!', '?', ':', '"', '”']);
    }
    None
}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// The end is missing.
    Cut,
    /// The model would not.
    Refusal,
    /// It speaks of the video, or to the reader.
    Template,
    /// It repeats the instructions.
    Echo,
    /// It says the same again and again.
    Repetition,
    /// So many words are too many or too few.
    Length(usize),
    /// A number or name that is not in the original.
    Invented(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the answer was cut off"),
            Self::Refusal => f.write_str("the model refused"),
            Self::Template => f.write_str("the answer speaks of the video or to the reader"),
            Self::Echo => f.write_str("the answer repeats what was asked"),
            Self::Repetition => f.write_str("the answer repeats itself"),
            Self::Length(words) => write!(f, "the answer has {words} words"),
            Self::Invented(word) => write!(f, "`{word}` is not in the original"),
        }
    }
}

/// Why the original was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// No answer was fit; this is the last one's reason.
    Unfit(Unfit),
    /// There was no answer.
    Fault(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Fault(fault) => f.write_str(fault),
        }
    }
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// The new text, or the original where no answer was fit.
    pub text: String,
    /// Who wrote the new text; `None` for the original.
    pub model: Option<String>,
    /// Hash of the rules and the settings.
    pub prompt_hash: String,
    /// Answers that were asked for.
    pub attempts: u32,
    /// Why the original was kept.
    pub problem: Option<Problem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &str = "The video shows a brown dog named Rex that runs past 3 boats on a beach \
         in Lisbon, which is beautiful, while the camera pans to the left.";

    fn check(text: &str) -> Result<(), Unfit> {
        Rewrite::captions().check(ORIGINAL, text, false)
    }

    #[test]
    fn fit_answers_pass() {
        for text in [
            "A brown dog named Rex runs past 3 boats on a beach in Lisbon. The camera pans left.",
            "On a beach in Lisbon, Rex, a brown dog, runs past boats.",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert!(Rewrite::captions().check(ORIGINAL, "A dog", true).is_err());
    }

    #[test]
    fn unfit_answers_are_told_apart() {
        let invented = |word: &str| Err(Unfit::Invented(word.to_owned()));
        assert_eq!(check("A brown dog runs past 4 boats on a beach in Lisbon."), invented("4"));
        assert_eq!(
            check("A brown dog runs along a beach in Porto, past boats."),
            invented("Porto")
        );
        assert_eq!(check(ORIGINAL), Err(Unfit::Template));
        assert_eq!(check("I'm sorry, I cannot do this."), Err(Unfit::Refusal));
        assert_eq!(check("A brown dog."), Err(Unfit::Length(3)));
        assert_eq!(check(&format!("A {}", "dog runs far ".repeat(20))), Err(Unfit::Repetition));
        let echo = "Leave out opinions, guesses, moods, and what the caption says is absent.";
        assert_eq!(check(echo), Err(Unfit::Echo));
        assert_eq!(check("caption text"), Err(Unfit::Echo));
    }

    #[test]
    fn a_prompt_must_become_richer() {
        let expand = Rewrite::prompts();
        let check = |text: &str| expand.check("a dog on a beach", text, false);
        assert_eq!(check("A dog, on a beach."), Err(Unfit::Echo));
        assert_eq!(check("A dog."), Err(Unfit::Length(2)));
        assert_eq!(
            check("A brown dog trots along a beach near Lisbon at 6 in the morning."),
            Ok(())
        );
    }

    #[test]
    fn each_try_is_another_question_with_the_text_in_its_place() {
        let mut rewrite = Rewrite::captions();
        let first = rewrite.request("a", " A dog. ", 0);
        assert!(first.prompt.text.ends_with("\n\nCaption: A dog."));
        assert_ne!(first.sampling, rewrite.request("a", "A dog.", 1).sampling);
        rewrite.prompt = Prompt::new("Shorten {caption} please.");
        assert_eq!(rewrite.request("a", "A dog.", 0).prompt.text, "Shorten A dog. please.");
    }
}
