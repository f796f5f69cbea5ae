//! The rules of ARCHITECTURE.md about who may use what, read from the crates' manifests.

use crate::util::root;

const MANIFESTS: &[(&str, &str)] = &[
    ("curate", "Cargo.toml"),
    ("curate-schemas", "schemas/Cargo.toml"),
    ("curate-store", "schemas/store/Cargo.toml"),
    ("curate-pipeline", "pipeline/Cargo.toml"),
    ("curate-stages", "stages/Cargo.toml"),
    ("curate-media", "stages/media/Cargo.toml"),
];

fn dependencies(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(manifest)).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn every_member_is_checked() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let members = table["workspace"]["members"].as_array().unwrap();
    assert_eq!(members.len() + 1, MANIFESTS.len(), "a new crate needs its rules here");
}

#[test]
fn heavy_libraries_have_one_owner() {
    let owners = [
        ("lance", &["curate-store"][..]),
        ("datafusion", &["curate-store"]),
        ("ffmpeg-next", &["curate-media"]),
        ("opencv", &["curate-media", "curate-stages"]),
        ("indicatif", &["curate"]),
        ("anyhow", &["curate"]),
        ("clap", &["curate"]),
    ];
    for (name, manifest) in MANIFESTS {
        let used = dependencies(manifest);
        for (library, allowed) in owners {
            let uses = used.iter().any(|dependency| dependency == library);
            assert!(!uses || allowed.contains(name), "{name} must not use {library}");
        }
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed: &[(&str, &[&str])] = &[
        ("curate-schemas", &[]),
        ("curate-store", &["curate-schemas"]),
        ("curate-pipeline", &["curate-schemas"]),
        ("curate-media", &["curate-schemas"]),
        ("curate-stages", &["curate-schemas", "curate-pipeline", "curate-media"]),
    ];
    for (name, may) in allowed {
        let manifest = MANIFESTS.iter().find(|(crate_name, _)| crate_name == name).unwrap().1;
        for dependency in dependencies(manifest) {
            let ours = dependency.starts_with("curate-");
            assert!(
                !ours || may.contains(&dependency.as_str()),
                "{name} must not use {dependency}"
            );
        }
    }
}
