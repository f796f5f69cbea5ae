//! Configurations in layers: what a file says lies over what its stage says, over what always holds.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{TrainError, data::DataConfig};

/// A configuration in stages: what a file of a stage says unless it says otherwise.
pub(crate) trait Staged: DeserializeOwned {
    /// The stages.
    type Stage: Copy + 'static;
    /// Their names in files.
    const STAGES: &'static [(&'static str, Self::Stage)];
    /// What holds for all of them, as TOML.
    const DEFAULTS: &'static str;

    /// What holds for one of them, as TOML.
    fn of_stage(stage: Self::Stage) -> &'static str;

    /// Everything that is wrong, each with its key.
    fn wrong(&self) -> Vec<String>;
}

/// Reads and checks the text of a file.
///
/// # Errors
/// Everything that is wrong, each with its key.
pub(crate) fn parse<C: Staged>(text: &str) -> Result<C, Vec<String>> {
    let said: Table = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let named = said.get("stage").and_then(Value::as_str);
    let Some((_, stage)) = C::STAGES.iter().find(|(name, _)| Some(*name) == named) else {
        let names: Vec<String> = C::STAGES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        return Err(vec![format!("`stage` must be one of {}", names.join(", "))]);
    };
    let config: C = layered(&[C::DEFAULTS, C::of_stage(*stage)], said)?;
    match config.wrong() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(problems),
    }
}

/// Reads and checks a file.
///
/// # Errors
/// [`TrainError::Config`] with everything that is wrong, [`TrainError::Io`] when there is no such file.
pub(crate) fn read<C: Staged>(path: &Path) -> Result<C, TrainError> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    parse(&text).map_err(|problems| TrainError::Config { path: path.to_owned(), problems })
}

/// The `[data]` of a run's file, with what its stage sets; clips that are held out are among it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn data_of_run(text: &str) -> Result<DataConfig, Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Part {
        #[serde(default)]
        data: DataConfig,
    }
    fn of<C: Staged>(said: &Table) -> Option<[&'static str; 2]> {
        let named = said.get("stage").and_then(Value::as_str)?;
        let (_, stage) = C::STAGES.iter().find(|(name, _)| *name == named)?;
        Some([C::DEFAULTS, C::of_stage(*stage)])
    }
    let said: Table = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    // A file without a stage is taken as it is: it may be of data alone.
    let layers =
        of::<crate::vae::VaeTrainConfig>(&said).or(of::<crate::dit::DitTrainConfig>(&said));
    let part: Part = layered(layers.as_ref().map_or(&[], |layers| layers), said)?;
    Ok(part.data)
}

/// What a run's file is for, by its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// `curate train vae`.
    Vae,
    /// `curate train dit` or `lora`.
    Dit,
}

impl RunKind {
    /// Of the text of a file; `None` where it names no stage.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        fn has<C: Staged>(named: &str) -> bool {
            C::STAGES.iter().any(|(name, _)| *name == named)
        }
        let said: Table = toml::from_str(text).ok()?;
        let named = said.get("stage")?.as_str()?;
        match named {
            name if has::<crate::vae::VaeTrainConfig>(name) => Some(Self::Vae),
            name if has::<crate::dit::DitTrainConfig>(name) => Some(Self::Dit),
            _ => None,
        }
    }
}

/// Reads TOML texts, each over the ones before it, and then what a file says.
fn layered<C: DeserializeOwned>(layers: &[&str], said: Table) -> Result<C, Vec<String>> {
    let mut all = Table::new();
    for layer in layers {
        lay(&mut all, toml::from_str(layer).map_err(|error| vec![error.to_string()])?);
    }
    lay(&mut all, said);
    serde_path_to_error::deserialize(Value::Table(all)).map_err(|error| {
        let key = error.path().to_string();
        let what = error.into_inner().to_string();
        vec![if key == "." { what } else { format!("`{key}`: {}", what.trim_end()) }]
    })
}

/// Lays a table over another: what it says counts. Settings of a method (a table with a `name`) say nothing
/// of a method of another name.
fn lay(under: &mut Table, over: Table) {
    let is_other = |under: &Table, over: &Table| {
        over.get("name").is_some_and(|name| under.get("name").is_some_and(|other| other != name))
    };
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) if !is_other(under, &over) => {
                lay(under, over);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Data without a share of its clips, and that share alone; `None` where the share is 0.
///
/// Ids of clips are hashes in hexadecimal digits: those below a bound are a random share, the same on
/// every machine and in every version of the table. Clips of one source may be on both sides: a table
/// of few sources could not be shared out otherwise.
pub(crate) fn hold_out(data: &DataConfig, share: f64) -> (DataConfig, Option<DataConfig>) {
    if share <= 0.0 {
        return (data.clone(), None);
    }
    let bound = (share * f64::from(u32::MAX)) as u32;
    let side = |side: &str| {
        // A filter may end with a comment.
        let end = if data.filter.contains("--") { "\n" } else { "" };
        let filter = format!("({}{end}) AND clip_id {side} '{bound:08x}'", data.filter);
        DataConfig { filter, ..data.clone() }
    };
    (side(">="), Some(side("<")))
}
