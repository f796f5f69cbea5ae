//! `curate generate`: prompts to clips.
//!
//! The order is: arguments and the model, everything checked, the place of the files tried, then weights,
//! then batches through the network, each clip decoded into its file. Beside a clip lies what made it
//! (`record.rs`): it makes the clip again, and lets a list of prompts that was stopped go on.

mod append;
mod args;
mod existing;
mod input;
mod jobs;
mod model;
mod output;
mod record;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use curate_media::{FrameRate, Gif};
use curate_models::{
    diffusion::{Prediction, SamplerKind},
    generate::{
        GenerateError, Generator, Guides, Known, ModelCard, Progress, Settings, Task, to_rgb,
    },
};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::runtime::Handle;

use self::{
    append::Table,
    args::{Form, Toggle},
    input::Inputs,
    jobs::{Asked, Job},
    model::ModelChoice,
    output::Writer,
    record::Record,
};
use crate::{Exit, UsageError, env, progress::say, signals};

pub(crate) use self::args::GenerateArgs;

/// What is wrong with the arguments or with a file ends with code 2.
fn usage(error: GenerateError) -> anyhow::Error {
    if error.is_of_input() { UsageError(error.to_string()).into() } else { error.into() }
}

pub(crate) fn run(args: &GenerateArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    curate_media::keep_memory();
    let started = Instant::now();
    let stop = signals::stop_flag()?;
    args.check()?;
    let record = args.from.as_deref().map(Record::open).transpose()?;
    // All that can be wrong is found before the weights are read.
    let asked = match &record {
        None => jobs::asked(args)?,
        Some(record) => vec![again(record, args)],
    };
    let found = ModelChoice::new(args, record.as_ref())?.find()?;
    let card = &found.blueprint.card;
    let settings = match &record {
        Some(record) => record.settings()?,
        None => wanted(args, card)?,
    };
    let (fps, origin) = match (&record, args.fps) {
        (Some(record), _) => (record.fps, "--from: the record's `fps`"),
        (None, Some(fps)) => (fps, "--fps"),
        (None, None) => (card.fps, "the model card's `fps`"),
    };
    let rate = FrameRate::of(fps).ok_or_else(|| {
        UsageError(format!("{origin} {fps}: frames per second must lie between 0.001 and 1000"))
    })?;
    let is_picture = settings.frames == 1;
    let form = record.as_ref().map(|record| record.format).or(args.format);
    let form = jobs::form(form, &args.output, settings.frames)?;
    if form == Form::Gif {
        check_gif(rate, origin)?;
    }
    if args.append.is_some() && form != Form::Mp4 {
        let words = format!("--append takes MP4 clips, and these are {}", form.ending());
        return Err(UsageError(words).into());
    }
    if record.is_none() && settings.guidance <= 1.0 && args.negative.is_none() {
        let is_idle = |asked: &jobs::Asked| asked.negative.as_ref().is_some_and(|n| !n.is_empty());
        if let Some(asked) = asked.iter().find(|asked| is_idle(asked)) {
            let words = format!(
                "the `negative` of prompt \"{}\" does not count with guidance 1: leave it out, or give \
                 --guidance above 1",
                asked.prompt
            );
            return Err(UsageError(words).into());
        }
    }
    let negative = &card.sampling.negative;
    let jobs = jobs::place(asked, negative, &args.output, (form, is_picture))?;
    // Before pictures are read to fit a size that cannot be.
    found.blueprint.check(&settings, &Known::default()).map_err(usage)?;
    let mut inputs = Inputs::read(args, record.as_ref(), &settings)?;
    found.blueprint.check(&settings, &inputs.known).map_err(usage)?;
    existing::check(&jobs, args.force)?;
    // Before folders are made for clips.
    let table = args.append.as_deref().map(|out| Table::open(out, runtime)).transpose()?;
    let is_whole = |job: &&Job| job.target.exists() && job.sidecar().exists() && !args.force;
    // A list that is done may lie where nothing can be written.
    let to_write = jobs.iter().filter(|job| !is_whole(job));
    output::prepare(to_write.flat_map(|job| [job.target.clone(), job.sidecar()]))?;

    let (generator, model) = found.open()?;
    if let Some(record) = &record {
        record.model.check(generator.hashes())?;
        for (noted, found) in record.model.loras.iter().zip(&model.loras) {
            noted.check(found)?;
        }
    }
    if let Some(rgb) = &inputs.first {
        let size = (settings.width, settings.height);
        inputs.image = generator.see(rgb, size).map_err(usage)?;
    }
    let files = found.files();
    let ModelChoice { device, dtype, .. } = found.choice;
    let template = Record {
        prompt: String::new(),
        negative: String::new(),
        seed: 0,
        model,
        width: settings.width,
        height: settings.height,
        frames: settings.frames,
        fps,
        sampler: settings.sampler,
        steps: settings.steps,
        guidance: settings.guidance,
        shift: settings.shift,
        smoothing: settings.smoothing,
        start: inputs.start.clone(),
        end: inputs.end.clone(),
        video: inputs.video.clone(),
        strength: settings.strength,
        fit: inputs.fit,
        format: form,
        device,
        dtype,
        curate_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let trained = generator.card().frames;
    if settings.frames > trained {
        say(&format!(
            "the model was trained on up to {trained} frames: what comes after may fall apart"
        ));
    }
    let (done, to_do) = existing::sort(&template, jobs, args.force)?;
    let run = Run {
        generator: &generator,
        settings,
        inputs,
        rate,
        form,
        template,
        table,
        files,
        stop: &stop,
    };
    for job in &done {
        say(&format!("{} is there", job.target.display()));
    }
    if let Some(table) = &run.table {
        run.append(table, &done)?;
    }
    let bar = bar(to_do.len());
    let mut made = 0;
    for batch in to_do.chunks(usize::from(args.batch)) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        made += run.make(batch, &bar, (made, to_do.len()))?;
    }
    bar.finish_and_clear();
    let peak = env::peak_memory()
        .map_or_else(String::new, |bytes| format!(", peak memory {}", HumanBytes(bytes)));
    say(&format!("{made} clips in {:.1} s{peak}", started.elapsed().as_secs_f64()));
    let left = to_do.len() - made;
    if left > 0 {
        say(&format!("stopped with {left} clips to make: the same command goes on"));
        return Ok(Exit::Stopped);
    }
    Ok(Exit::Complete)
}

