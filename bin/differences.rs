//! Where a table and a recipe differ, in the words of the recipe: a line for each setting.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// Where two splits (`Plan::split`) differ.
pub(crate) fn of_splits(table: &Json, recipe: &Json) -> String {
    let (theirs, ours) = (&table["identity"], &recipe["identity"]);
    let mut lines = Vec::new();
    let mut compare = |key: &str, theirs: &Json, ours: &Json| {
        settings((key, theirs, ours), &mut |key, theirs, ours| {
            let [theirs, ours] = [theirs, ours].map(|value| word(value, "the default"));
            lines.push(format!("  {key}: table has {theirs}, file has {ours}"));
        });
    };
    compare("[input] id", &theirs["ids"], &ours["ids"]);
    compare("[input]", &theirs["reading"], &ours["reading"]);
    compare("[output] form", &theirs["form"], &ours["form"]);
    compare("[output] unit_minutes", &theirs["unit_minutes"], &ours["unit_minutes"]);
    let (theirs, ours) = (&table["split"], &recipe["split"]);
    let kind = ours["kind"].as_str().unwrap_or("split");
    compare("[[stage]] kind", &theirs["kind"], &ours["kind"]);
    compare(kind, &theirs["settings"], &ours["settings"]);
    if theirs["revision"] != ours["revision"] {
        lines.push(format!(
            "  {kind} revision: table has {}, this curate has {}",
            theirs["revision"], ours["revision"]
        ));
    }
    if lines.is_empty() {
        lines.push(format!("  table has {table}\n  file has {recipe}"));
    }
    lines.join("\n")
}

/// Where two lists of thresholds (`Plan::judge`) differ.
pub(crate) fn of_thresholds(table: &[Json], recipe: &[Json]) -> String {
    let mut lines = Vec::new();
    for stage in table {
        let kind = stage["stage"].as_str().unwrap_or_default();
        let Some(ours) = recipe.iter().find(|other| other["stage"] == stage["stage"]) else {
            lines.push(format!("  the table is judged by {kind}, which this recipe lacks"));
            continue;
        };
        let pair = (kind, &stage["settings"], &ours["settings"]);
        settings(pair, &mut |key, theirs, ours| {
            let [theirs, ours] = [theirs, ours].map(|value| word(value, "none"));
            lines.push(format!("  {key}: table has {theirs}, file has {ours}"));
        });
    }
    if lines.is_empty() {
        lines.push("  the order of the stages, which decides who drops a clip".to_owned());
    }
    lines.join("\n")
}

/// Calls `differ` for each setting below `key` that is not the same on both sides. Tables of another
/// `kind`, and lists of another length, are other settings as a whole.
fn settings((key, theirs, ours): (&str, &Json, &Json), differ: &mut dyn FnMut(&str, &Json, &Json)) {
    let none = Map::new();
    // A table that was left out is one without settings.
    let table = |value: &Json| match value {
        Json::Object(table) => Some(table.clone()),
        Json::Null => Some(none.clone()),
        _ => None,
    };
    match (theirs, ours, table(theirs), table(ours)) {
        _ if theirs == ours => {}
        (Json::Array(a), Json::Array(b), ..) if a.len() == b.len() => {
            for (index, (theirs, ours)) in a.iter().zip(b).enumerate() {
                settings((&format!("{key}[{index}]"), theirs, ours), differ);
            }
        }
        (.., Some(a), Some(b)) if a.get("kind") == b.get("kind") => {
            let join = if key == "[input]" { " " } else { "." };
            for name in BTreeSet::from_iter(a.keys().chain(b.keys())) {
                settings((&format!("{key}{join}{name}"), &theirs[name], &ours[name]), differ);
            }
        }
        _ => differ(key, theirs, ours),
    }
}

/// A value as a recipe would have it; `absent` where there is none.
fn word(value: &Json, absent: &str) -> String {
    if value.is_null() { absent.to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(form: &str, reading: &Json, detectors: &Json, revision: u32) -> Json {
        let mut split = json!({
            "identity": { "ids": "location", "unit_minutes": 20.0, "form": form },
            "split": { "kind": "scenes", "revision": revision,
                       "settings": { "detectors": detectors, "max_s": 10.0 } },
        });
        if !reading.is_null() {
            split["identity"]["reading"] = reading.clone();
        }
        split
    }

    #[test]
    fn only_settings_that_differ_are_named() {
        let content = |threshold: f64| json!({ "kind": "content", "threshold": threshold });
        let table = split("copy", &Json::Null, &json!([content(27.0)]), 1);
        let file = split("none", &json!({ "track": 1 }), &json!([content(20.0)]), 1);
        assert_eq!(
            of_splits(&table, &file),
            "  [input] track: table has the default, file has 1\n  \
             [output] form: table has \"copy\", file has \"none\"\n  \
             scenes.detectors[0].threshold: table has 27.0, file has 20.0"
        );
        let other = json!([{ "kind": "fixed", "seconds": 2.0 }]);
        assert_eq!(
            of_splits(&table, &split("copy", &Json::Null, &other, 2)),
            "  scenes.detectors[0]: table has {\"kind\":\"content\",\"threshold\":27.0}, file has \
             {\"kind\":\"fixed\",\"seconds\":2.0}\n  scenes revision: table has 1, this curate has 2"
        );
        let more = split("copy", &Json::Null, &json!([content(27.0), content(9.0)]), 1);
        assert!(of_splits(&table, &more).starts_with("  scenes.detectors: table has [{"));
    }

    #[test]
    fn thresholds_that_differ_are_named_with_their_stage() {
        let judge = |keep: Json| vec![json!({ "stage": "motion", "settings": { "keep": keep } })];
        let (table, file) =
            (judge(json!({ "min": 0.1, "max": null })), judge(json!({ "max": 0.5, "min": 0.2 })));
        assert_eq!(
            of_thresholds(&table, &file),
            "  motion.keep.max: table has none, file has 0.5\n  motion.keep.min: table has 0.1, file has 0.2"
        );
        assert!(of_thresholds(&table, &[]).contains("judged by motion, which this recipe lacks"));
        assert!(of_thresholds(&table, &table).contains("the order of the stages"));
    }
}
