//! Wrong models, requests and records, which are told apart from what can be made.

use std::fs;

use curate_models::{
    dit::{Config, Transformer3d},
    generate::Place,
    lora::{Format, Lora, LoraConfig},
    params::Params,
};

use super::{SMALL, generate, is_ready, made, model};
use crate::util::{Folder, curate, curate_in};

/// That a command ends with code 2 and these words.
fn refused(args: &[&str], words: &str) {
    let said = curate(args);
    assert_eq!(said.code, Some(2), "{args:?}: {} {}", said.out, said.err);
    assert!(said.err.contains(words), "{args:?}: {}", said.err);
}

#[test]
fn a_record_notices_another_card_and_another_tokenizer_setting() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    model(&folder.path("model"), 4);
    // A relative name of the model is whole in the record.
    let args = ["generate", "--model", "model", "--steps", "1", "--frames", "1", "a word"];
    let said = curate_in(&folder.path("."), &[&args[..], &["-o", "a.png"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let record = folder.text("a.json");
    let again = folder.text("b.png");
    let from = ["generate", "--from", &record, "-o", &again];
    assert_eq!(curate(&from).code, Some(0));
    let said =
        curate_in(&folder.path("."), &[&from[..], &["--model", "model", "--force"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    for name in ["a.json", "b.json"] {
        let text = fs::read_to_string(folder.path(name)).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = whole["model"]["path"].as_str().unwrap();
        assert!(path.starts_with('/') && path.ends_with("/model"), "{name}: {path}");
    }
    // Defaults are stated by the record; the schedule is not.
    let card = folder.path("model/model.json");
    let text = fs::read_to_string(&card).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&card, text.replace(from, to)).unwrap();
    };
    edit("\"steps\": 25", "\"steps\": 26");
    assert_eq!(curate(&from).code, Some(0));
    for (before, after) in
        [("\"beta_end\": 0.02", "\"beta_end\": 0.01"), ("\"tokens\": 64", "\"tokens\": 32")]
    {
        edit(before, after);
        refused(&from, "the configuration (the card, a config.json, a tokenizer) of ");
        let output = folder.text("a.png");
        let root = folder.text("model");
        let list = [
            "generate", "--model", &root, "--steps", "1", "--frames", "1", "a word", "-o", &output,
        ];
        refused(&list, "a.png is there and was made otherwise");
    }
    fs::write(&card, &text).unwrap();
    fs::rename(folder.path("model"), folder.path("moved")).unwrap();
    refused(&from, "for --model, and it is not there: put it back");
}

#[test]
fn a_record_notices_another_lora_and_where_it_is_not() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let place = Place::parse("cpu", "f32").unwrap();
    let mut network = Params::seeded(1, &place.device);
    Transformer3d::new(&mut network, &Config::tiny()).unwrap();
    let config =
        LoraConfig { rank: 2, targets: vec!["*attn1*".to_owned()], ..LoraConfig::default() };
    let write = |name: &str, format, seed| {
        let lora = Lora::fresh(&config, &network, seed).unwrap();
        lora.save(&folder.path(name), format, place.dtype).unwrap();
    };
    write("one.safetensors", Format::Kohya, 1);
    write("peft", Format::Peft, 1);
    write("old", Format::Peft, 1);
    // As old versions of PEFT call it.
    let old = folder.path("old");
    fs::rename(old.join("adapter_model.safetensors"), old.join("adapter_model.bin")).unwrap();
    let record = |name: &str| folder.text(&format!("{name}.json"));
    for (lora, name) in [("one.safetensors", "kohya"), ("peft", "peft"), ("old", "old")] {
        let (lora, out) = (folder.text(lora), folder.text(&format!("{name}.png")));
        made(&["x", "--frames", "1", "-o", &out, "--lora", &lora]);
        let again =
            ["generate", "--from", &record(name), "-o", &folder.text("again.png"), "--force"];
        assert_eq!(curate(&again).code, Some(0), "{name}");
    }
    write("one.safetensors", Format::Kohya, 2);
    let out = folder.text("z.png");
    let changed = "its content has changed";
    refused(&["generate", "--from", &record("kohya"), "-o", &out], changed);
    for name in ["peft", "old"] {
        let config = folder.path(name).join("adapter_config.json");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("\"lora_alpha\": 64.0"), "{text}");
        fs::write(&config, text.replace("\"lora_alpha\": 64.0", "\"lora_alpha\": 8.0")).unwrap();
        refused(
            &["generate", "--from", &record(name), "-o", &out],
            "adapter_config.json is not the file",
        );
    }
    fs::rename(folder.path("peft"), folder.path("moved")).unwrap();
    refused(
        &["generate", "--from", &record("peft"), "-o", &out],
        "for --lora, and it is not there",
    );
}

#[test]
fn weights_that_are_no_numbers_are_an_error_and_no_black_clip() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    model(&folder.path("model"), 4);
    let (root, out) = (folder.text("model"), folder.text("frames"));
    for (part, words) in
        [("transformer", "latents that are not finite"), ("vae", "frames that are not finite")]
    {
        let path = folder.path("model").join(format!("{part}.safetensors"));
        let whole = fs::read(&path).unwrap();
        let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
        let mut bytes = whole.clone();
        for number in bytes[header..].as_chunks_mut::<4>().0 {
            *number = f32::NAN.to_le_bytes();
        }
        fs::write(&path, bytes).unwrap();
        let args =
            ["generate", "--model", &root, "--steps", "1", "x", "-o", &out, "--format", "png"];
        refused(&args, words);
        refused(&args, &format!("{part}.safetensors is not finite"));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "something is left of the clip");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn what_can_never_be_made_is_refused_at_once() {
    let folder = Folder::new();
    let (out, gif) = (folder.text("out"), folder.text("a.gif"));
    let (film, picture) = (folder.text("UP.WebM"), folder.text("a.JPG"));
    let (absent, list, file) = (folder.text("absent"), folder.text("list"), folder.text("a.mp4"));
    let long = folder.text(&format!("{}.mp4", "a".repeat(250)));
    fs::write(&list, "[{\"prompt\": \"x\"}]\n").unwrap();
    fs::write(&file, "no table").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--frames", "18446744073709551615"], "are too many: at most 16384"),
        (&["--size", "18446744073709551615x16"], "the longest side is 65536"),
        (&["--size", "1600000x1600000", "--frames", "1"], "the longest side is 65536"),
        (&["--size", "65536x65536", "--frames", "256"], "pixels, and at most 68719476736"),
        (&["--steps", "18446744073709551615"], "steps of sampler"),
        (&["-o", &gif, "--fps", "60"], "give at most 50"),
        (&["-o", &gif, "--fps", "0.001"], "at least 0.002"),
        (&["-o", &film], ".webm is not written; name a file .mp4, .gif or .png"),
        (&["-o", &picture], ".jpg is not written"),
        (&["-o", &folder.text("A.GIF"), "--format", "mp4"], "contradict"),
        (&["--shift", "3"], "--shift moves the steps of a flow"),
        (&["--strength", "0.5"], "--video <FILE>"),
        (&["--lora-at-run-time"], "--lora <FILE[=WEIGHT]>"),
        (&["--fit", "stretch"], "--fit says how pictures are fitted"),
        (&["--model", ""], "--model is empty: name a model's folder"),
        (&["--lora", ""], "--lora is empty"),
        (&["--model", &absent, "--seed-weights", "2"], "--seed-weights is the seed of a preset's"),
        (&["--guidance", "1", "--negative", "grey"], "--negative does not count with guidance 1"),
        (
            &["--video", &film, "--steps", "1", "--strength", "0.3"],
            "give at least 4 steps, or more",
        ),
        (&["--prompts", &list], "line 1 of "),
        (&["--append", &file], "--append: "),
        (&["-o", &long], "--output: files cannot be written to"),
    ];
    for (more, words) in cases {
        refused(&[&["generate"], SMALL, &["x", "-o", &out], more].concat(), words);
    }
    assert!(!folder.path("out").exists());
}

