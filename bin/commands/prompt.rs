//! `curate prompt`: spells out short prompts for generation, by a language model behind a server. The
//! rules and the client are those of the captions' second pass.

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
};

use curate_models::caption::{Client, ClientConfig, Endpoint, Prompt, Secret, rewrite::Rewrite};

use crate::{Exit, UsageError, env, progress::say};

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) words: Vec<String>,
    pub(crate) endpoint: String,
    pub(crate) model: String,
    pub(crate) api_key_env: Option<String>,
    pub(crate) rules: Option<PathBuf>,
}

pub(crate) async fn prompt(choice: &Choice) -> anyhow::Result<Exit> {
    let key = match &choice.api_key_env {
        None => None,
        Some(name) => Some(Secret::new(&env::variable(name).ok_or_else(|| {
            UsageError(format!("--api-key-env: the environment variable `{name}` is not set"))
        })?)),
    };
    let endpoint =
        Endpoint { url: choice.endpoint.clone(), key, key_name: choice.api_key_env.clone() };
    let client = Client::new(ClientConfig::new(&choice.model, endpoint), None)
        .map_err(|error| UsageError(format!("--endpoint: {error}")))?;
    let mut rewrite = Rewrite::prompts();
    if let Some(path) = &choice.rules {
        rewrite.prompt = Prompt::read(path).map_err(|error| UsageError(error.to_string()))?;
    }
    let texts = if choice.words.is_empty() {
        let lines: Result<Vec<String>, _> = std::io::stdin().lock().lines().collect();
        lines?
    } else {
        vec![choice.words.join(" ")]
    };
    let mut unchanged = 0;
    for (index, text) in texts.iter().filter(|text| !text.trim().is_empty()).enumerate() {
        let done = rewrite.run(&client, &format!("prompt-{}", index + 1), text.trim()).await?;
        if let Some(problem) = &done.problem {
            unchanged += 1;
            say(&format!("prompt {} is left as it was: {problem}", index + 1));
        }
        writeln!(std::io::stdout(), "{}", done.text)?;
    }
    Ok(if unchanged > 0 { Exit::Partial } else { Exit::Complete })
}
