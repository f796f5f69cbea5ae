//! `curate synth`: a set of clips whose captions are known to be right, prompts of the same kind, and
//! the score of what a model made of them.

use std::{io::Write as _, path::Path};

use anyhow::Context as _;
use curate_train::shapes::{
    Rate, Score, SetSpec, ShapesError, draw_prompts, read_prompts, write_prompts, write_set,
};

use crate::{
    Exit, UsageError,
    cli::{Seed, Synth},
    env,
    progress::say,
};

pub(crate) fn run(command: Synth) -> anyhow::Result<Exit> {
    match command {
        Synth::Shapes { out, count, seed, size, frames, fps, only_color } => {
            let (seed, threads) = (number(seed), env::cores());
            let spec = SetSpec { count, seed, size, frames, fps, only_color, threads };
            shapes(&out, &spec)
        }
        Synth::Prompts { file, count, seed } => prompts(&file, count, number(seed)),
        Synth::Score { folder, prompts, sheet, json } => {
            score(&folder, &prompts, sheet.as_deref(), json)
        }
    }
}

/// A fresh seed where one is wanted, small enough for people to type again.
fn number(seed: Seed) -> u64 {
    match seed {
        Seed::Of(seed) => seed,
        Seed::Random => uuid::Uuid::new_v4().as_u64_pair().0 >> 32,
    }
}

fn usage(error: ShapesError) -> anyhow::Error {
    if error.is_usage() { UsageError(error.to_string()).into() } else { error.into() }
}

fn shapes(out: &Path, spec: &SetSpec) -> anyhow::Result<Exit> {
    let written = write_set(out, spec).map_err(usage)?;
    let what = if written.made == 0 { "are there already" } else { "written" };
    say(&format!("{} clips {what}, drawn with seed {}", spec.count, spec.seed));
    writeln!(std::io::stdout(), "{}", written.manifest.display())?;
    Ok(Exit::Complete)
}

fn prompts(file: &Path, count: u32, seed: u64) -> anyhow::Result<Exit> {
    write_prompts(file, &draw_prompts(count, seed)).map_err(usage)?;
    say(&format!("{count} prompts, drawn with seed {seed}"));
    writeln!(std::io::stdout(), "{}", file.display())?;
    Ok(Exit::Complete)
}

fn score(folder: &Path, prompts: &Path, sheet: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let prompts = read_prompts(prompts).map_err(usage)?;
    let score = Score::of_folder(folder, &prompts, env::cores()).map_err(usage)?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &score)?;
        writeln!(out)?;
    } else {
        let line = |name: &str, rate: &Rate| {
            format!(
                "{name:<10} {:>4} of {:<4} right: {:>5.1} %  (chance {:.1} %)",
                rate.right,
                rate.of,
                100.0 * rate.share,
                100.0 * rate.chance
            )
        };
        writeln!(out, "{}", line("direction", &score.direction))?;
        writeln!(out, "{}", line("colour", &score.color))?;
        writeln!(out, "{}", line("both", &score.both))?;
        writeln!(out, "something is to be seen in {} of {}", score.visible, score.answers.len())?;
        writeln!(out, "colours seen: {}", counts(&score.colors_seen))?;
        writeln!(out, "directions seen: {}", counts(&score.directions_seen))?;
    }
    let missing = score.answers.iter().filter(|answer| answer.file.is_none()).count();
    if missing > 0 {
        say(&format!(
            "{missing} of {} prompts have no clip in {}; they count as wrong",
            prompts.len(),
            folder.display()
        ));
    }
    if let Some(path) = sheet {
        std::fs::write(path, score.sheet().map_err(usage)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("sheet: {}", path.display()));
    }
    Ok(Exit::Complete)
}

fn counts<T: std::fmt::Display>(seen: &std::collections::BTreeMap<T, usize>) -> String {
    let counts: Vec<_> = seen.iter().map(|(word, count)| format!("{word} {count}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}
