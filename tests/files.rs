//! Every shared sample file, whole or broken, through `curate run`: a status with a reason, as
//! many frames as the `ffmpeg` program of the same version, and nothing done twice.

use std::{collections::BTreeMap, path::Path};

use curate_media::{Access, probe};
use curate_testing::{ffmpeg_frames, program, shared};

use crate::util::{Folder, curate};

/// What became of a file.
#[derive(Debug, PartialEq)]
struct Fate {
    status: String,
    reason: String,
    frames: u64,
}

fn fates(folder: &Folder) -> BTreeMap<String, Fate> {
    let sql = "select source_uri, status, coalesce(error_kind, '') as kind, frames_source, \
               coalesce(error_message, '') as message from units";
    let json = curate(&["query", &folder.text("out"), sql, "--format", "json"]);
    assert_eq!(json.code, Some(0), "{}", json.err);
    let mut fates = BTreeMap::new();
    for line in json.out.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let name = text("source_uri").rsplit('/').next().unwrap().to_owned();
        let frames = row["frames_source"].as_u64().unwrap();
        let reason = format!("{} {}", text("kind"), text("message")).trim().to_owned();
        let fate = Fate { status: text("status"), reason, frames };
        assert!(fates.insert(name, fate).is_none(), "one unit for each of these files");
    }
    fates
}

/// The frames and the status that `ffmpeg -f null` of the same version comes to: `failed` without
/// a frame, `partial` when it reports errors, else `ok`.
fn by_ffmpeg(path: &Path) -> (u64, &'static str) {
    let stream = probe(path, &Access::default()).map_or(0, |info| info.video.index);
    let frames = ffmpeg_frames(path, stream);
    let map = format!("0:{stream}");
    let mut command = program("ffmpeg");
    command
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", &map, "-f", "null", "-"]);
    let errors = command.output().unwrap().stderr;
    let status = match (frames, errors.is_empty()) {
        (0, _) => "failed",
        (_, true) => "ok",
        (_, false) => "partial",
    };
    (frames, status)
}

/// Runs over a folder of sample files twice.
fn check(name: &str, code: i32) {
    let Some(media) = shared("media") else { return };
    let media = media.join(name);
    let folder = Folder::new();
    let over = media.to_str().unwrap().to_owned();
    let paths: Vec<String> = std::fs::read_dir(&media)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let recipe = folder.recipe_over("p.toml", &over, "out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(code), "{}", said.err);
    assert!(said.err.contains("= 1.00;"), "{}", said.err);
    let fates = fates(&folder);
    assert_eq!(fates.len(), paths.len(), "every file has a row: {:?}", fates.keys());
    let mut differences = Vec::new();
    for (file, fate) in &fates {
        let (frames, status) = by_ffmpeg(&media.join(file));
        if fate.frames != frames || fate.status != status {
            differences
                .push(format!("{file}: {fate:?}, but {frames} frames and {status} by ffmpeg"));
        }
        let has_reason = !fate.reason.is_empty();
        assert_eq!(has_reason, fate.status != "ok", "{file}: {fate:?}");
        assert!(["ok", "partial", "failed"].contains(&&*fate.status), "{file}: {fate:?}");
    }
    assert!(differences.is_empty(), "{differences:#?}");

    let before = folder.canonical("out");
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(code), "{}", again.err);
    assert!(again.err.contains("nothing was decoded"), "{}", again.err);
    assert_eq!(folder.canonical("out"), before);
}

#[test]
fn broken_files_end_with_a_reason() {
    check("broken", 3);
}

#[test]
fn sample_clips_are_read_whole() {
    check("clips", 3);
}

#[test]
fn other_files_are_skipped_and_counted() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    for name in ["notes.txt", "cover.jpg", "sound.mp3", ".hidden.mp4"] {
        std::fs::write(folder.path("videos").join(name), "something else").unwrap();
    }
    let recipe = folder.recipe("p.toml", "out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("sources 1 (left aside: 1 hidden, 3 other_type)"), "{}", said.err);
}
