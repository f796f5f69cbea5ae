//! The encoder of T5 1.1 (Raffel et al., arXiv 1910.10683; Shazeer, arXiv 2002.05202 for its gated
//! feed-forward), which PixArt and EasyAnimate V1 to V3 condition on.
//!
//! Tensors keep the names of the published checkpoints. Decided against `candle-transformers`: its
//! layers are a second set of operations with gradients of their own, and it reads tensors from a
//! store that reports nothing.

use candle_core::{DType, Result, Tensor};
use curate_ops::{attention, gelu_tanh, linear, rms_norm};
use serde::Deserialize;

use crate::params::{Init, ParamsError, Scope};

/// The part of a published `config.json` that shapes the encoder.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct T5Config {
    pub(super) vocab_size: usize,
    pub(super) d_model: usize,
    d_kv: usize,
    d_ff: usize,
    pub(super) num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    #[serde(default = "usual_distance")]
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
}

const fn usual_distance() -> usize {
    128
}

impl T5Config {
    /// What is not built here.
    pub(super) fn problem(&self) -> Option<String> {
        let kind = &self.feed_forward_proj;
        (kind != "gated-gelu").then(|| format!("`feed_forward_proj` is `{kind}`, not `gated-gelu`"))
    }
}

#[derive(Debug)]
pub(super) struct T5 {
    config: T5Config,
    embedding: Tensor,
    /// Of positions, `[buckets, heads]`: the first layer's, for all of them.
    distances: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
}

#[derive(Debug)]
struct Layer {
    norm: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    ff_norm: Tensor,
    gate: Tensor,
    value: Tensor,
    out: Tensor,
}

impl T5 {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &T5Config,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
        let init = Init::torch(width);
        let embedding = scope.at("shared").get("weight", &[config.vocab_size, width], init)?;
        // The same tensor, which some checkpoints have twice.
        scope.ignore("encoder.embed_tokens.weight");
        let encoder = &mut scope.at("encoder");
        let buckets = [config.relative_attention_num_buckets, config.num_heads];
        let distances = encoder
            .at("block.0.layer.0.SelfAttention.relative_attention_bias")
            .get("weight", &buckets, init)?;
        let mut layers = Vec::new();
        for index in 0..config.num_layers {
            let block = &mut encoder.at(&format!("block.{index}"));
            let mut get =
                |name: &str, shape: &[usize]| block.get(&format!("{name}.weight"), shape, init);
            let ins = [inner, width];
            layers.push(Layer {
                norm: get("layer.0.layer_norm", &[width])?,
                q: get("layer.0.SelfAttention.q", &ins)?,
                k: get("layer.0.SelfAttention.k", &ins)?,
                v: get("layer.0.SelfAttention.v", &ins)?,
                o: get("layer.0.SelfAttention.o", &[width, inner])?,
                ff_norm: get("layer.1.layer_norm", &[width])?,
                gate: get("layer.1.DenseReluDense.wi_0", &[config.d_ff, width])?,
                value: get("layer.1.DenseReluDense.wi_1", &[config.d_ff, width])?,
                out: get("layer.1.DenseReluDense.wo", &[width, config.d_ff])?,
            });
        }
        let norm = encoder.at("final_layer_norm").get("weight", &[width], Init::Ones)?;
        Ok(Self { config: config.clone(), embedding, distances, layers, norm })
    }

    /// `ids` and `mask` are `[B, L]`; the result is `[B, L, d]` in the type of the weights.
    pub(super) fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let (heads, eps) = (self.config.num_heads, self.config.layer_norm_epsilon);
        let mut x = self.embedding.index_select(&ids.flatten_all()?, 0)?;
        x = x.reshape((batch, length, ()))?;
        let dtype = x.dtype();
        // Some of the weights of XXL overflow half precision in norms.
        let norm = |x: &Tensor, weight: &Tensor| {
            let single = x.to_dtype(DType::F32)?;
            rms_norm(&single, Some(&weight.to_dtype(DType::F32)?), eps)?.to_dtype(dtype)
        };
        let bias = self.positions(length)?.broadcast_add(&super::hidden(mask)?)?;
        let bias = bias.to_dtype(dtype)?.contiguous()?;
        for layer in &self.layers {
            let y = norm(&x, &layer.norm)?;
            let split = |weight: &Tensor| {
                let shape = (batch, length, heads, self.config.d_kv);
                linear(&y, weight, None)?.reshape(shape)?.transpose(1, 2)?.contiguous()
            };
            // T5 does not scale scores.
            let (q, k, v) = (split(&layer.q)?, split(&layer.k)?, split(&layer.v)?);
            let y = attention(&q, &k, &v, Some(&bias), 1.0)?;
            let y = y.transpose(1, 2)?.contiguous()?.reshape((batch, length, ()))?;
            x = (x + linear(&y, &layer.o, None)?)?;
            let y = norm(&x, &layer.ff_norm)?;
            let gate = gelu_tanh(&linear(&y, &layer.gate, None)?)?;
            let y = (gate * linear(&y, &layer.value, None)?)?;
            x = (x + linear(&y, &layer.out, None)?)?;
        }
        norm(&x, &self.norm)
    }

    /// What distances add to scores: `[1, heads, L, L]` in f32.
    fn positions(&self, length: usize) -> Result<Tensor> {
        let mut buckets = Vec::with_capacity(length * length);
        for query in 0..length as i64 {
            buckets.extend((0..length as i64).map(|key| self.bucket(key - query)));
        }
        let buckets = Tensor::from_vec(buckets, length * length, self.distances.device())?;
        let bias = self.distances.to_dtype(DType::F32)?.index_select(&buckets, 0)?;
        bias.reshape((length, length, ()))?.permute((2, 0, 1))?.unsqueeze(0)
    }

    /// The bucket of a distance: each of the near ones has its own, far ones share them on a
    /// logarithmic scale; half of all are for keys after the query.
    fn bucket(&self, distance: i64) -> u32 {
        let half = self.config.relative_attention_num_buckets / 2;
        let near = half / 2;
        let after = if distance > 0 { half } else { 0 };
        let distance = distance.unsigned_abs() as usize;
        let bucket = if distance < near {
            distance
        } else {
            let furthest = self.config.relative_attention_max_distance as f64;
            let place = (distance as f64 / near as f64).ln() / (furthest / near as f64).ln();
            (near + (place * (half - near) as f64) as usize).min(half - 1)
        };
        (after + bucket) as u32
    }
}
