//! BERT (Devlin et al., arXiv 1810.04805), of which MiniLM (Wang et al., arXiv 2002.10957) is a
//! small one: the offline text encoder of the small presets.
//!
//! The sentence encoder's mean over tokens is left out: the transformer attends to tokens.

use candle_core::{Result, Tensor};
use curate_ops::{attention, gelu_erf, layer_norm, linear};
use serde::Deserialize;

use crate::params::{Init, ParamsError, Scope};

/// The part of a published `config.json` that shapes the encoder.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BertConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    num_attention_heads: usize,
    pub(super) max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// What is not built here.
    pub(super) fn problem(&self) -> Option<String> {
        if self.hidden_act != "gelu" {
            return Some(format!("`hidden_act` is `{}`, not `gelu`", self.hidden_act));
        }
        let kind = self.position_embedding_type.as_deref().unwrap_or("absolute");
        (kind != "absolute")
            .then(|| format!("`position_embedding_type` is `{kind}`, not `absolute`"))
    }
}

/// Weight and bias.
type Pair = (Tensor, Tensor);

#[derive(Debug)]
pub(super) struct Bert {
    config: BertConfig,
    words: Tensor,
    places: Tensor,
    types: Tensor,
    norm: Pair,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    query: Pair,
    key: Pair,
    value: Pair,
    out: Pair,
    norm: Pair,
    first: Pair,
    second: Pair,
    ff_norm: Pair,
}

impl Bert {
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &BertConfig,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, wide) = (config.hidden_size, config.intermediate_size);
        for name in ["embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"] {
            scope.ignore(name);
        }
        let embeddings = &mut scope.at("embeddings");
        let mut table = |name: &str, rows: usize| {
            embeddings.at(name).get("weight", &[rows, width], Init::torch(width))
        };
        let words = table("word_embeddings", config.vocab_size)?;
        let places = table("position_embeddings", config.max_position_embeddings)?;
        let types = table("token_type_embeddings", config.type_vocab_size)?;
        let norm = norm(&mut embeddings.at("LayerNorm"), width)?;
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            let layer = &mut scope.at(&format!("encoder.layer.{index}"));
            layers.push(Layer {
                query: dense(&mut layer.at("attention.self.query"), width, width)?,
                key: dense(&mut layer.at("attention.self.key"), width, width)?,
                value: dense(&mut layer.at("attention.self.value"), width, width)?,
                out: dense(&mut layer.at("attention.output.dense"), width, width)?,
                norm: self::norm(&mut layer.at("attention.output.LayerNorm"), width)?,
                first: dense(&mut layer.at("intermediate.dense"), width, wide)?,
                second: dense(&mut layer.at("output.dense"), wide, width)?,
                ff_norm: self::norm(&mut layer.at("output.LayerNorm"), width)?,
            });
        }
        Ok(Self { config: config.clone(), words, places, types, norm, layers })
    }

    /// `ids` and `mask` are `[B, L]`; the result is `[B, L, d]` in the type of the weights.
    pub(super) fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let heads = self.config.num_attention_heads;
        let width = self.config.hidden_size / heads;
        let eps = self.config.layer_norm_eps;
        let normed =
            |x: &Tensor, (weight, bias): &Pair| layer_norm(x, Some(weight), Some(bias), eps);
        let apply = |x: &Tensor, (weight, bias): &Pair| linear(x, weight, Some(bias));

        let words = self.words.index_select(&ids.flatten_all()?, 0)?;
        let places =
            self.places.narrow(0, 0, length)?.broadcast_add(&self.types.narrow(0, 0, 1)?)?;
        let x = words.reshape((batch, length, ()))?.broadcast_add(&places.unsqueeze(0)?)?;
        let mut x = normed(&x, &self.norm)?;
        let bias = super::hidden(mask)?.to_dtype(x.dtype())?;
        for layer in &self.layers {
            let split = |pair: &Pair| {
                let shape = (batch, length, heads, width);
                apply(&x, pair)?.reshape(shape)?.transpose(1, 2)?.contiguous()
            };
            let (q, k, v) = (split(&layer.query)?, split(&layer.key)?, split(&layer.value)?);
            let y = attention(&q, &k, &v, Some(&bias), (width as f64).sqrt().recip())?;
            let y = y.transpose(1, 2)?.contiguous()?.reshape((batch, length, ()))?;
            x = normed(&(&x + apply(&y, &layer.out)?)?, &layer.norm)?;
            let y = apply(&gelu_erf(&apply(&x, &layer.first)?)?, &layer.second)?;
            x = normed(&(&x + y)?, &layer.ff_norm)?;
        }
        Ok(x)
    }
}

fn dense(scope: &mut Scope<'_>, ins: usize, outs: usize) -> std::result::Result<Pair, ParamsError> {
    let init = Init::torch(ins);
    Ok((scope.get("weight", &[outs, ins], init)?, scope.get("bias", &[outs], init)?))
}

fn norm(scope: &mut Scope<'_>, width: usize) -> std::result::Result<Pair, ParamsError> {
    Ok((scope.get("weight", &[width], Init::Ones)?, scope.get("bias", &[width], Init::Zeros)?))
}
