//! How long a training loader waits for 17 frames in a row from a random place in a clip.
//!
//! `cargo bench --bench reads -- [FRAMES READS] CLIP..`; `benches/transcode.py` calls it for copied
//! and for transcoded clips. Each read opens the file, goes to the frame and decodes as many as are
//! wanted, as a loader does that keeps no file open. Places are the same for every form.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::{path::Path, time::Instant};

use curate_media::{Converter, DecodeOptions, Decoder, Filter, PixelFormat, Segment, Size};

/// PTS of all frames.
fn times(path: &Path) -> Vec<i64> {
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).expect("a clip");
    std::iter::from_fn(|| decoder.next_frame().expect("a frame")).map(|frame| frame.pts).collect()
}

/// Decodes `count` frames from `start` on, at 256 pixels as a trainer wants them.
fn read(path: &Path, start: i64, count: usize) -> usize {
    let segment = Some(Segment { start: Some(start), end: None });
    let options = DecodeOptions { threads: 1, segment, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(path, &options).expect("a clip");
    let mut converter = Converter::new(PixelFormat::Rgb8);
    let mut pixels = 0;
    for _ in 0..count {
        let Some(frame) = decoder.next_frame().expect("a frame") else { break };
        let size = Size::new(256, 256);
        let picture = frame.picture(&mut converter, size, Filter::Area, true).expect("a picture");
        pixels += picture.data.len();
    }
    pixels
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let numbers: Vec<usize> = words.iter().map_while(|word| word.parse().ok()).collect();
    let (count, reads) = match numbers[..] {
        [count, reads] => (count, reads),
        _ => (17, 100),
    };
    let clips: Vec<(&Path, Vec<i64>)> = words[numbers.len()..]
        .iter()
        .map(|path| (Path::new(path), times(Path::new(path))))
        .filter(|(_, times)| times.len() >= count)
        .collect();
    if clips.is_empty() {
        println!("name clips of at least {count} frames");
        return;
    }
    let mut state = 1_u64;
    let mut random = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let mut millis: Vec<f64> = (0..reads)
        .map(|_| {
            let (path, times) = &clips[random(clips.len())];
            let start = times[random(times.len() - count + 1)];
            let started = Instant::now();
            std::hint::black_box(read(path, start, count));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    let mean = millis.iter().sum::<f64>() / reads as f64;
    println!("{mean:.2}\t{:.2}\t{:.2}", millis[reads / 2], millis[reads * 95 / 100]);
}
