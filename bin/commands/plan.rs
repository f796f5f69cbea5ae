//! `curate plan`: what a recipe would cost, measured on a few of its sources before anything is
//! written.
//!
//! Sources are taken from all over the list and no more than a minute of each, and go through the
//! recipe's own stages on this machine. What that took, rejected and would have stored is scaled up
//! by the bytes of all sources, the one thing that is known of each without opening it.

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc, time::Instant};

use curate_media::{Access, probe};
use curate_pipeline::{
    NoObserver, Planned, Provenance, Reading, Report, RunError, Sink, Stop, Unit, UnitResult,
};
use curate_schemas::{Clip, Micros, UnitId, UnitRow, columns as c};
use curate_stages::{
    scenes::span,
    sources::{Listing, Source},
};
use serde_json::json;

use crate::{Exit, UsageError, progress::say, recipe::Recipe, units::source_ref};

/// No more of one source is looked at, in seconds.
const MOST_SECONDS: f64 = 60.0;
/// Bytes of a row beside its video and thumbnail, roughly.
const ROW_BYTES: u64 = 1000;

/// What the sample came to.
#[derive(Default)]
struct Seen {
    seconds: f64,
    clips: u64,
    kept: u64,
    kept_s: f64,
    bytes: u64,
}

impl Sink for Seen {
    fn clip(&mut self, _ticket: u64, clip: Clip) -> Result<(), RunError> {
        let seconds = span(&clip).map_or(0.0, |span| span.seconds());
        self.clips += 1;
        if clip.get(c::STATUS).is_some_and(|status| status == "kept") {
            self.kept += 1;
            self.kept_s += seconds;
        }
        let size = |bytes: Option<&Vec<u8>>| bytes.map_or(0, Vec::len) as u64;
        self.bytes += size(clip.get(c::VIDEO)) + size(clip.get(c::THUMB)) + ROW_BYTES;
        Ok(())
    }

    fn unit(&mut self, _: u64, _: &UnitResult, _: UnitRow) -> Result<(), RunError> {
        Ok(())
    }

    fn discard(&mut self, _ticket: u64) {}

    fn tick(&mut self) -> Result<(), RunError> {
        Ok(())
    }
}

/// The sources, as far as the estimate needs them.
struct Listed {
    sources: u64,
    bytes: u64,
    skipped: BTreeMap<&'static str, u64>,
    sample: Vec<Source>,
}

/// Lists everything and picks sources that lie evenly in the list.
fn list(recipe: &Recipe, count: u64) -> anyhow::Result<Listed> {
    let mut listed = Listed { sources: 0, bytes: 0, skipped: BTreeMap::new(), sample: Vec::new() };
    for listing in recipe.sources_by_location()? {
        match listing {
            Listing::Source(source) => {
                listed.sources += 1;
                listed.bytes += source.bytes;
            }
            Listing::Failed(_) => *listed.skipped.entry("unreadable").or_default() += 1,
            Listing::Skipped { reason, .. } => {
                *listed.skipped.entry(reason.word()).or_default() += 1
            }
        }
    }
    let (all, count) = (listed.sources, count.min(listed.sources));
    let mut place = 0;
    for listing in recipe.sources_by_location()? {
        let Listing::Source(source) = listing else { continue };
        let picked = listed.sample.len() as u64;
        // The middles of `count` equal parts.
        if picked < count && place == (2 * picked + 1) * all / (2 * count) {
            listed.sample.push(source);
        }
        place += 1;
    }
    Ok(listed)
}

/// The beginning of a source, and the part of its bytes that this is.
fn beginning(source: Source, reading: Reading) -> Option<(Planned, u64)> {
    let access = Access { track: reading.track, ..Access::default() };
    let video = probe(&source.path, &access).ok()?.video;
    let most = video.time_base.ticks(MOST_SECONDS);
    let part = match video.duration {
        Some(ticks) if ticks > most => most as f64 / ticks as f64,
        _ => 1.0,
    };
    let bytes = (source.bytes as f64 * part) as u64;
    let unit = Unit {
        id: UnitId::new(&source.id, 0),
        source: Arc::new(source_ref(source, reading)),
        units_in_source: 1,
        start: None,
        end: (part < 1.0).then(|| video.start_pts.saturating_add(most)),
    };
    Some((Planned::Unit(unit), bytes))
}

pub(crate) fn plan(path: &Path, sources: u64, as_json: bool) -> anyhow::Result<Exit> {
    let recipe = Recipe::load(path)?;
    let listed = list(&recipe, sources.max(1))?;
    if listed.sources == 0 {
        return Err(UsageError(format!(
            "{}: [input] paths names nothing that looks like a video",
            path.display()
        ))
        .into());
    }
    let reading = recipe.reading();
    let mut units = Vec::new();
    let mut bytes = 0;
    for source in listed.sample.iter().cloned() {
        let uri = source.uri.clone();
        match beginning(source, reading) {
            Some((unit, part)) => {
                units.push(unit);
                bytes += part;
            }
            None => say(&format!("{uri} cannot be opened, and is not part of the sample")),
        }
    }
    let sampled = units.len();
    if sampled == 0 {
        return Err(UsageError(format!(
            "nothing can be estimated: none of {} sources that were looked at can be opened; \
             --sources N looks at more",
            listed.sample.len()
        ))
        .into());
    }
    say(&format!("measuring on {sampled} of {} sources", listed.sources));
    let provenance = Provenance {
        run_id: "plan".to_owned(),
        curate_version: env!("CARGO_PKG_VERSION").to_owned(),
        now: || Micros(0),
    };
    let mut seen = Seen::default();
    let started = Instant::now();
    let stop = Stop::default();
    let plan = &recipe.plan;
    let report =
        curate_pipeline::run(plan, &provenance, units.into_iter(), &mut seen, &NoObserver, &stop)?;
    let took = started.elapsed().as_secs_f64();
    seen.seconds = report.seconds;
    let scale = listed.bytes as f64 / bytes.max(1) as f64;
    let estimate = Estimate { listed: &listed, sampled, report: &report, seen: &seen, took, scale };
    if as_json { estimate.json() } else { estimate.text() }
}

