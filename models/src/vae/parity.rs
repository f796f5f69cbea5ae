//! How far this code is from the released one, tensor by tensor.
//!
//! The reference tensors were made with the released code and random weights: what holds for them
//! holds for published weights, which have the same names and shapes. Rows come back instead of a
//! verdict, so that a command can print them with those of other models, and a test can see them
//! fail when something is broken on purpose: all take the configuration that they run with.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{DType, Device, Tensor, Var};
use curate_ops::{Adam, AdamStep, Moments, gradients};

use super::{Posterior, SliceVae, Tiling, VaeConfig, VaeError, discriminator::Discriminator3d};
use crate::{
    Weights,
    params::{Params, ParamsError},
    parity::Row,
};

type Tensors = HashMap<String, Tensor>;

fn load(folder: &Path, name: &str, device: &Device) -> Result<Tensors, VaeError> {
    Ok(candle_core::safetensors::load(folder.join(name), device)?)
}

fn get<'t>(tensors: &'t Tensors, name: &str) -> Result<&'t Tensor, VaeError> {
    let missing = || candle_core::Error::Msg(format!("the reference has no tensor `{name}`"));
    Ok(tensors.get(name).ok_or_else(missing)?)
}

fn largest(tensor: &Tensor) -> Result<f64, VaeError> {
    let values = tensor.to_dtype(DType::F64)?.abs()?.flatten_all()?;
    Ok(values.max(0)?.to_scalar::<f64>()?)
}

/// The bound of outputs: 1e-4 of the largest value, or of 1.
fn row(name: String, found: Result<Tensor, VaeError>, wanted: &Tensor) -> Result<Row, VaeError> {
    let bound = 1e-4 * largest(wanted)?.max(1.0);
    let difference = match found {
        Ok(found) if found.dims() == wanted.dims() => largest(&(found - wanted)?)?,
        Ok(_) | Err(_) => f64::INFINITY,
    };
    Ok(Row { name, difference, bound })
}

/// The reference's configuration and weights, on the CPU.
///
/// # Errors
/// When `folder` has none.
pub fn reference(folder: &Path) -> Result<(VaeConfig, Params), VaeError> {
    reference_on(folder, &Device::Cpu)
}

/// The same on any device, where everything is then compared.
///
/// # Errors
/// When `folder` has none.
pub fn reference_on(folder: &Path, device: &Device) -> Result<(VaeConfig, Params), VaeError> {
    let path = folder.join("slice_vae.config.json");
    let json = std::fs::read_to_string(&path).map_err(candle_core::Error::wrap)?;
    let weights = Weights::open(&folder.join("slice_vae.weights.safetensors"));
    let weights = weights.map_err(ParamsError::from)?;
    Ok((VaeConfig::from_json(&json)?, Params::from_weights(weights, device)))
}

fn build(params: &mut Params, config: &VaeConfig) -> Result<SliceVae, VaeError> {
    params.build_frozen(|scope| SliceVae::new(config, scope))
}

/// Outputs: all of [`videos`], [`tiles`] and [`magvit`], and the discriminator.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn outputs(
    folder: &Path,
    config: &VaeConfig,
    params: &mut Params,
) -> Result<Vec<Row>, VaeError> {
    let mut rows = videos(folder, config, params)?;
    rows.extend(tiles(folder, config, params)?);
    rows.extend(magvit(folder, config, params)?);
    rows.extend(discriminator(folder, params.device())?);
    Ok(rows)
}

/// Videos of several lengths.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn videos(
    folder: &Path,
    config: &VaeConfig,
    params: &mut Params,
) -> Result<Vec<Row>, VaeError> {
    let vae = build(params, config)?;
    let io = load(folder, "slice_vae.io.safetensors", params.device())?;
    let mut rows = Vec::new();
    for frames in [1, 8, 9, 16, 25] {
        let name = format!("slice_vae encode T={frames}");
        let found = vae.moments(get(&io, &format!("encode.T{frames}.x"))?);
        rows.push(row(name, found, get(&io, &format!("encode.T{frames}.moments"))?)?);
    }
    for latents in [1, 2, 3, 4, 7] {
        let name = format!("slice_vae decode F={latents}");
        let found = vae.decode(get(&io, &format!("decode.F{latents}.z"))?);
        rows.push(row(name, found, get(&io, &format!("decode.F{latents}.y"))?)?);
    }
    Ok(rows)
}

