//! What a model is, in checksums: the record of a clip has them, so that another model is noticed.

use std::path::Path;

use super::{Blueprint, GenerateError, ModelCard, TextSource};
use crate::{
    Weights,
    encoders::TextFiles,
    hub::{Hub, digest},
};

/// SHA-256 of what made a clip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelHashes {
    /// The transformer's checkpoint, or the preset and seed that it was drawn from.
    pub transformer: String,
    /// The VAE's.
    pub vae: String,
    /// The text encoder's weights.
    pub text: String,
    /// CLIP's image tower, where there is one.
    pub image: Option<String>,
    /// What says how the weights are used: the card, the configurations, the tokenizer.
    pub config: String,
}

/// What the text encoder's weights are. Those of the hub were compared with their checksum when they
/// came.
pub(super) fn of_text(
    source: &TextSource,
    (asked, files): (Option<&TextFiles>, &TextFiles),
    hub: &Hub,
) -> Result<String, GenerateError> {
    match source {
        TextSource::Hub(id) if asked.is_none() => Ok(hub.hash(id)?),
        _ => Ok(Weights::open(&files.weights)?.sha256()?),
    }
}

/// What says how the weights are used. Of the card, what a clip's own settings do not state: other
/// defaults make no other clip. Configurations count as they were understood, not byte for byte.
pub(super) fn of_config(
    blueprint: &Blueprint,
    files: &TextFiles,
    image: Option<&Path>,
) -> Result<String, GenerateError> {
    let Blueprint { card, transformer, vae } = blueprint;
    let ModelCard { prediction, variance, schedule, text, .. } = card;
    // Numbers and names always become JSON.
    let card = serde_json::to_string(&(prediction, variance, schedule, text.tokens));
    let card = card.unwrap_or_default();
    let of_text = |text: &str| digest::of_bytes(text.as_bytes());
    let mut hashes = vec![of_text(&card), of_text(&transformer.to_json()), of_text(&vae.to_json())];
    let tower = image.map(|weights| weights.with_file_name("config.json"));
    let tower = tower.filter(|config| config.is_file());
    for path in [&files.config, &files.tokenizer].into_iter().chain(&tower) {
        let hash = digest::of_file(path);
        hashes.push(hash.map_err(|source| GenerateError::Io { path: path.clone(), source })?);
    }
    Ok(of_text(&hashes.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_clips_counts_and_defaults_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = TextFiles { config: path("c"), weights: path("w"), tokenizer: path("t") };
        std::fs::write(&files.config, "{}").unwrap();
        std::fs::write(&files.tokenizer, "words").unwrap();
        let plain = Blueprint::preset("tiny").unwrap();
        let first = of_config(&plain, &files, None).unwrap();

        let mut defaults = plain.clone();
        defaults.card.sampling.steps += 1;
        (defaults.card.fps, defaults.card.frames) = (7.0, 1);
        assert_eq!(of_config(&defaults, &files, None).unwrap(), first);

        let changes: [fn(&mut Blueprint); 4] = [
            |changed| changed.card.schedule.beta_end /= 2.0,
            |changed| changed.card.text.tokens += 1,
            |changed| changed.transformer.layers += 1,
            |changed| changed.vae.scaling_factor *= 2.0,
        ];
        for change in changes {
            let mut changed = plain.clone();
            change(&mut changed);
            assert_ne!(of_config(&changed, &files, None).unwrap(), first);
        }
        for file in [&files.config, &files.tokenizer] {
            let before = std::fs::read(file).unwrap();
            std::fs::write(file, "other").unwrap();
            assert_ne!(of_config(&plain, &files, None).unwrap(), first, "{}", file.display());
            std::fs::write(file, before).unwrap();
        }
        assert_eq!(of_config(&plain, &files, None).unwrap(), first);
    }
}
