//! CLIP's image tower (Radford et al., arXiv 2103.00020), whose embedding of a first frame guides the
//! transformer.
//!
//! As transformers' `CLIPVisionModelWithProjection`: embeddings are as projected, and not brought to a
//! length of one. Tensors have the names of the published files, of which the text half is passed over.
//! Pictures are prepared as for the aesthetic scores, equal to the reference to the last bit.
//!
//! Decided against the ONNX graph of the aesthetic scores: a generator on a GPU would then need a second
//! runtime, and a second copy of the device's libraries, for one picture.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use curate_ops::{attention, layer_norm, linear, silu};
use serde::Deserialize;

use super::EncoderError;
use crate::{
    InputError, Weights,
    aesthetic::preprocess::{Preprocess, Recipe},
    params::{Init, Params, ParamsError, Role, Scope},
};

/// A picture: three bytes for each pixel, rows from the top without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Red, green, blue.
    pub rgb: &'a [u8],
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The part of a published `config.json` that shapes the tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Pixels of a side of the square that it sees.
    pub image_size: usize,
    /// Pixels of a side of a patch.
    pub patch_size: usize,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width between the two layers of a feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of attention.
    pub num_attention_heads: usize,
    /// Width of the embedding.
    pub projection_dim: usize,
    /// Added to variances in norms.
    pub layer_norm_eps: f64,
    hidden_act: String,
}

/// What transformers takes for keys that a file leaves out.
impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            image_size: 224,
            patch_size: 32,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            projection_dim: 512,
            layer_norm_eps: 1e-5,
            hidden_act: "quick_gelu".to_owned(),
        }
    }
}

impl ClipVisionConfig {
    /// `openai/clip-vit-large-patch14`, which the published transformers are guided by.
    #[must_use]
    pub fn vit_l14() -> Self {
        Self {
            patch_size: 14,
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            projection_dim: 768,
            ..Self::default()
        }
    }

    /// Reads that of a folder, as [`ClipVision::open`] finds it.
    ///
    /// # Errors
    /// Those of [`ClipVisionConfig::open`], and when there is none.
    pub fn find(folder: &Path) -> Result<Self, EncoderError> {
        Self::open(&find(folder, &["config.json"], "`config.json`")?)
    }

    /// Reads a `config.json`, of the tower alone or of the whole of CLIP.
    ///
    /// # Errors
    /// When it cannot be read, or is of a tower that is not built here.
    pub fn open(path: &Path) -> Result<Self, EncoderError> {
        let wrong = |problem: String| EncoderError::Config { path: path.to_owned(), problem };
        let text = fs::read_to_string(path)
            .map_err(|source| EncoderError::Read { path: path.to_owned(), source })?;
        let mut whole: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let kind = whole.get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default();
        let tower = match kind {
            "clip_vision_model" => whole,
            "clip" => {
                // The width of the embedding is that of both halves and stands outside.
                let projection = whole.get("projection_dim").cloned();
                let mut tower = whole.get_mut("vision_config").map(serde_json::Value::take);
                if let (Some(tower), Some(projection)) = (&mut tower, projection) {
                    tower["projection_dim"] = projection;
                }
                tower.ok_or_else(|| wrong("it has no `vision_config`".to_owned()))?
            }
            other => {
                let wanted = "`clip_vision_model` or `clip`";
                return Err(wrong(format!("`model_type` is `{other}`, not {wanted}")));
            }
        };
        let config: Self =
            serde_json::from_value(tower).map_err(|error| wrong(error.to_string()))?;
        config.problem().map_or(Ok(config), |problem| Err(wrong(problem)))
    }