#[test]
fn an_output_that_cannot_be_is_found_before_the_weights_are_read() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    fs::write(folder.path("one.mp4"), "a file").unwrap();
    // Reading these weights would be the first complaint.
    model(&folder.path("model"), 4);
    let weights = folder.path("model/vae.safetensors");
    let header = {
        let whole = fs::read(&weights).unwrap();
        let mut bytes = whole;
        let at = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = String::from_utf8(bytes[8..8 + at].to_vec()).unwrap();
        // A tensor's name that the network does not know.
        let text = text.replacen("encoder.conv_in", "encoder.conv_on", 1);
        bytes[8..8 + at].copy_from_slice(text.as_bytes());
        bytes
    };
    fs::write(&weights, header).unwrap();
    let root = folder.text("model");
    let base = ["generate", "--model", &root, "--steps", "1", "x"];
    let out = folder.text("out.mp4");
    refused(&[&base[..], &["-o", &out]].concat(), "does not fit");
    let inside = folder.text("one.mp4/x");
    for output in ["/dev/null/x", "/dev/null/x.mp4", &inside] {
        refused(&[&base[..], &["-o", output]].concat(), "--output: files cannot be written to");
    }
    for table in ["/dev/null/t", &inside] {
        refused(&[&base[..], &["-o", &out, "--append", table]].concat(), "--append: ");
    }
    assert_eq!(fs::read(folder.path("one.mp4")).unwrap(), b"a file");
}

