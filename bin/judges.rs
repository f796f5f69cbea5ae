//! The stages by which a table judges its clips, rebuilt from the settings that the table itself
//! states, so that thresholds can be read and moved without the recipe.

use std::{collections::HashSet, sync::Arc};

use curate_pipeline::{StageConfig, Verdict};
use curate_schemas::{Clip, columns as c};
use curate_stages::STAGES;
use curate_store::TableMeta;
use serde_json::{Map, Value as Json};

use crate::{UsageError, recipe::stored_stage};

/// One stage that judges.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) kind: &'static str,
    pub(crate) config: Arc<dyn StageConfig>,
}

/// What the thresholds make of a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ruling {
    /// The stage that drops it, and why.
    pub(crate) dropped: Option<(&'static str, &'static str)>,
    /// Stages that would have to measure it before it is known to be kept.
    pub(crate) missing: Vec<&'static str>,
}

/// The stages by which a table is judged, in the order in which they decide.
pub(crate) fn judges(meta: &TableMeta) -> anyhow::Result<Vec<Judge>> {
    let mut judges = Vec::new();
    let split = &meta.split["split"];
    for judge in meta.judge.as_array().map_or(&[][..], Vec::as_slice) {
        let kind = judge["stage"].as_str().unwrap_or_default();
        // The last stage of every plan writes bytes; it is not in the registry and judges nothing.
        let Some(entry) = STAGES.iter().find(|entry| entry.kind == kind) else { continue };
        let measuring = if split["kind"] == kind { &split["settings"] } else { &Json::Null };
        let config = stored_stage(entry, measuring, &judge["settings"])?;
        judges.push(Judge { kind: entry.kind, config });
    }
    Ok(judges)
}

/// The stages that a clip's row says have measured it.
pub(crate) fn measured(clip: &Clip) -> Map<String, Json> {
    let text = clip.get(c::STAGE_KEYS).map_or("{}", String::as_str);
    serde_json::from_str(text).unwrap_or_default()
}

/// Judges a clip anew from its measured values.
pub(crate) fn rule(judges: &[Judge], clip: &Clip) -> Ruling {
    let measured = measured(clip);
    let mut ruling = Ruling::default();
    for judge in judges {
        let has_measured = judge.config.writes().is_empty() || measured.contains_key(judge.kind);
        if !has_measured {
            ruling.missing.push(judge.kind);
        } else if let Verdict::Drop { reason } = judge.config.judge(clip) {
            ruling.dropped = Some((judge.kind, reason));
            break;
        }
    }
    ruling
}

/// Applies settings such as `motion.min=0.03` to a table's thresholds.
pub(crate) fn with_settings(judge: &Json, sets: &[String]) -> anyhow::Result<Json> {
    let mut judge = judge.clone();
    let mut named = HashSet::new();
    for set in sets {
        let wrong = |why: String| UsageError(format!("--set {set}: {why}"));
        let (path, value) =
            set.split_once('=').ok_or_else(|| wrong("write it like motion.min=0.03".to_owned()))?;
        let mut path = path.trim().split('.');
        let kind = path.next().unwrap_or_default();
        let keys: Vec<&str> = path.collect();
        let stages = judge.as_array_mut().map_or(&mut [][..], Vec::as_mut_slice);
        let names: Vec<String> = stages
            .iter()
            .filter_map(|stage| stage["stage"].as_str())
            .filter(|kind| STAGES.iter().any(|entry| entry.kind == *kind))
            .map(str::to_owned)
            .collect();
        let found = stages.iter_mut().find(|stage| stage["stage"] == kind);
        let Some(stage) = found.filter(|_| names.iter().any(|name| name == kind)) else {
            let known = names.join(", ");
            return Err(wrong(format!("no stage `{kind}` judges this table: {known}")).into());
        };
        if keys.is_empty() {
            return Err(wrong(format!("say which setting of `{kind}`, such as {kind}.min")).into());
        }
        let value = parse(value.trim()).map_err(wrong)?;
        let place = format!("{kind}.{}", put(&mut stage["settings"], &keys, value));
        if named.contains(&place) {
            return Err(wrong(format!("{place} is set twice; say which is meant")).into());
        }
        named.insert(place);
    }
    Ok(judge)
}

