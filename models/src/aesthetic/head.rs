//! Heads: what makes a score of an embedding, and how alike embeddings are.
//!
//! Two families are read from their published files:
//! * LAION's predictors (`improved-aesthetic-predictor`, on CLIP ViT-L/14): 768-1024-128-64-16-1, and
//!   the single layer of the first version (`aesthetic-predictor`).
//! * Aesthetic Predictor V2.5 (on SigLIP so400m): 1152-1024-128-64-16-1.
//!
//! Nothing but dropout stands between their layers, which does nothing when a network is used, so they
//! are affine maps; only LAION's `reluMSE` has activations. A file does not say so. What it does say
//! are the numbers of its layers among all, and those are different in every version that was
//! published, so they tell which one it is. Other numbers are refused rather than guessed at: a missing
//! activation would give scores that look right.
//!
//! Embeddings are scaled to length 1 before, as in training. Sums are kept in double precision; a score
//! takes a million products, nothing beside the tower's 10¹¹.
//!
//! Decided against multiplying the layers out into one vector: it would save what does not count, and
//! the layers as published are easier to compare with the reference.

use std::collections::BTreeMap;

use crate::{ModelError, Weights};

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

/// A network of linear layers that scores embeddings.
#[derive(Clone, Debug)]
pub struct Head {
    layers: Vec<Linear>,
    has_relu: bool,
}

/// Why a checkpoint is not a head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The layers have these numbers, which no published head has.
    #[error("no known aesthetic head has layers with the numbers {0:?}")]
    Layers(Vec<usize>),
    /// This tensor belongs to no layer, or to one that has another half only.
    #[error("`{0}` is not a whole layer of an aesthetic head")]
    Name(String),
    /// This tensor has a shape that does not fit the layer before it, or its own other half.
    #[error("`{0}` has a shape that fits no aesthetic head")]
    Shape(String),
}

/// The numbers of the layers in the published files, and whether activations stand between them. In the
/// gaps are dropouts, and in the second file activations too.
const PUBLISHED: [(&[usize], bool); 4] = [
    // LAION, `*-linearMSE`.
    (&[0, 2, 4, 6, 7], false),
    // LAION, `ava+logos-l14-reluMSE`.
    (&[0, 3, 6, 9, 11], true),
    // Aesthetic Predictor V2.5.
    (&[0, 2, 4, 6, 8], false),
    // LAION's first version: one layer, without a number.
    (&[0], false),
];

impl Head {
    /// Makes a head of a checkpoint's tensors, which are named `PREFIX.NUMBER.weight` and `.bias`, or
    /// just `weight` and `bias`.
    ///
    /// # Errors
    /// When they are not those of a published head.
    pub fn new(tensors: BTreeMap<String, Tensor>) -> Result<Self, HeadError> {
        let mut halves: BTreeMap<usize, [Option<(String, Tensor)>; 2]> = BTreeMap::new();
        for (name, tensor) in tensors {
            let Some((number, half)) = place(&name) else { return Err(HeadError::Name(name)) };
            halves.entry(number).or_default()[half] = Some((name, tensor));
        }
        let numbers: Vec<usize> = halves.keys().copied().collect();
        let known = PUBLISHED.iter().find(|(published, _)| *published == numbers);
        let Some((_, has_relu)) = known else { return Err(HeadError::Layers(numbers)) };
        let mut layers: Vec<Linear> = Vec::with_capacity(halves.len());
        for halves in halves.into_values() {
            let (weight, bias) = match halves {
                [Some(weight), Some(bias)] => (weight, bias),
                [Some((name, _)), None] | [None, Some((name, _))] => {
                    return Err(HeadError::Name(name));
                }
                [None, None] => return Err(HeadError::Layers(numbers)),
            };
            let layer = Linear::new(weight, bias, layers.last().map(|before| before.bias.len()))?;
            layers.push(layer);
        }
        match layers.last() {
            Some(last) if last.bias.len() == 1 => Ok(Self { layers, has_relu: *has_relu }),
            _ => Err(HeadError::Layers(numbers)),
        }
    }