#[test]
fn a_byte_order_mark_and_large_letters_mean_nothing() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    // A byte order mark is no part of a prompt, and endings are compared without case.
    let prompts = folder.text("prompts.txt");
    fs::write(&prompts, "\u{feff}{\"prompt\": \"x\", \"seed\": 3}\n").unwrap();
    let out = folder.text("UP.PNG");
    made(&["--prompts", &prompts, "--frames", "1", "-o", &out]);
    assert!(folder.path("UP.PNG").is_file() && folder.path("UP.json").is_file());
    let text = fs::read_to_string(folder.path("UP.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((record["prompt"].as_str(), record["seed"].as_u64()), (Some("x"), Some(3)));
    let said = generate(&["--prompts", &prompts, "--frames", "1", "-o", &out]);
    assert!(said.code == Some(0) && said.err.contains("UP.PNG is there"), "{}", said.err);
}

#[test]
fn a_record_that_contradicts_itself_and_a_picture_that_is_cut_off_are_refused() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let (out, record) = (folder.text("a.png"), folder.text("a.json"));
    made(&["x", "--frames", "1", "-o", &out]);
    let text = fs::read_to_string(&record).unwrap();
    for (before, after, words) in [
        ("\"strength\": 1.0", "\"strength\": 0.5", "the record's `strength` is 0.5, and it has no"),
        ("\"fps\": 24.0", "\"fps\": 1e9", "--from: the record's `fps` 1000000000: frames"),
    ] {
        assert!(text.contains(before), "{text}");
        fs::write(&record, text.replace(before, after)).unwrap();
        refused(&["generate", "--from", &record, "-o", &folder.text("b.png")], words);
    }
    let picture = fs::read(&out).unwrap();
    fs::write(folder.path("cut.png"), &picture[..picture.len().min(60)]).unwrap();
    let (cut, film) = (folder.text("cut.png"), folder.text("c.mp4"));
    let args = [&["generate"], SMALL, &["x", "-o", &film, "--start", &cut]].concat();
    refused(&args, "cut.png: it is cut off or damaged");
}

#[test]
fn a_clip_keeps_its_record() {
    if !is_ready() {
        return;
    }
    let folder = Folder::new();
    let (film, gif) = (folder.text("s.mp4"), folder.text("s.gif"));
    made(&["x", "-o", &film]);
    let record = fs::read(folder.path("s.json")).unwrap();
    let again = [&["generate"], SMALL, &["x", "-o", &gif, "--force"]].concat();
    refused(&again, "s.json is the record of ");
    assert!(fs::read(folder.path("s.json")).unwrap() == record);
    fs::remove_file(&film).unwrap();
    made(&["x", "-o", &gif, "--force"]);
}
