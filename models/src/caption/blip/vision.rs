//! The image tower: a picture to tokens that the decoder attends to.
//!
//! A vision transformer with norms before each half of a block, as of 2020; its output is normed
//! once more. Patches are cut out and multiplied, which is the published convolution whose kernel
//! is its step.

use candle_core::{Result, Tensor};
use curate_ops::{attention, gelu_erf, layer_norm, linear};

use super::{Pair, VisionConfig, dense, norm};
use crate::params::{Init, ParamsError, Scope};

#[derive(Debug)]
pub(super) struct Vision {
    config: VisionConfig,
    /// `[channels, 3 * patch * patch]`.
    patches: Pair,
    class: Tensor,
    places: Tensor,
    blocks: Vec<Block>,
    norm: Pair,
}

#[derive(Debug)]
struct Block {
    norm1: Pair,
    qkv: Pair,
    out: Pair,
    norm2: Pair,
    first: Pair,
    second: Pair,
}

impl Vision {
    /// `scope` is that of `vision_model`.
    pub(super) fn new(
        scope: &mut Scope<'_>,
        config: &VisionConfig,
    ) -> std::result::Result<Self, ParamsError> {
        let (width, wide, patch) =
            (config.hidden_size, config.intermediate_size, config.patch_size);
        let (values, side) = (3 * patch * patch, config.image_size / patch);
        let init = Init::torch(values);
        let embeddings = &mut scope.at("embeddings");
        let class = embeddings.get("class_embedding", &[1, 1, width], Init::torch(width))?;
        let places = embeddings.get(
            "position_embedding",
            &[1, side * side + 1, width],
            Init::torch(width),
        )?;
        let kernel = &mut embeddings.at("patch_embedding");
        let weight = kernel.get("weight", &[width, 3, patch, patch], init)?;
        let bias = kernel.get("bias", &[width], init)?;
        let flat = weight.reshape((width, values));
        let flat =
            flat.map_err(|source| ParamsError::Tensor { name: "patch_embedding".into(), source })?;
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            let block = &mut scope.at(&format!("encoder.layers.{index}"));
            blocks.push(Block {
                norm1: norm(&mut block.at("layer_norm1"), width)?,
                qkv: dense(&mut block.at("self_attn.qkv"), width, 3 * width)?,
                out: dense(&mut block.at("self_attn.projection"), width, width)?,
                norm2: norm(&mut block.at("layer_norm2"), width)?,
                first: dense(&mut block.at("mlp.fc1"), width, wide)?,
                second: dense(&mut block.at("mlp.fc2"), wide, width)?,
            });
        }
        let norm = norm(&mut scope.at("post_layernorm"), width)?;
        Ok(Self { config: config.clone(), patches: (flat, bias), class, places, blocks, norm })
    }

    /// Prepared pictures `[B, 3, side, side]` to tokens `[B, patches + 1, channels]`.
    pub(super) fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let (batch, _, side, _) = pictures.dims4()?;
        let (patch, heads, width) =
            (config.patch_size, config.num_attention_heads, config.hidden_size);
        let cells = side / patch;
        let normed = |x: &Tensor, (weight, bias): &Pair| {
            layer_norm(x, Some(weight), Some(bias), config.layer_norm_eps)
        };
        let apply = |x: &Tensor, (weight, bias): &Pair| linear(x, weight, Some(bias));

        let cut = pictures.reshape(&[batch, 3, cells, patch, cells, patch][..])?;
        let cut = cut.permute(&[0, 2, 4, 1, 3, 5][..])?.contiguous()?;
        let patches = apply(&cut.reshape((batch, cells * cells, ()))?, &self.patches)?;
        let class = self.class.expand((batch, 1, width))?;
        let mut x = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.places)?;
        let tokens = cells * cells + 1;
        for block in &self.blocks {
            let qkv = apply(&normed(&x, &block.norm1)?, &block.qkv)?;
            let qkv = qkv.reshape(&[batch, tokens, 3, heads, width / heads][..])?;
            let part =
                |index: usize| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
            let scale = ((width / heads) as f64).sqrt().recip();
            let y = attention(&part(0)?, &part(1)?, &part(2)?, None, scale)?;
            let y = y.transpose(1, 2)?.contiguous()?.reshape((batch, tokens, width))?;
            x = (x + apply(&y, &block.out)?)?;
            let y = apply(&normed(&x, &block.norm2)?, &block.first)?;
            x = (x + apply(&gelu_erf(&y)?, &block.second)?)?;
        }
        normed(&x, &self.norm)
    }
}
