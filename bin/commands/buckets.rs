//! `curate buckets`: what a training run would read, before it does.
//!
//! Rows of each bucket, rows that would not be used and why, and how many samples of each bucket a card
//! takes. With `--read`, batches are read as a trainer reads them, and the time it takes is told: what
//! a card would wait for.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use curate_models::{dit::Config, hub::Hub, vae::VaeConfig};
use curate_train::{
    RunKind,
    data::{
        Batch, Bucket, DataConfig, DataError, Loader, Pixels, Rows, TableRows, Version, Wanted,
        estimate,
    },
    data_of_run,
    dit::{DitTrainConfig, Parts},
    vae::{VaeEstimate, VaeTrainConfig},
};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;

use crate::{Exit, UsageError, env, progress::say};

/// Cards for which batch sizes are estimated, in GB.
const CARDS: [u64; 3] = [24, 40, 80];

/// What `curate buckets` is told.
#[derive(Debug, Args)]
pub(crate) struct BucketsArgs {
    /// The table's folder.
    out: PathBuf,
    /// The file of a training run, whose `[data]` counts; options go before it.
    recipe: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// What is to be trained, a VAE needs no captions [default: what the file is for, else dit].
    #[arg(long = "for", value_enum)]
    trainer: Option<Trainer>,
    /// The transformer for which batch sizes are estimated: `tiny`, `s` or `xl2` [default: the file's,
    /// else xl2].
    #[arg(long)]
    preset: Option<String>,
    /// Read so many batches, and say how fast.
    #[arg(long, value_name = "BATCHES")]
    read: Option<u64>,
    /// The seed of the order in which they are read.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON: with `--read`, an object for each batch and one at the end.
    #[arg(long)]
    json: bool,
}

/// What is to be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trainer {
    Vae,
    Dit,
}

/// Settings of `[data]` that can be given as options.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DataArgs {
    /// Which clips, as an SQL condition [default: status = 'kept'].
    #[arg(long = "where", value_name = "SQL")]
    filter: Option<String>,
    /// The side of a square bucket in pixels [default: 512].
    #[arg(long)]
    size: Option<usize>,
    /// Frames of a clip [default: 144].
    #[arg(long)]
    frames: Option<usize>,
    /// Every how many frames one is used [default: 1].
    #[arg(long)]
    stride: Option<usize>,
    /// Frames a second that are used, instead.
    #[arg(long)]
    fps: Option<f64>,
    /// Samples of a batch [default: 1].
    #[arg(long)]
    batch: Option<usize>,
    /// Threads that read and decode [default: 2].
    #[arg(long)]
    workers: Option<usize>,
    /// A version instead of the newest, by number or tag.
    #[arg(long)]
    version: Option<String>,
}

impl DataArgs {
    /// Whether a version is asked for.
    pub(crate) const fn has_version(&self) -> bool {
        self.version.is_some()
    }

    /// The settings of a table: those of a file, and over them those given here.
    pub(crate) fn config(&self, out: &Path, recipe: Option<&Path>) -> anyhow::Result<DataConfig> {
        let mut config = recipe.map(read).transpose()?.unwrap_or_default();
        out.clone_into(&mut config.table);
        let Self { filter, size, frames, stride, fps, batch, workers, version } = self.clone();
        config.filter = filter.unwrap_or(config.filter);
        config.size = size.unwrap_or(config.size);
        config.frames = frames.unwrap_or(config.frames);
        config.stride = stride.unwrap_or(config.stride);
        config.fps = fps.or(config.fps);
        config.batch = batch.unwrap_or(config.batch);
        config.workers = workers.unwrap_or(config.workers);
        if let Some(word) = version {
            config.version = Some(word.parse().map_or(Version::Tag(word), Version::Number));
        }
        let problems = config.problems();
        if problems.is_empty() {
            return Ok(config);
        }
        // Options are called as settings are.
        let place =
            recipe.map_or_else(|| "the options".to_owned(), |path| path.display().to_string());
        Err(UsageError(format!("{place}: {}", problems.join("; "))).into())
    }
}

/// The `[data]` of a training run's file, with what its stage sets; what is held out is counted too.
fn read(path: &Path) -> anyhow::Result<DataConfig> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| UsageError(format!("cannot read {}: {error}", path.display())))?;
    let wrong =
        |problems: Vec<String>| UsageError(format!("{}: {}", path.display(), problems.join("; ")));
    Ok(data_of_run(&text).map_err(wrong)?)
}

