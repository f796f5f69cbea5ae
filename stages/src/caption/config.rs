//! What a recipe says about captions, and its checks.

use std::path::PathBuf;

use curate_models::caption::{
    Budget, Endpoint, Price, Prompt, Sampling, Secret, Spent, flags,
    preset::{NAMES, Preset, preset},
    rewrite::Rewrite,
    source,
    summary::Summary,
};
use curate_pipeline::{Problems, Surroundings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Who writes captions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A plain sentence from measured values.
    #[default]
    Attributes,
    /// Text that came with the data: a file beside the video, or a manifest's column.
    Source,
    /// BLIP (base) on this machine's processor: a sentence about the middle frame, or several.
    Local,
    /// A model behind a server that speaks OpenAI's protocol.
    Openai,
}

/// Settings of the `caption` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptionConfig {
    /// `"attributes"`, `"source"`, `"local"` or `"openai"`.
    pub backend: Backend,
    /// `source`: who writes where the data have no text. Default: nobody.
    pub fallback: Option<Backend>,
    /// `source`: manifest columns to look into, the first that has text counts.
    pub columns: Vec<String>,
    /// `openai`: addresses of servers that have the model, up to `/v1`.
    pub endpoints: Vec<String>,
    /// `openai`: the model's name as the servers know it.
    pub model: String,
    /// `openai`: the environment variable that holds the key of the servers.
    pub api_key_env: Option<String>,
    /// `openai`: what suits a family of models: `openai`, `qwen-vl`, `qwen-vl-video`, `internvl`,
    /// `vila-1.5`, `videochat2`. The settings below replace parts of it.
    pub preset: String,
    /// `openai`: a file with the question, relative to the recipe.
    pub prompt_file: Option<PathBuf>,
    /// `openai`, `local`: frames of a clip, evenly spread. Default: the preset's; one for `local`.
    pub frames: Option<usize>,
    /// `openai`: longer side of a frame in pixels.
    pub max_side: Option<u32>,
    /// `openai`: quality of the JPEGs, 1 to 100.
    pub jpeg_quality: Option<u8>,
    /// `openai`: sends the clip itself (`video_url`, as vLLM takes it) instead of frames.
    pub video: Option<bool>,
    /// `openai`: describes frames one by one and makes a caption of the descriptions, for models that
    /// see one picture at a time; so EasyAnimate V3 was released.
    pub one_by_one: bool,
    /// `openai`: 0 takes the likeliest word each time.
    pub temperature: Option<f64>,
    /// `openai`: the longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// `openai`: a second pass by a language model that takes out what a caption should not say.
    pub rewrite: Option<RewriteConfig>,
    /// `openai`: requests under way at once at most; how many it really is depends on the servers.
    pub requests: usize,
    /// `openai`: seconds that one attempt may take.
    pub timeout_s: f64,
    /// `openai`: what a run may cost.
    pub budget: BudgetConfig,
    /// `openai`: the folder of answers that were had before, relative to the recipe. Default: beside the
    /// models.
    pub cache: Option<PathBuf>,
    /// The language that captions should have (ISO 639-3, such as `eng`); others are flagged.
    pub language: Option<String>,
    /// Fewest words that are not flagged.
    pub min_words: usize,
    /// Most words that are not flagged.
    pub max_words: usize,
    /// Flags for which a clip is dropped: `refusal`, `repetition`, `truncated`, `too_short`,
    /// `too_long`, `language`, `template`.
    pub reject: Vec<String>,
    /// What was looked up.
    #[serde(skip)]
    pub(super) found: Found,
}

/// The second pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteConfig {
    /// Addresses of servers. Default: those that write captions.
    pub endpoints: Vec<String>,
    /// The model. Default: the one that writes captions.
    pub model: String,
    /// The environment variable that holds the key. Default: that of the other servers, where these are
    /// the same.
    pub api_key_env: Option<String>,
    /// A file with the rules, relative to the recipe; `{caption}` in it marks where the caption goes.
    pub prompt_file: Option<PathBuf>,
}

/// What a run may cost; when it is spent, the run stops and can be taken up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// Money, in the currency of the prices.
    pub money: Option<f64>,
    /// Money for a million tokens that the model reads, pictures included.
    pub price_in: f64,
    /// Money for a million tokens that it writes.
    pub price_out: f64,
}

/// What the settings name outside of the recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    prompt: Option<Prompt>,
    key: Option<Secret>,
    rewrite_prompt: Option<Prompt>,
    rewrite_key: Option<Secret>,
    pub(super) cache: Option<PathBuf>,
}

impl Default for CaptionConfig {
    fn default() -> Self {
        let limits = flags::Limits::default();
        Self {
            backend: Backend::default(),
            fallback: None,
            columns: source::COLUMNS.iter().map(|name| (*name).to_owned()).collect(),
            endpoints: Vec::new(),
            model: String::new(),
            api_key_env: None,
            preset: "openai".to_owned(),
            prompt_file: None,
            frames: None,
            max_side: None,
            jpeg_quality: None,
            video: None,
            one_by_one: false,
            temperature: None,
            max_tokens: None,
            rewrite: None,
            requests: 64,
            timeout_s: 180.0,
            budget: BudgetConfig::default(),
            cache: None,
            language: limits.language,
            min_words: limits.min_words,
            max_words: limits.max_words,
            reject: vec![flags::REFUSAL.to_owned()],
            found: Found::default(),
        }
    }
}

