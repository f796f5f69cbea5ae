//! Names of encoders by content: what was cached with one is not used with another.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use curate_models::{Weights, encoders::TextFiles, generate::TRANSFORMER_NOTE, vae::SliceVae};

use crate::data::DataError;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

fn feed(hasher: &mut blake3::Hasher, path: &Path) -> Result<(), DataError> {
    let read = |hasher: &mut blake3::Hasher| -> io::Result<()> {
        let mut file = File::open(path)?;
        hasher.update(&file.metadata()?.len().to_le_bytes());
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                bytes => hasher.update(&piece[..bytes]),
            };
        }
    };
    read(hasher).map_err(|source| DataError::Read { path: path.to_owned(), source })
}

/// The name of a VAE or a transformer: 32 hexadecimal digits of the BLAKE3 hash of its checkpoint, and of
/// the `config.json` beside it if that says what it is made of: not if its own header does. Where it lies
/// does not matter.
///
/// # Errors
/// When it cannot be read.
pub fn hash_vae(checkpoint: &Path) -> Result<String, DataError> {
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, checkpoint)?;
    let config = checkpoint.with_file_name("config.json");
    // Beside a run's checkpoint lies the run's file of this name.
    if config.is_file() && !has_own_config(checkpoint) {
        feed(&mut hasher, &config)?;
    }
    Ok(name(&hasher))
}

/// Whether the header of a checkpoint has its configuration. Of what cannot be read it has not; whoever
/// opens it says why.
fn has_own_config(checkpoint: &Path) -> bool {
    let Ok(weights) = Weights::open(checkpoint) else { return false };
    weights.note(TRANSFORMER_NOTE).is_some()
        || SliceVae::stored_config(&weights).is_ok_and(|config| config.is_some())
}

/// The name of a text encoder: of its configuration, weights and vocabulary, and of how many of its layers
/// are used where that is not all.
///
/// # Errors
/// When a file cannot be read.
pub fn hash_text_encoder(files: &TextFiles, layers: Option<usize>) -> Result<String, DataError> {
    let mut hasher = blake3::Hasher::new();
    for file in [&files.config, &files.weights, &files.tokenizer] {
        feed(&mut hasher, file)?;
    }
    if let Some(layers) = layers {
        hasher.update(&(layers as u64).to_le_bytes());
    }
    Ok(name(&hasher))
}

fn name(hasher: &blake3::Hasher) -> String {
    let mut name = hasher.finalize().to_hex().to_string();
    name.truncate(32);
    name
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use curate_models::{params::Params, vae::VaeConfig};

    use super::*;

    #[test]
    fn a_name_is_of_the_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let one = hash_vae(&write("a/vae.safetensors", b"weights")).unwrap();
        assert_eq!(one.len(), 32);
        assert_eq!(hash_vae(&write("b/other.safetensors", b"weights")).unwrap(), one);
        assert_ne!(hash_vae(&write("c/vae.safetensors", b"others")).unwrap(), one);
        write("b/config.json", b"{}");
        assert_ne!(hash_vae(&folder.path().join("b/other.safetensors")).unwrap(), one);
        // A checkpoint that has its own configuration is the same beside any file of that name.
        let config = VaeConfig::preset("tiny").unwrap();
        let mut params = Params::seeded(1, &Device::Cpu);
        params.build(|scope| SliceVae::new(&config, scope)).unwrap();
        let own = folder.path().join("d/vae.safetensors");
        write("d/config.json", b"{}");
        SliceVae::save(&config, &params, &own).unwrap();
        let beside = hash_vae(&own).unwrap();
        std::fs::remove_file(folder.path().join("d/config.json")).unwrap();
        assert_eq!(hash_vae(&own).unwrap(), beside);
        let absent = hash_vae(&folder.path().join("none")).unwrap_err();
        assert!(absent.to_string().contains("none"), "{absent}");
        // What ends one file and begins the next is told apart.
        let files = |a: &[u8], b: &[u8]| TextFiles {
            config: write("t/config.json", a),
            weights: write("t/w", b),
            tokenizer: write("t/t", b"t"),
        };
        let first = hash_text_encoder(&files(b"ab", b"c"), None).unwrap();
        assert_ne!(hash_text_encoder(&files(b"a", b"bc"), None).unwrap(), first);
        let of = |layers| hash_text_encoder(&files(b"ab", b"c"), layers).unwrap();
        assert_eq!(of(None), first);
        assert!(of(Some(0)) != first && of(Some(1)) != of(Some(0)));
    }
}
