//! `curate doctor`: what this machine has of what curate needs, a line for each thing, and what to
//! do where something is missing.
//!
//! Nothing is changed and nothing is fetched. What a run cannot do without ends it with exit code
//! 2; what only some files or settings need is a warning.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use curate_media::{filters_fault, has_decoder, has_encoder, has_filter, versions};
use curate_models::{Runtime, hub::Hub};
use curate_pipeline::{Problems, RunConfig};
use indicatif::HumanBytes;
use rustix::fs::{Access, access, statvfs};
use serde_json::json;

use super::models::fault;
use crate::{Exit, env, recipe::Recipe};

/// Codecs of nearly all films from cameras and from the web, by FFmpeg's names.
const USUAL_DECODERS: &[&str] = &["h264", "hevc", "vp8", "vp9", "av1", "mpeg4"];
/// Codecs of other files that folders are searched for.
const OTHER_DECODERS: &[&str] = &[
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
    "prores",
    "dnxhd",
    "theora",
    "flv1",
    "h263",
    "wmv3",
    "vc1",
    "gif",
    "rawvideo",
];
/// Encoders of clips.
const ENCODERS: &[&str] = &["libx264", "libx265", "libsvtav1"];
/// FFmpeg's filters that not every build has, and what is lost without each.
const FILTERS: &[(&str, &str)] = &[
    ("bwdif", "interlaced video fails, unless `[input] interlaced` is \"keep\" or \"refuse\""),
    ("zscale", "clips of HDR and other foreign colours cannot be encoded anew"),
    ("tonemap", "clips of HDR video cannot be encoded anew"),
    ("premultiply", "clips with transparency cannot be encoded anew"),
];
/// The hub's model that is ONNX Runtime's library.
const RUNTIME: &str = "onnxruntime";
/// Less free disk than this is pointed out: a few hours of film as clips.
const LITTLE_DISK: u64 = 10 << 30;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    /// Only some files or settings need it.
    Warning,
    /// A run cannot do without it.
    Missing,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "missing",
        }
    }
}

/// What was found of one thing.
struct Finding {
    level: Level,
    what: String,
    detail: String,
    /// What to do, where something is to be done.
    advice: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), detail: detail.into(), advice: None }
    }

    fn advise(mut self, level: Level, advice: impl Into<String>) -> Self {
        self.level = level;
        self.advice = Some(advice.into());
        self
    }
}

pub(crate) fn doctor(target: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let (subject, recipe) = Subject::of(target)?;
    let hub = Hub::open(env::models_dir()?)?;
    let mut findings = Vec::from_iter(recipe);
    findings.extend(libraries());
    findings.extend(codecs());
    findings.extend(filters());
    findings.extend(models(&hub, &subject.models)?);
    findings.extend([cpus(subject.cpus), memory(subject.memory), disk(&subject.out)]);
    print(&findings, json)?;
    let is_fit = findings.iter().all(|finding| finding.level != Level::Missing);
    Ok(if is_fit { Exit::Complete } else { Exit::Usage })
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for Finding { level, what, detail, advice } in findings {
        let state = level.word();
        if json {
            let line = json!({ "state": state, "what": what, "detail": detail, "advice": advice });
            writeln!(out, "{line}")?;
        } else {
            let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
            writeln!(out, "{state:<8} {what:<12} {detail}{advice}")?;
        }
    }
    Ok(())
}

/// What the machine is wanted for.
struct Subject {
    /// Where the table is, or will be.
    out: PathBuf,
    /// `[run] cpus`.
    cpus: usize,
    /// `[run] memory`, in bytes.
    memory: u64,
    /// Models, by id or group.
    models: Vec<String>,
}

impl Subject {
    /// What a recipe says, or the default recipe over a folder; and what was found of a recipe.
    fn of(target: Option<&Path>) -> anyhow::Result<(Self, Option<Finding>)> {
        let target = std::path::absolute(target.unwrap_or(Path::new(".")))?;
        let is_recipe = target.is_file() || target.extension().is_some_and(|end| end == "toml");
        if !is_recipe {
            return Ok((Self::usual(target), None));
        }
        let found = Finding::ok("recipe", target.display().to_string());
        match Recipe::load(&target) {
            Ok(Recipe { plan, out, .. }) => {
                let stages = plan.stages.iter();
                let models = stages.flat_map(|stage| stage.config.models());
                let models = models.map(str::to_owned).collect();
                let (cpus, memory) = (plan.run.cpus, plan.run.memory);
                Ok((Self { out, cpus, memory, models }, Some(found)))
            }
            Err(error) => {
                let said = format!("{error:#}");
                let said = said.lines().next().unwrap_or_default().trim_end_matches(':').to_owned();
                let advice = format!("`curate check {}` says what to change", target.display());
                let found = Finding::ok("recipe", said).advise(Level::Missing, advice);
                let folder = target.parent().unwrap_or(Path::new("/"));
                Ok((Self::usual(folder.to_owned()), Some(found)))
            }
        }
    }

    fn usual(out: PathBuf) -> Self {
        let mut run = RunConfig::default();
        run.resolve(env::cores(), &mut Problems::default());
        Self { out, cpus: run.cpus, memory: run.memory, models: vec!["default".to_owned()] }
    }
}

