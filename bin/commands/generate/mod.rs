//! `curate generate`: prompts to clips.
//!
//! The order is: arguments and the model, everything checked, then batches through the network, each
//! clip decoded into its file. Beside a clip lies what made it (`record.rs`): it makes the clip again,
//! and lets a list of prompts that was stopped go on.

mod append;
mod args;
mod input;
mod jobs;
mod model;
mod output;
mod record;

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use curate_media::FrameRate;
use curate_models::{
    diffusion::SamplerKind,
    generate::{
        GenerateError, Generator, Guides, Known, ModelCard, Pixels, Progress, Settings, Task,
        from_rgb, to_rgb,
    },
};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::runtime::Handle;

use self::{
    append::Table,
    args::{Fit, Form, Toggle},
    jobs::{Asked, Job},
    model::ModelChoice,
    output::Writer,
    record::{InputRecord, Record},
};
use crate::{Exit, UsageError, env, progress::say};

pub(crate) use self::args::GenerateArgs;

/// What is wrong with the arguments or with a file ends with code 2.
fn usage(error: GenerateError) -> anyhow::Error {
    if error.is_of_input() { UsageError(error.to_string()).into() } else { error.into() }
}

pub(crate) fn run(args: &GenerateArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    curate_media::init();
    let started = Instant::now();
    let record = args.from.as_deref().map(Record::open).transpose()?;
    // All that can be wrong is found before the weights are read.
    let asked = match &record {
        None => jobs::asked(args)?,
        Some(record) => vec![again(record, args)],
    };
    let found = ModelChoice::new(args, record.as_ref())?.find()?;
    let card = &found.blueprint.card;
    let settings = match &record {
        Some(record) => record.settings(),
        None => wanted(args, card)?,
    };
    let fps = record.as_ref().map(|record| record.fps).or(args.fps).unwrap_or(card.fps);
    let rate = FrameRate::of(fps).ok_or_else(|| {
        UsageError(format!("--fps {fps}: frames per second must lie between 0.001 and 1000"))
    })?;
    let is_picture = settings.frames == 1;
    let form = record.as_ref().map(|record| record.format).or(args.format);
    let form = jobs::form(form, &args.output, settings.frames)?;
    if args.append.is_some() && form != Form::Mp4 {
        let words = format!("--append takes MP4 clips, and these are {}", form.ending());
        return Err(UsageError(words).into());
    }
    let negative = &card.sampling.negative;
    let jobs = jobs::place(asked, negative, &args.output, (form, is_picture))?;
    // Before pictures are read to fit a size that cannot be.
    found.blueprint.check(&settings, &Known::default()).map_err(usage)?;
    let mut inputs = Inputs::read(args, record.as_ref(), &settings)?;
    found.blueprint.check(&settings, &inputs.known).map_err(usage)?;

    let (generator, model) = found.open()?;
    if let Some(record) = &record {
        record.model.check(generator.hashes())?;
        for (noted, found) in record.model.loras.iter().zip(&model.loras) {
            check_file(&noted.file, &noted.blake3, &found.blake3)?;
        }
    }
    if let Some(rgb) = &inputs.first {
        let size = (settings.width, settings.height);
        inputs.image = generator.see(rgb, size).map_err(usage)?;
    }
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
    let table = args.append.as_deref().map(|out| Table::open(out, runtime)).transpose()?;
    let run = Run { generator: &generator, settings, inputs, rate, form, template, table };
    let (done, to_do) = run.sort(jobs, args.force)?;
    for job in &done {
        say(&format!("{} is there", job.target.display()));
    }
    if let Some(table) = &run.table {
        run.append(table, &done)?;
    }
    let bar = bar(to_do.len());
    let mut made = 0;
    for batch in to_do.chunks(usize::from(args.batch)) {
        run.make(batch, &bar, (made, to_do.len()))?;
        made += batch.len();
    }
    bar.finish_and_clear();
    let peak = env::peak_memory()
        .map_or_else(String::new, |bytes| format!(", peak memory {}", HumanBytes(bytes)));
    say(&format!("{made} clips in {:.1} s{peak}", started.elapsed().as_secs_f64()));
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
    settings.frames = args.frames.unwrap_or(settings.frames);
    settings.steps = args.steps.unwrap_or(settings.steps);
    settings.guidance = args.guidance.unwrap_or(settings.guidance);
    settings.shift = args.shift.unwrap_or(settings.shift);
    settings.smoothing = args.smoothing == Toggle::On;
    if args.video.is_some() {
        settings.strength = args.strength;
    }
    Ok(settings)
}

fn check_file(path: &std::path::Path, noted: &str, found: &str) -> anyhow::Result<()> {
    if noted == found {
        return Ok(());
    }
    let shown = path.display();
    let words =
        format!("--from: {shown} is not the file that made the clip: its content has changed");
    Err(UsageError(words).into())
}

