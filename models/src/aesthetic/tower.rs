//! Image towers: what turns a prepared picture into an embedding.
//!
//! Two are known, each with the checkpoint that its publisher hands out whole (the text half of it is
//! passed over): CLIP ViT-L/14 and SigLIP so400m at 384 pixels. Graphs and parity:
//! `recipes/vision_graphs`. Where the checkpoint is a safetensors file of float32 it is mapped, not
//! read (see [`place`](super::place)).
//!
//! Pictures go in one by one: on a CPU a batch takes as long as its pictures alone, for SigLIP longer.

use ort::{inputs, session::Session, value::TensorRef};

use super::preprocess::{Preprocess, Recipe};
use crate::{
    Runtime, Weights,
    error::{InputError, ModelError},
    graph::Graph,
};

/// An image tower that scores were trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// CLIP ViT-L/14 (Radford and others 2021, arXiv 2103.00020), `openai/clip-vit-large-patch14`.
    ClipL14,
    /// SigLIP so400m/14 (Zhai and others 2023, arXiv 2303.15343), `google/siglip-so400m-patch14-384`.
    SiglipSo400m,
}

const CLIP_L14: Graph = Graph {
    name: "CLIP ViT-L/14",
    onnx: include_bytes!("../../graphs/clip_vit_l14.onnx"),
    weights: include_str!("../../graphs/clip_vit_l14.weights.json"),
    passed_over: &[
        "text_model.",
        "text_projection.",
        "logit_scale",
        "vision_model.embeddings.position_ids",
    ],
};

const SIGLIP_SO400M: Graph = Graph {
    name: "SigLIP so400m",
    onnx: include_bytes!("../../graphs/siglip_so400m_384.onnx"),
    weights: include_str!("../../graphs/siglip_so400m_384.weights.json"),
    passed_over: &["text_model.", "logit_scale", "logit_bias"],
};

impl Tower {
    const fn graph(self) -> &'static Graph {
        match self {
            Self::ClipL14 => &CLIP_L14,
            Self::SiglipSo400m => &SIGLIP_SO400M,
        }
    }

    /// How pictures are prepared for it.
    #[must_use]
    pub const fn recipe(self) -> &'static Recipe {
        match self {
            Self::ClipL14 => &Recipe::CLIP_224,
            Self::SiglipSo400m => &Recipe::SIGLIP_384,
        }
    }

    /// How many values an embedding has.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::ClipL14 => 768,
            Self::SiglipSo400m => 1152,
        }
    }
}

/// A tower with its weights.
#[derive(Debug)]
pub struct Embedder {
    session: Session,
    recipe: &'static Recipe,
    width: usize,
    /// For pictures of the size of the last one.
    preprocess: Option<((u32, u32), Preprocess)>,
    planes: Vec<f32>,
}

impl Embedder {
    /// Joins a tower with its weights, to run on so many threads.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] when the weights are of another network.
    pub fn open(
        runtime: &Runtime,
        tower: Tower,
        weights: &Weights,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let session = tower.graph().mapped_session(runtime, weights, threads)?;
        Ok(Self::over(session, tower.recipe(), tower.width()))
    }

    fn over(session: Session, recipe: &'static Recipe, width: usize) -> Self {
        Self { session, recipe, width, preprocess: None, planes: Vec::new() }
    }

    /// The embedding of a picture, scaled to length 1.
    ///
    /// `rgb` is three bytes for each pixel, rows from the top without gaps.
    ///
    /// # Errors
    /// When the bytes are not of such a picture, or ONNX Runtime fails.
    pub fn embed(&mut self, rgb: &[u8], width: u32, height: u32) -> Result<Vec<f32>, ModelError> {
        let wrong = InputError::Bytes { bytes: rgb.len(), width, height };
        let (columns, rows) = (width as usize, height as usize);
        if rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
            return Err(wrong.into());
        }
        let made = self.preprocess.take().filter(|(size, _)| *size == (width, height));
        let mut preprocess = match made {
            Some((_, preprocess)) => preprocess,
            None => Preprocess::new(self.recipe, columns, rows).ok_or(wrong)?,
        };
        self.planes.resize(preprocess.size(), 0.0);
        preprocess.fill(rgb, &mut self.planes);
        self.preprocess = Some(((width, height), preprocess));
        let embedding = run(&mut self.session, &self.planes, self.recipe.side, self.width)?;
        Ok(super::head::unit(&embedding))
    }
}