fn libraries() -> [Finding; 3] {
    let versions = versions();
    let parts = versions.libraries.iter().map(|(library, version)| format!("{library} {version}"));
    let parts: Vec<String> = parts.collect();
    [
        Finding::ok("FFmpeg", format!("{} ({})", versions.ffmpeg, parts.join(", "))),
        Finding::ok("OpenCV", versions.opencv),
        Finding::ok("fonts", "built in: contact sheets need none of the system's"),
    ]
}

fn codecs() -> Vec<Finding> {
    type Names = Vec<&'static str>;
    let decoders = |codecs: &'static [&'static str]| -> (Names, Names) {
        codecs.iter().copied().partition(|codec| has_decoder(codec))
    };
    let (usual, no_usual) = decoders(USUAL_DECODERS);
    let (others, no_others) = decoders(OTHER_DECODERS);
    let mut found = vec![Finding::ok("decoders", [usual, others].concat().join(" "))];
    for (level, absent) in [(Level::Missing, no_usual), (Level::Warning, no_others)] {
        if !absent.is_empty() {
            let detail = format!("none for {}: such files would fail", absent.join(", "));
            let advice = "install an FFmpeg that has them, such as Debian's";
            found.push(Finding::ok("decoders", detail).advise(level, advice));
        }
    }
    let (encoders, absent): (Names, Names) =
        ENCODERS.iter().copied().partition(|name| has_encoder(name));
    if !encoders.is_empty() {
        found.push(Finding::ok("encoders", encoders.join(" ")));
    }
    if !absent.is_empty() {
        let detail = format!("no {}: only clips that are encoded anew need it", absent.join(", "));
        let advice = "install an FFmpeg that has it, or keep `form = \"copy\"`";
        found.push(Finding::ok("encoders", detail).advise(Level::Warning, advice));
    }
    found
}

fn filters() -> Vec<Finding> {
    if let Some(fault) = filters_fault() {
        let advice = "install it: interlaced video, and clips that are encoded anew, need it";
        return vec![Finding::ok("filters", fault).advise(Level::Warning, advice)];
    }
    let (there, absent): (Vec<_>, Vec<_>) =
        FILTERS.iter().partition(|(filter, _)| has_filter(filter));
    let names: Vec<&str> = there.iter().map(|(filter, _)| *filter).collect();
    let mut found = Vec::new();
    if !names.is_empty() {
        found.push(Finding::ok("filters", names.join(" ")));
    }
    found.extend(absent.into_iter().map(|(filter, loss)| {
        Finding::ok("filters", format!("no {filter}: {loss}"))
            .advise(Level::Warning, "install an FFmpeg that has it, such as Debian's")
    }));
    found
}

fn models(hub: &Hub, names: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for model in hub.select(names.iter().map(String::as_str))? {
        found.push(match fault(&hub.state(model)) {
            Some(fault) => {
                let advice = format!("run `curate models pull {}`", model.pulled_by());
                Finding::ok(&model.id, fault).advise(Level::Missing, advice)
            }
            None if model.id == RUNTIME => runtime(hub),
            None => Finding::ok(&model.id, HumanBytes(model.bytes()).to_string()),
        });
    }
    Ok(found)
}

/// Whether ONNX Runtime's library is one that this machine can load.
fn runtime(hub: &Hub) -> Finding {
    match Runtime::open(hub) {
        Ok(_) => Finding::ok(RUNTIME, "its library can be loaded"),
        Err(error) => Finding::ok(RUNTIME, error.to_string())
            .advise(Level::Missing, "run `curate models verify onnxruntime`"),
    }
}

fn cpus(wanted: usize) -> Finding {
    let cores = env::cores();
    let found = Finding::ok("cpus", format!("{cores}, of which a run uses {wanted}"));
    if wanted <= cores {
        return found;
    }
    found.advise(Level::Warning, "set `[run] cpus` to no more than there are; 0 takes all")
}

fn memory(wanted: u64) -> Finding {
    let budget = format!("`[run] memory` is {}", HumanBytes(wanted));
    let Some(total) = env::total_memory() else {
        let found = Finding::ok("memory", format!("{budget}, and the system does not say its own"));
        return found.advise(Level::Warning, "see that there is twice as much");
    };
    let found = Finding::ok("memory", format!("{}, {budget}", HumanBytes(total)));
    let advice = "set `[run] memory` to at most half: decoders and models need room beside it";
    match wanted {
        wanted if wanted > total => found.advise(Level::Missing, advice),
        wanted if wanted > total / 2 => found.advise(Level::Warning, advice),
        _ => found,
    }
}

/// Whether a table can grow in a folder, which need not exist yet.
fn disk(out: &Path) -> Finding {
    let folder = out.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let shown = folder.display();
    let space = match statvfs(folder) {
        Ok(space) => space,
        Err(error) => {
            let found = Finding::ok("disk", format!("{shown} does not say what is free: {error}"));
            return found.advise(Level::Warning, "see that there is room for the clips");
        }
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = Finding::ok("disk", format!("{} free at {shown}", HumanBytes(free)));
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        let found = Finding::ok("disk", format!("cannot write to {shown}: {error}"));
        return found.advise(Level::Missing, "choose another folder, or change its permissions");
    }
    if free < LITTLE_DISK {
        return found.advise(Level::Warning, "make room, or choose a folder on another disk");
    }
    found
}
