//! What people do with a table: captions, search, versions, differences, exports.

use std::{collections::BTreeMap, fs, path::Path};

use curate_testing::{python, root};
use serde_json::Value as Json;

use crate::util::{Folder, curate, said};

/// A table of a few kept clips with captions from measured values.
fn table(folder: &Folder) -> String {
    folder.video("a.mp4", &[4, 5]);
    folder.video("b.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    let rest = "[[stage]]\nkind = \"quality\"\n[[stage]]\nkind = \"caption\"\n";
    fs::write(&recipe, format!("{text}{rest}")).unwrap();
    let run = curate(&["run", &recipe]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    recipe
}

#[test]
fn captions_are_searched_and_versions_compared_and_restored() {
    let folder = Folder::new();
    table(&folder);
    let out = folder.text("out");
    let models = folder.rows("out", "select distinct caption_model, caption_flags from clips");
    assert_eq!(models.lines().nth(1).unwrap(), "attributes/1,[]");

    let word = folder.rows("out", "select caption from clips order by clip_id limit 1");
    let word = word.lines().nth(1).unwrap().trim_matches('"').split(' ').nth(1).unwrap().to_owned();
    for step in ["without an index", "with one"] {
        let found = curate(&["search", &out, &word, "--json"]);
        assert_eq!(found.code, Some(0), "{step}: {}", found.err);
        let first: Json = serde_json::from_str(found.out.lines().next().unwrap()).unwrap();
        assert!(first["caption"].as_str().unwrap().contains(&word), "{step}: {first}");
        assert_eq!(curate(&["index", &out]).code, Some(0));
    }
    let nothing = curate(&["search", &out, "zzzz"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(0), ""), "{}", nothing.err);
    assert!(nothing.err.contains("nothing found"), "{}", nothing.err);
    assert_eq!(curate(&["search", &out]).code, Some(2));
    let like = curate(&["search", &out, "--like", &"0".repeat(32)]);
    assert_eq!(like.code, Some(2));

    let before = folder.canonical("out");
    assert_eq!(curate(&["tag", &out, "before"]).code, Some(0));
    let set = curate(&["refilter", &out, "--set", "quality.sharpness.min=1e9"]);
    assert_eq!(set.code, Some(0), "{}", set.err);
    let diff = curate(&["diff", &format!("{out}@before"), &out, "--json"]);
    assert_eq!(diff.code, Some(0), "{}", diff.err);
    let diff: Json = serde_json::from_str(&diff.out).unwrap();
    assert_eq!((&diff["added"], &diff["removed"]), (&Json::from(0), &Json::from(0)));
    assert_eq!(diff["verdicts"][0]["from"], "kept");
    assert_eq!(diff["verdicts"][0]["to"], "dropped quality blurred");
    let query = "select count(*) from clips where status = 'kept'";
    let old = curate(&["query", &out, query, "--version", "before", "--format", "csv"]);
    assert_eq!(old.out, "count(*)\n3\n", "{}", old.err);

    let versions = curate(&["versions", &out]);
    assert!(versions.out.lines().any(|line| line.ends_with("  before")), "{}", versions.out);
    let back = curate(&["restore", &out, "before"]);
    assert_eq!(back.code, Some(0), "{}", back.err);
    assert_eq!(folder.canonical("out"), before);
    assert_eq!(curate(&["restore", &out, "nowhere"]).code, Some(2));
    assert_eq!(curate(&["tag", &out, "7"]).code, Some(2));
    assert_eq!(curate(&["diff", &out, &out]).code, Some(2));
}

#[test]
fn a_restored_table_gets_back_what_it_lost_by_a_run() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let out = folder.text("out");
    assert_eq!(curate(&["tag", &out, "one"]).code, Some(0));
    folder.video("b.mp4", &[5]);
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let both = folder.canonical("out");
    assert_eq!(curate(&["restore", &out, "one"]).code, Some(0));
    assert_ne!(folder.canonical("out"), both);
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(folder.canonical("out"), both);
}

/// Files of a folder with their bytes, what stands beside left out.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let inner = files(&path);
            found.extend(inner.into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn exports_are_read_by_the_programs_they_are_for() {
    let folder = Folder::new();
    table(&folder);
    let out = folder.text("out");
    let export = |form: &str, more: &[&str]| {
        let to = folder.text(&format!("export-{form}"));
        let mut args = vec!["export", &out, &to, "--format", form];
        args.extend(more);
        curate(&args)
    };
    for form in ["webdataset", "folder", "easyanimate", "parquet", "csv", "jsonl"] {
        let done = export(form, &["--shard-mib", "1"]);
        assert_eq!(done.code, Some(0), "{form}: {}", done.err);
        let made = files(&folder.path(&format!("export-{form}")));
        assert!(made.keys().all(|name| !name.contains(".part-")), "{form}: {:?}", made.keys());
        let card = String::from_utf8(made["README.md"].clone()).unwrap();
        assert!(card.contains("3 clips") && card.contains("attributes/1: 3 clips"), "{card}");

        // A part is lost: only that is written again, and everything is as before.
        let lost = made.keys().find(|name| !name.ends_with(".md") && *name != "export.json");
        let lost = lost.unwrap().clone();
        fs::remove_file(folder.path(&format!("export-{form}")).join(&lost)).unwrap();
        let again = export(form, &["--shard-mib", "1"]);
        assert_eq!(again.code, Some(0), "{form}: {}", again.err);
        assert_eq!(files(&folder.path(&format!("export-{form}"))), made, "{form}");
        let other = export(form, &["--where", "true"]);
        assert_eq!(other.code, Some(2), "{form}");
        assert!(other.err.contains("holds another export"), "{form}: {}", other.err);
    }

    let ids = folder.rows("out", "select clip_id, caption from clips order by clip_id");
    let ids: Vec<&str> = ids.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    let train = fs::read(folder.path("export-easyanimate/train.json")).unwrap();
    let train: Json = serde_json::from_slice(&train).unwrap();
    assert_eq!(train.as_array().unwrap().len(), 3);
    for (row, id) in train.as_array().unwrap().iter().zip(&ids) {
        assert_eq!(row["file_path"], format!("clips/{id}.mp4"));
        assert_eq!((&row["type"], &row["width"]), (&Json::from("video"), &Json::from(320)));
        let file = folder.path("export-easyanimate").join(row["file_path"].as_str().unwrap());
        let alone = folder.text("one.mp4");
        assert_eq!(curate(&["extract", &out, id, "-o", &alone]).code, Some(0));
        assert_eq!(fs::read(file).unwrap(), fs::read(&alone).unwrap());
    }

    let Some(mut reader) = python("read_exports.py") else { return };
    let read = reader.args([folder.path("export-webdataset"), folder.path("export-parquet")]);
    let read = said(&read.output().unwrap());
    assert_eq!(read.code, Some(0), "{}", read.err);
    let found: Json = serde_json::from_str(&read.out).unwrap();
    assert_eq!(found["webdataset"], found["parquet"]);
    let found: Vec<&String> = found["parquet"].as_object().unwrap().keys().collect();
    assert_eq!(found, ids);
}

#[test]
fn what_cannot_be_exported_says_why() {
    let folder = Folder::new();
    table(&folder);
    let out = folder.text("out");
    let to = folder.text("to");
    let none = curate(&["export", &out, &to, "--format", "jsonl", "--where", "status = 'failed'"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("no clip of"), "{}", none.err);
    fs::create_dir(folder.path("full")).unwrap();
    fs::write(folder.path("full/mine.txt"), "mine").unwrap();
    let full = curate(&["export", &out, &folder.text("full"), "--format", "jsonl"]);
    assert_eq!(full.code, Some(2));
    assert!(full.err.contains("is not empty"), "{}", full.err);
    assert_eq!(fs::read_to_string(folder.path("full/mine.txt")).unwrap(), "mine");
    let sql =
        curate(&["export", &out, &folder.text("x"), "--format", "csv", "--where", "nope = 1"]);
    assert_eq!(sql.code, Some(2), "{}", sql.err);
}

#[test]
fn the_loader_of_the_readme_works_as_printed() {
    let Some(mut loader) = python("readme_loader.py") else { return };
    let folder = Folder::new();
    table(&folder);
    let loader = loader.arg(root().join("README.md")).arg(folder.path("out/clips.lance"));
    let read = said(&loader.output().unwrap());
    assert_eq!(read.code, Some(0), "{}", read.err);
    let clips: Vec<(String, usize, String)> = serde_json::from_str(&read.out).unwrap();
    assert_eq!(clips.len(), 3);
    assert!(
        clips.iter().all(|(caption, bytes, kind)| {
            !caption.is_empty() && *bytes > 1000 && kind == "ftyp"
        })
    );
}
