//! The detector `transnetv2` through the real binary.

use std::fs;

use crate::util::{Folder, curate};

const NETWORK: &str = "detectors = [{ kind = \"transnetv2\" }]\nmin_s = 0.2";

#[test]
fn the_network_finds_the_cuts_that_are_there() {
    let Some(models) = curate_testing::models() else { return };
    let Some(scenes) = curate_testing::shared("media/scenes") else { return };
    if !models.join("transnetv2").exists() {
        return curate_testing::skip("TransNet V2", "`make test` fetches it");
    }
    let folder = Folder::new();
    fs::create_dir_all(folder.path("videos")).unwrap();
    let name = "compose_hard17_640x360_25.mp4";
    fs::copy(scenes.join(name), folder.path("videos").join(name)).unwrap();
    let truth = fs::read(scenes.join("GT.json")).unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&truth).unwrap();
    let cuts: Vec<u64> = truth["videos"][name]["hard_cuts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cut| cut.as_u64().unwrap())
        .collect();
    let recipe = folder.recipe("p.toml", "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("{text}{NETWORK}\n")).unwrap();
    let run = curate(&["run", &recipe]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let starts = "select cast(round(start_s * 25) as bigint) as first, num_frames from clips \
                  where cut_in = 'cut' order by 1";
    let rows = folder.rows("out", starts);
    let found: Vec<u64> =
        rows.lines().skip(1).map(|row| row.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(found.len(), cuts.len(), "{found:?}, {cuts:?}");
    for (found, cut) in found.iter().zip(&cuts) {
        assert!(found.abs_diff(*cut) <= 1, "{found} for {cut}");
    }
}

#[test]
fn a_network_that_is_not_there_is_named() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("{text}{NETWORK}\n")).unwrap();
    let mut check = curate_testing::program(env!("CARGO_BIN_EXE_curate"));
    check.args(["check", &recipe]).env("CURATE_MODELS", folder.path("no-models"));
    let said = check.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{words}");
    assert!(words.contains("curate models pull transnetv2"), "{words}");
}
