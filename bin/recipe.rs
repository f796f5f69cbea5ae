//! From a recipe file to a plan, with every problem in one message.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use curate_models::hub::Hub;
use curate_pipeline::{
    Document, Plan, Problems, Reading, StageConfig, StageEntry, Surroundings, Unread,
    config::{read_table, settings_table},
    plan::{Ingredients, Models},
};
use curate_stages::{
    STAGES,
    clip::{Bytes, ClipConfig, Common, Form, TranscodeConfig},
    sources::{IdFrom, InputConfig, Sources, open},
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{UsageError, env};

/// `[output]`: where the table is and what it holds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutputConfig {
    /// The table's folder; relative to the recipe.
    pub(crate) path: PathBuf,
    /// `"copy"` stores clips as they are in the source, `"transcode"` encodes them anew, `"none"`
    /// stores no bytes.
    pub(crate) form: Form,
    /// Whose bytes are stored: `"kept"` clips', `"all"` clips', or `"none"`.
    pub(crate) bytes: Bytes,
    /// How `form = "transcode"` encodes.
    pub(crate) transcode: TranscodeConfig,
    /// Longer sources are worked on in units of at most this many minutes.
    pub(crate) unit_minutes: f64,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            form: Form::default(),
            bytes: Bytes::default(),
            transcode: TranscodeConfig::default(),
            unit_minutes: 20.0,
        }
    }
}

impl OutputConfig {
    /// Reports what is wrong with the settings beside the last stage's.
    fn check(&self, base: &Path, problems: &mut Problems) {
        if self.path.as_os_str().is_empty() {
            problems.report("path", "says where the table goes, and is missing").help =
                Some("write: path = \"out\"".to_owned());
        } else if self.path.to_str().is_some_and(|path| path.contains("://")) {
            let fault = "must be a folder: tables in object stores are not supported yet";
            problems.report("path", fault).help = Some("write: path = \"out\"".to_owned());
        } else if let Some(file) = in_the_way(&base.join(&self.path)) {
            let fault = format!("`{}` is there and is no folder", file.display());
            problems.report("path", fault).help =
                Some("a table is a folder: choose another place, or move what is there".to_owned());
        }
        if !(self.unit_minutes > 0.0 && self.unit_minutes <= 1e6) {
            problems
                .report("unit_minutes", "must be a positive number of minutes, at most a million");
        }
    }

    /// The last stage of the plan.
    fn clip(&self) -> ClipConfig {
        let form = if self.bytes == Bytes::None { Form::None } else { self.form };
        let all = self.bytes == Bytes::All && form != Form::None;
        ClipConfig { form, all, transcode: self.transcode.clone(), common: Arc::default() }
    }
}

/// A folder that nothing lies in.
const NOWHERE: &str = "/dev/null/nowhere";

/// What keeps a folder from being made: a file, or a link to nothing, at its place or on the way.
fn in_the_way(folder: &Path) -> Option<&Path> {
    let nearest = folder.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    (!nearest.is_dir()).then_some(nearest)
}

/// The default recipe, commented, over these sources.
pub(crate) fn default_text(path: &str, form: &str) -> String {
    let path = toml::Value::String(path.to_owned());
    let mut text = format!(
        "# A recipe for curate. Check it with `curate check`, run it with `curate run`.\n\n\
         [input]\n\
         # Files, folders, globs and manifests (CSV, JSON lines, Parquet), relative to this file.\n\
         paths = [{path}]\n\n\
         [output]\n\
         path = \"out\"\n\
         form = \"{form}\"  # \"copy\", \"transcode\", or \"none\": no bytes in the table\n\n\
         [run]\n\
         # cpus = 0         # 0: all cores\n\
         # memory = \"1GiB\"  # for frames and clips in flight, encoders, and merging the table's files\n"
    );
    for entry in STAGES {
        text.push_str(&format!("\n# {}\n{}", entry.summary, entry.example));
    }
    text
}

/// All problems of a recipe in one error.
fn refused(path: &Path, problems: Problems) -> anyhow::Error {
    let found: Vec<String> =
        problems.into_errors().iter().map(|problem| format!("  {problem}")).collect();
    let count = found.len();
    let s = if count == 1 { "" } else { "s" };
    UsageError(format!("{} has {count} problem{s}:\n{}", path.display(), found.join("\n"))).into()
}

/// A stage from settings that a table stores.
pub(crate) fn stored_stage(
    entry: &StageEntry,
    measuring: &serde_json::Value,
    judging: &serde_json::Value,
) -> anyhow::Result<Arc<dyn StageConfig>> {
    let mut problems = Problems::default();
    let config = (entry.parse)(&mut settings_table(&[measuring, judging]), &mut problems);
    config.validate(&mut problems);
    match problems.into_errors().first() {
        None => Ok(Arc::from(config)),
        Some(problem) => {
            Err(anyhow::anyhow!("the thresholds of `{}` cannot be used: {problem}", entry.kind))
        }
    }
}

/// A recipe that has been checked.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) plan: Plan,
    pub(crate) out: PathBuf,
    pub(crate) unit_length: Duration,
    /// What the workers that write clips have in common.
    pub(crate) clips: Arc<Common>,
    input: InputConfig,
    text: String,
}

/// Reads a section; with what could not be read of it.
fn read_section<T: DeserializeOwned + Default>(
    place: &str,
    table: &toml::Table,
    problems: &mut Problems,
) -> (T, Unread) {
    Unread::read((place, table), problems, |found| read_table(table, found))
}

