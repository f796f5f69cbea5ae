//! `curate doctor`: what it finds on the machine that the tests run on, and what it says of less.

use std::path::Path;

use curate_testing::{program, skip};

use crate::util::{CURATE, Folder, Said, said};

/// Runs `curate doctor` over a hub folder.
fn doctor(hub: &Path, args: &[&str]) -> Said {
    let mut command = program(CURATE);
    said(&command.arg("doctor").args(args).env("CURATE_MODELS", hub).output().unwrap())
}

/// The line about one thing.
fn line<'a>(said: &'a Said, what: &str) -> &'a str {
    let mut lines = said.out.lines();
    lines.find(|line| line[8..].trim_start().starts_with(what)).unwrap_or_default()
}

#[test]
fn this_machine_is_fit_for_work() {
    let Some(hub) = curate_testing::models() else { return };
    if !hub.join("onnxruntime/libonnxruntime.so").exists() {
        return skip("ONNX Runtime", "`make test` fetches it");
    }
    let folder = Folder::new();
    let said = doctor(&hub, &[&folder.text("out")]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let version = program("ffmpeg").arg("-version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.split_whitespace().nth(2).unwrap();
    assert!(line(&said, "FFmpeg").contains(version), "{version}: {}", said.out);
    assert!(line(&said, "FFmpeg").contains("libavcodec "), "{}", said.out);
    for codec in ["h264", "hevc", "av1", "vp9", "prores"] {
        assert!(line(&said, "decoders").contains(codec), "{codec}: {}", said.out);
    }
    assert!(line(&said, "encoders").contains("libx264"), "{}", said.out);
    // Whatever `ffmpeg -filters` has and curate uses is found, and the loss of the others is told.
    let filters = program("ffmpeg").args(["-v", "quiet", "-filters"]).output().unwrap();
    let filters = String::from_utf8(filters.stdout).unwrap();
    for filter in ["bwdif", "zscale", "tonemap", "premultiply"] {
        let is_there = filters.lines().any(|line| line.split_whitespace().nth(1) == Some(filter));
        let listed = line(&said, "filters").split_whitespace().any(|word| word == filter);
        assert_eq!(listed, is_there, "{filter}: {}", said.out);
        assert_eq!(said.out.contains(&format!("no {filter}: ")), !is_there, "{}", said.out);
    }
    assert_eq!(line(&said, "onnxruntime"), "ok       onnxruntime  its library can be loaded");
    // The table's folder is not there yet: the one it would be made in counts.
    let disk = line(&said, "disk");
    assert!(disk.contains(folder.text("").trim_end_matches('/')), "{}", said.out);
    assert!(!folder.path("out").exists(), "nothing is made");

    let json = doctor(&hub, &[&folder.text("out"), "--json"]);
    let lines: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), said.out.lines().count());
    assert!(lines.iter().any(|line| line["what"] == "OpenCV" && line["state"] == "ok"));
    assert!(lines.iter().all(|line| line["state"] != "ok" || line["advice"].is_null()));
}

#[test]
fn what_is_missing_comes_with_what_to_do() {
    let folder = Folder::new();
    let said = doctor(&folder.path("hub"), &[&folder.text("out")]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    let runtime = line(&said, "onnxruntime");
    assert!(runtime.starts_with("missing "), "{}", said.out);
    assert!(runtime.ends_with("; run `curate models pull default`"), "{}", said.out);
}

#[test]
fn a_recipe_says_what_it_needs() {
    let folder = Folder::new();
    folder.video("a.mp4", &[1]);
    let hub = folder.path("hub");
    // No stage of it needs a model, so that none is there is no matter.
    let recipe = folder.recipe("p.toml", "out", "cpus = 1");
    let said = doctor(&hub, &[&recipe]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(line(&said, "recipe").starts_with("ok "), "{}", said.out);
    assert!(line(&said, "cpus").ends_with("of which a run uses 1"), "{}", said.out);
    assert_eq!(line(&said, "onnxruntime"), "", "{}", said.out);

    let greedy = folder.recipe("greedy.toml", "out", "memory = \"900000GiB\"");
    let said = doctor(&hub, &[&greedy]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    let memory = line(&said, "memory");
    assert!(memory.starts_with("missing ") && memory.contains("`[run] memory`"), "{}", said.out);

    let wrong = folder.recipe("wrong.toml", "out", "cpu = 1");
    let said = doctor(&hub, &[&wrong]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    let recipe = line(&said, "recipe");
    assert!(recipe.contains("wrong.toml has 1 problem; `curate check "), "{}", said.out);
}