/// The clip of a record.
fn again(record: &Record, args: &GenerateArgs) -> Asked {
    let Record { prompt, negative, seed, .. } = record.clone();
    let stem = args.from.as_deref().and_then(|path| path.file_stem());
    let name = stem.map_or_else(|| "clip".into(), |stem| stem.to_string_lossy()).into_owned();
    Asked { prompt, negative: Some(negative), seed, name }
}

/// Settings by the model's card and the arguments.
fn wanted(args: &GenerateArgs, card: &ModelCard) -> anyhow::Result<Settings> {
    let mut settings = Settings::of(card);
    if let Some(args::Sides(width, height)) = args.size {
        (settings.width, settings.height) = (width, height);
    }
    if let Some(name) = &args.sampler {
        let sampler = name.parse::<SamplerKind>();
        settings.sampler = sampler.map_err(|error| UsageError(format!("--sampler: {error}")))?;
    }
    if args.shift.is_some() && card.prediction != Prediction::Flow {
        let words = "--shift moves the steps of a flow, and this model is none: leave it out";
        return Err(UsageError(words.to_owned()).into());
    }
    settings.frames = args.frames.unwrap_or(settings.frames);
    settings.steps = args.steps.unwrap_or(settings.steps);
    settings.guidance = args.guidance.unwrap_or(settings.guidance);
    settings.shift = args.shift.unwrap_or(settings.shift);
    if args.negative.is_some() && settings.guidance <= 1.0 {
        let words = format!(
            "--negative does not count with guidance {}: leave it out, or give --guidance above 1",
            settings.guidance
        );
        return Err(UsageError(words).into());
    }
    settings.smoothing = args.smoothing == Toggle::On;
    if args.video.is_some() {
        settings.strength = args.strength;
    }
    Ok(settings)
}

