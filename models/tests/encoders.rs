//! Text encoders against `transformers`, with tiny random weights (`recipes/encoders/parity.py`).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use curate_models::{
    encoders::{EncoderError, TextEncoder, TextFiles, TextOptions, clean_caption},
    parity::References,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders")
}

fn texts() -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(fixtures().join("texts.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let texts = value["texts"].as_array().unwrap().iter();
    let length = usize::try_from(value["length"].as_u64().unwrap()).unwrap();
    (length, texts.map(|text| text.as_str().unwrap().to_owned()).collect())
}

fn open(kind: &str, dtype: DType) -> TextEncoder {
    let files = TextFiles::find(&fixtures().join(kind)).unwrap();
    let options = TextOptions { tokens: texts().0, dtype, ..TextOptions::default() };
    TextEncoder::open(&files, &options).unwrap()
}

/// Tokens, masks and outputs, of texts that are short, empty, accented and too long.
#[test]
fn texts_are_encoded_as_by_transformers() {
    let (_, texts) = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for kind in ["t5", "bert"] {
        let path = fixtures().join(kind).join("io.safetensors");
        let file = References::open(&path, &Device::Cpu).unwrap();
        let encoded = open(kind, DType::F32).encode(&texts).unwrap();
        for (name, found) in [("mask", &encoded.mask), ("out", &encoded.tokens)] {
            let row = file.compare(&format!("{kind}.{name}"), found, name).unwrap();
            assert!(row.passes(), "{row}");
        }
        // Half precision is near.
        let half = open(kind, DType::BF16).encode(&texts).unwrap();
        let row = file.compare("half", &half.tokens, "out").unwrap();
        assert!(row.difference < 300.0 * row.bound && row.difference > 0.0, "{row}");
    }
}

/// What stands beside a caption in a batch does not change it, and cleaning comes first.
#[test]
fn captions_are_cleaned_and_do_not_see_each_other() {
    let encoder = open("bert", DType::F32);
    let raw = "  <b>Two DOGS</b> run across a meadow  ";
    assert_eq!(clean_caption(raw), "two dogs run across a meadow");
    let alone = encoder.encode(&["two dogs run across a meadow"]).unwrap();
    let both = encoder.encode(&["a chef", raw]).unwrap();
    let gap = (both.tokens.narrow(0, 1, 1).unwrap() - alone.tokens).unwrap().abs().unwrap();
    assert!(gap.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
}

/// Without layers a word has the vector of its place, whatever stands beside it; with them it has not.
#[test]
fn layers_can_be_left_out() {
    let files = TextFiles::find(&fixtures().join("bert")).unwrap();
    let of = |layers| {
        let options = TextOptions { tokens: texts().0, layers, ..TextOptions::default() };
        TextEncoder::open(&files, &options)
    };
    let gap = |layers| {
        let texts = ["two dogs run", "two dogs sleep"];
        let tokens = of(layers).unwrap().encode(&texts).unwrap().tokens;
        // The mark at the beginning, and the first word.
        let begins = tokens.narrow(1, 0, 2).unwrap();
        let apart = (begins.get(0).unwrap() - begins.get(1).unwrap()).unwrap();
        apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert_eq!(gap(Some(0)), 0.0);
    assert!(gap(Some(1)) > 1e-4 && gap(None) > 1e-4);
    let text = of(Some(1000)).unwrap_err().to_string();
    assert!(text.contains("`layers` is 1000, it has"), "{text}");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = TextFiles::find(folder.path()).unwrap_err().to_string();
    assert!(text.contains("config.json"), "{text}");
    let files = TextFiles::find(&fixtures().join("t5")).unwrap();
    let other = TextFiles::find(&fixtures().join("bert")).unwrap();
    let of = |files: &TextFiles| TextEncoder::open(files, &TextOptions::default()).unwrap_err();
    let mixed = TextFiles { weights: other.weights.clone(), ..files.clone() };
    let text = of(&mixed).to_string();
    assert!(text.contains("`shared.weight` is missing"), "{text}");
    let mixed = TextFiles { tokenizer: files.weights.clone(), ..files.clone() };
    assert!(matches!(of(&mixed), EncoderError::Tokenizer { .. }));
    // 120 tokens are more than this BERT has places for.
    let text = of(&other).to_string();
    assert!(text.contains("120 tokens per text, it takes 32"), "{text}");
    let config = folder.path().join("config.json");
    std::fs::write(&config, r#"{"model_type": "gpt2"}"#).unwrap();
    let text = of(&TextFiles { config, ..files }).to_string();
    assert!(text.contains("`model_type` is `gpt2`"), "{text}");
}
