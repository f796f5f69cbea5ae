//! The decoder: what was said so far, and the picture, to scores of the next token.
//!
//! BERT's layers with norms after each part, attention to earlier tokens only, and between the two
//! published parts of a layer attention to the picture's tokens. Keys and values of earlier tokens,
//! and of the picture, are kept in a [`Cache`]. Texts that are continued side by side (beams) share
//! the picture: their questions to it are one long list, so its keys and values are not copied for
//! each of them.
//!
//! Scores are taken with the embedding of words, unless the file holds a head of its own:
//! Salesforce's do, of the same values as far as their configuration goes, and what a file says
//! counts.

use candle_core::{DType, Result, Tensor};
use curate_ops::{attention, gelu_erf, layer_norm, linear};

use super::{Pair, TextConfig, dense, norm};
use crate::params::{Init, ParamsError, Scope};

#[derive(Debug)]
pub(super) struct Decoder {
    config: TextConfig,
    words: Tensor,
    places: Tensor,
    norm: Pair,
    layers: Vec<Layer>,
    transform: Pair,
    transform_norm: Pair,
    head: Pair,
}

/// What a decoder is joined to, beside its own configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// Channels of the picture's tokens.
    pub(super) seen: usize,
    /// Whether the file has [`HEAD`], rather than the embedding of words in its place.
    pub(super) has_head: bool,
}

/// The weights that turn what was said into scores, in `text_decoder`.
pub(super) const HEAD: &str = "cls.predictions.decoder.weight";

#[derive(Debug)]
struct Layer {
    own: Attention,
    seen: Attention,
    first: Pair,
    second: Pair,
    norm: Pair,
}

#[derive(Debug)]
struct Attention {
    query: Pair,
    key: Pair,
    value: Pair,
    out: Pair,
    norm: Pair,
}

impl Attention {
    fn new(
        scope: &mut Scope<'_>,
        width: usize,
        of: usize,
    ) -> std::result::Result<Self, ParamsError> {
        Ok(Self {
            query: dense(&mut scope.at("self.query"), width, width)?,
            key: dense(&mut scope.at("self.key"), of, width)?,
            value: dense(&mut scope.at("self.value"), of, width)?,
            out: dense(&mut scope.at("output.dense"), width, width)?,
            norm: norm(&mut scope.at("output.LayerNorm"), width)?,
        })
    }
}

/// Keys and values, each `[texts, heads, tokens, channels]`.
type Memory = (Tensor, Tensor);

/// What the decoder remembers of a picture, and of the texts about it.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    /// Of the picture, for each layer.
    picture: Vec<Memory>,
    /// Of earlier tokens, for each layer; empty before the first.
    texts: Vec<Memory>,
    tokens: usize,
}

impl Cache {
    /// Goes on with these texts, in this order; one may be taken more than once.
    pub(super) fn select(&mut self, texts: &[u32]) -> Result<()> {
        for (keys, values) in &mut self.texts {
            let rows = Tensor::new(texts, keys.device())?;
            *keys = keys.index_select(&rows, 0)?;
            *values = values.index_select(&rows, 0)?;
        }
        Ok(())
    }
}

