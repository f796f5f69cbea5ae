//! The rules of ARCHITECTURE.md about who may use what, checked on what `cargo metadata` says.

use std::collections::{BTreeMap, BTreeSet};

use curate_testing::{program, root};

/// The libraries that only these of our crates may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["curate"]),
    ("candle-core", &["curate-models", "curate-ops", "curate-train"]),
    ("clap", &["curate"]),
    ("clap_complete", &["curate"]),
    ("datafusion", &["curate-store"]),
    ("ffmpeg-next", &["curate-media"]),
    ("indicatif", &["curate"]),
    ("lance", &["curate-store"]),
    ("opencv", &["curate-media", "curate-stages"]),
    ("ort", &["curate-models"]),
    ("reqwest", &["curate-models"]),
];

/// Which of our crates each of them may use.
const DIRECTIONS: &[(&str, &[&str])] = &[
    (
        "curate",
        &[
            "curate-models",
            "curate-schemas",
            "curate-store",
            "curate-pipeline",
            "curate-stages",
            "curate-media",
            "curate-train",
        ],
    ),
    ("curate-schemas", &[]),
    ("curate-store", &["curate-schemas"]),
    ("curate-pipeline", &["curate-schemas"]),
    ("curate-media", &["curate-schemas"]),
    ("curate-models", &["curate-ops"]),
    ("curate-ops", &[]),
    ("curate-stages", &["curate-schemas", "curate-pipeline", "curate-models", "curate-media"]),
    ("curate-testing", &[]),
    (
        "curate-train",
        &["curate-schemas", "curate-store", "curate-models", "curate-ops", "curate-media"],
    ),
];

/// Our crates and what they depend on outside of tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = program("cargo");
    let arguments = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = cargo.args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let crates = packages.map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let names = dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    });
    crates.collect()
}

#[test]
fn heavy_libraries_have_one_owner() {
    for (name, dependencies) in crates() {
        for (library, owners) in OWNERS {
            let family = format!("{library}-");
            let is_used = dependencies
                .iter()
                .any(|used| used == library || (*library == "lance" && used.starts_with(&family)));
            assert!(!is_used || owners.contains(&&*name), "{name} must not use {library}");
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let crates = crates();
    let known: BTreeSet<&str> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(found, known, "every crate has its rule here");
    for (name, may) in DIRECTIONS {
        for used in crates[*name].iter().filter(|used| found.contains(used.as_str())) {
            assert!(may.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

/// Only these may switch `unsafe` on; the workspace denies it.
#[test]
fn unsafe_code_stays_where_it_belongs() {
    let mut found = BTreeSet::new();
    for folder in ["bin", "pipeline", "schemas", "stages", "models", "tests"] {
        let listed = program("grep")
            .args(["-rlE", r"(allow|expect)\(\s*unsafe_code", "--include=*.rs", folder])
            .current_dir(root())
            .output()
            .unwrap();
        let files = String::from_utf8(listed.stdout).unwrap();
        found.extend(files.lines().map(str::to_owned));
    }
    found.remove("tests/architecture.rs");
    found.retain(|file| !file.starts_with("models/ops/src/"));
    assert_eq!(found, BTreeSet::from(["stages/media/src/lib.rs".to_owned()]));
}
