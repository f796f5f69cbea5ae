//! Encoding into a real table, and training data out of it.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use curate_models::{
    encoders::{TextFiles, TextOptions},
    params::Params,
    vae::{SliceVae, VaeConfig},
};
use curate_schemas::columns::{CAPTION, VIDEO};

use super::*;
use crate::data::{
    Cache, DataConfig, Loader, Pixels,
    testing::{Table, clips, config},
};

/// A VAE of the tiny preset with random weights.
fn vae(folder: &Path, seed: u64) -> Vae {
    let config = VaeConfig::preset("tiny").unwrap();
    let mut params = Params::seeded(seed, &Device::Cpu);
    params.build(|scope| SliceVae::new(&config, scope)).unwrap();
    let path = folder.join("vae.safetensors");
    SliceVae::save(&config, &params, &path).unwrap();
    Vae::open(&path, &Device::Cpu).unwrap()
}

/// The text encoder that the tests of `curate-models` made.
fn text(tokens: usize) -> Text {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/encoders/bert");
    let options = TextOptions { tokens, ..TextOptions::default() };
    Text::open(&TextFiles::find(&folder).unwrap(), &options).unwrap()
}

fn run(table: &Table, config: &DataConfig, vae: Option<&Vae>, text: Option<&Text>) -> Encoded {
    let what = Encoding { source: table.rows(), config, vae, text };
    encode(&what, &mut |changes| table.patch(changes), &mut |_| (), &Stop::default()).unwrap()
}

fn wanted(vae: &Vae, text: &Text) -> Wanted {
    let text = TextWanted { encoder: text.hash.clone(), tokens: text.tokens };
    Wanted { captions: true, vae: Some(vae.hash.clone()), text: Some(text) }
}

fn gap(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
}

#[test]
fn what_was_encoded_takes_the_place_of_frames_and_captions() {
    let folder = tempfile::tempdir().unwrap();
    let (vae, text) = (vae(folder.path(), 1), text(12));
    let table = Table::new(&clips(6, 20));
    let config = DataConfig { frames: 16, batch: 2, caption_dropout: 0.3, ..config() };
    let before = table.runtime.block_on(table.store.canonical()).unwrap();
    let encoded = run(&table, &config, Some(&vae), Some(&text));
    assert_eq!((encoded.latents, encoded.texts), (6, 6));
    let after = table.runtime.block_on(table.store.canonical()).unwrap();
    for (before, after) in before.iter().zip(&after) {
        // Keys come last in a line, before the clip's bytes, which are the same.
        let bytes = |line: &str| line.rsplit(" video=").next().unwrap().to_owned();
        assert_eq!(bytes(before), bytes(after));
        assert_eq!(after.len() > before.len(), after.starts_with("clips"), "{after}");
    }
    let again = run(&table, &config, Some(&vae), Some(&text));
    assert_eq!((again.latents, again.texts), (0, 0));
    assert_eq!((again.had_latents, again.had_texts), (6, 6));

    let wanted = wanted(&vae, &text);
    let config = DataConfig { cache: Cache::Require, ..config };
    let mut loader = Loader::open_for(table.rows(), &config, &wanted, 1, None).unwrap();
    // Of films of one colour the middle is the whole.
    let frames = DataConfig { cache: Cache::Off, ..config.clone() };
    let mut frames = Loader::open_for(table.rows(), &frames, &wanted, 1, None).unwrap();
    let pixels: BTreeMap<String, Tensor> = (0..12)
        .flat_map(|_| {
            let batch = frames.next().unwrap();
            let tensor = batch.pixels.tensor().clone();
            let one = move |(at, clip): (usize, crate::data::ClipRef)| {
                (clip.clip_id, tensor.narrow(0, at, 1).unwrap())
            };
            batch.clips.into_iter().enumerate().map(one).collect::<Vec<_>>()
        })
        .collect();
    let mut dropped = 0;
    for _ in 0..6 {
        let batch = loader.next().unwrap();
        let Pixels::Moments(moments) = &batch.pixels else { panic!("frames were decoded") };
        assert_eq!(moments.dims(), [2, 8, 4, 4, 4]);
        let cached = batch.text.unwrap();
        let captions: Vec<&str> = batch.clips.iter().map(|clip| clip.caption.as_str()).collect();
        let fresh = text.network.encode(&captions).unwrap();
        assert!(gap(&cached.mask, &fresh.mask) == 0.0);
        let mask = fresh.mask.unsqueeze(2).unwrap();
        let fresh = fresh.tokens.broadcast_mul(&mask).unwrap();
        assert!(gap(&cached.tokens, &fresh) < 4e-3, "{}", gap(&cached.tokens, &fresh));
        for (at, clip) in batch.clips.iter().enumerate() {
            let fresh = vae.network.moments(&pixels[&clip.clip_id]).unwrap();
            let size = fresh.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let gap = gap(&moments.narrow(0, at, 1).unwrap(), &fresh);
            assert!(gap < 2e-3 * size.max(1.0), "{gap} of {size}");
            dropped += usize::from(clip.caption.is_empty());
        }
    }
    assert!((1..12).contains(&dropped), "{dropped}");
}

