//! `caption`: writes what is to be seen in a clip.
//!
//! Four backends write captions: `attributes` (a plain sentence from measured values, which needs
//! nothing and says in `caption_model` what it is), `source` (text that came with the data), `local` (BLIP,
//! which describes single frames) and `openai` (a vision-language model behind a server that speaks OpenAI's protocol: vLLM, SGLang,
//! llama.cpp, OpenAI). EasyAnimate's recipe is the last, with VILA or InternVL, and a second pass that
//! rewrites (`rewrite`). What looks wrong about a caption is in `caption_flags`; `reject` drops by it.
//!
//! Captions are asked for in batches, which the client keeps as many of under way as the servers take.

mod config;
mod eyes;
mod local;
mod remote;

use curate_models::caption::{blip::BLIP, flags};
use curate_pipeline::{
    Bound, BuildContext, BuildError, Check, FrameNeed, Grid, Item, Problems, Shape, Stage,
    StageConfig, StageEntry, Surroundings, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use serde_json::{Value as Json, json};

pub use config::{Backend, BudgetConfig, CaptionConfig, RewriteConfig};

/// Frames are picked from a grid of so many a second.
const PER_SECOND: f64 = 2.0;

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "caption",
    summary: "write what is to be seen in a clip",
    parse: |table, problems| Box::new(read_table::<CaptionConfig>(table, problems)),
    schema: settings::<CaptionConfig>,
    example: "[[stage]]\nkind = \"caption\"\n\
              backend = \"attributes\"   # or \"source\", or \"openai\": a model behind a server, with\n\
              # endpoints = [\"http://localhost:8000/v1\"]\n\
              # model = \"Qwen/Qwen2.5-VL-7B-Instruct\"\n\
              # preset = \"qwen-vl\"\n",
};

impl StageConfig for CaptionConfig {
    fn shape(&self) -> Shape {
        match self.backend {
            Backend::Openai | Backend::Local => Shape::Batch,
            Backend::Attributes | Backend::Source => Shape::Map,
        }
    }

    fn may_read(&self) -> &'static [&'static str] {
        let is_used = self.backend == Backend::Attributes
            || (self.backend == Backend::Source && self.fallback == Some(Backend::Attributes));
        if is_used { local::READ } else { &[] }
    }

    fn writes(&self) -> &'static [&'static str] {
        &["caption", "caption_model", "caption_raw", "prompt_hash", "caption_flags"]
    }

    fn frames(&self) -> FrameNeed {
        match self.pictures() {
            None if self.backend == Backend::Local => {
                let grid = Grid { per_second: PER_SECOND, max_side: eyes::MAX_SIDE };
                FrameNeed { grid: Some(grid), ..FrameNeed::default() }
            }
            Some(pictures) if !pictures.video => {
                let grid = Grid { per_second: PER_SECOND, max_side: pictures.max_side };
                FrameNeed { grid: Some(grid), ..FrameNeed::default() }
            }
            _ => FrameNeed::default(),
        }
    }

    fn models(&self) -> Vec<&'static str> {
        if self.backend == Backend::Local { vec![BLIP] } else { Vec::new() }
    }

    fn measuring(&self) -> Json {
        self.measured_by()
    }

    fn judging(&self) -> Json {
        json!({ "reject": self.reject })
    }

    fn look_up(&mut self, around: &Surroundings<'_>, problems: &mut Problems) {
        self.find(around, problems);
    }

    fn validate(&self, problems: &mut Problems) {
        self.check(problems);
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        let found = clip.get(c::CAPTION_FLAGS);
        let rejected = flags::ALL.iter().filter(|flag| self.reject.iter().any(|r| r == *flag));
        let check = |flag: &&'static str| Check {
            what: "caption_flags",
            value: found.map(|found| f64::from(u8::from(found.iter().any(|f| f == flag)))),
            bound: Bound::AtMost(0.0),
            reason: flag,
        };
        rejected.map(check).collect()
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        let failed = |message: String| BuildError { stage: ENTRY.kind.to_owned(), message };
        match self.backend {
            Backend::Openai => remote::Remote::open(self, context)
                .map(|it| Stage::Batch(Box::new(it)))
                .map_err(failed),
            Backend::Local => {
                eyes::Eyes::open(self, context).map(|it| Stage::Batch(Box::new(it))).map_err(failed)
            }
            Backend::Attributes | Backend::Source => {
                Ok(Stage::Map(Box::new(local::Local::new(self))))
            }
        }
    }
}

/// A caption as a row has it.
struct Written {
    text: String,
    raw: Option<String>,
    model: String,
    prompt_hash: Option<String>,
    /// It should have been rewritten, and no answer was fit.
    is_unchanged: bool,
    is_cut: bool,
}

/// The flag of a caption that should have been rewritten and was not.
const NOT_REWRITTEN: &str = "not_rewritten";

/// Writes a caption into its row, with what is suspicious about it. Without one the row says so by having
/// no model.
fn write(item: &mut Item, written: Option<Written>, limits: &flags::Limits) {
    let clip = &mut item.clip;
    let Some(written) = written else {
        clip.clear(c::CAPTION.name());
        return;
    };
    let mut flags = flags::flags(&written.text, written.is_cut, limits);
    flags.extend(written.is_unchanged.then_some(NOT_REWRITTEN));
    clip.set(c::CAPTION_FLAGS, flags.into_iter().map(str::to_owned).collect());
    clip.set(c::CAPTION, written.text);
    clip.put(c::CAPTION_RAW, written.raw);
    clip.set(c::CAPTION_MODEL, written.model);
    clip.put(c::PROMPT_HASH, written.prompt_hash);
}

#[cfg(test)]
mod tests;
