//! BLIP against `transformers`, with tiny random weights (`recipes/blip/parity.py`).

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    Misfit,
    parity::References,
    testing::{checkpoint, fnv1a, picture, tensors},
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blip")
}

fn expected(part: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    value[part].as_array().unwrap().clone()
}

fn number(value: &Value, key: &str) -> u32 {
    u32::try_from(value[key].as_u64().unwrap()).unwrap()
}

fn open(options: &BlipOptions) -> Blip {
    Blip::load(&BlipFiles::find(&fixtures()).unwrap(), options).unwrap()
}

/// The two pictures that references were made of.
fn pictures() -> [(Vec<u8>, u32, u32); 2] {
    [(1, 64, 48), (2, 37, 51)]
        .map(|(which, width, height)| (picture(which, width, height), width as u32, height as u32))
}

fn seen(blip: &mut Blip, (rgb, width, height): &(Vec<u8>, u32, u32)) -> Tensor {
    let prepared = blip.prepare(&Frame { rgb, width: *width, height: *height }).unwrap();
    blip.vision.forward(&prepared).unwrap()
}

fn references() -> References {
    References::open(&fixtures().join("io.safetensors"), &Device::Cpu).unwrap()
}

/// From the bytes of a picture to what the decoder attends to.
#[test]
fn pictures_are_seen_as_by_transformers() {
    let file = references();
    let mut blip = open(&BlipOptions::default());
    for (picture, name) in pictures().iter().zip(["seen1", "seen2"]) {
        let row = file.compare(name, &seen(&mut blip, picture), name).unwrap();
        assert!(row.passes(), "{row}");
    }
}

/// At the size of the published models, to the last bit.
#[test]
fn pictures_are_prepared_as_by_transformers() {
    let cases = expected("prepared");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (width, height) = (number(&case, "width") as usize, number(&case, "height") as usize);
        let mut preprocess = Preprocess::new(&recipe(&BlipConfig::base()), width, height).unwrap();
        let mut planes = vec![f32::NAN; preprocess.size()];
        preprocess.fill(&picture(1, width, height), &mut planes);
        let bytes: Vec<u8> = planes.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(format!("{:016x}", fnv1a(&bytes)), case["hash"], "{width}x{height}");
    }
}

/// All tokens at once, one after the other, some at once and then the rest, in company and alone.
#[test]
fn scores_are_those_of_transformers_with_and_without_a_cache() {
    let file = references();
    let mut blip = open(&BlipOptions::default());
    let ids = file.get("ids").unwrap().to_dtype(DType::U32).unwrap();
    let count = ids.dim(1).unwrap();
    for (picture, name) in pictures().iter().zip(["logits1", "logits2"]) {
        let seen = seen(&mut blip, picture);
        let decoder = &blip.decoder;
        for steps in [vec![count], vec![1; count], vec![3, 1, 1, count - 5]] {
            let mut cache = decoder.look(&seen).unwrap();
            let (mut at, mut scores) = (0, Vec::new());
            for step in &steps {
                let said = decoder.say(&ids.narrow(1, at, *step).unwrap(), &mut cache).unwrap();
                scores.push(decoder.scores(&said).unwrap());
                at += step;
            }
            let row = file.compare(name, &Tensor::cat(&scores, 1).unwrap(), name).unwrap();
            assert!(row.passes(), "{steps:?}: {row}");
        }

        // Another text stands beside it, and the two change places.
        let other = ids.zeros_like().unwrap();
        let mut cache = decoder.look(&seen).unwrap();
        let both = Tensor::cat(&[&ids, &other], 0).unwrap();
        decoder.say(&both.narrow(1, 0, 4).unwrap(), &mut cache).unwrap();
        cache.select(&[1, 0, 0]).unwrap();
        let both = Tensor::cat(&[&other, &ids, &ids], 0).unwrap();
        let said = decoder.say(&both.narrow(1, 4, count - 4).unwrap(), &mut cache).unwrap();
        let scores = decoder.scores(&said).unwrap();
        let wanted = file.get(name).unwrap().narrow(1, 4, count - 4).unwrap();
        for (text, is_equal) in [(0, false), (1, true), (2, true)] {
            let gap = (scores.narrow(0, text, 1).unwrap() - &wanted).unwrap().abs().unwrap();
            let gap = gap.max_all().unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(gap < 1e-3, is_equal, "text {text}: {gap}");
        }
    }
}

