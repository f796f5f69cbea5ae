//! `curate train losses`: what a trained transformer makes of each clip, into the table.

use std::{io::Write as _, path::PathBuf, sync::Arc, time::Instant};

use clap::Args;
use curate_models::hub::Hub;
use curate_store::Store;
use curate_train::{
    data::{DataConfig, RowSource, TableRows},
    dit::{DitTrainConfig, LossOptions, measure_losses},
    run::Stop,
};
use tokio::runtime::Handle;

use super::{place, usage};
use crate::{
    Exit, UsageError,
    commands::columns::{Shown, tell_left_out},
    env,
    progress::say,
    signals,
};

/// Times at most: as many as the published noise schedule has steps.
const MOST_TIMES: usize = 1000;

/// What is measured, and how.
#[derive(Debug, Args)]
pub(crate) struct LossArgs {
    /// The file of the run whose model measures, of `curate train dit` or `lora`.
    file: PathBuf,
    /// Which clips, as an SQL condition [default: the run's `data.where`].
    #[arg(long = "where", value_name = "SQL")]
    filter: Option<String>,
    /// At how many times each clip is measured: more are steadier and slower.
    #[arg(long, default_value_t = LossOptions::default().times)]
    times: usize,
    /// What to compute on: `cpu`, `cuda`, `cuda:1`.
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub(super) fn losses(args: &LossArgs, runtime: &Handle) -> anyhow::Result<Exit> {
    let config = DitTrainConfig::read(&args.file).map_err(usage)?;
    if !(1..=MOST_TIMES).contains(&args.times) {
        let words = format!("--times {}: must be from 1 to {MOST_TIMES}", args.times);
        return Err(UsageError(words).into());
    }
    let began = Instant::now();
    let (place, hub, stop) =
        (place(&args.device)?, Hub::open(env::models_dir()?)?, Stop::of(signals::stop_flag()?));
    curate_media::keep_memory();
    let store = runtime.block_on(Store::open(&config.data.table))?;
    // Rows are written to the newest version, so they are read from it.
    let newest = DataConfig { version: None, ..config.data.clone() };
    let rows = TableRows::open(&newest, None, runtime).map_err(|error| usage(error.into()))?;
    let source: Arc<dyn RowSource> = Arc::new(rows);
    let options = LossOptions { filter: args.filter.clone(), times: args.times };
    let mut shown = Shown::new();
    let measured = measure_losses(
        &config,
        &options,
        &source,
        (&hub, &place.device, &stop),
        (&mut |changes| runtime.block_on(store.patch(changes)).map(drop), &mut |progress| {
            shown.tell(progress)
        }),
    );
    shown.bar.finish_and_clear();
    let measured = measured.map_err(|error| usage(error.in_file(&args.file)))?;
    let table = config.data.table.display();
    say(&format!(
        "losses of {} clips written, by the model of step {}; {} had them",
        measured.rows, measured.step, measured.had
    ));
    tell_left_out(&measured.unusable, &measured.failures, "measured");
    say(&format!("took {:.1} s", began.elapsed().as_secs_f64()));
    if measured.is_stopped {
        say("stopped; run the same command again to go on");
        return Ok(Exit::Stopped);
    }
    say("captions that tell the model least come first with:");
    let sql = format!(
        "select clip_id, caption, loss, caption_gain from clips where loss_key like '%{}%' \
         order by caption_gain limit 20",
        measured.model
    );
    writeln!(std::io::stdout(), "curate query {table} \"{sql}\"")?;
    Ok(if measured.failures.is_empty() { Exit::Complete } else { Exit::Partial })
}