    /// The head of a published file.
    ///
    /// # Errors
    /// When the file cannot be read, or its tensors are not those of a published head.
    pub fn from_weights(weights: &Weights) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        for name in weights.names() {
            let shape = weights.shape(name).unwrap_or_default().to_vec();
            tensors.insert(name.to_owned(), Tensor { shape, values: weights.f32(name)? });
        }
        let wrong = |source| ModelError::Head { weights: weights.origin().to_owned(), source };
        Self::new(tensors).map_err(wrong)
    }

    /// How many values an embedding must have.
    #[must_use]
    pub fn width(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// The score of an embedding of any length but zero; one of other than [`Self::width`] values has
    /// none.
    #[must_use]
    pub fn score(&self, embedding: &[f32]) -> Option<f32> {
        if embedding.len() != self.width() {
            return None;
        }
        let mut values = unit(embedding);
        for (index, layer) in self.layers.iter().enumerate() {
            if self.has_relu && index > 0 {
                values.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            values = layer.apply(&values);
        }
        values.first().copied()
    }
}

/// Which layer a tensor belongs to, and whether it is its weight (0) or its bias (1).
fn place(name: &str) -> Option<(usize, usize)> {
    let (layer, half) = name.rsplit_once('.').unwrap_or(("0", name));
    let number = layer.rsplit('.').next()?.parse().ok()?;
    match half {
        "weight" => Some((number, 0)),
        "bias" => Some((number, 1)),
        _ => None,
    }
}

/// A linear layer, as PyTorch keeps it: a row of weights for each output.
#[derive(Clone, Debug)]
struct Linear {
    inputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn new(
        weight: (String, Tensor),
        bias: (String, Tensor),
        before: Option<usize>,
    ) -> Result<Self, HeadError> {
        let [outputs, inputs] = weight.1.shape[..] else { return Err(HeadError::Shape(weight.0)) };
        let fits = inputs > 0 && before.is_none_or(|before| before == inputs);
        if !fits || outputs.checked_mul(inputs) != Some(weight.1.values.len()) {
            return Err(HeadError::Shape(weight.0));
        }
        if bias.1.shape != [outputs] || bias.1.values.len() != outputs {
            return Err(HeadError::Shape(bias.0));
        }
        Ok(Self { inputs, weight: weight.1.values, bias: bias.1.values })
    }

    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(self.inputs);
        rows.zip(&self.bias)
            .map(|(row, bias)| (dot(row, input) + f64::from(*bias)) as f32)
            .collect()
    }
}

/// The sum of products. Eight sums side by side, which the compiler keeps in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const SUMS: usize = 8;
    let (a, rest_a) = a.as_chunks::<SUMS>();
    let (b, rest_b) = b.as_chunks::<SUMS>();
    let mut sums = [0.0_f64; SUMS];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    let rest = rest_a.iter().zip(rest_b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// A vector of the same direction and length 1. That of zeros has no direction and stays as it is.
#[must_use]
pub fn unit(vector: &[f32]) -> Vec<f32> {
    let length = dot(vector, vector).sqrt();
    if length == 0.0 {
        return vector.to_vec();
    }
    vector.iter().map(|value| (f64::from(*value) / length) as f32).collect()
}

/// The cosine of the angle between two vectors of one length: 1 for the same direction, 0 when they
/// have nothing in common or one is zero.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 { 0.0 } else { (dot(a, b) / lengths).clamp(-1.0, 1.0) as f32 }
}

