//! Hashes of clips for `benches/dedup_rates.py`.
//!
//! Reads names of files from standard input, each of grey frames as portable grey maps (P5), and
//! prints a line for each: the hash in hexadecimal or `none`, contrast and exposure as the
//! `quality` stage measures them, and microseconds for the hash.
#![expect(clippy::print_stdout, reason = "a bench reports")]

use std::{io::BufRead as _, time::Instant};

use curate_stages::{
    dedup::hash::{FRAMES, phash},
    quality::{
        Grey,
        bars::{Bars, bars},
        measures::{contrast, exposure},
    },
};

/// All pictures of a file, as FFmpeg writes them: three fields, each after white space, then
/// samples.
fn pictures(mut rest: &[u8]) -> Vec<Grey> {
    let mut pictures = Vec::new();
    while !rest.is_empty() {
        let mut words = [0_usize; 4];
        for word in &mut words {
            let end = rest.iter().position(u8::is_ascii_whitespace).expect("a header");
            let text = str::from_utf8(&rest[..end]).expect("a header");
            *word = text.trim_start_matches('P').parse().expect("a number");
            rest = &rest[end + 1..];
        }
        let [5, width, height, 255] = words else { panic!("not a grey map of 8 bits: {words:?}") };
        let (samples, after) = rest.split_at(width * height);
        pictures.push(Grey::new(width, height, samples.to_vec()).expect("a picture"));
        rest = after;
    }
    pictures
}

/// Contrast and exposure of three of the frames: their medians, inside of bars.
fn looks(frames: &[Grey]) -> [f64; 2] {
    let count = frames.len().min(3);
    let frames: Vec<&Grey> =
        (0..count).map(|i| &frames[(2 * i + 1) * frames.len() / (2 * count)]).collect();
    let edges = frames.iter().map(|frame| bars(frame)).reduce(Bars::least).unwrap_or_default();
    let mut values = [Vec::new(), Vec::new()];
    for frame in frames {
        let inside = edges.inside(frame, &vec![0; 3 * frame.samples().len()]);
        let frame = inside.as_ref().map_or(frame, |(inside, _)| inside);
        values[0].push(contrast(frame));
        values[1].push(exposure(frame).score());
    }
    values.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn main() {
    for name in std::io::stdin().lock().lines() {
        let name = name.expect("a name");
        let grid = pictures(&std::fs::read(&name).expect("a file of frames"));
        // As the engine spreads them: the middles of equal parts.
        let count = FRAMES.min(grid.len());
        let picked = (0..count).map(|i| (2 * i + 1) * grid.len() / (2 * count));
        let frames: Vec<Grey> = picked.map(|at| grid[at].clone()).collect();
        let start = Instant::now();
        let hash = phash(&frames);
        let micros = start.elapsed().as_micros();
        let looks = looks(&frames);
        let hash = hash.map_or_else(|| "none".to_owned(), |hash| format!("{hash:016x}"));
        println!("{hash} {:.4} {:.4} {micros}", looks[0], looks[1]);
    }
}