/// Pictures that are larger than a tile.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn tiles(folder: &Path, config: &VaeConfig, params: &mut Params) -> Result<Vec<Row>, VaeError> {
    let tiled = VaeConfig { tiling: Some(Tiling::default()), ..config.clone() };
    let vae = build(params, &tiled)?;
    let io = load(folder, "slice_vae.io.safetensors", params.device())?;
    let mut rows = Vec::new();
    for frames in [1, 8] {
        let x = get(&io, &format!("tiled.T{frames}.x_u8"))?.to_dtype(DType::F32)?;
        let moments = vae.moments(&((x / 127.5)? - 1.0)?);
        let decoded = match &moments {
            Ok(moments) => every_eighth(&vae.decode(Posterior::new(moments)?.mode())?),
            Err(_) => Err(VaeError::Latents),
        };
        let wanted = get(&io, &format!("tiled.T{frames}.moments"))?;
        rows.push(row(format!("slice_vae encode tiled T={frames}"), moments, wanted)?);
        let wanted = get(&io, &format!("tiled.T{frames}.y_sub8"))?;
        rows.push(row(format!("slice_vae decode tiled T={frames}"), decoded, wanted)?);
    }
    Ok(rows)
}

/// The same weights as MagViT.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn magvit(
    folder: &Path,
    config: &VaeConfig,
    params: &mut Params,
) -> Result<Vec<Row>, VaeError> {
    let vae = build(params, &config.as_magvit())?;
    let io = load(folder, "magvit.io.safetensors", params.device())?;
    let mut rows = Vec::new();
    for frames in [1, 9] {
        let moments = vae.moments(get(&io, &format!("T{frames}.x"))?);
        let wanted = get(&io, &format!("T{frames}.moments"))?;
        let decoded = vae.decode(Posterior::new(wanted)?.mode());
        rows.push(row(format!("magvit encode T={frames}"), moments, wanted)?);
        let wanted = get(&io, &format!("T{frames}.y"))?;
        rows.push(row(format!("magvit decode T={frames}"), decoded, wanted)?);
    }
    Ok(rows)
}

fn every_eighth(x: &Tensor) -> Result<Tensor, VaeError> {
    let mut x = x.clone();
    for axis in [3, 4] {
        let indices: Vec<u32> = (0..x.dim(axis)? as u32).step_by(8).collect();
        x = x.contiguous()?.index_select(&Tensor::new(indices, x.device())?, axis)?;
    }
    Ok(x)
}

/// The discriminator of clips.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn discriminator(folder: &Path, device: &Device) -> Result<Vec<Row>, VaeError> {
    let tensors = load(folder, "discriminator3d.safetensors", device)?;
    let weights: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_owned(), tensor.clone())))
        .collect();
    let mut params = Params::from_tensors("discriminator3d", weights, device);
    let network = params.build(|scope| Discriminator3d::new(scope, 3, &[32, 64, 64]))?;
    let mut rows = Vec::new();
    for frames in [1, 9] {
        let found = network.forward(get(&tensors, &format!("T{frames}.x"))?);
        let wanted = get(&tensors, &format!("T{frames}.y"))?;
        let name = format!("discriminator3d T={frames}");
        rows.push(row(name, found.map_err(VaeError::from), wanted)?);
    }
    Ok(rows)
}

/// The loss that the gradients are of: the mean absolute difference of pixels, plus `weight` times
/// the posterior's divergence. `noise` is what latents are drawn with.
///
/// # Errors
/// When the video cannot be encoded, or the noise has not the shape of its latents.
pub fn loss(vae: &SliceVae, x: &Tensor, noise: &Tensor, weight: f64) -> Result<Tensor, VaeError> {
    let posterior = vae.encode(x)?;
    let y = vae.decode(&posterior.sample(noise)?)?;
    let reconstruction = (y - x)?.abs()?.mean_all()?;
    Ok((reconstruction + (posterior.divergence()? * weight)?)?)
}

fn scalar(tensor: &Tensor) -> Result<f64, VaeError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.get(0)?.to_scalar::<f64>()?)
}

