//! The end of a run in words: a funnel of clips, where the time went, what it cost.

use std::time::Duration;

use curate_pipeline::{Report, StageReport};

use crate::{
    copies::{Holds, Settled},
    env,
    progress::say,
    recipe::Recipe,
    shortage,
    units::Listed,
};

/// Everything the end report speaks of.
pub(crate) struct Ended<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) report: &'a Report,
    pub(crate) listed: &'a Listed,
    /// Units that another process committed first.
    pub(crate) duplicates: u64,
    /// What settling which clips are copies has changed.
    pub(crate) copies: Settled,
    /// Length of the run.
    pub(crate) took: Duration,
}

/// `3 a, 2 b`; `or` when there is nothing.
fn counts<'a>(items: impl IntoIterator<Item = (&'a &'static str, &'a u64)>, or: &str) -> String {
    let words: Vec<String> =
        items.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { or.to_owned() } else { words.join(", ") }
}

/// Prints the report to stderr.
pub(crate) fn print(ended: &Ended<'_>) {
    let Ended { recipe, report, listed, duplicates, copies, took } = ended;
    let skipped = counts(&listed.skipped, "");
    let aside = if skipped.is_empty() { skipped } else { format!(" (left aside: {skipped})") };
    say(&format!("sources {}{aside}", listed.sources));
    let elsewhere = match duplicates {
        0 => String::new(),
        n => format!(", {n} committed by another process first"),
    };
    say(&format!(
        "units   {} worked on ({}), {} done before{elsewhere}",
        listed.units,
        counts(&report.units, "none"),
        listed.done
    ));
    if listed.changed > 0 {
        say(&format!(
            "{} sources have changed since they were read (events.jsonl names them): one of another \
             size is read as a new source, and what was read before stays in the table; one of the same \
             size is taken for the same",
            listed.changed
        ));
    }
    if listed.units == 0 {
        nothing_to_do(listed, copies);
        self::copies(copies);
        say(&format!("table: {}", recipe.out.display()));
        return;
    }
    funnel(report, copies);
    self::copies(copies);
    bottleneck(&report.stages, took.as_secs_f64(), shortage::told(recipe, report, *took));
    let (decoded, source) = (report.frames_decoded, report.frames_source);
    let ratio = match source {
        0 => String::new(),
        frames => format!(" = {:.2}", decoded as f64 / frames as f64),
    };
    let again = match report.frames_again {
        0 => "clips are written without decoding".to_owned(),
        frames => format!("{frames} decoded again to write clips"),
    };
    say(&format!("analysis frames decoded / source frames: {decoded} / {source}{ratio}; {again}"));
    let seconds = took.as_secs_f64();
    let memory =
        env::peak_memory().map_or_else(String::new, |b| format!(", peak memory {} MiB", b >> 20));
    say(&format!(
        "{seconds:.1} s, {:.0} frames/s{memory}",
        report.frames_decoded as f64 / seconds.max(1e-3)
    ));
    say(&format!("table: {}", recipe.out.display()));
}

fn nothing_to_do(listed: &Listed, settled: &Settled) {
    if listed.done > 0 {
        say("nothing to do: every unit is in the table; nothing was decoded");
        if let Holds::NoneKept(fates) = &settled.table {
            say(&none_kept(fates));
        }
    } else if listed.sources == 0 {
        say("NO SOURCES: [input] paths names nothing that looks like a video.");
    } else {
        say("no unit of these sources belongs to this share");
    }
    if listed.done_badly > 0 {
        say(&format!(
            "{} of them are failed, partial or quarantined, or have failed clips \
             (`--retry failed` tries them again)",
            listed.done_badly
        ));
    }
}

/// That a table has no kept clip, and what it has instead.
fn none_kept(fates: &[(u64, String)]) -> String {
    if fates.is_empty() {
        return "NO CLIP WAS KEPT. None was cut out of these sources; `curate status` names them."
            .to_owned();
    }
    let fates: Vec<String> = fates.iter().map(|(clips, fate)| format!("{clips} {fate}")).collect();
    format!(
        "NO CLIP WAS KEPT. The table has {}; `curate refilter` moves thresholds, `curate status` and \
         `curate query` show more.",
        fates.join(", ")
    )
}

/// How many clips each stage saw, and what it took out of them.
fn funnel(report: &Report, settled: &Settled) {
    for (index, stage) in report.stages.iter().enumerate() {
        let verb = if index == 0 { "cut out" } else { "reached" };
        say(&format!("  {:<10} {:>7} clips {verb}", stage.kind, stage.clips));
        for (reason, count) in &stage.dropped {
            say(&format!("  {:<10} {count:>7} dropped: {reason}", ""));
        }
        for (kind, count) in &stage.failed {
            say(&format!("  {:<10} {count:>7} failed: {kind}", ""));
        }
    }
    say(&format!(
        "clips   {} = {} kept + {} dropped + {} failed",
        report.clips, report.kept, report.dropped, report.failed
    ));
    if report.kept > 0 || report.stopped && report.clips == 0 {
        return;
    }
    match settled.table {
        Holds::NoneKept(_) => say(
            "NO CLIP WAS KEPT. The lines above say why; `curate status` and `curate query` show more.",
        ),
        Holds::Kept => say("no clip of this run was kept, but the table has clips that are"),
        Holds::Unseen => {}
    }
}

/// What the comparison of all kept clips has changed, be they of this run or not.
fn copies(settled: &Settled) {
    if settled.dropped > 0 {
        say(&format!(
            "copies  {} clips of the table look like another and are dropped for it (`dup_of`)",
            settled.dropped
        ));
    }
    if settled.let_in > 0 {
        say(&format!("copies  {} clips are no longer copies and are kept", settled.let_in));
    }
}

/// Where the time went, and which stage the others wait for.
fn bottleneck(stages: &[StageReport], wall_s: f64, shortage: Option<String>) {
    say("stage      workers   clips   busy  waiting  blocked  ms/clip");
    for stage in stages {
        let shares = stage.shares(wall_s);
        say(&format!(
            "{:<10} {:>7} {:>7} {:>5.0}% {:>7.0}% {:>7.0}% {:>8.1}",
            stage.kind,
            stage.workers,
            stage.clips,
            100.0 * shares.busy,
            100.0 * shares.waiting,
            100.0 * shares.blocked,
            1e3 * stage.busy_s / stage.clips.max(1) as f64
        ));
    }
    if let Some(words) = shortage {
        say(&format!("bottleneck: memory; {words}"));
        return;
    }
    let busiest = stages
        .iter()
        .map(|stage| (stage.kind, stage.shares(wall_s).busy))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    // In a run over nothing, none is.
    if let Some((kind, busy)) = busiest.filter(|(_, busy)| *busy >= 0.01) {
        say(&format!("bottleneck: {kind} ({:.0}% busy)", 100.0 * busy));
    }
}