impl Decoder {
    /// `scope` is that of `text_decoder`.
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &TextConfig,
        Joined { seen, has_head }: Joined,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, wide) = (config.hidden_size, config.intermediate_size);
        for name in ["bert.embeddings.position_ids", "cls.predictions.decoder.bias"] {
            scope.ignore(name);
        }
        let embeddings = &mut scope.at("bert.embeddings");
        let mut table = |name: &str, rows: usize| {
            embeddings.at(name).get("weight", &[rows, width], Init::torch(width))
        };
        let words = table("word_embeddings", config.vocab_size)?;
        let places = table("position_embeddings", config.max_position_embeddings)?;
        let first_norm = norm(&mut embeddings.at("LayerNorm"), width)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            let layer = &mut scope.at(&format!("bert.encoder.layer.{index}"));
            layers.push(Layer {
                own: Attention::new(&mut layer.at("attention"), width, width)?,
                seen: Attention::new(&mut layer.at("crossattention"), width, seen)?,
                first: dense(&mut layer.at("intermediate.dense"), width, wide)?,
                second: dense(&mut layer.at("output.dense"), wide, width)?,
                norm: norm(&mut layer.at("output.LayerNorm"), width)?,
            });
        }
        let weight = if has_head {
            scope.get(HEAD, &[config.vocab_size, width], Init::torch(width))?
        } else {
            words.clone()
        };
        let head = &mut scope.at("cls.predictions");
        Ok(Self {
            config: config.clone(),
            words,
            places,
            norm: first_norm,
            layers,
            transform: dense(&mut head.at("transform.dense"), width, width)?,
            transform_norm: norm(&mut head.at("transform.LayerNorm"), width)?,
            head: (weight, head.get("bias", &[config.vocab_size], Init::Zeros)?),
        })
    }

    /// Looks at a picture: `[1, tokens, channels]` of the image tower.
    pub(super) fn look(&self, picture: &Tensor) -> Result<Cache> {
        let memory = |layer: &Layer| {
            let part = |pair: &Pair| self.split(&apply(picture, pair)?);
            Ok((part(&layer.seen.key)?, part(&layer.seen.value)?))
        };
        let picture = self.layers.iter().map(memory).collect::<Result<Vec<_>>>()?;
        Ok(Cache { picture, texts: Vec::new(), tokens: 0 })
    }

    /// Says tokens `[texts, n]`, which follow what the cache remembers, and notes them there. The
    /// result, `[texts, n, channels]`, is for [`Self::scores`].
    pub(super) fn say(&self, ids: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (texts, count) = ids.dims2()?;
        let width = self.config.hidden_size;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?;
        let places = self.places.narrow(0, cache.tokens, count)?.unsqueeze(0)?;
        let x = words.reshape((texts, count, width))?.broadcast_add(&places)?;
        let mut x = self.normed(&x, &self.norm)?;
        let mask = (count > 1).then(|| later(cache.tokens, count, &x)).transpose()?;
        for (index, layer) in self.layers.iter().enumerate() {
            let own = &layer.own;
            let (mut keys, mut values) =
                (self.split(&apply(&x, &own.key)?)?, self.split(&apply(&x, &own.value)?)?);
            match cache.texts.get_mut(index) {
                Some(memory) => {
                    keys = Tensor::cat(&[&memory.0, &keys], 2)?;
                    values = Tensor::cat(&[&memory.1, &values], 2)?;
                    *memory = (keys.clone(), values.clone());
                }
                None => cache.texts.push((keys.clone(), values.clone())),
            }
            let query = self.split(&apply(&x, &own.query)?)?;
            let y = attention(&query, &keys, &values, mask.as_ref(), self.scale())?;
            x = self.added(&x, &join(&y)?, own)?;

            let (keys, values) = &cache.picture[index];
            let query = apply(&x, &layer.seen.query)?.reshape((1, texts * count, width))?;
            let y = attention(&self.split(&query)?, keys, values, None, self.scale())?;
            x = self.added(&x, &join(&y)?.reshape((texts, count, width))?, &layer.seen)?;

            let y = apply(&gelu_erf(&apply(&x, &layer.first)?)?, &layer.second)?;
            x = self.normed(&(x + y)?, &layer.norm)?;
        }
        cache.tokens += count;
        Ok(x)
    }

    /// Scores of every token to follow: `[texts, n, vocabulary]` in `f32`, as logits.
    pub(super) fn scores(&self, said: &Tensor) -> Result<Tensor> {
        let y = gelu_erf(&apply(said, &self.transform)?)?;
        let y = self.normed(&y, &self.transform_norm)?;
        apply(&y, &self.head)?.to_dtype(DType::F32)
    }

    fn normed(&self, x: &Tensor, (weight, bias): &Pair) -> Result<Tensor> {
        layer_norm(x, Some(weight), Some(bias), self.config.layer_norm_eps)
    }

    /// What attention found, through its last layer and added to where it was asked.
    fn added(&self, x: &Tensor, found: &Tensor, part: &Attention) -> Result<Tensor> {
        self.normed(&(x + apply(found, &part.out)?)?, &part.norm)
    }

    /// `[texts, n, channels]` to `[texts, heads, n, channels of a head]`.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (texts, count, width) = x.dims3()?;
        let heads = self.config.num_attention_heads;
        x.reshape((texts, count, heads, width / heads))?.transpose(1, 2)?.contiguous()
    }

    fn scale(&self) -> f64 {
        let config = &self.config;
        ((config.hidden_size / config.num_attention_heads) as f64).sqrt().recip()
    }
}

fn apply(x: &Tensor, (weight, bias): &Pair) -> Result<Tensor> {
    linear(x, weight, Some(bias))
}

/// `[texts, heads, n, channels of a head]` to `[texts, n, channels]`.
fn join(x: &Tensor) -> Result<Tensor> {
    let (texts, _, count, _) = x.dims4()?;
    x.transpose(1, 2)?.contiguous()?.reshape((texts, count, ()))
}

/// Hides from each of `count` new tokens those that come after it: `[1, 1, count, before + count]`.
fn later(before: usize, count: usize, like: &Tensor) -> Result<Tensor> {
    let row = |token: usize| {
        let hides = move |place: usize| place > before + token;
        (0..before + count).map(move |place| if hides(place) { f32::NEG_INFINITY } else { 0.0 })
    };
    let values: Vec<f32> = (0..count).flat_map(row).collect();
    Tensor::from_vec(values, (1, 1, count, before + count), like.device())?.to_dtype(like.dtype())
}
