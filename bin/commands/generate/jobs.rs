//! Which clips are wanted and where each goes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use curate_models::generate::Task;
use serde::Deserialize;

use super::args::{Form, GenerateArgs};
use crate::UsageError;

/// A clip that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    /// The file, or the folder of its pictures.
    pub(super) target: PathBuf,
    /// Whether it is a folder.
    is_folder: bool,
}

impl Job {
    /// The JSON file beside it. What stands behind a dot in a folder's name is no ending.
    pub(super) fn sidecar(&self) -> PathBuf {
        if !self.is_folder {
            return self.target.with_extension("json");
        }
        let mut name = self.target.clone().into_os_string();
        name.push(".json");
        name.into()
    }
}

/// A line of a file of prompts. Other columns say something to others.
#[derive(Debug, Deserialize)]
struct Line {
    prompt: String,
    negative: Option<String>,
    seed: Option<u64>,
}

/// The longest part of a prompt in a file's name.
const NAME_LETTERS: usize = 48;

/// What is asked for of one clip.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) prompt: String,
    /// `None`: what the model's card says.
    pub(super) negative: Option<String>,
    pub(super) seed: u64,
    /// What its file is called, without an ending.
    pub(super) name: String,
}

/// What is asked for, one after the other.
pub(super) fn asked(args: &GenerateArgs) -> anyhow::Result<Vec<Asked>> {
    let mut all: Vec<Asked> = Vec::new();
    let mut add = |line: Line, name: Option<String>| {
        let Line { prompt, negative, seed } = line;
        let seed = seed.unwrap_or_else(|| args.seed.wrapping_add(all.len() as u64));
        let name = name.unwrap_or_else(|| format!("{}-{seed}", slug(&prompt)));
        let negative = negative.or_else(|| args.negative.clone());
        all.push(Asked { prompt, negative, seed, name });
    };
    for words in &args.words {
        add(Line { prompt: words.clone(), negative: None, seed: None }, None);
    }
    if let Some(path) = &args.prompts {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--prompts: cannot read {shown}: {error}")))?;
        // The mark that some editors put first.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        for (index, (number, line)) in lines.enumerate() {
            let line = line.trim();
            if is_array(line) {
                return Err(UsageError(format!(
                    "--prompts: line {number} of {shown} is an array: write a line for each prompt"
                ))
                .into());
            }
            let line = if line.starts_with('{') {
                serde_json::from_str(line).map_err(|error| {
                    UsageError(format!("--prompts: line {number} of {shown}: {error}"))
                })?
            } else {
                Line { prompt: line.to_owned(), negative: None, seed: None }
            };
            add(line, Some(format!("{index:04}")));
        }
    }
    if all.is_empty() {
        let advice = "say what is to be seen: curate generate --model FOLDER \"a prompt\", or \
                      --prompts FILE";
        return Err(UsageError(advice.to_owned()).into());
    }
    Ok(all)
}

/// Whether a line is an array of JSON, or begins one. A prompt may well begin with a word in brackets.
fn is_array(line: &str) -> bool {
    line == "[" || serde_json::from_str::<Vec<serde::de::IgnoredAny>>(line).is_ok()
}