    fn problem(&self) -> Option<String> {
        if self.hidden_act != "quick_gelu" {
            return Some(format!("`hidden_act` is `{}`, not `quick_gelu`", self.hidden_act));
        }
        if self.patch_size == 0 || self.patch_size > self.image_size {
            let (patch, image) = (self.patch_size, self.image_size);
            return Some(format!("`patch_size` is {patch} for an `image_size` of {image}"));
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        let is_whole = heads > 0 && width > 0 && width.is_multiple_of(heads);
        (!is_whole).then(|| format!("`hidden_size` {width} is not shared evenly by {heads} heads"))
    }

    /// Patches along a side; what is left over is not looked at.
    const fn side(&self) -> usize {
        self.image_size / self.patch_size
    }
}

/// Weight and bias.
type Pair = (Tensor, Tensor);

/// The tower.
#[derive(Debug)]
pub struct ClipVision {
    config: ClipVisionConfig,
    device: Device,
    /// `[d, 3 p p]`.
    patches: Tensor,
    class: Tensor,
    places: Tensor,
    before: Pair,
    layers: Vec<Layer>,
    after: Pair,
    projection: Tensor,
}

#[derive(Debug)]
struct Layer {
    norm: Pair,
    query: Pair,
    key: Pair,
    value: Pair,
    out: Pair,
    ff_norm: Pair,
    first: Pair,
    second: Pair,
}

/// A file of a folder, or of the `image_encoder` in it.
fn find(folder: &Path, names: &[&str], what: &'static str) -> Result<PathBuf, EncoderError> {
    let parts = [folder.join("image_encoder"), folder.to_owned()];
    let places = parts.iter().flat_map(|part| names.iter().map(|name| part.join(name)));
    let mut found = places.filter(|path| path.is_file());
    found.next().ok_or_else(|| EncoderError::Absent { folder: folder.to_owned(), what })
}

impl ClipVision {
    /// Opens the tower of a folder: `config.json` and `model.safetensors` (or `pytorch_model.bin`), side
    /// by side or in `image_encoder`, as published pipelines have them.
    ///
    /// # Errors
    /// When a file is not there, cannot be read, or is of another network.
    pub fn open(folder: &Path, device: &Device, dtype: DType) -> Result<Self, EncoderError> {
        let config = ClipVisionConfig::find(folder)?;
        let weights = Weights::open(&Self::weights(folder)?).map_err(ParamsError::from)?;
        Self::from_weights(weights, &config, device, dtype)
    }

    /// The file of the tower's weights in such a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn weights(folder: &Path) -> Result<PathBuf, EncoderError> {
        let names = ["model.safetensors", "pytorch_model.bin"];
        find(folder, &names, "`model.safetensors` in one file")
    }

    /// Copies a tower's files into the `image_encoder` of a model's folder, unless it has them.
    ///
    /// # Errors
    /// When a file is not there or cannot be written.
    pub fn copy(folder: &Path, model: &Path) -> Result<(), EncoderError> {
        let target = model.join("image_encoder");
        let weights = Self::weights(folder)?;
        for file in [find(folder, &["config.json"], "`config.json`")?, weights] {
            let path = target.join(file.file_name().unwrap_or_default());
            if path.is_file() {
                continue;
            }
            let part = path.with_extension("part");
            let copied = fs::create_dir_all(&target)
                .and_then(|()| fs::copy(&file, &part))
                .and_then(|_| fs::rename(&part, &path));
            copied.map_err(|source| EncoderError::Read { path, source })?;
        }
        Ok(())
    }

    /// Joins the tower with its weights, which are kept and computed with in `dtype`: `f32`, or `bf16`
    /// to halve the memory.
    ///
    /// # Errors
    /// When tensors are missing or have other shapes; the message names them.
    pub fn from_weights(
        weights: Weights,
        config: &ClipVisionConfig,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, EncoderError> {
        let mut params = Params::from_weights(weights, device).with_dtype(dtype);
        params.set_role("*", Role::Frozen);
        Ok(params.build(|scope| Self::new(scope, config, device))?)
    }

    fn new(
        scope: &mut Scope<'_>,
        config: &ClipVisionConfig,
        device: &Device,
    ) -> Result<Self, ParamsError> {
        let (width, wide) = (config.hidden_size, config.intermediate_size);
        let (patch, tokens) = (config.patch_size, 1 + config.side() * config.side());
        let init = Init::torch(width);
        let projection =
            scope.get("visual_projection.weight", &[config.projection_dim, width], init)?;
        let tower = &mut scope.at("vision_model");
        let embeddings = &mut tower.at("embeddings");
        let shape = [width, 3, patch, patch];
        let patches = embeddings.get("patch_embedding.weight", &shape, init)?;
        let failed = |source| ParamsError::Tensor { name: "patch_embedding".to_owned(), source };
        let patches = patches.reshape((width, 3 * patch * patch)).map_err(failed)?;
        let class = embeddings.get("class_embedding", &[width], init)?;
        let places = embeddings.get("position_embedding.weight", &[tokens, width], init)?;
        // As it is spelt.
        let before = norm(&mut tower.at("pre_layrnorm"), width)?;
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            let layer = &mut tower.at(&format!("encoder.layers.{index}"));
            layers.push(Layer {
                norm: norm(&mut layer.at("layer_norm1"), width)?,
                query: dense(&mut layer.at("self_attn.q_proj"), width, width)?,
                key: dense(&mut layer.at("self_attn.k_proj"), width, width)?,
                value: dense(&mut layer.at("self_attn.v_proj"), width, width)?,
                out: dense(&mut layer.at("self_attn.out_proj"), width, width)?,
                ff_norm: norm(&mut layer.at("layer_norm2"), width)?,
                first: dense(&mut layer.at("mlp.fc1"), width, wide)?,
                second: dense(&mut layer.at("mlp.fc2"), wide, width)?,
            });
        }
        let after = norm(&mut tower.at("post_layernorm"), width)?;
        let (config, device) = (config.clone(), device.clone());
        Ok(Self { config, device, patches, class, places, before, layers, after, projection })
    }

