//! The reference tensors of the transformer: `transformer3d.*`.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor, Var};
use curate_ops::gradients;

use super::{Clip, Config, Inputs, Transformer3d, TransformerError, load};
use crate::{
    Weights,
    params::{Params, ParamsError},
    parity::{ParityError, References, Row, compare, numbers},
};

/// The network of the references.
///
/// # Errors
/// When its configuration or its weights cannot be read.
pub fn network(folder: &Path, device: &Device) -> Result<(Transformer3d, Params), ParityError> {
    let config = Config::open(&folder.join("transformer3d.config.json"))?;
    let weights = Weights::open(&folder.join("transformer3d.weights.safetensors"))
        .map_err(|error| TransformerError::from(ParamsError::from(error)))?;
    let (network, params, _) = load(weights, &config, None, device)?;
    Ok((network, params))
}

/// Rows of the outputs for pictures and clips, with masks for text and CLIP.
///
/// # Errors
/// When the references cannot be read, or the network fails.
pub fn output_rows(
    network: &Transformer3d,
    folder: &Path,
    device: &Device,
) -> Result<Vec<Row>, ParityError> {
    let file = References::open(&folder.join("transformer3d.io.safetensors"), device)?;
    let mut rows = Vec::new();
    for case in ["img", "vid"] {
        let output = with_inputs(&file, case, |inputs| network.forward(inputs))?;
        let reference = format!("{case}.y");
        rows.push(file.compare(&format!("transformer3d.{reference}"), &output, &reference)?);
    }
    Ok(rows)
}

/// What a gradient may be off, as a share of the tensor's largest.
const RELATIVE: f64 = 1e-3;
/// Share of the norm over all gradients below which a tensor's gradient is rounding: those of keys'
/// biases are zero but for it, since softmax does not see what moves all scores of a query alike.
const ROUNDING: f64 = 1e-6;

/// Rows of the gradients of mean(output^2) for the clip: for each part of the network its worst
/// tensor, bound by 1e-3 of the tensor's largest gradient, and the norm over all tensors.
///
/// # Errors
/// When the references cannot be read, or backward fails.
pub fn gradient_rows(
    (network, params): (&Transformer3d, &Params),
    folder: &Path,
    device: &Device,
) -> Result<Vec<Row>, ParityError> {
    let io = References::open(&folder.join("transformer3d.io.safetensors"), device)?;
    let file = References::open(&folder.join("transformer3d.grad.safetensors"), device)?;
    let output = with_inputs(&io, "vid", |inputs| network.forward(inputs))?;
    let loss = output.sqr()?.mean_all()?;
    let mut rows =
        vec![compare("transformer3d.grad.loss", &numbers(&loss)?, &file.numbers("loss")?)];
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let gradients = gradients(loss, &vars, None)?;
    let norm = file.numbers("grad_norm_all")?[0];

    let mut parts: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for name in file.names() {
        let Some(tensor) = name.strip_prefix("grad.") else { continue };
        let gradient = params.get(tensor).and_then(|var| gradients.get(var));
        let found = gradient.map(numbers).transpose()?.unwrap_or_default();
        let expected = file.numbers(name)?;
        let mut row = compare(tensor, &found, &expected);
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        row.bound = RELATIVE * largest.max(ROUNDING * norm);
        parts.entry(part(tensor)).or_default().push(row);
    }
    for (part, of_part) in parts {
        let count = of_part.len();
        let worst = of_part.into_iter().max_by(|a, b| a.share().total_cmp(&b.share()));
        let name = format!("transformer3d.grad, {part}: worst of {count}");
        rows.extend(worst.map(|row| Row { name, ..row }));
    }
    let mut row = compare("transformer3d.grad_norm_all", &[gradients.norm(&vars)?], &[norm]);
    row.bound = RELATIVE * norm;
    rows.push(row);
    Ok(rows)
}

/// The part of the network that a tensor is of.
fn part(tensor: &str) -> &'static str {
    if tensor.contains("attn_temporal") {
        "motion modules"
    } else if tensor.starts_with("transformer_blocks") {
        "blocks"
    } else if tensor.starts_with("long_connect_fc") {
        "long skips"
    } else {
        "embeddings and head"
    }
}

/// Runs something on the inputs of a case.
fn with_inputs(
    file: &References,
    case: &str,
    run: impl FnOnce(&Inputs<'_>) -> Result<Tensor, TransformerError>,
) -> Result<Tensor, ParityError> {
    let get = |name: &str| file.get(&format!("{case}.{name}"));
    let times = get("t")?.to_dtype(DType::F32)?;
    let inputs = Inputs {
        latents: get("x")?,
        inpaint: Some(get("inpaint")?),
        times: &times,
        text: get("text")?,
        text_mask: Some(get("text_mask")?),
        clip: Some(Clip { embedding: get("clip")?, mask: get("clip_mask")? }),
        size: None,
    };
    Ok(run(&inputs)?)
}
