//! The published measures against the published implementations, on frames of "Big Buck Bunny" ((c)
//! Blender Foundation, CC BY 3.0). `quality_reference.py` computed the numbers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures for `--nocapture`")]

use std::{io::Read as _, path::Path};

use curate_stages::quality::{Brisque, Grey, Naturalness, Niqe, measures};
use serde_json::Value as Json;

struct Frame {
    grey: Grey,
    bgr: Option<Vec<u8>>,
    reference: Json,
}

fn frames() -> Vec<Frame> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut raw = Vec::new();
    let packed = std::fs::File::open(folder.join("quality_frames.z")).unwrap();
    flate2::read::ZlibDecoder::new(packed).read_to_end(&mut raw).unwrap();
    let text = std::fs::read(folder.join("quality_reference.json")).unwrap();
    let list: Vec<Json> = serde_json::from_slice(&text).unwrap();
    let mut rest = &raw[..];
    let frames = list.into_iter().map(|reference| {
        let number = |key: &str| reference[key].as_u64().unwrap() as usize;
        let (width, height) = (number("width"), number("height"));
        let (bytes, after) = rest.split_at(width * height * number("bytes_per_pixel"));
        rest = after;
        let color = number("bytes_per_pixel") == 3;
        let bgr = color.then(|| bytes.to_vec());
        let grey = match color {
            true => Grey::from_bgr(width, height, bytes).unwrap(),
            false => Grey::new(width, height, bytes.to_vec()).unwrap(),
        };
        Frame { grey, bgr, reference }
    });
    frames.collect()
}

/// The largest difference from the reference, over all frames that have one.
fn apart(key: &str, ours: impl Fn(&Frame) -> Option<f64>) -> f64 {
    let frames = frames();
    let known = frames.iter().filter_map(|f| Some((f, f.reference[key].as_f64()?)));
    let all: Vec<f64> = known.map(|(f, wanted)| (ours(f).unwrap() - wanted).abs()).collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    println!("{key}: {} frames, apart by {most:.2e}", all.len());
    most
}

#[test]
fn brisque_is_opencvs() {
    let brisque = Brisque::published().unwrap();
    assert!(apart("brisque", |frame| brisque.score(&frame.grey)) < 1e-4);
    // Intel's library rounds otherwise.
    assert!(apart("brisque_ipp", |frame| brisque.score(&frame.grey)) < 5e-3);
}

#[test]
fn niqe_is_scikit_videos() {
    let niqe = Niqe::new(Naturalness::published().unwrap()).unwrap();
    assert!(apart("niqe", |frame| niqe.score(&frame.grey)) < 1e-3);
}

#[test]
fn simple_measures_are_numpys() {
    let close = |key, ours: &dyn Fn(&Frame) -> f64| assert!(apart(key, |f| Some(ours(f))) < 1e-9);
    close("laplacian_variance", &|f| measures::sharpness(&f.grey).laplacian_variance);
    close("mean", &|f| measures::exposure(&f.grey).mean);
    close("contrast", &|f| measures::contrast(&f.grey));
    close("colourfulness", &|f| measures::colourfulness(f.bgr.as_deref().unwrap()));
}

/// A picture through a function of position and level.
fn changed(grey: &Grey, level: impl FnMut((usize, &u8)) -> f64) -> Grey {
    let levels = grey.samples().iter().enumerate().map(level);
    let samples = levels.map(|level| level.round().clamp(0.0, 255.0) as u8).collect();
    Grey::new(grey.width(), grey.height(), samples).unwrap()
}

/// Blurred by a window of 1, 2, 1 along both directions, so many times.
fn blurred(grey: &Grey, times: usize) -> Grey {
    let (width, height) = (grey.width() as isize, grey.height() as isize);
    let once = |grey: &Grey| {
        changed(grey, |(at, _)| {
            let (x, y) = (at as isize % width, at as isize / width);
            let inside = |x: isize, y: isize| (x.clamp(0, width - 1), y.clamp(0, height - 1));
            let mut sum = 0.0;
            for (down, across) in (-1..=1).flat_map(|down| (-1..=1).map(move |a| (down, a))) {
                let (x, y) = inside(x + across, y + down);
                let weight = ((2 - down.abs()) * (2 - across.abs())) as f64 / 16.0;
                sum += weight * f64::from(grey.samples()[(y * width + x) as usize]);
            }
            sum
        })
    };
    (0..times).fold(grey.clone(), |grey, _| once(&grey))
}

