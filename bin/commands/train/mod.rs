//! `curate train`: runs of the trainers, and what became of them.
//!
//! A run is a file and a folder; the same command goes on where the folder was left. Ctrl-C or SIGTERM
//! saves and ends, a second one ends at once.

mod dry;
mod losses;
mod plot;

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use curate_models::{generate::Place, hub::Hub};
use curate_train::{
    Surroundings, TableFeeds, TrainError,
    data::Wanted,
    dit,
    run::{Ended, Observer, Point, Stop},
    vae,
};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use tokio::runtime::Handle;

use crate::{Exit, UsageError, env, progress::say, signals, words};

/// Lines come at most this often when stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The trainers.
#[derive(Debug, Subcommand)]
pub(crate) enum Train {
    /// Train the VAE that turns clips into latents.
    Vae(RunArgs),
    /// Train the transformer that denoises latents.
    Dit(RunArgs),
    /// Train low-rank adapters beside a transformer.
    Lora(RunArgs),
    /// Measure what a trained transformer makes of each clip, and how much the caption helps: columns of the
    /// table.
    Losses(losses::LossArgs),
    /// Draw what a run logged: losses, rates, norms over steps.
    Plot {
        /// The run's folder.
        run: PathBuf,
        /// Where to write the page; default: `plots.html` in the run's folder.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

/// How a run is started.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The run's file.
    file: PathBuf,
    /// What to compute on: `cpu`, `cuda`, `cuda:1`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Only say what would be trained, and what it takes: loads no weights and writes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(command: &Train, runtime: &Handle) -> anyhow::Result<Exit> {
    match command {
        Train::Vae(args) => train_vae(args, runtime),
        Train::Dit(args) => train_dit(args, false, runtime),
        Train::Lora(args) => train_dit(args, true, runtime),
        Train::Losses(args) => losses::losses(args, runtime),
        Train::Plot { run, output } => plot::plot(run, output.as_deref()),
    }
}

fn train_vae(args: &RunArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    let config = vae::VaeTrainConfig::read(&args.file).map_err(usage)?;
    dry::vae(&config).map_err(usage)?;
    if args.dry_run {
        return dry::rows(&config.training_data(), &Wanted::default(), runtime).map_err(usage);
    }
    let (place, hub, stop) =
        (place(&args.device)?, Hub::open(env::models_dir()?)?, Stop::of(signals::stop_flag()?));
    curate_media::keep_memory();
    let feeds = TableFeeds { runtime: runtime.clone() };
    let around = Surroundings { feeds: &feeds, hub: &hub, device: &place.device, stop: &stop };
    let mut watcher = Watcher::new(config.steps);
    let ended = vae::train(&config, &around, &mut watcher);
    ending(&watcher, ended, &args.file)
}

fn train_dit(args: &RunArgs, is_lora: bool, runtime: &Handle) -> anyhow::Result<Exit> {
    let config = dit::DitTrainConfig::read(&args.file).map_err(usage)?;
    if is_lora != config.lora.is_some() {
        let (this, other) = if is_lora { ("lora", "dit") } else { ("dit", "lora") };
        let words = format!(
            "{}: `stage` is another than `curate train {this}` trains; use `curate train {other}`",
            args.file.display()
        );
        return Err(UsageError(words).into());
    }
    let hub = Hub::open(env::models_dir()?)?;
    let in_file = |error: TrainError| usage(error.in_file(&args.file));
    let parts = dry::dit(&config, &hub).map_err(in_file)?;
    if args.dry_run {
        let wanted = parts.hashes().map_err(usage)?.wanted();
        return dry::rows(&config.shares().0, &wanted, runtime).map_err(usage);
    }
    let (place, stop) = (place(&args.device)?, Stop::of(signals::stop_flag()?));
    curate_media::keep_memory();
    let feeds = TableFeeds { runtime: runtime.clone() };
    let around = Surroundings { feeds: &feeds, hub: &hub, device: &place.device, stop: &stop };
    let mut watcher = Watcher::new(config.steps);
    let ended = dit::train(&config, &around, &mut watcher);
    ending(&watcher, ended, &args.file)
}

/// What is wrong with the file or what it names ends with code 2.
fn usage(error: TrainError) -> anyhow::Error {
    if !error.is_usage() {
        return error.into();
    }
    UsageError(words(&error)).into()
}

/// Where a run computes; in what is its file's affair.
fn place(device: &str) -> anyhow::Result<Place> {
    Ok(Place::parse(device, "f32").map_err(|error| UsageError(error.to_string()))?)
}

fn ending(
    watcher: &Watcher,
    ended: Result<Ended, TrainError>,
    file: &Path,
) -> anyhow::Result<Exit> {
    watcher.bar.finish_and_clear();
    let ended = ended.map_err(|error| usage(error.in_file(file)))?;
    let peak = env::peak_memory()
        .map_or_else(String::new, |bytes| format!(", peak memory {}", HumanBytes(bytes)));
    let time = HumanDuration(watcher.began.elapsed());
    match ended {
        Ended::Complete => {
            let waited = watcher.waiting();
            say(&format!("done in {time}{waited}{peak}"));
            // The path alone, for scripts.
            if let Some(path) = &watcher.last {
                writeln!(std::io::stdout(), "{}", path.display())?;
            }
            Ok(Exit::Complete)
        }
        Ended::Stopped(step) => {
            let again = file.display();
            say(&format!(
                "stopped{peak}; the same command with {again} goes on behind step {step}"
            ));
            Ok(Exit::Stopped)
        }
    }
}

/// A bar on a terminal, plain lines elsewhere.
struct Watcher {
    bar: ProgressBar,
    is_plain: bool,
    began: Instant,
    last_line: Instant,
    /// The first step of this process, and its time.
    first: Option<(u64, Instant)>,
    /// Seconds of steps, and of waiting for data among them.
    spent: (f64, f64),
    last: Option<PathBuf>,
}

impl Watcher {
    fn new(steps: u64) -> Self {
        let is_plain = !std::io::stderr().is_terminal();
        let bar = if is_plain { ProgressBar::hidden() } else { ProgressBar::new(steps) };
        let template = "{elapsed_precise} [{bar:24}] {pos}/{len}, {eta} left; {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self {
            bar,
            is_plain,
            began: now,
            last_line: now - LINE_EVERY,
            first: None,
            spent: (0.0, 0.0),
            last: None,
        }
    }

