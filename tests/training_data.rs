//! What a training run reads out of a table, and what is encoded into it, through the command.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use curate_testing::{make, program};
use serde_json::Value as Json;

use crate::util::{CURATE, Folder, Said, curate, said};

/// Colours as FFmpeg calls them, and as pixels from -1 to 1.
const COLORS: [(&str, [f64; 3]); 5] = [
    ("red", [1.0, -1.0, -1.0]),
    ("lime", [-1.0, 1.0, -1.0]),
    ("blue", [-1.0, -1.0, 1.0]),
    ("white", [1.0, 1.0, 1.0]),
    ("black", [-1.0, -1.0, -1.0]),
];

/// A table of films of one colour each, whose caption is the colour; some upright, some short, and two
/// pictures.
fn table(folder: &Folder) -> String {
    let videos = folder.path("videos");
    let mut manifest = String::new();
    for number in 0..10 {
        let (color, _) = COLORS[number % COLORS.len()];
        let size = if number % 2 == 0 { "96x72" } else { "72x96" };
        let seconds = if number == 9 { 1 } else { 3 };
        let name = format!("{number}.mp4");
        let line = format!(
            "-f lavfi -t {seconds} -i color={color}:size={size}:rate=10 -c:v libx264 -qp 4 -bf 2 \
             -pix_fmt yuv444p"
        );
        make(&videos, &name, &line);
        manifest += &format!("videos/{name},{color}\n");
    }
    for color in ["red", "blue"] {
        let name = format!("{color}.png");
        make(&videos, &name, &format!("-f lavfi -i color={color}:size=80x80 -frames:v 1"));
        manifest += &format!("videos/{name},{color}\n");
    }
    fs::write(folder.path("list.csv"), format!("path,caption\n{manifest}")).unwrap();
    let recipe = "[input]\npaths = [\"list.csv\"]\n[output]\npath = \"out\"\n[[stage]]\n\
                  kind = \"scenes\"\nmin_s = 0.5\n[[stage]]\nkind = \"caption\"\nbackend = \"source\"\n";
    fs::write(folder.path("p.toml"), recipe).unwrap();
    let run = curate(&["run", &folder.text("p.toml")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    folder.text("out")
}

fn read(out: &str, options: &[&str]) -> (Vec<Json>, Json) {
    let said =
        curate(&[&["buckets", out, "--json", "--size", "64", "--frames", "16"], options].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut lines: Vec<Json> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = lines.pop().unwrap();
    (lines, report)
}

/// The ids and captions of all samples.
fn samples(batches: &[Json]) -> Vec<(String, String)> {
    let clips = batches.iter().flat_map(|batch| batch["clips"].as_array().unwrap());
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    clips.map(|clip| (text(&clip["clip_id"]), text(&clip["caption"]))).collect()
}

#[test]
fn what_is_read_is_what_the_rows_say() {
    let folder = Folder::new();
    let out = table(&folder);

    let shown = curate(&["buckets", &out, "--size", "64", "--frames", "16"]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(shown.out.contains("12 rows would be used"), "{}", shown.out);
    let short = curate(&["buckets", &out, "--size", "64", "--frames", "40", "--stride", "2"]);
    assert_eq!(short.code, Some(0), "{}", short.err);
    let words = "1 would not: shorter than the shortest bucket";
    assert!(short.out.contains(words), "{}", short.out);
    assert!(shown.err.contains("estimates"), "{}", shown.err);
    let json = curate(&["buckets", &out, "--size", "64", "--frames", "16", "--json"]);
    let json: Json = serde_json::from_str(&json.out).unwrap();
    let buckets = json["buckets"].as_array().unwrap();
    let sizes: BTreeSet<(String, u64, u64, u64)> = buckets
        .iter()
        .map(|bucket| {
            let number = |key: &str| bucket[key].as_u64().unwrap();
            let kind = bucket["kind"].as_str().unwrap().to_owned();
            (kind, number("height"), number("width"), number("frames"))
        })
        .collect();
    // The short one has ten frames: a bucket of eight.
    let wanted =
        [("image", 64, 64, 1), ("video", 48, 64, 16), ("video", 64, 48, 16), ("video", 64, 48, 8)];
    assert_eq!(sizes, wanted.map(|(kind, h, w, n)| (kind.to_owned(), h, w, n)).into());

    // What the run of a file would read: a VAE needs no captions, so that rows without one count.
    let common = "out = 'run'\nsteps = 1\n[data]\ntable = 'elsewhere'\nsize = 64\nframes = 16\n";
    let vae = format!("stage = 'slice'\n{common}[model]\npreset = 'tiny'\n");
    fs::write(folder.path("vae.toml"), vae).unwrap();
    let dit = format!("stage = 'full'\n{common}[model]\npreset = 'tiny'\nvae = 'none'\n");
    fs::write(folder.path("dit.toml"), dit).unwrap();
    let of_vae = curate(&["buckets", &out, &folder.text("vae.toml")]);
    assert_eq!(of_vae.code, Some(0), "{}", of_vae.err);
    assert!(of_vae.out.contains("12 rows would be used"), "{}", of_vae.out);
    let of_dit = curate(&["buckets", &out, &folder.text("dit.toml")]);
    assert!(of_dit.out.contains("12 rows would be used"), "{}", of_dit.out);
    let words = "what is cached is not looked at";
    assert!(of_dit.err.contains(words) && of_dit.err.contains("`model.vae`"), "{}", of_dit.err);

    // Captions are of the right clip: each clip's colour is its caption.
    let (batches, report) = read(&out, &["--batch", "2", "--read", "24", "--workers", "3"]);
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for batch in &batches {
        assert!(batch["clips"].as_array().unwrap().len() == 2, "{batch}");
        for clip in batch["clips"].as_array().unwrap() {
            let caption = clip["caption"].as_str().unwrap();
            let (_, color) = COLORS.iter().find(|(name, _)| *name == caption).unwrap();
            for (channel, wanted) in color.iter().enumerate() {
                let found = clip["mean"][channel].as_f64().unwrap();
                assert!((found - wanted).abs() < 0.06, "{clip}");
            }
            let id = clip["clip_id"].as_str().unwrap().to_owned();
            seen.entry(id).or_default().insert(caption.to_owned());
        }
    }
    assert_eq!(report["samples"], 48);
    let rows = folder.rows("out", "select clip_id, caption from clips where status = 'kept'");
    for line in rows.lines().skip(1) {
        let (id, caption) = line.split_once(',').unwrap();
        if let Some(found) = seen.get(id) {
            assert_eq!(found, &BTreeSet::from([caption.to_owned()]), "{id}");
        }
    }
    // The same seed gives the same samples, whoever reads; another gives another order.
    let (again, _) = read(&out, &["--batch", "2", "--read", "24", "--workers", "1"]);
    assert_eq!(again, batches);
    let (other, _) = read(&out, &["--batch", "2", "--read", "24", "--seed", "1"]);
    assert_ne!(other, batches);
}

#[test]
fn a_filter_or_a_version_changes_exactly_the_rows_that_are_seen() {
    let folder = Folder::new();
    let out = table(&folder);
    let epoch = |options: &[&str], rows: usize| {
        let count = rows.to_string();
        let (batches, report) = read(&out, &[&["--read", &count], options].concat());
        assert_eq!(report["rows"], rows, "{report}");
        assert_eq!(report["epoch"], 0, "{report}");
        samples(&batches).into_iter().map(|(id, _)| id).collect::<BTreeSet<String>>()
    };
    let rows = |condition: &str| {
        let sql = format!("select clip_id from clips where status = 'kept' and {condition}");
        let rows = folder.rows("out", &sql);
        rows.lines().skip(1).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(epoch(&[], 12), rows("true"));
    let red = rows("caption = 'red'");
    assert_eq!(epoch(&["--where", "status = 'kept' and caption = 'red'"], red.len()), red);
    assert_eq!(curate(&["tag", &out, "before"]).code, Some(0));

    // One more film: only the newest version has it.
    let before = rows("true");
    make(&folder.path("videos"), "new.mp4", "-f lavfi -t 3 -i color=red:size=96x72:rate=10 -qp 4");
    let list = fs::read_to_string(folder.path("list.csv")).unwrap();
    fs::write(folder.path("list.csv"), format!("{list}videos/new.mp4,red\n")).unwrap();
    let run = curate(&["run", &folder.text("p.toml")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(epoch(&["--version", "before"], 12), before);
    assert_eq!(epoch(&[], 13), rows("true"));
    assert_eq!(rows("true").difference(&before).count(), 1);

    let none = curate(&["buckets", &out, "--where", "status = 'nothing'"]);
    assert_eq!(none.code, Some(2), "{}", none.err);
    let wrong = curate(&["buckets", &out, "--where", "statuss = 'kept'"]);
    assert_ne!(wrong.code, Some(0));
    assert!(wrong.err.contains("statuss"), "{}", wrong.err);
    let wrong = curate(&["buckets", &out, "--size", "50", "--frames", "19"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("data.size") && wrong.err.contains("data.frames"), "{}", wrong.err);
}

/// Ten epochs take no more memory than two. Each sample is 3 MiB as floats, so ten epochs that were kept
/// would be 360.
#[test]
fn memory_does_not_grow_with_epochs() {
    let folder = Folder::new();
    let out = table(&folder);
    fs::write(folder.path("t.toml"), "[data]\nsize = 128\nmemory = 20000000\n[model]\nx = 1\n")
        .unwrap();
    let recipe = folder.text("t.toml");
    let peak = |epochs: u64| {
        let count = (12 * epochs).to_string();
        let line = ["buckets", &out, &recipe, "--frames", "16", "--read", &count, "--json"];
        let said = curate(&line);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let report: Json = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        assert_eq!(report["samples"], 12 * epochs);
        assert!(report["values"].as_u64().unwrap() > 12 * epochs * 300_000, "{report}");
        report["peak_bytes"].as_u64().unwrap() as f64 / f64::from(1 << 20)
    };
    let (two, ten) = (peak(2), peak(10));
    assert!(ten < two + 60.0, "{two} MiB after two epochs, {ten} after ten");
}

/// A checkpoint of the smallest VAE with random weights.
fn vae(path: &Path, seed: u64) {
    use curate_models::{
        params::Params,
        vae::{SliceVae, VaeConfig},
    };
    let config = VaeConfig::preset("tiny").unwrap();
    let mut params =
        Params::seeded(seed, &curate_models::generate::Place::parse("cpu", "f32").unwrap().device);
    params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    SliceVae::save(&config, &params, path).unwrap();
}

/// Files of the table that hold clips' bytes, with their sizes.
fn bytes_of(out: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(out).join("clips.lance/data")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().display().to_string(), entry.metadata().unwrap().len());
            }
        }
    }
    found
}

#[test]
fn encoding_fills_in_what_is_missing_and_leaves_clips_alone() {
    let folder = Folder::new();
    let out = table(&folder);
    let checkpoint = folder.path("vae.safetensors");
    vae(&checkpoint, 1);
    let checkpoint = checkpoint.to_str().unwrap().to_owned();
    let text = curate_testing::root().join("models/tests/fixtures/encoders/bert");
    let encode = |more: &[&str]| -> Said {
        let text = text.to_str().unwrap();
        let line = [
            "encode",
            &out,
            "--vae",
            &checkpoint,
            "--text",
            text,
            "--tokens",
            "12",
            "--size",
            "32",
            "--frames",
            "16",
        ];
        said(&program(CURATE).args([&line[..], more].concat()).output().unwrap())
    };
    let before = bytes_of(&out);
    let first = encode(&["--where", "status = 'kept' and caption = 'red'"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains("latents of 3 clips written; 0 had them"), "{}", first.err);
    let rest = encode(&[]);
    assert_eq!(rest.code, Some(0), "{}", rest.err);
    assert!(rest.err.contains("latents of 9 clips written; 3 had them"), "{}", rest.err);
    assert!(rest.err.contains("embeddings of 9 clips written; 3 had them"), "{}", rest.err);
    let again = encode(&[]);
    assert!(again.err.contains("latents of 0 clips written; 12 had them"), "{}", again.err);
    assert_eq!(again.code, Some(0), "{}", again.err);

    // What was there is there as it was; what came is small.
    let after = bytes_of(&out);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let keys = folder.rows("out", "select latents_key, text_key from clips where status = 'kept'");
    assert_eq!(keys.matches("\"\"vae\"\"").count(), 12, "{keys}");
    assert_eq!(keys.matches("\"\"encoder\"\"").count(), 12, "{keys}");
    let hidden = curate(&["query", &out, "select latents from clips"]);
    assert_eq!(hidden.code, Some(2));
    for id in folder.rows("out", "select clip_id from clips").lines().skip(1).take(2) {
        let file = folder.text(id);
        assert_eq!(curate(&["extract", &out, id, "-o", &file]).code, Some(0));
    }

    // Another VAE makes them missing.
    vae(Path::new(&checkpoint), 2);
    let other = encode(&[]);
    assert!(other.err.contains("latents of 12 clips written; 0 had them"), "{}", other.err);
    assert!(other.err.contains("embeddings of 0 clips written; 12 had them"), "{}", other.err);

    let wrong = encode(&["--version", "1"]);
    assert_eq!(wrong.code, Some(2));
    let nothing = curate(&["encode", &out]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("--vae"), "{}", nothing.err);
    let absent = curate(&["encode", &out, "--text", "no-such-model"]);
    assert_eq!(absent.code, Some(2), "{}", absent.err);
    assert!(absent.err.contains("curate models list"), "{}", absent.err);
    fs::write(&checkpoint, b"cut off").unwrap();
    let broken = encode(&[]);
    assert_eq!(broken.code, Some(2), "{}", broken.err);
}

/// Ctrl-C writes what was encoded; the same command then does the rest.
#[test]
fn encoding_that_is_interrupted_goes_on() {
    let folder = Folder::new();
    let out = table(&folder);
    let checkpoint = folder.path("vae.safetensors");
    vae(&checkpoint, 1);
    let checkpoint = checkpoint.to_str().unwrap().to_owned();
    let line = ["encode", &out, "--vae", &checkpoint, "--size", "64", "--frames", "16"];
    let mut child = program(CURATE).args(line).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(err.any(|line| line == "12 clips lack latents"), "it does not begin");
    let pid = child.id().to_string();
    assert!(program("kill").args(["-INT", &pid]).status().unwrap().success());
    let rest: Vec<String> = err.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("run the same command again")), "{rest:?}");
    let count = |lines: &[String]| -> u64 {
        let words = "latents of ";
        let line = lines.iter().find_map(|line| line.strip_prefix(words)).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let written = count(&rest);
    let again = curate(&line);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let lines: Vec<String> = again.err.lines().map(str::to_owned).collect();
    assert_eq!(count(&lines), 12 - written, "{}", again.err);
    assert!(again.err.contains(&format!("{written} had them")), "{}", again.err);
}
