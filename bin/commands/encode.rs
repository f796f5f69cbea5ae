//! `curate encode`: latents and text embeddings into the table, so that training runs need not make them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::Args;
use curate_models::{
    encoders::{TextFiles, TextOptions},
    generate::{ModelFolder, Place, TextSource, TextSpec, text_files},
    hub::Hub,
};
use curate_store::Store;
use curate_train::{
    TrainError,
    data::TableRows,
    encode::{Encoded, Encoding, Text, Vae, encode},
    run::Stop,
};
use tokio::runtime::Handle;

use super::{
    buckets::{DataArgs, usage},
    columns::{Shown, tell_left_out},
};
use crate::{Exit, UsageError, env, progress::say, signals, words};

/// What `curate encode` is told.
#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    /// The table's folder.
    out: PathBuf,
    /// The file of the training run, whose `[data]` says which clips at which size; options go before
    /// it.
    recipe: Option<PathBuf>,
    /// The VAE's checkpoint; without it no latents are made.
    #[arg(long, value_name = "FILE")]
    vae: Option<PathBuf>,
    /// The text encoder: a folder, or the id of a model; without it no captions are encoded.
    #[arg(long, value_name = "FOLDER_OR_ID")]
    text: Option<String>,
    /// Tokens that a caption is cut to [default: as the run's file says, else 64 for MiniLM, 120 else].
    #[arg(long)]
    tokens: Option<usize>,
    /// Layers of the text encoder that a caption goes through [default: as the run's file says, else all].
    #[arg(long)]
    layers: Option<usize>,
    #[command(flatten)]
    data: DataArgs,
    /// Where the networks run: `cpu`, `cuda` or `cuda:1`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// What the text encoder computes in: `f32` or `bf16`.
    #[arg(long, default_value = "f32")]
    dtype: String,
}

pub(crate) fn run(args: &EncodeArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    if args.vae.is_none() && args.text.is_none() {
        let words =
            "say what to encode with: --vae FILE for latents, --text FOLDER_OR_ID for captions";
        return Err(UsageError(words.to_owned()).into());
    }
    if args.data.has_version() {
        let words =
            "--version: what is encoded is written to the newest version, so it is read from it";
        return Err(UsageError(words.to_owned()).into());
    }
    curate_media::keep_memory();
    let started = Instant::now();
    let mut config = args.data.config(&args.out, args.recipe.as_deref())?;
    config.version = None;
    let place = Place::parse(&args.device, &args.dtype).map_err(wrong)?;
    let vae = args.vae.as_deref().map(|path| Vae::open(path, &place.device)).transpose();
    let vae = vae.map_err(wrong)?;
    let of_run = args.recipe.as_deref().map(text_of_run).transpose()?.flatten();
    let tokens = args.tokens.or(of_run.as_ref().map(|text| text.tokens));
    let layers = args.layers.or(of_run.and_then(|text| text.layers));
    let open = |word| open_text(word, (tokens, layers), &place);
    let text = args.text.as_deref().map(open).transpose()?;

    let store = runtime.block_on(Store::open(&args.out))?;
    let rows = TableRows::open(&config, None, runtime).map_err(usage)?;
    let stop = Stop::of(signals::stop_flag()?);
    let what = Encoding {
        source: Arc::new(rows),
        config: &config,
        vae: vae.as_ref(),
        text: text.as_ref(),
    };
    let mut shown = Shown::new();
    let encoded = encode(
        &what,
        &mut |changes| runtime.block_on(store.patch(changes)).map(drop),
        &mut |progress| shown.tell(progress),
        &stop,
    );
    shown.bar.finish_and_clear();
    let encoded = encoded.map_err(|error| match error {
        TrainError::Data(error) => usage(*error),
        error => wrong(error),
    })?;
    Ok(report(&encoded, args, started))
}

/// The text encoder of a training run: what its file says under `model.text`, or the card of the model that
/// it goes on from.
fn text_of_run(recipe: &Path) -> anyhow::Result<Option<TextSpec>> {
    let text = std::fs::read_to_string(recipe)?;
    let file: toml::Table = toml::from_str(&text)?;
    let Some(model) = file.get("model") else { return Ok(None) };
    if let Some(text) = model.get("text") {
        let spec = text
            .clone()
            .try_into()
            .map_err(|error| UsageError(format!("{}: `model.text`: {error}", recipe.display())))?;
        return Ok(Some(spec));
    }
    match model.get("from").and_then(toml::Value::as_str).map(Path::new) {
        Some(from) if from.is_dir() => {
            let folder = ModelFolder::open(from).map_err(wrong)?;
            Ok(Some(folder.card().text.clone()))
        }
        _ => Ok(None),
    }
}

/// An error of a file that the user named.
fn wrong(error: impl std::error::Error) -> anyhow::Error {
    UsageError(words(&error)).into()
}

fn open_text(
    word: &str,
    (tokens, layers): (Option<usize>, Option<usize>),
    place: &Place,
) -> anyhow::Result<Text> {
    let files = if Path::new(word).is_dir() {
        TextFiles::find(Path::new(word)).map_err(wrong)?
    } else {
        let hub = Hub::open(env::models_dir()?)?;
        if !hub.models().iter().any(|model| model.id == word) {
            let words = format!(
                "--text {word}: neither a folder nor a model; `curate models list` shows the models"
            );
            return Err(UsageError(words).into());
        }
        text_files(&TextSource::Hub(word.to_owned()), Path::new("."), &hub).map_err(wrong)?
    };
    let usual = match word {
        TextSpec::MINILM => TextSpec::minilm().tokens,
        _ => curate_models::encoders::TEXT_TOKENS,
    };
    let options = TextOptions {
        device: place.device.clone(),
        dtype: place.dtype,
        tokens: tokens.unwrap_or(usual),
        layers,
    };
    Text::open(&files, &options).map_err(wrong)
}

fn report(encoded: &Encoded, args: &EncodeArgs, started: Instant) -> Exit {
    let parts = [
        (args.vae.is_some(), "latents", encoded.latents, encoded.had_latents),
        (args.text.is_some(), "embeddings", encoded.texts, encoded.had_texts),
    ];
    for (is_wanted, what, written, had) in parts {
        if is_wanted {
            say(&format!("{what} of {written} clips written; {had} had them"));
        }
    }
    tell_left_out(&encoded.unusable, &encoded.failures, "encoded");
    say(&format!("took {:.1} s", started.elapsed().as_secs_f64()));
    if encoded.is_stopped {
        say("stopped; run the same command again to go on");
        return Exit::Stopped;
    }
    if encoded.failures.is_empty() { Exit::Complete } else { Exit::Partial }
}
