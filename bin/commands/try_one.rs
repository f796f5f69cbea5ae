//! `curate try VIDEO`: the default recipe on one file, without a recipe and without a table.
//!
//! The real engine runs into a table in a temporary folder, so what is shown is what `curate run`
//! would do. The answer is a line for each clip and a contact sheet.

use std::{
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use arrow::array::AsArray as _;
use curate_media::{SheetCell, contact_sheet, encode_jpeg};
use curate_schemas::{Clip, ClipId, columns as c};
use curate_store::{Query, Store};
use tokio::runtime::Handle;

use super::{
    clips,
    run::{Options, execute},
};
use crate::{
    Exit, UsageError,
    progress::say,
    recipe::{Recipe, default_text},
};

/// Thumbnails in a row of the sheet.
const COLUMNS: u32 = 5;
/// Clips on the sheet; a film has thousands.
const SHEET_CLIPS: usize = 200;

pub(crate) fn run(video: &Path, sheet: Option<PathBuf>, runtime: &Handle) -> anyhow::Result<Exit> {
    let shown = video.display();
    let video = std::fs::canonicalize(video)
        .map_err(|error| UsageError(format!("cannot read {shown}: {error}")))?;
    if !video.is_file() {
        return Err(UsageError(format!("{shown} is not a file: give one video")).into());
    }
    // By whatever name: the sheet is written into the file that is there.
    let file = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let sheet = sheet.unwrap_or_else(|| {
        let stem = video.file_stem().unwrap_or_default().to_owned();
        Path::new(&stem).with_added_extension("sheet.jpg")
    });
    if file(&sheet).is_some_and(|sheet| file(&video) == Some(sheet)) {
        return Err(UsageError(format!(
            "{} is the video itself, {shown}, which would be lost: give another name by --sheet",
            sheet.display()
        ))
        .into());
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    // A recipe is text: a name that is none, and one that reads as a pattern, go in by a link.
    let name = match video.to_str() {
        Some(name) if !name.contains(['*', '?', '[']) => name,
        _ => {
            std::os::unix::fs::symlink(&video, folder.path().join("video"))
                .context("cannot make a link in the temporary folder")?;
            "video"
        }
    };
    let path = folder.path().join("try.toml");
    std::fs::write(&path, default_text(name, "none")).context("cannot write a recipe")?;
    let mut recipe = Recipe::load(&path)?;
    let ran = execute(&mut recipe, Options::default(), runtime)?;
    if ran.report.stopped {
        return Ok(Exit::Stopped);
    }
    let clips = runtime.block_on(all(&ran.store))?;
    if clips.is_empty() {
        say("no clip came out of it; the line above says why");
        return Ok(Exit::Partial);
    }
    let cells = table(&recipe, &clips)?;
    let jpeg = encode_jpeg(&contact_sheet(&cells, COLUMNS)?, 85)?;
    std::fs::write(&sheet, jpeg).with_context(|| format!("cannot write {}", sheet.display()))?;
    say(&format!(
        "{} clips: {} kept, {} dropped, {} failed; the default recipe is what `curate init` writes",
        ran.report.clips, ran.report.kept, ran.report.dropped, ran.report.failed
    ));
    if clips.len() > SHEET_CLIPS {
        say(&format!("the sheet shows the first {SHEET_CLIPS}"));
    }
    say(&format!("contact sheet: {}", sheet.display()));
    let is_whole = ran.report.failed == 0 && ran.report.units.keys().all(|status| *status == "ok");
    Ok(if is_whole { Exit::Complete } else { Exit::Partial })
}

/// All clips in order of time, with their thumbnails.
async fn all(store: &Store) -> anyhow::Result<Vec<Clip>> {
    let query = Query::open(store, None).await?;
    let rows = query.sql("select clip_id from clips order by start_pts").await?;
    let mut clips = Vec::new();
    for batch in rows.collect().await? {
        for id in batch.column(0).as_string::<i32>().iter().flatten() {
            clips.extend(store.clip(&ClipId::parse(id)?).await?);
        }
    }
    Ok(clips)
}

/// Prints a line for each clip; gives the sheet's cells.
fn table(recipe: &Recipe, clips: &[Clip]) -> anyhow::Result<Vec<SheetCell>> {
    let mut stdout = std::io::stdout().lock();
    let mut cells = Vec::new();
    for (number, clip) in (1..).zip(clips) {
        let seconds = |column| clip.get(column).copied().unwrap_or_default();
        let (start, end) = (seconds(c::START_S), seconds(c::END_S));
        let text = |column| clip.get(column).map_or("", String::as_str);
        let failed = recipe.plan.stages.iter().find_map(|stage| {
            let mut checks = stage.config.checks(clip).into_iter();
            Some((stage.kind, checks.find(|check| !check.passes())?))
        });
        let why = match failed {
            Some((stage, check)) => {
                format!(" by {stage}: {} ({})", check.reason, clips::values(&check))
            }
            None => format!(" {} {}", text(c::ERROR_KIND), text(c::ERROR_MESSAGE)),
        };
        let status = text(c::STATUS);
        let line = format!("{number:>4}  {start:>9.3} s to {end:>9.3} s  {status}{why}");
        writeln!(stdout, "{}", line.trim_end())?;
        if number <= SHEET_CLIPS {
            let reason = match text(c::DROP_REASON) {
                "" => status.to_owned(),
                reason => format!("{status}: {reason}"),
            };
            let lines = vec![format!("{number}: {start:.1} to {end:.1} s"), reason];
            let jpeg = clip.get(c::THUMB).cloned();
            cells.push(SheetCell { jpeg, lines, is_kept: status == "kept" });
        }
    }
    Ok(cells)
}