/// What is the user's to mend ends with code 2.
pub(crate) fn usage(error: DataError) -> anyhow::Error {
    match error {
        DataError::Store(error) => error.into(),
        error if error.is_usage() => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}

/// What is to be trained.
struct Aim {
    network: Network,
    /// What it is called.
    name: String,
    wanted: Wanted,
}

/// That for which batch sizes are estimated.
enum Network {
    Transformer(Config),
    Vae(VaeConfig),
}

impl Network {
    /// Samples of a bucket that fit cards.
    fn samples(&self, bucket: &Bucket) -> [u64; 3] {
        match self {
            Self::Transformer(config) => CARDS.map(|card| estimate::samples(config, bucket, card)),
            Self::Vae(config) => {
                // A square of as many pixels.
                let side = (bucket.height * bucket.width).isqrt();
                let of = VaeEstimate::of(config, bucket.frames, side);
                of.map_or([0; 3], |estimate| CARDS.map(|card| estimate.clips(card)))
            }
        }
    }

    /// How it is thought to be trained.
    const fn manner(&self) -> &'static str {
        match self {
            Self::Transformer(_) => "bf16 with gradient checkpointing",
            Self::Vae(_) => "f32 without `recompute`, LPIPS and discriminators",
        }
    }
}

impl Aim {
    /// As the options say, else as the run's file does.
    fn of(args: &BucketsArgs) -> anyhow::Result<Self> {
        let file = args.recipe.as_deref();
        let text = file.map(std::fs::read_to_string).transpose()?.unwrap_or_default();
        let kind = RunKind::of(&text);
        let trainer = args.trainer.or(kind.map(|kind| match kind {
            RunKind::Vae => Trainer::Vae,
            RunKind::Dit => Trainer::Dit,
        }));
        let is_dit = trainer.unwrap_or(Trainer::Dit) == Trainer::Dit;
        let mut wanted = Wanted { captions: is_dit, ..Wanted::default() };
        let mut network = None;
        if let Some(file) = file.filter(|_| !is_dit && kind == Some(RunKind::Vae)) {
            let run = VaeTrainConfig::read(file).and_then(|run| run.network());
            let run = run.map_err(|error| UsageError(error.in_file(file).to_string()))?;
            network = Some((Network::Vae(run), "the file's VAE".to_owned()));
        }
        if let Some(file) = file.filter(|_| is_dit && kind == Some(RunKind::Dit)) {
            let hub = Hub::open(env::models_dir()?)?;
            let found = DitTrainConfig::read(file).and_then(|run| {
                let parts = Parts::find(&run, &hub)?;
                Ok((parts.hashes()?.wanted(), parts.transformer))
            });
            match found {
                Ok((of_run, transformer)) => {
                    wanted = of_run;
                    let transformer = Network::Transformer(transformer);
                    network = Some((transformer, "the file's network".to_owned()));
                }
                // What is named there may be trained first.
                Err(error) => {
                    let error = error.in_file(file);
                    say(&format!("what is cached is not looked at: {error}"));
                }
            }
        }
        if let Some(name) = &args.preset {
            let preset = Config::preset(name).map_err(|error| UsageError(error.to_string()))?;
            network = Some((Network::Transformer(preset), format!("`{name}`")));
        }
        let usual = || (Network::Transformer(Config::xl2()), "`xl2`".to_owned());
        let (network, name) = network.unwrap_or_else(usual);
        Ok(Self { network, name, wanted })
    }
}

pub(crate) fn run(args: &BucketsArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    let config = args.data.config(&args.out, args.recipe.as_deref())?;
    let aim = Aim::of(args)?;
    let wanted = &aim.wanted;
    let rows = TableRows::open(&config, None, runtime).map_err(usage)?;
    match args.read {
        None => show(&Rows::look(&rows, &config, wanted).map_err(usage)?, &aim, args),
        Some(batches) => {
            curate_media::init();
            let loader = Loader::open_for(Arc::new(rows), &config, wanted, args.seed, None);
            read_ahead(loader.map_err(usage)?, batches, args)
        }
    }
}

