//! `curate generate` through the real binary, with the smallest preset and random weights: what it
//! writes is noise, and everything else is as with a trained model.

mod faults;
mod files;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use curate_models::{
    dit::{Config, Transformer3d},
    generate::{ModelCard, ModelFolder, Place},
    params::Params,
    vae::{SliceVae, VaeConfig},
};
use curate_testing::{ffmpeg, make, models, program, skip};

use crate::util::{CURATE, Folder, Said, curate, said};

/// Whether the text encoder is there.
fn is_ready() -> bool {
    let Some(hub) = models() else { return false };
    let is_there = hub.join("minilm-l6-v2/model.safetensors").exists();
    if !is_there {
        skip("MiniLM", "`make test` fetches it");
    }
    is_there
}

/// Small, and quick enough for a debug machine.
const SMALL: &[&str] =
    &["--model", "preset:tiny", "--size", "64x32", "--frames", "16", "--steps", "2"];

fn generate(more: &[&str]) -> Said {
    let args: Vec<&str> = [&["generate"], SMALL, more].concat();
    curate(&args)
}

fn made(more: &[&str]) -> Said {
    let said = generate(more);
    assert_eq!(said.code, Some(0), "{more:?}: {}", said.err);
    said
}

/// What ffprobe says of the video stream.
fn probed(path: &Path) -> BTreeMap<String, String> {
    let entries = "stream=codec_name,pix_fmt,width,height,nb_read_frames,avg_frame_rate";
    let output = program("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", entries, "-of", "default=nw=1"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn expect(path: &Path, wanted: &[(&str, &str)]) {
    let found = probed(path);
    for (key, value) in wanted {
        assert_eq!(
            found.get(*key).map(String::as_str),
            Some(*value),
            "{key} of {}",
            path.display()
        );
    }
}

/// Every file of a folder and its bytes, records left out.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(inner, bytes)| (name.join(inner), bytes)));
        } else if path.extension().is_none_or(|ending| ending != "json") {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn every_form_is_what_players_expect() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let out = folder.text("out");
    let said = made(&["A dog runs.", "-o", &out, "--seed", "7"]);
    let film = folder.path("out/a-dog-runs-7.mp4");
    assert_eq!(said.out, format!("{}\n", film.display()));
    assert!(said.err.contains("peak memory"), "{}", said.err);
    expect(
        &film,
        &[
            ("codec_name", "h264"),
            ("pix_fmt", "yuv420p"),
            ("width", "64"),
            ("height", "32"),
            ("nb_read_frames", "16"),
            ("avg_frame_rate", "24/1"),
        ],
    );
    let slow = folder.path("slow.mp4");
    made(&["A dog", "-o", slow.to_str().unwrap(), "--fps", "29.97", "--frames", "9"]);
    expect(&slow, &[("nb_read_frames", "9"), ("avg_frame_rate", "30000/1001")]);

    let gif = folder.path("dog.gif");
    made(&["A dog", "-o", gif.to_str().unwrap()]);
    expect(&gif, &[("codec_name", "gif"), ("width", "64"), ("nb_read_frames", "16")]);

    made(&["A dog", "-o", &folder.text("frames"), "--format", "png"]);
    let frames = files(&folder.path("frames"));
    assert_eq!(frames.len(), 16);
    expect(
        &folder.path("frames/a-dog-0/0015.png"),
        &[("codec_name", "png"), ("pix_fmt", "rgb24"), ("width", "64"), ("height", "32")],
    );

    let picture = folder.path("still.png");
    made(&["A dog", "-o", picture.to_str().unwrap(), "--frames", "1"]);
    expect(&picture, &[("codec_name", "png"), ("nb_read_frames", "1")]);
    assert!(folder.path("still.json").exists());
    let said = generate(&["A dog", "-o", &folder.text("still.gif")]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("still.json is there"), "{}", said.err);
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_is_made_beside_it() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let prompts = folder.text("prompts.jsonl");
    let lines = "{\"prompt\": \"a red ball\", \"seed\": 5, \"colour\": \"red\"}\n\n\
                 a blue ball\n\
                 {\"prompt\": \"a green ball\", \"negative\": \"grey\"}\n";
    fs::write(&prompts, lines).unwrap();
    let make = |out: &str, more: &[&str]| {
        let out = folder.text(out);
        made(&[&["--prompts", &prompts, "-o", &out, "--sampler", "euler-a"], more].concat());
        files(Path::new(&out))
    };
    let first = make("one", &[]);
    let names: Vec<_> = first.keys().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(names, ["0000.mp4", "0001.mp4", "0002.mp4"]);
    assert!(first == make("two", &[]), "the same command gave other bytes");
    // Products of matrices are summed in another order for other numbers of rows: by rounding, which
    // H.264 would make more of, and never more.
    make("alone", &["--format", "png"]);
    make("batch", &["--format", "png", "--batch", "3"]);
    for name in ["0000", "0001", "0002"] {
        let pixels = |out: &str| {
            let frames = folder.path(out).join(name).join("%04d.png");
            let frames = frames.to_str().unwrap();
            ffmpeg(["-v", "error", "-i", frames, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        };
        let (alone, together) = (pixels("alone"), pixels("batch"));
        assert_eq!((alone.len(), together.len()), (64 * 32 * 3 * 16, 64 * 32 * 3 * 16));
        let gaps = alone.iter().zip(&together).map(|(a, b)| a.abs_diff(*b));
        assert!(gaps.max() <= Some(1), "{name}");
    }
    let other = make("five", &["--seed", "1"]);
    // The first has a seed of its own.
    let is_same = |name: &str| first[Path::new(name)] == other[Path::new(name)];
    assert!(is_same("0000.mp4") && !is_same("0001.mp4"));

    // A record makes its clip again.
    let again = folder.text("again");
    let from = folder.text("one/0002.json");
    let said = curate(&["generate", "--from", &from, "-o", &again]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let again = files(Path::new(&again));
    assert!(again[Path::new("0002.mp4")] == first[Path::new("0002.mp4")], "--from");

    // A list that was stopped goes on, and what was made otherwise is not written over.
    fs::remove_file(folder.path("one/0001.mp4")).unwrap();
    let one = folder.text("one");
    let list = ["--prompts", &prompts, "-o", &one, "--sampler", "euler-a"];
    let said = made(&list);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    assert!(said.err.contains("0000.mp4 is there"), "{}", said.err);
    assert!(files(Path::new(&one)) == first);
    let said = generate(&[&list[..], &["--steps", "3"]].concat());
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("0000.mp4 and 2 more is there"), "{}", said.err);
    assert!(files(Path::new(&one)) == first);
    made(&[&list[..], &["--guidance", "2", "--force"]].concat());
    assert!(files(Path::new(&one)) != first);
}

#[test]
fn wrong_arguments_say_what_would_be_right() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let out = folder.text("out");
    fs::write(folder.path("empty.txt"), "\n").unwrap();
    fs::write(folder.path("bad.jsonl"), "{\"prompt\": 3}\n").unwrap();
    fs::write(folder.path("text.png"), "no picture").unwrap();
    let (empty, bad) = (folder.text("empty.txt"), folder.text("bad.jsonl"));
    let (text, table) = (folder.text("text.png"), folder.text("table"));
    let gone = folder.text("gone");
    let gif = folder.text("a.gif");
    let cases: &[(&[&str], &str)] = &[
        (&["x", "--size", "100x64"], "multiples of 16; the nearest are 96x64 or 112x64"),
        (&["x", "--size", "64"], "384x672"),
        (&["x", "--frames", "12"], "12 cannot be made; the nearest are 9 and 16"),
        (&["x", "--frames", "0"], "frames: 0 cannot be made; the nearest is 1"),
        (&["x", "--sampler", "eular"], "there is no sampler `eular`; there are `euler`"),
        (&["x", "--sampler", "flow-euler"], "not for models that predict `epsilon`"),
        (&["x", "--steps", "0"], "0 steps"),
        (&["x", "--guidance", "-1"], "guidance: -1"),
        (&["x", "--fps", "0"], "--fps 0"),
        (&["x", "--device", "tpu"], "there is no `tpu`; there are `cpu`"),
        (&["x", "--dtype", "int8"], "there is no `int8`"),
        (
            &["x", "--model", "preset:huge"],
            "there is no transformer `huge`; there are tiny, s, xl2",
        ),
        (&["x", "--model", &gone], "there is no such folder"),
        (&[], "say what is to be seen"),
        (&["--prompts", &empty], "say what is to be seen"),
        (&["--prompts", &bad], "line 1 of"),
        (&["--prompts", &gone], "--prompts: cannot read"),
        (&["x", "y", "-o", &gif], "is one file and there are 2 prompts"),
        (
            &["x", "x", "--prompts", &empty, "--seed", "3", "-o", &gif, "--format", "mp4"],
            "contradict",
        ),
        (&["x", "-o", &folder.text("a.png")], "a clip is many pictures"),
        (&["x", "--start", &gone], "--start: cannot read"),
        (&["x", "--start", &text], "--start: "),
        (&["x", "--start-frames", "4"], "give it, too"),
        (&["x", "--lora", &gone], "--lora"),
        (&["x", "--lora", "a=b"], "`b` is no weight"),
        (&["x", "--from", &gone], "cannot be used with"),
        (&["x", "--format", "gif", "--append", &table], "--append takes MP4 clips"),
    ];
    for (args, words) in cases {
        // The last of two values of an option counts.
        let mut all = vec!["generate", "--size", "64x32", "--frames", "16", "--steps", "1"];
        all.extend(["--model", "preset:tiny", "-o", &out]);
        all.extend(*args);
        let said = curate(&all);
        assert_eq!(said.code, Some(2), "{args:?}: {} {}", said.out, said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    assert!(!folder.path("out").exists());
    let mut without = program(CURATE);
    without.args([&["generate", "x", "-o", &out], SMALL].concat());
    let without = said(&without.env("CURATE_MODELS", folder.path("none")).output().unwrap());
    assert_eq!(without.code, Some(2));
    assert!(without.err.contains("curate models pull minilm-l6-v2"), "{}", without.err);
}

/// A folder with a model of 4 or 12 channels, as a trainer leaves it.
fn model(root: &Path, in_channels: usize) {
    let device = Place::parse("cpu", "f32").unwrap().device;
    let config = Config { in_channels, ..Config::tiny() };
    let mut transformer = Params::seeded(11, &device);
    Transformer3d::new(&mut transformer, &config).unwrap();
    let vae_config = VaeConfig::preset("tiny").unwrap();
    let mut vae = Params::seeded(12, &device);
    vae.build(|scope| SliceVae::new(&vae_config, scope)).unwrap();
    let card = ModelCard { width: 32, height: 32, fps: 8.0, ..ModelCard::preset(&config) };
    ModelFolder::write(root, &card, (&config, &transformer), (&vae_config, &vae)).unwrap();
}

#[test]
fn a_folder_says_how_its_model_is_used_and_damage_is_named() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    model(&folder.path("model"), 4);
    let root = folder.text("model");
    let out = folder.text("a.mp4");
    let base = ["generate", "--model", &root, "--steps", "1", "a word"];
    let said = curate(&[&base[..], &["-o", &out]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    expect(
        Path::new(&out),
        &[("width", "32"), ("nb_read_frames", "16"), ("avg_frame_rate", "8/1")],
    );

    // Only networks of 12 channels can be told frames.
    make(&folder.path("."), "red.png", "-f lavfi -i color=red:size=50x40 -frames:v 1");
    let red = folder.text("red.png");
    let said = curate(&[&base[..], &["-o", &folder.text("b.mp4"), "--start", &red]].concat());
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("4 input channels, and only those with 12"), "{}", said.err);

    let record = folder.text("a.json");
    model(&folder.path("other"), 12);
    let other = folder.text("other");
    let again = ["generate", "--from", &record, "-o", &folder.text("c.mp4"), "--model", &other];
    let said = curate(&again);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("is not the one that made the clip"), "{}", said.err);

    for part in ["transformer.safetensors", "vae.safetensors"] {
        let path = folder.path("model").join(part);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let said = curate(&[&base[..], &["-o", &folder.text("d.mp4")]].concat());
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains("is cut off in tensor `"), "{}", said.err);
        assert!(said.err.contains(part), "{}", said.err);
        fs::write(&path, &whole).unwrap();
    }
    // Weights of another part.
    for (part, other, what) in
        [("transformer", "vae", "transformer"), ("vae", "transformer", "VAE")]
    {
        let path = |part: &str| folder.path(&format!("model/{part}.safetensors"));
        let whole = fs::read(path(part)).unwrap();
        fs::copy(path(other), path(part)).unwrap();
        let said = curate(&[&base[..], &["-o", &folder.text("e.mp4")]].concat());
        assert_eq!(said.code, Some(2));
        let words = format!("{part}.safetensors\" is no {what}: it has tensors such as `");
        assert!(said.err.contains(&words), "{}", said.err);
        assert!(said.err.contains(&format!("no `{part}_config` in its header")), "{}", said.err);
        assert!(!folder.path("e.mp4").exists());
        fs::write(path(part), whole).unwrap();
    }
}

#[test]
fn known_frames_and_source_videos_go_in_and_the_record_has_them() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    make(&folder.path("."), "red.png", "-f lavfi -i color=red:size=50x40 -frames:v 1");
    make(&folder.path("."), "film.mp4", "-f lavfi -i testsrc2=size=96x48:rate=24 -frames:v 20");
    let (red, film) = (folder.text("red.png"), folder.text("film.mp4"));
    let plain = folder.text("plain.mp4");
    made(&["x", "-o", &plain]);
    let mut seen = vec![fs::read(&plain).unwrap()];
    let cases: [(&str, &[&str]); 5] = [
        ("start", &["--start", &red]),
        ("end", &["--end", &red]),
        ("both", &["--start", &red, "--end", &red, "--fit", "stretch"]),
        ("first", &["--start", &film, "--start-frames", "4"]),
        ("video", &["--video", &film, "--strength", "0.5"]),
    ];
    for (name, args) in cases {
        let out = folder.text(&format!("{name}.mp4"));
        made(&[&["x", "-o", &out], args].concat());
        let bytes = fs::read(&out).unwrap();
        assert!(!seen.contains(&bytes), "{name} changes nothing");
        let again = folder.text(&format!("{name}-again.mp4"));
        let record = folder.text(&format!("{name}.json"));
        let said = curate(&["generate", "--from", &record, "-o", &again]);
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        assert!(fs::read(&again).unwrap() == bytes, "{name}");
        seen.push(bytes);
    }
    // Another picture under the same name, and none at all.
    make(&folder.path("."), "red.png", "-y -f lavfi -i color=blue:size=50x40 -frames:v 1");
    let record = folder.text("start.json");
    let from = ["generate", "--from", &record, "-o", &folder.text("z.mp4")];
    let said = curate(&from);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("red.png is not the file that made the clip"), "{}", said.err);
    assert!(said.err.contains("its content has changed"), "{}", said.err);
    fs::remove_file(&red).unwrap();
    let said = curate(&from);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("the record names ") && said.err.contains("put it back"),
        "{}",
        said.err
    );
    let all = ["--start", &film, "--start-frames", "16", "-o", &folder.text("y.mp4"), "x"];
    let said = generate(&all);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("nothing is left to be made"), "{}", said.err);
}
