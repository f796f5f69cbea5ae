//! `make story-smoke`: the whole way from video files to a score, through the script that people run.

use std::path::Path;

use curate_testing::{models, program, root, skip};

use crate::util::{CURATE, Folder, said};

/// Seconds that each step took, by the script's own account.
fn times(folder: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(folder.join("times.tsv")).unwrap();
    let line = |line: &str| {
        let (name, seconds) = line.split_once('\t').unwrap();
        (name.to_owned(), seconds.parse().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn a_small_story_is_told_and_told_again() {
    let Some(hub) = models() else { return };
    if !hub.join("minilm-l6-v2/model.safetensors").exists() {
        return skip("MiniLM", "`make test` fetches it");
    }
    let folder = Folder::new();
    let story = folder.path("story");
    let tell = || {
        let mut script = program(root().join("bin/scripts/story.sh"));
        said(&script.args([Path::new(CURATE), &story, Path::new("smoke")]).output().unwrap())
    };
    // The script itself checks that each step leaves something and that losses go down.
    let first = tell();
    assert_eq!(first.code, Some(0), "{}", first.err);
    for made in [
        "shapes/manifest.jsonl",
        "table/clips.lance",
        "vae/vae.safetensors",
        "dit/model/model.json",
        "generated/60/0003.mp4",
        "generated/60/sheet.jpg",
        "generated/60/score.json",
    ] {
        assert!(story.join(made).exists(), "no {made}: {}", first.err);
    }
    let curve = || std::fs::read_to_string(story.join("curve.tsv")).unwrap();
    assert_eq!(curve().lines().count(), 2, "{}", curve());
    let names: Vec<String> = times(&story).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["shapes", "table", "vae", "encode", "prompts", "dit", "generate"]);
    // Told again, nothing is trained, drawn or scored again.
    let (drawn, scored) = (std::fs::read(story.join("prompts.jsonl")).unwrap(), curve());
    let second = tell();
    assert_eq!(second.code, Some(0), "{}", second.err);
    assert_eq!(std::fs::read(story.join("prompts.jsonl")).unwrap(), drawn);
    assert_eq!(curve(), scored);
    let again: Vec<String> =
        times(&story)[names.len()..].iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(again, ["table", "encode"]);
}
