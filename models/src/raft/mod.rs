//! RAFT: optical flow by recurrent all-pairs field transforms (Teed and Deng, ECCV 2020,
//! arXiv 2003.12039), as torchvision computes it.
//!
//! The networks are `graphs/raft_small.onnx` and `graphs/raft_large.onnx`, written by
//! `recipes/raft_graphs`; weights are torchvision's files or others with the same tensor names.
//! Pictures of any size go in: they are brought to [-1, 1] and padded as the authors' demo does, by
//! repeating the border evenly on both sides, to multiples of 8 and at least 128 pixels, and the
//! flow is cropped back.
//!
//! A flow is handed to a closure as a view into the network's output: whoever needs a mean or an
//! affine fit copies nothing.

mod pad;
#[cfg(test)]
mod tests;

use ort::{
    inputs,
    session::{Session, SessionOutputs},
    value::{Tensor, TensorRef},
};

use self::pad::Padding;
use crate::{
    Runtime, Weights,
    error::{InputError, ModelError},
    graph::Graph,
};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// RAFT-small: 1.0 million parameters.
    Small,
    /// RAFT-large: 5.3 million parameters, a learned upsampling, three times the time.
    Large,
}

impl Variant {
    const fn graph(self) -> Graph {
        match self {
            Self::Small => Graph {
                name: "RAFT-small",
                onnx: include_bytes!("../../graphs/raft_small.onnx"),
                weights: include_str!("../../graphs/raft_small.weights.json"),
                passed_over: &[],
            },
            Self::Large => Graph {
                name: "RAFT-large",
                onnx: include_bytes!("../../graphs/raft_large.onnx"),
                weights: include_str!("../../graphs/raft_large.weights.json"),
                passed_over: &[],
            },
        }
    }
}

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct RaftOptions {
    /// Recurrent updates, at least 1. 12 by default, as torchvision does; fewer cost
    /// proportionally less and follow large motion less well.
    pub updates: u32,
    /// CPU threads. 1 by default: whoever runs it knows the budget.
    pub threads: usize,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self { updates: 12, threads: 1 }
    }
}

/// An RGB picture: three bytes for each pixel, rows from the top without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Rgb<'a> {
    data: &'a [u8],
    width: u32,
    height: u32,
}

impl<'a> Rgb<'a> {
    /// A picture of this size.
    ///
    /// # Errors
    /// When the bytes are more or fewer than the size needs, or the size is nothing.
    pub fn new(data: &'a [u8], width: u32, height: u32) -> Result<Self, InputError> {
        let expected = u128::from(width) * u128::from(height) * 3;
        if expected == 0 || data.len() as u128 != expected {
            return Err(InputError::Bytes { bytes: data.len(), width, height });
        }
        Ok(Self { data, width, height })
    }

    const fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

/// Two pictures of one size.
#[derive(Clone, Copy, Debug)]
pub struct PairRef<'a> {
    /// The picture whose pixels are followed.
    pub first: Rgb<'a>,
    /// The picture in which they are found.
    pub second: Rgb<'a>,
}

/// How finely the flow is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A value for each pixel.
    Full,
    /// A value for each cell of 8x8 pixels, as the network computes it before upsampling; enough for
    /// statistics, and a sixty-fourth of the values. Still in pixels of the picture.
    Eighth,
}

/// The motion of each pixel (or cell) from the first picture to the second.
#[derive(Clone, Copy, Debug)]
pub struct FlowView<'a> {
    /// Motion to the right in pixels; row `y` begins at `y * stride`.
    pub u: &'a [f32],
    /// Motion downwards in pixels; laid out as `u`.
    pub v: &'a [f32],
    /// Values in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values from the beginning of a row to that of the next.
    pub stride: usize,
}

impl<'a> FlowView<'a> {
    /// Each row's `u` and `v`.
    pub fn rows(&self) -> impl Iterator<Item = (&'a [f32], &'a [f32])> + use<'a> {
        let Self { u, v, width, height, stride } = *self;
        (0..height).map(move |y| {
            let row = y * stride..y * stride + width;
            (&u[row.clone()], &v[row])
        })
    }
}

/// A flow of its own, without gaps between rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Values in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Motion to the right in pixels, row by row.
    pub u: Vec<f32>,
    /// Motion downwards in pixels, row by row.
    pub v: Vec<f32>,
}

