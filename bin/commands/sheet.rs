//! `curate sheet`: a contact sheet of a table's clips, kept ones in green and the others in red, with
//! their reasons and values, to see what a threshold does before it is moved.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use arrow::array::AsArray as _;
use curate_media::{SheetCell, contact_sheet, encode_jpeg};
use curate_schemas::{Clip, ClipId, columns as c};
use curate_store::{Query, Store};

use crate::{Exit, UsageError, progress::say};

const COLUMNS: u32 = 6;
const QUALITY: u8 = 85;

/// Which clips, and in which order.
#[derive(Debug)]
pub(crate) struct Choice {
    /// An SQL condition.
    pub(crate) filter: Option<String>,
    /// An SQL order.
    pub(crate) order: String,
    pub(crate) limit: u32,
}

pub(crate) async fn sheet(
    out: &Path,
    choice: &Choice,
    file: Option<PathBuf>,
) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let query = Query::open(&store, None).await?;
    let filter = choice.filter.as_deref().unwrap_or("true");
    let (order, limit) = (&choice.order, choice.limit);
    let sql = format!("select clip_id from clips where {filter} order by {order} limit {limit}");
    let mut cells = Vec::new();
    for batch in query.sql(&sql).await?.collect().await? {
        for id in batch.column(0).as_string::<i32>().iter().flatten() {
            let clip = store.clip(&ClipId::parse(id)?).await?;
            cells.extend(clip.as_ref().map(cell));
        }
    }
    if cells.is_empty() {
        return Err(UsageError(format!("{}: no clip is chosen by {filter}", out.display())).into());
    }
    let file = file.unwrap_or_else(|| out.join("sheet.jpg"));
    let jpeg = encode_jpeg(&contact_sheet(&cells, COLUMNS)?, QUALITY)?;
    std::fs::write(&file, jpeg).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("{} clips: {}", cells.len(), file.display()));
    Ok(Exit::Complete)
}

fn cell(clip: &Clip) -> SheetCell {
    let text = |column| clip.get(column).map_or("", String::as_str);
    let uri = text(c::SOURCE_URI);
    let name: String = uri.rsplit('/').next().unwrap_or(uri).chars().take(18).collect();
    let seconds = |column| clip.get(column).copied().unwrap_or_default();
    let verdict = match (text(c::STATUS), text(c::DROP_REASON), text(c::ERROR_KIND)) {
        (status, "", "") => status.to_owned(),
        (status, "", error) => format!("{status}: {error}"),
        (status, reason, _) => format!("{status}: {reason}"),
    };
    let mut lines =
        vec![format!("{name} {:.1}-{:.1} s", seconds(c::START_S), seconds(c::END_S)), verdict];
    lines.push(match clip.get(c::MOTION) {
        Some(motion) => format!("motion {motion:.3} {}", text(c::CAMERA_MOTION)),
        None => String::new(),
    });
    let is_kept = text(c::STATUS) == "kept";
    SheetCell { jpeg: clip.get(c::THUMB).cloned(), lines, is_kept }
}