fn noisy(grey: &Grey, deviation: f64) -> Grey {
    let mut state = 12_345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    let mut normal = || (0..12).map(|_| next()).sum::<f64>();
    changed(grey, |(_, level)| f64::from(*level) + deviation * normal())
}

/// What JPEG does to brightness: blocks of eight pixels, frequencies rounded to multiples of a step
/// that grows with them.
fn coded(grey: &Grey, step: f64) -> Grey {
    let (width, height) = (grey.width(), grey.height());
    let waves: [[f64; 8]; 8] = std::array::from_fn(|at| {
        std::array::from_fn(|frequency| {
            let scale = if frequency == 0 { 0.125_f64 } else { 0.25 }.sqrt();
            scale * ((2 * at + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos()
        })
    });
    let wave = |at: usize, frequency: usize| waves[at][frequency];
    let mut levels: Vec<f64> = grey.samples().iter().map(|level| f64::from(*level)).collect();
    for (top, left) in (0..height / 8).flat_map(|y| (0..width / 8).map(move |x| (8 * y, 8 * x))) {
        let places = || (0..64).map(|i| (i / 8, i % 8));
        let of_block = |y: usize, x: usize| (top + y) * width + left + x;
        let rounded: Vec<f64> = places()
            .map(|(v, u)| {
                let parts = places().map(|(y, x)| levels[of_block(y, x)] * wave(y, v) * wave(x, u));
                let step = step * (1 + u + v) as f64;
                (parts.sum::<f64>() / step).round() * step
            })
            .collect();
        for (y, x) in places() {
            let parts = places().map(|(v, u)| rounded[8 * v + u] * wave(y, v) * wave(x, u));
            levels[of_block(y, x)] = parts.sum();
        }
    }
    changed(grey, |(at, _)| levels[at])
}

/// How often the stronger of two degradations of a frame scores worse; strength 0 is none.
fn ordered(
    name: &str,
    strengths: [f64; 4],
    degrade: impl Fn(&Grey, f64) -> Grey,
    badness: impl Fn(&Grey) -> f64,
) -> f64 {
    let (mut right, mut pairs) = (0, 0);
    for frame in frames() {
        let scores = strengths.map(|strength| badness(&degrade(&frame.grey, strength)));
        for (i, weaker) in scores.iter().enumerate() {
            right += scores[i + 1..].iter().filter(|stronger| *stronger > weaker).count();
            pairs += scores.len() - i - 1;
        }
    }
    println!("{name}: {right} of {pairs} in order");
    right as f64 / pairs as f64
}

#[test]
fn stronger_degradations_score_worse() {
    let brisque = Brisque::published().unwrap();
    let blur = |grey: &Grey, times: f64| blurred(grey, times as usize);
    let gain = |grey: &Grey, gain: f64| changed(grey, |(_, level)| f64::from(*level) * gain);
    let fade =
        |grey: &Grey, by: f64| changed(grey, |(_, level)| 128.0 + (f64::from(*level) - 128.0) * by);
    let [of_blur, of_noise] = [[0.0, 1.0, 4.0, 16.0], [0.0, 6.0, 15.0, 35.0]];
    let unexposed = |grey: &Grey| -measures::exposure(grey).score();
    // The published scores were trained on other degradations, of photographs.
    assert!(ordered("blur, BRISQUE", of_blur, blur, |g| brisque.score(g).unwrap()) >= 0.9);
    // What the columns hold, from the frame as it is to the strongest degradation.
    let shares = [
        ordered("blur, sharpness", of_blur, blur, |g| -measures::sharpness(g).laplacian_variance),
        ordered("noise, noise", of_noise, noisy, measures::noise),
        ordered("coding, blockiness", [0.01, 4.0, 10.0, 30.0], coded, measures::blockiness),
        ordered("darkness, exposure", [1.0, 0.6, 0.35, 0.15], gain, unexposed),
        ordered("light, exposure", [1.0, 2.0, 3.5, 6.0], gain, unexposed),
        ordered("fading, contrast", [1.0, 0.7, 0.4, 0.15], fade, |g| -measures::contrast(g)),
    ];
    // Each has as many pairs as the others.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!(mean >= 0.95, "{shares:?}");
    assert!(shares.iter().all(|share| *share >= 0.8), "{shares:?}");
}
