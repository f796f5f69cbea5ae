//! What a recipe may say, as JSON Schemas: with one an editor can complete a recipe and check it.
//!
//! Schemas are derived from the structures that recipes are read into, so a setting is described
//! once. What is checked after reading (ranges, settings against each other) is not in them:
//! `curate check` decides.
//!
//! Types are written out where they are used instead of being referred to. It makes the page
//! longer; but every setting carries its own description, and every draft reads it the same way.

use schemars::{JsonSchema, r#gen::SchemaSettings};
use serde_json::{Value as Json, json};

use crate::{RunConfig, StageEntry};

/// The schema of a table of settings.
#[must_use]
pub fn settings<T: JsonSchema>() -> Json {
    let style = SchemaSettings::draft2019_09().with(|style| {
        style.inline_subschemas = true;
        // TOML has no null: a setting is there or it is not.
        style.option_add_null_type = false;
    });
    let schema = T::json_schema(&mut style.into_generator());
    // Strings, numbers and lists always become JSON; what is allowed if they did not is everything.
    let mut schema = serde_json::to_value(schema).unwrap_or(Json::Bool(true));
    tidy(&mut schema);
    schema
}

/// The same table with settings that must be there, although reading fills them in.
#[must_use]
pub fn with_required(mut schema: Json, keys: &[&str]) -> Json {
    let mut required: Vec<Json> = schema["required"].as_array().cloned().unwrap_or_default();
    for key in keys {
        let property = schema.pointer_mut(&format!("/properties/{key}"));
        if let Some(Json::Object(property)) = property {
            property.remove("default");
        }
        required.push(json!(key));
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

/// The schema of a whole recipe (draft 2020-12), from those of the sections that other crates read.
#[must_use]
pub fn recipe(input: &Json, output: &Json, entries: &[StageEntry]) -> Json {
    let stages: Vec<Json> = entries.iter().map(stage).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe for curate",
        "type": "object",
        "properties": {
            "input": input,
            "output": output,
            "run": settings::<RunConfig>(),
            "stage": {
                "description": "The stages in order. The first one cuts sources into clips.",
                "type": "array",
                "minItems": 1,
                "items": { "oneOf": stages },
            },
        },
        "required": ["input", "output", "stage"],
        "additionalProperties": false,
    })
}

/// The schema of a stage's table: its settings, and the kind that tells it from the others.
fn stage(entry: &StageEntry) -> Json {
    let mut schema = (entry.schema)();
    if let Some(table) = schema.as_object_mut() {
        table.insert("title".to_owned(), json!(entry.kind));
        table.insert("description".to_owned(), json!(entry.summary));
        let properties = table.entry("properties").or_insert_with(|| json!({}));
        properties["kind"] = json!({ "const": entry.kind, "description": "What the stage does." });
    }
    with_required(schema, &["kind"])
}

/// Takes out what tells a writer of recipes nothing: defaults that mean "left out", and how wide
/// Rust's numbers are.
fn tidy(schema: &mut Json) {
    let Some(keywords) = schema.as_object_mut() else { return };
    keywords.remove("format");
    if keywords.get("default").is_some_and(Json::is_null) {
        keywords.remove("default");
    } else if let Some(value) = keywords.get_mut("default") {
        without_nulls(value);
    }
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("properties", Json::Object(settings)) => settings.values_mut().for_each(tidy),
            ("oneOf" | "anyOf" | "allOf", Json::Array(choices)) => {
                choices.iter_mut().for_each(tidy);
            }
            ("items" | "additionalProperties", inner) => tidy(inner),
            _ => {}
        }
    }
}

/// Takes the settings that are left out of a default that is a table or a list of them.
fn without_nulls(value: &mut Json) {
    match value {
        Json::Object(settings) => {
            settings.retain(|_, setting| !setting.is_null());
            settings.values_mut().for_each(without_nulls);
        }
        Json::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    /// How it looks.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Look {
        /// In colour.
        Colour,
        Grey,
    }

    /// What is kept.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Kept {
        look: Option<Look>,
        least: f64,
    }

    /// Settings of a stage.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        /// Which look is kept.
        look: Option<Look>,
        /// A table of settings.
        keep: Kept,
        /// A setting with an unlucky name.
        format: u64,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { look: None, keep: Kept::default(), format: 3 }
        }
    }

    #[test]
    fn settings_say_what_they_are_and_what_they_default_to() {
        let schema = settings::<Settings>();
        assert_eq!(schema["description"], "Settings of a stage.");
        assert_eq!(schema["additionalProperties"], false);
        let format = &schema["properties"]["format"];
        assert_eq!((&format["type"], &format["default"]), (&json!("integer"), &json!(3)));
        assert_eq!(format["format"], Json::Null, "the width of a number is no setting's business");
        let look = &schema["properties"]["look"];
        assert_eq!(look["description"], "Which look is kept.");
        assert_eq!(look.get("default"), None, "left out is no value");
        assert!(look.to_string().contains("\"colour\""), "{look}");
        let keep = &schema["properties"]["keep"];
        assert_eq!(keep["description"], "A table of settings.");
        assert_eq!(keep["default"], json!({ "least": 0.0 }));
        assert!(!schema.to_string().contains("null"), "{schema}");
    }

    #[test]
    fn a_stage_is_told_by_its_kind() {
        let entry = StageEntry {
            kind: "look",
            summary: "drop what looks wrong",
            parse: |_, _| unreachable!("only the schema is asked for"),
            schema: settings::<Settings>,
            example: "",
        };
        let schema = recipe(&json!({}), &json!({}), &[entry]);
        let stage = &schema["properties"]["stage"]["items"]["oneOf"][0];
        assert_eq!(stage["properties"]["kind"]["const"], "look");
        assert_eq!(stage["required"], json!(["kind"]));
        assert_eq!(stage["description"], "drop what looks wrong");
        assert_eq!(stage["properties"]["format"]["default"], 3);
        assert_eq!(schema["properties"]["run"]["properties"]["tries"]["default"], 3);
    }

    #[test]
    fn what_must_be_there_has_no_default() {
        let schema = with_required(settings::<Settings>(), &["format"]);
        assert_eq!(schema["required"], json!(["format"]));
        assert_eq!(schema["properties"]["format"].get("default"), None);
    }
}
