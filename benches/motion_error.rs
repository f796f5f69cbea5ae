//! How exact the motion methods are on pairs of pictures with known flow.
//!
//! `make bench-motion` runs it. With another folder than `../shared/media/flow`:
//! `cargo bench --profile release --workspace --bench motion_error -- FOLDER`. A folder holds
//! `NAME_1.png`, `NAME_2.png` and `NAME.flo` (Middlebury's format, from the first to the second).
//!
//! For each method: the mean end-point error in pixels (over the pixels for which it gives a
//! flow: all of them but for `mvs`), the relative error of the mean length (median over the pairs
//! whose mean length is at least `SHORTEST` pixels, and the 90th percentile), and the rank
//! correlation of the mean length over all pairs. `mvs` sees the pairs as H.264, and its time
//! is that of encoding them.
#![expect(clippy::print_stdout, reason = "a bench reports")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use curate_media::{DecodeOptions, Decoder, Flow, GreyPair, PixelFormat, Size, farneback, grey_of};
use curate_models::{
    Runtime, Weights,
    hub::Hub,
    raft::{PairRef, Raft, RaftOptions, Rgb, Variant},
};
use curate_pipeline::Frame;
use curate_stages::motion::{Dis, FlowPair, FlowSource};

/// Of shorter flows a relative error says nothing.
const SHORTEST: f64 = 0.3;

/// Two pictures and the flow between them.
struct Known {
    name: String,
    files: [PathBuf; 2],
    frames: [Frame; 2],
    flow: Flow,
}

fn known(folder: &Path) -> Vec<Known> {
    let entries = std::fs::read_dir(folder).expect("a folder of pairs");
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".flo")?.to_owned())
        })
        .collect();
    names.sort();
    names.into_iter().map(|name| read(folder, name)).collect()
}

fn read(folder: &Path, name: String) -> Known {
    let bytes = std::fs::read(folder.join(format!("{name}.flo"))).expect("a flow");
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    assert_eq!(&bytes[..4], b"PIEH", "{name}.flo is not in Middlebury's format");
    let [width, height] = [4, 8].map(|at| u32::from_le_bytes(word(at)));
    let values: Vec<f32> =
        (12..bytes.len()).step_by(4).map(|at| f32::from_le_bytes(word(at))).collect();
    let (u, v) = values.chunks_exact(2).map(|uv| (uv[0], uv[1])).unzip();
    let files = [1, 2].map(|number| folder.join(format!("{name}_{number}.png")));
    let frames = files.each_ref().map(|file| {
        let raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"].map(std::ffi::OsStr::new);
        let input = [std::ffi::OsStr::new("-i"), file.as_os_str()];
        let rgb = curate_testing::ffmpeg(input.into_iter().chain(raw));
        assert_eq!(rgb.len(), (width * height * 3) as usize, "{}", file.display());
        Frame { pts: 0, width, height, rgb }
    });
    Known { name, files, frames, flow: Flow { width, height, u, v } }
}

/// What a method made of all pairs.
#[derive(Default)]
struct Errors {
    end_point: Vec<f64>,
    lengths: Vec<f64>,
    truths: Vec<f64>,
    took: Duration,
}

impl Errors {
    /// Compares a flow; where it is not a number, nothing is known.
    fn add(&mut self, known: &Known, flow: &Flow) {
        let (mut off, mut length, mut truth, mut count) = (0.0, 0.0, 0.0, 0.0);
        for at in 0..flow.u.len() {
            let (u, v) = (f64::from(flow.u[at]), f64::from(flow.v[at]));
            if u.is_nan() {
                continue;
            }
            let (true_u, true_v) = (f64::from(known.flow.u[at]), f64::from(known.flow.v[at]));
            off += (u - true_u).hypot(v - true_v);
            length += u.hypot(v);
            truth += true_u.hypot(true_v);
            count += 1.0;
        }
        assert!(count > 0.0, "{}: nothing is known", known.name);
        self.end_point.push(off / count);
        self.lengths.push(length / count);
        self.truths.push(truth / count);
    }

    fn print(&self, name: &str) {
        let mean = self.end_point.iter().sum::<f64>() / self.end_point.len() as f64;
        let mut relative: Vec<f64> = self
            .lengths
            .iter()
            .zip(&self.truths)
            .filter(|(_, truth)| **truth >= SHORTEST)
            .map(|(length, truth)| (length / truth - 1.0).abs())
            .collect();
        relative.sort_by(f64::total_cmp);
        let quantile =
            |share: f64| relative[((relative.len() - 1) as f64 * share).round() as usize];
        println!(
            "| {name} | {mean:.3} | {:.1} % | {:.1} % | {:.3} | {:.1} |",
            100.0 * quantile(0.5),
            100.0 * quantile(0.9),
            correlation(&ranks(&self.lengths), &ranks(&self.truths)),
            self.took.as_secs_f64() * 1000.0 / self.lengths.len() as f64,
        );
    }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: &f64| values.iter().filter(|other| *other < value).count();
    let equal = |value: &f64| values.iter().filter(|other| *other == value).count();
    values.iter().map(|value| below(value) as f64 + (equal(value) as f64 - 1.0) / 2.0).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    sum(a, mean_a, b, mean_b) / (sum(a, mean_a, a, mean_a) * sum(b, mean_b, b, mean_b)).sqrt()
}

