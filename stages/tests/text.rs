//! Our lines of text against rapidocr's (`recipes/text_reference.py detect --limit 480 --kind min`), on
//! rendered pictures whose polygons are known and on frames of the shared clips.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use curate_media::{
    Converter, DecodeOptions, Decoder, Filter, Frame, Picture, PixelFormat, Size, resize,
};
use curate_models::{
    hub::Hub,
    text::{Quad, SideLimit, TextDetector, input_size, iou, union_area},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    name: String,
    size: [u32; 2],
    input: [u32; 2],
    boxes: Vec<Quad>,
    /// The inked rectangles of a rendered picture.
    truth: Option<Vec<Quad>>,
    clip: Option<String>,
    frame: Option<usize>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text")
}

fn frame(path: &Path, number: usize) -> Frame {
    let mut decoder = Decoder::open(path, &DecodeOptions::default()).unwrap();
    for _ in 0..number {
        decoder.next_frame().unwrap();
    }
    decoder.next_frame().unwrap().unwrap()
}

fn picture(frame: &Frame) -> Picture {
    let (width, height) = frame.display_size();
    let mut converter = Converter::new(PixelFormat::Bgr8);
    frame.picture(&mut converter, Size::new(width, height), Filter::Area, true).unwrap()
}

/// How many of `ours` and `theirs` can be paired at an IoU of at least 0.5.
fn pairs(ours: &[Quad], theirs: &[Quad]) -> usize {
    let mut free: Vec<&Quad> = theirs.iter().collect();
    let mut paired = 0;
    for quad in ours {
        let best = free
            .iter()
            .enumerate()
            .map(|(place, other)| (place, iou(quad, other)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((place, overlap)) = best
            && overlap >= 0.5
        {
            free.swap_remove(place);
            paired += 1;
        }
    }
    paired
}

fn f1(paired: usize, ours: usize, theirs: usize) -> f64 {
    2.0 * paired as f64 / (ours + theirs).max(1) as f64
}

#[test]
fn lines_are_where_rapidocr_finds_them() {
    let Some(models) = curate_testing::models() else { return };
    let media = curate_testing::shared("media/text");
    let hub = Hub::open(&models).unwrap();
    let mut detector = TextDetector::load(&hub, 1).unwrap();
    let text = std::fs::read_to_string(folder().join("reference.jsonl")).unwrap();
    let (mut paired, mut ours, mut theirs) = (0, 0, 0);
    let (mut true_pairs, mut true_ours, mut true_lines) = (0, 0, 0);
    for line in text.lines() {
        let reference: Reference = serde_json::from_str(line).unwrap();
        let name = &reference.name;
        let path = match (&reference.clip, &media) {
            (None, _) => folder().join(format!("{name}.jpg")),
            (Some(clip), Some(media)) => media.join(clip),
            (Some(_), None) => continue,
        };
        let picture = picture(&frame(&path, reference.frame.unwrap_or(0)));
        let frame = (picture.width, picture.height);
        assert_eq!([frame.0, frame.1], reference.size, "{name}");
        let size = input_size(frame.0, frame.1, SideLimit::AtLeast(480));
        assert_eq!([size.0, size.1], reference.input, "{name}");
        let input = resize(&picture, Size::new(size.0, size.1), Filter::Linear).unwrap();
        let found = detector.detect(&input.data, size, frame).unwrap();
        let found: Vec<Quad> = found.iter().map(|line| line.corners).collect();
        paired += pairs(&found, &reference.boxes);
        ours += found.len();
        theirs += reference.boxes.len();
        let area = |quads: &[Quad]| union_area(quads, frame.0, frame.1);
        let (a, b) = (area(&found), area(&reference.boxes));
        assert!((a - b).abs() <= 0.2 * b, "{name}: {a} of the frame, rapidocr {b}");
        if let Some(truth) = &reference.truth {
            true_pairs += pairs(&found, truth);
            true_ours += found.len();
            true_lines += truth.len();
        }
    }
    let agreement = f1(paired, ours, theirs);
    println!("{ours} lines, rapidocr {theirs}: F1 {agreement:.3}");
    let against_truth = f1(true_pairs, true_ours, true_lines);
    println!("against {true_lines} rendered lines: F1 {against_truth:.3}");
    assert!(agreement >= 0.98, "{agreement}");
    assert!(against_truth >= 0.8, "{against_truth}");
}