/// The first output of a tower for one prepared picture of `side` by `side` pixels.
fn run(
    session: &mut Session,
    planes: &[f32],
    side: usize,
    width: usize,
) -> Result<Vec<f32>, ModelError> {
    let failed = |source| ModelError::Onnx { during: "embedding a picture", source };
    let input = TensorRef::from_array_view(([1, 3, side, side], planes)).map_err(failed)?;
    let outputs = session.run(inputs![input]).map_err(failed)?;
    let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
    if values.len() != width {
        let message = format!("the tower gave {} values, not {width}", values.len());
        return Err(failed(ort::Error::new(message)));
    }
    Ok(values.to_vec())
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;
    use crate::testing::{self, Tensors};

    struct Tiny {
        graph: Graph,
        reference: &'static [u8],
        output: &'static str,
        width: usize,
    }

    const CLIP: Tiny = Tiny {
        graph: Graph {
            name: "a small CLIP",
            onnx: include_bytes!("../../tests/fixtures/clip_tiny.onnx"),
            weights: include_str!("../../tests/fixtures/clip_tiny.weights.json"),
            passed_over: CLIP_L14.passed_over,
        },
        reference: include_bytes!("../../tests/fixtures/clip_tiny.io.safetensors"),
        output: "image_embeds",
        width: 20,
    };

    const SIGLIP: Tiny = Tiny {
        graph: Graph {
            name: "a small SigLIP",
            onnx: include_bytes!("../../tests/fixtures/siglip_tiny.onnx"),
            weights: include_str!("../../tests/fixtures/siglip_tiny.weights.json"),
            passed_over: SIGLIP_SO400M.passed_over,
        },
        reference: include_bytes!("../../tests/fixtures/siglip_tiny.io.safetensors"),
        output: "pooler_output",
        width: 24,
    };

    /// The weights with which transformers made the reference, and some of the half that is passed over.
    fn checkpoint(tiny: &Tiny) -> Tensors {
        let shapes: std::collections::BTreeMap<String, Vec<usize>> =
            serde_json::from_str(tiny.graph.weights).unwrap();
        let weight = |(name, shape): (String, Vec<usize>)| {
            let scale = if shape.len() == 2 { 4.0 } else { 1.0 };
            let values = testing::weight(&name, &shape);
            (name, (shape, values.into_iter().map(|value| scale * value).collect()))
        };
        let mut tensors: Tensors = shapes.into_iter().map(weight).collect();
        tensors.extend(testing::tensors(&[
            ("text_model.encoder.layers.0.mlp.fc1.weight", &[3, 4]),
            ("logit_scale", &[]),
        ]));
        tensors
    }

    fn compare(tiny: &Tiny, session: &mut Session) {
        let reference = SafeTensors::deserialize(tiny.reference).unwrap();
        let reference = reference.tensor(tiny.output).unwrap();
        assert_eq!(reference.shape(), [3, tiny.width]);
        let expected: Vec<f32> = reference
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        for (picture, expected) in expected.chunks_exact(tiny.width).enumerate() {
            let mut planes = testing::tensor(&format!("pixel_values/{picture}"), 3 * 30 * 30);
            planes.iter_mut().for_each(|value| *value *= 16.0);
            let found = run(session, &planes, 30, tiny.width).unwrap();
            let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let difference = (found - expected).abs();
                assert!(difference <= 1e-4 * largest, "{}: {found} {expected}", tiny.graph.name);
            }
        }
    }

    /// transformers' numbers, with the weights mapped out of a file and given by name.
    #[test]
    fn towers_compute_what_transformers_computes() {
        let Some(runtime) = testing::runtime() else { return };
        for tiny in [CLIP, SIGLIP] {
            let tensors = checkpoint(&tiny);
            let given = testing::weights(&tensors);
            compare(&tiny, &mut tiny.graph.mapped_session(&runtime, &given, 1).unwrap());

            let bytes = testing::checkpoint(&tensors);
            for name in ["model.safetensors", "another.safetensors"] {
                let (_folder, path) = testing::file(name, &bytes);
                let weights = Weights::open(&path).unwrap();
                compare(&tiny, &mut tiny.graph.mapped_session(&runtime, &weights, 1).unwrap());
            }
        }
    }

    #[test]
    fn the_other_half_of_a_checkpoint_is_passed_over_and_nothing_else() {
        let Some(runtime) = testing::runtime() else { return };
        let mut tensors = checkpoint(&CLIP);
        tensors.insert("vision_model.extra".to_owned(), (vec![1], vec![0.0]));
        let error = CLIP.graph.mapped_session(&runtime, &testing::weights(&tensors), 1);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("`vision_model.extra` is unknown"), "{text}");
        assert!(!text.contains("text_model"), "{text}");

        let mut tensors = checkpoint(&SIGLIP);
        let name = "vision_model.head.probe";
        assert!(tensors.remove(name).is_some(), "{:?}", tensors.keys());
        let error = SIGLIP.graph.mapped_session(&runtime, &testing::weights(&tensors), 1);
        assert!(error.unwrap_err().to_string().contains(name));
    }

    /// The real graphs have a place for each weight, and the widths stated above.
    #[test]
    fn graphs_and_widths_agree() {
        for tower in [Tower::ClipL14, Tower::SiglipSo400m] {
            let shapes: std::collections::BTreeMap<String, Vec<usize>> =
                serde_json::from_str(tower.graph().weights).unwrap();
            let mut onnx = tower.graph().onnx.to_vec();
            super::super::place::place(&mut onnx, &vec![0; shapes.len()]).unwrap();
            let last = match tower {
                Tower::ClipL14 => "visual_projection.weight",
                Tower::SiglipSo400m => "vision_model.head.layernorm.weight",
            };
            assert_eq!(shapes[last][0], tower.width());
        }
    }
}