/// Flow by a source of the stage.
fn by_source(source: &mut dyn FlowSource, known: &Known) -> Flow {
    let pair = FlowPair { first: &known.frames[0], second: &known.frames[1] };
    let mut flow = Flow::default();
    source
        .flow(&[pair], &mut |_, field| {
            let field = field.expect("a flow");
            let (u, v) = (field.u.to_vec(), field.v.to_vec());
            flow = Flow { width: field.columns as u32, height: field.rows as u32, u, v };
        })
        .expect("a source that goes on");
    flow
}

fn by_farneback(known: &Known) -> Flow {
    let size = Size::new(known.flow.width, known.flow.height);
    let [first, second] = known.frames.each_ref().map(|frame| {
        let mut grey = Vec::new();
        grey_of(&frame.rgb, size, PixelFormat::Rgb8, &mut grey).expect("a picture");
        grey
    });
    let mut flow = Flow::default();
    let pair = GreyPair { size, first: &first, second: &second };
    farneback(&pair, &mut flow).expect("a flow");
    flow
}

/// The vectors of the second picture's blocks, at the places in the first one that they point to.
fn by_vectors(known: &Known, folder: &Path) -> Flow {
    let video = folder.join(format!("{}.mp4", known.name));
    let pattern = known.files[0].to_string_lossy().replace("_1.png", "_%d.png");
    let line = "-c:v libx264 -crf 18 -bf 0 -g 10 -sc_threshold 0 -pix_fmt yuv420p";
    let before = ["-framerate", "25", "-start_number", "1", "-i", &pattern, "-frames:v", "2"];
    let arguments = before.into_iter().chain(line.split(' ')).map(std::ffi::OsStr::new);
    curate_testing::ffmpeg(arguments.chain([video.as_os_str()]));
    let options = DecodeOptions { motion_vectors: true, ..DecodeOptions::default() };
    let mut decoder = Decoder::open(&video, &options).expect("a video");
    decoder.next_frame().expect("a frame").expect("a first frame");
    let frame = decoder.next_frame().expect("a frame").expect("a second frame");
    let (width, height) = (known.flow.width as usize, known.flow.height as usize);
    let nothing = vec![f32::NAN; width * height];
    let mut flow =
        Flow { width: known.flow.width, height: known.flow.height, u: nothing.clone(), v: nothing };
    for vector in frame.motion_vectors() {
        for row in 0..vector.height as usize {
            for column in 0..vector.width as usize {
                let x = (vector.left + column as f32 - vector.dx).round();
                let y = (vector.top + row as f32 - vector.dy).round();
                if x >= 0.0 && y >= 0.0 && (x as usize) < width && (y as usize) < height {
                    let at = y as usize * width + x as usize;
                    (flow.u[at], flow.v[at]) = (vector.dx, vector.dy);
                }
            }
        }
    }
    flow
}

/// The project's own weights; `None` without ONNX Runtime.
fn raft_small() -> Option<Raft> {
    let hub = Hub::open(curate_testing::models()?).expect("the manifest");
    let runtime = Runtime::open(&hub).expect("ONNX Runtime");
    let content = hub.content("raft-small", "raft_small.safetensors").expect("own weights");
    let weights = Weights::from_hub(&content).expect("own weights");
    let raft = Raft::load(&runtime, Variant::Small, &weights, RaftOptions::default());
    Some(raft.expect("a network"))
}

fn by_raft(raft: &mut Raft, known: &Known) -> Flow {
    let [first, second] = known
        .frames
        .each_ref()
        .map(|frame| Rgb::new(&frame.rgb, frame.width, frame.height).expect("a picture"));
    let found = raft.flow(&[PairRef { first, second }]).expect("a flow").remove(0);
    Flow { width: found.width as u32, height: found.height as u32, u: found.u, v: found.v }
}

/// Gives the flow of a pair.
type Method<'a> = dyn FnMut(&Known) -> Flow + 'a;

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder =
        folder.map_or_else(|| curate_testing::root().join("../shared/media/flow"), PathBuf::from);
    let pairs = known(&folder);
    println!("{} pairs", pairs.len());
    println!(
        "\n| method | end-point error, px | mean length off, median | 90 % | rank correlation | ms |\n\
         |---|---|---|---|---|---|"
    );
    let work = tempfile::tempdir().expect("a temporary folder");
    let mut dis = Dis::new().expect("OpenCV");
    let mut methods: Vec<(&str, Box<Method<'_>>)> = vec![
        ("dis", Box::new(move |known| by_source(&mut dis, known))),
        ("farneback", Box::new(by_farneback)),
        ("mvs", Box::new(|known| by_vectors(known, work.path()))),
    ];
    match raft_small() {
        Some(mut raft) => {
            methods.push(("raft-small", Box::new(move |known| by_raft(&mut raft, known))));
        }
        None => println!("(no raft-small: `curate models pull` brings what it needs)"),
    }
    for (name, method) in &mut methods {
        let mut errors = Errors::default();
        for known in &pairs {
            let started = Instant::now();
            let flow = method(known);
            errors.took += started.elapsed();
            errors.add(known, &flow);
        }
        errors.print(name);
    }
}