impl CaptionConfig {
    /// The preset with what replaces parts of it; `None` where no pictures are sent.
    pub(super) fn pictures(&self) -> Option<Preset> {
        if self.backend != Backend::Openai {
            return None;
        }
        let mut chosen = preset(&self.preset)?;
        chosen.frames = self.frames.unwrap_or(chosen.frames);
        chosen.max_side = self.max_side.unwrap_or(chosen.max_side);
        chosen.jpeg_quality = self.jpeg_quality.unwrap_or(chosen.jpeg_quality);
        chosen.video = self.video.unwrap_or(chosen.video);
        chosen.sampling.temperature = self.temperature.unwrap_or(chosen.sampling.temperature);
        chosen.sampling.max_tokens = self.max_tokens.unwrap_or(chosen.sampling.max_tokens);
        if let Some(prompt) = &self.found.prompt {
            chosen.prompt = prompt.clone();
        }
        Some(chosen)
    }

    /// How many frames BLIP describes.
    pub(super) fn local_frames(&self) -> usize {
        self.frames.unwrap_or(1)
    }

    /// How descriptions of frames become a caption.
    pub(super) fn summary(&self, chosen: &Preset) -> Option<Summary> {
        self.one_by_one.then(|| {
            let mut summary = Summary { answer: chosen.answer, ..Summary::default() };
            if let Some(prompt) = &self.found.prompt {
                summary.frame_prompt = prompt.clone();
            }
            summary
        })
    }

    pub(super) fn rewriting(&self) -> Option<(Rewrite, String, Vec<Endpoint>)> {
        let config = self.rewrite.as_ref()?;
        let mut rewrite = Rewrite::captions();
        if let Some(prompt) = &self.found.rewrite_prompt {
            rewrite.prompt = prompt.clone();
        }
        let model = if config.model.is_empty() { &self.model } else { &config.model };
        let endpoints = if config.endpoints.is_empty() {
            self.servers()
        } else {
            endpoints(
                &config.endpoints,
                self.found.rewrite_key.as_ref(),
                config.api_key_env.as_ref(),
            )
        };
        Some((rewrite, model.clone(), endpoints))
    }

    pub(super) fn servers(&self) -> Vec<Endpoint> {
        endpoints(&self.endpoints, self.found.key.as_ref(), self.api_key_env.as_ref())
    }

    pub(super) fn limits(&self) -> flags::Limits {
        flags::Limits {
            min_words: self.min_words,
            max_words: self.max_words,
            language: self.language.clone(),
            ..flags::Limits::default()
        }
    }

    pub(super) fn money(&self) -> Budget {
        let BudgetConfig { tokens, money, price_in, price_out } = self.budget;
        let price = Price { prompt: price_in, completion: price_out };
        Budget { tokens, money, price, spent: Spent::default() }
    }

    /// The settings that decide what is written. Where it is asked for, and what it may cost, do not.
    pub(super) fn measured_by(&self) -> Json {
        let limits = json!([self.language, self.min_words, self.max_words]);
        if self.backend == Backend::Local {
            return json!({
                "backend": self.backend, "frames": self.local_frames(), "limits": limits,
            });
        }
        let Some(chosen) = self.pictures() else {
            let columns = (self.backend == Backend::Source).then_some(&self.columns);
            return json!({
                "backend": self.backend, "fallback": self.fallback, "columns": columns, "limits": limits,
            });
        };
        let Sampling { temperature, top_p, max_tokens, seed } = chosen.sampling;
        let rewrite = self.rewriting().map(
            |(rewrite, model, _)| json!({ "model": model, "prompt": prompt_json(&rewrite.prompt) }),
        );
        json!({
            "backend": self.backend,
            "model": self.model,
            "preset": self.preset,
            "prompt": prompt_json(&chosen.prompt),
            "frames": chosen.frames,
            "max_side": chosen.max_side,
            "jpeg_quality": chosen.jpeg_quality,
            "video": chosen.video,
            "one_by_one": self.one_by_one,
            "sampling": [json!(temperature), json!(top_p), json!(max_tokens), json!(seed)],
            "rewrite": rewrite,
            "limits": limits,
        })
    }

