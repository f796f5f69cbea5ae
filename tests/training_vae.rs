//! `curate train vae`: from a table of videos to a VAE, killed on the way, and what a wrong file says.

use std::{collections::BTreeMap, path::Path};

use curate_models::{Weights, vae::SliceVae};

use crate::{
    training::{steps_of, train, train_with_kills},
    util::{Folder, curate},
};

/// A table of a few clips, and the text of a training run over it into `out`.
fn table() -> Folder {
    let folder = Folder::new();
    for index in 0..3 {
        folder.video(&format!("{index}.mp4"), &[3, 4, 3]);
    }
    let recipe = folder.recipe("p.toml", "table", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    folder
}

fn training(folder: &Folder, out: &str, steps: u64, more: &str) -> String {
    let text = format!(
        "out = '{}'\nstage = 'slice'\nsteps = {steps}\nseed = 3\nloss.lpips = 0.0\nheld_out = 0.0\n\
         held_out_batches = 1\nsamples = {{ steps = 4 }}\ncheckpoint = {{ steps = 2 }}\nkeep = {{ last = 2 }}\n\
         model = {{ preset = 'tiny', width = 8, groups = 8 }}\n\
         data = {{ table = '{}', size = 32, frames = 9, batch = 2 }}\n{more}",
        folder.text(out),
        folder.text("table"),
    );
    let path = folder.path(&format!("{out}.toml"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const CRITICS: &str = "adversarial = { start = 3, frames_width = 4, clips_widths = [32] }";
const NO_CRITICS: &str = "adversarial = { weight = 0.0 }";

/// Every tensor of a folder's checkpoint files, bit by bit.
fn bits(folder: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut all = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|kind| kind != "safetensors") {
            continue;
        }
        let weights = Weights::open(&file).unwrap();
        for name in weights.names() {
            let values = weights.f32(name).unwrap().into_iter().map(f32::to_bits).collect();
            all.insert(format!("{} {name}", file.file_name().unwrap().display()), values);
        }
    }
    all
}

#[test]
fn a_run_that_is_killed_is_in_the_end_the_run_that_was_not() {
    let folder = table();
    let steps = 8;
    for (name, more) in [("without", NO_CRITICS), ("with", CRITICS)] {
        let straight = training(&folder, &format!("{name}-straight"), steps, more);
        let said = train("vae", &straight, 1);
        assert_eq!(said.code, Some(0), "{}", said.err);

        let out = format!("{name}-killed");
        let killed = training(&folder, &out, steps, more);
        let run = folder.path(&out);
        let said = train_with_kills(("vae", &killed), &run, (steps as usize, 2));
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(steps_of(&run), steps as usize);

        let (straight, killed) = (folder.path(&format!("{name}-straight")), folder.path(&out));
        let last = format!("checkpoints/step-{steps:010}");
        let (a, b) = (bits(&straight.join(&last)), bits(&killed.join(&last)));
        assert!(a.keys().eq(b.keys()));
        for (name, values) in &a {
            assert_eq!(values, &b[name], "{name}");
        }
        assert_eq!(a.keys().any(|name| name.starts_with("discriminators.")), name == "with");
        let state =
            |run: &Path| std::fs::read_to_string(run.join(&last).join("state.json")).unwrap();
        assert_eq!(state(&straight), state(&killed));
        let whole = |run: &Path| std::fs::read(run.join("vae.safetensors")).unwrap();
        assert!(whole(&straight) == whole(&killed));
        let weights = Weights::open(&killed.join("vae.safetensors")).unwrap();
        let config = SliceVae::stored_config(&weights).unwrap().unwrap();
        assert!(config.scaling_factor.is_finite() && config.width == 8);
        assert!(killed.join(format!("samples/step-{steps:010}.jpg")).exists());
        // Nothing is left to do, and that is no failure.
        let path = folder.text(&format!("{out}.toml"));
        assert_eq!(curate(&["train", "vae", &path]).code, Some(0));
    }
}

#[test]
fn a_wrong_file_is_told_all_its_mistakes() {
    let folder = Folder::new();
    let path = training(&folder, "wrong", 0, "accumulate = 0\nadversarial.weight = -1.0");
    let said = curate(&["train", "vae", &path]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    for part in ["wrong.toml", "`steps`", "`accumulate`", "`adversarial.weight`"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let path = training(&folder, "frames", 1, "");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("frames = 9", "frames = 12, frame_step = 12")).unwrap();
    let said = curate(&["train", "vae", &path]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(
        said.err.contains("`data.frames`") && said.err.contains("9 and 16 can"),
        "{}",
        said.err
    );
    // Discriminators have no decoder, which is no reason to refuse a group.
    let groups = "optimizer = { groups = [{ pattern = 'decoder.*', rate = 0.1 }] }";
    let path = training(&folder, "gone", 1, &format!("{CRITICS}\n{groups}"));
    let said = curate(&["train", "vae", &path]);
    assert!(said.code != Some(0) && said.err.contains("table"), "{}", said.err);
}