/// Gradients of a training loss, within 1e-3 of each one's largest value.
///
/// Where the true gradient is zero (keys' biases: softmax does not see them) both have rounding
/// only, so differences below a hundred-millionth of the norm of all gradients count as none.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn gradient_rows(
    folder: &Path,
    config: &VaeConfig,
    params: &mut Params,
) -> Result<Vec<Row>, VaeError> {
    let reference = load(folder, "slice_vae.grad.safetensors", params.device())?;
    let vae = params.build(|scope| SliceVae::new(config, scope))?;
    let noise = get(&reference, "posterior_noise")?;
    let loss = loss(&vae, get(&reference, "x")?, noise, 1e-3)?;
    let value = scalar(&loss)?;
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let found = gradients(loss, &vars, None)?;
    let relative = |name: &str, found: f64, wanted: f64| Row {
        name: name.to_owned(),
        difference: (found - wanted).abs(),
        bound: 1e-3 * wanted.abs(),
    };
    let norm = scalar(get(&reference, "grad_norm_all")?)?;
    let wanted = scalar(get(&reference, "loss")?)?;
    let mut rows = vec![
        relative("slice_vae loss", value, wanted),
        relative("slice_vae gradient norm", found.norm(&vars)?, norm),
    ];
    for (name, var) in params.trained() {
        let Some(wanted) = reference.get(&format!("grad.{name}")) else { continue };
        let difference = match found.get(var) {
            Some(gradient) => largest(&(gradient - wanted)?)?,
            None => f64::INFINITY,
        };
        let bound = (1e-3 * largest(wanted)?).max(1e-8 * norm);
        rows.push(Row { name: format!("slice_vae grad {name}"), difference, bound });
    }
    Ok(rows)
}

/// Twenty steps of training: at each the loss within 1e-3 and the gradients' norm within 1e-2, and a
/// weight at the end within 1e-3.
///
/// Norms are bound less tightly as Adam makes full steps of gradients that are rounding only: two
/// correct programs part there, each in its own direction.
///
/// # Errors
/// When `folder` has not the reference tensors.
pub fn step_rows(
    folder: &Path,
    config: &VaeConfig,
    params: &mut Params,
) -> Result<Vec<Row>, VaeError> {
    let reference = load(folder, "slice_vae.steps.safetensors", params.device())?;
    let vae = params.build(|scope| SliceVae::new(config, scope))?;
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let moments: Vec<Moments> = vars.iter().map(Moments::zeros).collect::<Result<_, _>>()?;
    let adam = Adam { beta1: 0.5, beta2: 0.9, eps: 1e-8, weight_decay: 0.0 };
    let (losses, norms) = (get(&reference, "loss")?, get(&reference, "grad_norm")?);
    let mut rows = Vec::new();
    for index in 0..losses.dim(0)? {
        let x = get(&reference, &format!("x.{index:02}"))?;
        let loss = loss(&vae, x, get(&reference, &format!("noise.{index:02}"))?, 1e-6)?;
        let value = scalar(&loss)?;
        let found = gradients(loss, &vars, None)?;
        for (name, found, wanted, share) in [
            ("loss", value, scalar(&losses.get(index)?)?, 1e-3),
            ("gradient norm", found.norm(&vars)?, scalar(&norms.get(index)?)?, 1e-2),
        ] {
            let name = format!("slice_vae step {} {name}", index + 1);
            let (difference, bound) = ((found - wanted).abs(), share * wanted.abs());
            rows.push(Row { name, difference, bound });
        }
        let step = AdamStep { number: index as u64 + 1, learning_rate: 1e-4, gradient_scale: 1.0 };
        for (var, moments) in vars.iter().zip(&moments) {
            let Some(gradient) = found.get(var) else { continue };
            adam.step(var, gradient, moments, &step)?;
        }
    }
    let wanted = get(&reference, "final.decoder.conv_out")?;
    let found = params.get("decoder.conv_out.weight").map(|var| var.as_detached_tensor());
    let found = found.ok_or(VaeError::Latents)?;
    let name = "slice_vae steps decoder.conv_out.weight".to_owned();
    let (difference, bound) = (largest(&(found - wanted)?)?, 1e-3 * largest(wanted)?);
    rows.push(Row { name, difference, bound });
    Ok(rows)
}