/// Prints the buckets, and what is in none.
fn show(rows: &Rows, aim: &Aim, args: &BucketsArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let Aim { network, name, .. } = aim;
    let sizes = |bucket: &Bucket| network.samples(bucket);
    let counted = || rows.buckets.iter().zip(rows.members.iter().map(Vec::len));
    let unusable: u64 = rows.unusable.values().sum();
    if args.json {
        let buckets: Vec<Json> = counted()
            .map(|(bucket, count)| {
                let [small, medium, large] = sizes(bucket);
                json!({
                    "kind": kind(bucket), "height": bucket.height, "width": bucket.width,
                    "frames": bucket.frames, "rows": count, "tokens": bucket.tokens(),
                    "has_latents": bucket.has_latents, "has_text": bucket.has_text,
                    "estimated_batch": { "24": small, "40": medium, "80": large },
                })
            })
            .collect();
        let object = json!({
            "rows": rows.entries.len(), "buckets": buckets, "unusable": rows.unusable,
            "network": name,
        });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(
            out,
            "kind    height  width  frames     rows   tokens  cached         batch at 24, 40, 80 GB"
        )?;
        for (bucket, count) in counted() {
            let [small, medium, large] = sizes(bucket);
            writeln!(
                out,
                "{:<6} {:>7} {:>6} {:>7} {:>8} {:>8}  {:<13}  {small}, {medium}, {large}",
                kind(bucket),
                bucket.height,
                bucket.width,
                bucket.frames,
                count,
                bucket.tokens(),
                match (bucket.has_latents, bucket.has_text) {
                    (true, true) => "latents, text",
                    (true, false) => "latents",
                    (false, true) => "text",
                    (false, false) => "-",
                }
            )?;
        }
        writeln!(out, "{} rows would be used", rows.entries.len())?;
        for (why, count) in &rows.unusable {
            writeln!(out, "{count} would not: {why}")?;
        }
        say(&format!(
            "batch sizes are estimates, for training all of {name} in {}; 0: weights and moments alone \
             are more",
            network.manner()
        ));
    }
    if rows.entries.is_empty() {
        let all = if unusable == 0 { "no row passes the filter" } else { "no row can be used" };
        say(&format!("{all}; `curate status` says what the table holds"));
        return Ok(Exit::Usage);
    }
    Ok(Exit::Complete)
}

const fn kind(bucket: &Bucket) -> &'static str {
    if bucket.is_image { "image" } else { "video" }
}

/// Reads batches as a trainer would that needs no time.
fn read_ahead(mut loader: Loader, batches: u64, args: &BucketsArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let (mut frames, mut values) = (0, 0_u64);
    for _ in 0..batches {
        let batch = loader.next().map_err(usage)?;
        let count = batch.clips.len() as u64;
        frames += count * batch.bucket.frames as u64;
        values += batch.pixels.tensor().elem_count() as u64;
        if args.json {
            writeln!(out, "{}", about(&batch)?)?;
        }
    }
    let report = loader.report();
    let seconds = report.elapsed_s.max(1e-9);
    let peak = env::peak_memory();
    if args.json {
        let object = json!({
            "batches": report.batches, "samples": report.samples, "epoch": report.epoch,
            "rows": report.rows, "seconds": seconds, "wait_share": report.wait_share(),
            "samples_per_s": report.samples as f64 / seconds, "frames_per_s": frames as f64 / seconds,
            "values": values, "peak_bytes": peak, "unusable": report.unusable,
            "failures": report.failures,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(
            out,
            "{} batches, {} samples of {} rows, up to epoch {}, in {seconds:.1} s: {:.1} samples/s, \
             {:.0} frames/s, {:.0}% of it waiting{}",
            report.batches,
            report.samples,
            report.rows,
            report.epoch,
            report.samples as f64 / seconds,
            frames as f64 / seconds,
            100.0 * report.wait_share(),
            peak.map_or_else(String::new, |peak| format!("; peak memory {} MiB", peak >> 20))
        )?;
    }
    for (clip, reason) in &report.failures {
        say(&format!("clip {clip} cannot be read: {reason}"));
    }
    Ok(if report.failures.is_empty() { Exit::Complete } else { Exit::Partial })
}

/// A batch, with the mean of each channel of its samples.
fn about(batch: &Batch) -> anyhow::Result<Json> {
    let tensor = batch.pixels.tensor();
    let means = tensor.mean((2, 3, 4)).and_then(|means| means.to_vec2::<f32>());
    let means = means.context("cannot take the mean of a batch")?;
    let clips: Vec<Json> = batch
        .clips
        .iter()
        .zip(means)
        .map(|(clip, mean)| json!({ "clip_id": clip.clip_id, "caption": clip.caption, "mean": mean }))
        .collect();
    let is_cached = matches!(batch.pixels, Pixels::Moments(_));
    Ok(json!({
        "batch": batch.number, "epoch": batch.epoch, "kind": kind(&batch.bucket),
        "shape": tensor.dims(), "cached": is_cached, "clips": clips,
    }))
}
