//! Commands on one clip: `why` and `extract`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_pipeline::Bound;
use curate_schemas::{Clip, ClipId, columns as c};
use curate_store::Store;

use crate::{Exit, UsageError, recipe::Recipe};

async fn find(out: &Path, id: &str) -> anyhow::Result<(Store, ClipId, Clip)> {
    let id = ClipId::parse(id).map_err(|error| UsageError(error.to_string()))?;
    let store = Store::open(out).await?;
    let clip = store.clip(&id).await?.ok_or_else(|| {
        UsageError(format!("{} has no clip {id}; `curate query` lists the ids", out.display()))
    })?;
    Ok((store, id, clip))
}

pub(crate) async fn why(out: &Path, id: &str, recipe: &Recipe) -> anyhow::Result<Exit> {
    let (_, id, clip) = find(out, id).await?;
    let mut stdout = std::io::stdout().lock();
    let text = |column| clip.get(column).map_or("", String::as_str);
    writeln!(stdout, "clip    {id}")?;
    writeln!(
        stdout,
        "source  {} from {:.3} s to {:.3} s",
        text(c::SOURCE_URI),
        clip.get(c::START_S).copied().unwrap_or_default(),
        clip.get(c::END_S).copied().unwrap_or_default()
    )?;
    writeln!(
        stdout,
        "status  {} {} {}{} {}",
        text(c::STATUS),
        text(c::DROP_STAGE),
        text(c::DROP_REASON),
        text(c::ERROR_KIND),
        text(c::ERROR_MESSAGE)
    )?;
    for stage in &recipe.plan.stages {
        for check in stage.config.checks(&clip) {
            let value =
                check.value.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.4}"));
            let bound = match check.bound {
                Bound::AtLeast(min) => format!("at least {min}"),
                Bound::AtMost(max) => format!("at most {max}"),
            };
            let verdict = if check.passes() { "passes" } else { check.reason };
            writeln!(
                stdout,
                "{:<8}{:<10} {value:>14}  {bound:<20} {verdict}",
                stage.kind, check.what
            )?;
        }
    }
    Ok(Exit::Complete)
}

pub(crate) async fn extract(out: &Path, id: &str, output: Option<PathBuf>) -> anyhow::Result<Exit> {
    let (store, id, clip) = find(out, id).await?;
    let video = store.video(&id).await?.ok_or_else(|| {
        let status = clip.get(c::STATUS).map_or("", String::as_str);
        UsageError(format!("clip {id} has no bytes in the table (it is {status}; kept clips have them unless form = \"none\")"))
    })?;
    let ending =
        if clip.get(c::VIDEO_FORM).is_some_and(|form| form == "copy_mkv") { "mkv" } else { "mp4" };
    let path = output.unwrap_or_else(|| PathBuf::from(format!("{id}.{ending}")));
    std::fs::write(&path, video).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(std::io::stdout(), "{}", path.display())?;
    Ok(Exit::Complete)
}