/// What of a prompt may stand in a file's name.
fn slug(prompt: &str) -> String {
    let mut name = String::new();
    for letter in prompt.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() {
            name.push(letter);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
        if name.chars().count() >= NAME_LETTERS {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "clip".to_owned() } else { name.to_owned() }
}

/// Endings of films and pictures that are not written. Whoever gives one means a file, not a folder.
const OTHERS: [&str; 18] = [
    "apng", "avi", "avif", "bmp", "flv", "jpeg", "jpg", "m4v", "mkv", "mov", "mpeg", "mpg", "ogv",
    "tif", "tiff", "webm", "webp", "wmv",
];

/// The ending of a file's name in small letters. A folder that is there has none.
fn ending(output: &Path) -> Option<String> {
    let ending = output.extension().filter(|_| !output.is_dir())?;
    Some(ending.to_str()?.to_ascii_lowercase())
}

/// The form that is meant, by option, by the output's name, by the number of frames.
pub(super) fn form(asked: Option<Form>, output: &Path, frames: usize) -> anyhow::Result<Form> {
    let by_name = match ending(output).as_deref() {
        Some("mp4") => Some(Form::Mp4),
        Some("gif") => Some(Form::Gif),
        Some("png") => Some(Form::Png),
        Some(other) if OTHERS.contains(&other) => {
            return Err(UsageError(format!(
                "--output {}: .{other} is not written; name a file .mp4, .gif or .png, or a folder",
                output.display()
            ))
            .into());
        }
        _ => None,
    };
    match (asked, by_name) {
        (Some(asked), Some(named)) if asked != named => Err(UsageError(format!(
            "--format {} and --output {} contradict each other",
            asked.ending(),
            output.display()
        ))
        .into()),
        (asked, named) => {
            let usual = if frames == 1 { Form::Png } else { Form::Mp4 };
            Ok(asked.or(named).unwrap_or(usual))
        }
    }
}

/// Where each clip goes; `negative` is that of the model's card. `is_picture`: one frame each.
pub(super) fn place(
    asked: Vec<Asked>,
    negative: &str,
    output: &Path,
    (form, is_picture): (Form, bool),
) -> anyhow::Result<Vec<Job>> {
    let tasks = asked.into_iter().map(|asked| {
        let negative = asked.negative.unwrap_or_else(|| negative.to_owned());
        (Task { prompt: asked.prompt, negative, seed: asked.seed }, asked.name)
    });
    let tasks: Vec<(Task, String)> = tasks.collect();
    let is_file = ending(output).is_some_and(|ending| ending == form.ending());
    if is_file {
        if form == Form::Png && !is_picture {
            return Err(UsageError(format!(
                "--output {}: a clip is many pictures; name a folder and --format png, or make one \
                 frame with --frames 1",
                output.display()
            ))
            .into());
        }
        let count = tasks.len();
        let mut tasks = tasks.into_iter().map(|(task, _)| task);
        return match (tasks.next(), count) {
            (Some(task), 1) => Ok(vec![Job { task, target: output.to_owned(), is_folder: false }]),
            _ => Err(UsageError(format!(
                "--output {} is one file and there are {count} prompts: name a folder",
                output.display()
            ))
            .into()),
        };
    }
    let is_folder = form == Form::Png && !is_picture;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let jobs = tasks.into_iter().enumerate().map(|(index, (task, name))| {
        if let Some(other) = seen.insert(name.clone(), index) {
            return Err(UsageError(format!(
                "prompts {} and {} would both be written to {name}: give them different seeds",
                other + 1,
                index + 1
            ))
            .into());
        }
        let name = if is_folder { name } else { format!("{name}.{}", form.ending()) };
        Ok(Job { task, target: output.join(name), is_folder })
    });
    jobs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_letters_and_digits() {
        assert_eq!(slug("A red square, moving left!"), "a-red-square-moving-left");
        assert_eq!(slug("../../etc"), "etc");
        assert_eq!(slug("  "), "clip");
        assert!(slug(&"long words ".repeat(30)).len() <= 48);
    }

    #[test]
    fn a_record_has_the_whole_name_of_a_folder() {
        let record = |name: &str, form, is_picture| {
            let asked = Asked { prompt: "x".into(), negative: None, seed: 0, name: name.into() };
            let jobs = place(vec![asked], "", Path::new("out"), (form, is_picture)).unwrap();
            jobs[0].sidecar()
        };
        for name in ["r", "r.v2"] {
            let wanted = Path::new("out").join(format!("{name}.json"));
            assert_eq!(record(name, Form::Png, false), wanted);
            assert_eq!(record(name, Form::Png, true), wanted);
            assert_eq!(record(name, Form::Mp4, false), wanted);
        }
    }

    #[test]
    fn an_array_is_no_prompt_and_words_in_brackets_are() {
        assert!(is_array("[") && is_array("[]") && is_array(r#"["a dog", {"prompt": "a cat"}]"#));
        assert!(!is_array("[cinematic] a dog") && !is_array("a dog [1]") && !is_array("{}"));
    }
}