/// The smallest similarity of the first embedding to any other: low when a clip does not stay with what
/// it begins with, as behind a missed cut. `None` for fewer than two, of which nothing is known.
#[must_use]
pub fn consistency<E: AsRef<[f32]>>(embeddings: &[E]) -> Option<f32> {
    let (first, others) = embeddings.split_first()?;
    others.iter().map(|other| cosine(first.as_ref(), other.as_ref())).reduce(f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tensor;

    /// A head among the shared files, where they are.
    fn published_head(file: &str) -> Option<Head> {
        let path = curate_testing::shared("media/weights")?.join(file);
        if file.contains("v2_5") && !path.exists() {
            return None; // its licence keeps it out of the shared files
        }
        Some(Head::from_weights(&Weights::open(&path).unwrap()).unwrap())
    }

    fn made(layers: &[(&str, &[usize])]) -> Result<Head, HeadError> {
        let tensors = layers.iter().map(|(name, shape)| {
            let values = tensor(name, shape.iter().product());
            ((*name).to_owned(), Tensor { shape: shape.to_vec(), values })
        });
        Head::new(tensors.collect())
    }

    /// PyTorch's scores, with the published files, of embeddings made by the rule of
    /// `recipes/raft_graphs`. `recipes/vision_graphs/heads.py` writes the numbers.
    #[test]
    fn published_heads_score_as_in_pytorch() {
        let text = include_str!("../../tests/fixtures/aesthetic_heads.json");
        let fixture: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in fixture["heads"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let Some(head) = published_head(file) else { continue };
            for (index, expected) in case["scores"].as_array().unwrap().iter().enumerate() {
                let embedding = tensor(&format!("embedding/{index}"), head.width());
                let found = head.score(&embedding).unwrap();
                let expected = expected.as_f64().unwrap() as f32;
                let difference = (found - expected).abs();
                assert!(
                    difference <= 2e-6 * expected.abs().max(1.0),
                    "{file}: {found}, {expected}"
                );
                // The length of an embedding does not matter.
                let longer: Vec<f32> = embedding.iter().map(|value| value * 16.0).collect();
                assert_eq!(head.score(&longer), Some(found), "{file}");
            }
            assert_eq!(head.score(&[1.0]), None);
        }
    }

    #[test]
    fn activations_stand_where_the_numbers_say_so() {
        let shapes: [&[usize]; 10] =
            [&[3, 4], &[3], &[2, 3], &[2], &[2, 2], &[2], &[2, 2], &[2], &[1, 2], &[1]];
        let score = |numbers: [usize; 5]| {
            let tensors = numbers.iter().flat_map(|number| {
                ["weight", "bias"].map(|half| format!("layers.{number}.{half}"))
            });
            // The same values whatever the names.
            let tensors = tensors.zip(shapes).enumerate().map(|(seed, (name, shape))| {
                let count = shape.iter().product();
                let values = tensor(&seed.to_string(), count).iter().map(|v| v * 8.0).collect();
                (name, Tensor { shape: shape.to_vec(), values })
            });
            Head::new(tensors.collect()).unwrap().score(&[0.3, -0.2, 0.5, 0.1]).unwrap()
        };
        let (linear, relu, v25) =
            (score([0, 2, 4, 6, 7]), score([0, 3, 6, 9, 11]), score([0, 2, 4, 6, 8]));
        assert_eq!(linear, v25);
        assert!((linear - relu).abs() > 1e-3, "{linear} {relu}");
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let one = made(&[("weight", &[1, 4]), ("bias", &[1])]).unwrap();
        assert_eq!(one.width(), 4);
        let name = |name: &str| Some(HeadError::Name(name.to_owned()));
        let shape = |name: &str| Some(HeadError::Shape(name.to_owned()));
        for (layers, expected) in [
            (&[("weight", &[1, 4][..])][..], name("weight")),
            (&[("conv", &[1])], name("conv")),
            (&[("layers.x.weight", &[1])], name("layers.x.weight")),
            (&[("weight", &[4]), ("bias", &[1])], shape("weight")),
            (&[("weight", &[1, 4]), ("bias", &[2])], shape("bias")),
            (&[("weight", &[2, 4]), ("bias", &[2])], Some(HeadError::Layers(vec![0]))),
            (&[("a.1.weight", &[1, 4]), ("a.1.bias", &[1])], Some(HeadError::Layers(vec![1]))),
            (&[], Some(HeadError::Layers(vec![]))),
        ] {
            assert_eq!(made(layers).err(), expected);
        }
    }

    #[test]
    fn consistency_is_the_worst_of_all_pairs_with_the_first() {
        let clip = [[2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [3.0, 1.0]];
        let found = consistency(&clip).unwrap();
        assert!((found - 0.5_f32.sqrt()).abs() < 1e-6, "{found}");
        assert_eq!(consistency(&clip[..2]), Some(1.0));
        assert_eq!(consistency(&clip[..1]), None);
        assert_eq!(consistency::<Vec<f32>>(&[]), None);
        assert_eq!(cosine(&[1.0, 2.0], &[0.0, 0.0]), 0.0);
        assert_eq!(cosine(&[1.0, 2.0], &[-2.0, -4.0]), -1.0);
        assert_eq!(unit(&[0.0, 3.0, 4.0]), [0.0, 0.6, 0.8]);
    }
}
