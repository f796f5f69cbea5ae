//! PEFT's folder: `adapter_model.safetensors` and `adapter_config.json`, as of peft 0.21.
//!
//! The configuration counts for the strength of adapters; which layers they are for, the tensors say.
//! What would make them something else (DoRA, biases, modules saved whole) is refused by name.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fancy_regex::{Regex, escape};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Layer, LoraError};

/// What PEFT puts before the names of a network's layers.
pub(super) const PREFIX: &str = "base_model.model.";
/// The tensors.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// The tensors, as old versions wrote them.
const PICKLED: &str = "adapter_model.bin";
const CONFIG: &str = "adapter_config.json";

/// The tensors in a folder.
pub(super) fn weights_of(folder: &Path) -> PathBuf {
    let file = folder.join(WEIGHTS);
    let pickled = folder.join(PICKLED);
    if !file.exists() && pickled.exists() { pickled } else { file }
}

/// The part of `adapter_config.json` that counts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AdapterConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    pub(super) lora_dropout: f64,
    /// Ranks and alphas of layers whose name fits a regular expression.
    #[serde(default)]
    rank_pattern: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    /// Names, or one regular expression. Told to PEFT, not read.
    #[serde(default)]
    target_modules: Value,
    /// Scaled by `alpha / sqrt(r)` (Kalajdzievski, arXiv 2312.03732).
    #[serde(default)]
    use_rslora: bool,
    /// All the rest, some of which must not be set.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
    #[serde(skip)]
    pub(super) path: PathBuf,
}

/// Keys that ask for something else than plain adapters, unless they are null, false, `none` or empty.
const REFUSED: [&str; 8] = [
    "alora_invocation_tokens",
    "fan_in_fan_out",
    "bias",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "use_dora",
];

impl AdapterConfig {
    /// That of a file of tensors.
    pub(super) fn beside(file: &Path) -> Result<Self, LoraError> {
        let path = file.with_file_name(CONFIG);
        let wrong = |problem: String| LoraError::Adapter { path: path.clone(), problem };
        let text = fs::read_to_string(&path).map_err(|error| {
            let why = "the strength of the adapters is in it; copy it beside the tensors";
            wrong(format!("{error}; {why}"))
        })?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("it is no configuration of a LoRA: {error}")))?;
        if config.peft_type != "LORA" {
            return Err(wrong(format!("`peft_type` is `{}`, not `LORA`", config.peft_type)));
        }
        for key in REFUSED {
            let is_set = match config.rest.get(key) {
                None | Some(Value::Null | Value::Bool(false)) => false,
                Some(Value::String(text)) => !text.is_empty() && text != "none",
                Some(Value::Array(list)) => !list.is_empty(),
                Some(_) => true,
            };
            if is_set {
                return Err(wrong(format!("`{key}` is set, which plain adapters do not have")));
            }
        }
        Ok(Self { path, ..config })
    }

    /// The alpha of a layer, given the rank that its tensors have, such that `alpha / rank` is what PEFT
    /// multiplies by.
    pub(super) fn alpha(&self, layer: &str, rank: usize) -> Result<f64, LoraError> {
        let wrong = |problem: String| LoraError::Adapter { path: self.path.clone(), problem };
        let stated = self.pattern(self.rank_pattern.as_ref(), layer)?.unwrap_or(self.r);
        if stated != rank {
            return Err(wrong(format!(
                "the rank of `{layer}` is {stated} here, its tensors' {rank}"
            )));
        }
        let alpha = self.pattern(self.alpha_pattern.as_ref(), layer)?.unwrap_or(self.lora_alpha);
        Ok(if self.use_rslora { alpha * (rank as f64).sqrt() } else { alpha })
    }

    /// What patterns say of a layer. PEFT takes the first that fits, in the order of the file, which is
    /// lost here: of several that fit, all must say the same.
    fn pattern<T: Copy + PartialEq>(
        &self,
        patterns: Option<&BTreeMap<String, T>>,
        layer: &str,
    ) -> Result<Option<T>, LoraError> {
        let wrong = |problem: String| LoraError::Adapter { path: self.path.clone(), problem };
        let mut found = None;
        for (pattern, value) in patterns.into_iter().flatten() {
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"));
            let fits = regex.and_then(|regex| regex.is_match(layer));
            let fits = fits.map_err(|error| wrong(format!("the pattern `{pattern}`: {error}")))?;
            if fits && found.is_some_and(|found| found != *value) {
                return Err(wrong(format!("several patterns fit `{layer}` and do not agree")));
            }
            if fits {
                found = Some(*value);
            }
        }
        Ok(found)
    }

    /// The configuration of adapters; `others` are the network's layers without one.
    pub(super) fn of(layers: &BTreeMap<String, Layer>, others: &[&str], dropout: f64) -> Self {
        let first = layers.values().next();
        let (r, alpha) = first.map_or((1, 1.0), |layer| (layer.rank, layer.alpha));
        // Anchored, since a pattern may otherwise begin at any dot of a name.
        let exact = |name: &str| format!("^{}", escape(name));
        let ranks = layers.iter().filter(|(_, layer)| layer.rank != r);
        let ranks = ranks.map(|(name, layer)| (exact(name), layer.rank));
        let alphas = layers.iter().filter(|(_, layer)| layer.alpha.to_bits() != alpha.to_bits());
        let alphas = alphas.map(|(name, layer)| (exact(name), layer.alpha));
        let fixed = json!({
            "base_model_name_or_path": null, "bias": "none", "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true, "modules_to_save": null,
            "task_type": null, "use_dora": false,
        });
        Self {
            peft_type: "LORA".to_owned(),
            r,
            lora_alpha: alpha,
            lora_dropout: dropout,
            rank_pattern: Some(ranks.collect()),
            alpha_pattern: Some(alphas.collect()),
            target_modules: targets(layers, others),
            use_rslora: false,
            rest: fixed
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            path: PathBuf::new(),
        }
    }

    /// Writes it into a folder.
    pub(super) fn write(&self, folder: &Path) -> Result<(), LoraError> {
        let path = folder.join(CONFIG);
        let io = |source| LoraError::Io { path: path.clone(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| io(error.into()))?;
        let part = folder.join("adapter_config.json.part");
        fs::write(&part, text + "\n").and_then(|()| fs::rename(&part, &path)).map_err(io)
    }
}

/// Layers as PEFT finds them: a name in a list is also that of every layer whose name ends with it, so
/// where that would be too many, a regular expression says exactly which.
fn targets(layers: &BTreeMap<String, Layer>, others: &[&str]) -> Value {
    let ends = |other: &str, name: &str| {
        other.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
    };
    let is_vague = layers.keys().any(|name| others.iter().any(|other| ends(other, name)));
    if is_vague {
        let names: Vec<String> = layers.keys().map(|name| escape(name).into_owned()).collect();
        return json!(names.join("|"));
    }
    json!(layers.keys().collect::<Vec<_>>())
}