    pub(super) fn find(&mut self, around: &Surroundings<'_>, problems: &mut Problems) {
        if self.backend != Backend::Openai {
            return;
        }
        let mut prompt = |key: &str, file: &Option<PathBuf>| {
            let read = Prompt::read(&around.base.join(file.as_ref()?));
            read.map_err(|error| problems.report(key, error.to_string()).help = None).ok()
        };
        self.found.prompt = prompt("prompt_file", &self.prompt_file);
        let rewrite = self.rewrite.clone().unwrap_or_default();
        self.found.rewrite_prompt = prompt("rewrite.prompt_file", &rewrite.prompt_file);
        let mut key = |key: &str, name: &Option<String>| {
            let name = name.as_ref()?;
            let value = (around.variable)(name);
            if value.is_none() {
                problems
                    .report(key, format!("the environment variable `{name}` is not set"))
                    .help = Some(format!("set it to the key, as in: {name}=... curate run"));
            }
            value.map(|value| Secret::new(&value))
        };
        self.found.key = key("api_key_env", &self.api_key_env);
        self.found.rewrite_key = key("rewrite.api_key_env", &rewrite.api_key_env);
        self.found.cache = self.cache.as_ref().map(|folder| around.base.join(folder));
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for flag in &self.reject {
            if !flags::ALL.contains(&flag.as_str()) {
                problems.report("reject", format!("there is no flag `{flag}`")).help =
                    Some(format!("known flags: {}", flags::ALL.join(", ")));
            }
        }
        if self.min_words > self.max_words {
            problems.report("min_words", "is above `max_words`: every caption would be flagged");
        }
        match self.backend {
            Backend::Openai => self.check_remote(problems),
            Backend::Attributes | Backend::Source | Backend::Local => {
                if !(1..=64).contains(&self.local_frames()) {
                    problems.report("frames", "must be 1 to 64 with this `backend`");
                }
                if !self.endpoints.is_empty() || !self.model.is_empty() || self.rewrite.is_some() {
                    problems
                        .report("backend", "nobody would be asked: the servers are not used")
                        .help = Some("write: backend = \"openai\"".to_owned());
                }
            }
        }
        let is_odd = self.fallback.is_some_and(|it| it != Backend::Attributes)
            || (self.fallback.is_some() && self.backend != Backend::Source);
        if is_odd {
            problems.report("fallback", "only `source` has one, and only \"attributes\" can be it");
        }
    }

    fn check_remote(&self, problems: &mut Problems) {
        if self.endpoints.is_empty() {
            problems.report("endpoints", "needs the address of a server").help =
                Some("such as endpoints = [\"http://localhost:8000/v1\"]".to_owned());
        }
        let rewrite = self.rewrite.iter().flat_map(|rewrite| &rewrite.endpoints);
        if self.endpoints.iter().chain(rewrite).any(|url| holds_a_secret(url)) {
            problems.report("endpoints", "an address holds a password or a key").help = Some(
                "the recipe is stored with the table: name the variable that holds it in \
                 `api_key_env`"
                    .to_owned(),
            );
        }
        if self.model.is_empty() {
            problems.report("model", "needs the model's name as the server knows it").help =
                Some("`curl http://localhost:8000/v1/models` lists them".to_owned());
        }
        if preset(&self.preset).is_none() {
            problems.report("preset", format!("there is no preset `{}`", self.preset)).help =
                Some(format!("known presets: {}", NAMES.join(", ")));
        }
        let Some(chosen) = self.pictures() else { return };
        let mut bound = |key: &str, is_fine: bool, words: &str| {
            if !is_fine {
                problems.report(key, format!("must be {words}"));
            }
        };
        bound("frames", (1..=256).contains(&chosen.frames), "1 to 256");
        bound("max_side", (64..=4096).contains(&chosen.max_side), "64 to 4096 pixels");
        bound("jpeg_quality", (1..=100).contains(&chosen.jpeg_quality), "1 to 100");
        bound("requests", (1..=4096).contains(&self.requests), "1 to 4096");
        bound(
            "timeout_s",
            self.timeout_s > 0.0 && self.timeout_s <= 86_400.0,
            "1 to 86400 seconds",
        );
        let temperature = chosen.sampling.temperature;
        bound("temperature", (0.0..=2.0).contains(&temperature), "0 to 2");
        bound("max_tokens", chosen.sampling.max_tokens > 0, "1 or more");
        let BudgetConfig { money, price_in, price_out, .. } = self.budget;
        bound("budget", price_in >= 0.0 && price_out >= 0.0, "prices of 0 or more");
        bound(
            "budget.money",
            money.is_none_or(|money| money > 0.0 && price_in + price_out > 0.0),
            "more than 0, with `price_in` and `price_out`",
        );
        if chosen.video && self.one_by_one {
            problems.report("one_by_one", "describes frames, and `video` sends none");
        }
    }
}

/// Whether a URL has a user's password in it, or a query that looks like a key.
fn holds_a_secret(url: &str) -> bool {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let (address, query) = after.split_once('?').unwrap_or((after, ""));
    let host = address.split('/').next().unwrap_or_default();
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let mut names = names.map(str::to_ascii_lowercase);
    host.contains('@')
        || names
            .any(|name| ["key", "token", "secret", "sig"].iter().any(|word| name.contains(word)))
}

fn prompt_json(prompt: &Prompt) -> Json {
    json!([prompt.system, prompt.text])
}

fn endpoints(urls: &[String], key: Option<&Secret>, key_name: Option<&String>) -> Vec<Endpoint> {
    let endpoint = |url: &String| Endpoint {
        url: url.clone(),
        key: key.cloned(),
        key_name: key_name.cloned(),
    };
    urls.iter().map(endpoint).collect()
}
