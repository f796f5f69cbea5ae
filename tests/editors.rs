//! What makes writing easier: completions for shells, and the schema of recipes for editors.

use curate_testing::root;
use serde_json::Value as Json;

use crate::util::{Folder, curate, curate_in};

/// The verbs that `curate -h` lists.
fn verbs() -> Vec<String> {
    let help = curate(&["-h"]).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // Descriptions that go on in a next line are indented further.
    let commands = commands.take_while(|line| !line.is_empty());
    let verbs = commands.filter(|line| !line.starts_with("   "));
    verbs.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn every_verb_can_be_completed() {
    let verbs = verbs();
    assert!(verbs.len() > 15 && verbs.contains(&"completions".to_owned()), "{verbs:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = curate(&["completions", shell]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        for verb in &verbs {
            assert!(said.out.contains(verb), "{shell} does not know {verb}");
        }
        assert!(said.out.contains("dry-run"), "{shell} does not know options");
    }
    let unknown = curate(&["completions", "cmd"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("[possible values: bash,"), "{}", unknown.err);
}

fn schema() -> Json {
    let said = curate(&["schema", "--recipe"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// What is wrong with a value by a schema, of which every keyword must be one of these.
fn faults(schema: &Json, value: &Json, place: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let fits = |schema: &&Json| self::faults(schema, value, place).is_empty();
    for (keyword, rule) in schema.as_object().unwrap() {
        let list = || rule.as_array().unwrap().iter();
        let is_met = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                other => panic!("{place}: there is no type {other}"),
            },
            "const" => value == rule,
            "enum" => list().any(|choice| choice == value),
            "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "minItems" => {
                value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())
            }
            "oneOf" => list().filter(fits).count() == 1,
            "anyOf" => list().any(|schema| fits(&schema)),
            "required" => list().all(|key| value.get(key.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                assert_eq!(rule, false, "{place}");
                let keys = value.as_object().into_iter().flat_map(|table| table.keys());
                let unknown = keys.filter(|key| schema["properties"].get(key).is_none());
                faults.extend(unknown.map(|key| format!("{place}: there is no {key}")));
                true
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        faults.extend(self::faults(rule, value, &format!("{place}.{key}")));
                    }
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults.extend(self::faults(rule, item, &format!("{place}[{index}]")));
                }
                true
            }
            other => panic!("{place}: there is no keyword {other}"),
        };
        if !is_met {
            faults.push(format!("{place}: {value} does not meet {keyword}"));
        }
    }
    faults
}

fn recipe_faults(recipe: &str) -> Vec<String> {
    let recipe: Json = toml::from_str(recipe).unwrap();
    faults(&schema(), &recipe, "recipe")
}

/// A recipe with its commented settings and tables as settings and tables.
fn uncommented(recipe: &str) -> String {
    let lines = recipe.lines().map(|line| {
        let setting = line.strip_prefix("# ").unwrap_or(line);
        let is_setting = setting.split_whitespace().nth(1) == Some("=");
        if is_setting || setting.starts_with('[') { setting } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn examples_conform_to_the_schema() {
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let recipe = std::fs::read_to_string(&path).unwrap();
            assert_eq!(recipe_faults(&recipe), [""; 0], "{}", path.display());
        }
    }
    let folder = Folder::new();
    assert_eq!(curate_in(&folder.path(""), &["init"]).code, Some(0));
    let recipe = std::fs::read_to_string(folder.path("pipeline.toml")).unwrap();
    assert_eq!(recipe_faults(&recipe), [""; 0]);
    let all = uncommented(&recipe);
    assert!(all.contains("\ncpus = 0"), "{all}");
    assert_eq!(recipe_faults(&all), [""; 0], "{all}");
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let good = "[input]\npaths = [\"a\"]\n[output]\npath = \"b\"\n[run]\nmemory = \"1GiB\"\n\
                [[stage]]\nkind = \"scenes\"\nmin_s = 2\n\
                detectors = [{ kind = \"fixed\", seconds = 2 }]\n";
    assert_eq!(recipe_faults(good), [""; 0]);
    for (right, wrong) in [
        ("min_s", "min_sec"),
        ("min_s = 2", "min_s = \"2\""),
        ("\"scenes\"", "\"scene\""),
        ("memory = \"1GiB\"", "memory = true"),
        ("[output]\npath", "[output]\nfolder"),
        ("[run]", "[runs]"),
        ("seconds = 2", "second = 2"),
        ("\"fixed\"", "\"hash\""),
    ] {
        let recipe = good.replace(right, wrong);
        assert!(!recipe_faults(&recipe).is_empty(), "{recipe}");
    }
}

#[test]
fn the_schema_knows_every_stage_and_says_what_settings_are() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let stages = schema["properties"]["stage"]["items"]["oneOf"].as_array().unwrap();
    let known = stages.iter().map(|stage| stage["properties"]["kind"]["const"].as_str().unwrap());
    let folder = Folder::new();
    assert_eq!(curate_in(&folder.path(""), &["init"]).code, Some(0));
    let recipe = std::fs::read_to_string(folder.path("pipeline.toml")).unwrap();
    // Those that need models of their own are commented out.
    let recipe: Json = toml::from_str(&uncommented(&recipe)).unwrap();
    let listed = recipe["stage"].as_array().unwrap().iter();
    assert!(known.eq(listed.map(|stage| stage["kind"].as_str().unwrap())), "{recipe}");
    let tables = ["input", "output", "run"].map(|section| &schema["properties"][section]);
    for table in tables.into_iter().chain(stages) {
        for (key, setting) in table["properties"].as_object().unwrap() {
            assert!(setting["description"].is_string(), "{key}: {setting}");
        }
    }
    assert_eq!(schema["properties"]["run"]["properties"]["commit_units"]["default"], 64);
}

#[test]
fn the_page_of_the_schema_is_up_to_date() {
    let page = std::fs::read_to_string(root().join("docs/pipeline.schema.json")).unwrap();
    let said = curate(&["schema", "--recipe"]).out;
    assert!(said == page, "run `curate schema --recipe > docs/pipeline.schema.json`");
}
