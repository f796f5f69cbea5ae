//! `curate models`, with the models that `make test` has fetched.

use curate_testing::{program, skip};

use crate::util::{CURATE, Folder, Said, said};

/// Runs `curate models` over a hub folder.
fn models(hub: &std::path::Path, args: &[&str]) -> Said {
    let mut command = program(CURATE);
    said(&command.arg("models").args(args).env("CURATE_MODELS", hub).output().unwrap())
}

#[test]
fn an_empty_hub_says_what_to_do() {
    let folder = Folder::new();
    let hub = folder.path("hub");
    let list = models(&hub, &["list"]);
    assert_eq!(list.code, Some(0), "{}", list.err);
    let line = list.out.lines().find(|line| line.starts_with("onnxruntime ")).unwrap();
    assert!(line.contains(" missing ") && line.contains("33.5"), "{line}");
    assert!(list.out.contains("licence MIT"), "{}", list.out);

    let verify = models(&hub, &["verify"]);
    assert_eq!(verify.code, Some(2), "{}", verify.err);
    assert!(verify.err.contains("run `curate models pull default`"), "{}", verify.err);
    assert!(
        !verify.out.contains("torchvision"),
        "only what is wanted is looked at: {}",
        verify.out
    );

    let unknown = models(&hub, &["pull", "raft"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("no model `raft`"), "{}", unknown.err);
}

#[test]
fn what_was_pulled_is_checked_and_repaired() {
    let Some(source) = curate_testing::models() else { return };
    let folder = Folder::new();
    let hub = folder.path("hub");
    for model in ["onnxruntime", "pp-ocr-v6-small"] {
        std::fs::create_dir_all(hub.join(model)).unwrap();
        let Ok(files) = std::fs::read_dir(source.join(model)) else {
            return skip(model, "`make test` fetches it");
        };
        for file in files {
            let file = file.unwrap();
            std::fs::copy(file.path(), hub.join(model).join(file.file_name())).unwrap();
        }
    }
    let verify = models(&hub, &["verify"]);
    assert_eq!((verify.code, verify.out.contains(" present")), (Some(0), true), "{}", verify.err);
    // Nothing to fetch: works without a network and without Python.
    let mut pull = program(CURATE);
    pull.args(["models", "pull"]).env("CURATE_MODELS", &hub).env("PATH", "");
    let pull = said(&pull.output().unwrap());
    assert_eq!(pull.code, Some(0), "{}", pull.err);
    assert!(pull.err.contains("libonnxruntime.so is there"), "{}", pull.err);
    assert!(pull.err.contains(&format!("models are in {}", hub.display())), "{}", pull.err);

    // The same size and other bytes: only the checksum tells.
    std::fs::write(hub.join("onnxruntime/LICENSE"), vec![b'x'; 1073]).unwrap();
    let verify = models(&hub, &["verify", "onnxruntime"]);
    assert_eq!(verify.code, Some(2), "{}", verify.out);
    assert!(verify.err.contains("LICENSE has the SHA-256"), "{}", verify.err);
    std::fs::write(hub.join("onnxruntime/LICENSE"), "short").unwrap();
    let list = models(&hub, &["list"]);
    assert!(list.out.contains(" bad size "), "{}", list.out);

    // Repairing needs pip; without it the message says so.
    let mut pull = program(CURATE);
    pull.args(["models", "pull"]).env("CURATE_MODELS", &hub).env("PATH", "");
    let pull = said(&pull.output().unwrap());
    assert_eq!(pull.code, Some(1), "{}", pull.err);
    assert!(pull.err.contains("cannot start python3"), "{}", pull.err);
}
