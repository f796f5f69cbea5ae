//! The commands of docs/training.md, run as they are written.

use std::fmt::Write as _;

use curate_testing::{models, program, root, skip};

use crate::util::{CURATE, Folder, said};

/// The blocks of shell commands of a page.
fn blocks(page: &str) -> Vec<&str> {
    let parts = page.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

#[test]
fn the_page_on_training_runs_as_written() {
    let Some(hub) = models() else { return };
    if !hub.join("minilm-l6-v2/model.safetensors").exists() {
        skip("MiniLM", "`make test` fetches it");
        return;
    }
    let page = std::fs::read_to_string(root().join("docs/training.md")).unwrap();
    let blocks = blocks(&page);
    assert_eq!(blocks.len(), 7);
    let mut script = "set -euo pipefail\n".to_owned();
    for block in blocks {
        script.write_str(block).unwrap();
    }
    let folder = Folder::new();
    let here = folder.path("here");
    std::fs::create_dir(&here).unwrap();
    let binaries = std::path::Path::new(CURATE).parent().unwrap().to_str().unwrap();
    let mut bash = program("bash");
    bash.args(["-c", &format!("PATH={binaries}:$PATH\n{script}")]).current_dir(&here);
    let done = said(&bash.output().unwrap());
    assert_eq!(done.code, Some(0), "{}\n{}", done.out, done.err);
    for made in [
        "vae/vae.safetensors",
        "dit/plots.html",
        "dit/samples/step-0000000003.jpg",
        "dit/samples/step-0000000003-0.mp4",
        "dit/samples/step-0000000003-images.jpg",
        "circle.mp4",
        "lora/peft/adapter_config.json",
        "adapted.mp4",
    ] {
        assert!(here.join(made).exists(), "no {made}: {}", done.err);
    }
}