    /// The share of steps that was spent waiting for data.
    fn waiting(&self) -> String {
        let (seconds, waited) = self.spent;
        if seconds <= 0.0 {
            return String::new();
        }
        format!(", {:.0}% of it waiting for data", 100.0 * waited / seconds)
    }
}

impl Observer for Watcher {
    fn step(&mut self, point: &Point, steps: u64) {
        let value = |name: &str| point.get(name).unwrap_or_default();
        self.spent.0 += value("seconds");
        self.spent.1 += value("wait_seconds");
        let (from, since) = *self.first.get_or_insert((point.step, Instant::now()));
        let held_out = point.get("held_out_loss").or(point.get("held_out_reconstruction"));
        let held_out = held_out.map_or_else(String::new, |loss| format!(", held-out {loss:.4}"));
        let words = format!(
            "loss {:.4}{held_out}, norm {:.2}, {:.2} s a step",
            value("loss"),
            value("grad_norm"),
            value("seconds")
        );
        if !self.is_plain {
            self.bar.set_position(point.step);
            self.bar.set_message(words);
            return;
        }
        let is_last = point.step == steps;
        if self.last_line.elapsed() < LINE_EVERY && !is_last && held_out.is_empty() {
            return;
        }
        self.last_line = Instant::now();
        let made = point.step - from;
        let left = (made > 0 && !is_last).then(|| {
            let each = since.elapsed().as_secs_f64() / made as f64;
            let left = Duration::from_secs_f64(each * (steps.saturating_sub(point.step)) as f64);
            format!(", {} left", HumanDuration(left))
        });
        say(&format!("step {} of {steps}: {words}{}", point.step, left.unwrap_or_default()));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    fn wrote(&mut self, path: &Path) {
        self.last = Some(path.to_owned());
        self.bar.suspend(|| say(&format!("wrote {}", path.display())));
    }
}