/// The sample scaled up.
struct Estimate<'a> {
    listed: &'a Listed,
    sampled: usize,
    report: &'a Report,
    seen: &'a Seen,
    took: f64,
    /// How many times as many bytes all sources have.
    scale: f64,
}

impl Estimate<'_> {
    fn stages(&self) -> impl Iterator<Item = (&'static str, u64, f64, f64)> + '_ {
        let busy: f64 = self.report.stages.iter().map(|stage| stage.busy_s).sum();
        self.report.stages.iter().map(move |stage| {
            let dropped: u64 = stage.dropped.values().sum();
            let rejects = dropped as f64 / stage.clips.max(1) as f64;
            (stage.kind, stage.clips, rejects, stage.busy_s / busy.max(1e-9))
        })
    }

    fn json(&self) -> anyhow::Result<Exit> {
        let stages: Vec<_> = self
            .report
            .stages
            .iter()
            .zip(self.stages())
            .map(|(stage, (kind, clips, rejects, share))| {
                // What no clip of the sample came to is not known, rather than free.
                let known = (clips > 0).then_some((stage.busy_s, rejects, share));
                json!({
                    "stage": kind, "clips": clips, "cpu_seconds": known.map(|known| known.0),
                    "rejects": known.map(|known| known.1), "share": known.map(|known| known.2),
                })
            })
            .collect();
        let text = json!({
            "sources": self.listed.sources, "bytes": self.listed.bytes,
            "sampled_sources": self.sampled, "sampled_seconds": self.seen.seconds,
            "sampled_wall_seconds": self.took, "stages": stages,
            "video_seconds": self.seen.seconds * self.scale,
            "wall_seconds": self.took * self.scale,
            "clips": (self.seen.clips as f64 * self.scale).round(),
            "kept": (self.seen.kept as f64 * self.scale).round(),
            "kept_seconds": self.seen.kept_s * self.scale,
            "table_bytes": (self.seen.bytes as f64 * self.scale).round(),
        });
        writeln!(std::io::stdout().lock(), "{text:#}")?;
        Ok(Exit::Complete)
    }

    fn text(&self) -> anyhow::Result<Exit> {
        let mut out = std::io::stdout().lock();
        let Self { listed, seen, took, scale, .. } = self;
        writeln!(out, "sources   {} ({})", listed.sources, size(listed.bytes as f64))?;
        for (reason, count) in &listed.skipped {
            writeln!(out, "          {count} left aside: {reason}")?;
        }
        writeln!(
            out,
            "sample    {} sources, {} of video in {}",
            self.sampled,
            time(seen.seconds),
            time(*took)
        )?;
        writeln!(out, "stage         clips   ms/clip   rejects   share of work")?;
        for (stage, (kind, clips, rejects, share)) in self.report.stages.iter().zip(self.stages()) {
            if clips == 0 {
                writeln!(
                    out,
                    "{kind:<10} {clips:>8}  not measured: no clip of the sample came here"
                )?;
                continue;
            }
            let cost = 1000.0 * stage.busy_s / clips as f64;
            writeln!(
                out,
                "{kind:<10} {clips:>8} {cost:>9.1} {:>8.0}% {:>14.0}%",
                100.0 * rejects,
                100.0 * share
            )?;
        }
        writeln!(out, "estimate  for all sources, on this machine")?;
        writeln!(out, "  video   {}", time(seen.seconds * scale))?;
        writeln!(out, "  run     {}", time(took * scale))?;
        let many = |count: u64| (count as f64 * scale).round();
        writeln!(
            out,
            "  clips   {:.0} kept ({}) of {:.0}",
            many(seen.kept),
            time(seen.kept_s * scale),
            many(seen.clips)
        )?;
        writeln!(out, "  table   {}", size(seen.bytes as f64 * scale))?;
        if seen.clips < 30 {
            writeln!(out, "  from {} clips only: --sources N looks at more", seen.clips)?;
        }
        Ok(Exit::Complete)
    }
}

/// Bytes for people.
fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let place = ((bytes.max(1.0).log2() / 10.0) as usize).min(units.len() - 1);
    let digits = usize::from(place > 0);
    format!("{:.digits$} {}", bytes / 1024_f64.powi(place as i32), units[place])
}

/// Seconds for people.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 360_000.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(size(10.0), "10 B");
        assert_eq!(size(1536.0), "1.5 KiB");
        assert_eq!(size(3.0 * 1024_f64.powi(5)), "3072.0 TiB");
        assert_eq!(time(12.34), "12.3 s");
        assert_eq!(time(7200.0), "2.0 h");
        assert_eq!(time(864_000.0), "10 days");
    }
}
