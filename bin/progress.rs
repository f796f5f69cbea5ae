//! What a person sees while a run goes on, and the event log.

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use curate_pipeline::{Observer, Unit, UnitError, UnitResult};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Writes a line for people to stderr.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell when stderr is closed.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}

/// Lines come at most this often when stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar on a terminal, plain lines elsewhere, and `events.jsonl`.
pub(crate) struct Progress {
    bar: ProgressBar,
    events: Mutex<File>,
    last_line: Mutex<Instant>,
    frames: AtomicU64,
    clips: AtomicU64,
    units: AtomicU64,
    started: Instant,
    plain: bool,
}

impl Progress {
    pub(crate) fn new(events: File) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            events: Mutex::new(events),
            last_line: Mutex::new(Instant::now()),
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

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn state(&self) -> String {
        let frames = self.frames.load(Ordering::Relaxed);
        let rate = frames as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        format!(
            "{} units done, {} clips, {frames} frames, {rate:.0} frames/s",
            self.units.load(Ordering::Relaxed),
            self.clips.load(Ordering::Relaxed),
        )
    }

    fn refresh(&self) {
        if !self.plain {
            self.bar.set_message(self.state());
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            say(&self.state());
        }
    }
}

impl Observer for Progress {
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

    fn unit_finished(&self, result: &UnitResult) {
        self.units.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = &result.error {
            self.bar.suspend(|| {
                say(&format!("{} {}: {error}", result.status.as_str(), result.unit.source.uri));
            });
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
