//! What a person sees while a run goes on, and the event log.
//!
//! On a terminal: a bar over the bytes of all sources (with rate and time left) and a line for
//! each stage. Elsewhere: a plain line now and then. The same calls write `events.jsonl`.

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use curate_pipeline::{Observer, StageReport, Unit, UnitError, UnitResult};
use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

/// Writes a line for people to stderr.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}

/// Lines come at most this often when stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How much there is to do; filled in by whoever counts the sources.
#[derive(Debug, Default)]
pub(crate) struct Total {
    /// Bytes of the sources counted so far.
    pub(crate) bytes: AtomicU64,
    /// Bytes of units that were done before this run.
    pub(crate) done_before: AtomicU64,
}

/// A bar on a terminal, plain lines elsewhere, and `events.jsonl`.
pub(crate) struct Progress {
    bars: MultiProgress,
    bar: ProgressBar,
    stages: Mutex<Vec<ProgressBar>>,
    events: Mutex<File>,
    last_line: Mutex<Instant>,
    total: Arc<Total>,
    bytes: AtomicU64,
    frames: AtomicU64,
    clips: AtomicU64,
    units: AtomicU64,
    started: Instant,
    plain: bool,
}

impl Progress {
    pub(crate) fn new(events: File, total: Arc<Total>) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bars = MultiProgress::new();
        let bar = if plain { ProgressBar::hidden() } else { bars.add(ProgressBar::new_spinner()) };
        let template =
            "{spinner} {elapsed_precise} [{bar:24}] {bytes}/{total_bytes}, {eta} left; {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !plain {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            bars,
            bar,
            stages: Mutex::default(),
            events: Mutex::new(events),
            last_line: Mutex::new(Instant::now()),
            total,
            bytes: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            clips: AtomicU64::new(0),
            units: AtomicU64::new(0),
            started: Instant::now(),
            plain,
        }
    }

    pub(crate) fn event(&self, event: &serde_json::Value) {
        let mut file = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // The log is a convenience; the table is the truth.
        writeln!(file, "{event}").unwrap_or_default();
    }

    /// Counts bytes that were done before this run.
    pub(crate) fn skip(&self, bytes: u64) {
        self.total.done_before.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        for line in self.stages.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }

    /// Bytes that this run has to do in all, as far as they have been counted.
    fn to_do(&self) -> u64 {
        let done_before = self.total.done_before.load(Ordering::Relaxed);
        self.total.bytes.load(Ordering::Relaxed).saturating_sub(done_before)
    }

    fn state(&self) -> String {
        let frames = self.frames.load(Ordering::Relaxed);
        let rate = frames as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        format!(
            "{} units, {} clips, {frames} frames, {rate:.0} frames/s",
            self.units.load(Ordering::Relaxed),
            self.clips.load(Ordering::Relaxed),
        )
    }

    fn refresh(&self) {
        if !self.plain {
            self.bar.set_length(self.to_do());
            self.bar.set_position(self.bytes.load(Ordering::Relaxed));
            self.bar.set_message(self.state());
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < LINE_EVERY {
            return;
        }
        *last = Instant::now();
        let (done, all) = (self.bytes.load(Ordering::Relaxed), self.to_do());
        let left = (done > 0 && all > done).then(|| {
            let seconds = self.started.elapsed().as_secs_f64() * (all - done) as f64 / done as f64;
            format!(", {} left", HumanDuration(Duration::from_secs_f64(seconds)))
        });
        say(&format!(
            "{} of {}{}; {}",
            HumanBytes(done),
            HumanBytes(all),
            left.unwrap_or_default(),
            self.state()
        ));
    }
}

impl Observer for Progress {
    fn started(&self, stages: &[(&'static str, usize)]) {
        self.event(&json!({ "event": "run_started", "stages": stages }));
        if self.plain {
            return;
        }
        let style = ProgressStyle::with_template("  {prefix:<10} {msg}");
        let mut lines = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, _) in stages {
            let line = self.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = &style {
                line.set_style(style.clone());
            }
            line.set_prefix(*kind);
            lines.push(line);
        }
    }

    fn unit_started(&self, unit: &Unit) {
        self.event(&json!({ "event": "unit_started", "unit": unit.id, "uri": unit.source.uri }));
    }

    fn frames_decoded(&self, frames: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.refresh();
    }

    fn clip_split(&self) {
        self.clips.fetch_add(1, Ordering::Relaxed);
    }

    fn stages(&self, stages: &[StageReport]) {
        self.refresh();
        let lines = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        for (line, stage) in lines.iter().zip(stages) {
            let shares = stage.shares(self.started.elapsed().as_secs_f64());
            line.set_message(format!(
                "{} clips; {:.0}% busy, {:.0}% waiting, {:.0}% blocked",
                stage.clips,
                100.0 * shares.busy,
                100.0 * shares.waiting,
                100.0 * shares.blocked
            ));
        }
    }

    fn unit_finished(&self, result: &UnitResult) {
        self.units.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(result.unit.bytes(), Ordering::Relaxed);
        if let Some(error) = &result.error {
            let line = format!("{} {}: {error}", result.status.as_str(), result.unit.source.uri);
            self.bars.suspend(|| say(&line));
        }
        self.event(&json!({
            "event": "unit_finished", "unit": result.unit.id, "status": result.status.as_str(),
            "kept": result.kept, "dropped": result.dropped, "failed": result.failed,
            "frames": result.frames_decoded, "error": result.error.as_ref().map(ToString::to_string),
        }));
        self.refresh();
    }

    fn unit_retried(&self, unit: &Unit, attempt: u32, error: &UnitError) {
        self.event(&json!({
            "event": "unit_retried", "unit": unit.id, "attempt": attempt, "error": error.to_string(),
        }));
    }
}