/// What clips are made with beside prompts, and what is noted of it.
struct Inputs {
    known: Known,
    /// The first known frame, which CLIP looks at: RGB.
    first: Option<Vec<u8>>,
    /// What CLIP makes of it, if the model has its tower.
    image: Option<Pixels>,
    source: Option<Pixels>,
    start: Option<InputRecord>,
    end: Option<InputRecord>,
    video: Option<InputRecord>,
    fit: Fit,
}

impl Inputs {
    fn read(
        args: &GenerateArgs,
        record: Option<&Record>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let fit = record.map_or(args.fit, |record| record.fit);
        let size = (settings.width, settings.height);
        let read =
            |argument, path: Option<&std::path::Path>, noted: Option<&InputRecord>, frames| {
                let path = path.or(noted.map(|noted| noted.file.as_path()));
                let Some(path) = path else { return anyhow::Ok((None, None, None)) };
                let frames = noted.map_or(frames, |noted| noted.frames);
                let wanted = input::Wanted { argument, path, frames, size, fit };
                let (pictures, found) = input::read(wanted)?;
                if let Some(noted) = noted {
                    check_file(path, &noted.blake3, &found.blake3)?;
                }
                let pixels = from_rgb(&pictures, size).map_err(usage)?;
                Ok((Some(pixels), Some(found), pictures.into_iter().next()))
            };
        if args.start_frames == 0 {
            return Err(UsageError("--start-frames must be at least 1".to_owned()).into());
        }
        if args.start_frames > 1 && args.start.is_none() {
            let words = "--start-frames says how many frames of --start are taken: give it, too";
            return Err(UsageError(words.to_owned()).into());
        }
        let of = |noted: fn(&Record) -> &Option<InputRecord>| {
            record.and_then(|record| noted(record).as_ref())
        };
        let (start_pixels, start, first) =
            read("--start", args.start.as_deref(), of(|record| &record.start), args.start_frames)?;
        let (end_pixels, end, _) = read("--end", args.end.as_deref(), of(|record| &record.end), 1)?;
        let (source, video, _) =
            read("--video", args.video.as_deref(), of(|record| &record.video), settings.frames)?;
        let known = Known { start: start_pixels, end: end_pixels };
        Ok(Self { known, first, image: None, source, start, end, video, fit })
    }
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
}

impl Run<'_> {
    /// Clips that are there, and those that are to be made.
    fn sort(&self, jobs: Vec<Job>, force: bool) -> anyhow::Result<(Vec<Job>, Vec<Job>)> {
        let (mut done, mut to_do, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            let exists = job.target.exists();
            if exists && self.template.of(&job.task).is_at(&job.sidecar()) {
                done.push(job);
                continue;
            }
            let sidecar = job.sidecar();
            let is_other = sidecar.exists() && !self.template.of(&job.task).is_at(&sidecar);
            if (exists || is_other) && !force {
                let file = if exists { &job.target } else { &sidecar };
                other.push(file.display().to_string());
            }
            to_do.push(job);
        }
        if let Some(first) = other.first() {
            let more = match other.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            return Err(UsageError(format!(
                "{first}{more} is there and was made otherwise: give another --output, or --force to \
                 replace it"
            ))
            .into());
        }
        Ok((done, to_do))
    }

    /// Makes a batch of clips and writes their files.
    fn make(
        &self,
        batch: &[Job],
        bar: &ProgressBar,
        (before, total): (usize, usize),
    ) -> anyhow::Result<()> {
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
        let latents =
            self.generator.latents(&tasks, &self.settings, &guides, &mut observe).map_err(usage)?;
        let sampled = started.elapsed() / u32::try_from(batch.len()).unwrap_or(1);
        for (job, latents) in batch.iter().zip(&latents) {
            let started = Instant::now();
            let is_picture = self.settings.frames == 1;
            let size = (self.settings.width, self.settings.height);
            let mut writer = Writer::new((self.form, is_picture), &job.target, size, self.rate)?;
            for frames in self.generator.frames(latents, &self.settings).map_err(usage)? {
                for rgb in to_rgb(&frames.map_err(usage)?).map_err(usage)? {
                    writer.push(rgb)?;
                }
            }
            // The record first, and no old clip beside it: a clip that is there is then always the one
            // that its record tells of, whenever the process dies.
            output::remove(&job.target)?;
            let record = self.template.of(&job.task);
            output::whole(&job.sidecar(), record.to_json()?.as_bytes())?;
            writer.finish()?;
            writeln!(std::io::stdout(), "{}", job.target.display())?;
            let took = (sampled + started.elapsed()).as_secs_f64();
            bar.suspend(|| say(&format!("{}: {took:.1} s", job.target.display())));
        }
        match &self.table {
            Some(table) => self.append(table, batch),
            None => Ok(()),
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
