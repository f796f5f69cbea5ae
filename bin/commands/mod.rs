//! One file for each command that is more than a few lines.

mod buckets;
mod clips;
mod columns;
mod cuts;
mod diff;
mod doctor;
mod encode;
mod export;
mod fill;
mod generate;
mod history;
mod models;
mod plan;
mod prompt;
mod query;
mod refilter;
mod report;
mod run;
mod schema;
mod search;
mod sheet;
mod synth;
mod table;
mod train;
mod try_one;

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;
use curate_store::Store;

pub(crate) use self::{
    buckets::BucketsArgs, encode::EncodeArgs, generate::GenerateArgs, run::Options, train::Train,
};
use crate::{
    Exit, UsageError,
    cli::{Args, Command},
    opening,
    recipe::{Recipe, default_text},
    signals,
};

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    if matches!(args.command, Command::Run { .. }) {
        signals::hold()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("table")
        .enable_all()
        .build()?;
    match args.command {
        Command::Run { recipe, limit, shard, retry, backfill, judge } => {
            let options = run::Options { limit, shard, retry: retry.is_some(), backfill, judge };
            run::run(&recipe, options, runtime.handle())
        }
        Command::Check { recipe } => {
            let mut recipe = Recipe::load(&recipe)?;
            if recipe.out.join("clips.lance").exists() {
                let table = runtime.block_on(async {
                    anyhow::Ok(Store::open(&recipe.out).await?.meta().await?)
                })?;
                opening::follow_order(&mut recipe, &table);
                opening::check_table(&recipe, &table)?;
            }
            check(&recipe)
        }
        Command::Status { out } => runtime.block_on(table::status(&out)),
        Command::Query { out, sql, format, version, output } => runtime.block_on(query::query(
            &out,
            &sql,
            format,
            version.as_deref(),
            output.as_deref(),
        )),
        Command::Schema { recipe: true, .. } => schema::recipe(),
        Command::Schema { markdown, recipe: false } => schema::columns(markdown),
        Command::Recover { out } => runtime.block_on(table::recover(&out)),
        Command::Gc { out } => runtime.block_on(table::gc(&out)),
        Command::Init { recipe } => init(&recipe),
        Command::Try { video, sheet } => try_one::run(&video, sheet, runtime.handle()),
        Command::Plan { recipe, sources, json } => plan::plan(&recipe, sources, json),
        Command::Doctor { target, json } => doctor::doctor(target.as_deref(), json),
        Command::Models { command } => models::run(&command, runtime.handle()),
        Command::Why { out, clip_id, recipe } => {
            runtime.block_on(clips::why(&out, &clip_id, recipe.as_deref()))
        }
        Command::Sheet { out, filter, order, limit, output } => {
            let choice = sheet::Choice { filter, order, limit };
            runtime.block_on(sheet::sheet(&out, &choice, output))
        }
        Command::Report { out, output } => {
            runtime.block_on(report::report(&out, output, run::now()))
        }
        Command::Refilter { out, set, dry_run } => {
            let sets = refilter::some(set)?;
            runtime.block_on(refilter::refilter(&out, &sets, dry_run))
        }
        Command::Cuts { out, format, source, output } => {
            let choice = cuts::Choice { form: format.into(), source, folder: output };
            runtime.block_on(cuts::cuts(&out, &choice))
        }
        Command::Extract { out, clip_id, output } => {
            runtime.block_on(clips::extract(&out, &clip_id, output))
        }
        Command::Search { out, words, like, filter, limit, json } => {
            let choice = search::Choice { words, like, filter, limit: limit as usize, json };
            runtime.block_on(search::search(&out, &choice))
        }
        Command::Export { out, folder, format, filter, version, shard_mib } => {
            let shard_bytes = shard_mib << 20;
            let choice = export::Choice { form: format, filter, version, shard_bytes };
            runtime.block_on(export::export(&out, &folder, &choice))
        }
        Command::Prompt { words, endpoint, model, api_key_env, rules } => {
            let choice = prompt::Choice { words, endpoint, model, api_key_env, rules };
            runtime.block_on(prompt::prompt(&choice))
        }
        Command::Synth { command } => synth::run(command),
        Command::Generate(args) => generate::run(&args, runtime.handle()),
        Command::Buckets(args) => buckets::run(&args, runtime.handle()),
        Command::Train { command } => train::run(&command, runtime.handle()),
        Command::Encode(args) => encode::run(&args, runtime.handle()),
        Command::Index { out } => runtime.block_on(search::index(&out)),
        Command::Versions { out } => runtime.block_on(history::versions(&out)),
        Command::Tag { out, name, version, delete } => {
            runtime.block_on(history::tag(&out, &name, version, delete))
        }
        Command::Restore { out, version } => runtime.block_on(history::restore(&out, &version)),
        Command::Diff { a, b, json } => runtime.block_on(diff::diff(&a, &b, json)),
        Command::Completions { shell } => completions(shell),
    }
}

fn check(recipe: &Recipe) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let plan = &recipe.plan;
    writeln!(out, "table     {}", recipe.out.display())?;
    writeln!(out, "split id  {}", plan.split_id)?;
    let decoders = match plan.run.decode_threads {
        0 => "which share them for decoding".to_owned(),
        threads => format!("{threads} decoder threads each"),
    };
    writeln!(
        out,
        "machine   {} CPU threads, at most {} units at a time, {decoders}, {} MiB",
        plan.run.cpus,
        plan.run.workers,
        plan.run.memory >> 20
    )?;
    for (index, stage) in plan.stages.iter().enumerate() {
        writeln!(
            out,
            "stage {}   {} ({} workers) {}",
            index + 1,
            stage.kind,
            stage.workers,
            stage.key
        )?;
        writeln!(out, "          measures {}", stage.config.measuring())?;
        writeln!(out, "          judges   {}", stage.config.judging())?;
        writeln!(out, "          writes   {}", stage.config.writes().join(" "))?;
    }
    Ok(Exit::Complete)
}

fn init(path: &std::path::Path) -> anyhow::Result<Exit> {
    let text = default_text("videos", "copy");
    let mut file =
        std::fs::File::options().write(true).create_new(true).open(path).map_err(|error| {
            let advice = match error.kind() {
                std::io::ErrorKind::NotFound => "make its folder first",
                _ => "give another name",
            };
            UsageError(format!("cannot create {}: {error}; {advice}", path.display()))
        })?;
    file.write_all(text.as_bytes())?;
    crate::progress::say(&format!("wrote {}", path.display()));
    Ok(Exit::Complete)
}

fn completions(shell: Shell) -> anyhow::Result<Exit> {
    // The generator panics when its reader has left (`| head`), so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "curate", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Complete)
}
