//! `raft-small` and `raft-large`: the paper's networks (see [`curate_models::raft`]) as flow
//! sources.
//!
//! The field is taken at an eighth of the picture's size, as the network computes it before it
//! upsamples: means, percentiles and an affine fit need no more. A batch holds pairs of one
//! size, so pairs of clips of several sizes take a batch each.

use std::collections::BTreeMap;

use curate_models::{
    ModelError, Runtime, Weights,
    hub::Hub,
    raft::{FlowView, PairRef, Raft, RaftOptions, Resolution, Rgb, Variant},
};
use curate_pipeline::{ClipError, StageFault};

use super::{
    flow::{FlowPair, FlowSource, TakeFlow},
    stats::Field,
};

/// Pairs of one call. On a CPU a pair takes as long in a batch as alone, and each takes 50 MB.
const BATCH: usize = 4;

/// The weights of the project, and torchvision's published ones, by their ids in the hub.
pub(super) const OWN_SMALL: &str = "raft-small";
pub(super) const PUBLISHED_SMALL: &str = "raft-small-torchvision";
pub(super) const PUBLISHED_LARGE: &str = "raft-large-torchvision";

/// The files of those models.
fn file(id: &str) -> &'static str {
    match id {
        PUBLISHED_SMALL => "raft_small_C_T_V2-01064c6d.pth",
        PUBLISHED_LARGE => "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        _ => "raft_small.safetensors",
    }
}

/// A network as a flow source.
pub(super) struct RaftFlow {
    raft: Raft,
    name: &'static str,
    u: Vec<f32>,
    v: Vec<f32>,
}

impl RaftFlow {
    /// Loads a network with the weights that the hub has under `id`.
    pub(super) fn load(
        hub: &Hub,
        id: &str,
        variant: Variant,
        options: RaftOptions,
    ) -> Result<Self, ModelError> {
        let runtime = Runtime::open(hub)?;
        let weights = Weights::from_hub(&hub.content(id, file(id))?)?;
        let raft = Raft::load(&runtime, variant, &weights, options)?;
        let name = match variant {
            Variant::Small => "raft-small",
            Variant::Large => "raft-large",
        };
        Ok(Self { raft, name, u: Vec::new(), v: Vec::new() })
    }
}

/// A pair as the network takes it.
fn as_pair<'a>(pair: &FlowPair<'a>) -> Result<PairRef<'a>, ClipError> {
    let wrong = |message: String| ClipError { kind: "convert", message };
    let rgb = |frame: &'a curate_pipeline::Frame| {
        Rgb::new(&frame.rgb, frame.width, frame.height).map_err(|error| wrong(error.to_string()))
    };
    let (one, two) = (pair.first, pair.second);
    if (one.width, one.height) != (two.width, two.height) {
        return Err(wrong(format!(
            "the picture changes its size within the clip: {}x{}, {}x{}",
            one.width, one.height, two.width, two.height
        )));
    }
    Ok(PairRef { first: rgb(one)?, second: rgb(two)? })
}

/// Joins rows that lie apart.
fn join(view: &FlowView<'_>, u: &mut Vec<f32>, v: &mut Vec<f32>) {
    u.clear();
    v.clear();
    for (row_u, row_v) in view.rows() {
        u.extend_from_slice(row_u);
        v.extend_from_slice(row_v);
    }
}

impl FlowSource for RaftFlow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_batch(&self) -> usize {
        BATCH
    }

    fn flow(&mut self, pairs: &[FlowPair<'_>], take: &mut TakeFlow<'_>) -> Result<(), StageFault> {
        let mut sizes: BTreeMap<(u32, u32), (Vec<usize>, Vec<PairRef<'_>>)> = BTreeMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            match as_pair(pair) {
                Ok(good) => {
                    let same = sizes.entry((pair.first.width, pair.first.height)).or_default();
                    same.0.push(index);
                    same.1.push(good);
                }
                Err(error) => take(index, Err(error)),
            }
        }
        let Self { raft, u, v, .. } = self;
        for ((width, height), (indexes, pairs)) in sizes {
            let size = (f64::from(width), f64::from(height));
            raft.each_flow(&pairs, Resolution::Eighth, |at, view| {
                join(&view, u, v);
                let (columns, rows) = (view.width, view.height);
                let field = Field { columns, rows, cell: 8.0, size, u, v, weight: None };
                take(indexes[at], Ok(field));
            })
            .map_err(|error| StageFault(error.to_string()))?;
        }
        Ok(())
    }
}
