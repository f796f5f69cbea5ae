//! From a recipe file to a plan, with every problem in one message.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use curate_pipeline::{Document, Plan, Problems, config::read_table, plan::Ingredients};
use curate_stages::{
    STAGES,
    clip::{ClipConfig, Form},
    sources::{IdFrom, InputConfig, Sources, open},
};
use serde::Deserialize;
use serde_json::json;

use crate::{UsageError, env};

/// `[output]`: where the table is and what it holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutputConfig {
    /// The table's folder; relative to the recipe.
    pub(crate) path: PathBuf,
    /// `"copy"` stores kept clips, `"none"` stores no bytes.
    pub(crate) form: Form,
    /// Longer sources are worked on in units of at most this many minutes.
    pub(crate) unit_minutes: f64,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), form: Form::default(), unit_minutes: 20.0 }
    }
}

/// A recipe that has been checked.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) plan: Plan,
    pub(crate) out: PathBuf,
    pub(crate) unit_length: Duration,
    input: InputConfig,
}

impl Recipe {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            UsageError(format!("cannot read the recipe {}: {error}", path.display()))
        })?;
        let path = std::path::absolute(path).context("cannot resolve the recipe's path")?;
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut problems = Problems::default();
        let document = Document::parse(&text, &mut problems);
        problems.enter("[input]");
        let input: InputConfig = read_table(&document.input, &mut problems);
        problems.enter("[output]");
        let output: OutputConfig = read_table(&document.output, &mut problems);
        if output.path.as_os_str().is_empty() {
            problems.report("path", "says where the table goes, and is missing").help =
                Some("write: path = \"out\"".to_owned());
        }
        if !output.unit_minutes.is_finite() || output.unit_minutes <= 0.0 {
            problems.report("unit_minutes", "must be a positive number of minutes");
        }
        let clip = ClipConfig { form: output.form };
        let ids = match input.id {
            IdFrom::Location => "location",
            IdFrom::Content => "content",
        };
        let ingredients = Ingredients {
            entries: STAGES,
            last: Some(("clip", Arc::new(clip))),
            identity: json!({ "ids": ids, "unit_minutes": output.unit_minutes, "form": output.form }),
            cores: env::cores(),
            base,
        };
        let plan = Plan::compile(&document, ingredients, &mut problems);
        // Without a path nothing is left out of the inputs, which are checked all the same.
        let missing = output.path.as_os_str().is_empty();
        let out = base.join(if missing { Path::new("out") } else { &output.path });
        if let Err(errors) = open(&input, base, &out) {
            for error in errors {
                let (key, message) = (error.key.clone(), error.problem.to_string());
                problems.add(curate_pipeline::ConfigError::new(key, message));
            }
        }
        if !problems.is_empty() {
            let found: Vec<String> =
                problems.into_errors().iter().map(|problem| format!("  {problem}")).collect();
            let count = found.len();
            let s = if count == 1 { "" } else { "s" };
            return Err(UsageError(format!(
                "{} has {count} problem{s}:\n{}",
                path.display(),
                found.join("\n")
            ))
            .into());
        }
        let unit_length = Duration::from_secs_f64(output.unit_minutes * 60.0);
        Ok(Self { plan, out, unit_length, input })
    }

    /// The sources, from the beginning.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        open(&self.input, &self.plan.base, &self.out).map_err(|errors| {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            UsageError(words.join("\n")).into()
        })
    }
}