    /// What it is made of.
    #[must_use]
    pub const fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// Prepares and embeds pictures, each of any size: `[B, projection_dim]`, in the type of the weights.
    ///
    /// # Errors
    /// When the bytes are not of such pictures, or candle fails.
    pub fn encode(&self, pictures: &[Picture<'_>]) -> Result<Tensor, EncoderError> {
        let recipe = Recipe { side: self.config.image_size, ..Recipe::CLIP_224 };
        let mut planes = Vec::new();
        for picture in pictures {
            let Picture { rgb, width, height } = *picture;
            let wrong = InputError::Bytes { bytes: rgb.len(), width, height };
            let bytes = 3 * u64::from(width) * u64::from(height);
            let made = Preprocess::new(&recipe, width as usize, height as usize);
            let mut preprocess = made.filter(|_| rgb.len() as u64 == bytes).ok_or(wrong)?;
            let from = planes.len();
            planes.resize(from + preprocess.size(), 0.0);
            preprocess.fill(rgb, &mut planes[from..]);
        }
        let shape = (pictures.len(), 3, recipe.side, recipe.side);
        Ok(self.forward(&Tensor::from_vec(planes, shape, &self.device)?)?)
    }

    /// Embeds prepared pictures, `[B, 3, image_size, image_size]`: `[B, projection_dim]`.
    ///
    /// # Errors
    /// When the shape is another, or candle fails.
    pub fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let (side, patch, heads) =
            (self.config.side(), self.config.patch_size, self.config.num_attention_heads);
        let (eps, width) = (self.config.layer_norm_eps, self.config.hidden_size);
        let normed =
            |x: &Tensor, (weight, bias): &Pair| layer_norm(x, Some(weight), Some(bias), eps);
        let apply = |x: &Tensor, (weight, bias): &Pair| linear(x, weight, Some(bias));

        let batch = pixels.dim(0)?;
        // A convolution whose stride is its size is a product with patches.
        let seen = pixels.narrow(2, 0, side * patch)?.narrow(3, 0, side * patch)?;
        let patches = seen
            .reshape(vec![batch, 3, side, patch, side, patch])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .contiguous()?
            .reshape((batch, side * side, 3 * patch * patch))?
            .to_dtype(self.patches.dtype())?;
        let class = self.class.reshape((1, 1, width))?.broadcast_as((batch, 1, width))?;
        let x = Tensor::cat(&[&class.contiguous()?, &linear(&patches, &self.patches, None)?], 1)?;
        let mut x = normed(&x.broadcast_add(&self.places.unsqueeze(0)?)?, &self.before)?;
        let tokens = x.dim(1)?;
        for layer in &self.layers {
            let y = normed(&x, &layer.norm)?;
            let split = |pair: &Pair| {
                let shape = (batch, tokens, heads, width / heads);
                apply(&y, pair)?.reshape(shape)?.transpose(1, 2)?.contiguous()
            };
            let (q, k, v) = (split(&layer.query)?, split(&layer.key)?, split(&layer.value)?);
            let y = attention(&q, &k, &v, None, ((width / heads) as f64).sqrt().recip())?;
            let y = y.transpose(1, 2)?.contiguous()?.reshape((batch, tokens, width))?;
            x = (&x + apply(&y, &layer.out)?)?;
            let y = quick_gelu(&apply(&normed(&x, &layer.ff_norm)?, &layer.first)?)?;
            x = (&x + apply(&y, &layer.second)?)?;
        }
        let class = normed(&x.narrow(1, 0, 1)?.contiguous()?.squeeze(1)?, &self.after)?;
        linear(&class, &self.projection, None)
    }
}

/// `x * logistic(1.702 x)`, CLIP's own approximation of GELU.
fn quick_gelu(x: &Tensor) -> candle_core::Result<Tensor> {
    const SLOPE: f64 = 1.702;
    silu(&(x * SLOPE)?)? / SLOPE
}

fn dense(scope: &mut Scope<'_>, ins: usize, outs: usize) -> Result<Pair, ParamsError> {
    let init = Init::torch(ins);
    Ok((scope.get("weight", &[outs, ins], init)?, scope.get("bias", &[outs], init)?))
}

fn norm(scope: &mut Scope<'_>, width: usize) -> Result<Pair, ParamsError> {
    Ok((scope.get("weight", &[width], Init::Ones)?, scope.get("bias", &[width], Init::Zeros)?))
}

#[cfg(test)]
#[path = "clip_tests.rs"]
mod tests;