/// A RAFT network with its weights.
#[derive(Debug)]
pub struct Raft {
    session: Session,
    updates: i64,
    /// First and second pictures of a batch as the network wants them; kept for the next batch.
    images: [Vec<f32>; 2],
}

impl Raft {
    /// Joins a network with its weights.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] when the weights are of another network.
    pub fn load(
        runtime: &Runtime,
        variant: Variant,
        weights: &Weights,
        options: RaftOptions,
    ) -> Result<Self, ModelError> {
        let session = variant.graph().session(runtime, weights, options.threads)?;
        Ok(Self { session, updates: options.updates.max(1).into(), images: Default::default() })
    }

    /// Computes the flows of a batch and hands each, with its pair's index, to a closure.
    ///
    /// All pictures must have one size. The result of a pair does not depend on its batch, except
    /// for rounding. Memory is ruled by the correlations of all cells with all cells, so it grows
    /// with the square of the picture's size: a pair of 256x448 takes about 60 MB, of which the
    /// correlations are 20; at 480x864 they are 250 MB.
    ///
    /// # Errors
    /// When sizes differ, or ONNX Runtime fails.
    pub fn each_flow(
        &mut self,
        pairs: &[PairRef<'_>],
        resolution: Resolution,
        mut each: impl FnMut(usize, FlowView<'_>),
    ) -> Result<(), ModelError> {
        let Some(one) = pairs.first() else { return Ok(()) };
        let size = one.first.size();
        let mut all = pairs.iter().flat_map(|pair| [pair.first.size(), pair.second.size()]);
        if let Some(other) = all.find(|other| *other != size) {
            return Err(InputError::Sizes { a: size, b: other }.into());
        }
        let padding = Padding::new(size.0 as usize, size.1 as usize);
        let image = 3 * padding.padded_width * padding.padded_height;
        for images in &mut self.images {
            images.resize(image * pairs.len(), 0.0);
        }
        for (index, pair) in pairs.iter().enumerate() {
            let range = index * image..(index + 1) * image;
            padding.fill(pair.first.data, &mut self.images[0][range.clone()]);
            padding.fill(pair.second.data, &mut self.images[1][range]);
        }
        let shape = [pairs.len(), 3, padding.padded_height, padding.padded_width];
        let outputs = infer(&mut self.session, &self.images, shape, self.updates)?;
        let (window, name) = match resolution {
            Resolution::Full => (padding.pixels(), "flow"),
            Resolution::Eighth => (padding.cells(), "flow_low"),
        };
        let (_, flows) = outputs[name].try_extract_tensor::<f32>().map_err(failed)?;
        for (index, flow) in flows.chunks_exact(2 * window.plane).enumerate() {
            let (u, v) = flow.split_at(window.plane);
            each(
                index,
                FlowView {
                    u: &u[window.start..],
                    v: &v[window.start..],
                    width: window.width,
                    height: window.height,
                    stride: window.stride,
                },
            );
        }
        Ok(())
    }

    /// The flows of a batch, each pixel's.
    ///
    /// # Errors
    /// As [`Raft::each_flow`].
    pub fn flow(&mut self, pairs: &[PairRef<'_>]) -> Result<Vec<Flow>, ModelError> {
        let mut flows = Vec::with_capacity(pairs.len());
        self.each_flow(pairs, Resolution::Full, |_, view| {
            let size = view.width * view.height;
            let (mut u, mut v) = (Vec::with_capacity(size), Vec::with_capacity(size));
            for row in view.rows() {
                u.extend_from_slice(row.0);
                v.extend_from_slice(row.1);
            }
            flows.push(Flow { width: view.width, height: view.height, u, v });
        })?;
        Ok(flows)
    }
}

/// Runs the network on pictures that are as it wants them: `shape` is [N, 3, H, W].
fn infer<'s>(
    session: &'s mut Session,
    images: &[Vec<f32>; 2],
    shape: [usize; 4],
    updates: i64,
) -> Result<SessionOutputs<'s>, ModelError> {
    let [first, second] = images;
    let inputs = inputs![
        "image1" => TensorRef::from_array_view((shape, &first[..])).map_err(failed)?,
        "image2" => TensorRef::from_array_view((shape, &second[..])).map_err(failed)?,
        "updates" => Tensor::from_array(((), vec![updates])).map_err(failed)?,
    ];
    session.run(inputs).map_err(failed)
}

fn failed(source: ort::Error) -> ModelError {
    ModelError::Onnx { during: "computing optical flow", source }
}