#[test]
fn another_encoder_size_or_caption_is_encoded_again_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (one, text) = (vae(folder.path(), 1), text(12));
    let table = Table::new(&clips(4, 20));
    let config = DataConfig { frames: 16, ..config() };
    run(&table, &config, Some(&one), Some(&text));
    // A run with fewer frames can do with what is there; one with larger frames cannot.
    let rows = |config: &DataConfig, wanted: &Wanted| {
        let config = DataConfig { cache: Cache::Require, ..config.clone() };
        Rows::look(&*table.rows(), &config, wanted).unwrap().entries.len()
    };
    let known = wanted(&one, &text);
    assert_eq!(rows(&config, &known), 4);
    assert_eq!(rows(&DataConfig { frames: 8, ..config.clone() }, &known), 4);
    assert_eq!(rows(&DataConfig { size: 48, ..config.clone() }, &known), 0);
    assert_eq!(rows(&DataConfig { stride: 2, frames: 8, ..config.clone() }, &known), 0);
    let other = vae(folder.path(), 2);
    assert_eq!(rows(&config, &wanted(&other, &text)), 0);

    // Another caption: its row alone.
    let mut changed = clips(4, 20).swap_remove(0);
    changed.set(CAPTION, "another".to_owned());
    changed.put(VIDEO, None);
    let mut changes = Changes::of(&["caption"]);
    changes.push(&[changed]).unwrap();
    table.patch(&changes).unwrap();
    assert_eq!(rows(&config, &known), 3);
    let again = run(&table, &config, Some(&one), Some(&text));
    assert_eq!((again.latents, again.texts), (0, 1));
    assert_eq!(rows(&config, &known), 4);
    let again = run(&table, &config, Some(&other), None);
    assert_eq!((again.latents, again.texts), (4, 0));
    assert_eq!(rows(&config, &known), 0);
}

#[test]
fn what_was_done_stays_when_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let vae = vae(folder.path(), 1);
    let table = Table::new(&clips(6, 20));
    let config = DataConfig { batch: 1, ..config() };
    let stop = Stop::default();
    let what = Encoding { source: table.rows(), config: &config, vae: Some(&vae), text: None };
    let mut tell = |progress: Progress| {
        if progress.done == 2 {
            stop.ask();
        }
    };
    let encoded = encode(&what, &mut |changes| table.patch(changes), &mut tell, &stop).unwrap();
    assert!(encoded.is_stopped && encoded.latents == 2, "{encoded:?}");
    let rest = run(&table, &config, Some(&vae), None);
    assert_eq!((rest.latents, rest.had_latents), (4, 2));
}

#[test]
fn a_broken_clip_is_left_out_and_a_wrong_length_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vae = vae(folder.path(), 1);
    let mut broken = clips(3, 20);
    broken[1].set(VIDEO, b"no video".to_vec());
    let table = Table::new(&broken);
    let encoded = run(&table, &config(), Some(&vae), None);
    assert_eq!((encoded.latents, encoded.failures.len()), (2, 1), "{encoded:?}");
    let config = DataConfig { frames: 12, frame_step: 4, ..config() };
    let what = Encoding { source: table.rows(), config: &config, vae: Some(&vae), text: None };
    let mut write = |_: &Changes| panic!("nothing is written");
    let error = encode(&what, &mut write, &mut |_| (), &Stop::default()).unwrap_err();
    assert!(matches!(error, TrainError::Vae(_)), "{error}");
}
