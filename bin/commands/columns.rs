//! What commands have in common that fill columns of rows by running networks over clips: a bar, and words
//! for clips that are left out.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use curate_train::{data::Unusable, encode::Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::say;

/// Lines come at most this often when stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Clips that could not be read are named up to so many.
const NAMED: usize = 20;

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Shown {
    pub(super) bar: ProgressBar,
    what: &'static str,
    last: Instant,
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "{elapsed_precise} [{bar:24}] {pos}/{len} {msg}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, what: "", last: Instant::now() }
    }

    pub(super) fn tell(&mut self, progress: Progress) {
        let Progress { what, done, all } = progress;
        if self.what != what {
            self.what = what;
            self.bar.reset();
            self.bar.set_message(what);
            self.bar.set_length(all);
            let lacking = if what == "captions" { "embeddings" } else { what };
            say(&format!("{all} clips lack {lacking}"));
        }
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            say(&format!("{what}: {done} of {all} clips"));
        }
    }
}

/// Says which clips got nothing, and why.
pub(super) fn tell_left_out(
    unusable: &BTreeMap<Unusable, u64>,
    failures: &BTreeMap<String, String>,
    verb: &str,
) {
    for (why, count) in unusable {
        say(&format!("{count} clips are left out: {why}"));
    }
    for (clip, reason) in failures.iter().take(NAMED) {
        say(&format!("clip {clip} cannot be {verb}: {reason}"));
    }
    if failures.len() > NAMED {
        say(&format!("and {} others", failures.len() - NAMED));
    }
}
