//! `curate train dit` and `curate train lora`: from clips to a model and adapters that `curate generate`
//! uses, killed on the way, with one thread and with two, and what a wrong file says.

use std::{collections::BTreeMap, path::Path};

use curate_models::{
    Weights,
    generate::Place,
    params::Params,
    vae::{SliceVae, VaeConfig},
};
use curate_testing::{models, skip};

use crate::{
    training::{train, train_with_kills},
    util::{Folder, curate},
};

/// Steps of each run: some epochs of what is not held out.
const STEPS: u64 = 8;

/// A table of sixteen clips with captions, and a VAE with random weights. `None`: no text encoder.
pub(crate) fn set() -> Option<Folder> {
    let hub = models()?;
    if !hub.join("minilm-l6-v2/model.safetensors").exists() {
        skip("MiniLM", "`make test` fetches it");
        return None;
    }
    let folder = Folder::new();
    let shapes = folder.text("shapes");
    let done = curate(&["synth", "shapes", &shapes, "--count", "16", "--frames", "16"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let recipe = "[input]\npaths = [\"shapes/manifest.jsonl\"]\n[output]\npath = \"table\"\n[[stage]]\n\
                  kind = \"scenes\"\nmin_s = 0.5\n[[stage]]\nkind = \"caption\"\nbackend = \"source\"\n";
    std::fs::write(folder.path("p.toml"), recipe).unwrap();
    let done = curate(&["run", &folder.text("p.toml")]);
    assert_eq!(done.code, Some(0), "{}", done.err);

    write_vae(&folder, 1);
    Some(folder)
}

fn write_vae(folder: &Folder, seed: u64) {
    let mut config = VaeConfig::preset("tiny").unwrap();
    (config.width, config.groups, config.scaling_factor) = (8, 8, 1.0);
    let place = Place::parse("cpu", "f32").unwrap();
    let mut params = Params::seeded(seed, &place.device);
    params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    SliceVae::save(&config, &params, &folder.path("vae.safetensors")).unwrap();
}

/// The lines of a run's log.
fn logged(folder: &Folder, run: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.path(run).join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The file of a run into `out`; `more` goes before the tables.
fn file(folder: &Folder, out: &str, model: &str, more: &str) -> String {
    let text = format!(
        "out = '{}'\nsteps = {STEPS}\nseed = 5\nheld_out = 0.5\n{more}\n\
         checkpoint = {{ steps = 2 }}\nkeep = {{ last = 2 }}\n\
         objective = {{ prediction = 'flow', variance = 'fixed' }}\n\
         data = {{ table = '{}', size = 64, frames = 8, batch = 3 }}\n\
         model = {{ {model}, fps = 8.0 }}\n\
         measure = {{ every = {{ steps = 4 }}, prompts = ['a red circle moves left'], images = ['a square'] }}\n\
         sampling = {{ sampler = 'flow-euler', steps = 2, guidance = 2.0 }}\n",
        folder.text(out),
        folder.text("table"),
    );
    let path = folder.path(&format!("{out}.toml"));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn preset(folder: &Folder) -> String {
    let vae = folder.text("vae.safetensors");
    format!(
        "preset = 'tiny', layers = 2, in_channels = 4, out_channels = 4, sample_size = 8, vae = '{vae}'"
    )
}

/// Every file of the last checkpoint, byte by byte.
fn last_checkpoint(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = run.join(format!("checkpoints/step-{STEPS:010}"));
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn expect_equal(a: &Path, b: &Path) {
    let (a, b) = (last_checkpoint(a), last_checkpoint(b));
    assert!(a.len() >= 3 && a.keys().eq(b.keys()), "{:?} {:?}", a.keys(), b.keys());
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

#[test]
fn killed_runs_end_as_straight_ones_and_make_models_and_adapters() {
    let Some(folder) = set() else { return };
    let model = preset(&folder);
    let stage = "stage = 'full'\nema = { decay = 0.9 }";
    let straight = train("dit", &file(&folder, "straight", &model, stage), 1);
    assert_eq!(straight.code, Some(0), "{}", straight.err);
    let path = file(&folder, "killed", &model, stage);
    let steps = STEPS as usize;
    let killed = train_with_kills(("dit", &path), &folder.path("killed"), (steps, 2));
    assert_eq!(killed.code, Some(0), "{}", killed.err);
    expect_equal(&folder.path("straight"), &folder.path("killed"));
    // What was cut off is not in the log twice, and what was measured is the same.
    let logs = ["straight", "killed"].map(|run| logged(&folder, run));
    let numbers: Vec<u64> = logs[1].iter().map(|point| point["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=STEPS).collect::<Vec<_>>());
    for (straight, killed) in logs[0].iter().zip(&logs[1]) {
        for name in ["loss", "grad_norm", "held_out_loss"] {
            assert_eq!(straight.get(name), killed.get(name), "{name} of step {}", killed["step"]);
        }
        let step = killed["step"].as_u64().unwrap();
        assert_eq!(killed.get("held_out_loss").is_some(), step % 4 == 0, "{killed}");
    }
    for made in [
        "samples/first-batch.jpg",
        "samples/step-0000000008.jpg",
        "samples/step-0000000008-0.mp4",
        "samples/step-0000000008-images.jpg",
        "model/model.json",
    ] {
        assert!(folder.path("killed").join(made).exists(), "no {made}");
    }

    // A checkpoint of another VAE under the same name is another run.
    let (vae, aside) = (folder.path("vae.safetensors"), folder.path("aside.safetensors"));
    std::fs::rename(&vae, &aside).unwrap();
    write_vae(&folder, 2);
    let other = train("dit", &path, 1);
    assert!(other.code == Some(2) && other.err.contains("`made_of.vae`"), "{}", other.err);
    std::fs::rename(&aside, &vae).unwrap();

    // The same from cached latents trains, too, and no frame is decoded.
    let encoded = curate(&[
        "encode",
        &folder.text("table"),
        "--vae",
        &folder.text("vae.safetensors"),
        "--text",
        "minilm-l6-v2",
        "--size",
        "64",
        "--frames",
        "8",
    ]);
    assert_eq!(encoded.code, Some(0), "{}", encoded.err);
    let path = file(&folder, "cached", &model, stage);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("batch = 3", "batch = 3, cache = 'require'")).unwrap();
    let cached = train("dit", &path, 2);
    assert_eq!(cached.code, Some(0), "{}", cached.err);
    assert!(!folder.path("cached/samples/first-batch.jpg").exists());

    // What the model makes of each clip, held-out ones too; a clip's numbers are its own.
    let path = folder.text("straight.toml");
    let measured = curate(&["train", "losses", &path]);
    assert_eq!(measured.code, Some(0), "{}", measured.err);
    assert!(
        measured.err.contains("losses of 16 clips written, by the model of step 8; 0 had"),
        "{}",
        measured.err
    );
    let sql = "select clip_id, loss, caption_gain, loss_key from clips order by clip_id";
    let losses = folder.rows("table", sql);
    let numbers: Vec<f64> = losses
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(numbers.len() == 16 && numbers.iter().all(|loss| *loss > 0.0), "{losses}");
    let again = curate(&["train", "losses", &path]);
    assert!(
        again.err.contains("losses of 0 clips written") && again.err.contains("16 had"),
        "{}",
        again.err
    );
    let first = losses.lines().nth(1).unwrap().split(',').next().unwrap();
    let one = format!("clip_id = '{first}'");
    let alone = curate(&["train", "losses", &path, "--times", "2", "--where", &one]);
    assert!(alone.err.contains("losses of 1 clips written"), "{}", alone.err);
    let back = curate(&["train", "losses", &path, "--where", &one]);
    assert!(back.err.contains("losses of 1 clips written"), "{}", back.err);
    assert_eq!(folder.rows("table", sql), losses, "measured alone as among others");
    let other = curate(&["train", "losses", &file(&folder, "untrained", &model, "stage = 'full'")]);
    assert!(other.code == Some(2) && other.err.contains("no checkpoint"), "{}", other.err);

    // Adapters beside the model, killed as well.
    let base = format!("from = '{}'", folder.text("straight/model"));
    let stage = "stage = 'lora'\nlora = { rank = 4, alpha = 4.0, dropout = 0.1 }\noptimizer = { learning_rate = 1e-2 }";
    let lora = train("lora", &file(&folder, "lora", &base, stage), 1);
    assert_eq!(lora.code, Some(0), "{}", lora.err);
    let path = file(&folder, "lora-killed", &base, stage);
    let killed = train_with_kills(("lora", &path), &folder.path("lora-killed"), (steps, 1));
    assert_eq!(killed.code, Some(0), "{}", killed.err);
    let both = ["lora", "lora-killed"].map(|run| folder.path(run));
    let [a, b] = both.each_ref().map(|run| last_checkpoint(run));
    assert!(a == b, "adapters differ");
    let adapters = Weights::open(&folder.path("lora/lora.safetensors")).unwrap();
    let is_trained = adapters
        .names()
        .filter(|name| name.ends_with("lora_up.weight"))
        .all(|name| adapters.f32(name).unwrap().iter().any(|value| *value != 0.0));
    assert!(is_trained, "an adapter was not trained");
    assert!(folder.path("lora/peft/adapter_config.json").exists());

    // What they change is to be seen.
    let clip = |name: &str, more: &[&str]| {
        let (model, out) = (folder.text("straight/model"), folder.text(name));
        let args = ["generate", "a red circle", "--model", &model, "--frames", "8", "-o", &out];
        let made = curate(&[&args, more].concat());
        assert_eq!(made.code, Some(0), "{}", made.err);
        std::fs::read(folder.path(name)).unwrap()
    };
    let adapted = folder.text("lora/lora.safetensors");
    assert!(clip("plain.gif", &[]) != clip("adapted.gif", &["--lora", &adapted]));
}

#[test]
fn wrong_files_are_told_all_their_mistakes() {
    let folder = Folder::new();
    let model = "preset = 'huge'";
    let path = file(&folder, "wrong", model, "stage = 'full'\naccumulate = 0\ntext_dropout = 2.0");
    let wrong = train("dit", &path, 1);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    for part in ["wrong.toml", "`accumulate`", "`text_dropout`", "`model.preset`", "`model.vae`"] {
        assert!(wrong.err.contains(part), "{part}: {}", wrong.err);
    }
    let unknown = train("dit", &file(&folder, "unknown", model, "stage = 'full'\nstepz = 3"), 1);
    assert!(unknown.code == Some(2) && unknown.err.contains("stepz"), "{}", unknown.err);
    let stage = train("dit", &file(&folder, "stage", model, "stage = 'all'"), 1);
    assert!(stage.code == Some(2) && stage.err.contains("\"adapt-vae\""), "{}", stage.err);
    let lora = train("lora", &file(&folder, "lora", model, "stage = 'lora'"), 1);
    assert!(lora.code == Some(2) && lora.err.contains("`model.from`"), "{}", lora.err);
    for (name, more, key) in [
        ("timesteps", "timesteps = { name = 'uniform', mean = 9.0 }", "`timesteps"),
        ("typo", "timesteps = { meen = 9.0 }", "meen"),
        ("number", "timesteps = { mean = nan }", "`timesteps.mean`"),
        (
            "weights",
            "objective = { weighting = { name = 'even', gamma = 5.0 } }",
            "`objective.weighting",
        ),
        ("minutes", "checkpoint = { minutes = 1e300 }", "`checkpoint.minutes`"),
    ] {
        let text = std::fs::read_to_string(file(&folder, name, model, "stage = 'full'")).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let word = more.split(' ').next().unwrap();
        lines.retain(|line| !line.trim_start().starts_with(word));
        let path = folder.path(&format!("{name}.toml"));
        std::fs::write(&path, format!("{more}\n{}", lines.join("\n"))).unwrap();
        let wrong = train("dit", path.to_str().unwrap(), 1);
        assert!(wrong.code == Some(2) && wrong.err.contains(key), "{name}: {}", wrong.err);
    }
    let absent = train("dit", &folder.text("none.toml"), 1);
    assert!(absent.code != Some(0) && absent.err.contains("none.toml"), "{}", absent.err);
}