impl Recipe {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            UsageError(format!("cannot read the recipe {}: {error}", path.display()))
        })?;
        let path = std::path::absolute(path).context("cannot resolve the recipe's path")?;
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut problems = Problems::default();
        // What is no TOML is told by who parses it as a recipe.
        let root: toml::Table = text.parse().unwrap_or_default();
        let (document, no_sections) =
            Unread::read(("", &root), &mut problems, |found| Document::parse(&text, found));
        let Some(document) = document else { return Err(refused(&path, problems)) };
        let (input, no_input): (InputConfig, _) =
            read_section("[input]", &document.input, &mut problems);
        let (output, no_output): (OutputConfig, _) =
            read_section("[output]", &document.output, &mut problems);
        let clip = output.clip();
        let clips = Arc::clone(&clip.common);
        if !no_sections.touches("output") {
            no_output.check("[output]", &mut problems, |found| output.check(base, found));
            // What the other settings may be depends on the codec.
            if !no_output.touches("transcode.codec") {
                no_output.check("", &mut problems, |found| clip.validate(found));
            }
            let is_used = clip.form == Form::Transcode || no_output.touches("form");
            if document.output.contains_key("transcode") && !is_used {
                problems.enter("[output]");
                problems.report("transcode", "these settings are not used").help =
                    Some("write: form = \"transcode\"".to_owned());
            }
        }
        let ids = match input.id {
            IdFrom::Location => "location",
            IdFrom::Content => "content",
        };
        let models = env::models_dir()?;
        let hub = Hub::open(&models)?;
        // Another version of the runtime computes the same up to rounding.
        let check = |id: &str| match hub.hash(id) {
            Ok(hash) => Ok(if id == "onnxruntime" { String::new() } else { hash }),
            Err(missing) => Err(missing.to_string()),
        };
        let mut identity =
            json!({ "ids": ids, "unit_minutes": output.unit_minutes, "form": clip.form });
        // What is as ever is left out, so that tables made before there was a choice go on.
        if input.reading() != Reading::default() {
            identity["reading"] = json!(input.reading());
        }
        let ingredients = Ingredients {
            entries: STAGES,
            last: Some(("clip", Arc::new(clip))),
            identity,
            cores: env::cores(),
            around: Surroundings { base, variable: env::variable },
            models: Models { dir: &models, check: &check },
        };
        let plan = no_sections
            .check("", &mut problems, |found| Plan::compile(&document, ingredients, found));
        // Where the table goes is not known without a path; inputs are checked all the same.
        let out = match output.path.as_os_str().is_empty() {
            true => PathBuf::from(NOWHERE),
            false => base.join(&output.path),
        };
        if let Err(errors) = open(&input, base, &out)
            && !no_sections.touches("input")
        {
            no_input.check("[input]", &mut problems, |found| {
                for error in errors {
                    let key = error.key.strip_prefix("input.").unwrap_or(&error.key);
                    found.report(key, error.problem.to_string());
                }
            });
        }
        if !problems.is_empty() {
            return Err(refused(&path, problems));
        }
        let unit_length = Duration::from_secs_f64(output.unit_minutes * 60.0);
        Ok(Self { plan, out, unit_length, clips, input, text })
    }

    /// How sources are read.
    pub(crate) fn reading(&self) -> Reading {
        self.input.reading()
    }

    /// The sources, from the beginning.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        self.list(&self.input)
    }

    /// The same sources without reading their bytes, whatever the recipe makes ids of.
    pub(crate) fn sources_by_location(&self) -> anyhow::Result<Sources> {
        self.list(&InputConfig { id: IdFrom::Location, ..self.input.clone() })
    }

    fn list(&self, input: &InputConfig) -> anyhow::Result<Sources> {
        open(input, &self.plan.base, &self.out).map_err(|errors| {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            UsageError(words.join("\n")).into()
        })
    }

    /// Replaces the thresholds by those of a table (its `judge`). What is measured stays as it is.
    pub(crate) fn judge_by(&mut self, judge: &serde_json::Value) -> anyhow::Result<()> {
        for stored in judge.as_array().map_or(&[][..], Vec::as_slice) {
            let stage = self.plan.stages.iter_mut().find(|stage| stored["stage"] == stage.kind);
            let entry = STAGES.iter().find(|entry| stored["stage"] == entry.kind);
            let (Some(stage), Some(entry)) = (stage, entry) else { continue };
            stage.config = stored_stage(entry, &stage.config.measuring(), &stored["settings"])
                .context("use `--judge file`")?;
        }
        // Stages that the table does not know yet keep their own.
        let stages = self.plan.stages.iter();
        self.plan.judge = stages
            .map(|stage| json!({ "stage": stage.kind, "settings": stage.config.judging() }))
            .collect();
        Ok(())
    }

    /// Leaves the recipe and what it came to in a run's folder.
    pub(crate) fn record(&self, folder: &Path) -> anyhow::Result<()> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("recipe.toml", self.text.clone())?;
        let stages: Vec<_> = self
            .plan
            .stages
            .iter()
            .map(|stage| {
                json!({
                    "stage": stage.kind, "key": stage.key, "workers": stage.workers,
                    "measuring": stage.config.measuring(), "judging": stage.config.judging(),
                })
            })
            .collect();
        let plan = json!({
            "split_id": self.plan.split_id, "split": self.plan.split, "stages": stages,
            "curate_version": env!("CARGO_PKG_VERSION"),
        });
        write("plan.json", format!("{plan:#}\n"))
    }
}
