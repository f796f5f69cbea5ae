//! `curate synth`: sets of shapes, through `curate run`, and the score of clips.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::util::{Folder, curate, curate_in};

/// The lines of a file of JSON objects.
fn rows(folder: &Folder, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {row}"))
}

/// A set of clips in `folder`.
fn shapes(folder: &Folder, name: &str, arguments: &[&str]) {
    let out = folder.text(name);
    let mut all = vec!["synth", "shapes", &out];
    all.extend(arguments);
    let said = curate(&all);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out.trim(), folder.text(&format!("{name}/manifest.jsonl")));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = Folder::new();
    shapes(&folder, "a", &["--count", "6", "--seed", "11"]);
    shapes(&folder, "b", &["--count", "6", "--seed", "11"]);
    shapes(&folder, "c", &["--count", "6", "--seed", "12"]);
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("a/manifest.jsonl"), bytes("b/manifest.jsonl"));
    assert_ne!(bytes("a/manifest.jsonl"), bytes("c/manifest.jsonl"));
    for row in rows(&folder, "a/manifest.jsonl") {
        let clip = text(&row, "path");
        assert_eq!(bytes(&format!("a/{clip}")), bytes(&format!("b/{clip}")), "{clip}");
        assert_ne!(bytes(&format!("a/{clip}")), bytes(&format!("c/{clip}")), "{clip}");
    }
    // What is whole is left alone, and another set does not go over it.
    shapes(&folder, "a", &["--count", "6", "--seed", "11"]);
    let said = curate(&["synth", "shapes", &folder.text("a"), "--count", "7", "--seed", "11"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("manifest.jsonl lists other clips"), "{}", said.err);
}

#[test]
fn captions_say_what_the_columns_say() {
    let folder = Folder::new();
    shapes(&folder, "set", &["--count", "40", "--frames", "8", "--size", "32"]);
    for row in rows(&folder, "set/manifest.jsonl") {
        let words: Vec<&str> = text(&row, "caption").split([' ', ',']).collect();
        assert!(words.contains(&text(&row, "color")), "{row}");
        assert!(words.contains(&text(&row, "shape")), "{row}");
        let direction = text(&row, "direction");
        assert!(words.iter().any(|word| word.trim_end_matches("wards") == direction), "{row}");
        let quickly = if text(&row, "speed") == "fast" { "quickly" } else { "slowly" };
        assert!(words.contains(&quickly), "{row}");
    }
    shapes(&folder, "red", &["--count", "12", "--frames", "8", "--only-color", "red"]);
    assert!(rows(&folder, "red/manifest.jsonl").iter().all(|row| text(row, "color") == "red"));
}

#[test]
fn a_run_keeps_every_clip_with_its_own_caption() {
    let folder = Folder::new();
    shapes(&folder, "story/shapes", &["--count", "24"]);
    // The recipe of `make story`, beside the set as there.
    let recipe = curate_testing::root().join("examples/story/pipeline.toml");
    std::fs::copy(recipe, folder.path("story/pipeline.toml")).unwrap();
    let said = curate(&["run", &folder.text("story/pipeline.toml")]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let columns = "select source_uri, status, caption, caption_model, num_frames, extra from clips";
    let said = curate(&["query", &folder.text("story/table"), columns, "--format", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let clips: BTreeMap<String, Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|clip| (text(&clip, "source_uri").rsplit('/').next().unwrap().to_owned(), clip))
        .collect();
    let manifest = rows(&folder, "story/shapes/manifest.jsonl");
    assert_eq!(clips.len(), manifest.len());
    for row in manifest {
        let clip = &clips[text(&row, "path").rsplit('/').next().unwrap()];
        assert_eq!(text(clip, "status"), "kept", "{clip}");
        assert_eq!(text(clip, "caption"), text(&row, "caption"));
        assert_eq!(text(clip, "caption_model"), "source");
        assert_eq!(clip["num_frames"], 16, "{clip}");
        let extra: Value = serde_json::from_str(text(clip, "extra")).unwrap();
        for key in ["color", "direction", "shape", "speed"] {
            assert_eq!(extra[key], row[key], "{clip}");
        }
    }
}

#[test]
fn true_clips_score_and_scrambled_labels_do_not() {
    let folder = Folder::new();
    shapes(&folder, "set", &["--count", "200", "--seed", "random"]);
    let (clips, manifest) = (folder.text("set/clips"), folder.text("set/manifest.jsonl"));
    let score = |prompts: &str| -> Value {
        let said = curate(&["synth", "score", &clips, "--prompts", prompts, "--json"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        serde_json::from_str(&said.out).unwrap()
    };
    let share = |score: &Value, what: &str| score[what]["share"].as_f64().unwrap();
    let right = score(&manifest);
    assert!(share(&right, "direction") >= 0.98, "{}", right["direction"]);
    assert!(share(&right, "color") >= 0.98, "{}", right["color"]);
    assert_eq!(right["answers"].as_array().unwrap().len(), 200);
    // Each clip with the line of the next one.
    let mut lines = rows(&folder, "set/manifest.jsonl");
    lines.rotate_left(1);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path("scrambled.jsonl"), text).unwrap();
    let wrong = score(&folder.text("scrambled.jsonl"));
    assert!((0.10..0.40).contains(&share(&wrong, "direction")), "{}", wrong["direction"]);
    assert!((0.03..0.24).contains(&share(&wrong, "color")), "{}", wrong["color"]);
}

#[test]
fn prompts_are_drawn_afresh_and_say_their_truth() {
    let folder = Folder::new();
    let draw = |name: &str, seed: &[&str]| {
        let path = folder.text(name);
        let said = curate(&[&["synth", "prompts", &path, "--count", "16"], seed].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        (rows(&folder, name), said.err)
    };
    let (first, said) = draw("first.jsonl", &[]);
    let (second, _) = draw("second.jsonl", &[]);
    assert_ne!(first, second);
    let seed = first[0]["list_seed"].to_string();
    assert!(said.contains(&seed), "{said} does not say {seed}");
    let (again, _) = draw("again.jsonl", &["--seed", &seed]);
    assert_eq!(first, again);
    for row in &first {
        assert!(text(row, "prompt").contains(text(row, "color")), "{row}");
        assert!(row["seed"].is_u64(), "{row}");
    }
}

#[test]
fn a_sheet_is_drawn_and_mistakes_are_told() {
    let folder = Folder::new();
    shapes(&folder, "set", &["--count", "10", "--frames", "10"]);
    let score = ["synth", "score", "set/clips", "--prompts", "set/manifest.jsonl"];
    let said = curate_in(&folder.path("."), &[&score[..], &["--sheet", "sheet.jpg"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("direction") && said.out.contains("chance 25.0 %"), "{}", said.out);
    let jpeg = std::fs::read(folder.path("sheet.jpg")).unwrap();
    assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.len() > 10_000);
    std::fs::write(folder.path("prompts.jsonl"), "{\"prompt\": \"a dog\"}\n").unwrap();
    for (arguments, word) in [
        (vec!["synth", "score", "set/clips", "--prompts", "prompts.jsonl"], "neither `color`"),
        (vec!["synth", "score", "videos", "--prompts", "set/manifest.jsonl"], "no clip"),
        (vec!["synth", "shapes", "odd", "--size", "63"], "size: must be an even number"),
        (vec!["synth", "shapes", "odd", "--seed", "soon"], "or `random`"),
        (vec!["synth", "shapes", "odd", "--only-color", "mauve"], "none of: red, orange"),
    ] {
        let said = curate_in(&folder.path("."), &arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(word), "{arguments:?}: {}", said.err);
    }
}