/// A value as in a recipe; `none` takes the setting away.
fn parse(text: &str) -> Result<Json, String> {
    if text == "none" {
        return Ok(Json::Null);
    }
    if text.is_empty() {
        return Err("there is no value; `none` takes a threshold away".to_owned());
    }
    if text.parse().is_ok_and(|number: f64| !number.is_finite()) {
        return Err(format!("`{text}` is no number that anything can be compared with"));
    }
    let read = |text: &str| -> Option<Json> {
        let table: toml::Table = format!("v = {text}").parse().ok()?;
        serde_json::to_value(&table["v"]).ok()
    };
    read(text)
        .or_else(|| read(&toml::Value::String(text.to_owned()).to_string()))
        .ok_or_else(|| format!("`{text}` is not a value"))
}

/// Writes a nested setting and says which. `min` and `max` of a stage with a `keep` range mean that
/// range.
fn put(settings: &mut Json, keys: &[&str], value: Json) -> String {
    if !settings.is_object() {
        *settings = Json::Object(Map::new());
    }
    let Some(object) = settings.as_object_mut() else { return keys.join(".") };
    let (first, rest) = match keys {
        [key @ ("min" | "max")] if object.contains_key("keep") && !object.contains_key(*key) => {
            ("keep", &[*key][..])
        }
        [first, rest @ ..] => (*first, rest),
        [] => return String::new(),
    };
    if rest.is_empty() {
        object.insert(first.to_owned(), value);
        return first.to_owned();
    }
    format!("{first}.{}", put(object.entry(first).or_insert(Json::Null), rest, value))
}

/// The stages for thresholds that were moved, which must make sense; `judge` is brought into the
/// form in which a recipe with the same thresholds would state it.
pub(crate) fn checked(meta: &TableMeta, judge: &mut Json) -> anyhow::Result<Vec<Judge>> {
    let moved = TableMeta { judge: judge.clone(), ..meta.clone() };
    let judges = judges(&moved).map_err(|error| UsageError(format!("--set: {error:#}")))?;
    for stage in judge.as_array_mut().map_or(&mut [][..], Vec::as_mut_slice) {
        if let Some(judge) = judges.iter().find(|judge| stage["stage"] == judge.kind) {
            let stated = judge.config.judging();
            let mut keys = stage["settings"].as_object().into_iter().flatten();
            if let Some((key, _)) = keys.find(|(key, _)| stated.get(key).is_none()) {
                let kind = judge.kind;
                return Err(UsageError(format!(
                    "--set: `{key}` of `{kind}` is not one of its thresholds; change it in the recipe"
                ))
                .into());
            }
            let mut keys = stage["settings"].as_object().into_iter().flatten();
            if let Some((key, _)) =
                keys.find(|(key, value)| value.is_null() && !stated[key].is_null())
            {
                let kind = judge.kind;
                let words = if stated[key].is_boolean() {
                    "true or false"
                } else {
                    "0 or a very large number takes its effect away"
                };
                let message = format!("--set: `{key}` of `{kind}` always has a value; {words}");
                return Err(UsageError(message).into());
            }
            stage["settings"] = stated;
        }
    }
    Ok(judges)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_go_where_they_belong() {
        let judge = json!([
            {"stage": "probe", "settings": {"min_fps": 12.0}},
            {"stage": "motion", "settings": {"keep": {"min": 0.1}, "preset": null}},
        ]);
        let stages = judge.as_array().unwrap();
        let set = |text: &str, stage: usize| {
            let mut settings = stages[stage]["settings"].clone();
            let (path, value) = text.split_once('=').unwrap();
            let keys: Vec<&str> = path.split('.').collect();
            put(&mut settings, &keys, parse(value).unwrap());
            settings
        };
        assert_eq!(set("min_fps=24", 0), json!({"min_fps": 24}));
        assert_eq!(set("min_fps=none", 0), json!({"min_fps": null}));
        assert_eq!(set("preset=easyanimate", 0)["preset"], "easyanimate");
        assert_eq!(set("min=0.03", 1)["keep"], json!({"min": 0.03}));
        assert_eq!(set("keep.max=1", 1)["keep"], json!({"min": 0.1, "max": 1}));
        let error = with_settings(&judge, &["motoin.min=1".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no stage `motoin`"), "{error}");
        assert!(with_settings(&judge, &["probe=1".to_owned()]).is_err());
        let twice = ["motion.keep.min=0.1".to_owned(), "motion.min=0.2".to_owned()];
        let error = with_settings(&judge, &twice).unwrap_err();
        assert!(error.to_string().contains("motion.keep.min is set twice"), "{error}");
        assert!(with_settings(&judge, &["probe.min_fps".to_owned()]).is_err());
    }
}