/// The very tokens and words of `generate`, for every way of searching, with and without a prompt.
#[test]
fn captions_are_those_of_transformers() {
    let [first, second] = pictures();
    let (mut ways, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for case in expected("cases") {
        let search = Search {
            beams: number(&case, "num_beams") as usize,
            max_length: number(&case, "max_length") as usize,
            min_length: number(&case, "min_length") as usize,
            repetition_penalty: case["repetition_penalty"].as_f64().unwrap() as f32,
            length_penalty: case["length_penalty"].as_f64().unwrap() as f32,
        };
        let prompt = case["prompt"].as_str().map(str::to_owned);
        ways.insert(format!("{search:?} {prompt:?}"));
        let options = BlipOptions { search: Some(search), prompt, ..BlipOptions::default() };
        let mut blip = open(&options);
        let picture = if case["picture"] == 1 { &first } else { &second };
        let wanted: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let seen = seen(&mut blip, picture);
        assert_eq!(blip.tokens(&seen).unwrap(), wanted, "{case}");
        let text = blip.caption(&picture.0, picture.1, picture.2).unwrap();
        assert_eq!(text, case["text"].as_str().unwrap().trim(), "{case}");
        texts.insert(text);
    }
    // The references are worth comparing with.
    assert!(ways.len() == 11 && texts.len() >= 8, "{} {}", ways.len(), texts.len());
}

/// With the tokenizer's own file and with the list of its words.
#[test]
fn texts_become_tokens_and_back_as_by_transformers() {
    let cases = expected("texts");
    assert_eq!(cases.len(), 4);
    for name in ["tokenizer.json", "vocab.txt"] {
        let words = Words::open(&fixtures().join(name), 512).unwrap();
        for case in &cases {
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(words.tokens(case["text"].as_str().unwrap()).unwrap(), ids, "{name} {case}");
            assert_eq!(words.text(&ids).unwrap(), case["back"], "{name} {case}");
        }
    }
}

#[test]
fn frames_are_described_in_order_and_one_by_one() {
    let mut blip = open(&BlipOptions { search: Some(Search::AUTHORS), ..BlipOptions::default() });
    let pictures = pictures();
    let frames: Vec<Frame<'_>> = [0, 1, 0]
        .map(|which: usize| &pictures[which])
        .iter()
        .map(|(rgb, width, height)| Frame { rgb, width: *width, height: *height })
        .collect();
    let said = blip.captions(&frames).unwrap();
    assert_eq!(said[0], said[2]);
    assert_ne!(said[0], said[1]);
    let alone = blip.describe(&frames[1]).unwrap();
    assert_eq!(said[1], alone);
    // A caption is cut when its last token is not the mark of the end.
    let short = Search { max_length: 2, min_length: 2, ..Search::default() };
    let mut short = open(&BlipOptions { search: Some(short), ..BlipOptions::default() });
    let ended = Search { max_length: 12, repetition_penalty: 1.5, ..Search::default() };
    let mut ended = open(&BlipOptions { search: Some(ended), ..BlipOptions::default() });
    for frame in &frames {
        assert!(short.describe(frame).unwrap().is_cut);
        assert!(!ended.describe(frame).unwrap().is_cut);
    }
    assert!(blip.captions(&[]).unwrap().is_empty());
}

/// The published form has the tied tensors and a constant besides, and is pickled.
#[test]
fn published_files_and_half_precision_say_the_same() {
    let mut files = BlipFiles::find(&fixtures()).unwrap();
    files.weights = fixtures().join("published/pytorch_model.bin");
    files.tokenizer = fixtures().join("vocab.txt");
    let mut plain = open(&BlipOptions::default());
    let mut published = Blip::load(&files, &BlipOptions::default()).unwrap();
    let half = BlipOptions { dtype: DType::BF16, ..BlipOptions::default() };
    let mut half = Blip::load(&files, &half).unwrap();
    let file = references();
    for (picture, name) in pictures().iter().zip(["seen1", "seen2"]) {
        let (rgb, width, height) = picture;
        let caption = plain.caption(rgb, *width, *height).unwrap();
        assert_eq!(published.caption(rgb, *width, *height).unwrap(), caption);
        let row = file.compare(name, &seen(&mut half, picture), name).unwrap();
        assert!(row.difference > 0.0 && row.difference < 1000.0 * row.bound, "{row}");
        half.caption(rgb, *width, *height).unwrap();
    }
}

/// A file's own head counts, tied or not.
#[test]
fn a_head_of_its_own_is_used() {
    let (folder, files) = copied();
    let weights = Weights::open(&fixtures().join("published/pytorch_model.bin")).unwrap();
    let names: Vec<&str> = weights.names().filter(|name| !name.ends_with("position_ids")).collect();
    let mut made = tensors(&[]);
    for name in names {
        let mut values = weights.f32(name).unwrap();
        if name == format!("text_decoder.{HEAD}") {
            values.reverse();
        }
        made.insert(name.to_owned(), (weights.shape(name).unwrap().to_vec(), values));
    }
    fs::write(&files.weights, checkpoint(&made)).unwrap();
    let mut own = Blip::load(&files, &BlipOptions::default()).unwrap();
    let mut tied = open(&BlipOptions::default());
    let [(rgb, width, height), _] = pictures();
    let caption = own.caption(&rgb, width, height).unwrap();
    assert_ne!(caption, tied.caption(&rgb, width, height).unwrap());
    drop(folder);
}

#[test]
fn pictures_that_are_none_are_refused() {
    let mut blip = open(&BlipOptions::default());
    for (bytes, width, height) in [(11, 2, 2), (0, 0, 4), (12, 2, 1)] {
        let error = blip.caption(&vec![0; bytes], width, height).unwrap_err().to_string();
        assert!(error.contains(&format!("{bytes} bytes")), "{error}");
    }
    assert_eq!(blip.caption(&[7; 12], 2, 2).unwrap(), blip.caption(&[7; 12], 2, 2).unwrap());
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let (folder, files) = copied();
    let weights = Weights::open(&files.weights).unwrap();
    let shapes: Vec<(&str, &[usize])> = weights
        .names()
        .filter(|name| *name != "vision_model.post_layernorm.bias")
        .map(|name| match name {
            "text_decoder.bert.encoder.layer.1.crossattention.self.key.weight" => {
                (name, &[16, 16][..])
            }
            _ => (name, weights.shape(name).unwrap()),
        })
        .collect();
    fs::write(folder.path().join("other.safetensors"), checkpoint(&tensors(&shapes))).unwrap();
    let files = BlipFiles { weights: folder.path().join("other.safetensors"), ..files };
    let error = Blip::load(&files, &BlipOptions::default()).unwrap_err();
    let BlipError::Params(ParamsError::Mismatch { problems, .. }) = &error else {
        panic!("{error}")
    };
    let shape = Misfit::Shape {
        name: "text_decoder.bert.encoder.layer.1.crossattention.self.key.weight".into(),
        found: vec![16, 16],
        wanted: vec![16, 24],
    };
    assert_eq!(*problems, [Misfit::Missing("vision_model.post_layernorm.bias".into()), shape]);
}

#[test]
fn files_that_do_not_fit_are_named() {
    let (folder, files) = copied();
    let options = BlipOptions::default();
    let message = |files: &BlipFiles| Blip::load(files, &options).unwrap_err().to_string();

    let config = fs::read_to_string(&files.config).unwrap();
    fs::write(&files.config, config.replace("ConditionalGeneration", "QuestionAnswering")).unwrap();
    let error = message(&files);
    assert!(error.contains("config.json") && error.contains("BlipForQuestionAnswering"), "{error}");
    fs::write(&files.config, config).unwrap();

    let long = BlipOptions { prompt: Some("a dog ".repeat(9)), ..options.clone() };
    let search = Search { max_length: 18, ..Search::default() };
    let long = BlipOptions { search: Some(search), ..long };
    let error = Blip::load(&files, &long).unwrap_err().to_string();
    assert!(error.contains("18 tokens") && error.contains("at most 24"), "{error}");

    fs::remove_file(&files.tokenizer).unwrap();
    let error = BlipFiles::find(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.json` or `vocab.txt`"), "{error}");
    assert!(message(&files).contains("tokenizer.json"));
    fs::remove_file(&files.config).unwrap();
    assert!(message(&files).contains("config.json"));
}

/// A folder with a captioner of its own.
fn copied() -> (TempDir, BlipFiles) {
    let folder = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(fixtures().join(name), folder.path().join(name)).unwrap();
    }
    let files = BlipFiles::find(folder.path()).unwrap();
    (folder, files)
}