/// GIF counts the time between frames in hundredths of a second; players take less than two for ten.
fn check_gif(rate: FrameRate, origin: &str) -> anyhow::Result<()> {
    let fps = rate.fps();
    if (Gif::LEAST_FPS..=Gif::MOST_FPS).contains(&fps) {
        return Ok(());
    }
    Err(UsageError(format!(
        "{origin}: a GIF cannot have {fps} frames per second: give at most {} and at least {:.3}, or \
         write an MP4",
        Gif::MOST_FPS,
        Gif::LEAST_FPS
    ))
    .into())
}

/// Everything that all clips of a command share.
struct Run<'a> {
    generator: &'a Generator,
    settings: Settings,
    inputs: Inputs,
    rate: FrameRate,
    form: Form,
    template: Record,
    table: Option<Table>,
    /// Of the model and its LoRAs.
    files: Vec<PathBuf>,
    stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Makes a batch of clips and writes their files; how many, which is fewer when it was stopped.
    fn make(
        &self,
        batch: &[Job],
        bar: &ProgressBar,
        (before, total): (usize, usize),
    ) -> anyhow::Result<usize> {
        let started = Instant::now();
        let tasks: Vec<Task> = batch.iter().map(|job| job.task.clone()).collect();
        let guides = Guides {
            known: &self.inputs.known,
            image: self.inputs.image.as_ref(),
            source: self.inputs.source.as_ref(),
        };
        let last = before + batch.len();
        bar.set_message(format!("clips {} to {last} of {total}", before + 1));
        let mut observe = |progress: Progress| {
            bar.set_length(progress.calls as u64);
            bar.set_position(progress.done as u64);
        };
        let told = |error| self.told(error);
        let latents =
            self.generator.latents(&tasks, &self.settings, &guides, &mut observe).map_err(told)?;
        let sampled = started.elapsed() / u32::try_from(batch.len()).unwrap_or(1);
        let mut made = 0;
        for (job, latents) in batch.iter().zip(&latents) {
            // One of them is written at least: sampling is what took the time.
            if made > 0 && self.stop.load(Ordering::Relaxed) {
                break;
            }
            let started = Instant::now();
            let is_picture = self.settings.frames == 1;
            let size = (self.settings.width, self.settings.height);
            let mut writer = Writer::new((self.form, is_picture), &job.target, size, self.rate)?;
            for frames in self.generator.frames(latents, &self.settings).map_err(usage)? {
                for rgb in to_rgb(&frames.map_err(told)?).map_err(told)? {
                    writer.push(rgb)?;
                }
            }
            // Both are on the disk before either takes its place. Then the record first, and no old clip
            // beside it: a clip that is there is always the one that its record tells of, whenever the
            // process dies.
            let clip = writer.finish()?;
            let record = self.template.of(&job.task).to_json()?;
            let record = output::written(&job.sidecar(), record.as_bytes())?;
            output::remove(&job.target)?;
            record.becomes(&job.sidecar())?;
            clip.becomes(&job.target)?;
            writeln!(std::io::stdout(), "{}", job.target.display())?;
            let took = (sampled + started.elapsed()).as_secs_f64();
            bar.suspend(|| say(&format!("{}: {took:.1} s", job.target.display())));
            made += 1;
        }
        if let Some(table) = &self.table {
            self.append(table, &batch[..made])?;
        }
        Ok(made)
    }

    /// An error, with the file to blame where a network made what are no numbers.
    fn told(&self, error: GenerateError) -> anyhow::Error {
        let is_endless = matches!(error, GenerateError::NotFinite { .. });
        match is_endless.then(|| model::not_finite(&self.files)).flatten() {
            Some(tensor) => UsageError(format!("{tensor} is not finite: {error}")).into(),
            None => usage(error),
        }
    }

    fn append(&self, table: &Table, jobs: &[Job]) -> anyhow::Result<()> {
        let clips = jobs.iter().map(|job| (job.target.clone(), self.template.of(&job.task)));
        let clips: Vec<_> = clips.collect();
        let appended = table.append(&clips)?;
        if appended > 0 {
            say(&format!("{appended} clips are in the table"));
        }
        Ok(())
    }
}

/// Steps of the batch at hand, on a terminal.
fn bar(clips: usize) -> ProgressBar {
    if clips == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{spinner} {elapsed_precise} [{bar:24}] step {pos} of {len}, {eta} left; {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
